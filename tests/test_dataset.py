import pickle
import re
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset, random_split
from torchvision import transforms as v1
from torchvision import tv_tensors
from torchvision.datasets import ImageFolder, LFWPairs, VisionDataset, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES
from tests.photographs import photograph
from vae_augment import SyntheticDataset, VAEAugment
from vae_augment.demo_data import fashion_sample

TO_TENSOR = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
NORMALISE = v2.Compose([TO_TENSOR, v2.Normalize([0.3], [0.3])])


class Garments(VisionDataset):
    """The shipped sample as torchvision's MNIST reads its files: PIL images, transforms applied inside."""

    def __init__(self, transform=None, target_transform=None):
        super().__init__("", transform=transform, target_transform=target_transform)
        self.data, self.targets = fashion_sample()

    def __getitem__(self, index):
        image, target = F.to_pil_image(self.data[index]), int(self.targets[index])
        if self.transform is not None:
            image = self.transform(image)
        if self.target_transform is not None:
            target = self.target_transform(target)
        return image, target

    def __len__(self):
        return len(self.data)


class OwnDataset(Dataset):
    """What people write themselves: a `transform` attribute, used without asking whether it is there."""

    def __init__(self, transform):
        self.transform = transform

    def __getitem__(self, index):
        return {"image": self.transform(F.to_pil_image(IMAGES[index])), "label": index}

    def __len__(self):
        return 20


def negated(label):
    return -label


def test_real_items_keep_their_place_and_synthetic_ones_follow(augment):
    base = [(IMAGES[i], i) for i in range(10)]
    dataset = SyntheticDataset(base, ratio=0.5, augment=augment)
    assert len(dataset) == 15
    for i in range(10):
        assert dataset[i] is base[i]
        assert not dataset.is_synthetic(i)
        assert dataset.source(i) == i
    for i in range(10, 15):
        image, label = dataset[i]
        assert dataset.is_synthetic(i)
        assert label == dataset.source(i)
        assert image.dtype == torch.uint8
        assert not torch.equal(image, IMAGES[label])
    assert len({dataset.source(i) for i in range(10, 15)}) == 5
    assert dataset[-1][1] == dataset.source(14)


@pytest.mark.parametrize("ratio", [1e300, sys.float_info.max, 10**400, sys.maxsize / 20])
def test_more_samples_than_python_counts_are_refused(augment, ratio):
    with pytest.raises(ValueError, match=rf"ratio={re.escape(repr(ratio))} of 20 samples asks for more"):
        SyntheticDataset([(IMAGES[i], i) for i in range(20)], ratio=ratio, augment=augment)
    assert len(SyntheticDataset([IMAGES[0]] * 20, ratio=1e15, augment=augment)) == 20 + 20 * 10**15


@pytest.mark.parametrize(("ratio", "extra"), [(0, 0), (0.25, 5), (1, 20), (2.5, 50), (0.01, 0)])
def test_length_and_even_sources(augment, ratio, extra):
    dataset = SyntheticDataset([(IMAGES[i], i) for i in range(20)], ratio=ratio, augment=augment)
    assert len(dataset) == 20 + extra
    counts = torch.bincount(
        torch.tensor([dataset.source(i) for i in range(20, len(dataset))], dtype=torch.int64), minlength=20
    )
    assert counts.max() - counts.min() <= 1


def test_sources_meet_every_class_of_a_base_in_which_classes_take_turns(augment):
    for ratio in (0.1, 0.2, 0.5):
        dataset = SyntheticDataset(TensorDataset(*fashion_sample()), ratio=ratio, augment=augment)
        assert len({dataset.source(i) % 10 for i in range(500, len(dataset))}) == 10


def test_index_errors(augment):
    dataset = SyntheticDataset([(IMAGES[i], i) for i in range(4)], augment=augment)
    for index in (6, -7):
        with pytest.raises(IndexError, match="out of range for 6"):
            dataset[index]
    assert len(list(dataset)) == 6  # iteration ends by IndexError
    with pytest.raises(TypeError):
        dataset["a"]
    assert dataset[torch.tensor(5)][1] == dataset.source(5)


