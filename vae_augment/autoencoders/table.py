"""The table of diffusers' autoencoders: how each class is called, and in which range and sizes it wants images.

A new class is a row here. No function multiplies by `scaling_factor` or adds `shift_factor`: pipelines of diffusers do, its
autoencoders do not, and latents are whitened by what was measured of them. `forward` is never called: that of `AutoencoderTiny`
rounds latents to bytes, and that of `AsymmetricAutoencoderKL` hands the image itself to the decoder.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Kind:
    """A row of the table: how a class is called.

    Args:
        encode: network, images in its range -> mean and std of their latents; a std of None where there is no posterior.
        decode: network, latents -> images in its range.
        multiple: network -> the pixels a side that a latent's cell covers; sizes are multiples of it.
        fixed_size: network -> the one size of its images; None: any multiple.
        is_signed: whether its images are in [-1, 1]; else in [0, 1].
        needs: a library that it is built with, beside diffusers.
    """

    encode: Callable[[Any, Tensor], tuple[Tensor, Tensor | None]]
    decode: Callable[[Any, Tensor], Tensor]
    multiple: Callable[[Any], int]
    fixed_size: Callable[[Any], int] | None = None
    is_signed: bool = True
    needs: str | None = None


def _posterior(net: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
    posterior = net.encode(x).latent_dist
    return posterior.mean, posterior.std


def _latents(net: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
    return net.encode(x).latents, None


def _latent(net: Any, x: Tensor) -> tuple[Tensor, Tensor | None]:
    return net.encode(x).latent, None


def _decoded(net: Any, z: Tensor) -> Tensor:
    decoded: Tensor = net.decode(z).sample
    return decoded


def _decoded_as_it_is(net: Any, z: Tensor) -> Tensor:
    """Without snapping back to the codebook, which would undo a small move. What `force_not_quantize=True` does, but also
    where the config says `lookup_from_codebook`, for which that takes latents for indices."""
    decoded: Tensor = net.decoder(net.post_quant_conv(z), z if net.config.norm_type == "spatial" else None)
    return decoded


def _halvings(of: str) -> Callable[[Any], int]:
    """Every block but the last of this list of the config halves the image."""
    return lambda net: int(2 ** (len(net.config[of]) - 1))


KINDS = {
    "AutoencoderKL": Kind(_posterior, _decoded, _halvings("block_out_channels")),
    "AsymmetricAutoencoderKL": Kind(_posterior, _decoded, _halvings("down_block_out_channels")),
    "AutoencoderKLFlux2": Kind(_posterior, _decoded, _halvings("block_out_channels")),
    "AutoencoderTiny": Kind(_latents, _decoded, _halvings("encoder_block_out_channels")),
    "VQModel": Kind(_latents, _decoded_as_it_is, _halvings("block_out_channels")),
    "AutoencoderDC": Kind(_latent, _decoded, lambda net: int(net.spatial_compression_ratio)),
    # it resizes what it encodes to its encoder's size; what it decodes has a size of its own
    "AutoencoderRAE": Kind(
        _latent,
        _decoded,
        multiple=lambda net: int(net.decoder_patch_size),
        fixed_size=lambda net: int(net.decoder_image_size),
        is_signed=False,
        needs="transformers",
    ),
}
