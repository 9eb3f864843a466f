"""`calibrate` with labels: the strength at which a stated part of them survives, as a probe sees it."""

import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from tests.conftest import FEW, IMAGES, LABELS
from vae_augment import VAE, Noise, SyntheticDataset, VAEAugment, VAEConfig, load_weights
from vae_augment.pool import LabelProbe
from vae_augment.survival import STRENGTHS, Survival, _crossing, without_survival


def garments(**options):
    return VAEAugment.from_pretrained("fashion-mnist", **options)


@pytest.fixture(scope="module")
def calibrated():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    augment = garments().calibrate(IMAGES, LABELS)
    assert torch.equal(torch.random.get_rng_state(), before)
    return augment


def test_garments_keep_fewer_labels_the_farther_they_move(calibrated):
    found = calibrated.survival
    parts = list(found.curve.values())
    assert list(found.curve) == list(STRENGTHS)
    assert parts[0] == 1
    assert parts[-1] < 0.7
    assert all(low <= high + 0.01 for high, low in pairwise(parts))
    assert found.curve[1.0] > 0.95 > found.curve[1.5]
    assert calibrated.strength == found.strength == pytest.approx(1.2, abs=0.2)
    assert (found.wanted, found.images) == (0.95, 500)
    assert found.accuracy > 0.75
    assert f"strength={found.strength}" in repr(calibrated)


def test_it_prints_as_a_table(calibrated):
    lines = str(calibrated.survival).splitlines()
    assert lines[0] == f"95% of labels survive at strength {calibrated.strength:g}"
    assert lines[2].split() == ["0", "100.0%"]
    assert len(lines) == len(STRENGTHS) + 3


def test_the_same_comes_out_whatever_was_drawn_before(calibrated):
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(1)
        again = garments(p=0.3, strength=0).calibrate(list(zip(IMAGES, LABELS, strict=True)), survival=0.95)
    assert again.survival == calibrated.survival
    assert again.strength == calibrated.strength  # what was given is replaced, as a gain is
    assert again.p == 0.3


def test_another_part_of_labels_wants_another_strength(calibrated):
    augment = garments().calibrate(IMAGES, LABELS, survival=0.8)
    assert augment.survival.curve == calibrated.survival.curve
    assert augment.strength > 1.5 * calibrated.strength


def test_labels_lie_where_fit_finds_them(calibrated):
    rows = [{"picture": image, "kind": f"kind {label}"} for image, label in zip(IMAGES, LABELS, strict=True)]
    augment = garments(image_key="picture").calibrate(rows, "kind")
    assert augment.strength == calibrated.strength
    with pytest.raises(TypeError, match="no key 'cls'"):
        garments(image_key="picture").calibrate(rows, "cls")
    with pytest.raises(TypeError, match="no label"):
        garments().calibrate(IMAGES, survival=0.95)


def test_it_varies_as_the_transform_does(calibrated):
    """Judged anew, by pixels that the transform itself has made."""
    probe = LabelProbe(IMAGES / 255, LABELS, 10)
    torch.manual_seed(0)
    kept = probe.keeps_label(calibrated(IMAGES) / 255)[probe.is_right].float().mean()
    assert float(kept) == pytest.approx(0.95, abs=0.02)


def test_saved_and_loaded_it_is_the_usual_strength(calibrated, tmp_path):
    calibrated.save_pretrained(tmp_path)
    again = VAEAugment.from_pretrained(tmp_path)
    assert again.survival == calibrated.survival
    assert again.strength == calibrated.strength
    assert "Strength at which labels survive" in (tmp_path / "README.md").read_text()
    assert VAEAugment.from_pretrained(tmp_path, strength=0.5).strength == 0.5
    for other in ({"jitter": Noise(2.0)}, {"residual": False}, {"gain": 1.0}):  # it is not theirs
        augment = VAEAugment.from_pretrained(tmp_path, **other)
        assert (augment.strength, augment.survival) == (1, None)
    assert load_weights(tmp_path).metrics["test_psnr_db"] == load_weights("fashion-mnist").metrics["test_psnr_db"]


