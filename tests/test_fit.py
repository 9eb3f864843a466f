"""Samples that know the class: fit, sample, save and load."""

import copy
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset
from torchvision.transforms.v2 import functional as F

from tests.conftest import FEW, IMAGES, LABELS, nearest_class
from vae_augment import Interpolate, LatentBank, SyntheticDataset, VAEAugment, WeightsError, hub
from vae_augment.demo_data import FASHION_CLASSES
from vae_augment.pool.label_spreading import spread_labels

MOST_LOOKS = 25  # a fit costs about ten, with one thread


def test_samples_are_new_images_of_the_class(fitted):
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(20)
    images = fitted.sample(labels)
    assert images.shape == (200, 1, 28, 28)
    assert images.min() >= 0
    assert images.max() <= 1
    assert len(images.flatten(1).unique(dim=0)) > 190
    assert (nearest_class(images) == labels).float().mean() > 0.65
    assert torch.cdist(images.flatten(1), (IMAGES / 255).flatten(1)).min() > 0


def test_a_seed_decides_the_samples(fitted):
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(fitted.sample([1, 2, 3]))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_labels_may_be_strings_tensors_or_a_data_set_with_a_transform(tmp_path):
    augment = VAEAugment.from_pretrained("fashion-mnist")
    named = augment.fit([(F.to_pil_image(image), FASHION_CLASSES[label]) for image, label in FEW])
    assert named.classes == tuple(sorted(FASHION_CLASSES))
    assert named.sample(["Bag", "Coat"]).shape == (2, 1, 28, 28)
    tensors = VAEAugment.from_pretrained("fashion-mnist").fit(TensorDataset(IMAGES[:100], LABELS[:100]))
    assert tensors.classes == tuple(range(10))
    assert tensors.sample(torch.tensor([3, 4])).shape == (2, 1, 28, 28)


def test_floats_a_little_outside_are_as_if_inside(fitted):
    off = torch.zeros(1, 28, 28)
    off[0, 0, 0] = -1e-6  # as an interpolation leaves them; the brightened copies of such an image would be nan
    fit = VAEAugment.from_pretrained("fashion-mnist").fit([(image / 255 + off, label) for image, label in FEW])
    assert torch.equal(fit.jitter.members, fitted.jitter.members)


def test_labelled_images_that_are_repeated_count_once(fitted):
    often = VAEAugment.from_pretrained("fashion-mnist").fit(ConcatDataset([FEW] * 3))
    assert torch.equal(often.jitter.members, fitted.jitter.members)
    assert len(often.jitter.labels) == len(FEW)
    with pytest.raises(ValueError, match="got 2 of"):  # the same image under two labels is told as two
        VAEAugment.from_pretrained("fashion-mnist").fit([(FEW[0][0], 1), (FEW[0][0], 1), (FEW[1][0], 1)])


def test_mistakes(fitted):
    fresh = VAEAugment.from_pretrained("fashion-mnist")
    with pytest.raises(RuntimeError, match="fit"):
        fresh.sample([1])
    with pytest.raises(ValueError, match=r"no such class: \[77\]"):
        fitted.sample([1, 77])
    with pytest.raises(ValueError, match="two classes"):
        fresh.fit(FEW[:1])
    with pytest.raises(TypeError, match="make TensorDataset"):
        fresh.fit(IMAGES[:20])
    with pytest.raises(TypeError, match=r"sample 0, .*Tensor of uint8 .* has no label"):
        fresh.fit(list(IMAGES[:5]))
    with pytest.raises(TypeError, match=r"sample 0, .*Tensor of uint8 .* has no label"):
        fresh.fit([(IMAGES[0], 0.5)])
    with pytest.raises(ValueError, match="sample 0 holds 5 images"):
        fresh.fit([(IMAGES[:5], 1)])
    with pytest.raises(ValueError, match="no labelled images"):
        fresh.fit([])
    with pytest.raises(ValueError, match="keep"):
        fresh.fit(FEW, keep=1.5)
    for stream in (zip([1], [2], strict=True), DataLoader(FEW)):
        with pytest.raises(TypeError, match="map-style"):
            fresh.fit(stream)
    with pytest.raises(TypeError, match="LatentBank"):
        VAEAugment(fresh.vae, bank=torch.zeros(9, 64))
    with pytest.raises(ValueError, match=r"shape \(48,\), and this VAE's are \(64,\)"):
        VAEAugment(hub.load("fashion-mnist").vae, bank=hub.load("mnist").bank)
    with pytest.raises(TypeError, match="whitened"):
        Interpolate(bank=fresh.bank)
    assert fitted.sample([]).shape == (0, 1, 28, 28)
    assert fresh.classes is None, "a failed fit left something behind"


