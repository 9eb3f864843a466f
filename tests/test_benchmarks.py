import ast
import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import pad
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import affine, to_pil_image

from benchmarks import decoding, encoders, label_spreading, novelty, own_images, rivals, share, survival, texts, unequal
from benchmarks.accuracy import POLICIES, accuracy, classifier
from benchmarks.exemplar_protocol import (
    AFTER_WARP,
    OURS,
    WARPS,
    Warp,
    hardest,
    jitters,
    losses,
    networks,
    variations,
    warped,
)
from benchmarks.table import (
    encoder_table,
    exemplar_table,
    interval,
    load,
    main_table,
    novelty_table,
    paired,
    peer_table,
    policy_table,
    track_table,
    variation_table,
)
from tests.conftest import IMAGES, LABELS
from vae_augment import VAE, VAEConfig, Weights, hub, load_weights


def test_every_figure_has_ten_draws_with_the_same_labelled_images():
    import json

    from benchmarks.accuracy import RESULTS

    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    drawn: dict[tuple[str, str, int, int], set[str]] = {}
    for row in rows:
        drawn.setdefault(
            ({"A": "B", "C-set": "B", "D": "B"}.get(row["track"], row["track"]), row["data"], row["n"], row["draw"]),
            set(),
        ).add(row["labelled"])
    assert all(len(hashes) == 1 for hashes in drawn.values())
    assert all(len(draws) >= 10 for draws in load().values())


def test_the_tables_of_the_benchmarks_page_are_the_stored_figures():
    cells, page = load(), Path("docs/benchmarks.md").read_text(encoding="utf-8")
    tables = [
        table(cells) for table in (main_table, track_table, encoder_table, peer_table, variation_table, policy_table)
    ]
    tables += [exemplar_table(), label_spreading.table(), label_spreading.classes_table()]
    for made in [
        *tables,
        unequal.table(),
        novelty.table(),
        novelty_table(cells),
        survival.curve_table(),
        survival.strength_table(),
        own_images.table(),
        own_images.bundled_table(),
        decoding.table(),
        encoders.table(),
        rivals.table(),
        share.table(),
        texts.table(),
    ]:
        assert made in page


def test_a_bank_with_an_encoder_and_one_with_noise_are_asked_with_the_same_images(tmp_path):
    for i, (image, label) in enumerate(zip(IMAGES[:300], LABELS[:300].tolist(), strict=True)):
        folder = tmp_path / "garments" / "train" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(folder / f"{i:03}.png")
    pool = label_spreading.of_folder(tmp_path / "garments" / "train", "fashion-mnist")
    oracle = torch.nn.functional.one_hot(pool.labels, 10) + 0.1 * torch.randn(len(pool.images), 10)
    figures = encoders.measured(encoders.Compared.of(pool, oracle), 5, 0)
    assert list(figures) == [encoders.WITHOUT, encoders.LITE0, encoders.NOISE]
    right = {arm: row["right"] for arm, row in figures.items()}
    assert right[encoders.LITE0] > 95 > right[encoders.WITHOUT]
    assert right[encoders.NOISE] > right[encoders.WITHOUT] - 5
    assert figures[encoders.LITE0]["weight"] > 0.5 > figures[encoders.NOISE]["weight"]


@pytest.mark.parametrize(
    ("spatial", "ways"),
    [
        (False, ["latents and HOG", "patch features", "both"]),
        (True, ["patch features", "patch features and ridge"]),
    ],
)
def test_the_labels_of_a_folder_are_counted_in_each_way(spatial, ways, tmp_path):
    for i, (image, label) in enumerate(zip(IMAGES[:300], LABELS[:300].tolist(), strict=True)):
        folder = tmp_path / "garments" / "train" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        to_pil_image(image).save(folder / f"{i:03}.png")
    weights = "fashion-mnist"
    if spatial:
        weights = str(tmp_path / "weights")
        hub.save(weights, Weights(VAE(VAEConfig(channels=1, size=32, latent_dim=4, spatial=True, width=32))))
    pool = label_spreading.of_folder(tmp_path / "garments" / "train", weights)
    assert pool.name == "garments"
    assert len(pool.bank) == len(pool.truth) > 290
    found = label_spreading.measured(pool, 10, 0)
    assert list(found) == ways
    assert all(45 < figures["right"] <= figures["right_kept"] + 5 < 105 for figures in found.values())
    wrong = label_spreading.measured(replace(pool, truth=(pool.truth + 1) % 10), 10, 0)
    assert all(figures["right"] < 15 for figures in wrong.values()), "counted against these labels"
    two = label_spreading.of_classes(pool, [3, 8])
    assert two.labels[two.draw(10, 0)].tolist() == [0] * 10 + [1] * 10
    assert torch.equal(two.truth >= 0, (pool.truth == 3) | (pool.truth == 8))
    assert torch.equal(two.draw(10, 0), pool.draw(10, 0).view(10, 10)[[3, 8]].flatten()), "the same labelled images"


