"""The five words: what the facts mean, and from where on a person should look.

A word is flagged if two things hold. The difference from real images is surer than chance, `SURE` or `SPREADS`, as what real
images score in the place of synthetic ones says. And it is large enough to matter, which is a choice: those below.
Where one word's fault would show in the others, these are not judged: images that show nothing real have no variety to speak
of, and one image repeated misses whatever else there is.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from . import pairs
from .comparison import Figure
from .facts import Facts
from .result import Score, Status, Word
from .shortage import LEAST_TOLD, listed, shortage

SURE = 0.001  # p-value, below which a finding is not chance; a report asks about a dozen questions
SPREADS = (
    3.0  # standard deviations among real images beyond which a figure is not theirs: the same, of a normal distribution
)
# part of what real images have: half of them are odd, or gone; or a fifth, which a person sees when looking at some of them
HALF, MOST = 0.5, 0.8
TOLD_APART = 0.8  # AUC: of a synthetic and a real image it is told which is which four times of five
WRONG_LABELS, SOME_WRONG_LABELS = 0.1, 0.03  # parts; a tenth costs a classifier more than a third fewer images do
LEAST_DISTINCT = 20  # images; fewer are no set of images of which more can be said than that
LEANING = 0.6  # part of nearest real images that are training ones, where half would be without copying
COPYING = -3.0  # C_T, as Meehan et al. have it
ABSENT = 0.2  # part of its share among real images, below which a class is as good as absent


def unrealistic(facts: Facts) -> Word:
    if not facts.trials:
        return _too_few("unrealistic", facts)
    density, precision = facts.figure(lambda m: m.density), facts.figure(lambda m: m.precision)
    fid, kid = facts.figure(lambda m: m.fid), facts.figure(lambda m: m.kid)
    scores = [
        _score(
            "precision",
            precision,
            "Part of the images that lie among real ones. Near that of real images is good.",
            True,
        ),
        _score(
            "density",
            density,
            "How many real neighbours they have, 1 for real images. Low: odd, or blurred, or grainy.",
        ),
        _score(
            "FID",
            fid,
            "Fréchet distance in these features: compare it with that of real images here, with no other FID.",
        ),
        _score("KID", kid, "Kernel distance in these features, about 0 for real images."),
    ]
    if facts.test is not None and facts.real_test is not None:
        scores.insert(2, _test_score(facts))
    status: Status = "ok"
    sentence = (
        f"They lie among real images as real ones do: density {density.value:.2f}, of real ones {density.real:.2f}."
    )
    if _is_below(density, HALF):
        status = "bad"
        sentence = (
            f"They do not lie where real images do: density {density.value:.2f}, of real ones {density.real:.2f}."
        )
    elif _is_below(density, MOST):
        status = "look"
        sentence = (
            f"Part of them lies apart from real images: density {density.value:.2f}, of real ones {density.real:.2f}."
        )
    elif _is_told_apart(facts):
        status = "look"
        assert facts.test is not None
        sentence = (
            f"They lie among real images, yet a classifier tells them from these, AUC {facts.test.auc:.2f}: "
            "something is common to them, as blur or grain."
        )
    title = "Least like real ones: synthetic, and the real image that it is nearest to"
    return Word("unrealistic", status, sentence, tuple(scores), title, tuple(pairs.least_real(facts)))


def unvaried(facts: Facts) -> Word:
    part, real = facts.distinct_part, facts.real_distinct
    reading = "Part of the images that repeat no other, not even nearly."
    scores = [Score("distinct images", part, reading, real_low=real, real_high=real, is_part=True)]
    shown = tuple(pairs.repeats(facts))
    title = "Most alike: two synthetic images"
    if part < MOST * real:
        status: Status = "bad" if part < HALF * real else "look"
        sentence = f"Of {len(facts.sample):,} images {len(facts.distinct):,} are distinct; the others repeat these."
        return Word("unvaried", status, sentence, tuple(scores), title, shown)
    if (unjudged := _unjudged("unvaried", facts)) is not None:
        return unjudged
    vendi, coverage = facts.figure(lambda m: m.vendi), facts.figure(lambda m: m.coverage)
    recall = facts.figure(lambda m: m.recall)
    scores += [
        _score(
            "Vendi score",
            vendi,
            "How many different images those of a class amount to. Near that of real ones is good.",
        ),
        _score(
            "coverage",
            coverage,
            "Part of real images that have a synthetic one nearby, classes weighing the same.",
            True,
        ),
        _score("recall", recall, "Part of real images that lie among synthetic ones, classes weighing the same.", True),
    ]
    status = "ok"
    # images that lie apart from real ones cover few of these, and blurred ones differ less: that is said by another word
    apart = min(1.0, facts.figure(lambda m: m.density).ratio)
    if _is_below(vendi, MOST * apart) or _is_below(coverage, MOST * apart):
        status = "bad" if _is_below(vendi, HALF * apart) or _is_below(coverage, HALF * apart) else "look"
    if vendi.ratio < coverage.ratio:
        said = f"those of a class amount to {vendi.value:.1f} different ones, real ones to {vendi.real:.1f}"
    else:
        said = f"{_percent(coverage.value)} of real images have one of them nearby, and {_percent(coverage.real)} a real one"
    sentence = f"They vary {'as' if status == 'ok' else 'less than'} real images do: {said}."
    return Word("unvaried", status, sentence, tuple(scores), title, shown)


def copied(facts: Facts) -> Word:
    copies, count = facts.copies, len(facts.sets.synthetic)
    scores = tuple(_copy_scores(facts))
    places = copies.is_copy.nonzero()[:, 0]
    details = {"copies": [pairs.copy_of(facts, place) for place in places[copies.ratio[places].argsort()].tolist()]}
    title, shown = "Nearest to real ones: synthetic, and the real image", tuple(pairs.nearest_pairs(facts))
    if len(facts.distinct) < LEAST_DISTINCT:
        sentence = f"There are only {len(facts.distinct)} distinct images: see whether these are real ones."
        return Word("copied", "not judged", sentence, scores, title, shown, details)
    of_training = len(copies.to_training.place[copies.is_copy & ~copies.of_held_out].unique())
    of_held_out = len(copies.to_held_out.place[copies.is_copy & copies.of_held_out].unique())
    # a real image counts once however often it is repeated, and so do synthetic ones
    distinct, (known, real) = round(facts.distinct_part * count), copies.known
    p = 2 * min(_fisher(k, distinct, known, real) for k in (of_training, of_held_out))
    which = " and ".join(f"{n:,} {name}" for n, name in ((of_training, "training"), (of_held_out, "held-out")) if n)
    if p < SURE:
        sentence = (
            f"{len(places):,} of {count:,} are copies of real images, {which} ones; of {real:,} real images {known:,} have "
            "a copy."
        )
        return Word("copied", "bad", sentence, scores, title, shown, details)
    if _leans(facts):
        sentence = (
            f"They lie nearer to training images than to held-out ones: {copies.ours:,} of {copies.nearest:,} nearest are "
            "training images, where half would be."
        )
        return Word("copied", "look", sentence, scores, title, shown, details)
    sentence = "They lie no nearer to real images than unseen real images do."
    if len(places):
        most = min(distinct, max(of_training, of_held_out))
        beside = "not surely more" if most * real > known * distinct else "no more"
        sentence += (
            f" {len(places):,} of {count:,} are near copies, of {which} images. {most:,} of one kind for {distinct:,} distinct "
            f"ones are {beside} than {known:,} for {real:,} real ones, p = {min(1.0, p):.2g}."
        )
    return Word("copied", "ok", sentence, scores, title, shown, details)


def missing(facts: Facts) -> Word:
    if _are_repeats(facts):
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
        said = [f"There are no images, or hardly any, of {_names(names, absent)}."] if absent else []
        said += [f"Most real images of {_names(names, low)} have no synthetic one like them."] if low else []
        sentence = " ".join(said)
    title = "Real images, and the synthetic one that is nearest"
    shown = tuple(pairs.uncovered(facts, [*absent, *low] or [worst]))
    return Word("missing", status, sentence, scores, title, shown, {"classes": by_class})


def lacking(facts: Facts) -> str:
    """Names of the classes of which there are no synthetic images, or hardly any; empty if there are all."""
    names = facts.sets.classes
    synthetic, training = (part.counts(len(names)) for part in (facts.sets.synthetic, facts.sets.training))
    none = ((synthetic == 0) & (training > 0)).nonzero()[:, 0].tolist()
    return _names(names, sorted({*none, *_absent(facts)}))


def label_truth(facts: Facts) -> Word:
    if _are_repeats(facts):
        sentence = "The images repeat one another: too few are left to ask about."
        return Word("label truth", "not judged", sentence)
    if len(facts.distinct) < LEAST_TOLD:
        return _too_few("label truth", facts)
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
    found = "Labels hold" if status == "ok" else f"About {_percent(min(1.0, truth.wrong))} of the labels are wrong"
    agreed = f"agrees with {_percent(truth.agreement)}, of held-out images {_percent(truth.expected)}"
    sentence = f"{found}: a classifier of the real images {agreed}."
    details = {"confusion": truth.confusion.tolist()}
    title = "Labelled as one class, told as another: synthetic images"
    return Word("label truth", status, sentence, scores, title, tuple(pairs.mislabelled(facts)), details)


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
    """Whether synthetic images lie nearer to training images than unseen ones do, and not nearer to all real ones, as blur.

    scipy comes with scikit-learn.
    """
    from scipy.stats import binomtest

    c = facts.copies
    if facts.sets.is_own or not c.nearest or math.isnan(c.c_t):
        return False
    p = float(binomtest(c.ours, c.nearest, 0.5, alternative="greater").pvalue)
    return c.c_t < COPYING and c.ours / c.nearest > LEANING and p < SURE


def _fisher(k: int, n: int, known: int, m: int) -> float:
    """Whether k of n are more than `known` of m: p-value of Fisher's exact test."""
    from scipy.stats import fisher_exact

    k = min(k, n)
    return float(fisher_exact([[k, n - k], [known, m - known]], alternative="greater")[1])


