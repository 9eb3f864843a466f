"""The worst examples of each word, side by side with what they should have been like."""

from collections.abc import Iterator

import torch

from .facts import Facts
from .result import Pair

SHOWN = 12  # pairs of images of a word
SHOWN_COPIES = 60


def least_real(facts: Facts) -> Iterator[Pair]:
    features, labels = facts.embedded.synthetic
    distances, places = torch.cdist(features, facts.embedded.held_out[0]).min(1)
    for i in distances.argsort(descending=True)[:SHOWN].tolist():
        caption = f"{facts.sets.classes[int(labels[i])]}, synthetic {int(facts.distinct.index[i])}"
        yield Pair(facts.distinct.images[i], facts.asked.images[int(places[i])], caption)


def repeats(facts: Facts) -> Iterator[Pair]:
    sample, found = facts.sample, facts.repeats
    theirs = found.place[found.place]
    # two images that are each other's nearest are one pair
    is_first = (theirs != torch.arange(len(sample))) | (found.place > torch.arange(len(sample)))
    for i in found.distance.masked_fill(~is_first, torch.inf).argsort()[: min(SHOWN, int(is_first.sum()))].tolist():
        caption = f"synthetic {int(sample.index[i])} and {int(sample.index[int(found.place[i])])}"
        yield Pair(sample.images[i], sample.images[int(found.place[i])], caption)


def copy_of(facts: Facts, place: int) -> dict[str, int | float | str]:
    c = facts.copies
    of_held_out = bool(c.of_held_out[place])
    to, real = (c.to_held_out, facts.sets.held_out) if of_held_out else (c.to_training, facts.sets.training)
    return {
        "synthetic": int(facts.sets.synthetic.index[place]),
        "of": "held-out" if of_held_out else "training",
        "real": int(real.index[int(to.place[place])]),
        "ratio": float(to.ratio[place]),
    }


def nearest_pairs(facts: Facts) -> Iterator[Pair]:
    c, sets = facts.copies, facts.sets
    count = min(SHOWN_COPIES, max(SHOWN, int(c.is_copy.sum())))
    for place in c.ratio.argsort()[:count].tolist():
        copy = copy_of(facts, place)
        real = sets.held_out if copy["of"] == "held-out" else sets.training
        other = int((c.to_held_out if copy["of"] == "held-out" else c.to_training).place[place])
        caption = f"synthetic {copy['synthetic']}, {copy['of']} {copy['real']}, {100 * float(copy['ratio']):.0f} %"
        yield Pair(sets.synthetic.images[place], real.images[other], caption)


def uncovered(facts: Facts, classes: list[int]) -> Iterator[Pair]:
    features, labels = facts.embedded.held_out
    distances, places = torch.cdist(features, facts.embedded.synthetic[0]).min(1)
    distances = distances.masked_fill(~torch.isin(labels, torch.tensor(classes)), -torch.inf)
    for i in distances.argsort(descending=True)[: min(SHOWN, int(distances.isfinite().sum()))].tolist():
        caption = f"{facts.sets.classes[int(labels[i])]}, held-out {int(facts.asked.index[i])}"
        yield Pair(facts.asked.images[i], facts.distinct.images[int(places[i])], caption)


def mislabelled(facts: Facts) -> Iterator[Pair]:
    truth, names = facts.truth, facts.sets.classes
    wrong = truth.confidence.masked_fill(truth.told == facts.distinct.labels, -1)
    for i in wrong.argsort(descending=True)[: min(SHOWN, int((wrong > 0).sum()))].tolist():
        said, told = names[int(facts.distinct.labels[i])], names[int(truth.told[i])]
        yield Pair(
            facts.distinct.images[i], None, f"labelled {said}, told {told}, {100 * float(truth.confidence[i]):.0f} %"
        )
