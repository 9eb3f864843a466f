"""DiffusersCodec: an autoencoder of diffusers as a codec, at one size of images."""

import contextlib
import copy
import json
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..numerics import evaluating
from ..vae import fingerprint_of
from .build import build_network, kind_of
from .statistics import Statistics, latent_statistics, shipped_images
from .table import Kind

USUAL_SIZE, USUAL_CELLS = 128, 4  # pixels a side, and no fewer cells of a latent
LARGEST_SIZE = 2048
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class DiffusersCodec(nn.Module):
    """A network of diffusers, called as the table says of its class; it takes and gives images in [0, 1], float32.

    Args:
        net: an autoencoder of diffusers.
        size: side of the images that it sees. None: 128 pixels, more where a latent would have fewer than four cells a side.
        statistics: of images' latents, `(L, 1, 1)`. None: measured on shipped images, which are no photographs:
            `VAEAugment.calibrate` measures yours.
        dtype: in which a GPU computes; a CPU computes in float32.

    Raises:
        ValueError: the class is not in the table, or does not take this size or dtype.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(
        self,
        net: Any,
        size: int | None = None,
        *,
        statistics: Statistics | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.class_name = type(net).__name__
        self.net: Any = net.eval().requires_grad_(False)
        self.channels = int(self.net.config.get("in_channels", self.net.config.get("num_channels", 3)))
        self.size = _checked_size(self.class_name, size, self._kind.multiple(net), self._fixed_size())
        self.dtype = _checked_dtype(self.net, dtype)
        with torch.no_grad(), evaluating(self.net):
            probe = self._encoded(torch.zeros(1, self.channels, self.size, self.size, dtype=torch.float32))[0]
        if probe.ndim != 4:
            raise ValueError(f"{self.class_name} gives latents of {tuple(probe.shape[1:])}, expected maps (L, h, w)")
        self.latent_shape = tuple(probe.shape[1:])
        for name in ("latent_mean", "latent_std"):
            self.register_buffer(name, torch.ones(self.latent_shape[0], 1, 1, dtype=torch.float32))
        if statistics is None:
            statistics = latent_statistics(self, shipped_images(self.channels, self.size))._replace(images=0)
        self._set_statistics(statistics)

    @property
    def _kind(self) -> Kind:
        return kind_of(self.class_name)  # not kept: its functions cannot be pickled

    def _fixed_size(self) -> int | None:
        return None if self._kind.fixed_size is None else self._kind.fixed_size(self.net)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Images `(B, C, S, S)` in [0, 1] -> mean and std of their latents, in the network's own units; std may be None."""
        with self._precision(x):
            mean, std = self._encoded(x)
        return mean.float(), None if std is None else std.float()

    def _encoded(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        return self._kind.encode(self.net, 2 * x - 1 if self._kind.is_signed else x)

    def decode(self, z: Tensor) -> Tensor:
        """Latents `(B, *latent_shape)` -> images `(B, C, S, S)` in [0, 1]."""
        with self._precision(z):
            y = self._kind.decode(self.net, z).float()
        return ((y + 1) / 2 if self._kind.is_signed else y).clamp(0, 1)

    def _precision(self, x: Tensor) -> contextlib.AbstractContextManager[Any]:
        """Autocast, which leaves sums and norms in float32, and the weights as they were loaded."""
        is_lower = x.is_cuda and self.dtype != torch.float32
        return torch.autocast("cuda", self.dtype) if is_lower else contextlib.nullcontext()

    def with_statistics(self, statistics: Statistics) -> Self:
        """The same network, its latents whitened by these."""
        new = copy.deepcopy(self)
        new._set_statistics(statistics)
        return new

    @property
    def statistics(self) -> Statistics:
        """By what latents are whitened, and on how many images of a user it was measured."""
        return Statistics(self.latent_mean, self.latent_std, self._measured_on)

    def _set_statistics(self, statistics: Statistics) -> None:
        for name, value in (("latent_mean", statistics.mean), ("latent_std", statistics.std)):
            if value.shape != (buffer := getattr(self, name)).shape:
                raise ValueError(f"{name} has shape {tuple(value.shape)}, and latents are {self.latent_shape}")
            setattr(self, name, value.to(buffer))
        self._measured_on = statistics.images

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = type(self).__new__(type(self))
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    def __reduce__(self) -> tuple[Any, ...]:
        # as config and tensors: transformers hangs hooks into a network of its own, which cannot be pickled
        return _rebuilt, (self.config_json(), self.net.state_dict(), self.size, self.statistics, self.dtype)

    def config_json(self) -> str:
        """The network's config.json, as diffusers writes it."""
        text: str = self.net.to_json_string()
        return text

    def fingerprint(self) -> str:
        """sha256 of the network, its size and its statistics: a bank or a fit is of one set of them."""
        mean, std, count = self.statistics
        # measured on shipped images, they may differ in their last bits between machines, and mean the same
        whitening = [mean.flatten().tolist(), std.flatten().tolist()] if count else "shipped images"
        config = {key: value for key, value in self.net.config.items() if not key.startswith("_")}
        described = [self.class_name, self.size, whitening, config]
        return fingerprint_of(self.net, json.dumps(described, sort_keys=True, default=str))

    def __repr__(self) -> str:
        return f"DiffusersCodec({self.class_name}, size={self.size}, latents {self.latent_shape})"


def _rebuilt(
    config: str, state: Mapping[str, Tensor], size: int, statistics: Statistics, dtype: torch.dtype
) -> DiffusersCodec:
    net = build_network(json.loads(config))
    net.load_state_dict(state)
    return DiffusersCodec(net, size, statistics=statistics, dtype=dtype)


def _checked_size(name: str, size: int | None, multiple: int, fixed: int | None) -> int:
    if fixed is not None:
        if size not in (None, fixed):
            raise ValueError(f"this {name} draws images of {fixed} pixels, got size={size!r}: leave size out")
        return fixed
    if size is None:
        return -(-max(USUAL_SIZE, USUAL_CELLS * multiple) // multiple) * multiple
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= LARGEST_SIZE or size % multiple:
        raise ValueError(
            f"size of this {name} must be a multiple of {multiple} up to {LARGEST_SIZE}, got {size!r}: images of any size are "
            "resized for the network"
        )
    return size


def _checked_dtype(net: Any, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(map(str, DTYPES))}, got {dtype!r}")
    if dtype == torch.float16 and net.config.get("force_upcast", False):
        raise ValueError(
            "this autoencoder overflows in float16, as its config says by force_upcast: dtype=torch.bfloat16"
        )
    return dtype or torch.float32
