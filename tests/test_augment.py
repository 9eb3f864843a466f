"""Every row of the input policy: what goes in, what comes out, what is refused."""

import copy
import pickle
import warnings

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES, KINDS, grey, pixels, same_kind
from vae_augment import Interpolate, LatentBank, Noise, VAEAugment


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", "'mode' parameter is deprecated"
        )  # Pillow 11.3 of torchvision; taken back in 12
        yield


@pytest.mark.parametrize("residual", [True, False])
def test_every_kind_comes_back_as_itself_changed(image, vae, residual):
    torch.manual_seed(0)
    before = pixels(image).clone()
    out = VAEAugment(vae, residual=residual)(image)
    assert same_kind(out, image)
    assert not torch.equal(pixels(out), pixels(image))
    assert torch.equal(pixels(image), before), "the input was changed in place"


def test_alpha_is_kept_bit_exact(augment):
    for kind in ("PIL LA", "PIL RGBA"):
        image = KINDS[kind]()
        out = augment(image)
        assert np.array_equal(np.asarray(out.getchannel("A")), np.asarray(image.getchannel("A")))


def test_strength_0_is_exactly_the_identity(image, vae):
    assert VAEAugment(vae, strength=0)(image) is image


def test_strength_0_without_residual_is_the_reconstruction(vae):
    x = IMAGES[:4] / 255
    out = VAEAugment(vae, strength=0, residual=False)(x)
    assert torch.allclose(out, vae.decode(vae.encode(x).mean), atol=1e-6)


def test_p_0_returns_the_same_object(image, vae):
    assert VAEAugment(vae, p=0)(image) is image


def test_p_is_drawn_per_image(vae):
    batch = IMAGES[:200].clone()
    torch.manual_seed(0)
    out = VAEAugment(vae, p=0.5)(batch)
    changed = (out != batch).flatten(1).any(1)
    assert 70 < changed.sum() < 130
    video = tv_tensors.Video(batch.view(50, 4, 1, 28, 28))
    per_clip = (VAEAugment(vae, p=0.5)(video) != video).flatten(2).any(2)
    assert 10 < per_clip[:, 0].sum() < 40


def test_jitter_is_drawn_per_image(vae):
    torch.manual_seed(0)
    batch = IMAGES[:1].repeat(4, 1, 1, 1) / 255
    out = VAEAugment(vae)(batch)
    assert all(not torch.equal(out[0], out[i]) for i in range(1, 4))


def test_frames_of_a_clip_move_together(vae):
    torch.manual_seed(0)
    still = (IMAGES[:1] / 255).repeat(3, 1, 1, 1)
    out = VAEAugment(vae)(tv_tensors.Video(still))
    assert torch.allclose(out[0], out[1], atol=1e-4)
    assert torch.allclose(out[0], out[2], atol=1e-4)
    clips = VAEAugment(vae)(tv_tensors.Video(torch.stack([still, still])))
    assert torch.allclose(clips[0, 0], clips[0, 2], atol=1e-4)
    assert not torch.allclose(clips[0, 0], clips[1, 0])
    own = VAEAugment(vae, per_frame=True)(tv_tensors.Video(still))
    assert not torch.allclose(own[0], own[1])


def test_two_images_of_a_sample_get_the_same_noise(augment):
    image = tv_tensors.Image(grey())
    one, two = augment(image, tv_tensors.Image(grey()))
    assert torch.equal(one, two)


@pytest.mark.parametrize("shape", [(0, 1, 28, 28), (5, 0, 1, 28, 28), (0, 5, 1, 28, 28), (1, 0, 28), (0, 3, 28, 28)])
def test_empty_batches(augment, shape):
    assert augment(torch.empty(shape)).shape == shape
    assert augment(torch.empty(shape, dtype=torch.uint8)).dtype == torch.uint8


def test_everything_else_is_returned_by_identity(augment):
    sample = {
        "image": tv_tensors.Image(grey()),
        "boxes": tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(28, 28)),
        "mask": tv_tensors.Mask(torch.ones(28, 28, dtype=torch.uint8)),
        "label": torch.tensor(3),
        "array": np.zeros((28, 28)),
        "rest": [1, 2.5, True, None, "text", object(), torch.rand(3, 4)],
    }
    out = augment(sample)
    assert out.keys() == sample.keys()
    assert type(out["image"]) is tv_tensors.Image
    for key in ("boxes", "mask", "label", "array"):
        assert out[key] is sample[key]
    assert all(a is b for a, b in zip(out["rest"], sample["rest"], strict=True))


