"""The five words: what the facts mean, and from where on a person should look.

A word is flagged by two things at once. The difference from real images must be surer than chance, `SURE` or `SPREADS`, which what
real images score in the place of synthetic ones says. And it must be large enough to matter, which is a choice: those below.
Where one word's fault would show in the others, these are not judged: images that show nothing real have no variety to speak
of, and one image repeated misses whatever else there is.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .comparison import Figure
from .facts import Facts
from .result import Pair, Score, Status, Word

SURE = 0.001  # p-value, below which a finding is not chance; a report asks about a dozen questions
SPREADS = 3.0  # standard deviations among real images beyond which a figure is not theirs: the same, of a normal distribution
# part of what real images have: half of them are odd, or gone; or a fifth, which a person sees when looking at some of them
HALF, MOST = 0.5, 0.8
TOLD_APART = 0.8  # AUC: of a synthetic and a real image it is told which is which four times of five
WRONG_LABELS, SOME_WRONG_LABELS = 0.1, 0.03  # parts; a tenth costs a classifier more than a third fewer images do
LEAST_DISTINCT = 20  # images; fewer are no set of images of which more can be said than that
LEANING = 0.6  # part of nearest real images that are training ones, where half would be without copying
COPYING = -3.0  # C_T, as Meehan et al. have it
ABSENT = 0.2  # part of its share among real images, below which a class is as good as absent
SHOWN = 12  # pairs of images of a word
SHOWN_COPIES = 60


def unrealistic(facts: Facts) -> Word:
    if not facts.trials:
        return _too_few("unrealistic", facts)
    density, precision = facts.figure(lambda m: m.density), facts.figure(lambda m: m.precision)
    fid, kid = facts.figure(lambda m: m.fid), facts.figure(lambda m: m.kid)
    scores = [
        _score("precision", precision, "Part of the images that lie among real ones. Near that of real images is good.", True),
        _score("density", density, "How many real neighbours they have, 1 for real images. Low: odd, or blurred, or grainy."),
        _score("FID", fid, "Fréchet distance in these features: compare with that of real images here, and with no FID elsewhere."),
        _score("KID", kid, "Kernel distance in these features, about 0 for real images."),
    ]
    if facts.test is not None and facts.real_test is not None:
        scores.insert(2, _test_score(facts))
    status: Status = "ok"
    sentence = f"They lie among real images as real ones do: density {density.value:.2f}, of real ones {density.real:.2f}."
    if _is_below(density, HALF):
        status = "bad"
        sentence = f"They do not lie where real images do: density {density.value:.2f}, of real ones {density.real:.2f}."
    elif _is_below(density, MOST):
        status = "look"
        sentence = f"Part of them lies apart from real images: density {density.value:.2f}, of real ones {density.real:.2f}."
    elif _is_told_apart(facts):
        status = "look"
        assert facts.test is not None
        sentence = (
            f"They lie among real images, yet a classifier tells them from these, AUC {facts.test.auc:.2f}: something is common to "
            "them, as blur or grain."
        )
    title = "Least like real ones: synthetic, and the real image that it is nearest to"
    return Word("unrealistic", status, sentence, tuple(scores), title, tuple(_least_real(facts)))


def unvaried(facts: Facts) -> Word:
    part, real = facts.distinct_part, facts.real_distinct
    scores = [
        Score(
            "distinct images", part, "Part of the images that repeat no other, not even nearly.", None, None, real, real, True
        )
    ]
    pairs = tuple(_repeats(facts))
    title = "Most alike: two synthetic images"
    if part < MOST * real:
        status: Status = "bad" if part < HALF * real else "look"
        sentence = f"Of {len(facts.sample):,} images {len(facts.distinct):,} are distinct; the others repeat these."
        return Word("unvaried", status, sentence, tuple(scores), title, pairs)
    if (unjudged := _unjudged("unvaried", facts)) is not None:
        return unjudged
    vendi, coverage = facts.figure(lambda m: m.vendi), facts.figure(lambda m: m.coverage)
    recall = facts.figure(lambda m: m.recall)
    scores += [
        _score("Vendi score", vendi, "How many different images those of a class amount to, mean over classes. Near real is good."),
        _score("coverage", coverage, "Part of real images that have a synthetic one nearby, classes weighing the same.", True),
        _score("recall", recall, "Part of real images that lie among synthetic ones, classes weighing the same.", True),
    ]
    status, low = "ok", min(vendi.ratio, coverage.ratio)
    worst = vendi if vendi.ratio == low else coverage
    name = "different images in a class" if worst is vendi else "of real images have a synthetic one near"
    shown = (lambda x: f"{x:.1f}") if worst is vendi else (lambda x: f"{100 * x:.0f} %")
    sentence = f"They vary as real images do: {shown(worst.value)} {name}, with real ones {shown(worst.real)}."
    if _is_below(vendi, MOST) or _is_below(coverage, MOST):
        status = "bad" if _is_below(vendi, HALF) or _is_below(coverage, HALF) else "look"
        sentence = f"They vary less than real images do: {shown(worst.value)} {name}, with real ones {shown(worst.real)}."
    return Word("unvaried", status, sentence, tuple(scores), title, pairs)


def copied(facts: Facts) -> Word:
    copies, count = facts.copies, len(facts.sets.synthetic)
    scores = tuple(_copy_scores(facts))
    places = copies.is_copy.nonzero()[:, 0]
    details = {"copies": [_copy(facts, place) for place in places[copies.ratio[places].argsort()].tolist()]}
    title, pairs = "Nearest to real ones: synthetic, and the real image", tuple(_nearest_pairs(facts))
    if len(facts.distinct) < LEAST_DISTINCT:
        sentence = f"There are only {len(facts.distinct)} distinct images; see whether these are real ones."
        return Word("copied", "not judged", sentence, scores, title, pairs, details)
    of_training = len(copies.to_training.place[copies.is_copy & ~copies.of_held_out].unique())
    of_held_out = len(copies.to_held_out.place[copies.is_copy & copies.of_held_out].unique())
    known = len(copies.unseen.place[copies.unseen.is_copy].unique())
    # a real image counts once however often it is repeated, and so do synthetic ones
    distinct = round(facts.distinct_part * count)
    p = [_fisher(k, distinct, known, len(copies.unseen.ratio)) for k in (of_training, of_held_out)]
    if 2 * min(p) < SURE:
        which = [f"{n:,} {name}" for n, name in ((of_training, "training"), (of_held_out, "held-out")) if n]
        sentence = f"{len(places):,} of {count:,} are copies of real images, {' and '.join(which)} ones: see them below."
        return Word("copied", "bad", sentence, scores, title, pairs, details)
    if _leans(facts):
        sentence = (
            f"They lie nearer to training images than to held-out ones: {copies.ours:,} of {copies.nearest:,} nearest are "
            "training images, where half would be."
        )
        return Word("copied", "look", sentence, scores, title, pairs, details)
    sentence = "They lie no nearer to real images than unseen real images do."
    if len(places):
        sentence += f" {len(places):,} of {count:,} are near copies, no more than among real images: see them below."
    return Word("copied", "ok", sentence, scores, title, pairs, details)


def missing(facts: Facts) -> Word:
    if len(facts.distinct) < LEAST_DISTINCT or _are_repeats(facts):
        sentence = "The images repeat one another: what else they lack cannot be told."
        return Word("missing", "not judged", sentence)
    if (unjudged := _unjudged("missing", facts)) is not None:
        return unjudged
    names = facts.sets.classes
    ratios, values, real = _recalls(facts)
    absent = list(_absent(facts))
    usual = float(ratios.nanmedian())
    low = [c for c in range(len(names)) if c not in absent and _misses(facts, c, ratios, values, real, usual)]
    reading = "Part of real images of a class that lie among synthetic ones."
    recall = facts.figure(lambda m: m.recall)
    worst = int(torch.where(ratios.isnan(), torch.inf, ratios).argmin())
    one = facts.figure(lambda m: m.recall[worst])
    scores = (
        _score("recall", recall, f"{reading} Mean over classes.", True),
        _score(f"recall of {names[worst]}", one, "Of the class in which they are least like real ones.", True),
    )
    by_class = {
        names[c]: {"synthetic": int(n), "recall": float(values[c]), "real": float(real[c])}
        for c, n in enumerate(facts.sets.synthetic.counts(len(names)).tolist())
    }
    status: Status = "ok"
    sentence = f"All {len(names)} classes are there; worst {names[worst]}, {_percent(values[worst])} of {_percent(real[worst])}."
    if absent or low:
        status = "bad"
        said = [f"there are no images, or hardly any, of {_names(names, absent)}"] if absent else []
        said += [f"of {_names(names, low)} most real images have none that is like them"] if low else []
        sentence = f"{' and '.join(said)}.".capitalize() if not absent else f"T{' and '.join(said)[1:]}."
    title = "Real images, and the synthetic one that is nearest"
    pairs = tuple(_uncovered(facts, [*absent, *low] or [worst]))
    return Word("missing", status, sentence, scores, title, pairs, {"classes": by_class})


def label_truth(facts: Facts) -> Word:
    if len(facts.distinct) < LEAST_TOLD or _are_repeats(facts):
        sentence = "The images repeat one another: too few are left to ask about."
        return Word("label truth", "not judged", sentence)
    if (unjudged := _unjudged("label truth", facts)) is not None:
        return unjudged
    truth = facts.truth
    low, high = (max(0.0, min(1.0, truth.wrong + sign * 1.96 * truth.error)) for sign in (-1, 1))
    scores = (
        Score(
            "agreement",
            truth.agreement,
            "Part of the labels that a classifier of the real images tells. Near that of held-out images is good.",
            real_low=truth.expected,
            real_high=truth.expected,
            is_part=True,
        ),
        Score(
            "wrong labels",
            max(0.0, truth.wrong),
            "Part of the labels that are wrong, by this agreement beside that of held-out images; 95 % interval.",
            low,
            high,
            0.0,
            0.0,
            True,
        ),
    )
    surely = truth.wrong - SPREADS * truth.error
    status: Status = "bad" if surely > WRONG_LABELS else "look" if surely > SOME_WRONG_LABELS else "ok"
    agreed = f"a classifier of the real images agrees with {_percent(truth.agreement)}, of held-out images {_percent(truth.expected)}"
    sentence = f"Labels hold: {agreed}." if status == "ok" else f"About {_percent(truth.wrong)} of the labels are wrong: {agreed}."
    details = {"confusion": truth.confusion.tolist()}
    title = "Labelled as one class, told as another: synthetic images"
    return Word("label truth", status, sentence, scores, title, tuple(_mislabelled(facts)), details)


LEAST_TOLD = 40  # distinct images that a judge is asked about


def _score(name: str, f: Figure, reading: str, is_part: bool = False) -> Score:
    return Score(name, f.value, reading, f.low, f.high, f.real_low, f.real_high, is_part)


def _is_below(f: Figure, part: float) -> bool:
    """Whether it is below this part of what real images have, and their own spread does not explain it."""
    return f.ratio < part and f.ratio < 1 - SPREADS * f.spread


def _is_told_apart(facts: Facts) -> bool:
    a, b = facts.test, facts.real_test
    if a is None or b is None:
        return False
    return a.auc - SPREADS * a.error > max(TOLD_APART, b.auc + SPREADS * b.error)


def _leans(facts: Facts) -> bool:
    """Whether synthetic images lie nearer to training images than unseen ones do, and not nearer to all real ones, as blur."""
    from scipy.stats import binomtest  # comes with scikit-learn

    c = facts.copies
    if facts.sets.is_own or not c.nearest or math.isnan(c.c_t):
        return False
    p = binomtest(c.ours, c.nearest, 0.5, alternative="greater").pvalue
    return bool(c.c_t < COPYING and c.ours / c.nearest > LEANING and p < SURE)


def _fisher(k: int, n: int, known: int, m: int) -> float:
    """Whether k of n are more than `known` of m: p-value of Fisher's exact test."""
    from scipy.stats import fisher_exact

    k = min(k, n)
    return float(fisher_exact([[k, n - k], [known, m - known]], alternative="greater")[1])


