"""The figures of speed.py as tables, and their plot, benchmarks/speed.png."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PLOT = Path(__file__).parent / "speed.png"
REPEATS = 5
RAND_AUGMENT = "RandAugment"
PIL = "PIL images, to RandAugment on PIL images"
Ratio = tuple[float, float, float]  # median, least and largest


def tables(figures: dict[str, Any]) -> str:
    lines = []
    for title, rows in figures.items():
        if title.startswith("memory"):
            lines += ["", f"{title}: " + ", ".join(f"{name} {value}" for name, value in rows.items())]
        elif isinstance(rows, dict):
            lines += ["", f"| {title} | ratio | least to largest of {REPEATS} |", "| --- | --- | --- |"]
            lines += [f"| {name} | {mid:.2f} | {low:.2f} to {high:.2f} |" for name, (mid, low, high) in rows.items()]
    return "\n".join(lines)


def page_table(figures: dict[str, Any]) -> str:
    """The selection that docs/benchmarks.md has."""
    one, many = figures["one image, 1 x 28 x 28"], figures["batches, 1 x 28 x 28"]
    loader = figures["DataLoader with one worker or more, net of loading"]
    colour = [figures[f"one image, 3 x {side} x {side}"] for side in (32, 96, 224, 448)]
    bundled = [figures[f"bundled weights, one image, 3 x {side} x {side}"] for side in (32, 96, 224)]
    fitted, with_label = "fitted VAEAugment", "fitted VAEAugment, with its label"
    peers = [f"{one[name][0]:.2g}" for name in ("TrivialAugmentWide", "AugMix", "ElasticTransform")]

    def batches(name: str) -> list[Ratio]:
        return [many[f"{name}, batch of {size}"] for size in (4, 64, 256)]

    rows: list[tuple[str, list[Ratio]]] = [
        ("`augment(image)`, one 1 x 28 x 28 tensor; floats", [one["VAEAugment"], one["VAEAugment, floats"]]),
        ("after `fit`, an image alone, the same", [one[fitted], one[f"{fitted}, floats"]]),
        ("after `fit`, an image with its label, the same", [one[with_label], one[f"{with_label}, floats"]]),
        ("one 3 x 32 x 32 tensor (small spatial latent); 96; 224; 448", [of["VAEAugment"] for of in colour]),
        ("`cifar10`, one 3 x 32 x 32 tensor; 96; 224", [of["cifar10"] for of in bundled]),
        ("`flowers`, the same", [of["flowers"] for of in bundled]),
        (f"{PIL}: 1 x 28 x 28; 3 x 32 x 32; 96; 224; 448", [of[on_pil("VAEAugment")] for of in (one, *colour)]),
        (f"{PIL}, 1 x 28 x 28, after `fit`: alone; with its label", [one[on_pil(fitted)], one[on_pil(with_label)]]),
        (f"{PIL}, `cifar10`: 32; 96; 224", [of[on_pil("cifar10")] for of in bundled]),
        (f"{PIL}, `flowers`: 32; 96; 224", [of[on_pil("flowers")] for of in bundled]),
        ("`augment(batch)`, 4; 64; 256 at a time", batches("VAEAugment")),
        ("after `fit`, `augment(batch)`", batches(fitted)),
        ("after `fit`, `augment(batch, labels)`", batches(f"{fitted}, with labels")),
        ("`augment.sample(labels)`, 64; 256 at a time", [many["fitted.sample of 64"], many["fitted.sample of 256"]]),
        ("an item of a fitted `SyntheticDataset`, asked for alone", [one["an item of SyntheticDataset"]]),
        (
            "`SyntheticDataset` through a DataLoader, one worker, net of loading; two",
            [loader["SyntheticDataset"], loader["SyntheticDataset, 2 workers"]],
        ),
    ]
    lines = ["| path | ratio |", "| --- | --- |"]
    lines += [
        f"| RandAugment; TrivialAugmentWide; AugMix; ElasticTransform, one 1 x 28 x 28 tensor | 1; {'; '.join(peers)} |"
    ]
    lines += [f"| {what} | {'; '.join(map(with_spread, found))} |" for what, found in rows]
    others = {  # where they are installed
        "kornia RandAugment, batch of 64 (3 x 32 x 32)": "kornia's RandAugment on 64 of 3 x 32 x 32",
        "pythae NormalSampler of 64, the same network": "pythae's sampler with the same network, 64",
    }
    lines += [f"| {what} | {with_spread(many[name])} |" for name, what in others.items() if name in many]
    return "\n".join(lines)


def card_table(figures: dict[str, Any], weights: str) -> str:
    """What the card of bundled weights has."""
    lines = ["| image | tensor, to RandAugment on tensors | PIL, to RandAugment on PIL |", "| --- | --- | --- |"]
    for side in (32, 96, 224):
        of = figures[f"bundled weights, one image, 3 x {side} x {side}"]
        lines.append(f"| 3 x {side} x {side} | {with_spread(of[weights])} | {with_spread(of[on_pil(weights)])} |")
    return "\n".join(lines)


def with_spread(ratio: Ratio) -> str:
    """A median, and the least and the largest."""
    middle, least, largest = ratio
    return f"{middle:.2f} ({least:.2f} to {largest:.2f})"


def on_pil(name: str) -> str:
    """The row of a transform's ratio, on PIL images, to RandAugment's on PIL images."""
    return f"{name}, PIL / {RAND_AUGMENT}, PIL"


def plot(figures: dict[str, Any]) -> None:
    """Cost against the size of the batch."""
    one, many = figures["one image, 1 x 28 x 28"], figures["batches, 1 x 28 x 28"]
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for name, style in (("VAEAugment", "o-"), ("fitted VAEAugment", "s-"), ("fitted.sample", "^-")):
        points = {1: one[name]} if name in one else {}
        for size in (4, 16, 64, 256):
            points[size] = many[f"{name} of {size}" if name == "fitted.sample" else f"{name}, batch of {size}"]
        middle, low, high = zip(*points.values(), strict=True)
        axes.plot(list(points), middle, style, label=name)
        axes.fill_between(list(points), low, high, alpha=0.15)
    for peer in ("AugMix", RAND_AUGMENT, "TrivialAugmentWide"):
        axes.axhline(one[peer][0], color="grey", linestyle=":")
        axes.annotate(f"{peer}, one at a time", (256, one[peer][0] * 1.05), ha="right", color="grey", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="images at a time", ylabel="CPU time an image / RandAugment")
    axes.set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
    axes.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5], ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"])
    axes.legend(fontsize=8)
    figure.savefig(PLOT, dpi=130)