def test_torchvision_transform_is_applied_to_real_and_synthetic_alike(augment):
    base = Garments(transform=NORMALISE, target_transform=negated)
    dataset = SyntheticDataset(base, ratio=1, augment=augment)
    for index in (0, len(base)):
        image, target = dataset[index]
        assert image.dtype == torch.float32
        assert image.min() == pytest.approx(-1.0, abs=1e-5)  # black, normalised
        assert target == -int(base.targets[dataset.source(index)])
    assert base.transform is NORMALISE, "the data set was changed"


def test_transform_may_be_replaced_after_wrapping(augment):
    base = Garments(transform=NORMALISE)
    dataset = SyntheticDataset(base, ratio=1, augment=augment)
    base.transform = TO_TENSOR
    assert dataset[len(base)][0].min() == 0


def test_an_assigned_transform_is_applied_to_real_and_synthetic_alike(augment):
    """As timm's `create_loader` assigns it."""
    base = Garments(transform=NORMALISE)
    for data in (base, Subset(base, range(100)), list(FEW)):
        dataset = SyntheticDataset(data, ratio=1, augment=augment)
        assert dataset.transform is (NORMALISE if data is base else None)
        dataset.transform = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
        dataset.target_transform = lambda label: int(label) + 100
        for index in (0, len(data)):
            image, label = dataset[index]
            assert image.shape == (1, 28, 28)
            assert 0 <= image.min() < image.max() <= 1, "in the place of the base's own"
            assert label >= 100
        assert base.transform is NORMALISE, "the base is as it was"
        dataset.transform = dataset.target_transform = None
        assert dataset[0][1] < 100


def test_what_a_base_knows_of_its_classes_is_known_of_all(augment):
    base = Garments()
    dataset = SyntheticDataset(base, ratio=0.5, augment=augment)
    assert torch.equal(dataset.targets, base.targets[[dataset.source(i) for i in range(len(dataset))]])
    base.targets = base.targets.tolist()
    assert dataset.targets[500:] == [base.targets[dataset.source(i)] for i in range(500, 750)]
    base.targets = np.array(base.targets)
    assert isinstance(dataset.targets, np.ndarray)
    assert len(dataset.targets) == 750
    base.classes, base.class_to_idx = ["a", "b"], {"a": 0, "b": 1}
    assert (dataset.classes, dataset.class_to_idx) == (base.classes, base.class_to_idx)
    assert [label for _, label in dataset[499:502]] == [dataset[i][1] for i in (499, 500, 501)]
    assert dataset[5:2] == []
    plain = SyntheticDataset(FEW, augment=augment)
    assert not any(hasattr(plain, name) for name in ("targets", "classes", "class_to_idx"))


def test_a_base_may_be_changed_after_wrapping(augment):
    base = Garments(transform=TO_TENSOR)
    dataset = SyntheticDataset(base, ratio=1.0, augment=augment)
    base.targets = base.targets % 2
    for i in range(500, 510):
        assert dataset[i][1] == dataset[dataset.source(i)][1] < 2
    base.target_transform = lambda target: target + 100
    assert dataset[500][1] == dataset[dataset.source(500)][1] >= 100
    without = Garments()
    dataset = SyntheticDataset(without, ratio=1.0, augment=augment)
    without.transform = NORMALISE  # applied after the augmentation, which refuses normalised pixels
    assert dataset[500][0].min() < 0


class OwnFile(OwnDataset):
    """Opens its file at the first read, as data sets of h5py and lmdb do."""

    def __init__(self, path, transform):
        self.path, self.transform, self.file = path, transform, None

    def __getitem__(self, index):
        if self.file is None:
            self.file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (open as long as the data set)
        self.file.seek(785 * index)
        label, *pixels = self.file.read(785)
        image = torch.tensor(pixels, dtype=torch.uint8).view(1, 28, 28)
        return (image if self.transform is None else self.transform(image)), label

    def __len__(self):
        return 500


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("transform", [None, TO_TENSOR])
def test_a_file_that_base_opens_is_each_workers_own(tmp_path, transform, method):
    images, labels = fashion_sample()
    rows = torch.cat([labels[:, None].to(torch.uint8), images.flatten(1)], 1)
    (tmp_path / "garments").write_bytes(bytes(rows.flatten().tolist()))
    base = OwnFile(tmp_path / "garments", transform)
    dataset = SyntheticDataset(base, ratio=1.0, balance=True)
    assert base.file is None
    assert dataset.augment.classes is not None
    loader = DataLoader(dataset, batch_size=50, num_workers=2, multiprocessing_context=method)
    found = torch.cat([y for _, y in loader])
    assert found.tolist() == [int(labels[dataset.source(i)]) for i in range(1000)]


