"""A warning names the line of the user's code, whatever lies between that and the fault."""

import inspect

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from tests.conftest import FEW, IMAGES
from vae_augment import SyntheticDataset, VAEAugment

NOISE = torch.randint(0, 256, (40, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def in_a_pipeline():
    box = tv_tensors.BoundingBoxes([[0, 0, 9, 9]], format="XYXY", canvas_size=(28, 28))
    pipeline = v2.Compose([VAEAugment.from_pretrained("mnist", on_geometry="warn"), v2.RandomCrop(20)])
    return lambda: pipeline(IMAGES[3], box)


def of_a_fit():
    augment = VAEAugment.from_pretrained("mnist")
    return lambda: augment.fit(NOISE, torch.arange(40) % 2)


def of_a_data_set():
    data = [(image, label) for image, (_, label) in zip(NOISE, FEW, strict=False)]
    return lambda: SyntheticDataset(data, augment="mnist")


@pytest.mark.parametrize("use", [in_a_pipeline, of_a_fit, of_a_data_set])
def test_a_warning_names_the_line_that_led_to_it(use):
    call = use()
    with pytest.warns(UserWarning, match="no longer fit|does not know|apart") as told:
        call()
    assert {(warning.filename, warning.lineno) for warning in told} == {(__file__, inspect.getsourcelines(call)[1])}
