"""Random batches whose order can be taken up again in the middle of an epoch."""

from typing import Any

import torch
from torch import Tensor


class Batches:
    """Endless random batches, without replacement within an epoch; what does not fill a batch is left out.

    Args:
        images: `(N, ...)`; size: of a batch, at most N.
    """

    def __init__(self, images: Tensor, size: int) -> None:
        self._images, self.size = images, min(size, len(images))
        self._order: Tensor | None = None
        self._start = 0
        self._drawn_at = torch.get_rng_state()  # of torch's generator, before the order was drawn

    @property
    def in_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self._images) // self.size

    def next(self) -> Tensor:
        if self._order is None or self._start + self.size > len(self._images):
            self._draw()
        assert self._order is not None
        batch = self._images[self._order[self._start : self._start + self.size]]
        self._start += self.size
        return batch

    def state(self) -> dict[str, Any]:
        """For `load`: 5 kB instead of an epoch's order."""
        return {"drawn_at": self._drawn_at, "start": self._start, "begun": self._order is not None}

    def load(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; torch's generator is left somewhere else, to be set afterwards."""
        if state["begun"]:
            torch.set_rng_state(state["drawn_at"])
            self._draw()
            self._start = state["start"]

    def _draw(self) -> None:
        self._drawn_at = torch.get_rng_state()
        self._order = torch.randperm(len(self._images), device="cpu").to(self._images.device)
        self._start = 0
