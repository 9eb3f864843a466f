"""The kNN graphs of a bank, and how labels spread over them."""

import copy
import io

import PIL.Image
import pytest
import torch
from torch.utils.data import TensorDataset
from torchvision.transforms.v2 import functional as F

from tests.conftest import IMAGES
from vae_augment import Interpolate, LatentBank, VAEAugment, hub
from vae_augment.demo_data import fashion_sample
from vae_augment.pool.hog import hog
from vae_augment.pool.label_spreading import cross_validated_accuracy, knn_graph, shared_neighbours, spread_labels
from vae_augment.pool.near_duplicates import drop_near_duplicates
from vae_augment.pool.perturbations import perturbations

LABELS = fashion_sample()[1]


def test_labels_spread_along_the_graph():
    # two chains, a label at both ends of each
    chain = torch.tensor([[max(i - 1, 0), min(i + 1, 9)] for i in range(10)])
    neighbours = torch.cat([chain, chain + 10])
    labels = torch.full((20,), -1)
    labels[[0, 9]], labels[[10, 19]] = 0, 1
    scores = spread_labels([knn_graph(neighbours)], labels, 2, alpha=0.99)
    assert torch.allclose(scores.sum(1), torch.ones(20))
    assert scores[:10, 0].min() > 0.99
    assert scores[10:, 1].min() > 0.99


def test_labels_held_out_are_predicted_by_the_others():
    chain = torch.tensor([[max(i - 1, 0), min(i + 1, 9)] for i in range(10)])
    graphs = [knn_graph(torch.cat([chain, chain + 10]))]
    labels = torch.full((20,), -1)
    labels[[0, 4, 9]], labels[[10, 14, 19]] = 0, 1
    assert cross_validated_accuracy(graphs, labels, 2, 0.99) == 1
    labels[4], labels[14] = 1, 0  # each is among the other class's
    assert cross_validated_accuracy(graphs, labels, 2, 0.99) == pytest.approx(2 / 6, abs=0.2)
    labels[[0, 4, 9]], labels[[10, 14, 19]] = torch.tensor([0, 0, 2]), torch.tensor([1, 1, -1])
    assert cross_validated_accuracy(graphs, labels, 3, 0.99) == 1, "a label alone in its class cannot be predicted"


def test_the_cross_validated_accuracy_of_few_labels_is_that_of_many():
    weights = hub.load("fashion-mnist")
    shown = LABELS.argsort(stable=True).view(10, 50)[:, :5].flatten()
    many, few = (weights.bank.query(weights.vae, images.float() / 255) for images in (IMAGES, IMAGES[shown]))
    assert len(many.nearest) == len(weights.bank.views) == 2
    right = few.cross_validated_accuracy(LABELS[shown], 10)
    assert right == pytest.approx(many.cross_validated_accuracy(LABELS, 10), abs=0.15)
    wrong = LABELS[shown][torch.randperm(50, generator=torch.Generator().manual_seed(0))]
    assert few.cross_validated_accuracy(wrong, 10) < 0.3


def test_a_point_that_no_label_reaches_has_none():
    neighbours = torch.tensor([[1], [0], [3], [2]])
    scores = spread_labels([knn_graph(neighbours)], torch.tensor([0, -1, -1, -1]), 2, alpha=0.9)
    assert torch.equal(scores[:2], torch.tensor([[1.0, 0], [1, 0]]))
    assert torch.equal(scores[2:], torch.zeros(2, 2))


def test_spreading_is_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    neighbours = torch.stack([(torch.randperm(29, generator=generator)[:4] + i + 1) % 30 for i in range(30)])
    labels = torch.full((30,), -1)
    labels[:6] = torch.arange(6) % 3
    around = [{i, *row.tolist()} for i, row in enumerate(neighbours)]
    weights = torch.zeros(30, 30)
    for i, row in enumerate(neighbours.tolist()):
        for j in row:
            shared = len(around[i] & around[j]) / len(around[i] | around[j])
            weights[i, j] += shared + 1e-3
            weights[j, i] += shared + 1e-3
    root = weights.sum(1).rsqrt()
    known = torch.zeros(30, 3)
    known[torch.arange(6), labels[:6]] = 1
    exact = torch.linalg.solve(torch.eye(30) - 0.8 * root[:, None] * weights * root, 0.2 * known)
    scores = spread_labels([knn_graph(neighbours)], labels, 3, 0.8)
    assert torch.allclose(scores, exact / exact.sum(1, keepdim=True), atol=1e-4)