def _too_few(name: str, facts: Facts) -> Word:
    if _are_repeats(facts) or len(facts.distinct) < LEAST_TOLD:
        return Word(name, "not judged", f"There are only {len(facts.distinct)} distinct images: too few to judge.")
    return Word(name, "not judged", shortage(facts.embedded, facts.sets.classes))


def _unjudged(name: str, facts: Facts) -> Word | None:
    """The word where it cannot be judged: there are too few images, or they show nothing real."""
    if not facts.trials:
        return _too_few(name, facts)
    if _is_below(facts.figure(lambda m: m.density), HALF):
        return Word(name, "not judged", "Too few of the images are like any real one.")
    return None


def _are_repeats(facts: Facts) -> bool:
    return facts.distinct_part < HALF * facts.real_distinct


def _test_score(facts: Facts) -> Score:
    a, b = facts.test, facts.real_test
    assert a is not None
    assert b is not None
    reading = "How often a classifier tells a synthetic image from a real one; 50 % by guessing. 95 % intervals."
    ends = [x.auc + sign * 1.96 * x.error for x in (a, b) for sign in (-1, 1)]
    low, high, real_low, real_high = (min(1.0, max(0.0, end)) for end in ends)
    return Score("two-sample AUC", a.auc, reading, low, high, real_low, real_high, True)