def test_after_a_fit_strength_is_1_and_no_more_is_measured(calibrated):
    augment = VAEAugment(calibrated._saved)
    assert augment.strength == calibrated.strength
    augment.fit(FEW)
    assert augment.strength == 1
    assert 0 <= float(augment(IMAGES[0] / 255, int(LABELS[0]))[0].mean()) <= 1
    with pytest.raises(RuntimeError, match="not fitted"):
        augment.calibrate(IMAGES, LABELS)


def test_a_data_set_over_it_fits_unless_a_strength_is_given(calibrated):
    assert SyntheticDataset(FEW, augment=VAEAugment(calibrated._saved), ratio=0.1).augment.classes
    assert SyntheticDataset(FEW, augment=VAEAugment(calibrated._saved, strength=1), ratio=0.1).augment.classes
    assert SyntheticDataset(FEW, augment=VAEAugment(calibrated._saved, strength=0.5), ratio=0.1).augment.classes is None


def test_without_labels_none_are_read_and_what_was_known_is_forgotten(calibrated):
    augment = VAEAugment(calibrated._saved)
    assert augment.calibrate(list(zip(IMAGES[:50], LABELS[:50], strict=True))) is augment
    assert (augment.survival, augment.strength) == (None, 1)
    assert without_survival(augment._saved.metrics) == augment._saved.metrics


