"""Threads of one process share torch's global generator: what is seeded comes out the same whatever they do."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torchvision.transforms import v2

from tests.conftest import FEW, IMAGES
from vae_augment import SyntheticDataset, VAEAugment


def together(call, count):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(call, range(count)))


@pytest.mark.parametrize("kind", ["fitted", "fitted without a bank", "varied", "own jitter", "another transform"])
def test_a_seeded_data_set_read_by_threads_is_what_it_is_read_by_one(fitted, kind):
    augment = {
        "fitted": copy.copy(fitted),
        "fitted without a bank": VAEAugment(fitted.vae, gain=1.0).fit(FEW),
        "varied": VAEAugment(fitted.vae, gain=1.0),
        "own jitter": VAEAugment(fitted.vae, jitter=lambda mean, std: mean + torch.randn_like(mean)),
        "another transform": v2.RandomErasing(p=1, value="random"),
    }[kind]
    base = [(image / 255, label) for image, label in FEW[:40]] if kind == "another transform" else FEW[:40]
    dataset = SyntheticDataset(base, ratio=1.0, augment=augment, fit=False, seed=7)
    alone = [dataset[40 + i][0] for i in range(40)]
    for i, image in enumerate(together(lambda i: dataset[40 + i % 40][0], 200)):
        assert torch.equal(image, alone[i % 40])


def test_the_classes_of_a_fit_draw_from_the_generator_they_are_given(fitted):
    mean = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    of_a_bank, of_images = fitted.jitter, VAEAugment(fitted.vae, gain=1.0).fit(FEW).jitter
    classes, state = torch.arange(10), torch.get_rng_state()
    for draw in (
        lambda generator: of_a_bank(mean, mean, generator=generator),
        lambda generator: of_images(mean, mean, generator=generator),
        lambda generator: of_a_bank.draw_latents(classes, generator),
        lambda generator: of_images.draw_images(classes, generator),
    ):
        one, same, other = (draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_jitter_that_takes_no_generator_has_its_own_numbers_in_threads(vae):
    augment = VAEAugment(vae, jitter=lambda mean, std: mean + torch.randn_like(mean))
    params = augment.make_params([IMAGES[0]])
    expected = augment.transform(IMAGES[0], params)
    for image in together(lambda _: augment.transform(IMAGES[0], params), 200):
        assert torch.equal(image, expected)
