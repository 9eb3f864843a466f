"""The bytes of a PIL image, one row: read by a network as they lie, changed where they lie, and an image again, in few copies."""

from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray

from .convert import pil_bytes, with_info
from .enlarge import LONGEST, MIDDLE

Bytes = NDArray[np.uint8]
BLOCK = 65_536  # bytes added at a time: they stay in a core's cache
_MIDDLES = np.full(BLOCK, MIDDLE, np.uint8)  # an array: of one number, numpy's minimum takes ten times as long
PIXELS = {("L", 1): 1, ("RGB", 3): 4}  # bytes of a pixel, by mode and channels: PIL fills a pixel of three up to four


class PilBytes(NamedTuple):
    """A PIL image of mode L or RGB.

    Args:
        row: all of its bytes.
        pixel: how many a pixel has, its channels and what fills it up.
        image: the image itself.
    """

    row: Bytes
    pixel: int
    image: PIL.Image.Image

    @classmethod
    def of(cls, image: Any, channels: int) -> "PilBytes | None":
        """None: it has other channels, transparent pixels or none; the general way serves such.

        Example:
            >>> PilBytes.of(PIL.Image.new("RGB", (40, 30), (10, 20, 30)), channels=3).row[:8].tolist()
            [10, 20, 30, 255, 10, 20, 30, 255]
            >>> PilBytes.of(PIL.Image.new("RGBA", (40, 30)), channels=3) is None
            True
        """
        pixel = PIXELS.get((image.mode, channels))
        if pixel is None or 0 in image.size or "transparency" in image.info:
            return None
        return cls(np.frombuffer(pil_bytes(image, "L" if pixel == 1 else "RGBX"), np.uint8), pixel, image)

    def is_larger(self, side: int) -> bool:
        """Whether `shrunk`, `with_change` and `enlarged` serve a network of images of this side."""
        return side < min(self.image.size) and max(self.image.size) <= LONGEST

    def shrunk(self, side: int) -> Bytes:
        """Its row at the network's size."""
        return self._resized(self.row, self.image.size, (side, side))

    def enlarged(self, row: Bytes, side: int) -> PIL.Image.Image:
        """The image that a row of the network's size is at this one's size."""
        return self.image_of(self._resized(row, (side, side), self.image.size))

    def with_change(self, change: NDArray[np.float32], side: int) -> PIL.Image.Image | None:
        """The image and an enlarged change, in units of [0, 1], of the network's size: as `enlarge.with_change` adds it.

        None: the change is too large for bytes. Overwrites the change.
        """
        np.multiply(change, 255, out=change)
        np.add(change, MIDDLE, out=change)
        np.rint(change, out=change)
        if not (change.min() > 0 and change.max() < 2 * MIDDLE):
            return None
        step = self._resized(change.astype(np.uint8), (side, side), self.image.size)
        return self.image_of(_added(self.row, step))

    def image_of(self, row: Bytes) -> PIL.Image.Image:
        """The image that a row is, of this one's size, mode and metadata; the row is its own from then on."""
        if self.pixel == 1:
            new = PIL.Image.frombuffer("L", self.image.size, row, "raw", "L", 0, 1)
        else:
            new = PIL.Image.frombytes("RGB", self.image.size, row, "raw", "RGBX", 0, 1)
        return with_info(new, self.image)

    def _resized(self, row: Bytes, size: tuple[int, int], wanted: tuple[int, int]) -> Bytes:
        """A row of an image of this width and height at others, as `enlarge.resized` makes it, without the checks before it."""
        x = row.reshape(1, size[1], size[0], self.pixel).transpose(0, 3, 1, 2)
        # what torch's `interpolate` calls
        new = torch._C._nn._upsample_bilinear2d_aa(torch.from_numpy(x), (wanted[1], wanted[0]), False, None)
        out: Bytes = new.numpy().transpose(0, 2, 3, 1).ravel()  # channels lie side by side as they did
        return out


def _added(row: Bytes, step: Bytes) -> Bytes:
    """`row + step - 128`, within bytes, which are not left on the way: sooner than in wider numbers. Overwrites the step.

    Example:
        >>> _added(np.array([0, 5, 250], np.uint8), np.array([28, 130, 255], np.uint8)).tolist()
        [0, 7, 255]
    """
    for start in range(0, row.size, BLOCK):
        x, steps = row[start : start + BLOCK], step[start : start + BLOCK]
        middle = _MIDDLES[: x.size]
        up, down = np.maximum(steps, middle), np.minimum(steps, middle)
        most = np.subtract(np.uint8(MIDDLE - 1), up, out=up)  # 255 less what is added; it wraps around
        least = np.subtract(middle, down, out=down)  # what is taken away
        within = np.maximum(np.minimum(x, most, out=most), least, out=most)
        np.add(within, steps, out=steps)
        np.subtract(steps, middle, out=steps)
    return step
