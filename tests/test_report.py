"""The report flags each known fault of a set in its word alone, and real held-out images in none."""

import json
import math
import re
from collections.abc import Callable

import pytest
import torch
from scipy.stats import fisher_exact

from benchmarks.report_controls import (
    CONTROLS,
    PLANTED,
    Control,
    class_left_out,
    exact_copies,
    noise,
    one_image,
    planted_changed,
    real_images,
    shuffled_labels,
)
from tests.conftest import IMAGES, LABELS
from vae_augment.demo_data import FASHION_CLASSES
from vae_augment.report import ImageSet, Report, Sets, make_report
from vae_augment.report.page import page

TRAINING, HELD_OUT, OTHERS = (ImageSet(IMAGES[a:b], LABELS[a:b]) for a, b in ((0, 160), (160, 330), (330, 500)))


def sets_of(made: ImageSet) -> Sets:
    return Sets.of(*((part, FASHION_CLASSES) for part in (TRAINING, made, HELD_OUT)))


@pytest.fixture(scope="module")
def report_of() -> Callable[[Control], Report]:
    """Reports by control, made once."""
    made: dict[Control, Report] = {}

    def report(control: Control) -> Report:
        if control not in made:
            generator = torch.Generator().manual_seed(0)
            made[control] = make_report(sets_of(control(TRAINING, HELD_OUT, OTHERS, generator)), show=False)
        return made[control]

    return report


FAULTS = (real_images, exact_copies, planted_changed, noise, one_image, class_left_out, shuffled_labels)


@pytest.mark.parametrize("control", FAULTS, ids=lambda control: control.__name__)
def test_each_fault_is_flagged_in_its_word_alone(control, report_of):
    report, expected = report_of(control), CONTROLS[control]
    assert report.flagged == expected, str(report)
    assert report.verdict == "do not use" if expected else report.verdict != "do not use"


def test_planted_images_are_shown_with_those_that_they_are_copies_of(report_of):
    """Mirrored, darker and grainy, one in twenty."""
    word = report_of(planted_changed).word("copied")
    found = {copy["synthetic"]: copy for copy in word.details["copies"]}
    planted = range(round(PLANTED * len(OTHERS)))
    assert set(planted) <= set(found)
    assert all((found[i]["of"], found[i]["real"]) == ("held-out", i) for i in planted)
    shown = [pair.second for pair in word.pairs]
    assert all(any(torch.equal(HELD_OUT.images[i], image) for image in shown) for i in planted)


def test_what_is_said_of_a_few_copies_is_what_was_tested():
    """Three training images and two held-out ones, one of these twice, among images of none."""
    again, others = [0, 1, 0], torch.arange(6, len(OTHERS))
    parts = TRAINING.at(torch.arange(3)), HELD_OUT.at(torch.tensor(again)), OTHERS.at(others)
    made = ImageSet(torch.cat([x.images for x in parts]), torch.cat([x.labels for x in parts]))
    word = make_report(sets_of(made), show=False).word("copied")
    assert word.status == "ok"
    assert "6 of 170 are near copies, of 3 training and 2 held-out images." in word.sentence
    tested = re.search(r"(\d+) of one kind for (\d+) .* than (\d+) for (\d+) real ones, p = (.*)\.$", word.sentence)
    k, n, known, real, p = map(float, tested.groups())
    assert (k, n, real) == (3, 169, 330)
    exact = fisher_exact([[k, n - k], [known, real - known]], alternative="greater").pvalue
    assert 2 * exact == pytest.approx(p, rel=0.05)  # of either kind: two tests


def test_a_class_left_out_is_named_with_images_that_nothing_is_like(report_of):
    word = report_of(class_left_out).word("missing")
    assert "Trouser" in word.sentence
    assert word.details["classes"]["Trouser"]["synthetic"] == 0
    assert all("Trouser" in pair.caption for pair in word.pairs)


def test_what_is_taught_by_a_set_without_a_class_is_not_told(report_of):
    report = report_of(class_left_out)
    told = {lesson.by: lesson for lesson in report.taught}
    assert told["real"].accuracy > 0.5 < told["both"].accuracy
    assert "Trouser" in told["synthetic"].untold
    assert math.isnan(told["synthetic"].accuracy)
    assert "images: not told, as classes are missing: Trouser\n" in str(report)
    assert json.loads(report.to_json())["taught"]["synthetic"]["accuracy"] is None
    assert "<td>not told, as classes are missing: Trouser</td>" in page(report, "")
    assert not any(lesson.untold for lesson in report_of(real_images).taught)


