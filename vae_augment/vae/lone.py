"""One image at a time, in memory that is kept: the operations of `FusedVAE` without what each costs beside its arithmetic.

For one small image an operation of torch takes longer to be called, and to get its memory, than to compute. So matrix products
write into buffers that are made once, and what lies between them, gathering, adding and rounding, is done by numpy on the
same memory, whose calls take a third of the time.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import silu

from .fused import FusedVAE

Floats = NDArray[np.float32]
Pixels = NDArray[Any]  # uint8, or float32 in [0, 1]
Places = NDArray[np.intp]
PLANAR = 0  # an image's channels one after the other; else the bytes of a pixel, whose channels lie side by side


class Layout(NamedTuple):
    """Where the pixels of an image lie that is one row of values."""

    windows: Places  # (h h, C side side): those that each window of the encoder sees
    places: Places  # of each value, among those of the decoder's patches; what is no channel finds a 0 behind them
    values: int


class LoneVAE:
    """A `FusedVAE` for one image at a time.

    Images and changes are rows of values, as `layout` says: `PLANAR`, `C S S` of them, or the number of values of a pixel.
    """

    def __init__(self, net: FusedVAE) -> None:
        self.net = net
        self._layouts: dict[int, Layout] = {}
        # of passes that draw one image, and two; a list's own methods are safe among threads
        self._spare: dict[int, list[_Buffers]] = {1: [], 2: []}

    def change(self, x: Pixels, layout: int, move: Tensor, amount: float) -> Floats:
        """Bytes, or float32 in [0, 1], and the move of their latent `(1, *latent_shape)` -> the `decoded_change` around it."""
        at, buffers = self._layout(layout), self._taken(2)
        self._encode(x, at, buffers)
        row = move.numpy()
        np.multiply(row.transpose(0, 2, 3, 1) if self.net.config.spatial else row, amount, out=buffers.after)
        np.add(buffers.after, buffers.before, out=buffers.after)
        self._decode(buffers)
        np.subtract(buffers.patches[1], buffers.patches[0], out=buffers.drawn)
        buffers.shown[-1] = 0
        change: Floats = buffers.shown.take(at.places)
        self._spare[2].append(buffers)
        return change

    def mean(self, x: Pixels, layout: int) -> Tensor:
        """The whitened mean of an image, `(1, *latent_shape)`."""
        at, buffers = self._layout(layout), self._taken(1)
        self._encode(x, at, buffers)
        mean = self.net._latent(buffers.latents.clone())
        self._spare[1].append(buffers)
        return mean

    def decoded(self, z: Tensor, layout: int) -> Floats:
        """A whitened latent `(1, *latent_shape)` -> an image in [0, 1]; 1 in what is no channel."""
        at, buffers = self._layout(layout), self._taken(1)
        row = z.numpy()
        np.copyto(buffers.before, row.transpose(0, 2, 3, 1) if self.net.config.spatial else row)
        self._decode(buffers)
        buffers.drawn[:] = buffers.patches[0]
        buffers.shown[-1] = 1
        image: Floats = buffers.shown.take(at.places)
        self._spare[1].append(buffers)
        return image

    def _taken(self, draws: int) -> "_Buffers":
        spare = self._spare[draws]
        try:
            return spare.pop()
        except IndexError:
            return _Buffers(self.net, draws)

    def _encode(self, x: Pixels, at: Layout, buffers: "_Buffers") -> None:
        """Write the mean to `before`."""
        net = self.net
        bias, weight = net.patches
        if x.dtype == np.uint8:
            bias, weight = net.patches_of_bytes
            buffers.x[: x.size] = x
            x = buffers.x
        x.take(at.windows, out=buffers.seen, mode="clip")  # mode: numpy copies `out` where it may still raise
        features = silu(torch.addmm(bias, buffers.rows, weight, out=buffers.hidden), inplace=True)
        if net.neck is not None:
            torch.addmm(net.neck[0], features, net.neck[1], out=buffers.neck)
            features = buffers.necks
        torch.addmm(net.to_mean[0], features, net.to_mean[1], out=buffers.mean)

    def _decode(self, buffers: "_Buffers") -> None:
        """Draw what lies in `before`, and `after`, as `patches`."""
        net = self.net
        if buffers.around is not None:
            buffers.values.take(buffers.around, out=buffers.cells, mode="clip")
        torch.addmm(net.hidden[0], buffers.of_hidden, net.hidden[1], out=buffers.drawing)
        silu(buffers.drawing, inplace=True)
        torch.addmm(net.pixels[0], buffers.drawing_rows, net.pixels[1], out=buffers.pixels)
        buffers.pixels.sigmoid_()

    def _layout(self, layout: int) -> Layout:
        if (known := self._layouts.get(layout)) is None:
            known = self._layouts[layout] = self._make_layout(layout)
        return known

    def _make_layout(self, pitch: int) -> Layout:
        c, windows, places = self.net.config, self.net.windows.numpy(), self.net.places.numpy()
        pixels = c.size**2
        if pitch:
            windows = windows % pixels * pitch + windows // pixels
            of_pixel = np.full((pixels, pitch), places.size)
            of_pixel[:, : c.channels] = places.reshape(c.channels, pixels).T
            places = of_pixel.ravel()
        return Layout(
            windows.reshape(c.grid**2, -1).astype(np.intp), places.astype(np.intp), pixels * (pitch or c.channels)
        )


class _Buffers:
    """The memory of one pass that draws one image, or two: most of it both as tensors and as arrays."""

    def __init__(self, net: FusedVAE, draws: int) -> None:
        c, cells = net.config, net.config.grid**2
        latent = (c.grid, c.grid, c.latent_dim) if c.spatial else (c.latent_dim,)

        def room(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.float32, device="cpu")

        self.x = np.zeros(4 * c.size**2, np.float32)
        with torch.inference_mode(False):  # whose tensors could not be written to outside of it
            self.rows = room(cells, net.patches[1].shape[0])
            self.hidden = room(cells, c.width)
            self.neck = room(cells, c.neck)
            self.latents = room(draws, math.prod(latent))
            self.drawing = room(draws * cells, c.width)
            self.pixels = room(draws * cells, c.channels * c.patch**2)
            self.of_hidden = self.latents if net.around is None else room(draws * cells, net.hidden[1].shape[0])
        self.seen, self.cells, self.values = self.rows.numpy(), self.of_hidden.numpy(), self.latents.numpy().ravel()
        self.around: Places | None = None
        if net.around is not None:
            around = net.around.numpy().astype(np.intp)
            starts = np.arange(draws)[:, None] * self.latents.shape[1]
            self.around = (starts + around).reshape(draws * cells, -1)
        self.necks = self.neck.view(1, -1)
        self.mean = self.latents[:1].view(-1, c.latent_dim)
        self.before, *moved = self.latents.numpy().reshape(draws, 1, *latent)
        self.after = moved[0] if moved else self.before
        self.drawing_rows, self.drawing = self.drawing, self.drawing.view(len(self.of_hidden), -1)
        self.patches = self.pixels.numpy().reshape(draws, -1)
        self.shown = np.zeros(self.patches.shape[1] + 1, np.float32)
        self.drawn = self.shown[:-1]
