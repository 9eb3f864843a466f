"""LatentOverSampler keeps imbalanced-learn's convention, as far as images allow."""

import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.pipeline import make_pipeline
from imblearn.utils import estimator_checks
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer

from vae_augment import LatentBank, LatentOverSampler, VAEAugment, load_weights
from vae_augment.demo_data import fashion_sample

# Checks of imbalanced-learn that images cannot pass. All others run below, on images where they draw data by its generator; by
# the sampler's tags, which say so, there are none of sparse arrays, strings and missing values.
CANNOT_HOLD = {  # with what is said instead
    "check_samplers_pandas_sparse": r"dense data is required",  # images are dense; a frame of dense columns is taken
    "check_sampler_get_feature_names_out": r"uint8 or floats in \[0, 1\]",  # its numbers are standardised
    "check_sampler_get_feature_names_out_pandas": r"uint8 or floats in \[0, 1\]",
}
OF_TWO_PIXELS = (
    "check_target_type",
    "check_samplers_one_label",
    "check_samplers_fit",
)  # they draw arrays (N, 2) in [0, 1]


@pytest.fixture(scope="module")
def garments():
    """uint8 `(N, 1, 28, 28)` and labels: many T-shirts, some trousers, five ankle boots."""
    images, labels = fashion_sample()
    chosen = torch.cat([(labels == label).nonzero()[:n, 0] for label, n in ((0, 30), (1, 12), (9, 5))])
    return images[chosen].numpy(), labels[chosen].numpy()


@pytest.fixture(scope="module")
def resampled(garments):
    return LatentOverSampler(random_state=0).fit_resample(*garments)


def some_garments():
    """What the checks call for data of three classes, the second of 22 images: flat floats in [0, 1]."""
    images, labels = fashion_sample()
    chosen = torch.cat([(labels == label).nonzero()[:n, 0] for label, n in ((0, 15), (1, 22), (9, 30))])
    return images[chosen].flatten(1).numpy() / 255, (labels[chosen] > 0).numpy().astype(int) + (
        labels[chosen] > 1
    ).numpy()


@pytest.fixture(scope="module")
def small_bank():
    """Of a small bank, which is sooner fitted."""
    images, _ = fashion_sample()
    vae = load_weights("fashion-mnist").vae
    return VAEAugment(vae, bank=LatentBank.from_images(vae, images[:300]))


def the_checks():
    for estimator, check in estimator_checks.estimator_checks_generator(LatentOverSampler(random_state=0)):
        yield pytest.param(estimator, check, id=check.func.__name__)


@pytest.mark.parametrize(("sampler", "check"), the_checks())
def test_it_passes_the_checks_of_imbalanced_learn_that_images_allow(sampler, check, small_bank, monkeypatch):
    name = check.func.__name__
    monkeypatch.setattr(estimator_checks, "sample_dataset_generator", some_garments)
    sampler.set_params(augment=small_bank, image_shape=(1, 1, 2) if name in OF_TWO_PIXELS else (1, 28, 28))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two pixels are no garment, and the fit says so
        if name not in CANNOT_HOLD:
            check(sampler)
            return
        shape = (1, 28, 28) if "sparse" in name else (1, 1, 3)
        with pytest.raises((TypeError, ValueError), match=CANNOT_HOLD[name]):
            check(sampler.set_params(image_shape=shape))


def test_small_classes_are_filled_and_the_originals_come_first_untouched(garments, resampled):
    (x, y), (new_x, new_y) = garments, resampled
    assert Counter(new_y.tolist()) == {0: 30, 1: 30, 9: 30}
    assert (new_x.dtype, new_y.dtype, new_x.shape[1:]) == (x.dtype, y.dtype, x.shape[1:])
    assert np.array_equal(new_x[: len(x)], x)
    assert np.array_equal(new_y[: len(y)], y)