def test_subsets_and_concatenations_are_read_raw(augment):
    base = Garments(transform=NORMALISE)
    nested = ConcatDataset([Subset(base, range(3)), Subset(Subset(base, range(100)), [50, 51]), Garments(TO_TENSOR)])
    dataset = SyntheticDataset(nested, ratio=1, augment=augment)
    n = len(nested)
    places = {dataset.source(i): i for i in range(n, 2 * n)}
    for position, (target, low) in {0: (0, -1), 3: (50, -1), 5: (0, 0)}.items():
        image, label = dataset[places[position]]
        assert label == int(base.targets[target])
        assert image.min() == pytest.approx(low, abs=1e-5)


def test_subclass_of_subset_with_its_own_transform_is_refused_with_the_remedy(augment):
    class Transformed(Subset):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return NORMALISE(image), label

        def __getitems__(self, indices):
            return [self[i] for i in indices]

    dataset = SyntheticDataset(Transformed(Garments(), range(5)), augment=augment)
    with pytest.raises(ValueError, match="before Normalize"):
        dataset[6]


def test_own_dataset_with_a_transform_and_dict_samples(augment):
    dataset = SyntheticDataset(OwnDataset(NORMALISE), ratio=0.5, augment=augment)
    with pytest.raises(ValueError, match="before Normalize"):
        SyntheticDataset([OwnDataset(NORMALISE)[0]], ratio=1, augment=augment)[1]
    sample = dataset[20]
    assert sample["label"] == dataset.source(20)
    assert sample["image"].min() == pytest.approx(-1, abs=1e-5)
    assert SyntheticDataset(OwnDataset(v1.ToTensor()), ratio=1, augment=augment)[20]["image"].shape == (1, 28, 28)


class OwnJoint(OwnDataset):
    """Transforms image and target together, the albumentations way."""

    def __getitem__(self, index):
        image, target = self.transform(image=F.to_pil_image(IMAGES[index]), target=index)
        return image, target


class OwnAfterwards(OwnDataset):
    """Works on after the transform."""

    def __getitem__(self, index):
        return self.transform(F.to_pil_image(IMAGES[index])) * 0.5, index


class OwnBoxes(OwnDataset):
    """Transforms the whole sample, boxes too."""

    def __getitem__(self, index):
        box = tv_tensors.BoundingBoxes([[0, 0, 8, 8]], format="XYXY", canvas_size=(28, 28))
        return self.transform({"image": tv_tensors.Image(IMAGES[index]), "boxes": box})


class OwnViews(OwnDataset):
    """Two views of an image."""

    def __getitem__(self, index):
        image = F.to_pil_image(IMAGES[index])
        return self.transform(image), self.transform(image)


class OwnGarments(Garments):
    """torchvision's samples, worked on afterwards."""

    def __getitem__(self, index):
        image, target = super().__getitem__(index)
        return 1 - image, target


class OwnCache(OwnDataset):
    """Keeps its samples, transformed."""

    def __init__(self, transform):
        super().__init__(transform)
        self.samples = {}

    def __getitem__(self, index):
        if index not in self.samples:
            self.samples[index] = self.transform(IMAGES[index]), index
        return self.samples[index]


class OwnSometimes(OwnDataset):
    """Works on after the transform, but not always."""

    def __getitem__(self, index):
        image = self.transform(F.to_pil_image(IMAGES[index]))
        return image if index % 2 == 0 else 1 - image, index


class Pair(NamedTuple):
    label: int
    image: object


class OwnOrder(OwnDataset):
    def __getitem__(self, index):
        return Pair(index, self.transform(F.to_pil_image(IMAGES[index])))