def test_an_edge_weighs_what_its_ends_share():
    neighbours = torch.tensor([[1, 2], [0, 2], [1, 3], [4, 5], [3, 5], [3, 4]])
    weights = shared_neighbours(neighbours, 2)
    assert torch.allclose(weights[0], torch.tensor([1.0, 0.5]))  # {0, 1, 2} twice; {0, 1, 2} and {1, 2, 3}
    assert torch.allclose(weights[2], torch.tensor([0.5, 0.2]))  # 3 is of another group


def test_graphs_vote_by_their_weights():
    one, two = torch.tensor([[1], [0], [3], [2], [0]]), torch.tensor([[2], [3], [0], [1], [2]])
    labels = torch.tensor([0, -1, -1, 1, -1])
    first, second = (spread_labels([knn_graph(neighbours)], labels, 2, alpha=0.9) for neighbours in (one, two))
    both = spread_labels([knn_graph(one, weight=2), knn_graph(two)], labels, 2, alpha=0.9)
    assert torch.allclose(both, (2 * first + second) / 3)
    assert both[1].tolist() == pytest.approx([2 / 3, 1 / 3])
    three = spread_labels([knn_graph(one), knn_graph(two), knn_graph(one)], labels, 2, alpha=0.9)
    assert torch.allclose(three, both)
    apart = torch.tensor([[2], [4], [0], [0], [1]])  # no label reaches 1 and 4
    assert (spread_labels([knn_graph(one), knn_graph(apart)], labels, 2, alpha=0.9)[[1, 4]] == 0).all()
    of = torch.tensor([0, 0, 1, 1, 0])
    assert cross_validated_accuracy([knn_graph(one, 2), knn_graph(two)], of, 2, 0.9) > cross_validated_accuracy(
        [knn_graph(one), knn_graph(two, 2)], of, 2, 0.9
    )


def test_far_neighbours_only_weigh_edges():
    chain = torch.tensor([[(i + j) % 40 for j in range(1, 21)] for i in range(40)])
    near = torch.cat([chain[:, :8], torch.arange(40)[:, None].expand(-1, 12)], dim=1)
    assert (knn_graph(chain).affinity.to_dense() > 0).equal(knn_graph(near).affinity.to_dense() > 0)


def test_bank_neighbours_are_others_and_mostly_of_the_same_class():
    weights = hub.load("fashion-mnist")
    bank = LatentBank.from_images(weights.vae, IMAGES)
    assert [view.neighbours.shape for view in bank.views] == [(500, 13), (500, 13)]
    for view in bank.views:
        assert (view.neighbours != torch.arange(500)[:, None]).all()
        assert (LABELS[view.neighbours.long()] == LABELS[:, None]).float().mean() > 0.6
    for nearest in bank.query(weights.vae, IMAGES[:3] / 255).nearest:
        assert nearest[:, 0].tolist() == [0, 1, 2]


def test_hog_knows_shapes_and_not_brightness():
    torch.manual_seed(0)
    x = IMAGES[:50] / 255
    own = hog(x)
    assert own.shape == (50, 392)
    assert torch.allclose(own.norm(dim=1), torch.ones(50), atol=1e-5)
    assert torch.allclose(hog(0.5 * x), own, atol=1e-4)
    assert torch.allclose(hog(x.expand(-1, 3, -1, -1)), own, atol=1e-4)
    assert (hog(1 - x) * own).sum(1).max() < 0.9  # directions, not mere lines
    assert hog(torch.zeros(2, 1, 28, 28)).equal(torch.zeros(2, 392))
    assert hog(torch.rand(2, 3, 64, 64)).isfinite().all()


