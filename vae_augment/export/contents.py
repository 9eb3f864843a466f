"""Contents: which samples a written data set holds, of which files, and what is known of each."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Method = Literal["class", "variation", "prior", "pool", "callable"]

MOST_PER_SHARD, PIXELS_PER_SHARD = 1024, 2**24  # images of a file
MOST_PER_BATCH, PIXELS_PER_BATCH = 512, 2**21  # images in one pass of the network


class Making(NamedTuple):
    """What made the synthetic images.

    Args:
        method: new images of a class; variations of source images; of no class; a pool's own images; another callable.
        weights: their name, no path; empty for a callable.
        revision: commit of the Hub, else the start of the network's fingerprint.
        strength, novelty: of `VAEAugment`; 0 where one has no meaning.
        has_bank: whether the weights hold latents of single images.
    """

    method: Method
    weights: str = ""
    revision: str = ""
    strength: float = 0.0
    novelty: float = 0.0
    has_bank: bool = False


class Shard(NamedTuple):
    """Rows from start to stop, which are written together: all real, or all synthetic."""

    number: int
    start: int
    stop: int
    is_synthetic: bool


@dataclass(frozen=True, eq=False)
class Contents:
    """The rows of a written data set: real ones first, then synthetic ones.

    Args:
        name: of the source, no path.
        sources: int64 `(N,)`: index of each row's source sample; -1 where there is none.
        targets: int64 `(N,)`: class of each row, a place in `classes`; None without classes.
        classes: their names.
        real: how many rows, the first, are real.
        seed: by which the synthetic images are drawn.
        making: what made them.
        pixels: of the largest of a few images, by which files and batches are cut.
        shard_size: most images of a file; None: `MOST_PER_SHARD`, fewer of large ones.
        look: sha256 of a few source images, which tells one source from another.
    """

    name: str
    sources: NDArray[np.int64]
    targets: NDArray[np.int64] | None
    classes: tuple[str, ...]
    real: int
    seed: int
    making: Making
    pixels: int
    shard_size: int | None = None
    look: str = ""

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def shards(self) -> list[Shard]:
        size = self.shard_size or max(1, min(MOST_PER_SHARD, PIXELS_PER_SHARD // max(self.pixels, 1)))
        parts = [(0, self.real, False), (self.real, len(self), True)]
        cuts = [(a, min(a + size, stop), new) for start, stop, new in parts for a in range(start, stop, size)]
        return [Shard(number, *cut) for number, cut in enumerate(cuts)]

    def batches(self, shard: Shard) -> list[range]:
        """The rows of a shard, as they go through the network: always the same together, for their rounding."""
        size = max(1, min(MOST_PER_BATCH, PIXELS_PER_BATCH // max(self.pixels, 1)))
        return [range(a, min(a + size, shard.stop)) for a in range(shard.start, shard.stop, size)]

    def label(self, row: int) -> str | None:
        """Name of a row's class."""
        return None if self.targets is None else self.classes[self.targets[row]]

    def provenance(self, row: int) -> dict[str, Any]:
        """What is known of a row, the same keys and types for all rows: readers infer columns from the first ones."""
        new, making = row >= self.real, self.making
        known: dict[str, Any] = {"synthetic": new}
        if self.has_sources:
            known["source_index"] = int(self.sources[row])
        return known | {
            "strength": float(making.strength) if new else 0.0,
            "novelty": float(making.novelty) if new else 0.0,
            "seed": self.seed,
            "weights": making.weights if new else "",
            "revision": making.revision if new else "",
        }

    @property
    def has_sources(self) -> bool:
        return bool(len(self) and self.sources[0] >= 0)

    @property
    def classes_made(self) -> int:
        """How many classes have an image here, of those that the source has."""
        return sum(real + new > 0 for _, real, new in self.counts())

    def counts(self) -> list[tuple[str, int, int]]:
        """Name, real and synthetic rows of each class."""
        if self.targets is None:
            return []
        real, new = (np.bincount(part, minlength=len(self.classes)) for part in np.split(self.targets, [self.real]))
        return [(name, int(r), int(n)) for name, r, n in zip(self.classes, real, new, strict=True)]

    def as_json(self) -> dict[str, Any]:
        """All that decides the files' bytes."""
        rows = hashlib.sha256(self.sources.tobytes())
        rows.update(b"" if self.targets is None else self.targets.tobytes())
        return {
            "source": self.name,
            "source_images": self.look,
            "rows": rows.hexdigest(),
            "images": len(self),
            "real": self.real,
            "classes": list(self.classes),
            "seed": self.seed,
            "making": self.making._asdict(),
            "shards": len(self.shards),
        }
