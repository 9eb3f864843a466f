"""The labels of all samples of a data set, and the classes that they are."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ..amounts import Label
from ..images import LabelAt, Reader, label_of, plain_label, spread_places
from ..progress import progress

COMPARED = 16  # samples, by which it is told whether `targets` are their labels


class Classes(NamedTuple):
    """Names of classes, and the place among them of each label."""

    names: tuple[str, ...]
    places: dict[Label, int]

    @classmethod
    def of(cls, labels: Sequence[Label], names: Any) -> "Classes":
        """Classes of these labels: integers are places in `names`, if they fit; others are named by themselves.

        Example:
            >>> Classes.of([1, 1], ["cat", "dog"]).places, Classes.of(["dog", "cat"], None).names
            ({0: 0, 1: 1}, ('cat', 'dog'))
        """
        found = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
        are_places = isinstance(names, list | tuple) and all(
            isinstance(label, int) and 0 <= label < len(names) for label in found
        )
        if are_places and all(isinstance(name, str) for name in names):
            return cls(_writable(names), {place: place for place in range(len(names))})
        return cls(_writable(found), {label: place for place, label in enumerate(found)})

    def label(self, given: Any) -> Label:
        """The label that a user means, by its name or by itself.

        Raises:
            ValueError: there is no such class.
        """
        by_name: dict[Any, Label] = {self.names[place]: label for label, place in self.places.items()}
        label = by_name.get(given, plain_label(given))
        if label not in self.places:
            folded = {name.casefold(): name for name in self.names}
            near = difflib.get_close_matches(str(given).casefold(), folded, n=1)
            hint = f"did you mean {folded[near[0]]!r}? " if near else ""
            listed = ", ".join(map(repr, self.names[:20])) + (", ..." if len(self.names) > 20 else "")
            raise ValueError(f"there is no class {given!r}: {hint}There are {listed}")
        return label

    def counts(self, counts: Mapping[Any, int]) -> dict[Label, int]:
        """Counts by label, of counts by label or name.

        Raises:
            ValueError: there is no such class, or a count is no number of samples.
        """
        for name, count in counts.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ValueError(f"counts are numbers of samples, at least 0, got {count!r} for {name!r}")
        return {self.label(name): count for name, count in counts.items()}


def _writable(names: Sequence[Any]) -> tuple[str, ...]:
    """Names as valid Unicode, each another. Raises ValueError if two are the same."""
    texts = [str(name).encode("utf-8", "backslashreplace").decode() for name in names]
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise ValueError(f"two classes are called {twice!r}: give each a name of its own")
    return tuple(texts)


def all_labels(base: Any, reader: Reader, count: int, at: LabelAt) -> list[Label] | None:
    """The label of each sample, or None if they have none; from `base.targets`, if that is right, as it reads no image.

    Raises:
        ValueError: some have a label, and others none.
    """
    if at is None and (listed := _targets(base, count)) is not None:
        places = spread_places(count, COMPARED).tolist()
        if all(label_of(reader.read(i)[0]) == listed[i] for i in places):
            return listed
    labels = [label_of(reader.read(i)[0], at) for i in progress(range(count), "read labels", unit="image")]
    if None not in labels:
        return labels  # type: ignore[return-value]
    if any(label is not None for label in labels):
        raise ValueError(f"the sample {labels.index(None)} has no label, where others have: give each one, or none")
    return None


def _targets(base: Any, count: int) -> list[Label] | None:
    targets = getattr(base, "targets", None)
    if isinstance(targets, Tensor | np.ndarray):
        targets = targets.tolist()
    if not isinstance(targets, list | tuple) or len(targets) != count:
        return None
    labels = [plain_label(target) for target in targets]
    return None if None in labels else labels  # type: ignore[return-value]
