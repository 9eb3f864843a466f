"""VAEAugment: image -> model space -> latent -> jitter -> decoded -> the same kind of image."""

import copy
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self, Unpack, get_args

import torch
from torch import Generator
from torch.utils._pytree import tree_leaves
from torchvision.transforms import v2

from . import hub, shortcuts
from .apply import apply_plan, vary_list
from .calibrated import Calibrated
from .engine import Engine, How
from .fit import Fit
from .fitted import Fitted
from .images import (
    IMAGE_KINDS,
    ImageKey,
    LabelAt,
    check_has_image,
    checked_key,
    describe_sample,
    extract_images,
    extract_labelled,
    extract_list,
    frames_of,
    has_parts,
    hide_companions,
    holds_samples,
    is_image,
    lead_shape,
    plain_dict,
    tell_geometry,
)
from .jitter import Jitter, Noise
from .latent_move import LatentMove
from .neighbourhoods import USUAL_NOVELTY
from .numerics import float32_on_cpu
from .options import (
    LARGEST_STRENGTH,
    OnGeometry,
    PretrainedOptions,
    check_bank,
    check_options,
    checked_number,
    with_bank,
)
from .pool import LatentBank
from .preview import Previewed
from .seeding import thread_generator
from .strength import gain_name, without_neighbours
from .survival import Survival
from .tracing import is_compiled, outside_of_graphs, refuse
from .vae import Codec, FrozenVAE, check_codec

OTHER_IMAGES = "other images"  # provenance of a bank that its user brought


class VAEAugment(hub.Pretrained, Calibrated, Fitted, Previewed, v2.Transform):
    """Vary images by moving them in the latent space of a VAE: encode, jitter the latent, decode.

    Works wherever a torchvision transform does: in v1 and v2 `Compose`, alone, on batches, in `collate_fn`, in
    DataLoader workers. Put it before `Normalize`. It accepts PIL images (L, RGB, LA, RGBA; alpha is kept), uint8 tensors,
    float tensors in [0, 1], `tv_tensors.Image` and `Video`, of any size and with any leading dimensions, and returns the
    same kind, dtype, device and size. Everything else in the sample (labels, boxes, masks, ...) is returned untouched, and
    so is a second PIL image of a tuple or dict, which may be a mask; a list of PIL images is a batch.
    Each image of a batch is varied on its own; the frames of a video are varied together.

    Args:
        vae: the model, a `VAE` or another `vae_augment.vae.Codec`, of which a frozen copy is kept, yours is not changed; or
            the `Weights` of one, as `load_weights(name)` gives them.
        strength: how far to move, at least 0. 1 is the same visible change on every VAE: a root mean square change of a
            fifth of the distance between two random images (see `vae_augment.strength`). 0 returns the image itself,
            or with `residual=False` its reconstruction. None: the one that `calibrate` found by labels, here or
            stored with the weights, else 1; after `fit` 1.
        p: probability that an image is varied, drawn for each image of a batch.
        jitter: any callable `(mean, std) -> z` on whitened latents; default `Noise()`. See `vae_augment.jitter`.
        residual: add the decoded change to the image, `x + decode(z') - decode(z)`, which keeps the detail that a
            small VAE cannot draw and serves images larger than the model; False returns the decoded image. After `fit`, a
            new image of a class is no change of the old one: it is decoded whatever `residual` says.
        bank: latents of a pool, for `fit` and for the jitters that move toward neighbours. None: that of the weights.
        gain: factor on the jitter's displacement at strength 1. None: the stored one of the weights, else solved
            here on samples of the VAE; 1 for a jitter of your own.
        per_frame: vary each frame of a `Video` on its own.
        resize: False refuses images of another size than the model's instead of resizing for the network.
        on_geometry: what to do when a sample holds boxes, masks or key points, which are never moved.
        image_key: key, field or position of the image in a sample, where it has an unusual name or lies beside other pictures;
            all other parts are left alone. An image alone needs none, nor does a list of PIL images, which is a batch.
        novelty: from 0 to 1: how far new images of a class lie from those of the pool, once `fit` was called. At 0 they are
            decoded images of the pool, and so near copies of these; see `vae_augment.neighbourhoods`.

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

    _transformed_types = IMAGE_KINDS
    __prepare_scriptable__ = refuse  # of torch.jit.script

    @float32_on_cpu()
    def __init__(
        self,
        vae: Codec | hub.Weights,
        *,
        strength: float | None = None,
        p: float = 1.0,
        jitter: Jitter | None = None,
        residual: bool = True,
        bank: LatentBank | None = None,
        gain: float | None = None,
        per_frame: bool = False,
        resize: bool = True,
        on_geometry: OnGeometry = "passthrough",
        image_key: ImageKey = None,
        novelty: float = USUAL_NOVELTY,
    ) -> None:
        super().__init__()
        # another codec's are kept in the same form, which `save` refuses
        weights = vae if isinstance(vae, hub.Weights) else hub.Weights(vae)  # type: ignore[arg-type]
        check_codec(weights.vae)
        if bank is not None:
            check_bank(bank, weights.vae)
            weights = _with_other_bank(weights, bank)
        self._strength = None if strength is None else checked_number("strength", strength, high=LARGEST_STRENGTH)
        self.p, self.image_key = p, image_key
        gain = None if gain is None else checked_number("gain", gain, high=LARGEST_STRENGTH)
        if on_geometry not in get_args(OnGeometry):
            raise ValueError(f"on_geometry must be one of {get_args(OnGeometry)}, got {on_geometry!r}")
        self.residual, self.per_frame, self.resize, self.on_geometry = residual, per_frame, resize, on_geometry
        self.source: str | None = None
        self.revision: str | None = None
        self._is_default_jitter = jitter is None
        is_stored = jitter is None and gain is None and residual  # survival is of how images move
        self._survival, self._survives_residual = Survival.from_metrics(weights.metrics) if is_stored else None, True
        net = FrozenVAE(weights.vae)  # not a registered submodule: see there
        move = LatentMove.of(Noise() if jitter is None else jitter, gain, net.codec, weights.bank, weights.gains)
        if gain is None and move.traits.is_calibrated:
            weights = replace(weights, gains={**weights.gains, gain_name(move.jitter): move.gain})
        self._saved = replace(weights, vae=net.codec)  # type: ignore[arg-type]
        self._engine = Engine(net, move)
        self._fit: Fit | None = None
        self._labels_at: LabelAt = None
        self.novelty = novelty

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        subfolder: str | None = None,
        variant: str | None = None,
        dtype: torch.dtype | None = None,
        size: int | None = None,
        **options: Unpack[PretrainedOptions],
    ) -> Self:
        """Load trained weights: a bundled name, a local folder, or a Hugging Face Hub id `user/repo`; or an autoencoder of
        diffusers, as "stabilityai/sd-vae-ft-mse", of a folder or the Hub. Then call `calibrate` with images of yours.

        Bundled names and folders touch no network. From the Hub, pin `revision` to a commit for repeatable results.

        Args: as of `vae_augment.load_weights`; `options` as of the class: strength, p, jitter, residual, bank, ...; or in place
            of a bank `pool`, unlabelled images, with `features`, as of `LatentBank.from_images`.

        Raises:
            FileNotFoundError: there is no such name, folder, repository or revision, or a file of the weights is missing.
            ConnectionError: the download failed; the message says what to do.
            vae_augment.WeightsError: the files are damaged, do not fit together, or are of a newer version.
        """
        check_options(options)
        weights = hub.load(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
            subfolder=subfolder,
            variant=variant,
            dtype=dtype,
            size=size,
        )
        bank, own = with_bank(weights.vae, weights.bank, options)
        augment = cls(replace(weights, bank=bank), **own)
        augment.source, augment.revision = str(name), weights.commit
        return augment

    @property
    def jitter(self) -> Jitter:
        """How the latent moves; after `fit`, the latents of the classes."""
        return self._engine.move.jitter

    @property
    def gain(self) -> float:
        """Factor on the jitter's displacement at strength 1; after `fit` 1."""
        return self._engine.move.gain

    @property
    def p(self) -> float:
        """Probability that an image is varied; 0 switches the transform off."""
        return self._p

    @p.setter
    def p(self, value: float) -> None:
        self._p = checked_number("p", value, high=1.0)

    @property
    def image_key(self) -> ImageKey:
        """The image's key, field or position in a sample, or None, see the class. May be changed, as `p`.

        Example:
            >>> import torch
            >>> from vae_augment import VAEAugment
            >>> augment = VAEAugment.from_pretrained("mnist", image_key="photo")
            >>> blank = torch.zeros(1, 28, 28)
            >>> row = augment({"before": blank, "photo": blank, "cls": 3})
            >>> row["before"] is blank, row["photo"] is blank
            (True, False)
        """
        return self._image_key

    @image_key.setter
    def image_key(self, value: ImageKey) -> None:
        self._image_key = checked_key(value)

    @property
    def novelty(self) -> float:
        """How far new images of a class lie from those of the pool, from 0 to 1. May be changed, as `p`; with `fit` only."""
        return self._novelty

    @novelty.setter
    def novelty(self, value: float) -> None:
        self._novelty = checked_number("novelty", value, high=1.0)
        self._draw_anew()

    def with_bank(self, bank: LatentBank) -> Self:
        """A copy that fits over another bank of these weights, for one that was not fitted yet.

        Raises:
            TypeError, ValueError: it is no bank of these weights.
            ValueError: this transform was fitted, or its jitter moves among the latents of the bank it has.
        """
        check_bank(bank, self.vae)
        if self._fit is not None or self._engine.move.traits.needs_bank:
            raise ValueError(
                f"{self.jitter} is of the bank that this transform has: give another to a new one, bank=..."
            )
        new = copy.copy(self)
        new._saved = _with_other_bank(self._saved, bank)
        return new

    def _weights(self) -> hub.Weights:
        return self._saved

    def __setattr__(self, name: str, value: Any) -> None:
        # torch would register a module under the name of a property, and leave the property as it was
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)
        self.__dict__.pop("_how", None)  # is made of these

    def extra_repr(self) -> str:
        source = f"{self.source!r}, " if self.source else ""
        source += "" if self.revision is None else f"revision={self.revision!r}, "
        key = "" if self.image_key is None else f", image_key={self.image_key!r}"
        return f"{source}strength={self.strength}, p={self.p}, jitter={self.jitter}, residual={self.residual}{key}"

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        check_has_image(flat_inputs)
        self.check_geometry(flat_inputs)

    def forward(self, *inputs: Any) -> Any:
        """Vary a sample, as any v2 transform does; after `fit`, the label beside an image says what its new one shows."""
        if is_compiled():
            return outside_of_graphs()(self.forward, *inputs)
        is_usual = len(inputs) == 1 or (self._labels_at is None and self._image_key is None)
        if is_usual and type(self) is VAEAugment and shortcuts.is_lone(inputs):
            new = self._vary_lone(*inputs)
            return new if len(inputs) == 1 else (new, inputs[1])
        sample = plain_dict(inputs if len(inputs) > 1 else inputs[0])
        if self._image_key is not None and has_parts(sample):
            return self._vary_at_key(sample)
        if self._engine.move.traits.makes_new and _has_companions(sample, leaves := tree_leaves(sample)):
            return self._replaced(sample, leaves)
        sample, show = hide_companions(sample)
        if (batch := extract_list(sample)) is None:
            return show(super().forward(sample))
        self.check_inputs(tree_leaves(sample))
        images, join = batch
        return show(join(self.vary_all(images)))

    def _vary_lone(self, image: Any, label: int | str | None = None) -> Any:
        """What is left of `forward` for one object; a lone small image's cost is in calls, so there are few."""
        how, generator = self._how, thread_generator()
        if label is None or self._fit is None or not self._engine.move.traits.makes_new:
            plan = self._engine.plan_once(lead_shape(image), how, generator)
        else:
            plan = self._engine.plan_classes((), 1, self._fit.index([label]), how, generator)
        is_plain = plan.chosen is None and how.strength > 0
        new = shortcuts.varied_bytes(self._engine, image, plan, how) if is_plain else None
        return apply_plan(self._engine, image, plan, how) if new is None else new

    def _vary_at_key(self, sample: Any) -> Any:
        """A sample, or a list of samples, whose image lies at `image_key`: it alone is varied."""
        if holds_samples(sample):
            return [self._vary_at_key(plain_dict(item)) for item in sample]
        leaves = tree_leaves(sample)
        if self._engine.move.traits.makes_new and len(leaves) > 1:
            return self._replaced(sample, leaves)
        self.check_geometry(leaves)
        image, put_back = extract_images(sample, self._image_key)
        return put_back(self.vary_all(image) if isinstance(image, list) else self.forward(image))

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw all that chance decides, for each leading shape; `transform` replays it."""
        shapes = dict.fromkeys(map(lead_shape, flat_inputs))
        return {"plans": {shape: self._engine.plan_batch(shape, self._how, thread_generator()) for shape in shapes}}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Vary an image; with equal params it is the same image, bit for bit."""
        return apply_plan(self._engine, inpt, params["plans"][lead_shape(inpt)], self._how)

    def _replaced(self, sample: Any, leaves: list[Any]) -> Any:
        """A sample, or a batch of them, its image replaced by a new one of its label."""
        assert self._fit is not None
        self.check_inputs(leaves)
        image, labels, join = extract_labelled(sample, leaves, self._labels_at, self._image_key)
        classes = self._fit.index(labels)  # raises for unknown ones, also where p would leave them alone
        if isinstance(image, list):
            return join(self.vary_all(image, labels))
        shape = lead_shape(image)
        plan = self._engine.plan_classes(shape, frames_of(image), classes, self._how, thread_generator())
        return join(apply_plan(self._engine, image, plan, self._how))

    def vary_all(
        self, images: Sequence[Any], labels: Sequence[Any] | None = None, generator: Generator | None = None
    ) -> list[Any]:
        """Vary single images, each on its own, in one pass of the network; they may differ in kind and size.

        `p` is drawn for each. With `labels`, after `fit`, each is replaced by a new image of its label, in its own kind and
        size. `generator` is one of the CPU to draw from; None: torch's own. `SyntheticDataset` uses all of this.
        """
        out, generator = list(images), generator or thread_generator()
        if labels is not None and len(labels) != len(out):
            raise ValueError(f"there are {len(out)} images and {len(labels)} labels: give one label for each image")
        if wrong := next((item for item in out if isinstance(item, tuple | dict | list)), None):
            raise TypeError(
                f"vary_all takes images, and no samples, got {describe_sample(wrong)}: call the transform with it"
            )
        places = self._engine.choose_places(len(out), self._how, generator)
        if not places:
            return out
        chosen, classes = [out[i] for i in places], None
        if labels is not None and self._fit is not None and self._engine.move.traits.makes_new:
            classes = self._fit.index([labels[i] for i in places])
        for i, new in zip(places, vary_list(self._engine, chosen, classes, self._how, generator), strict=True):
            out[i] = new
        return out

    @cached_property
    def _how(self) -> How:
        return How(self.strength, self._p, self.residual, self.per_frame, self.resize)

    def check_geometry(self, leaves: Iterable[Any]) -> None:
        """Do as `on_geometry` says about boxes, masks and key points among the parts of a sample; "error" is a ValueError."""
        tell_geometry(leaves, self.on_geometry)


def _with_other_bank(weights: hub.Weights, bank: LatentBank) -> hub.Weights:
    # a stored gain of neighbours is that of the stored bank's
    provenance = {**weights.provenance, "bank": OTHER_IMAGES} if weights.provenance else {}
    return replace(weights, bank=bank, gains=without_neighbours(weights.gains), provenance=provenance)


def _has_companions(sample: Any, leaves: list[Any]) -> bool:
    """Whether a sample has more than its image, or than the list of its images."""
    batch = extract_list(sample)
    return len(leaves) > (1 if batch is None else len(batch[0])) and any(map(is_image, leaves))
