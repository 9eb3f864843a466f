"""Make a bank of your unlabelled images, of any number, and a weights folder with it.

  vae-augment bank photos --weights flowers --out bank           images in any folders, labelled or not
  vae-augment bank shards --weights flowers --out bank           parquet files or webdataset tars
  vae-augment bank hf:NAME --weights cifar10 --out bank --size 200000
  vae-augment bank FashionMNIST --weights fashion-mnist --out bank --features efficientnet-lite0

SOURCE is a folder of images, of parquet files or of webdataset tars (pip install 'vae-augment[hf]'), one such file, a class of
torchvision.datasets, hf:NAME, or sample. DIR is then loaded as weights are: VAEAugment.from_pretrained("DIR").fit(few). More than
32,768 images are compared by the library faiss, pip install 'vae-augment[scale]'.

Images are read and embedded shard by shard, each a file of its own; then one process compares them all. Killed or stopped, the
same command goes on with the shards that are missing. Any number of processes make the same files, also on several machines that
share the folder:

  torchrun --nproc-per-node 2 -m vae_augment bank shards --weights flowers --out bank
"""

import argparse
import json
import math
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..atomic import atomic_write
from ..encoders import Encoder, load_encoder
from ..export import PLAN, claim
from ..images import spread_places
from ..pool import USUAL_BANK, LatentBank, embed_images
from ..progress import progress
from ..source import Images, open_images
from ..transform import VAEAugment
from ..vae import Codec
from ..workers import in_workers
from . import last_name, plain_warnings, process, show, usage, whole

SHARDS = f"{Path(PLAN).parent}/shards"
POLL = 0.2  # seconds between looks at what other processes have written


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="the images, see above")
    parser.add_argument("--weights", required=True, metavar="NAME", help="whose VAE draws the bank's images")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--size", type=whole, metavar="N", help="at most so many images, spread over all; default: all")
    parser.add_argument(
        "--features", metavar="NAME", help="also compare by this network, as LatentBank.from_images does"
    )
    parser.add_argument("--root", metavar="DIR", help="where torchvision's data sets are; default $VAE_AUGMENT_DATA")
    parser.add_argument(
        "--shard-size", type=whole, default=USUAL_BANK, metavar="N", help="images of a shard; default 10000"
    )
    parser.add_argument("--workers", type=whole, metavar="N", help="processes that embed; default one for each core")


def run(options: argparse.Namespace) -> None:
    with plain_warnings():
        started = time.monotonic()
        with usage():
            rank, world_size = process()
            out = Path(options.out).expanduser()
            begun = claim(out, command(options))
            if (out / "config.json").is_file():
                shutil.rmtree(out / SHARDS, ignore_errors=True)  # of a process that was killed between these two
                show(f"{out} is whole: nothing was left to do")
                return
            augment = VAEAugment.from_pretrained(options.weights)
            encoder = None if options.features is None else load_encoder(options.features)
            shards = Shards.of(out, open_images(options.source, options.root), augment.vae, encoder, options)
            begin(out, begun, shards.plan(command(options)))
        try:
            shards.write(rank, world_size, options.workers)
        except KeyboardInterrupt:
            print(
                f"stopped: {len(shards.missing())} of {len(shards)} shards are left. The same command goes on",
                file=sys.stderr,
            )
            raise
        if rank == 0:
            bank = LatentBank.from_embedded(augment.vae, shards.read(), encoder=encoder)
            assert bank.index is not None  # among those that were taken
            bank = replace(bank, index=shards.taken()[bank.index.long()].int())
            augment.with_bank(bank).save_pretrained(out)
            shutil.rmtree(shards.folder)
            show(f"{out}: a bank of {len(bank):,} of {shards.count:,} images, in {time.monotonic() - started:.1f} s")


def begin(out: Path, begun: str | None, plan: str) -> None:
    """Claim the folder. Raises ValueError if it was begun with other images or weights."""
    if begun is None:
        (out / PLAN).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(out / PLAN, plan.encode())
    elif begun != plan:
        raise ValueError(
            f"{out} was begun by the same command, of other images or weights: name another folder, or remove this one"
        )