def test_bootstrap_interval_covers_the_mean():
    generator = torch.Generator().manual_seed(1)
    hits = 0
    for _ in range(200):
        values = 0.5 + torch.randn(10, generator=generator, dtype=torch.float64)
        low, high = interval(values, resamples=500)
        hits += low < 0.5 < high
    assert 170 <= hits <= 200


def test_differences_are_paired_by_draw():
    assert paired({0: 3.0, 1: 5.0, 2: 9.0}, {1: 4.0, 0: 1.0}).tolist() == [2.0, 1.0]


def test_policies_and_classifier_fit_the_images():
    for policy in POLICIES.values():
        image = IMAGES[0] if policy is None else policy(IMAGES[0])
        assert image.shape == (1, 28, 28)
        assert image.dtype == torch.uint8
    net = classifier().eval()
    assert sum(p.numel() for p in net.parameters()) < 70_000
    assert 0 <= accuracy(net, IMAGES, torch.zeros(500, dtype=torch.int64)) <= 100


def test_speed_measures_the_same_work_at_the_same_price():
    import time

    from benchmarks.speed import RAND_AUGMENT, interleaved

    def work() -> None:
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass

    figures = interleaved({RAND_AUGMENT: (work, 1), "the same": (work, 1), "two at once": (work, 2)}, seconds=0.02)
    assert figures["the same"][0] == pytest.approx(1, rel=0.2)
    assert figures["two at once"][0] == pytest.approx(0.5, rel=0.2)


def test_flops_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    from benchmarks.speed import SMALL_RGB, decoder_flops, encoder_flops
    from vae_augment import VAEConfig
    from vae_augment.vae import FusedVAE

    for config in (VAEConfig(), VAEConfig(patch=7, width=32), SMALL_RGB):
        fused = FusedVAE(VAE(config))
        with FlopCounterMode(display=False) as counter:
            fused.decode_whitened(torch.zeros(1, *config.latent_shape))
        assert decoder_flops(config) == counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            fused.whitened_mean(torch.zeros(1, config.channels, config.size, config.size))
        assert encoder_flops(config) == counter.get_total_flops()


def test_the_hardest_variation_of_each_image_is_the_one_with_the_largest_loss():
    torch.manual_seed(0)
    nets, labels = networks([0, 1], 64, torch.device("cpu")), torch.arange(20) % 10
    made = [torch.randint(256, (20, 784), dtype=torch.uint8) for _ in range(6)]  # three for each network
    chosen = hardest(nets, iter(made).__next__, labels, 3)
    for i in range(2):
        net = [part[i : i + 1] for part in nets]
        loss = torch.stack([losses(net, x[None], labels[None])[0] for x in (*made[3 * i : 3 * i + 3], chosen[i])])
        assert torch.equal(loss[3], loss[:3].amax(0))


@pytest.mark.parametrize("jitter", [*OURS.values(), AFTER_WARP])
def test_variations_of_the_protocol_are_new_images_like_their_own(jitter):
    torch.manual_seed(0)
    vae, labels, images = load_weights("fashion-mnist").vae, torch.arange(500) // 50, IMAGES.clone()
    images[1] = images[0]  # copies have neighbours, too
    varied = variations(images.flatten(1), [jitters(vae, images, labels, jitter, torch.device("cpu"))])
    first, second, x = (part.view(500, -1).float() / 255 for part in (varied(), varied(), images))
    assert not torch.equal(first, second)
    assert 0.02 < (first - x).square().mean().sqrt() < 0.7 * (x - x.roll(1, 0)).square().mean().sqrt()


def test_warps_of_the_protocol_are_those_of_torchvision():
    x = IMAGES[:200].float() / 255
    crops = torch.stack([pad(x, [1] * 4)[..., i : i + 28, j : j + 28] for i in range(3) for j in range(3)])
    torch.manual_seed(0)
    apart = (warped(x, WARPS["mnist"]["crop"]) - crops).abs().amax((2, 3, 4))  # (9, 200)
    assert apart.amin(0).max() < 1e-5
    assert len(apart.argmin(0).unique()) == 9
    turned = warped(x[:1].expand(50, -1, -1, -1), Warp(0, degrees=20))
    angles = torch.linspace(-20, 20, 161).tolist()
    likeliest = [affine(x[0], angle, [0, 0], 1.0, [0.0, 0.0], InterpolationMode.BILINEAR) for angle in angles]
    assert (turned[:, None] - torch.stack(likeliest)).square().mean((2, 3, 4)).amin(1).max() < 1e-3


@pytest.mark.parametrize("path", sorted(Path("benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_package_is_there(path):
    """Also where a library that the benchmark compares with is not installed."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").startswith(("vae_augment", "train"))
        ):
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []
