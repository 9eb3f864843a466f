"""LatentOverSampler: small classes filled with new images, by imbalanced-learn's convention."""

import copy
import math
import os
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .base_fit import MOST_PER_CLASS, bundled_for
from .images import untransformed_reader
from .options import LARGEST_STRENGTH
from .transform import VAEAugment

try:
    from imblearn.over_sampling.base import BaseOverSampler
    from imblearn.utils import check_target_type
    from sklearn.utils import check_random_state
    from sklearn.utils._param_validation import Interval
    from sklearn_compat.utils.validation import validate_data
except ImportError as error:
    raise ImportError(
        f"LatentOverSampler needs imbalanced-learn: pip install 'vae-augment[imblearn]' ({error})"
    ) from error

CHUNK = 500  # images made at a time

Array = np.ndarray[Any, np.dtype[Any]]


class LatentOverSampler(BaseOverSampler):
    """Fill small classes with new images, where SMOTE would draw lines between pixels (Chawla et al., JAIR 2002).

    It follows imbalanced-learn's convention, also in `imblearn.pipeline`. As `SyntheticDataset` does, it fits a copy of the
    transform to the labelled images, at most 100 a class: samples are new images of their class. Without a bank of such images
    they are variations of the class's own; where a bank proved to be of no use, a warning says so.

    Args:
        sampling_strategy: how many images each class gets, as in imbalanced-learn: "auto" fills all classes up to the
            largest; "minority"; a dict of class to count, samples included; a float, of two classes; a callable of y.
        random_state: an integer gives the same samples every time; a numpy RandomState, or None.
        augment: a `VAEAugment`, or a name or folder of weights as of `VAEAugment.from_pretrained`. None: the bundled weights that
            reconstruct these images best. A fitted one is kept as it is.
        image_shape: (C, H, W), of flat arrays `(N, C*H*W)`.
        novelty, strength: as of `VAEAugment`. None: those of `augment`.

    Attributes:
        augment_: the transform that made the samples; `print(sampler.augment_.fit_report)` says what the fit found out.
        sampling_strategy_: how many samples were made of each class.

    Raises:
        ImportError: imbalanced-learn is missing, `pip install 'vae-augment[imblearn]'`.
        ValueError: X is no array of images, of uint8 or of floats in [0, 1]; or no bundled weights fit them.

    Example:
        >>> from collections import Counter
        >>> from vae_augment import LatentOverSampler
        >>> from vae_augment.demo_data import fashion_sample
        >>> images, labels = fashion_sample()
        >>> X, y = images[:130].numpy(), labels[:130].numpy() // 9  # ankle boots, and everything else
        >>> X_new, y_new = LatentOverSampler(random_state=0).fit_resample(X, y)
        >>> X_new.shape[1:], X_new.dtype, len(set(Counter(y_new.tolist()).values()))
        ((1, 28, 28), dtype('uint8'), 1)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseOverSampler._parameter_constraints,
        "augment": [None, str, os.PathLike, VAEAugment],
        "image_shape": [None, tuple, list],
        "novelty": [None, Interval(Real, 0, 1, closed="both")],
        "strength": [None, Interval(Real, 0, LARGEST_STRENGTH, closed="both")],
    }

    def __init__(
        self,
        *,
        sampling_strategy: Any = "auto",
        random_state: Any = None,
        augment: VAEAugment | str | os.PathLike[str] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        novelty: float | None = None,
        strength: float | None = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.random_state, self.augment, self.image_shape = random_state, augment, image_shape
        self.novelty, self.strength = novelty, strength

    def _check_X_y(self, X: Any, y: Any, accept_sparse: Any = None) -> tuple[Array, Array, bool]:  # noqa: N802, N803
        y, binarize_y = check_target_type(y, indicate_one_vs_all=True)
        return *validate_data(self, X=X, y=y, reset=True, accept_sparse=False, allow_nd=True), binarize_y

    def _fit_resample(self, X: Array, y: Array, **params: Any) -> tuple[Array, Array]:  # noqa: N803
        images, chance = as_images(X, self.image_shape), check_random_state(self.random_state)
        classes = Classes.of(y)
        self.augment_ = self._fitted(images, classes, chance)
        made_x, made_y = [X], [y]
        for label, count in self.sampling_strategy_.items():
            sources = chance.choice(np.flatnonzero(y == label), count)
            generator = torch.Generator().manual_seed(int(chance.randint(2**31)))
            made_x.append(self._made(images, sources, classes, generator).reshape(count, *X.shape[1:]))
            made_y.append(np.full(count, label, dtype=y.dtype))
        return np.concatenate(made_x), np.concatenate(made_y)

    def _fitted(self, images: Tensor, classes: "Classes", chance: np.random.RandomState) -> VAEAugment:
        """What makes the samples: a copy of the transform, fitted unless it was before or has no bank."""
        augment = self.augment
        if augment is None:
            augment = bundled_for(untransformed_reader(images, image_key=None), len(images))
        augment = VAEAugment.from_pretrained(augment) if isinstance(augment, str | os.PathLike) else copy.copy(augment)
        if augment.classes is not None and (unknown := sorted(set(classes.names) - set(augment.classes), key=str)):
            raise ValueError(
                f"augment was fitted to classes {augment.classes}, and y has {unknown}: pass one not fitted"
            )
        if augment.can_fit:
            some = np.concatenate([chance.permutation(own)[:MOST_PER_CLASS] for own in classes.members()])
            augment.fit([(images[i], classes.names[classes.place[i]]) for i in some])
        if self.novelty is not None:
            augment.novelty = self.novelty
        if self.strength is not None:
            augment.strength = self.strength
        return augment

    def _made(self, images: Tensor, sources: Array, classes: "Classes", generator: torch.Generator) -> Array:
        """New images of the classes of these, in their dtype: `(len(sources), C, H, W)`."""
        made = [np.empty((0, *images.shape[1:]), dtype=images.numpy().dtype)]
        for start in range(0, len(sources), CHUNK):
            part = sources[start : start + CHUNK]
            labels = None if self.augment_.classes is None else [classes.names[place] for place in classes.place[part]]
            made.append(torch.stack(self.augment_.vary_all([images[i] for i in part], labels, generator)).numpy())
        return np.concatenate(made)

    def _more_tags(self) -> dict[str, list[str]]:
        return {"X_types": ["2darray", "dataframe"]}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


class Classes(NamedTuple):
    """The classes of labelled images: their names, integers or strings, and the place of each image's among them."""

    names: list[int | str]
    place: Array

    @classmethod
    def of(cls, y: Array) -> "Classes":
        found, place = np.unique(y, return_inverse=True)
        return cls([str(label) if isinstance(label, str) else int(label) for label in found], place)

    def members(self) -> list[Array]:
        """Of each class the places of its images."""
        return [np.flatnonzero(self.place == c) for c in range(len(self.names))]


