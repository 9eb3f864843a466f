"""SyntheticDataset fits to the labels of its base by itself."""

import weakref

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS, nearest_class
from vae_augment import Noise, SyntheticDataset, VAEAugment


def test_data_set_fits_a_copy_by_itself():
    torch.manual_seed(0)
    augment = VAEAugment.from_pretrained("fashion-mnist")
    dataset = SyntheticDataset(FEW, ratio=2, augment=augment)
    assert augment.classes is None
    assert dataset.augment.classes == tuple(range(10))
    image, label = dataset[100]
    assert label == FEW[dataset.source(100)][1]
    assert image.dtype == torch.uint8
    synthetic = torch.stack([dataset[i][0] for i in range(100, 300)]) / 255
    expected = torch.tensor([dataset[i][1] for i in range(100, 300)])
    assert (nearest_class(synthetic) == expected).float().mean() > 0.6
    assert SyntheticDataset(FEW, augment=augment, fit=False).augment is augment


def test_data_set_without_labels_or_unknown_to_the_bank_varies_images_instead():
    augment = VAEAugment.from_pretrained("fashion-mnist")
    assert SyntheticDataset(list(IMAGES[:20]), augment=augment).augment is augment
    with pytest.warns(UserWarning, match="does not know"):
        varied = SyntheticDataset(FEW, augment=VAEAugment.from_pretrained("mnist"))
    assert type(varied.augment.jitter).__name__ == "ClassDifferences"


def test_a_class_that_the_fit_did_not_meet_is_varied_instead(monkeypatch):
    monkeypatch.setattr("vae_augment.base_fit.MOST_READ", 99)
    last = SyntheticDataset(FEW, ratio=1, fit=False).source(199)  # the only one of the hundred that is not read
    base = [(image, 77 if i == last else label) for i, (image, label) in enumerate(FEW)]
    dataset = SyntheticDataset(base, ratio=1, augment=VAEAugment.from_pretrained("fashion-mnist"))
    assert 77 not in dataset.augment.classes
    (image, label), (_, other) = dataset.__getitems__([199, 198])
    assert label == 77
    assert other != 77
    assert image.shape == (1, 28, 28)
    dataset.augment.p = 0  # switches them off, too
    assert all(torch.equal(dataset[i][0], base[dataset.source(i)][0]) for i in (198, 199))
    dataset.augment.p = 1
    with pytest.raises(ValueError, match="77"):
        SyntheticDataset(base, ratio=1, augment=dataset.augment)[199]


def test_a_chosen_strength_jitter_or_output_is_not_overruled():
    for options in ({"strength": 0.5}, {"residual": False}, {"jitter": Noise(0.5)}):
        augment = VAEAugment.from_pretrained("fashion-mnist", **options)
        assert SyntheticDataset(FEW, augment=augment).augment is augment
    still = VAEAugment.from_pretrained("fashion-mnist", strength=0)
    dataset = SyntheticDataset(FEW, ratio=1, augment=still)
    assert torch.equal(dataset[150][0], FEW[dataset.source(150)][0])


def test_names_and_numbers_of_single_images_are_no_classes():
    base = [(image, f"img{i}.png") for i, (image, _) in enumerate(FEW)]
    with pytest.warns(UserWarning, match="no two of its 100 images share a label"):
        assert SyntheticDataset(base, ratio=1).augment.classes is None
    assert SyntheticDataset([*base, base[0]], ratio=1).augment.classes is not None


def test_labels_that_are_no_classes_are_told():
    base = [(image, torch.eye(10)[label]) for image, label in FEW]
    with pytest.warns(UserWarning, match=r"Tensor of float32 \(10,\)\), has no label: there is no integer or string"):
        assert SyntheticDataset(base, ratio=1).augment.classes is None
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(FEW)
    for samples, has in (
        (base, r"no integer or string as label: \(Tensor of uint8"),
        ([(FEW[0][0], "7")], "label '7'"),
    ):
        with pytest.raises(ValueError, match=has):
            SyntheticDataset(samples, ratio=1, augment=fitted)


def test_a_data_set_of_photographs_is_not_kept_in_memory_to_fit_to_it():
    alive, most = 0, 0

    def gone():
        nonlocal alive
        alive -= 1

    class Photographs(torch.utils.data.Dataset):
        def __len__(self):
            return 60

        def __getitem__(self, index):
            nonlocal alive, most
            image = F.resize(IMAGES[index], [280, 280])
            weakref.finalize(image, gone)
            alive += 1
            most = max(most, alive)
            return image, int(LABELS[index])

    dataset = SyntheticDataset(Photographs(), augment=VAEAugment.from_pretrained("fashion-mnist"))
    assert dataset.augment.classes is not None
    assert most < 5


def test_a_fitted_transform_tells_of_a_label_it_has_not_seen_when_it_meets_one(fitted):
    dataset = SyntheticDataset([*FEW[:20], (FEW[0][0], 11)], ratio=1, augment=fitted)
    with pytest.raises(ValueError, match=r"has the label 11\. Fit it to such labels"):
        list(dataset)


@pytest.mark.parametrize("beside", [tv_tensors.Mask, tv_tensors.Image, torch.clone, torch.Tensor.numpy, F.to_pil_image])
def test_a_fitted_transform_puts_no_new_image_beside_an_old_mask(fitted, beside):
    masks = [beside((image[0] > 0).to(torch.uint8)) for image, _ in FEW]
    base = [(F.to_pil_image(image), label, mask) for (image, label), mask in zip(FEW, masks, strict=True)]
    with pytest.raises(ValueError, match=r"new image beside .* of the old one, in a sample of base"):
        SyntheticDataset(base, ratio=1, augment=fitted)
    assert len(SyntheticDataset(base, ratio=0, augment=fitted)) == len(base)


def test_samples_with_masks_are_not_replaced():
    base = [(tv_tensors.Image(image), label, tv_tensors.Mask(image[0] > 0)) for image, label in FEW]
    with pytest.warns(UserWarning, match="have Mask, which would not fit a new image"):
        assert SyntheticDataset(base, ratio=1).augment.classes is None
    augment = VAEAugment.from_pretrained("fashion-mnist", on_geometry="error")
    with pytest.raises(ValueError, match="not Mask"):
        SyntheticDataset(base, ratio=1, augment=augment, fit=False)[150]


def test_balance_fills_the_small_classes():
    base = [pair for pair in FEW if pair[1] == 0] + [pair for pair in FEW if pair[1] == 1][:2]
    dataset = SyntheticDataset(base, ratio=1, balance=True)
    labels = [dataset[i][1] for i in range(len(dataset))]
    assert len(labels) == 24
    assert labels.count(0) == labels.count(1) == 12
    assert all(base[dataset.source(i)][1] == dataset[i][1] for i in range(12, 24))
    with pytest.raises(ValueError, match="label"):
        SyntheticDataset(list(IMAGES[:20]), balance=True)
