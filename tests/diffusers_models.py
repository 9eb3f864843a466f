"""The seven autoencoders of diffusers that are known, built small and random by diffusers itself."""

from typing import Any

import pytest
import torch

NAMES = (
    "AutoencoderKL",
    "AsymmetricAutoencoderKL",
    "AutoencoderKLFlux2",
    "AutoencoderTiny",
    "VQModel",
    "AutoencoderDC",
    "AutoencoderRAE",
)
BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
HALVES = {**BLOCKS, "norm_num_groups": 4, "block_out_channels": (8, 16)}
CONFIGS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": HALVES | {"latent_channels": 4},
    "AsymmetricAutoencoderKL": BLOCKS
    | {"norm_num_groups": 4, "down_block_out_channels": (8, 16), "up_block_out_channels": (8, 16)},
    "AutoencoderKLFlux2": HALVES | {"latent_channels": 4},
    "AutoencoderTiny": {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4},
    "VQModel": HALVES | {"latent_channels": 4},
    "AutoencoderDC": {
        "latent_channels": 8,
        "attention_head_dim": 8,
        "encoder_block_types": "ResBlock",
        "decoder_block_types": "ResBlock",
        "encoder_block_out_channels": (8, 8, 8, 16, 16, 16),
        "decoder_block_out_channels": (8, 8, 8, 16, 16, 16),
        "encoder_layers_per_block": (1,) * 6,
        "decoder_layers_per_block": (1,) * 6,
        "encoder_qkv_multiscales": ((),) * 6,
        "decoder_qkv_multiscales": ((),) * 6,
    },
    "AutoencoderRAE": {
        "encoder_hidden_size": 64,
        "encoder_num_hidden_layers": 1,
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 64,
        "encoder_input_size": 56,
        "patch_size": 8,
    },
}
SIZES = dict.fromkeys(NAMES, 16) | {"AutoencoderTiny": 32, "AutoencoderDC": 64}


def model(name: str, **config: Any) -> Any:
    """A network of this class; the test is skipped where a library for it is missing."""
    diffusers = pytest.importorskip("diffusers")
    if name == "AutoencoderRAE":
        pytest.importorskip("transformers")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = getattr(diffusers, name)(**CONFIGS[name] | config).eval()
    if name == "AutoencoderTiny":  # as it is drawn, each of its many layers makes images fainter
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.data.mul_(2.2)
    return net


def size_of(name: str) -> int | None:
    """Side of the images that it is loaded for, in pixels; None: it has one of its own."""
    return None if name == "AutoencoderRAE" else SIZES[name]