def test_copies_of_the_training_images_lie_on_their_side(report_of):
    scores = {score.name: score.value for score in report_of(exact_copies).word("copied").scores}
    assert scores["copies"] == scores["training side"] == 1
    assert scores["AuthPct"] == 0
    assert scores["C_T"] < -3
    held_out = {score.name: score for score in report_of(real_images).word("copied").scores}
    assert abs(held_out["C_T"].value) < 3
    assert held_out["training side"].low < 0.5 < held_out["training side"].high


def test_shuffled_labels_teach_little_and_are_told_wrong(report_of):
    report = report_of(shuffled_labels)
    taught = {lesson.by: lesson.accuracy for lesson in report.taught}
    assert taught["synthetic"] < 0.5 * taught["real"]
    wrong = {score.name: score for score in report.word("label truth").scores}["wrong labels"]
    assert wrong.low < 0.9 < wrong.high + 0.1  # nine of ten shuffled labels are wrong


@pytest.mark.parametrize(
    ("made", "held_out", "said"),
    [
        (OTHERS, ImageSet(IMAGES[160:230], LABELS[160:230]), "More held-out images of T-shirt ("),
        (ImageSet(IMAGES[330:360], LABELS[330:360]), HELD_OUT, "only 30 distinct"),
    ],
    ids=["held out", "synthetic"],
)
def test_too_few_images_are_judged_by_no_word_but_of_copies(made, held_out, said):
    report = make_report(Sets.of(*((part, FASHION_CLASSES) for part in (TRAINING, made, held_out))), show=False)
    for name in ("unrealistic", "unvaried", "missing", "label truth"):
        word = report.word(name)
        assert (word.status, said in word.sentence) == ("not judged", True), word.sentence


def of_classes(counts: dict[int, int]) -> ImageSet:
    """So many images of each of these classes."""
    places = torch.cat([(c == LABELS).nonzero()[:n, 0] for c, n in counts.items()])
    return ImageSet(IMAGES[places], LABELS[places])


def test_a_sentence_names_ten_classes_and_counts_the_others():
    names = [str(c) for c in range(25)]
    real = ImageSet(IMAGES, torch.arange(500) % 25)
    made = ImageSet(IMAGES[::25], torch.zeros(20, dtype=torch.int64))
    report = make_report(Sets.of((real, names), (made, names), (real, names)), show=False)
    untold = next(lesson.untold for lesson in report.taught if lesson.by == "synthetic")
    assert untold.endswith("1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 14 more")


FEW = {  # images of each class: training, synthetic, held-out; what is said
    "a class was filled, and some of another": (
        ({0: 50, 1: 40, 9: 6}, {1: 20, 9: 45}, {0: 50, 1: 50, 9: 50}),
        "26 where 40 are needed",
        "More synthetic images of T-shirt (0), Trouser (20), or training images of Ankle boot (6) would do. "
        "generate --ratio 1 makes as many of each class as there are real ones.",
    ),
    "a class was filled, and few of another": (
        ({0: 50, 1: 40, 9: 6}, {1: 5, 9: 45}, {0: 50, 1: 50, 9: 50}),
        "11 where 40 are needed",
        "More synthetic images of T-shirt (0), Trouser (5) would do. generate --ratio 1 makes as many of each class as "
        "there are real ones.",
    ),
    "few training images": (
        ({0: 10, 1: 10, 9: 10}, {0: 30, 1: 30, 9: 30}, {0: 50, 1: 50, 9: 50}),
        "30 where 40 are needed",
        "More training images of T-shirt (10), Trouser (10), Ankle boot (10) would do.",
    ),
    "few of two kinds": (
        ({0: 30, 1: 30, 9: 30}, {0: 50, 1: 5, 9: 1}, {0: 20, 1: 20, 9: 20}),
        "16 where 40 are needed",
        "More synthetic images of Trouser (5), Ankle boot (1) and held-out images of T-shirt (20), Trouser (20), Ankle boot "
        "(20) would do. generate --ratio 1 makes as many of each class as there are real ones.",
    ),
    "few of all": (
        ({0: 10, 1: 10, 9: 10}, {0: 39, 9: 1}, {0: 10, 1: 10, 9: 10}),
        "6 where 40 are needed",
        "More held-out images of T-shirt (10) and training images of T-shirt (10) would do.",
    ),
}


@pytest.mark.parametrize("case", FEW)
def test_which_images_are_too_few_is_told_with_what_would_do(case):
    counts, found, remedy = FEW[case]
    training, made, held_out = ((of_classes(of), FASHION_CLASSES) for of in counts)
    word = make_report(Sets.of(training, made, held_out), show=False).word("missing")
    assert word.status == "not judged"
    assert found in word.sentence
    assert word.sentence.endswith(remedy)


def test_the_same_images_give_the_same_json(report_of):
    again = make_report(sets_of(OTHERS), show=False)
    assert again.to_json() == report_of(real_images).to_json()
