"""Saving: the half of `SyntheticDataset` that writes files."""

import hashlib
import operator
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from ..amounts import Label, mixed, sources_by_counts, sources_to_reach
from ..classes import ClassDifferences
from ..images import LabelAt, Reader, spread_places
from ..transform import VAEAugment
from .contents import Contents, Making
from .labels import Classes, all_labels
from .png import png_bytes
from .writer import FORMATS, Writer

LOOKED_AT = 16  # images of a source, by which its size and identity are told
MOST_IMAGES = 10**7  # of a set


class Saving:
    """`save`, for a data set of real and synthetic samples.

    Args:
        base, augment, seed, soft: of the data set.
    """

    base: Any
    augment: Any
    ratio: float
    seed: int | None
    soft: bool
    _reader: Reader
    _labels_at: LabelAt
    _count: int
    _synthetic: int
    _own: Any

    def _source(self, index: int) -> int:
        raise NotImplementedError

    def new_images(self, sources: Sequence[int], seed: int) -> list[Any]:
        """Synthetic images of these samples of `base`, before its transforms: a batch that depends on the seed alone."""
        raise NotImplementedError

    def real_images(self, sources: Sequence[int]) -> list[Any]:
        """The images of these samples of `base`, before its transforms."""
        return [self._reader.image(source) for source in sources]

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        per_class: int | None = None,
        counts: Mapping[Any, int] | None = None,
        format: str = "imagefolder",
        include_real: bool = False,
        seed: int | None = None,
        workers: int | None = None,
        progress: bool = True,
    ) -> Path:
        """Write the synthetic samples to a folder, with a card, before the transforms of `base`. Labels become classes.

        It goes on where a process with the same call was killed. The images are not those that `self[index]` gives: they are made
        in batches, which is many times as fast, and depend on `seed` alone, if `augment` draws from torch's generator.

        Args:
            folder: a new or an empty one, or one that the same call has begun.
            per_class: real and synthetic samples of each class together, the smallest classes first; a class that has more gets
                none. None: the synthetic samples of this data set.
            counts: synthetic samples of each class, by its label or name: `{"rare": 500}`.
            format: "imagefolder", PNG files in folders of their classes; "parquet", as the Hub has it, or "webdataset", tar
                files, of which both need `pip install 'vae-augment[write]'`.
            include_real: write the real samples, too.
            seed: of the images. None: that of the data set, else 0.
            workers: processes that write. None: one for each core; 1: this one.
            progress: False: no bar.

        Returns:
            The folder.

        Raises:
            ValueError: an option is wrong, a library is missing, or the folder holds other things.
            OSError: the disk is full, or the folder cannot be written.

        Example:
            >>> import tempfile
            >>> from torchvision.datasets import ImageFolder
            >>> from vae_augment import SyntheticDataset
            >>> from vae_augment.source import open_source
            >>> dataset = SyntheticDataset(open_source("sample"))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     written = dataset.save(f"{folder}/garments", per_class=52)
            ...     len(ImageFolder(written / "train"))
            20
        """
        writer = self.writer(
            folder, per_class=per_class, counts=counts, format=format, include_real=include_real, seed=seed
        )
        writer.run(workers, show=progress)
        return writer.folder

    def writer(
        self,
        folder: str | os.PathLike[str],
        *,
        per_class: int | None = None,
        counts: Mapping[Any, int] | None = None,
        format: str = "imagefolder",
        include_real: bool = False,
        seed: int | None = None,
        shard_size: int | None = None,
        how: str | None = None,
    ) -> Writer:
        """What `save` runs, for programs that write shards on machines of their own: see `examples/ray_generate.py`.

        Args: as of `save`; and
            shard_size: most images of a file. None: 1024, fewer of large images.
            how: the command that asked for it, for the card. None: this call.
        """
        if format not in FORMATS:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
        if shard_size is not None and operator.index(shard_size) < 1:
            raise ValueError(f"shard_size must be at least 1 image, got {shard_size}")
        if self.soft:
            raise ValueError("files hold one label an image, and soft=True gives distributions: leave it out")
        labels = all_labels(self.base, self._reader, self._count, self._labels_at)
        classes = None if labels is None else Classes.of(labels, getattr(self.base, "classes", None))
        sources = self._sources_of(labels, classes, per_class, counts)
        real = self._count if include_real else 0
        if real + len(sources) > MOST_IMAGES:
            raise ValueError(
                f"{real + len(sources):,} images are more than a set may have, {MOST_IMAGES:,}: ask for fewer"
            )
        rows = np.array([*range(real), *sources], dtype=np.int64)
        pixels, look = self._look()
        contents = Contents(
            name=_name_of(self._reader.locate(0)[0]),
            sources=rows,
            targets=None if labels is None or classes is None else np.array([classes.places[x] for x in labels])[rows],
            classes=() if classes is None else classes.names,
            real=real,
            seed=(self.seed or 0) if seed is None else operator.index(seed),
            making=self._making(),
            pixels=pixels,
            shard_size=shard_size,
            look=look,
        )
        asked = {"per_class": per_class, "counts": counts, "format": format, "include_real": include_real, "seed": seed}
        return Writer(Path(folder), format, contents, self, how or self._call(Path(folder), asked))

    def _sources_of(
        self,
        labels: list[Label] | None,
        classes: Classes | None,
        per_class: int | None,
        counts: Mapping[Any, int] | None,
    ) -> list[int]:
        """The source of each synthetic sample that is asked for; at least one."""
        if per_class is not None and counts is not None:
            raise ValueError("per_class and counts both say how many samples of a class to make: give one of them")
        if not self._synthetic:
            raise ValueError(f"ratio={self.ratio} of {self._count} samples makes no synthetic ones: raise it")
        if per_class is None and counts is None:
            return [self._source(self._count + i) for i in range(self._synthetic)]
        if labels is None or classes is None:
            raise ValueError("samples by class need samples with a label: (image, label, ...)")
        if per_class is not None:
            sizes = Counter(labels).values()
            _check_total(operator.index(per_class) * len(sizes))
            if not (sources := sources_to_reach(labels, per_class)):
                raise ValueError(
                    f"each class has {min(sizes)} samples or more, so that {per_class} per class need no synthetic ones: ask "
                    f"for more than {min(sizes)}"
                )
            return sources
        assert counts is not None
        by_label = classes.counts(counts)
        _check_total(sum(by_label.values()))
        if not (sources := sources_by_counts(labels, by_label)):
            raise ValueError("counts ask for no sample: give at least one class more than 0")
        return mixed(sources)

    def _look(self) -> tuple[int, str]:
        """Pixels of the largest of a few images, and a digest of all these."""
        largest, digest = 1, hashlib.sha256()
        for image in self.real_images(spread_places(self._count, LOOKED_AT).tolist()):
            height, width = (image.height, image.width) if isinstance(image, PIL.Image.Image) else image.shape[-2:]
            largest = max(largest, height * width)
            digest.update(png_bytes(image))
        return largest, digest.hexdigest()

    def _making(self) -> Making:
        if not isinstance(augment := self.augment, VAEAugment):
            return Making("callable")
        if self._own is not None:
            return Making("pool", *identity_of(augment), has_bank=True)
        if augment.classes is None or isinstance(augment.jitter, ClassDifferences):
            return Making("variation", *identity_of(augment), augment.strength, has_bank=augment.bank is not None)
        return Making("class", *identity_of(augment), augment.strength, augment.novelty, augment.bank is not None)

    def _call(self, folder: Path, asked: Mapping[str, Any]) -> str:
        """The call that writes this, for a card: without what is the default, and without folders of this machine."""
        default = {"format": "imagefolder", "include_real": False}
        given = [f"{key}={value!r}" for key, value in asked.items() if value not in (None, default.get(key))]
        augment = f", augment={identity_of(self.augment)[0]!r}" if isinstance(self.augment, VAEAugment) else ""
        made = f"SyntheticDataset(base, ratio={self.ratio}{augment})"
        return f"{made}.save({', '.join([repr(folder.absolute().name), *given])})"


def identity_of(augment: VAEAugment) -> tuple[str, str]:
    """Name of a transform's weights, of a folder the last part, and their revision: a commit, or the network's fingerprint."""
    name = augment.source or "weights without a name"
    if os.path.isdir(os.path.expanduser(name)):
        name = Path(name).expanduser().absolute().name
    return name, augment.revision or augment.vae.fingerprint()[:16]


def _name_of(base: Any) -> str:
    name = getattr(base, "name", None)
    return name if isinstance(name, str) else type(base).__name__


def _check_total(count: int) -> None:
    if count > MOST_IMAGES:
        raise ValueError(f"{count:,} images are more than a set may have, {MOST_IMAGES:,}: ask for fewer")
