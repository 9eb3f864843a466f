"""Encoder: any network that turns images into features, and the form in which it takes them."""

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..images import ImageKey, checked_key, to_model, untransformed_reader
from ..numerics import evaluating

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of each channel, of pixels in [0, 1]
NAME = re.compile(r"[\w.:/@+-][\w.:/@+ -]{0,99}", re.ASCII)  # as files and model cards keep it
UNNAMED = "an encoder"
PROBE_CYCLES = (3.0, 5.0, 7.0)  # of the probe's waves, across and down the image


@dataclass(frozen=True, eq=False)
class Encoder:
    """A function from batches of images to features, and the images that it expects.

    Without further arguments these are ImageNet's: 224 pixels a side, three channels, its mean and standard deviation.

    Args:
        forward: float32 `(B, C, S, S)`, normalised -> features `(B, D)`, a tensor or an array. A module, or a method of one, is
            run in eval mode, on its own device and in its own dtype.
        size: S, the side in pixels. Images are resized to it from their own size, not from a VAE's.
        name: as messages print it and files keep it; default that of the function, or of its class.
        channels: C, 1 or 3.
        mean, std: for each channel, of pixels in [0, 1].
        batch_size: images, or texts, at a time.
        text: texts, a list of `str` -> features `(C, D)` in the space of the images', as CLIP has it; with it classes may be
            named in place of labelled images, see `VAEAugment.fit`. A module, or a method of one, is run in eval mode.

    Raises:
        TypeError: `forward` or `text` cannot be called.
        ValueError: a number that fits no image.

    Example:
        >>> colours = Encoder(lambda x: x.mean((2, 3)), size=8, name="mean colours")
        >>> colours.embed(torch.rand(5, 3, 40, 30)).shape
        torch.Size([5, 3])
    """

    forward: Callable[[Tensor], Any]
    size: int = 224
    name: str = ""
    channels: int = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    batch_size: int = 32
    text: Callable[[list[str]], Any] | None = None

    def __post_init__(self) -> None:
        if not callable(self.forward):
            raise TypeError(
                f"an encoder is a function of a batch of images, got {type(self.forward).__name__}: give the model itself, or a "
                "function that calls it"
            )
        if self.text is not None and not callable(self.text):
            raise TypeError(
                f"text of an encoder is a function of a list of texts, got {type(self.text).__name__}: give one that returns "
                "their features, (C, D)"
            )
        for name in ("size", "batch_size"):
            if not (isinstance(value := getattr(self, name), int) and value >= 1):
                raise ValueError(f"{name} of an encoder must be an integer of at least 1, got {value!r}")
        if self.channels not in (1, 3):
            raise ValueError(f"channels of an encoder must be 1 or 3, got {self.channels!r}")
        for name in ("mean", "std"):
            object.__setattr__(self, name, values := tuple(map(float, getattr(self, name))))
            if len(values) != self.channels or (name == "std" and min(values) <= 0):
                raise ValueError(
                    f"{name} of an encoder must have a number for each of {self.channels} channels"
                    f"{', above 0' if name == 'std' else ''}, got {values}"
                )
        object.__setattr__(self, "name", check_name(self.name) if self.name else _name_of(self.forward))

    def embed(self, images: Any, image_key: ImageKey = None) -> Tensor:
        """Features of images of any size and kind, float32 `(N, D)` on the CPU; no more than a batch is held at a time.

        Args:
            images: a tensor `(N, C, H, W)`, or a map-style data set or list of images, or of samples that hold one.
            image_key: where a sample's image is, if not where `VAEAugment` finds it: a key or a position.

        Raises:
            TypeError, ValueError: what `forward` returns are no features: not `(B, D)`, or not finite.
        """
        checked_key(image_key)  # which a tensor has no use for
        if isinstance(images, Tensor):
            return torch.cat([self.embed_seen(self.see(part)) for part in images.split(self.batch_size)])
        reader = untransformed_reader(images, on_copies=True, image_key=image_key)
        return self.embed_each(reader.image(i) for i in range(len(images)))

    def embed_each(self, images: Iterable[Any]) -> Tensor:
        """The same of single images that are read one after the other."""
        waiting = Embedding(self)
        for image in images:
            waiting.add(image)
        return waiting.features()

    def see(self, image: Any) -> Tensor:
        """An image, or a batch, as the encoder sees it before normalisation: float32 `(B, C, S, S)` in [0, 1]."""
        if isinstance(image, Tensor) and image.ndim > 2 and image.shape[-3] not in (1, 3):
            raise ValueError(
                f"an encoder sees images of 1 or 3 channels, got {image.shape[-3]}: give it those that it knows, or features of "
                "your own, features=array"
            )
        x: Tensor = to_model(image, self.channels, self.size)[0]
        return x.clamp(0, 1)

    @torch.no_grad()
    def embed_seen(self, x: Tensor) -> Tensor:
        """Images as `see` returns them -> features, float32 `(B, D)` on the CPU."""
        mean, std = (x.new_tensor(values).view(-1, 1, 1) for values in (self.mean, self.std))
        module = _module_of(self.forward)
        weights = next((w for w in module.parameters() if w.is_floating_point()), x) if module is not None else x
        with _evaluating(module):
            return self._checked(self.forward(((x - mean) / std).to(weights)), len(x))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Features of texts in the space of the images', float32 `(C, D)` on the CPU.

        Raises:
            ValueError: this encoder knows no text.
            TypeError, ValueError: what `text` returns are no features: not `(C, D)`, or not finite.

        Example:
            >>> lengths = lambda texts: torch.tensor([[len(text), 1.0] for text in texts])
            >>> Encoder(lambda x: x.mean((2, 3))[:, :2], size=8, text=lengths).embed_texts(["an ant", "a bee"])
            tensor([[6., 1.],
                    [5., 1.]])
        """
        if self.text is None:
            raise ValueError(
                f"the encoder {self.name!r} knows no text: give it a function from texts to features of the same space, "
                "Encoder(forward, text=function), or take one that has such, load_encoder('open_clip:NAME/TAG')"
            )
        parts = [list(texts[i : i + self.batch_size]) for i in range(0, len(texts), self.batch_size)]
        with _evaluating(_module_of(self.text)):
            return torch.cat([self._checked(self.text(part), len(part), "texts") for part in parts])

    def probe(self) -> Tensor:
        """Features of an image that is always the same, float32 `(D,)`: they tell this encoder from others of its name."""
        side = torch.linspace(0, 2 * torch.pi, self.size, dtype=torch.float32, device="cpu")
        waves = [
            (cycles * side[:, None] + side).sin() * (cycles * side).cos() for cycles in PROBE_CYCLES[: self.channels]
        ]
        return self.embed_seen((0.5 + 0.5 * torch.stack(waves))[None])[0]

    def _checked(self, features: Any, count: int, of: str = "images") -> Tensor:
        if isinstance(features, np.ndarray):
            features = torch.from_numpy(features)
        if not isinstance(features, Tensor):
            model = "model of transformers, vae_augment.encoders.pooled(model)"
            tip = f"; of a {model}" if of == "images" else ", as a tensor or an array"
            raise TypeError(
                f"the encoder {self.name!r} returns {type(features).__name__} for {of}, and must return features (B, D): wrap "
                f"it in a function that returns them{tip}"
            )
        if features.ndim != 2 or len(features) != count or not features.shape[1]:
            maps = ": average maps over their pixels, lambda x: model(x).mean((2, 3))" if of == "images" else ""
            raise ValueError(
                f"the encoder {self.name!r} returns {tuple(features.shape)} for {count} {of}, and must return features "
                f"({count}, D){maps}"
            )
        found: Tensor = features.detach().cpu().float()
        if not found.isfinite().all():
            wants = f", and that it wants {self.channels} channels with mean {self.mean} and std {self.std}"
            raise ValueError(
                f"the encoder {self.name!r} returns values that are not finite for {count} {of}: check its weights"
                f"{wants if of == 'images' else ''}"
            )
        return found

    def __repr__(self) -> str:
        return f"Encoder({self.name!r}, {self.channels}x{self.size}x{self.size})"


class Embedding:
    """Features of images that come one at a time: they wait until there is a batch of them, and no longer."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._waiting: list[Tensor] = []
        self._features: list[Tensor] = []

    def add(self, image: Any) -> None:
        """Take one image, of any kind and size."""
        self._waiting.append(self.encoder.see(image).cpu())
        if len(self._waiting) == self.encoder.batch_size:
            self._embed_waiting()

    def features(self) -> Tensor:
        """Those of all images so far, float32 `(N, D)`."""
        if self._waiting:
            self._embed_waiting()
        return torch.cat(self._features)

    def _embed_waiting(self) -> None:
        self._features.append(self.encoder.embed_seen(torch.cat(self._waiting)))
        self._waiting.clear()


