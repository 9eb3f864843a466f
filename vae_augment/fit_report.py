"""FitReport: what a fit found out, as data and as a few lines to read."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from .pool import Query

MOST_CONFUSED = 5  # pairs of classes that a report names
LEAST_CONFUSED = 2  # images: one is chance

Label = int | str


@dataclass(frozen=True)
class FitReport:
    """What `fit` found out about labelled images and a pool; `print(augment.fit_report)` shows it.

    Args:
        labelled: number of labelled images that count.
        judged: number of labels that were held out in turn; 0 if no class has two. They are those of the labelled images; where
            there are none, those that texts gave.
        accuracy: part of these that the graphs of all views predict rightly, mean over classes; nan if none was judged.
        accuracy_by_view: the same of each view alone, and of each with texts, where these stand beside labelled images.
        weights: how heavily each view votes, which sum to 1; 0 of one that carries next to no labels.
        confused: `(class, taken for, how many of how many judged)`, the most frequent first.
        kept: for each class how many images of the pool samples are drawn from; 0 where labelled images stand in.
        warning: what the fit warned of; None: nothing.
        seeds: number of images of the pool that texts named, and that count as labelled.
    """

    labelled: int
    judged: int
    accuracy: float
    accuracy_by_view: Mapping[str, float]
    weights: Mapping[str, float]
    confused: tuple[tuple[Label, Label, int, int], ...]
    kept: Mapping[Label, int]
    warning: str | None = None
    seeds: int = 0

    @classmethod
    def of(
        cls,
        query: Query,
        weighed: Query,
        labels: Tensor,
        names: Sequence[Label],
        members: Sequence[Sequence[int] | Tensor],
        warning: str | None,
    ) -> Self:
        """Report on labelled images, compared with a pool.

        Args:
            query: by all views of the bank; weighed: by those that vote.
            labels: int64 `(M,)`, places in `names`.
            members: for each class the places in the pool that stand for it; none if the pool is not used.
        """
        kept = {name: len(of_class) for name, of_class in zip(names, members or [()] * len(names), strict=True)}
        if not weighed.has_graphs:  # the pool proved to be of another kind: its graphs are not worth their cost
            return cls(len(labels), 0, math.nan, {}, {}, (), kept, warning)
        votes = {voter: graph.weight for voter, graph in zip(weighed.voters, weighed.graphs, strict=True)}
        held, total = weighed.held_out(labels, len(names)), sum(votes.values())
        alone = query.held_out(labels, len(names)).accuracies()
        predicted = held.predicted(list(votes.values())).tolist()
        return cls(
            labelled=len(labels),
            judged=len(held.own),
            accuracy=held.accuracy(list(votes.values())),
            accuracy_by_view=dict(zip(query.voters, alone, strict=True)),
            weights={voter: votes.get(voter, 0.0) / total for voter in query.voters},
            confused=_confused(held.own.tolist(), predicted, names),
            kept=kept,
            warning=warning,
            seeds=0 if query.seeds is None else int((query.seeds >= 0).sum()),
        )

    def __str__(self) -> str:
        lines = [self._given()]
        if self.weights and math.isnan(self.accuracy):
            held = "labelled images" if self.labelled else "of them"
            lines.append(f"no class has two {held}: nothing tells whether their labels spread")
        elif self.weights:
            lines.append(f"{self.judged} of their labels, held out in turn, are right for {self.accuracy:.0%}")
        if not self.labelled:
            right = ": right means that they agree with one another" if self.judged else ""
            lines.append(f"all of these labels are the texts', and no person's{right}")
        for name, weight in self.weights.items():
            found = self.accuracy_by_view[name]
            alone = "" if math.isnan(found) else f", alone {found:.0%}"
            lines.append(f"  by {name}: weight {weight:.2f}{alone}")
        if self.confused:
            pairs = ", ".join(f"{one} taken for {other} ({n} of {of})" for one, other, n, of in self.confused)
            lines.append(f"confused: {pairs}")
        if any(self.kept.values()):
            lines.append("kept of the pool: " + ", ".join(f"{name}: {count:,}" for name, count in self.kept.items()))
        if self.warning is not None:
            lines.append(f"warning: {self.warning}")
        return "\n".join(lines)

    def _given(self) -> str:
        seeds = f"{self.seeds} images of the pool, which texts name most surely"
        if not self.labelled:
            return f"no labelled images; of {len(self.kept)} classes {seeds}"
        return f"{self.labelled} labelled images of {len(self.kept)} classes" + (f", and {seeds}" if self.seeds else "")


def _confused(
    own: list[int], predicted: list[int], names: Sequence[Label]
) -> tuple[tuple[Label, Label, int, int], ...]:
    judged = Counter(own)
    pairs = Counter((a, b) for a, b in zip(own, predicted, strict=True) if a != b and b >= 0)
    often = [(pair, count) for pair, count in pairs.most_common(MOST_CONFUSED) if count >= LEAST_CONFUSED]
    return tuple((names[a], names[b], count, judged[a]) for (a, b), count in often)
