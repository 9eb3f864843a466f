"""After a fit, the label beside an image decides of which class its new image is."""

import copy

import pytest
import torch
from torch.utils.data import DataLoader
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS, nearest_class, pixels
from vae_augment import LocalNoise, Noise, SyntheticDataset, VAEAugment
from vae_augment.images import pair_up
from vae_augment.vae import Whitened


def test_in_a_pipeline_an_image_is_replaced_by_one_of_its_class(fitted):
    torch.manual_seed(0)
    batch = torch.stack([image for image, _ in FEW])
    labels = torch.tensor([label for _, label in FEW])
    varied = fitted(batch)
    assert varied.dtype == torch.uint8
    assert (nearest_class(varied / 255) == labels).float().mean() > 0.6
    assert fitted(F.to_pil_image(batch[0])).mode == "L"


def test_labels_of_tensors_are_classes_in_vary_all_too(fitted):
    assert len(fitted.vary_all(list(IMAGES[:4]), LABELS[:4])) == 4


BATCHES = {
    "bytes": IMAGES[:20],
    "floats of another size": torch.rand(20, 3, 40, 30, generator=torch.Generator().manual_seed(0)),
    "images": tv_tensors.Image(IMAGES[:20]),
    "clips": tv_tensors.Video(IMAGES[:60].view(20, 3, 1, 28, 28)),
    "none": IMAGES[:0],
}


@pytest.mark.parametrize("images", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize(("p", "strength"), [(1.0, 1.0), (0.5, 0.5)])
def test_a_batch_with_labels_is_what_its_images_are_one_by_one(fitted, images, p, strength):
    augment, is_clips = copy.copy(fitted), isinstance(images, tv_tensors.Video)
    augment.p, augment.strength = p, strength
    augment.novelty = (
        0 if is_clips else fitted.novelty
    )  # clips of a list draw in turn: first the place, then what is beside it
    labels = LABELS[: len(images)]
    torch.manual_seed(0)
    batch, _ = augment(images, labels)
    torch.manual_seed(0)
    each = augment.vary_all([tv_tensors.Video(clip) if is_clips else clip for clip in images.unbind()], labels.tolist())
    assert type(batch) is type(images)
    assert len(batch) == len(each)
    apart = [(a.float() - b.float()).abs().max() for a, b in zip(batch, each, strict=True)]
    assert all(one <= (1 if is_clips else 0) for one in apart)  # clip by clip, products round differently
    assert len(images) == 0 or not torch.equal(batch, images)


def test_the_frames_of_a_clip_move_together_to_one_image_of_its_label(fitted):
    torch.manual_seed(0)
    still = tv_tensors.Video(IMAGES[:40, None].expand(-1, 3, -1, -1, -1).contiguous())
    wanted = torch.tensor([9, 1] * 20)
    clips, _ = fitted(still, wanted)
    one, _ = fitted(tv_tensors.Video(still[0]), 9)
    assert isinstance(clips, tv_tensors.Video)
    assert isinstance(one, tv_tensors.Video)
    for frames in (*clips, one.as_subclass(torch.Tensor)):
        assert torch.equal(frames, frames[:1].expand_as(frames))
    seen = fitted.jitter.nearest_class(Whitened(fitted.vae).whitened_mean(clips[:, 0] / 255))
    assert (seen == wanted).float().mean() > 0.8
    fitted = copy.copy(fitted)
    fitted.per_frame = True
    varied, _ = fitted(still, wanted)
    assert not torch.equal(varied[:, 0], varied[:, 1])


def test_residual_changes_nothing_where_images_are_replaced(fitted):
    other = copy.copy(fitted)
    other.residual = True
    for sample in ((IMAGES[:3], LABELS[:3]), (IMAGES[0], 9), (IMAGES[0] / 255, 9)):
        made = []
        for augment in (fitted, other):
            torch.manual_seed(0)
            made.append(augment(*sample)[0])
        assert torch.equal(*made)


def test_a_label_in_the_call_decides_the_class(fitted):
    class_of = fitted.jitter.nearest_class
    blank = torch.zeros(1, 28, 28, dtype=torch.uint8)  # of no class by itself
    image, label = fitted(blank, 9)
    assert (image.shape, image.dtype, label) == (blank.shape, blank.dtype, 9)
    wanted = torch.tensor([1, 9] * 20)  # trousers, boots
    torch.manual_seed(0)
    images, labels = fitted(tv_tensors.Image(blank.expand(40, -1, -1, -1)), wanted)
    assert isinstance(images, tv_tensors.Image)
    assert labels is wanted
    assert (class_of(Whitened(fitted.vae).whitened_mean(images.float() / 255)) == wanted).float().mean() > 0.8
    sample = fitted({"image": blank, "label": 9, "id": 4})
    assert list(sample) == ["image", "label", "id"]
    assert [part.shape for part in fitted([blank.expand(2, -1, -1, -1)])] == [(2, 1, 28, 28)]  # a batch without labels
    with pytest.raises(ValueError, match="which Mask would not fit"):
        fitted(blank, 9, tv_tensors.Mask(torch.zeros(28, 28)))


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, y),
        lambda x, y: [x, y[:, None]],
        lambda x, y: (x, y.tolist()),
        lambda x, y: (x, y.numpy().astype("uint8")),
        lambda x, y: {"pixel_values": x, "labels": y},
        lambda x, y: {"image": x, "label": y, "id": torch.arange(40)},
    ],
)
def test_labels_of_a_batch_in_any_form_decide_the_classes(fitted, form):
    wanted = torch.tensor([1, 9] * 20)
    sample = form(torch.zeros(40, 1, 28, 28, dtype=torch.uint8), wanted)
    torch.manual_seed(0)
    made = fitted(sample)
    images = made[next(iter(made))] if isinstance(made, dict) else made[0]
    assert (
        fitted.jitter.nearest_class(Whitened(fitted.vae).whitened_mean(images.float() / 255)) == wanted
    ).float().mean() > 0.8


