"""Previewed: the part of `VAEAugment` that shows what it does to some images."""

import copy
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from ..classes import ClassLatents
from ..engine import Engine
from ..fit import Fit
from ..images import ImageKey, Labels, checked_key
from ..jitter import Jitter, Noise
from ..latent_move import LatentMove
from ..numerics import float32_on_cpu
from ..options import LARGEST_STRENGTH, checked_number
from .columns import allowed_jitters, of_jitter, of_novelties, of_strengths, originals
from .grid import Column, Grid
from .rows import Rows, choose_rows

if TYPE_CHECKING:
    from .figure import PreviewFigure

USUAL_ROWS, MOST_ROWS = 6, 100
USUAL_STRENGTHS = (0.5, 1.0, 2.0)
USUAL_NOVELTIES = (0.0, 0.5, 0.85, 1.0)


class Previewed:
    """`preview`, for a transform that has an engine and options."""

    image_key: ImageKey
    strength: float
    novelty: float
    _engine: Engine
    _fit: Fit | None

    @float32_on_cpu()
    def preview(
        self,
        images: Any,
        labels: Labels = None,
        *,
        rows: int = USUAL_ROWS,
        strengths: Sequence[float] = USUAL_STRENGTHS,
        jitters: Sequence[Jitter] | None = None,
        novelties: Sequence[float] = USUAL_NOVELTIES,
        seed: int = 0,
        image_key: ImageKey = None,
    ) -> "PreviewFigure":
        """Draw some images beside what becomes of them: a row for each, first itself, then varied, then new ones of its class.

        Columns of strengths are of this transform's jitter, those of jitters at its strength. After a `fit` that spread labels
        there is a column for each novelty; an image without a label gets the class of the nearest labelled one. The transform
        stays as it is, and so does torch's generator. It needs `pip install 'vae-augment[app]'` (matplotlib).

        Args:
            images: one image, a tensor `(N, C, H, W)`, or a map-style data set or list of images or samples, read before its
                own transform. What is larger than 512 pixels a side is made smaller first.
            labels: beside the images, or where a sample has its label, as of `fit`.
            rows: how many images at most, spread over all.
            strengths: a column for each, at least 0.
            jitters: a column for each. None: those of `vae_augment.jitter` that these weights allow; (): none.
            novelties: a column for each after a fit, from 0 to 1.
            seed: an integer: the same one gives the same picture.
            image_key: where a sample's image is, a key or a position. None: that of the transform.

        Returns:
            A `matplotlib.figure.Figure`, which a notebook shows; `.to_png()` gives the bytes of a file, `.savefig(path)` writes
            one.

        Raises:
            ImportError: matplotlib is not installed.
            TypeError: they are no images.
            ValueError: there are none, a sample is no single image, or a number is out of its range.

        Example:
            >>> from vae_augment import VAEAugment
            >>> from vae_augment.demo_data import fashion_sample
            >>> figure = VAEAugment.from_pretrained("fashion-mnist").preview(fashion_sample()[0], rows=2)
            >>> len(figure.axes)  # originals, three strengths and four jitters, of two images
            16
        """
        from .figure import draw  # matplotlib is of an extra: without it, this tells before anything is computed

        key = self.image_key if image_key is None else checked_key(image_key)
        chosen = choose_rows(images, labels, _checked_rows(rows), key)
        return draw(self._grid(chosen, strengths, jitters, novelties, _checked_seed(seed)))

    def _grid(
        self,
        rows: Rows,
        strengths: Sequence[float],
        jitters: Sequence[Jitter] | None,
        novelties: Sequence[float],
        seed: int,
    ) -> Grid:
        strengths = [checked_number("strength", value, LARGEST_STRENGTH) for value in strengths]
        novelties = [checked_number("novelty", value, 1.0) for value in novelties]
        columns: list[Column] = [originals(rows)]
        columns += of_strengths(self._moved_by(), rows, strengths, seed)  # type: ignore[arg-type]
        for jitter in self._other_jitters() if jitters is None else jitters:
            columns.append(of_jitter(self._moved_by(jitter), jitter, rows, seed))  # type: ignore[arg-type]
        if self._has_new_images:
            columns += of_novelties(self._always(), rows, novelties, seed)  # type: ignore[arg-type]
        return Grid(columns, rows.titles)

    def _other_jitters(self) -> list[Jitter]:
        """Those that these weights allow, less the default, which the strengths show."""
        weights = self._weights()  # type: ignore[attr-defined]
        allowed = allowed_jitters(self._engine.net.codec, weights.bank, weights.gains)
        return [jitter for jitter in allowed if jitter != Noise()]

    @property
    def _has_new_images(self) -> bool:
        """Whether a fit spread labels over a pool: its samples are new images then, and no variations of labelled ones."""
        return self._fit is not None and isinstance(self._fit.jitter, ClassLatents)

    def _moved_by(self, jitter: Jitter | None = None) -> Self:
        """A copy that varies every image by a jitter, and knows no classes. None: its own, or the default after a fit."""
        new = self._always()
        if jitter is not None or self._fit is not None:
            weights, net = self._weights(), self._engine.net  # type: ignore[attr-defined]
            move = LatentMove.of(Noise() if jitter is None else jitter, None, net.codec, weights.bank, weights.gains)
            new._engine, new._fit = Engine(net, move), None
        return new

    def _always(self) -> Self:
        """A copy that leaves no image out, at the strength it has now."""
        new = copy.copy(self)
        new.p, new.strength = 1.0, self.strength  # type: ignore[attr-defined]
        return new


def check_can_draw() -> None:
    """Raises ImportError, with the remedy, if matplotlib is not installed."""
    from . import figure  # noqa: F401


def _checked_rows(rows: int) -> int:
    if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= MOST_ROWS:
        raise ValueError(f"rows must be an integer from 1 to {MOST_ROWS}, got {rows!r}")
    return rows


def _checked_seed(seed: int) -> int:
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if not 0 <= value < 2**63:
        raise ValueError(f"seed must be an integer from 0 to {2**63 - 1}, got {seed!r}")
    return value
