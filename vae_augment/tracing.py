"""A transform is no program to be traced or exported, and says so."""

from collections.abc import Callable

import torch

_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)  # from torch 2.7 on
_is_tracing: Callable[[], bool] = torch.jit.is_tracing  # type: ignore[attr-defined]


def refuse_tracing() -> None:
    """Raises RuntimeError within `torch.jit.trace` and `torch.export`, which would keep one draw for ever, or fail inside."""
    if _is_tracing() or _is_exporting():
        raise RuntimeError(
            "VAEAugment draws at random and reads samples of any kind, which a traced or exported program cannot: keep it in the "
            "pipeline, outside of the model. Its network alone, augment.vae, can be exported"
        )
