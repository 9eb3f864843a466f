"""A transform is no program to be traced, scripted or exported, and says so; in a compiled one it runs as it is."""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

import torch

_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)  # from torch 2.7 on
_is_tracing: Callable[[], bool] = torch.jit.is_tracing  # type: ignore[attr-defined]
_is_compiling: Callable[[], bool] = torch.compiler.is_compiling


is_transformed: Callable[[], bool] = torch._C._are_functorch_transforms_active
"""Whether a function of torch.func, as `vmap`, has this call within: its tensors have no memory that numpy could read."""


def is_compiled() -> bool:
    """Whether `torch.compile` looks at this call.

    Raises:
        RuntimeError: `torch.jit.trace` or `torch.export` does, which would keep one draw for ever, or fail inside.
    """
    is_compiled = _is_compiling()  # also where a program is exported
    if _is_tracing() or (is_compiled and _is_exporting()):
        refuse()
    return is_compiled


def refuse(*_: Any) -> NoReturn:
    """Raises RuntimeError, which says what to do instead."""
    raise RuntimeError(
        "VAEAugment draws at random and reads samples of any kind, which a traced, scripted or exported program cannot: keep it "
        "in the pipeline, outside of the model. Its network alone, augment.vae, can be exported"
    )


@functools.cache
def outside_of_graphs() -> Callable[..., Any]:
    """A function that calls another with arguments, and for which `torch.compile` breaks its graph, once.

    So a compiled program has the numbers of one that is not. It is made when the compiler is there, whose import takes seconds.
    """

    def call(function: Callable[..., Any], *inputs: Any) -> Any:
        return function(*inputs)

    disabled: Callable[..., Any] = torch.compiler.disable(call)
    return disabled