@pytest.fixture(scope="module")
def without_bank():
    return VAEAugment(hub.load("fashion-mnist").vae).fit(FEW)


def test_without_a_bank_samples_are_labelled_images_moved_along_differences_within_a_class(without_bank):
    torch.manual_seed(0)
    labels = torch.arange(10).repeat(30)
    images = without_bank.sample(labels)
    few, of = torch.stack([image for image, _ in FEW]).flatten(1) / 255, torch.tensor([label for _, label in FEW])
    distance, nearest = torch.cdist(images.flatten(1), few).min(1)
    assert (of[nearest] == labels).float().mean() > 0.97, "a sample is another class's image"
    assert without_bank.jitter.reach > 0.15
    assert 0.3 < distance.median() < 4, "of an image whose norm is about 10"
    assert len(images.flatten(1).unique(dim=0)) > 250  # a tenth of the pairs is one image with itself
    still = VAEAugment(without_bank.vae, strength=0).fit(FEW).sample(labels)
    assert torch.cdist(still.flatten(1), few).min(1).values.max() < 0.02, "strength 0 moves nothing"
    batch = torch.stack([image for image, _ in FEW])
    varied = without_bank(batch)
    assert varied.dtype == torch.uint8
    assert 0 < (varied.float() - batch.float()).abs().mean() < 20


def test_without_a_bank_a_data_set_varies_each_source_itself(without_bank):
    torch.manual_seed(0)
    dataset = SyntheticDataset(FEW, ratio=1, augment=without_bank)
    changes = [(dataset[i][0] / 255 - FEW[dataset.source(i)][0] / 255).square().mean() for i in range(100, 200)]
    assert max(changes) < 0.1
    assert [dataset[i][1] for i in range(100, 200)] == [FEW[dataset.source(i)][1] for i in range(100, 200)]
    copy = pickle.loads(pickle.dumps(without_bank))
    torch.manual_seed(0)
    a = without_bank.sample([5])
    torch.manual_seed(0)
    assert torch.equal(copy.sample([5]), a)


@pytest.mark.parametrize("kind", ["fitted", "without_bank"])
def test_a_fit_is_saved_and_loaded(kind, request, tmp_path):
    augment = request.getfixturevalue(kind)
    path = tmp_path / "fit.safetensors"
    augment.save_fit(path)
    other = VAEAugment(hub.load("fashion-mnist").vae).load_fit(path)  # without the bank
    draws = []
    for each in (augment, other):
        torch.manual_seed(3)
        draws.append((each.sample([5, 1]), each(IMAGES[:4])))
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert other.classes == augment.classes
    with pytest.raises(WeightsError, match="fitted with other weights"):
        VAEAugment.from_pretrained("mnist").load_fit(path)


def test_a_fit_does_not_change_the_weights_that_are_saved(tmp_path):
    augment = VAEAugment(hub.load("fashion-mnist").vae)
    gain = augment.gain
    augment.fit(FEW).save_pretrained(tmp_path)
    assert hub.load(tmp_path).gains == {"Noise": gain}


