"""One image at a time, in memory that is kept: what `FusedVAE` computes, without what its operations cost beside arithmetic.

For one small image an operation of torch takes longer to be called, and to get its memory, than to compute. So matrix products
write into buffers that are made once, and what lies between them, gathering, adding and rounding, is done by numpy on the
same memory, in calls of a third of the time. A bias is one more row of a matrix, and finds a 1 in the buffer before it.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import silu

from .fused import Affine, FusedVAE

Floats = NDArray[np.float32]
Pixels = NDArray[Any]  # uint8, or float32 in [0, 1]
Places = NDArray[np.intp]
WIDEST = 4  # values of a pixel whose channels lie side by side
PLANAR = 0  # an image's channels one after the other; else the values of a pixel, whose channels lie side by side


class Layout(NamedTuple):
    """Where the pixels of an image lie that is one row of values."""

    windows: Places  # (h h, 1 + C side side): a 1, and those that each window of the encoder sees, behind that 1
    places: Places  # of each value, among those of the decoder's patches; what is no channel finds the one behind them


class LoneVAE:
    """A `FusedVAE` for one image at a time.

    Images and changes are rows of values, as `layout` says: `PLANAR`, `C S S` of them, or the number of values of a pixel.
    """

    def __init__(self, net: FusedVAE) -> None:
        c = self.config = net.config
        self._net = net
        self._patches, self._patches_of_bytes = _whole(net.patches), _whole(net.patches_of_bytes)
        self._neck: Tensor | None = None
        if net.neck is not None:  # whose own bias, which nothing follows but a product, is a part of the next one
            self._neck = net.neck[1]
            by_neck = net.neck[0].repeat(c.grid**2) @ net.to_mean[1]
            self._to_mean = _whole((net.to_mean[0] + by_neck, net.to_mean[1]))
        self._hidden = _whole(net.hidden)
        # a copy, since the memory of the net moves when it is sent to a worker
        self._pixel_bias = net.pixels[0].detach().numpy().copy()
        self._layouts: dict[int, Layout] = {}
        self._spare: list[_Buffers] = []  # whose own methods are safe among threads

    def change(self, x: Pixels, layout: int, move: Tensor, amount: float) -> Floats:
        """Bytes, or float32 in [0, 1], and the move of their latent `(1, *latent_shape)` -> the `decoded_change` around it."""
        at, buffers = self._layout(layout), self._taken()
        self._encode(x, at, buffers)
        row = move.numpy()
        np.multiply(row.transpose(0, 2, 3, 1) if self.config.spatial else row, amount, out=buffers.after)
        np.add(buffers.after, buffers.before, out=buffers.after)
        self._decode(buffers)
        np.subtract(buffers.patches[1], buffers.patches[0], out=buffers.drawn)
        change: Floats = buffers.shown.take(at.places)
        self._spare.append(buffers)
        return change

    def mean(self, x: Pixels, layout: int) -> Tensor:
        """The whitened mean of an image, `(1, *latent_shape)`."""
        at, buffers = self._layout(layout), self._taken()
        self._encode(x, at, buffers)
        mean = self._net._latent(buffers.mean.reshape(1, -1).clone())
        self._spare.append(buffers)
        return mean

    def decoded(self, z: Tensor, layout: int) -> Floats:
        """A whitened latent `(1, *latent_shape)` -> an image in [0, 1]; 1 in what is no channel."""
        drawn = self._net._pixels(self._net._row(z)).numpy().ravel()
        image: Floats = (np.append(drawn, np.float32(1)) if layout else drawn).take(self._layout(layout).places)
        return image

    def _taken(self) -> "_Buffers":
        try:
            return self._spare.pop()
        except IndexError:
            return _Buffers(self._net)

    def _encode(self, x: Pixels, at: Layout, buffers: "_Buffers") -> None:
        """Write the mean to `before`."""
        buffers.x[1 : 1 + x.size] = x
        buffers.x.take(at.windows, out=buffers.seen, mode="clip")  # mode: numpy copies `out` where it may still raise
        patches = self._patches_of_bytes if x.dtype == np.uint8 else self._patches
        torch.mm(buffers.rows, patches, out=buffers.hidden)
        features = silu(buffers.hidden, inplace=True)
        if self._neck is None:
            bias, weight = self._net.to_mean
            torch.addmm(bias, features, weight, out=buffers.mean)
        else:
            torch.mm(features, self._neck, out=buffers.neck)
            torch.mm(buffers.necks, self._to_mean, out=buffers.mean)

    def _decode(self, buffers: "_Buffers") -> None:
        """Draw what lies in `before` and `after`, as `patches`."""
        if buffers.around is not None:
            buffers.values.take(buffers.around, out=buffers.cells, mode="clip")
        torch.mm(buffers.of_hidden, self._hidden, out=buffers.drawing)
        silu(buffers.drawing, inplace=True)
        torch.mm(buffers.drawing_rows, self._net.pixels[1], out=buffers.pixels)
        np.add(buffers.pixel_rows, self._pixel_bias, out=buffers.pixel_rows)
        buffers.pixels.sigmoid_()

    def _layout(self, layout: int) -> Layout:
        if (known := self._layouts.get(layout)) is None:
            known = self._layouts[layout] = self._make_layout(layout)
        return known

    def _make_layout(self, pixel: int) -> Layout:
        c, windows, places = self.config, self._net.windows.numpy().astype(np.intp), self._net.places.numpy()
        pixels = c.size**2
        if pixel:
            windows = windows % pixels * pixel + windows // pixels
            of_pixel = np.full((pixels, pixel), places.size)
            of_pixel[:, : c.channels] = places.reshape(c.channels, pixels).T
            places = of_pixel.ravel()
        behind = 1 + windows.reshape(c.grid**2, -1)
        return Layout(np.pad(behind, ((0, 0), (1, 0))), places.astype(np.intp))


def _whole(affine: Affine) -> Tensor:
    """A layer as one matrix, whose first row is the bias."""
    bias, weight = affine
    return torch.cat([bias[None], weight])


class _Buffers:
    """The memory of one pass, which draws two images: most of it both as tensors and as arrays."""

    def __init__(self, net: FusedVAE) -> None:
        c, cells = net.config, net.config.grid**2
        latent = (1, c.grid, c.grid, c.latent_dim) if c.spatial else (1, c.latent_dim)

        def room(*shape: int) -> Tensor:
            return torch.ones(shape, dtype=torch.float32, device="cpu")

        self.x = np.ones(1 + max(c.channels, WIDEST) * c.size**2, np.float32)
        with torch.inference_mode(False):  # whose tensors could not be written to outside of it
            self.rows = room(cells, 1 + net.patches[1].shape[0])
            self.hidden = room(cells, c.width)
            self.necks = room(1, 1 + cells * c.neck)
            latents = room(2, 1 + math.prod(latent))
            self.drawing_rows = room(2 * cells, c.width)
            self.pixels = room(2 * cells, c.channels * c.patch**2)
            self.of_hidden = latents if net.around is None else room(2 * cells, 1 + net.hidden[1].shape[0])
        self.seen, self.cells, self.values = self.rows.numpy(), self.of_hidden.numpy(), latents.numpy().ravel()
        self.around: Places | None = None
        if net.around is not None:
            around = np.pad(1 + net.around.numpy().astype(np.intp).reshape(cells, -1), ((0, 0), (1, 0)))
            self.around = np.concatenate([around, around + latents.shape[1]])
        self.neck = self.necks[0, 1:].view(cells, c.neck)
        self.mean = latents[0, 1:].view(-1, c.latent_dim)
        self.before, self.after = (row[1:].reshape(latent) for row in latents.numpy())
        self.drawing = self.drawing_rows.view(len(self.of_hidden), -1)
        self.pixel_rows = self.pixels.numpy()
        self.patches = self.pixel_rows.reshape(2, -1)
        self.shown = np.zeros(self.patches.shape[1] + 1, np.float32)  # and a 0, for what is no channel
        self.drawn = self.shown[:-1]
