"""Plots of a page, as SVG and tables in its own colours: they are dark where the page is."""

import math
from collections.abc import Mapping, Sequence

from .result import Score, Taught
from .text import text

MOST_CLASSES = 20  # that a table shows; of more, the worst
WIDTH = 160  # units of a strip
LINES = ("a", "b", "c")  # classes of CSS


def strip(score: Score) -> str:
    """Where a figure lies, a line with a dot, and where those of real images lie, a band."""
    known = [x for x in (score.value, score.low, score.high, score.real_low, score.real_high) if x is not None]
    if any(map(math.isnan, known)) or score.real_low is None or score.real_high is None:
        return ""
    low, high = min(known), max(known)
    pad = (high - low) * 0.1 or 0.1 * abs(high) or 1.0

    def x(value: float) -> float:
        return round(WIDTH * (value - low + pad) / (high - low + 2 * pad), 1)

    band = max(2.0, x(score.real_high) - x(score.real_low))
    line = ""
    if score.low is not None and score.high is not None:
        line = f'<line class="mine" x1="{x(score.low)}" x2="{x(score.high)}" y1="9" y2="9"/>'
    label = f"synthetic {score.text(score.value)}, real {score.text(score.real_low)} to {score.text(score.real_high)}"
    return (
        f'<svg class="strip" viewBox="0 0 {WIDTH} 18" role="img" aria-label="{text(label)}"><line class="axis" x1="0" '
        f'x2="{WIDTH}" y1="9" y2="9"/><rect class="real" x="{x(score.real_low)}" width="{round(band, 1)}" y="2" height="14"/>'
        f'{line}<circle class="mine" cx="{x(score.value)}" cy="9" r="4"/></svg>'
    )


def histograms(series: Mapping[str, Sequence[float]], largest: float, mark: float, mark_text: str) -> str:
    """Shares of several sets over bins from 0 to `largest`, as lines, with a mark below which images are of note."""
    width, height, top = 600, 180, max(max(values) for values in series.values()) or 1.0
    lines, legend = [], []
    for style, (name, values) in zip(LINES, series.items(), strict=False):
        step = width / len(values)
        points = " ".join(
            f"{round((i + end) * step, 1)},{round(height - (height - 10) * value / top, 1)}"
            for i, value in enumerate(values)
            for end in (0, 1)
        )
        lines.append(f'<polyline class="line {style}" points="{points}"/>')
        legend.append(f'<span class="key {style}">{text(name)}</span>')
    at = round(width * mark / largest, 1)
    ticks = "".join(
        f'<text x="{round(width * value / largest, 1)}" y="{height + 16}">{value:g}</text>'
        for value in range(int(largest) + 1)
    )
    return (
        f'<p class="legend">{" ".join(legend)}</p><svg class="plot" viewBox="-6 0 {width + 16} {height + 22}" role="img" '
        f'aria-label="histograms"><line class="axis" x1="0" x2="{width}" y1="{height}" y2="{height}"/><line class="mark" '
        f'x1="{at}" x2="{at}" y1="0" y2="{height}"/><text x="{at + 4}" y="12" class="left">{text(mark_text)}</text>'
        f"{''.join(lines)}{ticks}</svg>"
    )


def class_table(names: Sequence[str], shares: Sequence[Sequence[float]], recall: Sequence[Sequence[float]]) -> str:
    """Of each class, its share among synthetic and real images, and the recall of either, as bars."""
    real = [min(h, r) for h, r in zip(recall[1], recall[2], strict=True)]
    order = sorted(range(len(names)), key=lambda c: _worth(recall[0][c], real[c]))[:MOST_CLASSES]
    rows = "".join(
        f"<tr><th>{text(names[c])}</th><td>{_bars(shares[0][c], shares[1][c])}</td><td>{_bars(recall[0][c], real[c])}</td></tr>"
        for c in order
    )
    head = "<tr><th>class</th><th>share of the images</th><th>recall</th></tr>"
    legend = '<p class="legend"><span class="key a">synthetic</span> <span class="key b">real</span></p>'
    return f'{legend}<table class="classes">{head}{rows}</table>'


def _worth(mine: float, real: float) -> float:
    return -1.0 if math.isnan(mine) else mine / max(real, 1e-9)


def _bars(mine: float, real: float) -> str:
    return "".join(
        f'<div class="bar {style}" style="--w:{0 if math.isnan(value) else round(100 * value, 1)}%">{_percent(value)}</div>'
        for style, value in (("a", mine), ("b", real))
    )


def confusion(names: Sequence[str], parts: Sequence[Sequence[float]]) -> str:
    """Of the images of each label, the part that is told as each class; of many classes, the pairs most confused."""
    if len(names) > MOST_CLASSES:
        pairs = sorted(
            ((parts[a][b], a, b) for a in range(len(names)) for b in range(len(names)) if a != b and parts[a][b] > 0),
            reverse=True,
        )[:MOST_CLASSES]
        rows = "".join(
            f"<tr><th>{text(names[a])}</th><td>{text(names[b])}</td><td>{_percent(p)}</td></tr>" for p, a, b in pairs
        )
        return f'<table class="classes"><tr><th>labelled</th><th>told</th><th>part</th></tr>{rows}</table>'
    head = "".join(f"<th><span>{text(name)}</span></th>" for name in names)
    rows = "".join(
        f"<tr><th>{text(name)}</th>"
        + "".join(
            f'<td style="--p:{round(part, 3)}" class="{"same" if a == b else ""}">{round(100 * part) or ""}</td>'
            for b, part in enumerate(row)
        )
        + "</tr>"
        for a, (name, row) in enumerate(zip(names, parts, strict=True))
    )
    return f'<div class="scroll"><table class="confusion"><tr><th>labelled &darr; told &rarr;</th>{head}</tr>{rows}</table></div>'


def taught_table(taught: Sequence[Taught]) -> str:
    """Accuracies of the classifiers, as bars with intervals."""
    rows = "".join(f"<tr><th>{text(t.by)}</th><td>{t.images:,}</td><td>{_lesson_bar(t)}</td></tr>" for t in taught)
    return (
        f'<table class="classes"><tr><th>taught by</th><th>images</th><th>held-out images right</th></tr>{rows}</table>'
    )


def _lesson_bar(taught: Taught) -> str:
    if taught.untold:
        return text(taught.untold)
    said = text(taught.text).replace("+-", "&plusmn;")
    return f'<div class="bar a" style="--w:{100 * taught.accuracy:.1f}%">{said}</div>'


def _percent(part: float) -> str:
    return "" if math.isnan(part) else f"{100 * part:.0f} %"
