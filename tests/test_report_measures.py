"""Measures of the report against closed forms, reference formulas and distributions that are known."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from sklearn.neighbors import NearestNeighbors
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES, LABELS
from vae_augment.report.comparison import LARGEST_HALF, Features3, available
from vae_augment.report.copying import c_t, standardised_u, training_side
from vae_augment.report.diversity import gaussian_kernel, vendi_score
from vae_augment.report.frechet import fid_and_kid
from vae_augment.report.judging import label_truth
from vae_augment.report.manifold import covered, density, inside, radii
from vae_augment.report.near import closeness, distinct, nearest
from vae_augment.report.network import train
from vae_augment.report.sets import ImageSet
from vae_augment.report.two_sample import auc_error, two_sample_test

K = 5


def normal(n: int, d: int = 8, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (1.0, 1.0), (0.0, 0.3)])
def test_precision_recall_density_and_coverage_are_those_of_their_papers(shift, scale):
    """By scikit-learn's neighbours, as the package prdc (Naeem et al.) counts them."""
    real, fake = normal(200), scale * normal(150, seed=1) + shift
    distance = np.linalg.norm(real.numpy()[:, None] - fake.numpy()[None], axis=2)  # (real, fake)
    real_radius, fake_radius = (
        NearestNeighbors(n_neighbors=K + 1).fit(x).kneighbors(x)[0][:, -1] for x in (real.numpy(), fake.numpy())
    )
    within = distance < real_radius[:, None]
    r = radii(real, K)
    assert torch.allclose(r, torch.tensor(real_radius, dtype=torch.float32), atol=1e-4)
    assert float(inside(fake, real, r).float().mean()) == pytest.approx(within.any(0).mean(), abs=1e-6)
    recall = (distance < fake_radius[None]).any(1).mean()
    assert float(inside(real, fake, radii(fake, K)).float().mean()) == pytest.approx(recall, abs=1e-6)
    assert density(fake, real, r, K) == pytest.approx(within.sum(0).mean() / K, abs=1e-5)
    assert float(covered(fake, real, r).float().mean()) == pytest.approx(
        (distance.min(1) < real_radius).mean(), abs=1e-6
    )


def test_coverage_of_one_distribution_is_what_its_paper_derives():
    """1 - prod (N - i) / (M + N - i), Naeem et al., equation 9."""
    n, found = 300, []
    for seed in range(5):
        real, fake = normal(n, seed=2 * seed), normal(n, seed=2 * seed + 1)
        found.append(float(covered(fake, real, radii(real, K)).float().mean()))
    expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, K + 1))
    assert np.mean(found) == pytest.approx(expected, abs=0.02)


def test_vendi_scores_of_groups_are_their_number():
    groups = torch.block_diag(*[torch.ones(4, 4)] * 6)
    assert vendi_score(groups) == pytest.approx(6)
    unequal = torch.block_diag(torch.ones(9, 9), torch.ones(1, 1))
    assert vendi_score(unequal) == pytest.approx(math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1)))
    far = torch.tensor([[0.0], [100.0], [200.0]])
    assert vendi_score(gaussian_kernel(far, 1.0)) == pytest.approx(3)
    assert vendi_score(gaussian_kernel(far, 1e6)) == pytest.approx(1, abs=1e-3)


def test_c_t_in_one_cell_is_the_mann_whitney_test_of_scipy():
    a, b = normal(80, 1)[:, 0].abs(), normal(120, 1, 0.2, 1)[:, 0].abs()
    u = mannwhitneyu(a.numpy(), b.numpy()).statistic
    n, m = len(a), len(b)
    expected = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    assert standardised_u(a, b) == pytest.approx(expected, abs=1e-5)
    cells = torch.zeros(n, dtype=torch.int64), torch.zeros(m, dtype=torch.int64)
    assert c_t(a, b, *cells) == pytest.approx(expected, abs=1e-5)


def test_c_t_of_one_distribution_is_standard_normal_and_low_for_copies():
    cells = torch.zeros(100, dtype=torch.int64)
    found = [c_t(normal(100, 1, seed=s)[:, 0], normal(100, 1, seed=s + 1000)[:, 0], cells, cells) for s in range(200)]
    assert abs(np.mean(found)) < 0.3
    assert 0.8 < np.std(found) < 1.2
    unseen = normal(100, 1)[:, 0].abs()
    assert c_t(unseen * 0.2, unseen, cells, cells) < -5
    assert c_t(unseen * 5, unseen, cells, cells) > 5
    assert math.isnan(c_t(unseen, unseen, cells, cells + 1)), "no cell has both"


def test_cells_weigh_as_held_out_images_lie_in_them():
    a, b = torch.arange(20.0), torch.arange(30.0)
    cells_a, cells_b = torch.arange(20) % 2, torch.arange(30) % 3
    parts = [standardised_u(a[cells_a == c], b[cells_b == c]) for c in (0, 1)]  # cell 2 has no synthetic ones
    assert c_t(a, b, cells_a, cells_b) == pytest.approx(np.mean(parts))


