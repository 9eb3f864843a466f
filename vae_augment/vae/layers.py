"""The two layers that torch has not: a convolution of overlapping windows, and affine layers that act as one matrix."""

import functools

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

SMALL_GRID = 4  # cells a side up to which windows are gathered by a product where a gradient goes back through them
LARGEST_MATRIX = 8_000_000  # values of a matrix that layers are folded into; it can hold far more than the layers do


class WindowConv(nn.Conv2d):
    """A convolution whose windows overlap by `margin` pixels on each side; beyond the edge they see the nearest pixel.

    Zeros there would be latents or shades of their own, and could not be gathered by an indexed copy: which, with a matrix
    product, is what takes a processor a fifth of the time of such a convolution.
    """

    def __init__(self, inside: int, outside: int, size: int, stride: int = 1, margin: int = 0) -> None:
        super().__init__(inside, outside, stride + 2 * margin, stride, margin, padding_mode="replicate")
        self.size, self.grid = size, size // stride
        self.is_gathered = stride + margin > 1
        # no buffers: they are for the CPU, and no part of the weights; made when it is needed, since it may be larger than these
        self.places: Tensor | None = None
        self.spread: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        if not self.is_gathered:
            seen = x.permute(0, 2, 3, 1).flatten(0, 2)
        elif self.size <= SMALL_GRID and x.requires_grad:
            seen = self._gathered(x)
        else:
            if self.places is None:
                with torch.inference_mode(False):  # whose tensors no gradient goes back through outside of it
                    self.places = windows(self.in_channels, self.size, self.stride[0], int(self.padding[0]))
            seen = x.flatten(1).index_select(1, self.places).view(-1, self.weight[0].numel())  # (B h h, C side side)
        out = linear(seen, self.weight.flatten(1), self.bias)
        return out.view(x.shape[0], self.grid, self.grid, -1).permute(0, 3, 1, 2)

    def _gathered(self, x: Tensor) -> Tensor:
        """What each window sees, `(B h h, C side side)`, by a product with zeros and ones, whose gradient is another.

        That of an indexed copy is added place by place, which takes several times as long.
        """
        if self.spread is None:
            with torch.inference_mode(False):
                places = windows(1, self.size, self.stride[0], int(self.padding[0]))
                self.spread = nn.functional.one_hot(places.long(), self.size**2).T.float()
        seen = x.reshape(-1, self.size**2) @ self.spread.to(x.dtype)  # (B C, h h side side)
        return (
            seen.view(x.shape[0], x.shape[1], self.grid**2, -1).transpose(1, 2).reshape(x.shape[0] * self.grid**2, -1)
        )


class AffineStem(nn.Sequential):
    """Layers without an activation between them, on vectors `(B, L)`: one matrix, which is computed first if B is large."""

    def forward(self, z: Tensor) -> Tensor:
        count, dims = z.shape
        last = self[-1]
        assert isinstance(last, WindowConv)
        if count < 2 * dims or dims * last.out_channels * last.grid**2 > LARGEST_MATRIX:
            out: Tensor = super().forward(z)
            return out
        with torch.autocast(z.device.type, enabled=False):  # whose rounding the difference below would magnify
            # an affine function is known by its values at 0 and at the unit vectors
            known = super().forward(torch.eye(dims + 1, device=z.device, dtype=z.dtype)[:, 1:])
        known = known.permute(0, 2, 3, 1)  # (1 + L, h, h, width)
        bias, at_unit = known[:1], known[1:]
        # one product, with the bias as a row: to add a bias, a result of megabytes would be filled with it first
        whole = torch.cat([bias, at_unit - bias]).flatten(1).to(z.dtype)
        out = torch.cat([z.new_ones(count, 1), z], 1) @ whole
        return out.view(count, *bias.shape[1:]).permute(0, 3, 1, 2)


def windows(channels: int, size: int, stride: int, margin: int) -> Tensor:
    """Places in an image `(C, S, S)` of what each window of a `WindowConv` sees, int32 `(h h C side side)`."""
    arange = functools.partial(
        torch.arange, dtype=torch.int32, device="cpu"
    )  # also where a network is only planned, on "meta"
    corners = arange(size // stride)[:, None] * stride - margin
    at = (corners + arange(stride + 2 * margin)).clamp(0, size - 1)  # (h, side)
    rows, columns = at[:, None, None, :, None] * size, at[None, :, None, None, :]
    return (rows + columns + size**2 * arange(channels)[:, None, None]).flatten()
