"""The same network as matrices: several times faster for one image than its modules, and on a GPU for any number.

For one image a convolution, and every operation, costs more in calls than in arithmetic (PyTorch takes its slow path at
batch 1 on one thread). So there are few: an indexed copy gathers what each window of a convolution sees into a row (im2col),
a matrix product does the rest, and everything between two activations is folded into one matrix, the scaling to and from
whitened units too. A vector latent reaches the decoder's hidden layer, through a Linear and a convolution, in one product.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from torch.utils._pytree import tree_map_only

from ..images import as_pixels
from .codec import Posterior
from .config import VAEConfig
from .layers import LARGEST_MATRIX, WindowConv, windows
from .model import VAE

Affine = tuple[Tensor, Tensor]  # bias (out,), weight (in, out): what addmm takes
CHUNK = 256  # images at a time: more leave the processor's cache, and thousands take up to twice the time
LARGEST_CHUNK = 2**28  # values of a layer: 1 GB
GPU_CHUNK = 4096  # there memory is the limit: half a gigabyte with the bundled weights


class FusedVAE:
    """What `Whitened(vae)` computes: a frozen VAE between images and whitened latents.

    Inside, an image is a row of its pixels, and a spatial latent a row of its cells, each with its channels: `(B, h h L)`.
    """

    @torch.no_grad()
    def __init__(self, vae: VAE) -> None:
        c = self.config = vae.config
        self.mean, self.std = vae.latent_mean.flatten(), vae.latent_std.flatten()  # (L,)
        encoder, decoder = list(vae.encoder), list(vae.decoder)
        self.windows = _places(encoder[0])
        self.patches = _rows(encoder[0])
        self.patches_of_bytes: Affine = self.patches[0], self.patches[1] / 255
        self.neck = None if c.spatial else _rows(encoder[2])
        self.to_latent = self._whitened(_rows(encoder[2]) if c.spatial else self._patch_major(encoder[4]))
        # half of it, for the many jitters that do not ask for the std
        bias, weight = self.to_latent
        self.to_mean: Affine = bias[: c.latent_dim].clone(), weight[:, : c.latent_dim].contiguous()
        self.log_std_shift = -2 - self.std.log()
        self.around = None
        if c.spatial:  # channels of a cell side by side
            channel, cell = _places(decoder[0]) // c.grid**2, _places(decoder[0]) % c.grid**2
            self.around = cell * c.latent_dim + channel
        self.hidden = self._from_cells(decoder[0]) if c.spatial else self._from_vector(decoder[0])
        self.pixels = _rows(decoder[-2])
        # where an image's pixels are among those of its patches
        places = torch.arange(c.channels * c.size**2).view(c.grid, c.grid, c.channels, c.patch, c.patch)
        self.places = places.permute(2, 0, 3, 1, 4).flatten().int()
        self.not_and_moved = torch.tensor([[0.0], [1.0]], dtype=torch.float32)
        self.chunk = self._chunk(CHUNK)

    def _chunk(self, most: int) -> int:
        """Images at a time, at most so many, and so few that a layer of them fits the memory."""
        return max(1, min(most, LARGEST_CHUNK // self.config.largest_layer))

    @staticmethod
    def is_small(config: VAEConfig) -> bool:
        """Whether the matrices stay small: layers folded into one can hold far more values than the layers do."""
        seen = 9 * config.latent_dim if config.spatial else config.latent_dim * config.grid**2
        return seen * config.width <= LARGEST_MATRIX

    def to(self, device: torch.device) -> "FusedVAE":
        """The same on this device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            setattr(moved, name, tree_map_only(Tensor, lambda part: part.to(device), value))
        moved.chunk = self._chunk(CHUNK if device.type == "cpu" else GPU_CHUNK)
        return moved

    def whitened_mean(self, x: Tensor) -> Tensor:
        """`encode_whitened(x).mean`."""
        if x.shape[0] > self.chunk:
            return self._in_parts(self.whitened_mean, x)
        return self._latent(self._mean(x.reshape(x.shape[0], -1), self.patches, self.windows))

    def mean_of_bytes(self, pixels: Tensor) -> Tensor:
        """The same of uint8 images `(..., C, S, S)`, up to rounding: `(B, *latent_shape)`."""
        x = pixels.reshape(-1, self.places.shape[0])
        if x.shape[0] > self.chunk:
            return self._in_parts(self.mean_of_bytes, x)
        return self._latent(self._mean(x.float(), self.patches_of_bytes, self.windows))

    def encode_whitened(self, x: Tensor) -> Posterior:
        """float32 `(B, C, S, S)` in [0, 1] -> the posterior in whitened units, `(B, *latent_shape)`."""
        if x.shape[0] > self.chunk:
            return Posterior(*map(torch.cat, zip(*map(self.encode_whitened, x.split(self.chunk)), strict=True)))
        features = self._features(x.reshape(x.shape[0], -1), self.patches, self.windows)
        mean, raw = torch.addmm(self.to_latent[0], features, self.to_latent[1]).float().chunk(2, 1)
        std = raw.tanh().mul_(3).add_(self.log_std_shift).exp_()
        return Posterior(*(self._latent(part.reshape(x.shape[0], -1)) for part in (mean, std)))

    def decode_whitened(self, z: Tensor) -> Tensor:
        """Whitened latents `(B, *latent_shape)` -> images `(B, C, S, S)` in [0, 1]."""
        if z.shape[0] > self.chunk:
            return self._in_parts(self.decode_whitened, z)
        return self._image(self._pixels(self._row(z)).view(z.shape[0], -1).index_select(1, self.places))

    def decoded_change(self, mean: Tensor, move: Tensor, amount: float) -> Tensor:
        """`decode_whitened(mean + amount * move) - decode_whitened(mean)`."""
        if mean.shape[0] > self.chunk:
            return self._in_parts(lambda a, b: self.decoded_change(a, b, amount), mean, move)
        return self._image(self._change(self._row(mean), self._row(move), amount, self.places))

    def vary_bytes(self, pixels: Tensor, move: Tensor, amount: float) -> Tensor:
        """uint8 images `(..., C, S, S)` and the `decoded_change` around each, in the fewest operations.

        `move` `(B, *latent_shape)`: of each image's mean.
        """
        count = move.shape[0]
        if count > self.chunk:
            flat = pixels.flatten(0, -4)
            return self._in_parts(lambda x, m: self.vary_bytes(x, m, amount), flat, move).view(pixels.shape)
        x = pixels.reshape(count, -1).float()
        change = self._change(self._mean(x, self.patches_of_bytes, self.windows), self._row(move), amount, self.places)
        return as_pixels(x.add_(change, alpha=255), torch.uint8).view(pixels.shape)

    def _in_parts(self, compute: Callable[..., Tensor], *batches: Tensor) -> Tensor:
        """What a function gives for large batches, a part at a time."""
        parts = zip(*(batch.split(self.chunk) for batch in batches), strict=True)
        return torch.cat([compute(*part) for part in parts])

    def _features(self, x: Tensor, patches: Affine, windows: Tensor) -> Tensor:
        """Pixels -> what the mean and the std are read from: `(B, h h neck)`, spatial `(B h h, width)`."""
        bias, weight = patches
        seen = x.index_select(1, windows).view(-1, weight.shape[0])  # (B h h, C side side)
        h = silu(torch.addmm(bias, seen, weight), inplace=True)
        return h if self.neck is None else torch.addmm(self.neck[0], h, self.neck[1]).view(x.shape[0], -1)

    def _mean(self, x: Tensor, patches: Affine, windows: Tensor) -> Tensor:
        mean = torch.addmm(self.to_mean[0], self._features(x, patches, windows), self.to_mean[1])
        return _full(mean.view(x.shape[0], -1) if self.config.spatial else mean)

    def _pixels(self, z: Tensor) -> Tensor:
        """Latents -> pixels of each patch, float32 `(B h h, C p p)` in [0, 1]."""
        bias, weight = self.hidden
        if self.around is not None:
            z = z.index_select(1, self.around).view(-1, weight.shape[0])
        h = silu(torch.addmm(bias, z, weight), inplace=True).view(-1, self.config.width)
        return _full(torch.addmm(self.pixels[0], h, self.pixels[1])).sigmoid_()

    def _change(self, mean: Tensor, move: Tensor, amount: float, places: Tensor) -> Tensor:
        count = mean.shape[0]
        if count == 1:  # one operation less
            both = torch.addcmul(mean, move, self.not_and_moved, value=amount)
        else:
            both = torch.cat([mean, torch.add(mean, move, alpha=amount)])
        before, after = self._pixels(both).view(2, count, -1).unbind()
        return (after - before).index_select(1, places)

    def _image(self, row: Tensor) -> Tensor:
        return row.view(-1, self.config.channels, self.config.size, self.config.size)

    def _latent(self, row: Tensor) -> Tensor:
        c = self.config
        return row.view(-1, c.grid, c.grid, c.latent_dim).permute(0, 3, 1, 2) if c.spatial else row

    def _row(self, latent: Tensor) -> Tensor:
        """The inverse of `_latent`."""
        return latent.permute(0, 2, 3, 1).flatten(1) if self.config.spatial else latent

    def _patch_major(self, layer: nn.Module) -> Affine:
        """The encoder's Linear, reading `(h h, neck)` where the module reads `(neck, h h)`."""
        assert isinstance(layer, nn.Linear)
        weight = layer.weight.view(len(layer.weight), self.config.neck, -1).permute(2, 1, 0)
        return layer.bias, weight.flatten(0, 1).contiguous()

    def _whitened(self, affine: Affine) -> Affine:
        """(mean, raw log-variance) -> (whitened mean, raw / 6): see `VAE.encode` for the bounds of the log-variance."""
        bias, weight = (part.clone() for part in affine)
        count = self.config.latent_dim
        bias[:count] -= self.mean
        for part in (bias, weight):
            part[..., :count] /= self.std
            part[..., count:] /= 6
        return bias, weight

    def _from_cells(self, layer: nn.Module) -> Affine:
        """The whitened latents that a window of the decoder's first convolution sees -> the hidden layer there."""
        bias, weight = _rows(layer)
        mean, std = (part.repeat_interleave(len(weight) // self.config.latent_dim) for part in (self.mean, self.std))
        return bias + mean @ weight, std[:, None] * weight

    def _from_vector(self, affine: nn.Module) -> Affine:
        """Whitened latents `(B, L)` -> the hidden layer, `(B, h h width)`: an affine function is known by a few values."""
        affine = copy.deepcopy(affine).double()
        mean, std = self.mean.double(), self.std.double()
        bias, *at_unit = affine(torch.cat([mean[None], mean + torch.diag(std)])).permute(0, 2, 3, 1).flatten(1)
        return bias.float(), (torch.stack(at_unit) - bias).float().contiguous()


def _full(x: Tensor) -> Tensor:
    """In float32, also under autocast."""
    return x if x.dtype == torch.float32 else x.float()


def _rows(layer: nn.Module) -> Affine:
    """A convolution, of rows that hold what its window sees."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.bias, layer.weight.flatten(1).T.contiguous()


def _places(layer: nn.Module) -> Tensor:
    assert isinstance(layer, WindowConv)
    return windows(layer.in_channels, layer.size, layer.stride[0], int(layer.padding[0]))