def _too_few(name: str, facts: Facts) -> Word:
    if _are_repeats(facts) or len(facts.distinct) < LEAST_TOLD:
        return Word(name, "not judged", f"There are only {len(facts.distinct)} distinct images: too few to judge.")
    return Word(name, "not judged", "Too few classes have images of all kinds: give more synthetic or held-out ones.")


def _unjudged(name: str, facts: Facts) -> Word | None:
    """The word where it cannot be judged: there are too few images, or they show nothing real."""
    if not facts.trials:
        return _too_few(name, facts)
    realistic = facts.figure(lambda m: m.realistic)
    if _is_below(realistic, HALF):
        return Word(name, "not judged", f"Only {_percent(realistic.value)} of the images are like any real one.")
    return None


def _are_repeats(facts: Facts) -> bool:
    return facts.distinct_part < HALF * facts.real_distinct


def _test_score(facts: Facts) -> Score:
    a, b = facts.test, facts.real_test
    assert a is not None
    assert b is not None
    reading = "How often a classifier tells a synthetic image from a real one, by these features; 50 % by guessing. 95 % intervals."
    ends = [auc + sign * 1.96 * error for auc, error in ((a.auc, a.error), (b.auc, b.error)) for sign in (-1, 1)]
    return Score("two-sample AUC", a.auc, reading, *(min(1.0, max(0.0, end)) for end in ends), is_part=True)