def test_what_cannot_be_judged_is_refused_and_changes_nothing():
    augment = garments()
    gain = augment.gain
    faint = IMAGES // 4
    shuffled = LABELS[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
    for labels, images, message in (
        (shuffled, faint, "no more than chance among 10 classes"),
        (LABELS * 0, faint, "at least two classes, got 0 alone"),
        (LABELS[:40], faint[:40], "at least 50 labelled images, better 500, got 40"),
        (LABELS[:40], faint, "500 images and 40 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            augment.calibrate(images, labels)
    for part in (0, 1, 95, -1, True, "0.95", float("nan")):
        with pytest.raises(ValueError, match="survival, the part of labels"):
            augment.calibrate(IMAGES, LABELS, survival=part)
    with pytest.raises(ValueError, match="changes no image"):
        garments(jitter=Noise(0.0)).calibrate(IMAGES[:100], LABELS[:100])
    assert (augment.gain, augment.strength, augment.survival) == (gain, 1, None)


def test_where_all_labels_survive_the_largest_strength_is_said_to_be_the_largest_tried():
    with pytest.warns(UserWarning, match="at least 20% of labels survive at strength 4, the largest that was tried"):
        augment = garments().calibrate(IMAGES[:200], LABELS[:200], survival=0.2)
    assert augment.strength == STRENGTHS[-1]


def test_reconstructions_may_lose_labels_by_themselves(tmp_path):
    with pytest.warns(UserWarning, match="at strength 0: decoded images lose more labels"):
        augment = garments(residual=False).calibrate(IMAGES, LABELS, survival=0.99)
    assert augment.survival.curve[0.0] < 0.99
    assert augment.strength == 0
    augment.save_pretrained(tmp_path)
    assert (
        VAEAugment.from_pretrained(tmp_path).strength == 1
    )  # a pipeline's residual is not stored, nor what follows of it


def test_a_jitter_of_ones_own_is_judged_and_not_stored(tmp_path):
    augment = garments(jitter=lambda mean, std: mean + 0.3 * torch.randn_like(mean)).calibrate(IMAGES, LABELS)
    assert 0.3 < augment.strength < 3
    assert augment.gain == 1
    augment.save_pretrained(tmp_path)
    assert VAEAugment.from_pretrained(tmp_path).survival is None


def squares(count=120, generator=None):
    """Coloured ones on noise, whose side and colour are their class, 3x32x32, and their labels."""
    generator = torch.Generator().manual_seed(0)
    images, labels = 0.3 * torch.rand(count, 3, 32, 32, generator=generator), torch.arange(count) % 3
    for image, label in zip(images, labels.tolist(), strict=True):
        y, x = torch.randint(2, 8, (2,), generator=generator).tolist()
        image[label, y : y + 8 + 6 * label, x : x + 8 + 6 * label] += 0.6
    return images, [("small", "middle", "large")[label] for label in labels.tolist()]


def test_colour_images_and_labels_that_are_words():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = VAE(VAEConfig(channels=3, size=32, latent_dim=4, spatial=True, patch=4, width=16, neck=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # this network has learned nothing: labels may survive all it does
        augment = VAEAugment(net, gain=1.0).calibrate(*squares())
    assert augment.survival.accuracy > 0.9
    assert augment.survival.curve[0.0] == 1


def test_diffusers_keep_it_beside_what_was_measured(tmp_path):
    pytest.importorskip("diffusers")
    from tests.diffusers_models import model

    model("AutoencoderTiny").save_pretrained(tmp_path / "plain")
    augment = VAEAugment.from_pretrained(tmp_path / "plain", size=32)
    augment.calibrate(squares()[0]).save_pretrained(tmp_path / "unlabelled")
    assert '"format_version": 1' in (tmp_path / "unlabelled" / "vae_augment.json").read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        augment.calibrate(*squares())
    augment.save_pretrained(tmp_path / "new")
    assert '"format_version": 2' in (tmp_path / "new" / "vae_augment.json").read_text()
    again = VAEAugment.from_pretrained(tmp_path / "new")
    assert again.survival == augment.survival
    assert again.strength == augment.strength


def test_a_probe_judges_no_image_that_it_has_seen():
    noise = torch.rand(400, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(400) % 2
    assert LabelProbe(noise, labels, 2).accuracy == pytest.approx(0.5, abs=0.1)  # by heart it would be 1
    probe = LabelProbe(IMAGES / 255, LABELS, 10)
    assert torch.equal(probe.keeps_label(IMAGES / 255), probe.is_right)


def test_a_class_of_one_image_is_judged_too():
    labels = LABELS.clone()
    labels[0] = 10
    assert LabelProbe(IMAGES / 255, labels, 11).accuracy > 0.7


@pytest.mark.parametrize("name", ["strength", "wanted", "probe_accuracy", "images", "at_strength_1"])
@pytest.mark.parametrize("value", [-1.0, 1e200, None])
def test_metrics_that_anybody_may_have_written_are_no_strength(calibrated, name, value):
    metrics = calibrated.survival.to_metrics()
    assert Survival.from_metrics(metrics) == calibrated.survival
    metrics[f"label_survival_{name}"] = value
    if value is None:
        del metrics[f"label_survival_{name}"]
    assert Survival.from_metrics(metrics) is None
    assert VAEAugment(replace(load_weights("fashion-mnist"), metrics=metrics)).strength == 1


def test_where_a_curve_crosses():
    assert _crossing({0.0: 1.0, 1.0: 0.98, 2.0: 0.90}, 0.94) == pytest.approx(1.5)
    assert _crossing({0.0: 1.0, 1.0: 0.90, 2.0: 0.96, 3.0: 0.5}, 0.95) == pytest.approx(0.5)  # it is made to fall
    assert _crossing({0.0: 0.9, 1.0: 0.8}, 0.95) == 0
    assert _crossing({0.0: 1.0, 4.0: 0.97}, 0.95) == 4


def test_what_was_measured_with_residual_says_nothing_without(calibrated):
    augment = VAEAugment(calibrated._saved)
    augment.residual = False
    assert augment.survival is None
    assert augment.strength == 1
    augment.residual = True
    assert augment.strength == calibrated.strength