def test_a_fit_file_that_is_missing_or_damaged_is_refused(fitted, tmp_path):
    fresh, path = VAEAugment.from_pretrained("fashion-mnist"), tmp_path / "fit.safetensors"
    with pytest.raises(RuntimeError, match="fit"):
        fresh.save_fit(path)
    with pytest.raises(FileNotFoundError):
        fresh.load_fit(path)
    fitted.save_fit(path)
    whole = path.read_bytes()
    with safetensors.safe_open(path, framework="pt") as file:
        header, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    damaged = {
        "cut off": whole[: len(whole) // 2],
        "empty": b"",
        "without a header": safetensors.torch.save(tensors),
    }
    changed_header = {"labels": "[0]", "kind": "differences", "vae": "0"}
    damaged |= {k: safetensors.torch.save(tensors, metadata=header | {k: v}) for k, v in changed_header.items()}
    changed = {
        "ends": tensors["ends"].flip(0),
        "labels": tensors["labels"] + 99,
        "latents": tensors["latents"] * torch.inf,
        "members": tensors["members"][1:],
        "labelled": tensors["labelled"][:, 1:].contiguous(),
    }
    damaged |= {f"{k} of others": safetensors.torch.save(tensors | {k: v}, metadata=header) for k, v in changed.items()}
    for name, content in damaged.items():
        path.write_bytes(content)
        try:
            fresh.load_fit(path)
        except WeightsError:
            continue
        pytest.fail(f"loaded: {name}")
    assert fresh.classes is None, "a failed load left something behind"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads peak memory as Linux tells it")
def test_a_fit_needs_little_memory():
    script = """
import re
from pathlib import Path
from vae_augment import VAEAugment
from vae_augment.demo_data import fashion_sample

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

images, labels = fashion_sample()
augment = VAEAugment.from_pretrained("fashion-mnist")
augment(images[:100])  # the libraries' own memory, taken at first use
few = list(zip(images[:100], labels[:100].tolist()))
Path("/proc/self/clear_refs").write_text("5")  # the peak is what is used now
before = kilobytes("VmRSS")
augment.fit(few)
print(kilobytes("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 50 * 1024


def test_images_that_the_bank_does_not_know_are_varied_with_a_warning():
    with pytest.warns(UserWarning, match="does not know"):
        augment = VAEAugment.from_pretrained("mnist").fit(FEW)
    assert type(augment.jitter).__name__ == "ClassDifferences"
    assert augment.residual
    assert augment.jitter.reach < 0.1, "images unlike the VAE's are moved less"


@pytest.mark.parametrize(("count", "classes"), [(60, 2), (25, 5), (30, 10)])
def test_labels_that_do_not_spread_over_the_bank_are_told_and_not_used(count, classes):
    names = [i % classes for i in range(count)]
    order = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(0))  # so names say nothing of images
    augment = VAEAugment.from_pretrained("fashion-mnist")
    with pytest.warns(UserWarning, match=r"right for \d+% of the labelled images held out"):
        augment.fit([(IMAGES[i], name) for i, name in zip(order.tolist(), names, strict=False)])
    assert type(augment.jitter).__name__ == "ClassDifferences"
    assert augment.residual


def test_one_image_a_class_without_a_bank_is_told():
    with pytest.warns(UserWarning, match="one image of each class"):
        VAEAugment(hub.load("mnist").vae).fit([(IMAGES[i], i) for i in range(3)])


def test_strength_0_leaves_images_alone_after_a_fit_too(fitted):
    augment = VAEAugment.from_pretrained("fashion-mnist", strength=0.0).fit(FEW)
    assert torch.equal(augment(IMAGES[:4]), IMAGES[:4])
    assert all(torch.equal(a, b) for a, b in zip(augment.vary_all(IMAGES[:4], [0, 1, 2, 3]), IMAGES[:4], strict=True))


@pytest.mark.parametrize("labels", [3, "boot", torch.tensor(0), np.int64(3), torch.zeros(2, 2, dtype=torch.int64)])
def test_a_lone_label_is_refused(fitted, labels):
    with pytest.raises(TypeError, match="a vector of labels"):
        fitted.sample(labels)


def test_a_second_fit_is_like_a_first():
    augment = VAEAugment.from_pretrained("mnist")
    digits = augment.vae.decode(augment.bank.latents[:4].float())
    augment.fit(list(zip(digits, [0, 1] * 2, strict=True)))
    assert type(augment.jitter).__name__ == "ClassLatents"
    with pytest.warns(UserWarning, match="does not know"):
        augment.fit(FEW)
    assert type(augment.jitter).__name__ == "ClassDifferences"
    assert augment.residual, "it is what its user set, whatever was fitted"


def test_a_class_of_few_labels_is_not_flooded_by_those_of_many():
    few = {2: 3, 4: 3, 9: 3}  # pullovers, coats, boots; 40 of each other class
    chosen = torch.cat([(c == LABELS).nonzero()[:, 0][: few.get(c, 40)] for c in range(10)])
    rest = torch.tensor(sorted(set(range(len(IMAGES))) - set(chosen.tolist())))
    weights = hub.load("fashion-mnist")
    images = torch.cat([IMAGES[chosen], IMAGES[rest]]).float() / 255
    labels = torch.cat([LABELS[chosen], torch.full((len(rest),), -1)])
    of_pool = torch.full((len(weights.bank),), -1)
    graphs = weights.bank.query(weights.vae, images).graphs
    scores = spread_labels(graphs, torch.cat([of_pool, labels]), 10, alpha=0.95)[len(of_pool) + len(chosen) :]
    right = scores.argmax(1) == LABELS[rest]
    assert torch.stack([right[LABELS[rest] == c].float().mean() for c in few]).mean() > 0.65
    fit = VAEAugment(weights.vae, bank=weights.bank).fit([(IMAGES[i], int(LABELS[i])) for i in chosen.tolist()])
    assert fit.jitter.ends.diff(prepend=torch.tensor([0])).min() > 300


def test_a_class_that_the_bank_does_not_hold_is_told_and_keeps_its_labelled_images():
    torch.manual_seed(0)
    weights = hub.load("fashion-mnist")
    tops = torch.tensor([0, 2, 4, 6])
    bank = LatentBank.from_images(weights.vae, IMAGES[~torch.isin(LABELS, tops)])
    with pytest.warns(UserWarning, match=r"holds no images like those of \[0, 2, 4, 6\]"):
        fit = VAEAugment(weights.vae, bank=bank).fit(FEW)
    of_class = fit.jitter.members.tensor_split(fit.jitter.ends[:-1])
    assert [set(members.tolist()) == {-1} for members in of_class] == torch.isin(torch.arange(10), tops).tolist()
    assert [len(of_class[c]) for c in tops] == [10] * 4
    assert torch.isin(nearest_class(fit.sample([0] * 30)), tops).float().mean() > 0.8


@pytest.mark.parametrize(
    ("two", "count", "right"),
    [((1, 8), 3, 0.8), ((1, 8), 20, 0.97), ((1, 8), 50, 0.97), ((3, 7), 20, 0.78), ((3, 7), 50, 0.85)],
)
def test_latents_of_classes_without_a_label_are_left_out(two, count, right, fitted):
    """Trousers and bags alone, or dresses and sneakers, are labelled; the bank holds all ten classes."""
    few = [(IMAGES[i], label) for label in two for i in torch.where(label == LABELS)[0][:count]]
    known = VAEAugment.from_pretrained("fashion-mnist").fit(few).jitter
    assert 1000 < len(known.latents) < 3500
    of = fitted.jitter  # of all ten classes
    class_of = torch.full((10_000,), -1)
    class_of[of.members] = torch.bucketize(torch.arange(len(of.members)), of.ends, right=True)
    labelled = torch.bucketize(torch.arange(len(known.members)), known.ends, right=True)
    assert (class_of[known.members] == torch.tensor(two)[labelled]).float().mean() > right


@pytest.mark.parametrize("count", [5, 10, 50])
def test_where_all_classes_are_labelled_no_latent_is_left_out(count):
    weights = hub.load("fashion-mnist")
    places = torch.cat([torch.where(c == LABELS)[0][:count] for c in range(10)])
    scores = weights.bank.query(weights.vae, IMAGES[places] / 255).spread(LABELS[places], 10)
    assert (scores.sum(1) > 0).all()


def test_fitted_state_pickles_and_runs_in_workers(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    torch.manual_seed(0)
    a = fitted.sample([5])
    torch.manual_seed(0)
    assert torch.equal(copy.sample([5]), a)
    dataset = SyntheticDataset(FEW, ratio=1, augment=fitted)
    images, labels = next(iter(DataLoader(dataset, batch_size=200, num_workers=2, multiprocessing_context="spawn")))
    assert images.shape == (200, 1, 28, 28)
    assert labels[100:].tolist() == [FEW[dataset.source(i)][1] for i in range(100, 200)]


def test_fitting_leaves_the_global_rng_alone_and_repeats():
    state = torch.get_rng_state()
    one, two = (VAEAugment.from_pretrained("fashion-mnist").fit(FEW).jitter for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.latents, two.latents)


def test_a_fit_of_100_images_costs_as_much_as_a_few_dozen_looks_at_its_bank():
    """A ratio of processor times, in turn, so that it holds on any machine and at any load; `benchmarks.speed` has figures."""
    augment = VAEAugment.from_pretrained("fashion-mnist")
    latents, ratios = augment.bank.latents.float(), []
    for _ in range(3):
        started = time.process_time()
        for part in latents.split(500):
            augment.vae.decode(part)
        decoded = time.process_time()
        augment.fit(FEW)
        ratios.append((time.process_time() - decoded) / (decoded - started))
    assert min(ratios) < MOST_LOOKS


def test_label_minus_1_is_told():
    with pytest.warns(UserWarning, match="label -1 is taken for a class"):
        VAEAugment.from_pretrained("fashion-mnist").fit([*FEW[:4], (FEW[5][0], -1)])


def test_strength_below_1_goes_part_of_the_way(fitted):
    part = copy.copy(fitted)
    part.strength = 0.5
    images = [image for image, _ in FEW[:20]]
    labels = [label for _, label in FEW[:20]]
    torch.manual_seed(0)
    halfway = torch.stack(part.vary_all(images, labels)) / 255
    torch.manual_seed(0)
    wholly = torch.stack(fitted.vary_all(images, labels)) / 255
    real = torch.stack(images) / 255
    assert (halfway - real).square().mean() < (wholly - real).square().mean()


def test_labels_of_two_kinds_and_another_default_dtype():
    mixed = [(image, str(label) if label > 4 else label) for image, label in FEW]
    torch.set_default_dtype(torch.float64)
    try:
        augment = VAEAugment.from_pretrained("fashion-mnist").fit(mixed)
    finally:
        torch.set_default_dtype(torch.float32)
    assert augment.classes == (0, 1, 2, 3, 4, "5", "6", "7", "8", "9")


def test_what_is_set_for_training_does_not_matter_to_a_fit(fitted):
    """Autocast, another default device, threads; all are afterwards as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            bank = LatentBank.from_images(fitted.vae, IMAGES)
            augment = VAEAugment(fitted.vae, bank=fitted.bank).fit(FEW)
            dataset = SyntheticDataset(FEW, 0.5)
            assert torch.is_autocast_enabled("cpu")
            assert torch.empty(1).is_meta
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    plain = LatentBank.from_images(fitted.vae, IMAGES)
    assert torch.equal(bank.latents, plain.latents)
    assert all(torch.equal(a.neighbours, b.neighbours) for a, b in zip(bank.views, plain.views, strict=True))
    assert torch.equal(augment.jitter.members, fitted.jitter.members)
    assert torch.equal(dataset.augment.jitter.members, fitted.jitter.members)
