"""ratio="auto" chooses by labels that it holds out, and adds no samples where these do not help."""

import logging
import pickle
import warnings

import pytest
import torch
from torch.utils.data import Subset, TensorDataset
from torchvision.datasets import FakeData
from torchvision.transforms import v2

from vae_augment import LatentBank, SyntheticDataset, VAEAugment, load_weights
from vae_augment.demo_data import fashion_sample
from vae_augment.share import choice, choose_ratio, usual_ratio

NUMBERS = torch.linspace(-1, 1, 40, dtype=torch.float64)  # mean 0, standard error 0.094


def garments(per_class: int, classes: tuple[int, ...] = (0, 1, 5, 8)):
    """The first garments of these classes, `(image, label)`."""
    images, labels = fashion_sample()
    return [(image, c) for c in classes for image in images[labels == c][:per_class]]


def other_of_its_class(few):
    """What gives, for each image, another of its true class that is not among these: the best that samples could be."""
    images, labels = fashion_sample()
    class_of = {image.numpy().tobytes(): label for image, label in few}
    seen = {image.numpy().tobytes() for image, _ in few}
    others = {c: [i for i in images[labels == c] if i.numpy().tobytes() not in seen] for c in class_of.values()}

    def other(image):
        own = others[class_of[image.numpy().tobytes()]]
        return own[int(torch.randint(len(own), ()))]

    return other


def noise(image):
    return torch.randint_like(image, 256)


def chosen(base, augment, **options):
    """By little training, of two ratios."""
    options = {"ratios": (0, 2), "steps": 30, "seconds": 600} | options
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return choose_ratio(base, lambda part: SyntheticDataset(part, 1, augment), **options)


def test_samples_that_are_noise_are_left_out():
    assert chosen(garments(8), noise).ratio == 0


def test_samples_that_are_other_images_of_their_classes_are_taken():
    few = garments(10, classes=tuple(range(10)))
    report = chosen(few, other_of_its_class(few), steps=120)
    assert report.ratio == 2
    assert report.usual == 0  # nothing said so before
    assert report.tried[1].gain > 2 * report.tried[1].error
    assert report.tried[1].accuracy > report.tried[0].accuracy


def test_copies_of_the_labelled_images_are_left_out():
    assert chosen(garments(6), lambda image: image).ratio == 0


def test_a_seed_decides_and_the_callers_randomness_is_left_alone():
    few = garments(4)
    before = torch.random.get_rng_state()
    one, again, other = (chosen(few, noise, seed=seed, steps=4) for seed in (1, 1, 2))
    assert one.tried == again.tried
    assert one.tried != other.tried
    assert torch.equal(torch.random.get_rng_state(), before)


def test_each_image_is_held_out_once_and_no_fit_sees_it():
    few, parts = garments(4) + garments(1, classes=(9,)), []

    def make(part):
        if isinstance(part, Subset):
            parts.append(set(part.indices))
        return SyntheticDataset(part, 1, noise)

    with pytest.warns(UserWarning, match="chose 0"):
        report = choose_ratio(few, make, ratios=(0, 1), steps=2, seconds=600)
    held = [place for part in parts for place in set(range(len(few))) - part]
    assert sorted(held) == list(range(16))  # the one of its class is never held out
    assert (report.judged, report.labelled, report.folds) == (16, 17, len(parts))