@dataclass(frozen=True)
class Shards:
    """Files with what a bank keeps of some images each.

    Args:
        folder: where they lie.
        images: of all of them.
        count: images that are taken, spread over all.
        size: of a shard.
    """

    folder: Path
    images: Images
    vae: Codec
    encoder: Encoder | None
    count: int
    size: int

    @classmethod
    def of(
        cls, out: Path, images: Images, vae: Codec, encoder: Encoder | None, options: argparse.Namespace
    ) -> "Shards":
        """Those of a command. Raises ValueError for fewer than two images."""
        if (count := min(options.size or len(images), len(images))) < 2:
            raise ValueError(
                f"a bank holds 2 images at least, and {count} of the {len(images)} of {options.source} are taken: name more"
            )
        return cls(out / SHARDS, images, vae, encoder, count, options.shard_size)

    def __len__(self) -> int:
        return math.ceil(self.count / self.size)

    def plan(self, how: str) -> str:
        """What all processes must agree on."""
        found = {"how": how, "images": len(self.images), "name": self.images.name, "vae": self.vae.fingerprint()}
        return json.dumps(found, indent=2) + "\n"

    def file(self, number: int) -> Path:
        """Of one shard."""
        return self.folder / f"{number:06d}.safetensors"

    def missing(self) -> list[int]:
        """Numbers of shards that are not written yet."""
        return [number for number in range(len(self)) if not self.file(number).is_file()]

    def taken(self) -> Tensor:
        """The places of the images that are taken, among all."""
        return spread_places(len(self.images), self.count)

    def places(self, number: int) -> Tensor:
        """Those of a shard's images."""
        return self.taken()[number * self.size : (number + 1) * self.size]

    def write_one(self, number: int) -> int:
        """Read and embed the images of a shard, and write them. Returns how many they are.

        Raises:
            OSError, TypeError, ValueError: an image cannot be read, or the disk is full.
        """
        places = self.places(number)
        found = embed_images(self.vae, [self.images[i] for i in places.tolist()], self.encoder)
        atomic_write(self.file(number), safetensors.torch.save({**found, "ids": places}))
        return len(places)

    def write(self, rank: int, world_size: int, workers: int | None) -> None:
        """Write the shards of this process; the first one waits for all.

        Raises:
            OSError, ValueError: an image cannot be read, or the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        mine = [number for number in range(rank, len(self), world_size) if not self.file(number).is_file()]
        total = sum(min(self.size, self.count - number * self.size) for number in mine)
        images = chain.from_iterable(range(count) for count in in_workers(self.write_one, mine, workers))
        for _ in progress(images, "embed", total, unit="image", show=rank == 0):
            pass
        while rank == 0 and self.missing():
            time.sleep(POLL)

    def read(self) -> Iterator[dict[str, Any]]:
        """What was written, shard by shard; files are mapped.

        Raises:
            ValueError: a file is damaged.
        """
        for number, places in enumerate(self.taken().split(self.size)):
            try:
                found = safetensors.torch.load_file(self.file(number))
                is_whole = torch.equal(found.pop("ids"), places)
            except (safetensors.SafetensorError, KeyError) as error:
                raise _damaged(self.file(number), error) from None
            if not is_whole:
                raise _damaged(self.file(number), "other images")
            yield found


def _damaged(file: Path, how: object) -> ValueError:
    return ValueError(f"{file} is damaged ({how}): remove it, and repeat the command, which makes it again")


def command(options: argparse.Namespace) -> str:
    """The command that makes the same: of folders the last name, and nothing that changes no byte."""
    words = ["vae-augment", "bank", last_name(options.source), "--weights", last_name(options.weights)]
    words += ["--out", Path(options.out).expanduser().absolute().name]
    for name in ("size", "features", "shard_size"):
        if (value := getattr(options, name)) is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