def test_samples_are_new_images_that_a_classifier_takes_for_their_class(garments, resampled):
    (x, _), (new_x, new_y) = garments, resampled
    made, labels = new_x[len(x) :], new_y[len(x) :]
    assert len(np.unique(np.concatenate([x, made]).reshape(len(new_x), -1), axis=0)) == len(new_x)
    images, truth = (part.numpy() for part in fashion_sample())
    others = np.isin(truth, (0, 1, 9)) & ~(images[:, None] == x[None]).all((2, 3, 4)).any(1)
    judge = LogisticRegression(max_iter=300).fit(images[others].reshape(others.sum(), -1) / 255, truth[others])
    assert judge.score(made.reshape(len(made), -1) / 255, labels) > 0.9


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_stay_floats_of_their_dtype_and_range(garments, dtype):
    x, y = (garments[0] / 255).astype(dtype), garments[1]
    new_x, _ = LatentOverSampler(random_state=0, augment="fashion-mnist").fit_resample(x, y)
    assert new_x.dtype == dtype
    assert new_x.min() >= 0
    assert new_x.max() <= 1
    assert np.ptp(new_x[len(x) :]) > 0.5


def test_flat_arrays_get_the_samples_of_images(garments, resampled):
    x, y = garments
    flat, _ = LatentOverSampler(random_state=0, image_shape=(1, 28, 28)).fit_resample(x.reshape(len(x), -1), y)
    assert np.array_equal(flat, resampled[0].reshape(len(flat), -1))


def test_colour_images_of_another_size_keep_both(garments):
    x, y = np.repeat(np.pad(garments[0], ((0, 0), (0, 0), (2, 2), (0, 0))), 3, axis=1), garments[1]
    new_x, _ = LatentOverSampler(random_state=0, augment="fashion-mnist").fit_resample(x, y)
    assert new_x.shape == (90, 3, 32, 28)


def test_labels_may_be_strings(garments):
    y = np.array(["shirt", "trouser", *[""] * 7, "boot"])[garments[1]]
    _, new_y = LatentOverSampler(random_state=0, augment="fashion-mnist").fit_resample(garments[0], y)
    assert Counter(new_y.tolist()) == {"shirt": 30, "trouser": 30, "boot": 30}


@pytest.mark.parametrize(
    ("strategy", "counts"),
    [
        ("minority", {0: 30, 1: 12, 9: 30}),
        ({1: 20, 9: 5}, {0: 30, 1: 20, 9: 5}),
        (lambda y: {9: 2 * int((y == 9).sum())}, {0: 30, 1: 12, 9: 10}),
    ],
)
def test_strategies_are_those_of_imbalanced_learn(garments, strategy, counts):
    sampler = LatentOverSampler(sampling_strategy=strategy, random_state=0, augment="fashion-mnist")
    _, y = sampler.fit_resample(*garments)
    assert Counter(y.tolist()) == counts


def test_a_float_is_the_ratio_of_two_classes(garments):
    two = garments[1] > 0
    x, y = garments[0], two.astype(int)
    _, new_y = LatentOverSampler(sampling_strategy=0.8, random_state=0, augment="fashion-mnist").fit_resample(x, y)
    assert Counter(new_y.tolist()) == {0: 30, 1: 24}


def test_a_random_state_repeats_samples_and_none_does_not(garments, resampled):
    again, _ = LatentOverSampler(random_state=0).fit_resample(*garments)
    other, _ = LatentOverSampler(random_state=1).fit_resample(*garments)
    assert np.array_equal(again, resampled[0])
    assert not np.array_equal(other, resampled[0])


def test_a_class_of_one_image_gets_others(garments):
    x, y = garments
    one = [*np.flatnonzero(y != 9), np.flatnonzero(y == 9)[0]]
    new_x, new_y = LatentOverSampler(random_state=0, augment="fashion-mnist").fit_resample(x[one], y[one])
    boots = new_x[new_y == 9]
    assert len(boots) == 30
    assert len(np.unique(boots.reshape(30, -1), axis=0)) == 30


def test_weights_without_a_bank_vary_images_of_the_class(garments):
    x, y = garments
    plain = VAEAugment(VAEAugment.from_pretrained("fashion-mnist").vae)
    sampler = LatentOverSampler(random_state=0, augment=plain)
    new_x, new_y = sampler.fit_resample(x, y)
    assert sampler.augment_.classes is None
    made, labels = new_x[len(x) :].astype(float), new_y[len(x) :]
    nearest = np.square(made[:, None] - x[None].astype(float)).sum((2, 3, 4)).argmin(1)
    assert (y[nearest] == labels).mean() > 0.9


