"""Print the accuracy tables of docs/benchmarks.md from results.jsonl, and draw the plot beside this file.

python -m benchmarks.table
"""

from collections import defaultdict
from pathlib import Path
from statistics import fmean

import torch
from matplotlib.figure import Figure
from torch import Tensor

from vae_augment.pool import USUAL_BANK

from .accuracy import BEST, LARGE, RESULTS
from .exemplar_protocol import RESULTS as EXEMPLAR
from .rows import stored

DRAWS = 10  # where nothing else is said
PLOT = Path(__file__).parent / "accuracy.png"
Cells = dict[tuple[str, str, int, str], dict[int, float]]  # (track, data, n, arm) -> draw -> accuracy


def load() -> Cells:
    cells: Cells = defaultdict(dict)
    for row in stored(RESULTS):
        if row.get("test") == "test":
            cells[row["track"], row["data"], row["n"], row["arm"]][row["draw"]] = row["accuracy"]
    return cells


def paired(one: dict[int, float], other: dict[int, float]) -> Tensor:
    """Differences on the draws that both have."""
    return torch.tensor([one[draw] - other[draw] for draw in sorted(one.keys() & other.keys())], dtype=torch.float64)


def interval(values: Tensor, resamples: int = 10_000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    generator = torch.Generator().manual_seed(0)
    means = values[torch.randint(len(values), (resamples, len(values)), generator=generator)].mean(1)
    low, high = means.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def difference(one: dict[int, float], other: dict[int, float]) -> str:
    values = paired(one, other)
    low, high = interval(values)
    return f"{values.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def mean(values: dict[int, float]) -> float:
    return fmean(values.values())


def closed(ours: dict[int, float], alone: dict[int, float], oracle: dict[int, float]) -> str:
    """How far ours goes from the policy alone to the oracle, on the draws that all have."""
    common = ours.keys() & alone.keys() & oracle.keys()
    ours, alone, oracle = ({draw: cell[draw] for draw in common} for cell in (ours, alone, oracle))
    part = (mean(ours) - mean(alone)) / (mean(oracle) - mean(alone))
    return f"{100 * part:.0f} % of {mean(oracle):.2f}"


def main_table(cells: Cells) -> str:
    rows = [
        "| data set | labels a class | best policy alone | + ours | difference, 95 % interval | gap closed | "
        "ours - the pool's real images |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data, n in _cells_of(cells, "B"):
        best = BEST[data]
        alone, ours, pool, oracle = (cells["B", data, n, f"{best}{end}"] for end in ("", "+ours", "+pool", "+oracle"))
        rows.append(
            f"| {data} | {n} | {best} {mean(alone):.2f} | **{mean(ours):.2f}** | {difference(ours, alone)} | "
            f"{closed(ours, alone, oracle)} | {difference(ours, pool)} |"
        )
    return "\n".join(rows)


def track_table(cells: Cells) -> str:
    rows = [
        "| track | data set | labels a class | best policy alone | + ours, no pool: difference, 95 % interval | "
        "+ ours, unlabelled pool: difference | gap closed |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for track in ("A", "C", "C-set"):
        for data, n in _cells_of(cells, track):
            best = BEST[data]
            same = track if track == "C" else "B"  # A and C-set label the images of B; policy and oracle know no VAE
            alone = cells.get((track, data, n, best)) or cells[same, data, n, best]
            draws = "" if len(alone) == DRAWS else f" ({len(alone)} draws)"
            row = f"| {track} | {data} | {n}{draws} | {best} {mean(alone):.2f} | "
            row += f"{difference(cells[track, data, n, f'{best}+ours'], alone)} | "
            if (pool := cells.get((track, data, n, f"{best}+ours-pool"))) is None:
                rows.append(row + "| |")
                continue
            oracle = cells[same, data, n, f"{best}+oracle"]
            rows.append(row + f"{difference(pool, alone)} | {closed(pool, alone, oracle)} |")
    return "\n".join(rows)


def novelty_table(cells: Cells) -> str:
    """New images of a class, the default, beside decoded latents of the pool, on the same draws (track B)."""
    rows = [
        "| data set | labels a class | draws | best policy alone | + decoded images of the pool | + new images | new - decoded |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data, n in _cells_of(cells, "B"):
        best = BEST[data]
        alone, ours, new = (cells.get(("B", data, n, arm)) for arm in (best, f"{best}+ours", f"{best}+new"))
        if alone and ours and new:
            means = " | ".join(f"{mean(arm):.2f}" for arm in (alone, ours, new))
            rows.append(f"| {data} | {n} | {len(new)} | {means} | {difference(new, ours)} |")
    return "\n".join(rows)


def encoder_table(cells: Cells, n: int = 10) -> str:
    """Track D, where a pretrained network compares the pool's images, too, beside track B, where none does."""
    rows = [
        f"| data set, {n} labels a class | pool of | compared by Lite0, too | best policy alone | + ours | "
        "difference, 95 % interval | + the pool's own images | difference |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for data, best in BEST.items():
        for track, pool, is_compared in (("B", USUAL_BANK, "no"), ("D", USUAL_BANK, "yes"), ("D-large", LARGE, "yes")):
            if not (ours := cells.get((track, data, n, f"{best}+ours"))):
                continue
            alone = cells.get((track, data, n, best)) or cells["B", data, n, best]  # D labels the images of B
            row = f"| {data} | {pool:,} | {is_compared} | {best} {mean(alone):.2f} | {mean(ours):.2f} | "
            row += f"{difference(ours, alone)} | "
            own = cells.get((track, data, n, f"{best}+pool"))
            rows.append(row + (f"{mean(own):.2f} | {difference(own, alone)} |" if own else "| |"))
    return "\n".join(rows)


def _cells_of(cells: Cells, track: str) -> list[tuple[str, int]]:
    found = {(data, n) for t, data, n, _ in cells if t == track}
    return sorted(found, key=lambda key: (key[0] != "mnist", key[1]))


# Exemplar VAE, NeurIPS 2020: table 6; of garments the abstract's figures, beside the MNIST figures of 8,192 units
PUBLISHED = {
    "none": ("label smoothing alone, published", ("1.23", "", "8.56")),
    "ours": ("+ Exemplar VAE, published", ("0.77", "", "8.16")),
}
HERE = {
    "none": "label smoothing alone, here",
    "crop": "+ crop",
    "affine": "+ affine",
    "ours": "+ ours",
    "crop+ours": "+ crop + ours",
    "affine+ours": "+ affine + ours",
}


def exemplar_table() -> str:
    errors: dict[tuple[str, int, str], dict[int, float]] = defaultdict(dict)  # the last of each seed
    for row in stored(EXEMPLAR):
        if "of seeds" in row:  # older rows are of other settings
            errors[row["data"], row["width"], row["arm"]][row["seed"]] = row["error"]
    columns = [("mnist", 1024), ("fashion-mnist", 1024), ("fashion-mnist", 8192)]
    rows = ["| | " + " | ".join(f"{data}, {width:,} units" for data, width in columns) + " |", "| --- " * 4 + "|"]
    for arm, name in HERE.items():
        if arm in PUBLISHED:
            theirs, figures = PUBLISHED[arm]
            rows.append(f"| {theirs} | " + " | ".join(figures) + " |")
        measured = [_mean_of_seeds(errors[data, width, arm]) for data, width in columns]
        rows.append(f"| {name} | " + " | ".join(measured) + " |")
    return "\n".join(rows)


def _mean_of_seeds(errors: dict[int, float]) -> str:
    each = [errors[seed] for seed in sorted(errors)]
    return f"{fmean(each):.2f} ({', '.join(f'{error:.2f}' for error in each)})" if each else ""


def policy_table(cells: Cells, n: int = 10) -> str:
    rows = ["| arm, 10 labels a class | mnist | fashion-mnist |", "| --- | --- | --- |"]
    found = {
        (arm, track) for track, _, m, arm in cells if m == n and (track == "B" or (track == "A" and "pythae" in arm))
    }
    for arm, track in sorted(found):
        figures = [cells.get((track, data, n, arm)) for data in ("mnist", "fashion-mnist")]
        name = arm if track == "B" else f"{arm} (track {track})"
        rows.append(f"| {name} | " + " | ".join("" if f is None else f"{mean(f):.2f}" for f in figures) + " |")
    return "\n".join(rows)


def peer_table(cells: Cells, n: int = 10) -> str:
    """pythae's VAEs in place of ours on track A: differences from the best policy alone."""
    rows = ["| trained on the labelled images, one VAE a class | mnist | fashion-mnist |", "| --- | --- | --- |"]
    for kind in ("vae", "rhvae"):
        found = []
        for data in ("mnist", "fashion-mnist"):
            best = BEST[data]
            found.append(difference(cells["A", data, n, f"{best}+pythae-{kind}"], cells["B", data, n, best]))
        rows.append(f"| pythae {kind.upper()}, {n} labels a class | " + " | ".join(found) + " |")
    return "\n".join(rows)


def variation_table(cells: Cells, n: int = 10) -> str:
    """Half of the images varied by the transform without a fit: differences from the best policy alone."""
    found = [
        difference(cells["B", data, n, f"{BEST[data]}+jitter"], cells["B", data, n, BEST[data]])
        for data in ("mnist", "fashion-mnist")
    ]
    rows = [f"| {n} labels a class | mnist | fashion-mnist |", "| --- | --- | --- |"]
    return "\n".join([*rows, "| half of the images varied, without a fit | " + " | ".join(found) + " |"])


def plot(cells: Cells) -> None:
    figure = Figure(figsize=(9, 3.4))
    axes = figure.subplots(1, 2)
    for axis, data in zip(axes, ("mnist", "fashion-mnist"), strict=True):
        ends = {"": "best policy alone", "+ours": "best policy + ours", "+oracle": "oracle: the pool with true labels"}
        for end, label in ends.items():
            arm = BEST[data] + end
            n = sorted(n for t, d, n, a in cells if (t, d, a) == ("B", data, arm))
            values = [torch.tensor(list(cells["B", data, m, arm].values()), dtype=torch.float64) for m in n]
            spans = torch.tensor([interval(v) for v in values]).T
            line = axis.plot(n, [v.mean() for v in values], "--" if end == "+oracle" else "o-", label=label)[0]
            axis.fill_between(n, *spans, color=line.get_color(), alpha=0.2)
        axis.set(title=f"{data}, small CNN", xscale="log", xticks=n, xticklabels=n, xlabel="labelled images a class")
        axis.minorticks_off()
        axis.set_ylabel("test accuracy, %")
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PLOT, dpi=130)


if __name__ == "__main__":
    found = load()
    made = [main_table, track_table, encoder_table, peer_table, variation_table, policy_table]
    print(*(table(found) for table in made), exemplar_table(), sep="\n\n")
    plot(found)