def test_labels_as_strings_come_in_tuples_from_a_loader(fitted):
    torch.manual_seed(0)
    named = [(image, "abcdefghij"[label]) for image, label in FEW]  # sorted as the integers are
    augment = VAEAugment.from_pretrained("fashion-mnist").fit(named)
    images, names = next(iter(DataLoader(named, batch_size=100, shuffle=True)))
    assert isinstance(names, (tuple, list))
    others = names[::-1]  # not the images' own, for which an image alone would be taken
    torch.manual_seed(0)
    by_name, _ = augment(images, others)
    torch.manual_seed(0)
    by_number, _ = fitted(images, torch.tensor(["abcdefghij".index(name) for name in others]))
    assert torch.equal(by_name, by_number)


def test_labels_that_cannot_decide_the_class_are_refused(fitted):
    images = IMAGES[:4]
    for labels in (torch.rand(4), torch.eye(4), torch.arange(3), [1, 2, None, 3], {"boxes": 1}):
        with pytest.raises(TypeError, match=r"comes before MixUp and CutMix"):
            fitted(images, labels)
    with pytest.raises(
        TypeError, match=r"\{'image': Tensor of uint8 \(4, 1, 28, 28\), 'target': Tensor of int64 \(4,\)\} has none"
    ):
        fitted({"image": images, "target": torch.arange(4)})
    for labels in ([0, 1, 2, -100], torch.tensor([0, 1, 2, 77])):
        with pytest.raises(ValueError, match="no such class"):
            fitted(images, labels)
    with pytest.raises(ValueError, match="no such class"):
        fitted(images[0], 77)


@pytest.mark.parametrize("kind", [F.to_pil_image, tv_tensors.Image, torch.Tensor.clone], ids=["PIL", "Image", "Tensor"])
def test_a_lone_image_with_its_label_is_replaced_as_in_a_batch(fitted, kind):
    augment = copy.deepcopy(fitted)
    augment.p = 0.7
    replaced = 0
    for seed in range(10):
        outs = []
        for by in (lambda image: augment(image, 9)[0], lambda image: augment.vary_all([image], [9])[0]):
            torch.manual_seed(seed)
            outs.append(y if isinstance(y := by(kind(IMAGES[0])), torch.Tensor) else F.pil_to_tensor(y))
        assert type(outs[0]) is type(outs[1])
        assert torch.equal(*outs)
        replaced += not torch.equal(outs[0], IMAGES[0])
    assert 0 < replaced < 10


BESIDE = {
    "PIL mask": {"image": F.to_pil_image(IMAGES[0]), "mask": F.to_pil_image(IMAGES[1]), "label": 9},
    "mask": (IMAGES[0], 9, torch.zeros(28, 28)),
    "clip": (tv_tensors.Image(IMAGES[0]), 9, tv_tensors.Video(IMAGES[:3])),
}


@pytest.mark.parametrize("sample", BESIDE.values(), ids=BESIDE)
def test_what_shows_where_things_are_in_the_old_image_is_refused(fitted, sample):
    with pytest.raises(ValueError, match=r"another .* would not fit"):
        fitted(sample)
    samples = [(image, label, torch.zeros(28, 28)) for image, label in FEW]
    with pytest.warns(UserWarning, match="another Tensor, which would not fit"):
        assert SyntheticDataset(samples, augment=VAEAugment(fitted.vae, bank=fitted.bank)).augment.classes is None


def test_features_beside_an_image_pass(fitted):
    _, label, feature = fitted((IMAGES[0], 9, torch.zeros(28)))
    assert (label, feature.shape) == (9, (28,))


def test_several_leading_dimensions_have_a_label_each(fitted):
    torch.manual_seed(0)
    flat, _ = fitted(IMAGES[:6], LABELS[:6])
    torch.manual_seed(0)
    images, labels = fitted(IMAGES[:6].view(2, 3, 1, 28, 28), LABELS[:6].view(2, 3))
    assert torch.equal(images.flatten(0, 1), flat)
    assert labels.shape == (2, 3)


def test_a_label_before_its_image_is_told(fitted):
    with pytest.raises(ValueError, match="put the image before it"):
        fitted({"label": LABELS[:4], "image": IMAGES[:4]})


def test_another_default_device_does_not_matter(fitted, image):
    others = [VAEAugment.from_pretrained("fashion-mnist", jitter=jitter, p=0.5) for jitter in (Noise(), LocalNoise())]
    for augment in (fitted, *others):
        varied = []
        for device in ("cpu", "meta"):
            torch.manual_seed(0)
            with torch.device(device):
                varied.append(augment(image))
        assert torch.equal(*map(pixels, varied))


@pytest.mark.parametrize("colours", [1, 3])
def test_arrays_may_have_their_channels_first_or_last(colours):
    images = IMAGES[:5].repeat(1, colours, 1, 1)
    for array in (images.numpy(), images.movedim(1, -1).numpy(), images):
        pairs, *_ = pair_up(array, [0, 1, 0, 1, 0])
        assert all(torch.equal(pairs[i][0], images[i]) for i in range(5))