def as_images(X: Array, image_shape: tuple[int, int, int] | None) -> Tensor:  # noqa: N803
    """An array of images, flat or not, as a tensor `(N, C, H, W)` of its dtype.

    Raises:
        ValueError: it is none; the message says what to write instead.
    """
    if image_shape is not None and (len(image_shape) != 3 or math.prod(image_shape) != math.prod(X.shape[1:])):
        raise ValueError(
            f"image_shape must be (C, H, W) of {math.prod(X.shape[1:])} numbers an image, got {image_shape}"
        )
    if X.ndim == 2 and image_shape is None:
        raise ValueError(f"X has the shape {X.shape}: say what an image is, image_shape=(C, H, W)")
    if X.ndim not in (2, 4) or (X.ndim == 4 and image_shape is not None and X.shape[1:] != tuple(image_shape)):
        raise ValueError(
            f"X must have the shape (N, C, H, W), or (N, C*H*W) with image_shape, got {X.shape}; of (N, H, W) X[:, None], of "
            "(N, H, W, C) np.moveaxis(X, -1, 1)"
        )
    is_pixels = X.dtype == np.uint8 or (X.dtype.kind == "f" and (not X.size or (X.min() >= 0 and X.max() <= 1)))
    if not is_pixels:
        raise ValueError(
            f"X must hold pixels, uint8 or floats in [0, 1], got {X.dtype} from {X.min():g} to {X.max():g}: of 0 to 255 "
            "X.astype('uint8')"
        )
    return torch.from_numpy(np.ascontiguousarray(X).reshape(len(X), *(image_shape or X.shape[1:])))
