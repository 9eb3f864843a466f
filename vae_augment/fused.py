"""The same network as matrices: for a few images at a time, on one thread, about twice as fast as its modules.

A small convolution of one image costs more in calls and layout than in arithmetic (PyTorch takes its slow path at batch 1
on one thread). Here an image is a matrix with one row per patch, a 1x1 convolution is one matrix product, a 3x3 one
gathers each patch's neighbours first (im2col), and the scaling to and from whitened units is folded into the weights.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from .vae import VAE, Posterior, VAEConfig

Affine = tuple[Tensor, Tensor]  # bias (out,), weight (in, out): what addmm takes


class FusedVAE:
    """What a frozen VAE computes, between images and whitened latents; see `VAE.encode_whitened`, `VAE.decode_whitened`."""

    def __init__(self, vae: VAE) -> None:
        config = vae.config
        self.config, self.tokens = config, config.grid**2
        with torch.no_grad():
            self._read(vae, list(vae.encoder), list(vae.decoder))

    def _read(self, vae: VAE, encoder: list[nn.Module], decoder: list[nn.Module]) -> None:
        c, e, d = self.config, self.config.encoder_blocks, self.config.decoder_blocks
        per_dim = vae.latent_mean.flatten(), vae.latent_std.flatten()  # (L,)
        self.patches = _conv1x1(encoder[1])
        self.encoder_blocks = [_Block(block, c) for block in encoder[2 : 2 + e]]
        head = encoder[3 + e :]
        self.neck = None if c.spatial else _conv1x1(head[0])
        self.to_latent = _whitened(_conv1x1(head[0]) if c.spatial else _patch_major(head[2], c), *per_dim)
        # half of it, for the many jitters that do not ask for the std
        bias, weight = self.to_latent
        self.to_mean: Affine = bias[: c.latent_dim], weight[:, : c.latent_dim].contiguous()
        self.log_std_shift = -2 - per_dim[1].log()
        if c.spatial:
            self.stem, self.widen = _unwhitened(_conv1x1(decoder[0]), *per_dim), None
        else:
            self.stem, self.widen = _unwhitened(_to_patches(decoder[0], c), *per_dim), _conv1x1(decoder[2])
        rest = decoder[1 if c.spatial else 3 :]
        self.decoder_blocks = [_Block(block, c) for block in rest[:d]]
        self.pixels = _conv1x1(rest[d + 1])

    def whitened_mean(self, x: Tensor) -> Tensor:
        """`encode_whitened(x).mean`."""
        return self._latent(_affine(self._features(x), self.to_mean), len(x))

    def encode_whitened(self, x: Tensor) -> Posterior:
        """float32 `(B, C, S, S)` in [0, 1] -> the posterior in whitened units, `(B, *latent_shape)`."""
        mean, raw = _affine(self._features(x), self.to_latent).chunk(2, 1)
        std = raw.tanh().mul_(3).add_(self.log_std_shift).exp_()
        return Posterior(self._latent(mean, len(x)), self._latent(std, len(x)))

    def decode_whitened(self, z: Tensor) -> Tensor:
        """Whitened latents `(B, *latent_shape)` -> images `(B, C, S, S)` in [0, 1]."""
        return self._image(self._pixels(z), len(z))

    def decoded_change(self, moved: Tensor, mean: Tensor) -> Tensor:
        """`decode_whitened(moved) - decode_whitened(mean)`."""
        after, before = self._pixels(torch.cat([moved, mean])).chunk(2)
        return self._image(after - before, len(mean))

    def _features(self, x: Tensor) -> Tensor:
        """Images -> what the mean and the std are read from: `(B, h h neck)`, spatial `(B h h, width)`."""
        c, count = self.config, len(x)
        h = x.reshape(count, c.channels, c.grid, c.patch, c.grid, c.patch).permute(0, 2, 4, 1, 3, 5)
        h = _affine(h.reshape(count * self.tokens, -1), self.patches)  # (B h h, width)
        for block in self.encoder_blocks:
            h = block(h, count)
        h = silu(h, inplace=True)
        return h if self.neck is None else _affine(h, self.neck).view(count, -1)

    def _pixels(self, z: Tensor) -> Tensor:
        """Whitened latents -> pixels of each patch, `(B h h, C p p)`."""
        c, count = self.config, len(z)
        if c.spatial:
            z = z.permute(0, 2, 3, 1).reshape(count * self.tokens, -1)
        h = _affine(z, self.stem)
        if self.widen is not None:
            h = _affine(h.view(count * self.tokens, -1), self.widen)
        for block in self.decoder_blocks:
            h = block(h, count)
        return _affine(silu(h, inplace=True), self.pixels).sigmoid_()

    def _image(self, patches: Tensor, count: int) -> Tensor:
        c = self.config
        x = patches.view(count, c.grid, c.grid, c.channels, c.patch, c.patch).permute(0, 3, 1, 4, 2, 5)
        return x.reshape(count, c.channels, c.size, c.size)

    def _latent(self, values: Tensor, count: int) -> Tensor:
        c = self.config
        return values.view(count, c.grid, c.grid, -1).permute(0, 3, 1, 2) if c.spatial else values


class _Block:
    """`vae.ResBlock` on patches as rows."""

    def __init__(self, block: nn.Module, config: VAEConfig) -> None:
        conv3x3, conv1x1 = block.get_submodule("column.1"), block.get_submodule("column.3")
        assert isinstance(conv3x3, nn.Conv2d)
        assert conv3x3.bias is not None
        # (out, in, row, column) -> (row, column, in; out): the order in which neighbours are gathered
        self.around: Affine = (conv3x3.bias, conv3x3.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous())
        self.mix = _conv1x1(conv1x1)
        self.grid, self.width = config.grid, config.width

    def __call__(self, x: Tensor, count: int) -> Tensor:
        g, w, row = self.grid, self.width, (self.grid + 2) * self.width
        padded = pad(silu(x).view(count, g, g, w), (0, 0, 1, 1, 1, 1))
        # three neighbours of a row lie side by side in memory: one strided view, one copy
        around = padded.as_strided((count, g, g, 3, 3 * w), (row * (g + 2), row, w, row, 1))
        h = silu(_affine(around.reshape(len(x), 9 * w), self.around), inplace=True)
        return _affine(h, self.mix).add_(x)


def _affine(x: Tensor, affine: Affine) -> Tensor:
    return torch.addmm(affine[0], x, affine[1])


def _conv1x1(layer: nn.Module) -> Affine:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.bias, layer.weight.flatten(1).T.contiguous()


def _patch_major(layer: nn.Module, c: VAEConfig) -> Affine:
    """The encoder's Linear, reading `(h h, neck)` where the module reads `(neck, h h)`."""
    assert isinstance(layer, nn.Linear)
    return layer.bias, layer.weight.view(-1, c.neck, c.grid**2).permute(2, 1, 0).flatten(0, 1).contiguous()


def _to_patches(layer: nn.Module, c: VAEConfig) -> Affine:
    """The decoder's Linear, writing `(h h, neck)` where the module writes `(neck, h h)`."""
    assert isinstance(layer, nn.Linear)
    weight = layer.weight.view(c.neck, c.grid**2, -1).permute(2, 1, 0).flatten(1)
    return layer.bias.view(c.neck, -1).T.flatten(), weight.contiguous()


def _whitened(affine: Affine, mean: Tensor, std: Tensor) -> Affine:
    """(mean, raw log-variance) -> (whitened mean, raw / 6): see `VAE.encode` for the bounds of the log-variance."""
    bias, weight = (part.clone() for part in affine)
    count = len(mean)
    bias[:count] -= mean
    for part in (bias, weight):
        part[..., :count] /= std
        part[..., count:] /= 6
    return bias, weight


def _unwhitened(affine: Affine, mean: Tensor, std: Tensor) -> Affine:
    bias, weight = affine
    return bias + mean @ weight, std[:, None] * weight
