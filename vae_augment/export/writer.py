"""Writer: a data set written shard by shard, by any number of processes, each time with the same bytes."""

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from ..atomic import atomic_write, remove_parts
from ..numerics import float32_on_cpu
from ..progress import progress
from ..seeding import derived_seed
from ..workers import in_workers
from .contents import Contents, Shard
from .data_card import GALLERY, data_card, plan_text
from .format import HIDDEN, Format
from .gallery import gallery
from .image_folder import IMAGE_FOLDER
from .parquet import PARQUET
from .png import png_bytes
from .tar import TAR

FORMATS: dict[str, Format] = {"imagefolder": IMAGE_FOLDER, "parquet": PARQUET, "webdataset": TAR}
PLAN, CARD = f"{HIDDEN}/plan.json", "README.md"
POLL = 0.2  # seconds between looks at what other processes have written


class Maker(Protocol):
    """Where images come from."""

    def real_images(self, sources: Sequence[int]) -> list[Any]:
        """Those of these samples of the source."""

    def new_images(self, sources: Sequence[int], seed: int) -> list[Any]:
        """Synthetic ones, made from these samples in one batch; the same for the same arguments."""


@dataclass(frozen=True, eq=False)
class Writer:
    """Writes a data set to a folder. A process that was killed is followed by any other with the same plan.

    Each shard is a file, or some files, of its own, written under a temporary name. Its images are decoded in batches that are
    always the same, each with a generator of its own, on one thread: their bytes depend neither on the process nor on how many
    there are. The card is written last: a folder with a card is whole.

    Args:
        folder: where to.
        form: a name in `FORMATS`.
        contents: which samples.
        maker: what makes their images.
        how: the command or the call that asked for it, for the card.
    """

    folder: Path
    form: str
    contents: Contents
    maker: Maker
    how: str

    @property
    def format(self) -> Format:
        """How shards are written."""
        return FORMATS[self.form]

    def begin(self) -> None:
        """Claim the folder for this plan.

        Raises:
            ValueError: a library is missing, or the folder holds other things or the set of another plan.
            OSError: it cannot be written.
        """
        self.format.check()
        plan = plan_text(self.contents, self.form, self.how)
        if (begun := claim(self.folder, self.how)) is not None:
            if begun != plan:
                raise ValueError(
                    f"{self.folder} was begun by the same command, of other images or weights, or by another version: name "
                    "another folder, or remove this one"
                )
            return
        file = self.folder / PLAN
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, plan.encode())

    @property
    def is_whole(self) -> bool:
        """Whether the set was written to its end."""
        return (self.folder / PLAN).is_file() and (self.folder / CARD).is_file()

    def missing(self) -> list[Shard]:
        """Shards that are not written yet."""
        return [shard for shard in self.contents.shards if not self._is_written(shard)]

    @float32_on_cpu()
    def write_shard(self, shard: Shard) -> int:
        """Make the images of a shard and write them. Returns how many they are.

        Raises:
            OSError: the disk is full, or the folder cannot be written.
        """
        pngs: list[bytes] = []
        for rows in self.contents.batches(shard):
            sources = self.contents.sources[rows.start : rows.stop].tolist()
            if shard.is_synthetic:
                seed = derived_seed(self.contents.seed, rows.start - self.contents.real)
                images = self.maker.new_images(sources, seed)
            else:
                images = self.maker.real_images(sources)
            pngs += map(png_bytes, images)
        self.format.write(self.folder, self.contents, shard, pngs)
        return len(pngs)

    def finish(self) -> None:
        """Write what is of all shards, the card last.

        Raises:
            RuntimeError: shards are missing.
        """
        if missing := self.missing():
            raise RuntimeError(f"{len(missing)} of {len(self.contents.shards)} shards are missing: write them first")
        self.format.finish(self.folder, self.contents)
        for folder, _, _ in os.walk(self.folder):
            remove_parts(Path(folder))
        picture = gallery(self.contents, lambda rows: self.format.read(self.folder, self.contents, rows))
        atomic_write(self.folder / GALLERY, picture)
        name = self.folder.absolute().name
        text = data_card(self.contents, name, self.format.reading(f"./{name}", self.contents), self.how)
        atomic_write(self.folder / CARD, text.encode())
        self._tidy()

    def run(self, workers: int | None = None, rank: int = 0, world_size: int = 1, show: bool = True) -> None:
        """Write the shards of this process, and the end if it is the first one.

        Args:
            workers: processes that it starts; 1: none. None: as many as there are cores for it.
            rank, world_size: which of how many processes this is, that write to one folder. The first waits for the others.
            show: show a bar.

        Raises: as `begin` and `write_shard`.
        """
        self.begin()
        if self.is_whole:
            self._tidy()
            return
        mine = [shard for shard in self.contents.shards[rank::world_size] if not self._is_written(shard)]
        total = sum(shard.stop - shard.start for shard in mine)
        images = chain.from_iterable(range(count) for count in in_workers(self.write_shard, mine, workers))
        for _ in progress(images, "generate", total, unit="image", show=show and rank == 0):
            pass
        if rank == 0:
            for shard in progress(self.contents.shards, "wait for other processes", unit="shard", show=show):
                while not self._is_written(shard):
                    time.sleep(POLL)
            self.finish()

    def _is_written(self, shard: Shard) -> bool:
        return (self.folder / self.format.marker(self.contents, shard)).is_file()

    def _tidy(self) -> None:
        """Remove the marks of shards, which the card makes needless."""
        shutil.rmtree(self.folder / HIDDEN / "shards", ignore_errors=True)


def claim(folder: Path, how: str) -> str | None:
    """The plan by which a folder was begun, known to be of the same command; None for a new or an empty one.

    Raises:
        ValueError: it holds other things, or was begun by another command.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file: name a folder that is new or empty")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    file = folder / PLAN  # looked for after the listing: another process may have begun in between
    if not file.is_file():
        if others := [name for name in held if name != HIDDEN]:
            listed = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            raise ValueError(f"{folder} holds other things ({listed}): name a folder that is new or empty")
        return None
    plan = file.read_text(errors="replace")
    try:
        begun = str(json.loads(plan)["how"])
    except (ValueError, KeyError, TypeError, RecursionError):
        begun = "a command that cannot be read"
    if begun != how:
        raise ValueError(
            f"{folder} was begun by another command, {begun:.300}: repeat that one, or name another folder"
        )
    return plan
