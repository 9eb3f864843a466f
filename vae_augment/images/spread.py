"""Places spread over a data set: some of its images, for all."""

import torch
from torch import Tensor


def spread_places(total: int, count: int) -> Tensor:
    """One place of each of `count` equal parts of `total`, int64, ascending, always the same; all places, if there are fewer.

    A drawn one, and not each second or sixth: images often lie in a period, as classes in turn or two sources in turn, of which
    a step of that period sees one.

    Example:
        >>> spread_places(5, 5).tolist(), len(spread_places(100, 10)), sorted(set((spread_places(1000, 500) % 2).tolist()))
        ([0, 1, 2, 3, 4], 10, [0, 1])
    """
    count = min(count, total)
    ends = torch.arange(count + 1, device="cpu") * total // max(1, count)
    part = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    return ends[:-1] + (part * ends.diff()).long()
