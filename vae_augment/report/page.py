"""A report as one HTML page: its pictures, plots and style are within it, and it fetches and runs nothing."""

from importlib.resources import files
from string import Template

from .charts import class_table, confusion, histograms, strip, taught_table
from .near import COPY
from .pictures import gallery
from .result import Findings, Score, Word
from .text import text

LARGEST_RATIO = 3.0  # of the histogram of distances
MEANING = {
    "unrealistic": "Do the images look like real ones? Figures compare them with held-out real images; what real images get in "
    "their place is the yardstick, as no generator can do better.",
    "unvaried": "Do the images differ from each other as real ones do? A set may look real, and show one thing over and over.",
    "copied": "Are some of them real images again? They are compared pixel by pixel, also mirrored, moved by a pixel, or with "
    "another brightness. A percentage under a pair says how far the two are apart, as a part of the distance at which real "
    "images usually have their nearest other. That no copy is found is no proof of privacy.",
    "missing": "Which real images has the set nothing like? A class may be absent, or show a part of its kind only.",
    "label truth": "Do the images show what their labels say? A classifier that only real images have taught is asked.",
}
BADGES = {"ok": "ok", "look": "look", "bad": "bad", "not judged": "none"}
VERDICTS = {"use": "ok", "look": "look", "do not use": "bad"}


def page(report: Findings, version: str) -> str:
    """The whole page. A policy within it forbids it to fetch or run anything, whatever a name of a stranger held.

    Args:
        report: what it shows.
        version: of this package, as the last line says it.
    """
    counts = ", ".join(f"{count:,} {name.replace('_', '-')}" for name, count in report.counts.items())
    return Template(_file("page.html")).substitute(
        style=_file("page.css"),
        verdict=text(report.verdict.capitalize()),
        badge=VERDICTS[report.verdict],
        reason=text(report.reason),
        items="\n".join(map(_item, report.words)),
        counts=text(counts),
        notes="".join(f"<p>{text(note)}</p>" for note in report.notes),
        taught=taught_table(report.taught),
        sections="\n".join(_section(word, report) for word in report.words),
        features=text(report.features),
        version=text(version),
    )


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _item(word: Word) -> str:
    link = f'<a href="#{_anchor(word)}">{text(word.name)}</a>'
    return f'<li class="{BADGES[word.status]}">{link}{_badge(word)}<span>{text(word.sentence)}</span></li>'


def _badge(word: Word) -> str:
    return f'<span><span class="badge">{text(word.status)}</span></span>'


def _anchor(word: Word) -> str:
    return word.name.replace(" ", "-")


def _section(word: Word, report: Findings) -> str:
    rows = "".join(map(_row, word.scores))
    head = "<tr><th>figure</th><th>synthetic</th><th>real</th><th></th><th>how to read it</th></tr>"
    table = f'<table class="scores">{head}{rows}</table>' if rows else ""
    return f"""<section class="{BADGES[word.status]}" id="{_anchor(word)}"><h2>{text(word.name.capitalize())} {_badge(word)}</h2>
<p><b>{text(word.sentence)}</b></p><p class="soft">{text(MEANING[word.name])}</p>{table}{_plot(word, report)}
{gallery(word.pairs_title, word.pairs)}</section>"""


def _row(score: Score) -> str:
    real = "" if score.real_low is None else score.text(score.real_low)
    if real and score.text(score.real_high) != real:
        real += f" to {score.text(score.real_high)}"
    mine = score.text(score.value)
    if score.low is not None:
        mine += f'<br><span class="soft">{score.text(score.low)} to {score.text(score.high)}</span>'
    return (
        f'<tr><th>{text(score.name)}</th><td data-name="synthetic">{mine}</td><td data-name="real">{real}</td>'
        f'<td>{strip(score)}</td><td class="reading">{text(score.reading)}</td></tr>'
    )


def _plot(word: Word, report: Findings) -> str:
    plots = report.plots
    if word.name == "copied":
        return histograms(plots["ratios"], LARGEST_RATIO, COPY, "copies")
    if word.name == "missing" and word.scores:
        return class_table(report.classes, plots["shares"], plots["recall"])
    if word.name == "label truth" and word.scores:
        title = "<h3>Of the images of each label, the part told as each class, in per cent</h3>"
        return title + confusion(report.classes, plots["confusion"])
    return ""
