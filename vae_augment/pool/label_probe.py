"""LabelProbe: whether a varied image still shows its label, as ridge classifiers tell that have not seen the image."""

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..numerics import float32_on_cpu
from .hog import hog
from .patch_features import PatchFeatures
from .ridge import _ridge

FOLDS = 5
SIGMAS = 3  # standard errors above chance from which a probe knows something
CHUNK = 250  # images at a time, whose gradients are 30 MB


class LabelProbe:
    """Ridge regression on HOG, of colour images on patch features: the better of these that take seconds.

    It is linear on purpose. Measured against a network trained on 60,000 images, a kernel tells more labels rightly, and calls
    more of the varied images changed (`docs/design.md`).

    Args:
        images: float32 `(N, C, S, S)` in [0, 1].
        labels: int64 `(N,)`, from 0 to classes - 1.

    Example:
        >>> from vae_augment.demo_data import fashion_sample
        >>> images, labels = fashion_sample()
        >>> probe = LabelProbe(images / 255, labels, 10)
        >>> probe.accuracy > 0.7, probe.knows_labels
        (True, True)
    """

    @float32_on_cpu()
    def __init__(self, images: Tensor, labels: Tensor, classes: int) -> None:
        self.labels, self.classes = labels, classes
        self._embed = hog if images.shape[1] == 1 else PatchFeatures.learn(images)[0].embed
        features = self._features(images)
        self._fold = _folds(labels)
        self._centres, self._weights = [], []
        for fold in range(FOLDS):
            others = self._fold != fold
            centre = features[others].mean(0)
            self._centres.append(centre)
            self._weights.append(_ridge(normalize(features[others] - centre), labels[others], classes))
        self.is_right = self._predicted(features) == labels
        self.accuracy = float(self.is_right.float().mean())

    @property
    def knows_labels(self) -> bool:
        """Whether it tells more labels rightly than chance does, the mean over classes."""
        counts = self.labels.bincount(minlength=self.classes).double()
        right = self.labels[self.is_right].bincount(minlength=self.classes)
        chance = 1 / self.classes
        error = math.sqrt(float((chance * (1 - chance) / counts).sum())) / self.classes
        return float((right / counts).mean()) > chance + SIGMAS * error

    @float32_on_cpu()
    def keeps_label(self, images: Tensor) -> Tensor:
        """Whether images, one made of each that the probe was given, still show its label: bool `(N,)`."""
        return self._predicted(self._features(images)) == self.labels

    def _features(self, images: Tensor) -> Tensor:
        return torch.cat([self._embed(part) for part in images.split(CHUNK)])

    def _predicted(self, features: Tensor) -> Tensor:
        predicted = torch.empty_like(self.labels)
        for fold, (centre, weights) in enumerate(zip(self._centres, self._weights, strict=True)):
            own = self._fold == fold
            predicted[own] = (normalize(features[own] - centre) @ weights).argmax(1)
        return predicted


def _folds(labels: Tensor) -> Tensor:
    """The fold of each image, int64 `(N,)`: those of a class are dealt out in turn, classes one after the other."""
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(labels), generator=generator)
    order = order[labels[order].argsort(stable=True)]
    return torch.empty_like(labels).index_copy_(0, order, torch.arange(len(labels)) % FOLDS)