def _copy_scores(facts: Facts) -> Iterator[Score]:
    c = facts.copies
    part, known = float(c.is_copy.float().mean()), float(c.unseen.is_copy.float().mean())
    reading = "Part of the images that are less than half as far from a real one as that is from other real ones."
    yield Score("copies", part, reading, None, None, known, known, True)
    authentic, usual = (float((x.ratio > 1).float().mean()) for x in (c.to_training, c.unseen))
    reading = "Part of the images that are farther from the nearest training image than that is from others. Low: copies."
    yield Score("AuthPct", authentic, reading, None, None, usual, usual, True)
    reading = "Below -3: nearer to training images than held-out ones are. Smooth images are near to all, so read the next, too."
    yield Score("C_T", c.c_t, reading, None, None, -1.96, 1.96)
    if c.nearest:
        share, error = c.ours / c.nearest, 1.96 * (c.ours / c.nearest * (1 - c.ours / c.nearest) / c.nearest) ** 0.5
        reading = "Of the real images nearest to them, the part that are training images, of as many held-out ones. Above half: copying."
        yield Score("training side", share, reading, max(0, share - error), min(1, share + error), 0.5, 0.5, True)


def _recalls(facts: Facts) -> tuple[Tensor, Tensor, Tensor]:
    """Of each class: the recall as a part of that of real images, itself, and that of real images."""
    s, h, r = (torch.stack([t[kind].recall for t in facts.trials]).mean(0) for kind in range(3))
    real = torch.minimum(h, r)
    return s / real.clamp_min(1e-9), s, real