def test_shifted_and_blank_images_may_be_in_a_pool():
    weights = hub.load("fashion-mnist")
    shifted = [IMAGES[:5].roll(by, side) for by in (1, -1) for side in (-1, -2)]
    pool = torch.cat([*shifted, torch.zeros(10, 1, 28, 28, dtype=torch.uint8)])
    bank = LatentBank.from_images(weights.vae, pool)
    neighbours = bank.views[0].neighbours
    assert neighbours.shape == (21, 13), "copies are left out"
    assert (neighbours[:20, :3] % 5).equal((torch.arange(20)[:, None] % 5).expand(-1, 3).short())
    assert LatentBank.from_images(weights.vae, pool[:2]).views[0].neighbours[:, 0].tolist() == [1, 0]
    blank = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    assert len(LatentBank.from_images(weights.vae, blank)) == 10, "a pool of one image is told by fit, not here"


def test_perturbations_are_small_and_begin_with_the_identity():
    x = IMAGES[:50] / 255
    perturbed = list(perturbations(x))
    assert torch.equal(perturbed[0], x)
    between = (x - x.roll(1, 0)).square().mean()
    for images in perturbed[1:]:
        assert 0 < (images - x).square().mean() < 0.5 * between


def test_a_shifted_copy_of_an_image_is_nearest_to_it():
    weights = hub.load("fashion-mnist")
    bank = LatentBank.from_images(weights.vae, IMAGES)
    shifted = torch.roll(IMAGES[20:30], 1, -1) / 255
    nearest = bank.query(weights.vae, shifted).nearest[0]
    assert (nearest[:, 0] == torch.arange(20, 30)).float().mean() > 0.7


def test_a_bank_takes_images_in_any_form():
    vae = hub.load("fashion-mnist").vae
    expected = LatentBank.from_images(vae, IMAGES[:60], size=40).latents.float()
    large = F.resize(IMAGES[:60].expand(-1, 3, -1, -1), [56, 56])
    forms = [
        IMAGES[:60] / 255,
        list(IMAGES[:60]),
        [(F.to_pil_image(image), 3) for image in IMAGES[:60]],
        TensorDataset(IMAGES[:60], LABELS[:60]),
    ]
    for images in forms:
        assert torch.allclose(LatentBank.from_images(vae, images, size=40).latents.float(), expected, atol=2e-3)
    off = LatentBank.from_images(vae, large, size=40).latents.float() - expected
    assert off.square().mean() < 0.1 * expected.square().mean(), "colour images of another size are converted"
    with pytest.raises(ValueError, match="or a data set of them"):
        LatentBank.from_images(vae, IMAGES[:60, 0])
    with pytest.raises(TypeError, match="map-style"):
        LatentBank.from_images(vae, iter(IMAGES))
    with pytest.raises(ValueError, match="expected one in each"):
        LatentBank.from_images(vae, [IMAGES[:2]] * 3)
    for wrong in (IMAGES[:60] > 0, (IMAGES[:60] > 0).long()):
        with pytest.raises(TypeError, match="expects uint8 pixels"):
            LatentBank.from_images(vae, wrong)
    outside = LatentBank.from_images(vae, IMAGES[:60] / 255 - 0.01, size=40)
    inside = LatentBank.from_images(vae, (IMAGES[:60] / 255 - 0.01).clamp_min(0), size=40)
    assert torch.equal(outside.latents, inside.latents)


def test_copies_in_a_pool_are_left_out():
    vae = hub.load("fashion-mnist").vae
    once, often = (LatentBank.from_images(vae, IMAGES.repeat(n, 1, 1, 1)[:800]) for n in (1, 2))
    assert torch.equal(often.latents, once.latents)
    for a, b in zip(often.views, once.views, strict=True):
        assert torch.equal(a.neighbours, b.neighbours)


def as_jpeg(image):
    file = io.BytesIO()
    F.to_pil_image(image).save(file, "JPEG", quality=75)
    return F.pil_to_tensor(PIL.Image.open(file))