def pooled(model: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    """A vision model of transformers as a function for `Encoder`: its pooled output, or the mean of its last tokens or pixels.

    Example:
        >>> from types import SimpleNamespace
        >>> model = lambda x: SimpleNamespace(pooler_output=None, last_hidden_state=x.flatten(2).mT)
        >>> Encoder(pooled(model), size=8, name="a model").embed(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 3])
    """
    return model if isinstance(model, _Pooled) else _Pooled(model)


class _Pooled(nn.Module):
    """A module, so that a model inside is run in eval mode and on its device."""

    def __init__(self, model: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        output = self.model(x)
        if getattr(output, "pooler_output", None) is not None:
            return output.pooler_output.flatten(1)  # type: ignore[no-any-return]
        tokens: Tensor = output.last_hidden_state
        return tokens.mean(1) if tokens.ndim == 3 else tokens.mean((2, 3))


def check_name(name: str) -> str:
    """The name of an encoder. Raises ValueError for one that files do not keep."""
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise ValueError(
            f"an encoder's name has up to 100 letters, digits, spaces and any of .:/@+_-, got {name!r:.200}: name='my encoder'"
        )
    return name


def _module_of(function: Callable[..., Any]) -> nn.Module | None:
    """The module that a function is, or is a method of."""
    module = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    return module if isinstance(module, nn.Module) else None


def _evaluating(module: nn.Module | None) -> AbstractContextManager[object]:
    return contextlib.nullcontext() if module is None else evaluating(module)


def _name_of(forward: Callable[[Tensor], Any]) -> str:
    if isinstance(forward, _Pooled):
        return _name_of(forward.model)
    own = getattr(forward, "__self__", None)
    name = type(own).__name__ if isinstance(own, nn.Module) else getattr(forward, "__name__", type(forward).__name__)
    return str(name) if NAME.fullmatch(str(name)) else UNNAMED