def test_a_bank_that_does_not_know_such_images_is_told(garments):
    x, y = garments
    upside_down = np.random.default_rng(0).permuted(x.reshape(len(x), -1), axis=1).reshape(x.shape)
    with pytest.warns(UserWarning, match="does not know images like these"):
        new_x, _ = LatentOverSampler(random_state=0, augment="fashion-mnist").fit_resample(upside_down, y)
    assert len(new_x) == 90


def test_novelty_and_strength_are_those_of_the_transform(garments):
    sampler = LatentOverSampler(random_state=0, augment="fashion-mnist", novelty=0, strength=0.5)
    sampler.fit_resample(*garments)
    assert (sampler.augment_.novelty, sampler.augment_.strength) == (0, 0.5)


def test_a_transform_is_fitted_as_a_copy_and_a_fitted_one_kept(garments):
    x, y = garments
    augment = VAEAugment.from_pretrained("fashion-mnist")
    LatentOverSampler(random_state=0, augment=augment).fit_resample(x, y)
    assert augment.classes is None
    fitted = augment.fit(list(zip(torch.from_numpy(x), y.tolist(), strict=True)))
    sampler = LatentOverSampler(random_state=0, augment=fitted)
    sampler.fit_resample(x, y)
    assert sampler.augment_.fit_report is fitted.fit_report
    with pytest.raises(ValueError, match=r"y has \[3\]"):
        sampler.fit_resample(x, np.where(y == 9, 3, y))


def test_it_stands_in_a_pipeline_and_is_cloned(garments):
    x, y = garments
    flat = FunctionTransformer(lambda images: images.reshape(len(images), -1) / 255)
    sampler = LatentOverSampler(random_state=0, augment="fashion-mnist", novelty=0.5)
    pipeline = clone(make_pipeline(sampler, flat, LogisticRegression(max_iter=200))).fit(x, y)
    assert pipeline.score(x, y) > 0.9
    assert isinstance(sampler, BaseOverSampler)
    assert clone(sampler).get_params() == sampler.get_params()
    assert sampler.set_params(novelty=0.1).get_params()["novelty"] == 0.1
    assert repr(LatentOverSampler(random_state=3)) == "LatentOverSampler(random_state=3)"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda x: x.reshape(len(x), -1), {}, r"say what an image is, image_shape=\(C, H, W\)"),
        (lambda x: x.reshape(len(x), -1), {"image_shape": (1, 28, 27)}, "of 784 numbers an image"),
        (lambda x: x[:, 0], {}, r"of \(N, H, W\) X\[:, None\]"),
        (lambda x: x.astype(float), {}, r"X.astype\('uint8'\)"),
        (lambda x: x.astype(int), {}, r"X.astype\('uint8'\)"),
        (lambda x: x / 255 - 0.5, {}, "got float64 from -0.5 to 0.5"),
        (lambda x: x, {"novelty": 2}, "'novelty' parameter of LatentOverSampler must be .* Got 2 instead"),
        (lambda x: x, {"strength": "much"}, "'strength' parameter"),
    ],
)
def test_what_are_no_images_is_refused_with_the_remedy(garments, change, options, message):
    x, y = garments
    with pytest.raises(ValueError, match=message):
        LatentOverSampler(augment="fashion-mnist", **options).fit_resample(change(x), y)


def test_imbalanced_learn_is_imported_only_when_it_is_asked_for_and_named_when_it_is_missing():
    program = """
import sys
import vae_augment
assert "imblearn" not in sys.modules and "sklearn" not in sys.modules
sys.modules["imblearn"] = None  # as if it were not installed
try:
    vae_augment.LatentOverSampler
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    needed = "LatentOverSampler needs imbalanced-learn: pip install 'vae-augment[imblearn]' ("
    assert done.stdout.startswith(needed), done.stdout
