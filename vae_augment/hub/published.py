"""The documents of a folder as they are published: regular files of the kind that their names say, less what is private."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from .card import MAX_CARD_BYTES, Card, card_text
from .format import DOCUMENTS, FILES
from .front_matter import parse_yaml
from .reading import read_regular, refuse_link
from .recipe_text import recipe_without_paths
from .weights import WeightsError

MAX_BYTES = {"README.md": MAX_CARD_BYTES, "samples.png": 500_000_000, "training.yaml": 50_000}
ORIGINALS = "held-out originals"  # the first row of a run's samples.png, as its card calls it
MAX_SHEET = (16, 8)  # columns, rows
PIXELS, GAP = 2, 1  # a run's picture shows a pixel as 2 x 2, and a pixel between two images


def read_documents(folder: Path) -> dict[str, bytes]:
    """Read those documents of a folder that are there.

    Raises:
        WeightsError: a document, or a file of the weights, is a link; or a document is not of the kind that its name says.
    """
    for name in FILES:
        refuse_link(folder / name)
    documents = {}
    for name in DOCUMENTS:
        refuse_link(folder / name)
        if (folder / name).exists():
            documents[name] = read_regular(folder / name, MAX_BYTES[name])
            _check_kind(folder / name, documents[name])
    return documents


def published(documents: Mapping[str, bytes], size: int, originals: bool) -> tuple[dict[str, bytes], Card]:
    """Prepare documents for publication: paths are reduced to names, held-out originals cut off unless they are wanted.

    The picture is written anew: of its file, the pixels alone are published.

    Args:
        documents: of `read_documents`.
        size: side of the model's images in pixels.
        originals: whether samples.png may show held-out images.

    Returns:
        The documents, and the card in its parts, which is not yet renamed.
    """
    others, picture = dict(documents), None
    card = Card.parse(card_text(documents.get("README.md", b"")))
    card = card.without_paths()
    if "training.yaml" in others:
        others["training.yaml"] = recipe_without_paths(others["training.yaml"].decode()).encode()
    says_none = bool(card.block) and ORIGINALS not in card.block
    if "samples.png" in others:
        picture = _pixels(others["samples.png"])
    if picture is not None and not (originals or says_none):
        rest = _without_originals(picture, size)
        if rest is None and card.block:
            raise WeightsError(
                f"samples.png shows {ORIGINALS}, as the card says, and not in a row that can be cut off: remove it, or push them "
                "with originals=True"
            )
        picture = rest or picture
        card = card.replacing(f"{ORIGINALS}, ", "")
    if picture is not None:
        others["samples.png"] = _png(picture)
    return others, card


def _check_kind(path: Path, content: bytes) -> None:
    if path.name == "samples.png":
        try:
            with _open_png(content) as picture:
                picture.verify()
        except Exception as error:  # PIL raises errors of many kinds for damaged files
            raise WeightsError(
                f"{path} is no PNG that can be published: {error}. Remove it, or put the picture there"
            ) from None
    elif path.name == "training.yaml" and not (_is_text(content) and isinstance(parse_yaml(content.decode()), dict)):
        raise WeightsError(f"{path} is no recipe that can be published. Remove it, or put the run's there")
    elif path.name == "README.md" and (fault := Card.parse(card_text(content)).fault):
        raise WeightsError(f"{path} has front matter that cannot be read, and the Hub would not: {fault}. Mend it")


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _open_png(content: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # half of what is refused
        return Image.open(io.BytesIO(content), formats=["PNG"])


def _pixels(content: bytes) -> Image.Image:
    """The picture of a PNG without anything else that its file holds: texts, profiles, further frames, bytes after its end."""
    try:
        with _open_png(content) as picture:
            if picture.mode == "P" or "transparency" in picture.info:  # a palette has room for more than its pixels
                seen = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
            else:
                seen = picture.copy()
            return Image.frombytes(seen.mode, seen.size, seen.tobytes())
    except Exception as error:  # PIL raises errors of many kinds for damaged files
        raise WeightsError(f"samples.png cannot be read: {error}. Remove it, or put the picture there") from None


def _png(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def _without_originals(picture: Image.Image, size: int) -> Image.Image | None:
    """Cut the first row off a picture of rows of images of this size; None for a picture of another form."""
    step = PIXELS * (size + GAP)
    columns, rows = ((length - PIXELS * GAP) / step for length in picture.size)
    if not (columns in range(1, MAX_SHEET[0] + 1) and rows in range(2, MAX_SHEET[1] + 1)):
        return None
    return picture.crop((0, step, picture.width, picture.height))
