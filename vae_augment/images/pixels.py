"""Values in the units of a dtype -> pixels of it."""

import torch
from torch import Tensor

MAX_VALUES_CAST_DIRECTLY = 4096  # float values; with fewer, a second cast costs more than it saves


def as_pixels(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Clamp and round values, in the units of this dtype, to pixels of it. Overwrites `values`.

    Example:
        >>> as_pixels(torch.tensor([-3.0, 127.6, 300.0]), torch.uint8)
        tensor([  0, 128, 255], dtype=torch.uint8)
    """
    if dtype != torch.uint8:
        return values.clamp_(0, 1).to(dtype)
    values = values.clamp_(0, 255).round_()
    if values.numel() > MAX_VALUES_CAST_DIRECTLY:
        values = values.to(torch.int16)  # a direct cast of many floats to bytes is slower
    return values.byte()