def test_a_data_set_takes_the_ratio_that_its_report_tells(caplog):
    images, labels = fashion_sample()
    vae = load_weights("fashion-mnist").vae
    augment = VAEAugment(vae, bank=LatentBank.from_images(vae, images[100:]))
    with caplog.at_level(logging.INFO, "vae_augment"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the time
        dataset = SyntheticDataset(TensorDataset(images[:60], labels[:60]), "auto", augment, ratio_seconds=0)
    report = dataset.ratio_report
    assert report.usual == 2  # six labels a class, which spread over a pool
    assert dataset.ratio == report.ratio
    assert len(dataset) == 60 + round(report.ratio * 60)
    assert [one.ratio for one in report.tried] == [0, 0.5, 1, 2, 4]
    assert f"chose {report.ratio:g}" in caplog.text
    assert str(report).count("\n") >= 7
    assert pickle.loads(pickle.dumps(dataset)).ratio_report == report
    assert SyntheticDataset(garments(2), 0.5, noise).ratio_report is None


def test_time_that_ran_out_is_told():
    with pytest.warns(UserWarning, match="judged 1 of 5 folds in its 0 seconds"):
        report = choose_ratio(garments(4), lambda part: SyntheticDataset(part, 1, noise), steps=2, seconds=0)
    assert report.stopped_by_time
    assert "stopped by time, 0 s" in str(report)
    assert not chosen(garments(4), noise, steps=2).stopped_by_time


def test_a_transform_of_the_base_that_normalises_is_left_out():
    base = FakeData(24, (3, 40, 40), 2, transform=v2.Compose([v2.ToTensor(), v2.Normalize([0.5] * 3, [0.1] * 3)]))
    assert chosen(base, lambda image: image, steps=2).judged == 24


def test_a_choice_of_no_samples_is_a_warning_and_a_data_set_without_any():
    few = garments(4)
    with pytest.warns(UserWarning, match="chose 0, no synthetic samples"):
        dataset = SyntheticDataset(few, "auto", noise, ratio_seconds=0)
    assert len(dataset) == len(few)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (garments(1), "needs two classes, one of which has two: of 4 images there are 4 classes"),
        (garments(5, classes=(3,)), "of 5 images there are 1 classes"),
        ([image for image, _ in garments(2)], "sample 0 of base has none: give a number"),
        ([], "of 0 images there are 0 classes"),
    ],
)
def test_what_cannot_be_held_out_is_refused_with_the_remedy(base, message):
    with pytest.raises(ValueError, match=message):
        SyntheticDataset(base, "auto", noise)


def test_a_transform_that_has_seen_the_labels_is_refused():
    fitted = VAEAugment(load_weights("fashion-mnist").vae).fit(garments(3))
    with pytest.raises(ValueError, match="augment was fitted before"):
        SyntheticDataset(garments(3), "auto", fitted)


def test_another_word_is_no_ratio():
    with pytest.raises(ValueError, match="or \"auto\", got 'best'"):
        SyntheticDataset(garments(3), "best", noise)


def test_without_a_pool_a_gain_must_be_clear():
    none = torch.zeros(1, 40, dtype=torch.float64)
    assert choice([0, 1], torch.cat([none, none + 0.2 + NUMBERS]), usual=0)[0] == 0
    assert choice([0, 1], torch.cat([none, none + 0.35 + NUMBERS]), usual=0)[0] == 1


def test_with_a_pool_the_usual_ratio_stands_unless_all_are_worse_than_none():
    none = torch.zeros(1, 40, dtype=torch.float64)
    assert choice([0, 1], torch.cat([none, none + 0.05 + NUMBERS]), usual=1)[0] == 1
    assert choice([0, 1], torch.cat([none, none - 0.05 + NUMBERS]), usual=1)[0] == 1
    assert choice([0, 1], torch.cat([none, none - 0.15 + NUMBERS]), usual=1)[0] == 0


def test_of_ratios_as_good_as_the_best_the_usual_is_taken_and_else_the_smallest():
    none = torch.zeros(1, 40, dtype=torch.float64)
    alike = torch.cat([none, none + 0.5, none + 0.5, none + 0.55 + NUMBERS])
    assert choice([0, 0.5, 1, 2], alike, usual=1)[0] == 2
    assert choice([0, 0.5, 1, 2], alike, usual=0)[0] == 1
    better = torch.cat([none, none + 0.5, none + 0.5, none + 0.8 + NUMBERS])
    assert choice([0, 0.5, 1, 2], better, usual=1)[0] == 3


def test_the_usual_ratio_falls_with_the_labels_and_is_none_without_a_pool():
    ratios = [usual_ratio(per_class, spreads=True) for per_class in (3, 10, 50, 100, 1000)]
    assert ratios == sorted(ratios, reverse=True)
    assert (ratios[0], ratios[-1]) == (2, 0)
    assert usual_ratio(3, spreads=False) == 0
