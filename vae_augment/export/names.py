"""Names of classes as names of folders that every file system and every reader of image folders takes for what they are."""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from ..images import files

PLAIN = " -_.,()&+'"  # beside letters and digits; all else is percent-encoded, as in a URL
LONGEST = 100  # bytes; file systems end at 255, and a file's name follows
# `datasets` takes folders with these words in their names for splits, whatever lies above them
SPLIT = re.compile(
    r"(?<![^-._ 0-9])(validation|valid|dev|val|testing|test|evaluation|eval)(?![^-._ 0-9])", re.IGNORECASE
)
DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(?![^.])", re.IGNORECASE)  # of Windows


def folder_names(classes: Sequence[str]) -> list[str]:
    """A folder's name for each class: its own where that is safe, and each another, also where case does not count.

    Example:
        >>> folder_names(["Bag", "bag", "T-shirt/top", "..", "test"])
        ['Bag', 'bag~2', 'T-shirt%2Ftop', '%2E%2E', '%74est']
    """
    taken: set[str] = set()
    names = []
    for name in map(_safe, classes):
        number, free = 2, name
        while (key := unicodedata.normalize("NFKC", free).casefold()) in taken:
            free, number = f"{name}~{number}", number + 1
        taken.add(key)
        names.append(free)
    return names


def _safe(name: str) -> str:
    text = unicodedata.normalize("NFC", name)
    if not text:
        return "%"
    hidden = text.startswith((".", "__", " ")) or text.lower() in files.SYSTEM_FOLDERS or DEVICE.match(text)
    encode = {0} if hidden else set()
    encode |= {match.start() for match in SPLIT.finditer(text)}
    encode |= {i for i, c in enumerate(text) if not (c.isalnum() or c in PLAIN)}
    if text[-1] in ". " or text.lower().endswith(files.PREVIEWS):
        encode.add(len(text) - 1)
    if not text.strip("."):
        encode = set(range(len(text)))
    safe = "".join(_percent(c) if i in encode else c for i, c in enumerate(text))
    if len(safe.encode()) <= LONGEST:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    start = safe.encode()[: LONGEST - 9].decode(errors="ignore")
    return f"{re.sub('%.?$', '', start)}~{digest}"


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
