"""The figures of speed.py as tables, and their plot, benchmarks/speed.png."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

PLOT = Path(__file__).parent / "speed.png"
REPEATS = 5
RAND_AUGMENT = "RandAugment"


def tables(figures: dict[str, Any]) -> str:
    lines = []
    for title, rows in figures.items():
        if title.startswith("memory"):
            lines += ["", f"{title}: " + ", ".join(f"{name} {value}" for name, value in rows.items())]
        elif isinstance(rows, dict):
            lines += ["", f"| {title} | ratio | least to largest of {REPEATS} |", "| --- | --- | --- |"]
            lines += [f"| {name} | {mid:.2f} | {low:.2f} to {high:.2f} |" for name, (mid, low, high) in rows.items()]
    return "\n".join(lines)


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