def both(image, target):
    return TO_TENSOR(image), target


def test_a_data_set_that_keeps_its_samples_keeps_them_transformed(augment):
    base = OwnCache(NORMALISE)
    dataset = SyntheticDataset(base, ratio=1, augment=augment)
    synthetic = dataset.__getitems__(list(range(20, 40)))
    for real, _ in [*(dataset[i] for i in range(20)), *synthetic]:
        assert real.dtype == torch.float32
        assert real.min() == pytest.approx(-1, abs=1e-5)


def test_own_datasets_that_cannot_be_read_raw_are_read_as_they_are(augment):
    still = VAEAugment(augment.vae, p=0)
    dataset = SyntheticDataset(base := OwnSometimes(TO_TENSOR), ratio=1, augment=still, fit=False)
    assert all(torch.equal(dataset[i][0], base[dataset.source(i)][0]) for i in range(20, 40))
    for base in (OwnJoint(both), OwnAfterwards(TO_TENSOR)):
        image, label = SyntheticDataset(base, ratio=1, augment=augment)[25]
        assert image.shape == (1, 28, 28)
        assert 0 <= label < 20
    with pytest.raises(ValueError, match="before Normalize"):
        SyntheticDataset(OwnAfterwards(v2.Compose([NORMALISE, v2.Lambda(negated)])), ratio=1, augment=augment)[25]


def test_what_is_transformed_with_the_image_still_fits_it():
    still = VAEAugment.from_pretrained("fashion-mnist", strength=0)
    sample = SyntheticDataset(OwnBoxes(v2.RandomHorizontalFlip(p=1)), ratio=1, augment=still, fit=False)[25]
    assert sample["boxes"].tolist() == [[20, 0, 28, 8]]
    first, second = SyntheticDataset(OwnViews(TO_TENSOR), ratio=1, augment=still, fit=False)[25]
    assert first.dtype == second.dtype == torch.float32
    assert second.max() <= 1
    dataset = SyntheticDataset(OwnGarments(TO_TENSOR), ratio=1, augment=still, fit=False)
    assert torch.equal(dataset[525][0], dataset[dataset.source(525)][0])


def test_images_without_a_channel_are_not_taken_for_the_channels_of_one(augment):
    base = TensorDataset(*fashion_sample())
    base.tensors = (base.tensors[0][:, 0], base.tensors[1])
    dataset = SyntheticDataset(base, ratio=1.0, augment=augment)
    for count in (1, 2, 3):
        with pytest.raises(ValueError, match=r"shape \(28, 28\).*add one: image\[None\]"):
            dataset.__getitems__(list(range(500, 500 + count)))


def test_the_frames_of_a_clip_move_together(augment):
    clips = [(tv_tensors.Video(IMAGES[i].expand(4, 1, 28, 28).contiguous()), i % 2) for i in range(6)]
    dataset = SyntheticDataset(clips, ratio=1, augment=augment)
    assert dataset.augment is augment
    for clip, _ in dataset.__getitems__([6, 7, 8]):
        assert type(clip) is tv_tensors.Video
        assert torch.equal(clip, clip[:1].expand(4, 1, 28, 28))


def test_the_image_need_not_come_first_and_named_tuples_stay(augment):
    sample = SyntheticDataset(OwnOrder(NORMALISE), ratio=1, augment=augment)[25]
    assert type(sample) is Pair
    assert sample.image.min() == pytest.approx(-1, abs=1e-5)


def test_joint_transforms_and_tv_tensor_wrapper(augment):
    class Joint(Garments):
        def __init__(self):
            VisionDataset.__init__(self, "", transforms=lambda image, target: (TO_TENSOR(image), target + 100))
            self.data, self.targets = fashion_sample()

        def __getitem__(self, index):
            image, target = F.to_pil_image(self.data[index]), int(self.targets[index])
            return (image, target) if self.transforms is None else self.transforms(image, target)

    dataset = SyntheticDataset(Joint(), ratio=1, augment=augment)
    image, target = dataset[500 + 9]
    assert target == 100 + int(dataset.base.targets[dataset.source(509)])
    assert isinstance(image, tv_tensors.Image)


