"""YAML of strangers and of card owners: whatever the text, it is a value or a ValueError, in time that grows with its length."""

import functools
import re
from typing import Any

MAX_YAML_CHARACTERS = 50_000
MAX_WRITTEN_CHARACTERS = 40_000  # of the same, written again: fewer, since a new card adds its own
MAX_DEPTH = 30  # lists and mappings inside one another


def split_front_matter(text: str) -> tuple[str | None, str]:
    """Split a card: YAML between two lines of dashes at its top, None if there is none, and the text after it."""
    first, _, rest = text.partition("\n")
    end = re.search(r"^---[^\S\n]*$", rest, re.MULTILINE) if first.rstrip() == "---" else None
    return (None, text) if end is None else (rest[: end.start()], rest[end.end() :].removeprefix("\n"))


def read_yaml(text: str) -> Any:
    """The value that a YAML text holds, known to be one that can be written again.

    Raises:
        ValueError: there is none; the message says why.
    """
    import yaml  # comes with huggingface-hub

    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"it has more than {MAX_YAML_CHARACTERS} characters")
    try:
        value = yaml.load(text, _loader())
        written = len(yaml.safe_dump(value, allow_unicode=True))
    except Exception as error:  # of many kinds: a date that is none is a ValueError, !!int of a word a KeyError, ...
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    if written > MAX_WRITTEN_CHARACTERS:
        raise ValueError(f"written again, it has {written} characters, more than {MAX_WRITTEN_CHARACTERS}")
    return value


def parse_yaml(text: str) -> Any:
    """The value that a YAML text holds; None for a text that holds none."""
    try:
        return read_yaml(text)
    except ValueError:
        return None


@functools.cache
def _loader() -> Any:
    """yaml's safe loader without what makes a short text large: aliases, and what makes it deep."""
    import yaml

    class Loader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise ValueError("aliases (*name) are not read here")
            if self.depth >= MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    return Loader
