"""In the pipelines of kornia, Lightning, timm and datasets, as their users write them; each test needs its library."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES, LABELS
from vae_augment import SyntheticDataset, VAEAugment

PICTURES = [F.to_pil_image(image) for image in IMAGES[:40]]


def test_kornia_varies_images_and_leaves_masks_to_its_own_operations(augment):
    kornia = pytest.importorskip("kornia.augmentation")
    sequence = kornia.AugmentationSequential(augment, kornia.RandomHorizontalFlip(p=1.0), data_keys=["input", "mask"])
    images = IMAGES[:8] / 255
    masks = (images > 0.5).float()
    torch.manual_seed(0)
    out, turned = sequence(images, masks)
    torch.manual_seed(0)
    assert torch.equal(turned, masks.flip(-1))
    torch.testing.assert_close(out, augment(images).flip(-1), atol=1e-5, rtol=0)


def test_kornia_gets_another_change_of_each_image_of_a_batch(augment):
    kornia = pytest.importorskip("kornia.augmentation")
    same = (IMAGES[3:4] / 255).expand(6, -1, -1, -1)
    out = kornia.AugmentationSequential(augment, kornia.RandomErasing(p=0.0), data_keys=["input"])(same)
    assert len(out.flatten(1).unique(dim=0)) == 6


def test_lightning_varies_a_batch_after_its_transfer(fitted):
    lightning = pytest.importorskip("lightning.pytorch")

    class Classifier(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.augment, self.changed = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), fitted, 0.0

        def on_after_batch_transfer(self, batch, index):
            images, labels = batch
            new = self.augment(images, labels)[0] if self.trainer.training else images
            self.changed += float((new != images).float().mean())
            return new, labels

        def training_step(self, batch, index):
            return nn.functional.cross_entropy(self.net(batch[0].float() / 255), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    model = Classifier()
    loader = DataLoader(TensorDataset(IMAGES[:32], LABELS[:32].long()), batch_size=16)
    lightning.Trainer(fast_dev_run=2, logger=False, accelerator="cpu", enable_progress_bar=False).fit(model, loader)
    assert model.changed > 0.1
    assert all(name.startswith("net.") for name in model.state_dict()), "the frozen network is no part of the model"


def test_timm_s_loader_takes_real_and_synthetic_images(fitted):
    data = pytest.importorskip("timm.data")
    base = list(zip([picture.convert("RGB") for picture in PICTURES], LABELS[:40].tolist(), strict=True))
    dataset = SyntheticDataset(base, ratio=0.5, augment=fitted, fit=False)
    loader = data.create_loader(
        dataset, (3, 32, 32), 20, is_training=True, use_prefetcher=False, num_workers=0, persistent_workers=False
    )
    batches = list(loader)
    assert [tuple(images.shape) for images, _ in batches] == [(20, 3, 32, 32)] * 3
    assert sum(len(labels) for _, labels in batches) == len(dataset) == 60


def test_datasets_with_transform_gives_new_images_each_time(augment):
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"image": PICTURES[:6], "label": LABELS[:6].tolist()})
    varied = rows.cast_column("image", datasets.Image()).with_transform(augment)
    first, again = varied[0:3], varied[0:3]
    assert first["label"] == LABELS[:3].tolist()
    assert all(image.size == (28, 28) for image in first["image"])
    assert [image.tobytes() for image in first["image"]] != [image.tobytes() for image in again["image"]]


def test_it_is_a_module_without_parameters_and_moves_with_none():
    """So that a LightningModule or a kornia container may hold it."""
    augment = VAEAugment.from_pretrained("mnist")
    assert not list(augment.parameters())
    assert not augment.state_dict()
    assert augment.train().eval().to("cpu") is augment
