"""Measure what augmenting costs: CPU time per image on one thread, as a ratio to torchvision's RandAugment on the same tensors.

python -m benchmarks.speed                  all of it, about ten minutes: writes benchmarks/speed.json, prints the tables
python -m benchmarks.speed --quick          a tenth of the time, noisier
python -m benchmarks.speed --bundled        only the bundled weights of photographs, stored beside the other figures
python -m benchmarks.speed --table          those that docs and cards have, and the plot, benchmarks/speed.png
python -m benchmarks.speed --device cuda    images a second on a GPU (on_gpu.py), if there is one; stores nothing

Everything is measured in one run, path after path in turn, five times; a figure is the median of five ratios, with the
least and the largest. Absolute times mean little: machines differ, and are shared.
"""

import argparse
import importlib.util
import itertools
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from vae_augment import VAE, SyntheticDataset, VAEAugment, VAEConfig
from vae_augment.demo_data import fashion_sample
from vae_augment.vae import FusedVAE, computes_bf16

from . import on_gpu
from .speed_table import RAND_AUGMENT, REPEATS, Ratio, card_table, on_pil, page_table, plot, tables

RESULTS = Path(__file__).parent / "speed.json"
ROUNDS = 10
SIZES = (32, 96, 224, 448)  # of colour images
BUNDLED_SIZES = (32, 96, 224)  # of those through the bundled weights of photographs
BUNDLED = ("cifar10", "flowers")
WORKERS = (1, 2, 4)
SMALL_RGB = VAEConfig(channels=3, size=32, latent_dim=8, spatial=True, width=32)  # untrained: weights cost the same
Paths = dict[str, tuple[Callable[[], Any], int]]  # name -> (one call, images it makes)
Figures = dict[str, Ratio]  # of each path, to RandAugment


def interleaved(paths: Paths, seconds: float) -> Figures:
    """Each path for `seconds` in turn, five times -> CPU time per image, as ratios to RandAugment's of the same turn.

    Of PIL images also as ratios to RandAugment's on PIL images. A turn goes round the paths ten times.
    """
    calls = {}
    for name, (call, _) in paths.items():
        call()  # builds what is built once
        started = time.thread_time()
        call()
        calls[name] = max(1, round(seconds / ROUNDS / (time.thread_time() - started)))
    turns = []
    for _ in range(REPEATS):
        cost = dict.fromkeys(paths, 0.0)
        for _ in range(ROUNDS):  # short ones: a neighbour on the machine then slows all paths alike
            for name, (call, images) in paths.items():
                started = time.thread_time()
                for _ in range(calls[name]):
                    call()
                cost[name] += (time.thread_time() - started) / (calls[name] * images * ROUNDS)
        turns.append({name: value / cost[RAND_AUGMENT] for name, value in cost.items()})
        pil = {name: cost[f"{name}, PIL"] for name in paths if f"{name}, PIL" in cost}
        turns[-1] |= {on_pil(name): value / pil[RAND_AUGMENT] for name, value in pil.items() if name != RAND_AUGMENT}
    print(f"{RAND_AUGMENT}: {cost[RAND_AUGMENT] * 1e6:.0f} us an image", flush=True)
    return {name: spread([turn[name] for turn in turns]) for name in turns[0]}


def spread(values: list[float]) -> Ratio:
    return round(statistics.median(values), 3), round(min(values), 3), round(max(values), 3)


def single(
    images: Tensor, ours: Mapping[str, Callable[[Any], Any]], seconds: float, more: Paths | None = None
) -> Figures:
    """One uint8 tensor, float tensor or PIL image at a time, as in a DataLoader worker."""
    peers = {
        RAND_AUGMENT: v2.RandAugment(),
        "TrivialAugmentWide": v2.TrivialAugmentWide(),
        "RandomAffine": v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1)),
        "AugMix": v2.AugMix(),
        "ElasticTransform": v2.ElasticTransform(),
    }
    tensors, pil = _cycle(list(images)), _cycle([F.to_pil_image(image) for image in images])
    floats = _cycle([image / 255 for image in images])
    paths: Paths = {}
    for name, transform in (peers | ours).items():
        paths[name] = (lambda t=transform: t(next(tensors)), 1)  # type: ignore[misc]
        if name in ours:
            paths[f"{name}, floats"] = (lambda t=transform: t(next(floats)), 1)  # type: ignore[misc]
        if name in (RAND_AUGMENT, "RandomAffine", *ours):
            paths[f"{name}, PIL"] = (lambda t=transform: t(next(pil)), 1)  # type: ignore[misc]
    return interleaved(paths | (more or {}), seconds)


