"""A file of features, so that the same images are embedded once.

It is a safetensors file. A tensor's name is the encoder's, the size at which it saw the images, and the sha256 of these; beside
it lies the encoder's probe, which tells two encoders of one name apart. The file is replaced whole.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from ..atomic import atomic_write
from .encoder import Encoder

KIND = {"kind": "features of vae-augment"}  # metadata of the file
SAME_PROBE = 0.99  # cosine; of one network on two machines it is above 0.9999
PROBE = " probe"


def cached(
    path: str | os.PathLike[str] | None, encoder: Encoder, probe: Tensor, images: Tensor, embed: Callable[[], Tensor]
) -> Tensor:
    """The features in this file of these images, else `embed()`, which are then added to it; None is no file.

    Args:
        probe: `encoder.probe()`.
        images: any tensor that tells these images from others.

    Raises:
        ValueError: there is a file that was not written here, or is damaged.
    """
    if path is None:
        return embed()
    file, key = Path(os.path.expanduser(path)), _key(encoder, images)
    stored = _read(file)
    if key in stored and is_same_probe(stored[key + PROBE], probe) and len(stored[key]) == len(images):
        return stored[key]
    features = embed()
    stored |= {key: features, key + PROBE: probe}
    atomic_write(file, safetensors.torch.save(stored, metadata=KIND))
    return features


def is_same_probe(one: Tensor, other: Tensor) -> bool:
    """Whether two probes are of one encoder."""
    return one.shape == other.shape and float(cosine_similarity(one.float(), other.float(), dim=0)) > SAME_PROBE


def _key(encoder: Encoder, images: Tensor) -> str:
    digest = hashlib.sha256(repr((images.dtype, tuple(images.shape), encoder.mean, encoder.std)).encode())
    digest.update(images.flatten().numpy().tobytes())
    return f"{encoder.name} {encoder.channels}x{encoder.size} {digest.hexdigest()}"


def _read(file: Path) -> dict[str, Tensor]:
    if not file.exists():
        return {}
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            # copies: Windows replaces no file that tensors still map
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118 (it is no dict)
            is_ours = opened.metadata() == KIND
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"the cache {file} cannot be read ({error}): remove it, or name another file") from error
    if not is_ours or any(name + PROBE not in tensors for name in tensors if not name.endswith(PROBE)):
        raise ValueError(f"{file} is no cache of features: name another file, it would be replaced")
    return tensors