def _misses(facts: Facts, c: int, ratios: Tensor, values: Tensor, real: Tensor, usual: float) -> bool:
    """Whether a class is covered far less than the others are, and not by chance."""
    n = int((facts.embedded.held_out[1] == c).sum()) // 2
    if ratios[c].isnan() or not n or not ratios[c] < HALF * usual:
        return False
    expected = float(real[c]) * usual  # what it would be, were it covered as the others are
    return float(values[c]) < expected - SPREADS * (expected * (1 - expected) / n) ** 0.5


def _absent(facts: Facts) -> Iterator[int]:
    """Classes of which there are far fewer images than among real ones, and not by chance."""
    from scipy.stats import binom

    classes = len(facts.sets.classes)
    counts = facts.sets.synthetic.counts(classes)
    shares = facts.sets.training.counts(classes) / len(facts.sets.training)
    for c in range(classes):
        share = float(shares[c])
        is_few = int(counts[c]) < ABSENT * share * len(facts.sets.synthetic)
        if is_few and binom.cdf(int(counts[c]), len(facts.sets.synthetic), share) < SURE:
            yield c


def _least_real(facts: Facts) -> Iterator[Pair]:
    features, labels = facts.embedded.synthetic
    distances, places = torch.cdist(features, facts.embedded.held_out[0]).min(1)
    for i in distances.argsort(descending=True)[:SHOWN].tolist():
        caption = f"{facts.sets.classes[int(labels[i])]}, synthetic {int(facts.distinct.index[i])}"
        yield Pair(facts.distinct.images[i], facts.asked.images[int(places[i])], caption)


