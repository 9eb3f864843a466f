"""Rows of pictures as HTML: originals at the left, what becomes of them beside, as wide as the screen allows."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

from ..preview import as_cell
from .settings import COLUMNS, Row

SMALL = 160  # pixels: up to here, pixels are shown as squares

STYLE = f"""
<style>
.va-grid {{ display: grid; grid-template-columns: repeat({COLUMNS + 1}, minmax(0, 1fr)); gap: 6px; max-width: 720px; }}
.va-grid p {{ margin: 0; font-size: 13px; line-height: 1.3 !important; overflow-wrap: anywhere; }}
.va-grid .va-head {{ align-self: end; }}
.va-grid .va-others {{ grid-column: 2 / -1; }}
.va-grid figure {{ margin: 0; min-width: 0; }}
.va-grid img {{ display: block; width: 100%; height: auto; border-radius: 4px; margin: 0; }}
.va-grid img.va-small {{ image-rendering: pixelated; }}
.va-grid .va-original img {{ outline: 2px solid var(--color-accent); }}
</style>
"""


def pictures_as_html(rows: Sequence[Row], what: str) -> str:
    """Draw the rows.

    Args:
        what: the others are, as "varied".
    """
    head = f'<p class="va-head">original</p><p class="va-head va-others">{html.escape(what)}</p>'
    return f'{STYLE}<div class="va-grid">{head}{"".join(_row(row, what) for row in rows)}</div>'


def _row(row: Row, what: str) -> str:
    title = html.escape(row.title)
    caption = f"<p>{title}</p>" if title else ""
    original = (
        f'<figure class="va-original">{_picture(row.original, f"{row.title} original".strip())}{caption}</figure>'
    )
    others = (
        f"<figure>{_picture(image, f'{row.title} {what} {i + 1}'.strip())}</figure>"
        for i, image in enumerate(row.others)
    )
    return original + "".join(others)


def _picture(image: Any, alt: str) -> str:
    cell = as_cell(image)
    with io.BytesIO() as file:
        cell.save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
    kind = ' class="va-small"' if max(cell.size) <= SMALL else ""
    return f'<img{kind} alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
