"""Measure what writing a synthetic data set costs: 60,000 images of Fashion-MNIST as one command, and images a core.

python -m benchmarks.writing            two minutes: writes benchmarks/writing.json, prints the table
python -m benchmarks.writing --table    the table of the stored figures, and measures nothing

Seconds are those of the command from its start to its end, with imports and the fit. CPU seconds, of the same command and its
workers, do not grow where other programs run. The rest is CPU time of one thread, in turn, five times.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from vae_augment import SyntheticDataset, VAEAugment
from vae_augment.export import FORMATS, Writer
from vae_augment.source import open_source

RESULTS = Path(__file__).parent / "writing.json"
COUNT, REPEATS, SHARDS = 60_000, 5, 4
BATCH = 512  # as the writer decodes


def command_seconds(workers: int) -> dict[str, float]:
    """Wall and CPU seconds of the command that writes 60,000 images as parquet."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["generate", "FashionMNIST", "--out", "set", "--count", str(COUNT), "--format", "parquet"]
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "vae_augment", *words, "--workers", str(workers)]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def images_a_second(call: Callable[[], int]) -> float:
    started = time.process_time()
    count = call()
    return count / (time.process_time() - started)


def written(writer: Writer) -> int:
    """Write some shards again; how many images they have."""
    return sum(map(writer.write_shard, writer.contents.shards[:SHARDS]))


def sampled(augment: VAEAugment) -> int:
    """Decode as many images of classes, and nothing else."""
    for _ in range(SHARDS * 2):
        augment.sample([0] * BATCH)
    return SHARDS * 2 * BATCH


def per_core() -> dict[str, dict[str, float]]:
    """Images a CPU second of each format, and the ratio to decoding alone: median, least and largest."""
    dataset = SyntheticDataset(open_source("FashionMNIST"), 1.0, "fashion-mnist")
    augment = dataset.augment
    assert isinstance(augment, VAEAugment)
    folder = Path(tempfile.mkdtemp())
    writers = {form: dataset.writer(folder / form, format=form) for form in FORMATS}
    turns = []
    for turn in range(REPEATS + 1):
        decoded = images_a_second(lambda: sampled(augment))
        rates = {form: images_a_second(lambda writer=writer: written(writer)) for form, writer in writers.items()}  # type: ignore[misc]
        if turn:  # the first imports libraries
            turns.append(rates | {f"decoding / {form}": decoded / rate for form, rate in rates.items()})
    shutil.rmtree(folder)
    return {
        name: {
            "median": statistics.median(turn[name] for turn in turns),
            "least": min(turn[name] for turn in turns),
            "largest": max(turn[name] for turn in turns),
        }
        for name in turns[0]
    }


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = ["| what | figure |", "| --- | --- |"]
    for workers, of in found["60,000 images as parquet, seconds"].items():
        what = f"60,000 images of Fashion-MNIST as parquet, the whole command, {workers} worker{'s' * (workers != '1')}"
        lines.append(f"| {what} | {of['wall']:.0f} s, of these {of['cpu']:.0f} s of a CPU |")
    for form in FORMATS:
        of = found["images a CPU second"][form]
        spread = f"{of['median']:,.0f} ({of['least']:,.0f} to {of['largest']:,.0f})"
        times = found["images a CPU second"][f"decoding / {form}"]["median"]
        lines.append(f"| {form}, images a second and core | {spread}; decoding alone makes {times:.0f} times as many |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the stored figures, and measure nothing")
    if not parser.parse_args().table:
        torch.set_num_threads(1)
        found = {
            "60,000 images as parquet, seconds": {str(workers): command_seconds(workers) for workers in (1, 2)},
            "images a CPU second": per_core(),
            "machine": {"load": {"before": os.getloadavg()[2]}},
        }
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