def _repeats(facts: Facts) -> Iterator[Pair]:
    sample = facts.sample
    found = facts.repeats
    for i in found.distance.argsort()[:SHOWN].tolist():
        caption = f"synthetic {int(sample.index[i])} and {int(sample.index[int(found.place[i])])}"
        yield Pair(sample.images[i], sample.images[int(found.place[i])], caption)


def _copy(facts: Facts, place: int) -> dict[str, int | float | str]:
    c = facts.copies
    of_held_out = bool(c.of_held_out[place])
    to, real = (c.to_held_out, facts.sets.held_out) if of_held_out else (c.to_training, facts.sets.training)
    return {
        "synthetic": int(facts.sets.synthetic.index[place]),
        "of": "held-out" if of_held_out else "training",
        "real": int(real.index[int(to.place[place])]),
        "ratio": float(to.ratio[place]),
    }


def _nearest_pairs(facts: Facts) -> Iterator[Pair]:
    c, sets = facts.copies, facts.sets
    count = min(SHOWN_COPIES, max(SHOWN, int(c.is_copy.sum())))
    for place in c.ratio.argsort()[:count].tolist():
        copy = _copy(facts, place)
        real = sets.held_out if copy["of"] == "held-out" else sets.training
        other = int((c.to_held_out if copy["of"] == "held-out" else c.to_training).place[place])
        caption = f"synthetic {copy['synthetic']}, {copy['of']} {copy['real']}, {100 * float(copy['ratio']):.0f} %"
        yield Pair(sets.synthetic.images[place], real.images[other], caption)


def _uncovered(facts: Facts, classes: list[int]) -> Iterator[Pair]:
    features, labels = facts.embedded.held_out
    distances, places = torch.cdist(features, facts.embedded.synthetic[0]).min(1)
    distances = distances.masked_fill(~torch.isin(labels, torch.tensor(classes)), -torch.inf)
    for i in distances.argsort(descending=True)[: min(SHOWN, int(distances.isfinite().sum()))].tolist():
        caption = f"{facts.sets.classes[int(labels[i])]}, held-out {int(facts.asked.index[i])}"
        yield Pair(facts.asked.images[i], facts.distinct.images[int(places[i])], caption)


def _mislabelled(facts: Facts) -> Iterator[Pair]:
    truth, names = facts.truth, facts.sets.classes
    wrong = truth.confidence.masked_fill(truth.told == facts.distinct.labels, -1)
    for i in wrong.argsort(descending=True)[: min(SHOWN, int((wrong > 0).sum()))].tolist():
        said, told = names[int(facts.distinct.labels[i])], names[int(truth.told[i])]
        yield Pair(facts.distinct.images[i], None, f"labelled {said}, told {told}, {_percent(truth.confidence[i])}")


def _names(names: tuple[str, ...], chosen: list[int]) -> str:
    return ", ".join(names[c] for c in chosen)


def _percent(part: float | Tensor) -> str:
    return f"{100 * float(part):.0f} %"
