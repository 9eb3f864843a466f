"""Letters drawn with fonts: a set of 26 kinds of characters that no weights have seen, made here and the same everywhere.

    python -m benchmarks.letters         a sheet of 160, letters.png

The fonts are those that come with matplotlib. Each image is a letter in a random font, turned, sheared, scaled and moved,
bolder or not, grey on black in 28x28 pixels, as digits are.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIDE, DRAWN = 28, 84  # pixels of an image, and of the drawing that it is reduced from
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral")  # and their bold and slanted kinds


def letters(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """So many letters, uint8 `(N, 1, 28, 28)`, and which these are, int64 `(N,)`."""
    random = np.random.default_rng(seed)
    labels = random.integers(len(LETTERS), size=count)
    images = np.stack([_letter(LETTERS[label], random) for label in labels])
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)


@cache
def _fonts() -> list[ImageFont.FreeTypeFont]:
    from matplotlib import get_data_path  # noqa: PLC0415 (an optional package)

    folder = Path(get_data_path()) / "fonts" / "ttf"
    files = sorted(file for file in folder.glob("*.ttf") if file.stem.startswith(FONTS))
    return [ImageFont.truetype(str(file), 76) for file in files if "Display" not in file.stem]


def _letter(letter: str, random: np.random.Generator) -> np.ndarray:
    font = _fonts()[random.integers(len(_fonts()))]
    image = Image.new("L", (DRAWN, DRAWN))
    ImageDraw.Draw(image).text((DRAWN / 2, DRAWN / 2), letter, fill=255, font=font, anchor="mm")
    boldness = random.integers(3)  # strokes of the font, and wider by two or four pixels of 84
    if boldness:
        image = image.filter(ImageFilter.MaxFilter(1 + 2 * int(boldness)))
    turn = random.normal(0, 0.15)
    shear, wide, high = random.normal(0, 0.2), *np.exp(random.normal(0, 0.12, 2))
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [[wide, shear], [0, high]]
    shift = DRAWN / 2 - matrix @ [DRAWN / 2, DRAWN / 2] + random.normal(0, 3, 2)
    image = image.transform(
        (DRAWN, DRAWN), Image.Transform.AFFINE, (*matrix[0], shift[0], *matrix[1], shift[1]), Image.Resampling.BILINEAR
    )
    image = image.transform((DRAWN, DRAWN), Image.Transform.MESH, _wave(random), Image.Resampling.BILINEAR)
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 2.5)))
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _wave(random: np.random.Generator) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    """Squares of a drawing and the quadrangles that they are taken from: a hand does not draw straight."""
    cells = 4
    step = DRAWN // cells
    moved = np.arange(cells + 1) * step
    grid = np.stack(np.meshgrid(moved, moved, indexing="ij"), -1) + random.normal(0, 2.5, (cells + 1, cells + 1, 2))
    mesh = []
    for i in range(cells):
        for j in range(cells):
            corners = [grid[i, j], grid[i + 1, j], grid[i + 1, j + 1], grid[i, j + 1]]
            square = (j * step, i * step, (j + 1) * step, (i + 1) * step)
            mesh.append((square, tuple(float(v) for y, x in corners for v in (x, y))))
    return mesh


def main() -> None:
    from torchvision.utils import save_image  # noqa: PLC0415 (of this command alone)

    save_image(letters(160, 0)[0].float() / 255, "letters.png", nrow=20)


if __name__ == "__main__":
    main()