def test_one_real_image_that_is_near_to_all_counts_once():
    near, far = torch.full((50,), 0.1), torch.full((50,), 0.2)
    assert training_side(near, far, torch.zeros(50, dtype=torch.int64), torch.arange(50)) == (1, 1)
    assert training_side(far, near, torch.zeros(50, dtype=torch.int64), torch.arange(50)) == (0, 50)


def test_the_two_sample_test_guesses_of_one_distribution_and_knows_two():
    same = two_sample_test(normal(200), normal(200, seed=1), 0)
    assert abs(same.auc - 0.5) < 3 * same.error
    apart = two_sample_test(normal(200, shift=2.0), normal(200, seed=1), 0)
    assert apart.auc > 0.99
    assert auc_error(0.5, 200, 200) == pytest.approx(((400 + 1) / (12 * 200 * 200)) ** 0.5, rel=0.01)


def test_fid_of_shifted_normal_features_is_the_square_of_the_shift():
    real = normal(4000, 4)
    fid, kid = fid_and_kid(real + 2.0, real)
    assert fid == pytest.approx(4 * 2.0**2, rel=0.01)
    assert kid > 1
    fid, kid = fid_and_kid(normal(4000, 4, seed=1), real)
    assert fid < 0.1
    assert abs(kid) < 0.3


def test_many_classes_are_compared_by_an_image_each():
    classes = 2 * LARGEST_HALF + 1
    sets = Features3(*((normal(2 * classes, 2, seed=s), torch.arange(2 * classes) % classes) for s in range(3)))
    assert available(sets, classes).amin(0).tolist() == [1] * classes


def test_fid_and_kid_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fid_and_kid(normal(50, 4), normal(50, 4, seed=1))


CHANGES = {
    "none": lambda x: x,
    "mirrored": lambda x: x.flip(-1),
    "a pixel aside": lambda x: F.affine(x, 0, [1, -1], 1.0, [0.0, 0.0]),
    "darker": lambda x: (x * 0.7 + 10).to(torch.uint8),
    "noise": lambda x: (x + 6 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255).byte(),
    "gamma": lambda x: (255 * (x / 255) ** 1.3).byte(),
    "jpeg": lambda x: torch.stack([F.jpeg(image, 80) for image in x]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_with_its_image(change):
    real, changed = IMAGES[:250], CHANGES[change](IMAGES[100:150])
    found = closeness(changed, real)
    is_right = found.is_copy & (found.place == torch.arange(100, 150))
    assert is_right.float().mean() > 0.85


def test_other_images_are_no_copies():
    assert closeness(IMAGES[250:], IMAGES[:250]).is_copy.float().mean() < 0.01


def test_a_copy_of_an_image_that_real_sets_hold_twice_is_found():
    real = torch.cat([IMAGES[:200], IMAGES[:5]])
    shaken = (IMAGES[:5] + 3 * torch.randn(IMAGES[:5].shape, generator=torch.Generator().manual_seed(0))).clamp(0, 255)
    assert closeness(shaken.byte(), real).is_copy.all()


def test_the_nearest_other_image_is_not_the_image_itself():
    own = torch.arange(50)
    found = nearest(IMAGES[:50], IMAGES[:100], own)
    assert (found.place != own).all()
    assert (found.distance > 0).all()
    assert (nearest(IMAGES[:50], IMAGES[:100]).place == own).all()


def test_colour_images_are_compared_in_colour():
    green, red = (torch.zeros(1, 3, 16, 16, dtype=torch.uint8) for _ in range(2))
    green[:, 1, 4:12], red[:, 0, 4:12] = 200, 200
    others = (torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255).byte()
    real = torch.cat([green, red, others])
    assert nearest(red, real).place.tolist() == [1]
    assert nearest(red, real, torch.tensor([1])).distance > 0.5


def test_repeats_are_counted_once_also_with_grain():
    shaken = (IMAGES[:1].repeat(40, 1, 1, 1) + 2 * torch.randn(40, 1, 28, 28)).clamp(0, 255).byte()
    assert len(distinct(shaken, IMAGES)) == 1
    assert len(distinct(IMAGES, IMAGES)) > 490


def test_the_part_of_wrong_labels_is_what_was_made_wrong():
    teach, judged, held_out = IMAGES[:200], IMAGES[200:350], ImageSet(IMAGES[350:], LABELS[350:])
    judge = train(teach, LABELS[:200], 10, 60, 0)
    right = label_truth(judge, ImageSet(judged, LABELS[200:350]), held_out, 10)
    assert abs(right.wrong) < 3 * right.error
    labels = LABELS[200:350].clone()
    labels[::3] = (labels[::3] + 1) % 10
    wrong = label_truth(judge, ImageSet(judged, labels), held_out, 10)
    assert abs(wrong.wrong - 1 / 3) < 3 * wrong.error
