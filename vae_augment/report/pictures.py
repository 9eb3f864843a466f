"""Images as parts of a page: PNG within the text, with nothing to fetch."""

import base64

from torch import Tensor
from torchvision.io import encode_png

from .result import Pair
from .text import text


def image_tag(image: Tensor, alternative: str) -> str:
    """An image, uint8 `(C, S, S)`, as an HTML element."""
    code = base64.b64encode(encode_png(image.contiguous()).numpy().tobytes()).decode()
    return f'<img alt="{text(alternative)}" src="data:image/png;base64,{code}">'


def gallery(title: str, pairs: tuple[Pair, ...]) -> str:
    """Pairs of images with their captions; empty if there are none."""
    if not pairs:
        return ""
    return f'<h3>{text(title)}</h3><div class="gallery">{"".join(map(_figure, pairs))}</div>'


def _figure(pair: Pair) -> str:
    second = "" if pair.second is None else image_tag(pair.second, "beside it")
    images = f"<div>{image_tag(pair.first, pair.caption)}{second}</div>"
    return f"<figure>{images}<figcaption>{text(pair.caption)}</figcaption></figure>"