def bundled(images: Tensor, seconds: float) -> Figures:
    """One colour image at a time through the bundled weights of photographs."""
    ours = {name: VAEAugment.from_pretrained(name) for name in BUNDLED}
    tensors, pil = _cycle(list(images)), _cycle([F.to_pil_image(image) for image in images])
    paths: Paths = {}
    for name, transform in ({RAND_AUGMENT: v2.RandAugment()} | ours).items():
        paths[name] = (lambda t=transform: t(next(tensors)), 1)  # type: ignore[misc]
        paths[f"{name}, PIL"] = (lambda t=transform: t(next(pil)), 1)  # type: ignore[misc]
    return interleaved(paths, seconds)


def batches(images: Tensor, labels: Tensor, plain: VAEAugment, fitted: VAEAugment, seconds: float) -> Figures:
    """Batches `(B, C, S, S)` after the loader, or in collate_fn."""
    one, rand = _cycle(list(images)), v2.RandAugment()
    paths: Paths = {RAND_AUGMENT: (lambda: rand(next(one)), 1)}
    for size in (4, 16, 64, 256):
        part, wanted = images[:size], labels[:size].tolist()
        paths[f"VAEAugment, batch of {size}"] = (lambda x=part: plain(x), size)  # type: ignore[misc]
        paths[f"fitted VAEAugment, batch of {size}"] = (lambda x=part: fitted(x), size)  # type: ignore[misc]
        paths[f"fitted VAEAugment, with labels, batch of {size}"] = (  # type: ignore[misc]
            lambda x=part, y=wanted: fitted(x, y),
            size,
        )
        paths[f"fitted.sample of {size}"] = (lambda y=wanted: fitted.sample(y), size)  # type: ignore[misc]
    if computes_bf16(images.device):
        paths["VAEAugment, batch of 256, bfloat16"] = (_in_bfloat16(plain, images[:256]), 256)
    if importlib.util.find_spec("pythae"):
        sampler = importlib.import_module("benchmarks.training").pythae_sampler(images)
        paths["pythae NormalSampler of 64, the same network"] = (lambda: sampler.sample(64, batch_size=64), 64)
    if importlib.util.find_spec("kornia"):
        kornia = importlib.import_module("kornia.augmentation")
        batch, policy = F.resize(images[:64], [32, 32]).expand(-1, 3, -1, -1) / 255, kornia.auto.RandAugment(2, 9)
        paths["kornia RandAugment, batch of 64 (3 x 32 x 32)"] = (lambda: policy(batch), 64)
    return interleaved(paths, seconds)