def test_labels_after_a_plain_tensor_pass(augment):
    labels = torch.arange(5)
    images, same = augment(IMAGES[:5].clone(), labels)
    assert same is labels
    assert images.dtype == torch.uint8


@pytest.mark.parametrize("label", [torch.tensor(3), torch.tensor(0.5), torch.arange(5), torch.rand(5, 10)])
def test_label_before_a_plain_tensor_is_refused(augment, label):
    with pytest.raises(ValueError, match="label"):
        augment(label, IMAGES[:5].clone())


def test_ndarrays_are_not_silently_ignored(augment):
    array, mask = np.zeros((28, 28, 1), np.uint8), tv_tensors.Mask(torch.ones(28, 28, dtype=torch.uint8))
    for sample in (array, (array, 3), (array, torch.tensor(3)), {"image": array, "mask": mask}):
        with pytest.raises(TypeError, match="ToImage"):
            augment(sample)


@pytest.mark.parametrize("item", [3, "path.png", None, object()])
def test_a_lone_unknown_object_is_named(augment, item):
    with pytest.raises(TypeError, match=type(item).__name__):
        augment(item)


def test_mistakes_are_told_even_when_nothing_would_be_changed(vae):
    torch.manual_seed(0)
    normalised = torch.randn(1, 28, 28) * 3
    for augment in (VAEAugment(vae, strength=0), VAEAugment(vae, p=0), VAEAugment(vae)):
        with pytest.raises(ValueError, match="before Normalize"):
            augment(normalised)


def test_geometry_can_be_reported(vae):
    boxes = tv_tensors.BoundingBoxes([[1, 2, 3, 4]], format="XYXY", canvas_size=(28, 28))
    with pytest.warns(UserWarning, match="BoundingBoxes"):
        VAEAugment(vae, on_geometry="warn")(tv_tensors.Image(grey()), boxes)
    with pytest.raises(ValueError, match="BoundingBoxes"):
        VAEAugment(vae, on_geometry="error")(tv_tensors.Image(grey()), boxes)
    VAEAugment(vae, on_geometry="error")(tv_tensors.Image(grey()), 3)