def _copy_scores(facts: Facts) -> Iterator[Score]:
    c = facts.copies
    part, known = float(c.is_copy.float().mean()), c.known[0] / max(1, c.known[1])
    reading = "Part of the images that are less than half as far from a real one as that is from other real ones."
    yield Score("copies", part, reading, None, None, known, known, True)
    authentic, usual = (float((x.ratio > 1).float().mean()) for x in (c.to_training, c.unseen))
    reading = (
        "Part of the images that are farther from the nearest training image than that is from others. Low: copies."
    )
    yield Score("AuthPct", authentic, reading, None, None, usual, usual, True)
    reading = "Below -3: nearer to training images than held-out ones are. Smooth images are near to all, so read the next, too."
    yield Score("C_T", c.c_t, reading, None, None, -1.96, 1.96)
    if c.nearest:
        share = c.ours / c.nearest
        error = 1.96 * (share * (1 - share) / c.nearest) ** 0.5
        reading = (
            "Of the real images nearest to them, of as many of either kind, the part for training. Above half: copying."
        )
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
    chance: float = (expected * (1 - expected) / n) ** 0.5
    return float(values[c]) < expected - SPREADS * chance


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


def _names(names: tuple[str, ...], chosen: list[int]) -> str:
    return listed([names[c] for c in chosen])


def _percent(part: float | Tensor) -> str:
    return f"{100 * float(part):.0f} %"
