"""Survival: up to which strength varied images keep their labels, as a probe sees them that the same images have taught."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from numbers import Real
from typing import Self

import torch
from torch import Generator, Tensor

from .engine import Engine, How
from .pool import LabelProbe
from .progress import progress
from .user_warning import warn

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)  # that are tried
USUAL_SURVIVAL = 0.95
DRAWS = 2  # of each image at each strength
CHUNK = 64  # images at a time: of a large network more would fill the memory
LEAST_IMAGES = 50  # of fewer, one image is more than 2 per cent
DOUBTFUL_ACCURACY = 0.5  # of a probe; one below is told
PREFIX = "label_survival_"  # of its figures among the metrics of weights


@dataclass(frozen=True)
class Survival:
    """What part of labels survives at which strength; `print(augment.survival)` shows it.

    Args:
        wanted: part of the labels that shall survive.
        strength: at which it does, 0 if less survives at any, and the largest that was tried if more does.
        curve: strength -> part of labels that survive, of images whose label the probe tells rightly unvaried.
        accuracy: part of the unvaried images whose label it tells rightly.
        images: how many labelled images there were.
    """

    wanted: float
    strength: float
    curve: Mapping[float, float]
    accuracy: float
    images: int

    def __str__(self) -> str:
        rows = [f"  {strength:8g}  {part:16.1%}" for strength, part in self.curve.items()]
        told = round(self.accuracy * self.images)
        error = math.sqrt(self.wanted * (1 - self.wanted) / max(1, told))
        return "\n".join(
            [
                self._verdict(),
                "  strength  labels that survive",
                *rows,
                f"of {told:,} images whose label a probe tells rightly unvaried, {self.accuracy:.1%} of {self.images:,}; each is "
                f"judged by one that has not seen it. Standard error at {100 * self.wanted:g}%: {error:.1%}",
            ]
        )

    def _verdict(self) -> str:
        if self._keeps_all:
            return f"at least {100 * self.wanted:g}% of labels survive at strength {self.strength:g}, the largest that was tried"
        if self._keeps_none:
            return (
                f"less than {100 * self.wanted:g}% of labels survive at any strength, {self.curve[0]:.1%} at strength 0"
            )
        return f"{100 * self.wanted:g}% of labels survive at strength {self.strength:g}"

    @property
    def _keeps_all(self) -> bool:
        return min(self.curve.values()) >= self.wanted

    @property
    def _keeps_none(self) -> bool:
        return self.curve[0] < self.wanted

    def to_metrics(self) -> dict[str, float]:
        """Its figures by name, as weights keep them."""
        figures = {"wanted": self.wanted, "strength": self.strength, "probe_accuracy": self.accuracy}
        curve = {f"at_strength_{strength:g}": part for strength, part in self.curve.items()}
        return {PREFIX + name: value for name, value in {**figures, "images": self.images, **curve}.items()}

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> Self | None:
        """The figures among the metrics of weights, which anybody may have written; None if they are not all there, and sane.

        Example:
            >>> Survival.from_metrics({"test_psnr_db": 26.5}) is None
            True
        """
        try:
            wanted, strength, accuracy = (metrics[PREFIX + name] for name in ("wanted", "strength", "probe_accuracy"))
            images = metrics[PREFIX + "images"]
            curve = {tried: metrics[f"{PREFIX}at_strength_{tried:g}"] for tried in STRENGTHS}
        except KeyError:
            return None
        is_sane = all(0 <= part <= 1 for part in (wanted, accuracy, *curve.values()))
        if not is_sane or not 0 <= strength <= STRENGTHS[-1] or not 0 <= images < 2**31:
            return None
        return cls(wanted, float(strength), curve, accuracy, int(images))


def without_survival(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics without those of a `Survival`."""
    return {name: value for name, value in metrics.items() if not name.startswith(PREFIX)}