def test_v1_and_v2_pipelines(vae):
    image = F.to_pil_image(grey())
    one = v1.Compose([VAEAugment(vae), v1.ToTensor(), v1.Normalize(0.5, 0.5)])
    two = v2.Compose([v2.RandomApply([VAEAugment(vae)], p=1.0), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    assert one(image).shape == (1, 28, 28)
    assert two(image, 7)[1] == 7


def test_same_seed_same_image_and_global_rng_moves_on(augment, image):
    torch.manual_seed(5)
    a, b = augment(image), augment(image)
    torch.manual_seed(5)
    assert torch.equal(pixels(augment(image)), pixels(a))
    assert not torch.equal(pixels(a), pixels(b))


def test_own_jitter_without_generator_is_seeded_too(vae):
    torch.manual_seed(0)
    augment = VAEAugment(vae, jitter=lambda mean, std: mean + 0.3 * torch.randn_like(mean))
    x = IMAGES[:2] / 255
    params = augment.make_params([x])
    state = torch.get_rng_state()
    assert torch.equal(augment.transform(x, params), augment.transform(x, params))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(augment(x), augment(x))


def test_jitters_may_work_in_place_be_modules_or_return_other_floats(vae):
    def in_place(mean, std):
        mean += 0.3
        return mean

    class Learned(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(0.3))

        def forward(self, mean, std, generator):
            assert generator is not None
            return mean + self.w

    x = IMAGES[:2] / 255
    expected = VAEAugment(vae, jitter=lambda mean, std: mean + 0.3)(x)
    for jitter in (in_place, Learned(), lambda mean, std: mean.double() + 0.3):
        augment = VAEAugment(vae, jitter=jitter)
        assert torch.allclose(augment(x), expected, atol=1e-6)
        assert list(augment.named_parameters()) == []
    with pytest.raises(ValueError, match="not finite"):
        VAEAugment(vae, jitter=lambda mean, std: mean * torch.nan)(x)


def test_params_replay(augment, image):
    params = augment.make_params([image])
    assert torch.equal(pixels(augment.transform(image, params)), pixels(augment.transform(image, params)))


def test_one_by_one_equals_the_plain_formula(vae):
    x = IMAGES[:3] / 255
    augment = VAEAugment(vae, jitter=lambda mean, std: mean + 0.5, strength=2.0)
    z = vae.encode(x).mean
    expected = (x + vae.decode(z + 2.0 * 0.5 * vae.latent_std) - vae.decode(z)).clamp(0, 1)
    assert torch.allclose(augment(x), expected, atol=1e-6)


def test_vary_all_takes_mixed_kinds(augment):
    images = [
        make()
        for kind, make in KINDS.items()
        if "batch" not in kind and "Video" not in kind and kind != "not contiguous"
    ]
    out = augment.vary_all(images)
    assert all(same_kind(a, b) for a, b in zip(out, images, strict=True))
    assert all(not torch.equal(pixels(a), pixels(b)) for a, b in zip(out, images, strict=True) if a is not b)
    assert augment.vary_all([]) == []


def test_network_stays_out_of_the_module_tree(vae, augment):
    assert list(augment.parameters()) == []
    assert augment.state_dict() == {}
    for name in ("vae", "jitter"):
        with pytest.raises(AttributeError, match=name):
            setattr(augment, name, vae)
    assert "Conv2d" not in repr(augment)
    assert not any(isinstance(m, type(vae)) for m in augment.modules())
    augment.train()
    assert not augment.vae.training
    assert vae.training
    assert all(p.requires_grad for p in vae.parameters()), "the user's own VAE was frozen"


def test_output_can_be_trained_on(augment):
    x = augment(IMAGES[:4] / 255)
    v2.Normalize([0.5], [0.5], inplace=True)(x)
    net = torch.nn.Linear(784, 2)
    net(x.flatten(1)).sum().backward()
    assert net.weight.grad is not None


def test_pickle_and_deepcopy_give_the_same_images(augment):
    x = IMAGES[:2] / 255
    for other in (pickle.loads(pickle.dumps(augment)), copy.deepcopy(augment)):
        torch.manual_seed(0)
        a = augment(x)
        torch.manual_seed(0)
        assert torch.equal(a, other(x))
        assert repr(other) == repr(augment)


def test_default_dtype_does_not_matter(augment):
    x = IMAGES[:2] / 255
    torch.manual_seed(0)
    a = augment(x)
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        b = augment(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(a, b)


def test_jitter_toward_the_bank(vae):
    bank = LatentBank.from_images(vae, IMAGES[:100])
    augment = VAEAugment(vae, jitter=Interpolate(k=5), bank=bank)
    assert augment.jitter.bank.shape == (100, 8)
    assert augment(IMAGES[:2].clone()).shape == (2, 1, 28, 28)
    with pytest.raises(ValueError, match="bank"):
        VAEAugment(vae, jitter=Interpolate())


@pytest.mark.parametrize(
    "options",
    [
        {"strength": -1},
        {"strength": float("nan")},
        {"strength": "1"},
        {"p": 1.5},
        {"p": True},
        {"gain": -1},
        {"on_geometry": "x"},
    ],
)
def test_bad_options_name_themselves(vae, options):
    with pytest.raises(ValueError, match=rf"^{next(iter(options))} must be"):
        VAEAugment(vae, **options)


def test_an_image_without_a_channel_dimension_is_told_how_to_get_one(vae):
    with pytest.raises(ValueError, match=r"image\[None\]"):
        VAEAugment(vae)(torch.rand(28, 28))


def test_numbers_of_numpy_are_numbers(vae):
    assert VAEAugment(vae, strength=np.float32(0.5), p=np.int64(1)).strength == 0.5


def test_bad_jitters_and_models(vae):
    with pytest.raises(TypeError, match="callable"):
        VAEAugment(vae, jitter="noise")
    with pytest.raises(ValueError, match="shape of mean"):
        VAEAugment(vae, jitter=lambda mean, std: mean[:, :3])(torch.rand(1, 28, 28))
    with pytest.raises(TypeError, match="from_pretrained"):
        VAEAugment("mnist")
    with pytest.raises(TypeError, match="unexpected keyword"):
        VAEAugment(vae, strenght=1)


def test_repr_says_what_it_does(vae):
    expected = "VAEAugment(strength=0.5, p=0.3, jitter=Noise(scale=2.0, coarse=3), residual=True)"
    assert repr(VAEAugment(vae, strength=0.5, p=0.3, jitter=Noise(2.0))) == expected


def test_pil_image_size_and_mode(augment):
    out = augment(PIL.Image.new("RGB", (40, 20), "red"))
    assert (out.mode, out.size) == ("RGB", (40, 20))