def test_near_duplicates_are_left_out_too():
    noisy = IMAGES + 4 * torch.randn(IMAGES.shape, generator=torch.Generator().manual_seed(0))
    versions = [IMAGES, torch.stack(list(map(as_jpeg, IMAGES))), 0.97 * IMAGES, noisy.clamp(0, 255)]
    pool = torch.stack([version.byte() for version in versions], 1).flatten(0, 1)  # each image four times in turn
    assert torch.equal(drop_near_duplicates(pool), 4 * torch.arange(500))
    assert torch.equal(drop_near_duplicates(pool / 255), 4 * torch.arange(500))
    sizes = [F.resize(pool[:80], [side, side]).expand(-1, 3, -1, -1) for side in (14, 29, 64)]
    assert all(torch.equal(drop_near_duplicates(x), 4 * torch.arange(20)) for x in sizes)


def test_a_bank_of_other_weights_is_refused(tmp_path):
    vae = hub.load("fashion-mnist").vae
    bank = LatentBank.from_images(vae, IMAGES[:60])
    further = copy.deepcopy(vae)
    with torch.no_grad():
        further.decoder[-2].weight.mul_(1.1)
    with pytest.raises(ValueError, match="of other weights than this VAE's"):
        VAEAugment(further, bank=bank)
    VAEAugment(vae, bank=bank).save_pretrained(tmp_path)
    stored = hub.load(tmp_path)
    VAEAugment(stored.vae, bank=bank)
    with pytest.raises(ValueError, match="of other weights than this VAE's"):
        VAEAugment(further, bank=stored.bank)


def test_a_bank_takes_the_place_of_the_stored_one(tmp_path):
    vae = hub.load("fashion-mnist").vae
    bank = LatentBank.from_images(vae, IMAGES, size=300)
    augment = VAEAugment.from_pretrained("fashion-mnist", bank=bank)
    assert augment.bank is bank
    assert augment.gain == VAEAugment.from_pretrained("fashion-mnist").gain
    toward = VAEAugment.from_pretrained("fashion-mnist", bank=bank, jitter=Interpolate(k=5))
    assert len(toward.jitter.bank) == 300
    augment.save_pretrained(tmp_path)
    stored = VAEAugment.from_pretrained(tmp_path, jitter=Interpolate(k=5))
    assert stored.gain == toward.gain != VAEAugment.from_pretrained("fashion-mnist", jitter=Interpolate(k=5)).gain
    card = (tmp_path / "README.md").read_text()
    assert "300 latents of other images" in card
    assert "is in the weights." in card


def by_definition(neighbours, edges):
    """The affinity, dense: edges weighted by shared neighbours, each counted from both ends."""
    around = [[i, *row] for i, row in enumerate(neighbours.tolist())]
    weights = torch.zeros(len(neighbours), len(neighbours))
    for i, row in enumerate(neighbours[:, :edges].tolist()):
        for j in row:
            shared = sum(other in around[i] for other in around[j])
            weight = shared / (2 * len(around[i]) - shared) + 1e-3
            weights[i, j] += weight
            weights[j, i] += weight
    root = weights.sum(1).rsqrt()
    return root[:, None] * weights * root


@pytest.mark.parametrize("kind", ["named twice", "itself", "the first for many", "of 300"])
def test_neighbours_that_are_named_several_times_weigh_what_they_weigh(kind):
    """As an index names them that finds too few. Scores stay bounded: no eigenvalue is above 1."""
    generator = torch.Generator().manual_seed(0)
    count, k = (303, 300) if kind == "of 300" else (30, 10)
    neighbours = torch.stack(
        [(torch.randperm(count - 1, generator=generator)[:k] + i + 1) % count for i in range(count)]
    )
    if kind == "named twice":
        neighbours[:, 5:8] = neighbours[:, :1]
    elif kind == "itself":
        neighbours[:, 1:8] = torch.arange(count)[:, None]
    elif kind == "the first for many":
        neighbours[:, 3:8] = 0
    affinity = knn_graph(neighbours).affinity.to_dense()
    torch.testing.assert_close(affinity, by_definition(neighbours, 8), atol=1e-6, rtol=1e-5)
    assert torch.linalg.eigvalsh(affinity).max() < 1 + 1e-5
    labels = torch.full((count,), -1)
    labels[:6] = torch.arange(6) % 2
    assert spread_labels([knn_graph(neighbours)], labels, 2, 0.99).isfinite().all()