def test_image_folder_and_its_tv_tensor_wrapper(augment, tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        F.to_pil_image(IMAGES[3]).save(tmp_path / label / "0.png")
    for wrap in (lambda folder: folder, wrap_dataset_for_transforms_v2):
        base = wrap(ImageFolder(str(tmp_path), transform=NORMALISE))
        dataset = SyntheticDataset(base, ratio=1, augment=augment)
        image, label = dataset[3]
        assert label == dataset.source(3)
        assert image.shape == (3, 28, 28)
        assert image.min() == pytest.approx(-1, abs=1e-5)


@pytest.mark.parametrize(
    "base",
    [
        list(IMAGES[:6]),
        [F.to_pil_image(image) for image in IMAGES[:6]],
        IMAGES[:6] / 255,
        TensorDataset(IMAGES[:6], torch.arange(6)),
        [(F.to_pil_image(IMAGES[i]), i, {"name": str(i)}) for i in range(6)],
        [[tv_tensors.Image(IMAGES[i]), i] for i in range(6)],
    ],
    ids=["tensors", "PIL", "one tensor", "TensorDataset", "PIL, label, dict", "lists"],
)
def test_bases_of_many_kinds(augment, base):
    dataset = SyntheticDataset(base, ratio=1, augment=augment)
    synthetic, real = dataset[8], dataset[dataset.source(8)]
    assert type(real) is type(synthetic)
    if isinstance(real, tuple | list):
        assert [type(a) for a in real] == [type(a) for a in synthetic]
        assert list(real[1:]) == list(synthetic[1:])


def test_a_batch_costs_one_pass_and_equals_no_duplicates(augment):
    dataset = SyntheticDataset([(IMAGES[0], 0)] * 4, ratio=1, augment=augment)
    images = [image for image, _ in dataset.__getitems__([0, 4, 5, 6, 7])]
    assert all(not torch.equal(images[1], other) for other in (images[0], *images[2:]))


def test_seed_fixes_the_synthetic_images_only(augment):
    base = [(IMAGES[i], i) for i in range(6)]
    dataset, same = (SyntheticDataset(base, ratio=1, augment=augment, seed=3) for _ in range(2))
    state = torch.get_rng_state()
    assert torch.equal(dataset[7][0], dataset[7][0])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(dataset.__getitems__([8, 7, 11])[1][0], same[7][0])
    assert not torch.equal(dataset[7][0], SyntheticDataset(base, ratio=1, augment=augment, seed=4)[7][0])
    fresh = SyntheticDataset(base, ratio=1, augment=augment)
    assert not torch.equal(fresh[7][0], fresh[7][0])


def test_any_callable_may_augment():
    dataset = SyntheticDataset([(IMAGES[i], i) for i in range(4)], ratio=1, augment=v2.RandomHorizontalFlip(p=1))
    assert torch.equal(dataset[5][0], IMAGES[dataset.source(5)].flip(-1))


def test_augment_none_picks_bundled_weights_that_fit():
    assert SyntheticDataset(Garments()).augment.source == "fashion-mnist"
    assert SyntheticDataset([(IMAGES[0], 0)], ratio=0).augment is None
    with pytest.raises(ValueError, match=r"fashion-mnist \(1x28x28\)"):
        SyntheticDataset([torch.rand(3, 32, 32)], ratio=1)
    with pytest.raises(ValueError, match="dB PSNR"):
        SyntheticDataset([torch.rand(1, 28, 28) for _ in range(4)], ratio=1)
    grey = [(F.to_pil_image(F.resize(image, [40, 40])).convert("RGB"), label) for image, label in FEW]
    dataset = SyntheticDataset(grey, ratio=1)  # other sizes, and grey stored as RGB
    assert dataset.augment.source == "fashion-mnist"
    assert (dataset[150][0].mode, dataset[150][0].size) == ("RGB", (40, 40))
    assert SyntheticDataset(FEW, augment="mnist").augment.source == "mnist"
    for side, name in ((32, "cifar10"), (128, "flowers")):
        assert SyntheticDataset([photograph(i, (side, side)) for i in range(4)], ratio=1).augment.source == name


def test_splits_loaders_and_pickling(augment):
    dataset = SyntheticDataset(Garments(TO_TENSOR), ratio=0.5, augment=augment)
    parts = random_split(dataset, [0.8, 0.2])
    assert sum(len(part) for part in parts) == 750
    images, labels = next(iter(DataLoader(parts[0], batch_size=32, shuffle=True)))
    assert images.shape == (32, 1, 28, 28)
    assert labels.shape == (32,)
    assert len(pickle.loads(pickle.dumps(dataset))) == 750
    copy = pickle.loads(pickle.dumps(SyntheticDataset(Garments(NORMALISE), ratio=1, augment=augment, seed=0)))
    assert copy[500][0].min() == pytest.approx(-1, abs=1e-5)
    assert "500 real + 250 synthetic" in repr(dataset)


def test_bad_arguments(augment):
    class Stream(IterableDataset):
        def __iter__(self):
            yield 1

        def __len__(self):
            return 1

    with pytest.raises(TypeError, match="map-style"):
        SyntheticDataset(Stream(), augment=augment)
    for ratio in (-0.1, float("inf"), float("nan"), "1", True):
        with pytest.raises(ValueError, match="ratio"):
            SyntheticDataset([IMAGES[0]], ratio=ratio, augment=augment)
    with pytest.raises(TypeError, match="augment"):
        SyntheticDataset([IMAGES[0]], augment=3)
    with pytest.raises(FileNotFoundError, match="no weights named 'mnits'"):
        SyntheticDataset([IMAGES[0]], augment="mnits")
    with pytest.raises(TypeError, match="holds no image"):
        SyntheticDataset([("a", 1)], ratio=1, augment=augment)[1]


def test_bundled_weights_serve_a_quick_dataset():
    dataset = SyntheticDataset(Garments(), ratio=0.1, augment=VAEAugment.from_pretrained("fashion-mnist"))
    assert len(dataset) == 550
    assert dataset[549][0].mode == "L"


class Listed(Garments):
    def __init__(self):
        super().__init__(TO_TENSOR)
        self.order, self.targets = list(range(100)), [0] * 500

    def __getitem__(self, index):
        return super().__getitem__(self.order[index])

    def __len__(self):
        return len(self.order)


@pytest.mark.parametrize("workers", [0, 2])
def test_lists_that_are_changed_in_place_are_followed(workers):
    base = Listed()
    dataset = SyntheticDataset(base, ratio=1, augment=nn.Identity())
    loader = DataLoader(dataset, 50, num_workers=workers)
    next(iter(loader))
    base.targets[:] = [7] * 500
    base.order.reverse()
    images, labels = zip(*loader, strict=True)
    assert torch.cat(labels).tolist() == [7] * 200
    real, synthetic = torch.cat(images).split(100)
    assert torch.equal(synthetic, real[[dataset.source(100 + i) for i in range(100)]])


def test_a_subset_may_count_from_the_end_and_change_its_indices():
    parts = ConcatDataset([[(IMAGES[i], i) for i in (0, 1)], [(IMAGES[i], i) for i in (5, 6, 7)]])
    subset = Subset(parts, [-1, -3, -5, 1])
    dataset = SyntheticDataset(subset, ratio=1, augment=lambda image: image)
    for indices in ([-1, -3, -5, 1], [0, 1, 2, 3]):
        subset.indices = indices
        assert [dataset[4 + i][1] for i in range(4)] == [dataset[dataset.source(4 + i)][1] for i in range(4)]


def test_both_images_of_a_pair_are_transformed():
    class Pairs(LFWPairs):  # its own __getitem__, of images that are there
        def __init__(self):
            VisionDataset.__init__(self, "", transform=TO_TENSOR)
            self.data, self.pair_names, self.targets = [(0, 1)] * 3, ["a"] * 3, [0, 1, 0]

        def _loader(self, path):
            return F.to_pil_image(IMAGES[path])

        def __len__(self):
            return 3

    dataset = SyntheticDataset(Pairs(), ratio=1, augment=lambda image: image)
    assert [type(part) for part in dataset[4]] == [type(part) for part in dataset[0]]
