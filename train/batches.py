"""Random batches, whose order can be resumed in the middle of an epoch."""

from typing import Any

import torch
from torch import Tensor

FLOATS_BYTES = 2**26  # memory that images take as floats, where many are computed one part after the other


def images_at_a_time(images: Tensor, most: int) -> int:
    """Return how many of these uint8 images `(N, C, S, S)` are computed at a time: `most`, and fewer if they are large.

    Example:
        >>> images_at_a_time(torch.zeros(1, 3, 64, 64), 1000), images_at_a_time(torch.zeros(1, 3, 512, 512), 1000)
        (1000, 21)
    """
    return max(1, min(most, FLOATS_BYTES // (4 * images[0].numel())))


class Batches:
    """Endless random batches, without replacement within an epoch; images that do not fill a batch are left out.

    Args:
        images: `(N, ...)`.
        size: images of a batch; at most N are taken.
    """

    def __init__(self, images: Tensor, size: int) -> None:
        self._images, self.size = images, min(size, len(images))
        self._order: Tensor | None = None
        self._start = 0
        self._rng_state = torch.get_rng_state()  # of torch's generator, before the order was drawn

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return len(self._images) // self.size

    def next(self) -> Tensor:
        """Return the next batch, `(size, ...)`; draws the order of an epoch at its start."""
        if self._order is None or self._start + self.size > len(self._images):
            self._draw_order()
        assert self._order is not None
        batch = self._images[self._order[self._start : self._start + self.size]]
        self._start += self.size
        return batch

    def state(self) -> dict[str, Any]:
        """Return the state that `load` takes: the generator's state instead of the order, which can be far larger."""
        return {"drawn_at": self._rng_state, "start": self._start, "begun": self._order is not None}

    def load(self, state: dict[str, Any]) -> None:
        """Resume where `state` was taken; afterwards, the caller sets torch's generator to where it was then.

        Raises:
            ValueError: no batch of these images starts there.
        """
        if not (0 <= state["start"] <= len(self._images) and state["start"] % self.size == 0):
            raise ValueError(f"no batch of {self.size} starts at image {state['start']}")
        if state["begun"]:
            torch.set_rng_state(state["drawn_at"])
            self._draw_order()
            self._start = state["start"]

    def _draw_order(self) -> None:
        self._rng_state = torch.get_rng_state()
        self._order = torch.randperm(len(self._images), device="cpu").to(self._images.device)
        self._start = 0
