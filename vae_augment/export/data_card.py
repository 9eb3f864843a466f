"""README.md of a written data set: a card as the Hub has it, with a picture, counts, how it was made, and what it gives away."""

import json
from typing import Any

from ..hub import as_markdown, printable
from ..version import __version__
from .contents import Contents
from .format import HIDDEN
from .gallery import shown_rows

GALLERY = f"{HIDDEN}/gallery.png"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))

METHODS = {
    "class": "Each is a new image of its class: the labels of the source were spread over a pool of images (`fit`), and an image "
    "between those of its class was drawn, as new as `novelty` says.",
    "variation": "Each is an image of the source, varied by `strength`.",
    "prior": "They are new images of no class in particular, as new beside the pool's as `novelty` says.",
    "pool": "Each is an image of an unlabelled pool, under the label that spread to it.",
    "callable": "Each is an image of the source, changed by a function of the user's.",
}
PRIVACY = {
    "class": "A new image lies between a few images of the pool, and shows parts of what they show. At a novelty of 0 it is a "
    "near copy of one; at more there are fewer such, and not none.",
    "variation": "An image that was varied still shows what its original shows, and who it shows.",
    "prior": "A new image lies between a few images that the weights have seen, and shows parts of what they show. At a novelty "
    "of 0 it is a near copy of one; at more there are fewer such, and not none.",
    "pool": "These are the pool's images themselves.",
    "callable": "What the function leaves of an image is not known here.",
}
COLUMNS = {
    "image": "PNG",
    "label": "the class",
    "synthetic": "false for a real image",
    "source_index": "the image of the source that this one is, was made from, or, if it is a new one of a class, stands for",
    "strength": "how far an image was moved; 0 of real ones",
    "novelty": "how far a new image lies from those of the pool, from 0 to 1; 0 where there is no such distance",
    "seed": "of the whole set",
    "weights": "that made the image",
    "revision": "of these: a commit of the Hub, else the start of the network's fingerprint",
}


def data_card(contents: Contents, name: str, reading: str, how: str) -> str:
    """Markdown with the front matter of the Hub.

    Args:
        name: of the folder.
        reading: Python code that reads it.
        how: the command or the call that made it.
    """
    parts = [
        _introduction(contents, name),
        _counts(contents),
        f"## How it was made\n\n{_code(printable(how))}\n\n{_made(contents)}",
        f"## Read it\n\n{_code(reading, 'python')}\n\n{_columns(contents)}",
        f"## Licence and privacy\n\n{_licence_and_privacy(contents)}",
    ]
    return f"---\n{_front_matter(contents, name)}---\n\n" + "\n\n".join(filter(None, parts)) + "\n"


def _front_matter(contents: Contents, name: str) -> str:
    import yaml  # comes with huggingface-hub

    task = "unconditional-image-generation" if contents.targets is None else "image-classification"
    front: dict[str, Any] = {
        "pretty_name": printable(name),
        "license": "unknown",
        "task_categories": [task],
        "tags": ["synthetic", "vae-augment"],
        "size_categories": [next((title for most, title in SIZES if len(contents) < most), "n>10M")],
    }
    return str(yaml.safe_dump(front, sort_keys=False, allow_unicode=True))


def _introduction(contents: Contents, name: str) -> str:
    new = len(contents) - contents.real
    shown = shown_rows(contents)
    what = f"{new:,} synthetic images" + (f" and {contents.real:,} real ones" if contents.real else "")
    classes = (
        ""
        if contents.targets is None
        else f" of {contents.classes_made:,} class{'' if contents.classes_made == 1 else 'es'}"
    )
    rows = "synthetic images"
    if contents.targets is not None:
        rows = "synthetic images of " + ", ".join(as_markdown(contents.label(row[0]) or "") for row in shown)
    return f"""# {as_markdown(name)}

{what}{classes}, made by [vae-augment](https://pypi.org/project/vae-augment) {__version__} from {as_markdown(contents.name)}.

![synthetic images]({GALLERY})

Rows: {rows}."""


def _counts(contents: Contents) -> str:
    lines = [f"| {as_markdown(name)} | {real:,} | {new:,} |" for name, real, new in contents.counts()]
    return "\n".join(["| class | real | synthetic |", "| --- | --- | --- |", *lines]) if lines else ""


def _made(contents: Contents) -> str:
    making = contents.making
    weights = f" Weights: {as_markdown(making.weights)}, {as_markdown(making.revision)}." if making.weights else ""
    settings = {"strength": making.strength, "novelty": making.novelty, "seed": contents.seed}
    told = ", ".join(f"{key} {value:g}" for key, value in settings.items())
    return f"{METHODS[making.method]}{weights} Settings: {told}. Folders stand here by their last name."


def _columns(contents: Contents) -> str:
    has = {"image", *contents.provenance(0), *(() if contents.targets is None else ("label",))}
    lines = [f"| `{name}` | {text} |" for name, text in COLUMNS.items() if name in has]
    return "\n".join(["| column | what it is |", "| --- | --- |", *lines])


def _licence_and_privacy(contents: Contents) -> str:
    real = f" It holds {contents.real:,} real images as they are." if contents.real else ""
    bank = (
        " The weights hold latents of single images, each of which decodes to a likeness of its image."
        * contents.making.has_bank
    )
    return f"""**Licence:** unknown. It follows from those of the source and of the weights, which this program does not know:
say it here and in the front matter before you publish the set.

**Privacy.** Synthetic does not mean private.{real} {PRIVACY[contents.making.method]}{bank} How near these images are to the real
ones was not measured here: compare them with images that were held out before you show them to others."""


def _code(text: str, language: str = "bash") -> str:
    """A block of code that no text ends early."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def plan_text(contents: Contents, form: str, how: str) -> str:
    """The plan of a set as JSON: what tells it from every other."""
    plan = {"made_by": f"vae-augment {__version__}", "format": form, "how": how} | contents.as_json()
    return json.dumps(plan, indent=1) + "\n"
