"""The same network as matrices: the way a processor computes it, several times faster for one image than its modules.

For one image a convolution, and every operation, costs more in calls than in arithmetic (PyTorch takes its slow path at
batch 1 on one thread). So there are few: an indexed copy gathers what each window of a convolution sees into a row (im2col),
a matrix product does the rest, and everything between two activations is folded into one matrix, the scaling to and from
whitened units too. A vector latent reaches the decoder's hidden layer, through a Linear and a convolution, in one product.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from .vae import VAE, Posterior, WindowConv, windows

Affine = tuple[Tensor, Tensor]  # bias (out,), weight (in, out): what addmm takes


class FusedVAE:
    """What a frozen VAE computes, between images and whitened latents; see the methods of `VAE` of the same names."""

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
        self.around = _places(decoder[0]) if c.spatial else None
        self.hidden = self._from_cells(decoder[0]) if c.spatial else self._from_vector(decoder[0])
        self.pixels = _rows(decoder[-2])
        # where an image's pixels are among those of its patches
        places = torch.arange(c.channels * c.size**2).view(c.grid, c.grid, c.channels, c.patch, c.patch)
        self.places = places.permute(2, 0, 3, 1, 4).flatten().int()
        self.moved_and_not = torch.tensor([1.0, 0.0]).view(2, 1, *[1] * len(c.latent_shape))

    def whitened_mean(self, x: Tensor) -> Tensor:
        """`encode_whitened(x).mean`."""
        return self._latent(_affine(self._features(x), self.to_mean).float(), x.shape[0])

    def encode_whitened(self, x: Tensor) -> Posterior:
        """float32 `(B, C, S, S)` in [0, 1], or uint8 -> the posterior in whitened units, `(B, *latent_shape)`."""
        mean, raw = _affine(self._features(x), self.to_latent).float().chunk(2, 1)
        std = raw.tanh().mul_(3).add_(self.log_std_shift).exp_()
        return Posterior(self._latent(mean, x.shape[0]), self._latent(std, x.shape[0]))

    def decode_whitened(self, z: Tensor) -> Tensor:
        """Whitened latents `(B, *latent_shape)` -> images `(B, C, S, S)` in [0, 1]."""
        return self._image(self._pixels(z), z.shape[0])

    def decoded_change(self, mean: Tensor, move: Tensor, amount: float) -> Tensor:
        """`decode_whitened(mean + amount * move) - decode_whitened(mean)`."""
        both = torch.addcmul(mean, move, self.moved_and_not, value=amount)  # (2, B, *latent_shape)
        decoded = self._pixels(both.flatten(0, 1)).view(2, -1)
        return self._image(decoded[0] - decoded[1], mean.shape[0])

    def _features(self, x: Tensor) -> Tensor:
        """Images -> what the mean and the std are read from: `(B, h h neck)`, spatial `(B h h, width)`."""
        patches = self.patches_of_bytes if x.dtype == torch.uint8 else self.patches
        h = silu(_affine(_seen(x.float(), self.windows, patches), patches), inplace=True)
        return h if self.neck is None else _affine(h, self.neck).view(x.shape[0], -1)

    def _pixels(self, z: Tensor) -> Tensor:
        """Whitened latents -> pixels of each patch, float32 `(B h h, C p p)` in [0, 1]."""
        rows = z if self.around is None else _seen(z, self.around, self.hidden)
        h = silu(_affine(rows, self.hidden), inplace=True).view(-1, self.config.width)
        return _affine(h, self.pixels).float().sigmoid_()

    def _image(self, patches: Tensor, count: int) -> Tensor:
        c = self.config
        return patches.view(count, -1).index_select(1, self.places).view(count, c.channels, c.size, c.size)

    def _latent(self, values: Tensor, count: int) -> Tensor:
        c = self.config
        return values.view(count, c.grid, c.grid, -1).permute(0, 3, 1, 2) if c.spatial else values

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


def _affine(x: Tensor, affine: Affine) -> Tensor:
    return torch.addmm(affine[0], x, affine[1])


def _rows(layer: nn.Module) -> Affine:
    """A convolution, of rows that hold what its window sees."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.bias, layer.weight.flatten(1).T.contiguous()


def _places(layer: nn.Module) -> Tensor:
    assert isinstance(layer, WindowConv)
    return windows(layer.in_channels, layer.size, layer.stride[0], int(layer.padding[0]))


def _seen(x: Tensor, windows: Tensor, affine: Affine) -> Tensor:
    """`(B, C, S, S)` -> what each window of this convolution sees, `(B h h, C side side)`."""
    return x.reshape(x.shape[0], -1).index_select(1, windows).view(-1, affine[1].shape[0])
