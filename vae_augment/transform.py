"""VAEAugment: image -> model space -> latent -> jitter -> decoded -> the same kind of image."""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any, Literal, Self, get_args

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torchvision import tv_tensors
from torchvision.transforms import v2

from . import fit as fitted
from . import hub
from .classes import ClassLatents
from .hub import Pretrained
from .images import (
    all_to_model,
    as_pixels,
    geometry_among,
    is_image,
    is_model_bytes,
    is_pure_tensor,
    kinds_of,
    labels_of,
    lead_shape,
    spatial_companions,
    split_image,
    to_model,
    unpack,
)
from .jitter import Jitter, Noise
from .latent_move import Drawn, Mover
from .pool import LatentBank
from .strength import gain_name, is_calibrated, without_neighbours
from .vae import Codec, FrozenVAE, check_codec, to_device

OTHER_IMAGES = "other images"  # what a bank holds that its user brought
OnGeometry = Literal["passthrough", "warn", "error"]


class VAEAugment(Pretrained, v2.Transform):
    """Vary images by moving them in the latent space of a VAE: encode, jitter the latent, decode.

    Works wherever a torchvision transform does: in v1 and v2 `Compose`, alone, on batches, in `collate_fn`, in
    DataLoader workers. Put it before `Normalize`. It accepts PIL images (L, RGB, LA, RGBA; alpha is kept), uint8 tensors,
    float tensors in [0, 1], `tv_tensors.Image` and `Video`, of any size and with any leading dimensions, and returns the
    same kind, dtype, device and size. Everything else in the sample (labels, boxes, masks, ...) is returned untouched.
    Each image of a batch is varied on its own; the frames of a video are varied together.

    Args:
        vae: the model; a frozen copy is kept, yours is not changed.
        strength: how far to move, at least 0. 1 is the same visible change on every VAE: a root mean square change of a
            fifth of the distance between two random images (see `vae_augment.strength`). 0 returns the image itself,
            or with `residual=False` its reconstruction.
        p: probability that an image is varied, drawn for each image of a batch.
        jitter: any callable `(mean, std) -> z` on whitened latents; default `Noise()`. See `vae_augment.jitter`.
        residual: add the decoded change to the image, `x + decode(z') - decode(z)`, which keeps the detail that a
            small VAE cannot draw and serves images larger than the model; False returns the decoded image.
        bank: latents of the pretraining pool, for the jitters that move toward neighbours.
        gain: factor on the jitter's displacement at strength 1. None: the stored one of the weights, else solved
            here on samples of the VAE; 1 for a jitter of your own.
        per_frame: vary each frame of a `Video` on its own.
        resize: False refuses images of another size than the model's instead of resizing for the network.
        on_geometry: what to do when a sample holds boxes, masks or key points, which are never moved.

    Raises:
        TypeError: an input that would be damaged or silently ignored: ndarrays, PIL modes with a palette or more than
            8 bits, integer tensors other than uint8.
        ValueError: normalised pixels or floats in 0..255, a label where the image should be, channels that do not fit.

    Method: sampling around an encoding to augment (Jorge et al., VISAPP 2018; Norouzi et al., Exemplar VAE, NeurIPS 2020).

    Example:
        >>> import torch
        >>> from vae_augment import VAEAugment
        >>> augment = VAEAugment.from_pretrained("fashion-mnist", strength=1.0)
        >>> augment(torch.rand(8, 1, 28, 28)).shape
        torch.Size([8, 1, 28, 28])
    """

    _transformed_types = (is_pure_tensor, PIL.Image.Image, tv_tensors.Image, tv_tensors.Video)

    def __init__(
        self,
        vae: Codec,
        *,
        strength: float = 1.0,
        p: float = 1.0,
        jitter: Jitter | None = None,
        residual: bool = True,
        bank: LatentBank | None = None,
        gain: float | None = None,
        per_frame: bool = False,
        resize: bool = True,
        on_geometry: OnGeometry = "passthrough",
    ) -> None:
        super().__init__()
        check_codec(vae)
        if bank is not None and not isinstance(bank, LatentBank):
            raise TypeError(
                f"bank must be a LatentBank, got {type(bank).__name__}: LatentBank.from_images(vae, images)"
            )
        if bank is not None:
            _check_is_of(bank, vae)
        self.strength, self.p = strength, p
        if gain is not None:
            gain = _checked("gain", gain, high=math.inf)
        if on_geometry not in get_args(OnGeometry):
            raise ValueError(f"on_geometry must be one of {get_args(OnGeometry)}, got {on_geometry!r}")
        self.residual, self.per_frame, self.resize, self.on_geometry = residual, per_frame, resize, on_geometry
        self.source: str | None = None
        self.revision: str | None = None
        self._fit: fitted.Fitted | None = None
        self._residual_before_fit = residual
        self._replicas = FrozenVAE(vae)  # not a registered submodule: see there
        self._bank = bank
        self._is_default_jitter = jitter is None
        self._mover = Mover.of(Noise() if jitter is None else jitter, gain, self.vae, bank)
        is_solved = gain is None and is_calibrated(self.jitter)
        self._record: dict[str, Any] = {"gains": {gain_name(self.jitter): self.gain} if is_solved else {}}

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        strength: float = 1.0,
        p: float = 1.0,
        jitter: Jitter | None = None,
        residual: bool = True,
        bank: LatentBank | None = None,
        gain: float | None = None,
        per_frame: bool = False,
        resize: bool = True,
        on_geometry: OnGeometry = "passthrough",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """The transform with trained weights: a bundled name, a local folder, or a Hugging Face Hub id `user/repo`.

        Bundled names and folders touch no network. From the Hub, pin `revision` to a commit for repeatable results. A `bank`
        takes the place of the one that came with the weights; the other arguments are those of the class.

        Raises:
            FileNotFoundError: no such weights, or a file of them is missing.
            vae_augment.WeightsError: the files are damaged, do not fit together, or are of a newer version.
        """
        weights = hub.load(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        gains, pool = weights.gains, weights.provenance
        if bank is not None:  # a stored gain of neighbours is that of the stored bank's
            gains, pool = without_neighbours(gains), {**pool, "bank": OTHER_IMAGES}
        if gain is None and (jitter is None or is_calibrated(jitter)):
            gain = gains.get(gain_name(Noise() if jitter is None else jitter))
        augment = cls(
            weights.vae,
            strength=strength,
            p=p,
            jitter=jitter,
            residual=residual,
            bank=weights.bank if bank is None else bank,
            gain=gain,
            per_frame=per_frame,
            resize=resize,
            on_geometry=on_geometry,
        )
        augment.source, augment.revision = str(name), weights.commit
        augment._record = {"gains": gains, "provenance": pool, "metrics": weights.metrics}
        return augment

    @property
    def jitter(self) -> Jitter:
        """How the latent moves; after `fit`, the latents of the classes."""
        return self._mover.jitter

    @property
    def gain(self) -> float:
        """Factor on the jitter's displacement at strength 1; after `fit` 1."""
        return self._mover.gain

    @property
    def strength(self) -> float:
        """How far to move. May be changed between epochs, as `p`: workers started afterwards follow."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = _checked("strength", value, high=math.inf)

    @property
    def p(self) -> float:
        """Probability that an image is varied; 0 switches the transform off."""
        return self._p

    @p.setter
    def p(self, value: float) -> None:
        self._p = _checked("p", value, high=1.0)

    @property
    def vae(self) -> Codec:
        """The frozen model, on the CPU."""
        return self._replicas.codec

    @property
    def bank(self) -> LatentBank | None:
        """Latents of the pretraining pool, if the weights came with them."""
        return self._bank

    def _weights(self) -> hub.Weights:
        return hub.Weights(self.vae, self._bank, **self._record)

    @property
    def can_fit(self) -> bool:
        """Whether `fit` would replace nothing that was chosen: there is a bank, and how images move is the default."""
        is_default = self._is_default_jitter and self.strength == 1 and self.residual
        return self._bank is not None and is_default and self._fit is None

    @property
    def classes(self) -> tuple[Any, ...] | None:
        """The labels that `fit` has seen, sorted; None before it."""
        return None if self._fit is None else self._fit.labels

    def fit(self, labelled: Any, *, keep: float | None = None) -> Self:
        """Learn the classes of a few labelled images: new images of a class, and a pipeline that draws from an image's own.

        The labels are spread over the bank of latents that came with the weights (label spreading on its graphs of
        nearest neighbours, Zhou et al., 2004; over photographs a linear classifier of their textures votes beside it,
        Coates et al., 2011), and the confident part of each class is kept. From then on an image is
        replaced by a decoded latent of its class, at strength 1 wholly: mix it with real images (p=0.5, or
        `SyntheticDataset`), and put a classical policy after it. Its class is its label, which a sample must have:
        `augment(image, label)` or `augment(images, labels)`, also in dicts, as "label" or "labels". An image alone, as in
        a v1 pipeline, is taken for one of the nearest labelled image's class, which is right for the labelled images as
        they were shown, before any policy, and wrong for a quarter of the digits and most photographs that it has not seen.
        100 images take about two seconds, each further hundred one to two.

        Without a bank, or with one that holds no such images or over which labels do not spread (both are told by a
        warning, the latter judged by cross-validation from three labels a class on), a labelled image's latent is moved
        a little along a difference between two labelled images of one class (`ClassDifferences`).

        Args:
            labelled: map-style data set or list of samples `(image, label, ...)`, read before their own transforms;
                labels are integers or strings.
            keep: part of each class that is kept, the most confident; of a bank only. None: 0.95, where images are compared
                by textures alone 0.5.

        Returns:
            The transform itself.

        Raises:
            ValueError: there are fewer than two classes.

        Example:
            >>> from vae_augment.demo_data import fashion_sample
            >>> images, labels = fashion_sample()
            >>> augment = VAEAugment.from_pretrained("fashion-mnist").fit(list(zip(images[:100], labels[:100])))
            >>> augment.sample([9, 9, 0]).shape
            torch.Size([3, 1, 28, 28])
        """
        self._set_fit(fitted.Fitted.learn(self.vae, self._bank, labelled, keep))
        return self

    def save_fit(self, path: str | os.PathLike[str]) -> None:
        """Write what `fit` learned to one safetensors file, which `load_fit` reads. The weights are not in it, nor p.

        Raises:
            RuntimeError: `fit` was not called.
        """
        if self._fit is None:
            raise RuntimeError("there is nothing to save: call fit(labelled) first")
        hub.save_fit(path, self._fit, self.vae)

    def load_fit(self, path: str | os.PathLike[str]) -> Self:
        """Be as after the `fit` that was saved; the labelled images and the bank are not needed.

        Returns:
            The transform itself.

        Raises:
            FileNotFoundError: there is no such file.
            WeightsError: it is damaged, or was fitted with other weights.

        Example:
            >>> import tempfile
            >>> from vae_augment.demo_data import fashion_sample
            >>> images, labels = fashion_sample()
            >>> augment = VAEAugment.from_pretrained("fashion-mnist").fit(list(zip(images[:100], labels[:100])))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     augment.save_fit(f"{folder}/garments.safetensors")
            ...     again = VAEAugment.from_pretrained("fashion-mnist").load_fit(f"{folder}/garments.safetensors")
            >>> again.sample([9, 9, 0]).shape
            torch.Size([3, 1, 28, 28])
        """
        self._set_fit(hub.load_fit(path, self.vae))
        return self

    def _set_fit(self, fit: fitted.Fitted) -> None:
        if self._fit is None:
            self._residual_before_fit = self.residual
        # a latent drawn by class is a new image, not a change of this one
        self.residual = self._residual_before_fit and not isinstance(fit.jitter, ClassLatents)
        self._fit, self._mover = fit, Mover(fit.jitter, 1.0)

    @torch.no_grad()
    def sample(self, labels: Sequence[Any] | Tensor) -> Tensor:
        """New images of these classes, float32 `(B, C, S, S)` in [0, 1], on the CPU. `fit` first.

        Raises:
            RuntimeError: `fit` was not called.
            TypeError: a lone label.
            ValueError: a label that it has not seen.
        """
        if self._fit is None:
            raise RuntimeError("samples of a class need classes: call fit(labelled) first")
        if isinstance(labels, str) or not isinstance(labels, Iterable) or getattr(labels, "ndim", 1) != 1:
            raise TypeError(f"sample takes a list or a vector of labels, one for each image: [{labels!r}]")
        wanted = labels.tolist() if isinstance(labels, Tensor) else list(labels)
        if not wanted:
            c = self.vae
            return torch.empty(0, c.channels, c.size, c.size, dtype=torch.float32)
        classes, known, generator = self._fit.index(wanted), self._fit.jitter, _generator()
        if isinstance(known, ClassLatents):
            return self._decoded(known.draw(classes, generator))
        images = known.images[known.draw(classes, generator)].float()
        y = self._vary(images, 1, self._drawn(len(images), generator))
        return (images + y).clamp(0, 1) if self.residual else y

    def __setattr__(self, name: str, value: Any) -> None:
        # torch would register a module under the name of a property, and leave the property as it was
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def extra_repr(self) -> str:
        source = f"{self.source!r}, " if self.source else ""
        if self.revision is not None:
            source += f"revision={self.revision!r}, "
        return f"{source}strength={self.strength}, p={self.p}, jitter={self.jitter}, residual={self.residual}"

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        # a plain tensor of fewer than three dimensions is a label, not the image
        if not any(is_image(i) and (isinstance(i, PIL.Image.Image) or i.ndim > 2) for i in flat_inputs):
            self._refuse_without_image(flat_inputs)
        self.check_geometry(flat_inputs)

    def forward(self, *inputs: Any) -> Any:
        """As any v2 transform; lone bytes in the model's own shape take a shorter way, for a part of a small image's time."""
        if len(inputs) == 1 and self._strength > 0 and type(self) is VAEAugment:
            image, c = inputs[0], self._replicas
            count = math.prod(lead_shape(image)) if is_model_bytes(image, c.channels, c.size) else 0
            if count == 1 or (count and self._p == 1):
                generator = _generator()  # asked for the same numbers, in the same order, as by make_params
                chosen = self._p == 1 or bool(self._some((), generator))
                drawn = self._drawn(count, generator)
                return self._vary_image(image, drawn) if chosen else image
        if self._fit is not None and isinstance(self._fit.jitter, ClassLatents):
            sample = inputs if len(inputs) > 1 else inputs[0]
            if len(leaves := tree_leaves(sample)) > 1 and any(map(is_image, leaves)):
                return self._replaced_in(sample, leaves)
        return super().forward(*inputs)

    def _replaced_in(self, sample: Any, leaves: list[Any]) -> Any:
        """A sample, or a batch of them, its image replaced by a new one of its label."""
        assert self._fit is not None
        self.check_inputs(leaves)
        image, join = split_image(sample)
        c = self._replicas
        if isinstance(image, Tensor) and image.ndim < 3:
            to_model(image, c.channels, c.size)  # refuses it: a label before its image
        lead = lead_shape(image)
        labels = labels_of(sample, lead)
        if labels is None:
            raise TypeError(
                f"after fit, an image is replaced by a new one of its label, and {kinds_of(sample)} has none: it takes (image, "
                "label, ...) or {'image': ..., 'label': ...}, integers or strings, for a batch one for each image, and comes "
                "before MixUp and CutMix. For an image alone, augment(image), the nearest labelled image's class is taken"
            )
        classes = self._fit.index(labels)  # raises for unknown ones, also where p would leave them alone
        if kinds := spatial_companions(image, leaves):
            raise ValueError(
                f"after fit, an image is replaced by a new one of its label, which {', '.join(kinds)} would not fit: use a "
                "transform that was not fitted"
            )
        if not lead:
            is_plain = self._strength == 1 and is_model_bytes(image, c.channels, c.size)
            return join(self._replaced_bytes(image, classes) if is_plain else self.vary_all([image], labels)[0])
        return join(self._replaced_batch(image, len(lead), classes))

    def _replaced_bytes(self, image: Any, classes: Tensor) -> Any:
        """A lone image in the model's own shape; `vary_all`, which reads it too, takes half as long again."""
        assert self._fit is not None
        generator = _generator()
        if not self._some((1,), generator):
            return image
        y = self._decoded(self._fit.jitter.draw(classes, generator))
        pixels, rebuild = unpack(image)
        return rebuild(as_pixels(y.mul_(255), torch.uint8).view_as(pixels))

    def _replaced_batch(self, images: Any, lead: int, classes: Tensor) -> Any:
        """Images or clips in one tensor of so many leading dimensions, as `vary_all` does one by one, for a part of its time."""
        generator = _generator()
        chosen = self._some((len(classes),), generator).nonzero()[:, 0]
        if not len(chosen):
            return images
        pixels, rebuild = unpack(images)
        flat, places = pixels.flatten(0, lead - 1), to_device(chosen, pixels.device)
        new, _ = unpack(self._replaced(rebuild(flat.index_select(0, places)), classes[chosen], generator))
        return rebuild(flat.index_copy(0, places, new).view(pixels.shape))

    def _replaced(self, images: Any, classes: Tensor, generator: torch.Generator | None) -> Any:
        """Images by new ones of their classes; of a clip the frames move together toward one, unless `per_frame`."""
        assert self._fit is not None
        c = self._replicas
        x, restore = to_model(images, c.channels, c.size, self.resize)
        if self._is_identity:
            return images
        frames = len(x) // len(classes)
        if self.per_frame:
            classes, frames = classes.repeat_interleave(frames), 1
        return restore(self._toward(x, self._fit.jitter.draw(classes, generator), frames))

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """All randomness, for each leading shape: which images are varied (a mask), and the noise or the jitter's seed."""
        generator = _generator()
        apply, drawn = {}, {}
        for shape in dict.fromkeys(map(lead_shape, flat_inputs)):
            some = None if self._p == 1 else self._some(shape, generator)
            apply[shape], drawn[shape] = some, self._drawn(math.prod(shape), generator)
        return {"apply": apply, "drawn": drawn}

    def _some(self, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
        """Each with probability p."""
        return torch.rand(shape, generator=generator, dtype=torch.float32, device="cpu") < self._p

    def _drawn(self, count: int, generator: torch.Generator | None) -> Drawn:
        """What decides how the latents of so many images move: their noise, or the seed of another jitter."""
        return self._mover.draw((count, *self._replicas.latent_shape), generator, is_seed=self.per_frame)

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """The varied image; with equal params the same image, bit for bit."""
        shape = lead_shape(inpt)
        apply, drawn = params["apply"][shape], params["drawn"][shape]
        if isinstance(inpt, Tensor) and not inpt.numel():
            return inpt
        if self._is_identity or (apply is not None and not apply.any()):
            to_model(inpt, self.vae.channels, self.vae.size, self.resize)  # mistakes are still told
            return inpt
        if apply is None or apply.all():
            return self._vary_image(inpt, drawn)
        pixels = inpt.as_subclass(Tensor)
        chosen = tuple(to_device(places, pixels.device) for places in apply.nonzero(as_tuple=True))
        part = pixels[chosen]  # (..., [T,] C, H, W) -> (B, [T,] C, H, W)
        if isinstance(drawn, Tensor):
            drawn = drawn[apply.flatten()]
        varied = pixels.clone()
        if isinstance(inpt, tv_tensors.Video):
            varied[chosen] = self._vary_image(tv_tensors.wrap(part, like=inpt), drawn).as_subclass(Tensor)
            return tv_tensors.wrap(varied, like=inpt)
        varied[chosen] = self._vary_image(part, drawn)
        return tv_tensors.wrap(varied, like=inpt) if isinstance(inpt, tv_tensors.Image) else varied

    def vary_all(self, images: Sequence[Any], labels: Sequence[Any] | None = None) -> list[Any]:
        """Single images, each varied on its own, in one pass of the network; they may differ in kind and size.

        What one call per image does, `p` drawn for each, at the price of a batch. With `labels`, after `fit`, each is
        replaced by a new image of its label, in its own kind and size. `SyntheticDataset` uses both.
        """
        generator = _generator()
        chosen = self._some((len(images),), generator)
        out = list(images)
        positions = chosen.nonzero()[:, 0].tolist()
        if not positions:
            return out
        config = self.vae
        x, counts, restore = all_to_model([images[i] for i in positions], config.channels, config.size, self.resize)
        if self._is_identity:
            return out
        classes = None
        if labels is not None and self._fit is not None and isinstance(self._fit.jitter, ClassLatents):
            classes = self._fit.index([labels[i] for i in positions])
        if any(isinstance(images[i], tv_tensors.Video) for i in positions):  # the frames of a clip move together
            for n, i in enumerate(positions):
                if classes is None:
                    out[i] = self._vary_image(images[i], self._drawn(math.prod(lead_shape(images[i])), generator))
                else:
                    out[i] = self._replaced(images[i], classes[n : n + 1], generator)
            return out
        if classes is None:
            y = self._vary(x, 1, self._drawn(len(x), generator))
        else:
            assert self._fit is not None
            y = self._toward(
                x, self._fit.jitter.draw(classes.repeat_interleave(torch.tensor(counts, device="cpu")), generator)
            )
        is_change = self.residual and classes is None
        for position, varied in zip(positions, restore(y, is_change=is_change), strict=True):
            out[position] = varied
        return out

    @torch.no_grad()
    def _toward(self, x: Tensor, target: Tensor, frames: int = 1) -> Tensor:
        """x -> the images of these latents, at strength 1 wholly, below it part of the way in the latent.

        `frames` consecutive images move as their mean does.
        """
        target = to_device(target, x.device)
        if frames != 1 or self.strength != 1:
            mean = self._replicas.on(x.device).whitened_mean(x)
            of_clip = mean.unflatten(0, (-1, frames)).mean(1)  # (B / frames, L)
            move = (self.strength * (target - of_clip)).repeat_interleave(frames, 0)
            target = mean + move
        return self._decoded(target)

    def _decoded(self, z: Tensor) -> Tensor:
        return self._replicas.on(z.device).decode_whitened(z)

    @property
    def _is_identity(self) -> bool:
        return self.strength == 0 and (self.residual if self._fit is None else self._residual_before_fit)

    def _vary_image(self, image: Any, drawn: Drawn) -> Any:
        c = self._replicas
        if isinstance(drawn, Tensor) and self.residual and is_model_bytes(image, c.channels, c.size):
            pixels, rebuild = unpack(image)
            return rebuild(self._replicas.fused.vary_bytes(pixels, drawn, self._strength * self._mover.gain))
        x, restore = to_model(image, c.channels, c.size, self.resize)
        frames = image.shape[-4] if isinstance(image, tv_tensors.Video) and not self.per_frame else 1
        return restore(self._vary(x, frames, drawn), is_change=self.residual)

    def _vary(self, x: Tensor, frames: int, drawn: Drawn) -> Tensor:
        """x -> decode(z'), for the residual decode(z') - decode(z); `frames` consecutive images share one move."""
        if x.requires_grad:  # detached, not inference_mode: the user's network trains on these pixels
            x = x.detach()
        net = self._replicas.on(x.device)
        mean, std = net.encode_whitened(x) if self._mover.reads_std else (net.whitened_mean(x), None)
        amount = self._strength * self._mover.gain
        if amount == 1 and frames == 1 and not self.residual and isinstance(drawn, int):
            # what the rest comes to, in fewer operations
            return net.decode_whitened(self._mover.target(mean, std, drawn))
        if frames == 1:
            move = self._mover.move(mean, std, drawn)
        else:
            of_clip = mean.unflatten(0, (-1, frames)).mean(1)  # (B / frames, L)
            std = None if std is None else std.unflatten(0, (-1, frames)).mean(1)
            move = self._mover.move(of_clip, std, drawn).repeat_interleave(frames, 0)
        if self.residual:
            return net.decoded_change(mean, move, amount)
        return net.decode_whitened(torch.add(mean, move, alpha=amount))

    def _refuse_without_image(self, flat_inputs: list[Any]) -> None:
        for item in flat_inputs:
            if isinstance(item, np.ndarray):
                raise TypeError("VAEAugment does not read ndarrays: convert with v2.ToImage() before it")
        if len(flat_inputs) == 1 and not is_pure_tensor(flat_inputs[0]):  # which `to_model` refuses by its shape
            kind = type(flat_inputs[0])
            raise TypeError(
                f"VAEAugment expects a PIL image or a tensor of pixels, got {kind.__module__}.{kind.__name__}"
            )

    def check_geometry(self, leaves: Iterable[Any]) -> None:
        """Do as `on_geometry` says if there are boxes, masks or key points among the parts of a sample.

        Raises:
            ValueError: there are, and it is "error".
        """
        if self.on_geometry == "passthrough" or not (kinds := geometry_among(leaves)):
            return
        message = f"VAEAugment moves edges but not {', '.join(kinds)}: they may no longer fit at high strength"
        if self.on_geometry == "error":
            raise ValueError(message)
        warnings.warn(message, stacklevel=3)


def _check_is_of(bank: LatentBank, vae: Codec) -> None:
    remedy = (
        "it is of another, or of this one before it learned more; LatentBank.from_images(vae, images) makes one of this"
    )
    if bank.latents.shape[1:] != vae.latent_shape:
        raise ValueError(
            f"bank holds latents of shape {tuple(bank.latents.shape[1:])}, and this VAE's are {vae.latent_shape}: {remedy}"
        )
    if bank.of_vae is not None and bank.of_vae != vae.fingerprint():
        raise ValueError(f"bank holds latents of other weights than this VAE's: {remedy}")


def _checked(name: str, value: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, float | Real) or not 0 <= value <= high or math.isinf(value):
        raise ValueError(f"{name} must be a number from 0 to {high}, got {value!r}")
    return float(value)


# torch 2.15+: the worker's own generator inside a thread worker, None (the global one) everywhere else
_generator: Callable[[], torch.Generator | None] = getattr(torch, "thread_safe_generator", lambda: None)