def checked_survival(value: float) -> float:
    """Raises ValueError for what is no part between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, float | Real) or not 0 < value < 1:
        raise ValueError(f"survival, the part of labels that survive, must be above 0 and below 1, got {value!r}")
    return float(value)


def probe_of(images: Tensor, labels: Sequence[int | str]) -> LabelProbe:
    """A probe that labelled images teach.

    Raises:
        ValueError: there are too few, or of one class, or it tells their labels no better than chance.
    """
    names = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
    if len(names) < 2:
        raise ValueError(f"labels survive among others: give images of at least two classes, got {names[0]!r} alone")
    if len(labels) < LEAST_IMAGES:
        raise ValueError(
            f"survival is measured on at least {LEAST_IMAGES} labelled images, better 500, got {len(labels)} that differ: give "
            "more, or leave survival and labels out"
        )
    place = {name: c for c, name in enumerate(names)}
    probe = LabelProbe(images, torch.tensor([place[label] for label in labels], device="cpu"), len(names))
    if not probe.knows_labels:
        raise ValueError(
            f"a probe taught by these {len(labels)} images tells {probe.accuracy:.0%} of their labels, no more than chance among "
            f"{len(names)} classes, so that it cannot judge which survive: give more labelled images, or leave survival and "
            "labels out and choose a strength by eye"
        )
    return probe


@torch.no_grad()
def measure_survival(
    engine: Engine, residual: bool, images: Tensor, probe: LabelProbe, wanted: float, device: torch.device
) -> Survival:
    """Vary images at each strength, by the same draws, and let the probe judge.

    Args:
        images: float32 `(N, C, S, S)` in [0, 1], those of the probe.

    Raises:
        ValueError: the jitter changes no image.
    """
    kept, changed = {}, 0.0
    for strength in progress(STRENGTHS, "vary images"):
        how = How(strength, residual=residual)
        if how.is_identity:
            kept[strength] = 1.0
            continue
        parts = []
        for draw in range(DRAWS):
            new = _varied(engine, how, images, draw, device)
            changed = max(changed, float((new - images).abs().max()))
            parts.append(probe.keeps_label(new)[probe.is_right].double().mean())
        kept[strength] = round(float(sum(parts)) / DRAWS, 4)
    if not changed:
        raise ValueError(
            f"{engine.move.jitter} changes no image at strength {STRENGTHS[-1]:g}: give a jitter that does"
        )
    strength = round(_crossing(kept, wanted), 2)
    return Survival(wanted, strength, kept, round(probe.accuracy, 4), len(images))


def warn_of(survival: Survival) -> None:
    """Warn where its strength is not what was asked for, or rests on a probe that knows little."""
    if survival._keeps_none:
        warn(
            f"{survival._verdict()}: decoded images lose more labels than that before they vary. Strength is set to 0; "
            "residual=True keeps what the autoencoder cannot draw",
        )
    elif survival._keeps_all:
        warn(survival._verdict())
    if survival.accuracy < DOUBTFUL_ACCURACY:
        warn(
            f"the probe tells {survival.accuracy:.0%} of unvaried labels: it judges by the easiest images alone, and calls "
            "labels changed sooner than a good classifier would. Take the strength for a rough one, or give more labelled images",
        )


def _varied(engine: Engine, how: How, images: Tensor, draw: int, device: torch.device) -> Tensor:
    """Images varied as the transform does it at the model's own size, float32 on the CPU, in [0, 1]."""
    generator, parts = Generator("cpu").manual_seed(draw), []
    for x in images.split(CHUNK):
        plan = engine.plan(len(x), how, generator)
        y = engine.vary(x.to(device), plan, how).cpu()
        parts.append(x + y if how.residual and not plan.makes_new else y)
    return torch.cat(parts).clamp(0, 1)


def _crossing(curve: Mapping[float, float], wanted: float) -> float:
    """Where a curve, made to fall, comes down to a part; 0 if it starts below, the last strength if it never does."""
    strengths, kept = list(curve), list(accumulate(curve.values(), min))
    below = next((i for i, part in enumerate(kept) if part < wanted), None)
    if below is None:
        return strengths[-1]
    if below == 0:
        return 0.0
    (a, b), (high, low) = strengths[below - 1 : below + 1], kept[below - 1 : below + 1]
    return a + (b - a) * (high - wanted) / (high - low)
