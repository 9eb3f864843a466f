"""The model card, README.md of a weights folder, which the Hub shows a visitor. Text that its owner adds stays."""

import codecs
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from .front_matter import read_yaml, split_front_matter
from .reading import read_regular, refuse_link
from .recipe_text import RECIPE_SECTION, RECIPE_TITLE, data_of_recipe, recipe_section
from .weights import WeightsError

BEGIN = "<!-- vae-augment: written by the program from here; what you write outside of these two lines is kept -->"
END = "<!-- vae-augment: end -->"
LIBRARY = "vae-augment"
FIRST = ("library_name", "license")  # of the front matter; no licence is written but what an owner wrote
LICENCE = ("license", "license_name", "license_link")  # stated together
MAX_CARD_BYTES = 1_000_000


@dataclass(frozen=True)
class Card:
    """A model card in its parts.

    Args:
        front: the front matter, YAML between two lines of dashes.
        block: Markdown that the program writes, between two comments.
        before, after: Markdown of the card's owner.
        fault: why its front matter, if it has one, cannot be read. It is text of the owner's then, in `before` or `after`.
    """

    front: Mapping[str, Any]
    before: str
    block: str
    after: str
    fault: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any text without an error or a loss: what is no block or no YAML is text of the owner's."""
        front: Any = {}
        fault = ""
        yaml_text, rest = split_front_matter(text)
        if yaml_text is not None:
            try:
                front = read_yaml(yaml_text) or {}
                is_mapping = isinstance(front, dict) and all(isinstance(name, str) for name in front)
                fault = "" if is_mapping else "it is no mapping of names to values"
            except ValueError as error:
                fault = str(error)
            front, text = ({}, text) if fault else (front, rest)
        before, begin, rest = text.partition(BEGIN)
        block, end, after = rest.partition(END)
        if not (begin and end):  # half a block cannot be told from its owner's text
            before, block, after = "", "", text.replace(BEGIN, "").replace(END, "")
        return cls(front, before.strip("\n"), block.strip("\n"), after.strip("\n"), fault)

    def keeping(self, old: "Card") -> "Card":
        """Keep what the owner of an old card had written into it, where this one has no text of an owner's."""
        own = {"tags": _as_list(old.front.get("tags")), "datasets": _as_list(old.front.get("datasets"))}
        own["datasets"] = [name for name in own["datasets"] if name != data_of_recipe(old.block)]  # the program's
        lists = {key: list(dict.fromkeys([*_as_list(self.front.get(key)), *added])) for key, added in own.items()}
        # what was measured is the new card's; a key that was added is its owner's
        gone = {"model-index", "datasets", *(LICENCE if self.front.get("license") else ())}
        kept = {k: v for k, v in old.front.items() if self.front.get(k) is None and k not in gone}
        front = dict(self.front) | {key: names for key, names in lists.items() if names} | kept
        front = {key: front[key] for key in sorted(front, key=lambda key: key not in FIRST)}
        if self.before or self.after:
            return replace(self, front=front)
        return replace(self, front=front, before=old.before, after=old.after)

    def renamed(self, name: str) -> Self:
        """Name the same weights otherwise, in the code that loads them and in the model-index."""
        code = re.compile(r"^augment = VAEAugment\.from_pretrained\(.*\)$", re.MULTILINE)
        call = f"augment = VAEAugment.from_pretrained({python_string(name)})"
        front, index = dict(self.front), self.front.get("model-index")
        if isinstance(index, list) and all(isinstance(model, dict) for model in index):
            front["model-index"] = [model | {"name": short_name(name)} for model in index]
        return replace(self, front=front, block=code.sub(lambda _: call, self.block, count=1))

    def replacing(self, old: str, new: str) -> Self:
        """Replace words of the block."""
        return replace(self, block=self.block.replace(old, new))

    def without_paths(self) -> Self:
        """Reduce the paths of a machine in the recipe and its command to names, as new cards have them."""
        text, title, recipe = self.block.rpartition(RECIPE_TITLE)
        section = RECIPE_SECTION.fullmatch(recipe) if title else None
        if section is None:
            return self
        return replace(self, block=text + recipe_section(section["recipe"], section["command"] or ""))

    def __str__(self) -> str:
        import yaml  # comes with huggingface-hub

        front = yaml.safe_dump(dict(self.front), sort_keys=False, allow_unicode=True)
        body = [self.before, f"{BEGIN}\n\n{self.block}\n\n{END}" if self.block else "", self.after]
        text = f"---\n{front}---\n\n" + "\n\n".join(filter(None, body)) + "\n"
        return text.encode("utf-8", "backslashreplace").decode()  # names of files need not be Unicode


def read_card(folder: Path) -> str:
    """Text of the folder's README.md; empty without one.

    Raises:
        WeightsError: it is a link, whose content would be taken into a new card, or no regular file, or larger than a card.
    """
    path = folder / "README.md"
    refuse_link(path)
    return card_text(read_regular(path, MAX_CARD_BYTES)) if os.path.exists(path) else ""


def card_text(content: bytes) -> str:
    """Text of a card that any editor wrote: with a byte order mark or without, lines ended by any system."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16", "replace")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")  # reads any bytes: nothing that the owner wrote is lost
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_license(folder: Path) -> str | None:
    """Licence that the front matter of a folder's card states; None if it states none."""
    try:
        content = read_regular(folder / "README.md", MAX_CARD_BYTES)
    except (FileNotFoundError, WeightsError):
        return None
    stated = Card.parse(card_text(content)).front.get("license")
    return stated if isinstance(stated, str) else None


def _as_list(value: Any) -> list[str]:
    """A list of the front matter, which may be one string, YAML's short form."""
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, list) else []


def python_string(name: str) -> str:
    """Source code of a string."""
    return json.dumps(name, ensure_ascii=False)


def short_name(name: str) -> str:
    """The name without the user, or the folders of this machine."""
    return name.rstrip("/").rpartition("/")[2]