class Real(Dataset[Any]):
    """Images in memory, through a transform one by one."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Callable[[Any], Any] | None = None) -> None:
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.images[index]
        return (image if self.transform is None else self.transform(image)), self.labels[index]


class OnlySynthetic(Dataset[Any]):
    """The synthetic part of a SyntheticDataset."""

    def __init__(self, dataset: SyntheticDataset) -> None:
        self.dataset, self.start = dataset, len(dataset) // 2

    def __len__(self) -> int:
        return self.start

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return self.dataset.__getitems__([self.start + index for index in indices])


def loaders(images: Tensor, labels: Tensor, plain: VAEAugment, fitted: VAEAugment, copies: int) -> Figures:
    """Through a DataLoader with forked workers: their CPU time, less that of loading alone by as many.

    As ratios to RandAugment's with one worker.
    """
    images, labels = images.repeat(copies, 1, 1, 1), labels.repeat(copies)
    bare = Real(images, labels)
    sets: dict[str, Dataset[Any]] = {
        "nothing": bare,
        RAND_AUGMENT: Real(images, labels, v2.RandAugment()),
        "VAEAugment": Real(images, labels, plain),
        "SyntheticDataset": OnlySynthetic(SyntheticDataset(bare, 1.0, fitted)),
    }
    turns = []
    for _ in range(REPEATS):
        net = {}
        for workers in WORKERS:
            cost = {name: _worker_seconds(dataset, workers) for name, dataset in sets.items()}
            more = "" if workers == 1 else f", {workers} workers"
            net |= {f"{name}{more}": cost[name] - cost["nothing"] for name in sets if name != "nothing"}
        turns.append({name: value / net[RAND_AUGMENT] for name, value in net.items()})
    return {name: spread([turn[name] for turn in turns]) for name in turns[0]}


class OwnMemory(Dataset[int]):
    """Memory of the worker's own, in kB, after a thousand calls of a transform."""

    def __init__(self, images: Tensor, transform: Callable[[Any], Any]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        for i in range(1000):
            self.transform(self.images[i % len(self.images)])
        text = Path("/proc/self/smaps_rollup").read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private"))


def memory(images: Tensor, transforms: dict[str, Callable[[Any], Any]]) -> dict[str, float]:
    """MB that a worker adds to the machine's memory, forked from a process that holds the transform."""
    sizes = {}
    for name, transform in transforms.items():
        loader = DataLoader(OwnMemory(images, transform), num_workers=1, multiprocessing_context="fork")
        sizes[name] = round(float(next(iter(loader))) / 1000, 1)
    return sizes


def _worker_seconds(dataset: Dataset[Any], workers: int) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in DataLoader(dataset, batch_size=64, num_workers=workers, multiprocessing_context="fork"):
        pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def peak_fractions(augment: VAEAugment, images: Tensor, seconds: float) -> dict[str, Ratio]:
    """Multiply-adds of the network in a second, as a part of what a large float32 matrix product reaches here."""
    vae, net_of = augment.vae, augment._engine.net
    square = torch.randn(1024, 1024)
    work = {"peak": (lambda: square @ square, 2 * 1024**3)}
    for size in (1, 64, 256):
        x = images[:size] / 255
        net = net_of.on(x.device)
        mean = net.whitened_mean(x)
        work[f"encode, {size}"] = (lambda n=net, x=x: n.whitened_mean(x), size * encoder_flops(vae.config))  # type: ignore[misc]
        work[f"decode twice, {size}"] = (  # type: ignore[misc]
            lambda n=net, m=mean: n.decoded_change(m, m, 0.1),
            2 * size * decoder_flops(vae.config),
        )
        for name, (call, flops) in bare_layers(net_of.fused, size).items():
            work[f"{name}, {size}"] = (call, flops)
    turns = []
    for _ in range(REPEATS):
        calls, spent = dict.fromkeys(work, 0), dict.fromkeys(work, 0.0)
        for _ in range(ROUNDS):
            for name, (call, _) in work.items():
                started = time.thread_time()
                while (now := time.thread_time() - started) < seconds / ROUNDS:
                    call()
                    calls[name] += 1
                spent[name] += now
        rate = {name: calls[name] * flops / spent[name] for name, (_, flops) in work.items()}
        turns.append({name: value / rate["peak"] for name, value in rate.items() if name != "peak"})
    print(f"float32 matrix product: {rate['peak'] / 1e9:.0f} GFLOP/s", flush=True)
    return {name: spread([turn[name] for turn in turns]) for name in turns[0]}


def bare_layers(net: FusedVAE, size: int) -> Paths:
    """The matrix products of a vector latent's network with nothing between them, then with its activations: the limit."""
    assert net.neck is not None
    patches = size * net.config.grid**2
    halves = {
        "encode": (
            [(net.patches, patches, _silu_), (net.neck, patches, None), (net.to_mean, size, None)],
            encoder_flops,
        ),
        "decode twice": ([(net.hidden, 2 * size, _silu_), (net.pixels, 2 * patches, torch.sigmoid_)], decoder_flops),
    }
    paths: Paths = {}
    for name, (layers, flops) in halves.items():
        ready = [(torch.randn(rows, len(weight)), bias, weight, act) for (bias, weight), rows, act in layers]
        images = 2 * size if name == "decode twice" else size
        for activated in (False, True):
            kind = "its products and activations alone" if activated else "its products alone"
            paths[f"{name}: {kind}"] = (lambda r=ready, a=activated: _layers(r, a), images * flops(net.config))  # type: ignore[misc]
    return paths


def _layers(ready: list[tuple[Tensor, Tensor, Tensor, Callable[..., Tensor] | None]], activated: bool) -> None:
    for rows, bias, weight, activation in ready:
        out = torch.addmm(bias, rows, weight)
        if activated and activation is not None:
            activation(out)


def encoder_flops(c: VAEConfig) -> int:
    """Of an image's posterior mean as it is computed on a processor (`fused.py`); a product and its addition are two."""
    seen = c.channels * (c.patch + 2 * c.overlap) ** 2
    head = c.width * c.latent_dim if c.spatial else c.neck * (c.width + c.latent_dim)
    return 2 * c.grid**2 * (seen * c.width + head)


def decoder_flops(c: VAEConfig) -> int:
    """Of one image; a vector latent reaches the hidden layer in one product."""
    return 2 * c.grid**2 * c.width * ((9 if c.spatial else 1) * c.latent_dim + c.channels * c.patch**2)


def _silu_(x: Tensor) -> Tensor:
    return silu(x, inplace=True)


def _in_bfloat16(transform: VAEAugment, batch: Tensor) -> Callable[[], Any]:
    def call() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return transform(batch)

    return call


def _same(image: Tensor) -> Tensor:
    return image


def _cycle(items: list[Any]) -> Iterator[Any]:
    while True:
        yield from items


def measure_bundled(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, _ = fashion_sample()
    colour = {size: F.resize(images[:64], [size, size]).expand(-1, 3, -1, -1).contiguous() for size in BUNDLED_SIZES}
    return {
        f"bundled weights, one image, 3 x {size} x {size}": bundled(colour[size], 0.05 if quick else 0.5)
        for size in BUNDLED_SIZES
    }


def measure(quick: bool) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    seconds = 0.05 if quick else 0.5
    images, labels = fashion_sample()
    plain = VAEAugment.from_pretrained("fashion-mnist")
    fitted = VAEAugment.from_pretrained("fashion-mnist").fit(list(zip(images[:100], labels[:100], strict=True)))
    grey = {"VAEAugment": plain, "fitted VAEAugment": fitted}
    items = SyntheticDataset(list(zip(images, labels.tolist(), strict=True)), 1.0, fitted)
    synthetic = itertools.cycle(range(len(images), 2 * len(images)))
    labelled = {
        "fitted VAEAugment, with its label": lambda image: fitted(image, 9),
    }
    item: Paths = {"an item of SyntheticDataset": (lambda: items[next(synthetic)], 1)}
    rgb = {"VAEAugment": VAEAugment(VAE(SMALL_RGB))}
    colour = {size: F.resize(images[:64], [size, size]).expand(-1, 3, -1, -1).contiguous() for size in SIZES}
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} logical cores",
        "torch": torch.__version__,
        "one image, 1 x 28 x 28": single(images, grey | labelled, seconds, item),
        **{f"one image, 3 x {size} x {size}": single(colour[size], rgb, seconds) for size in SIZES},
        **measure_bundled(quick),
        "batches, 1 x 28 x 28": batches(images, labels, plain, fitted, seconds),
        "DataLoader with one worker or more, net of loading": loaders(images, labels, plain, fitted, 1 if quick else 8),
        "memory of a worker, MB": memory(images, {"nothing": _same, RAND_AUGMENT: v2.RandAugment(), **grey}),
        "part of the float32 matrix product's speed": peak_fractions(plain, images, seconds / 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--bundled", action="store_true", help="only the bundled weights of photographs, a minute")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--device", type=torch.device)
    options = parser.parse_args()
    if options.device is not None:
        print(on_gpu.measure(options.device))
        return
    if options.table:
        figures = json.loads(RESULTS.read_text())
        plot(figures)
        print(page_table(figures), *(card_table(figures, name) for name in BUNDLED), sep="\n\n")
        return
    figures = measure_bundled(options.quick) if options.bundled else measure(options.quick)
    if options.bundled:
        stored = json.loads(RESULTS.read_text())
        RESULTS.write_text(json.dumps(stored | figures, indent=1) + "\n")
    elif not options.quick:
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    print(tables(figures))


if __name__ == "__main__":
    main()
