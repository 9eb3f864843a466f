"""What the program prints at its end, when something went wrong."""

import contextlib
import errno
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from . import checkpoint, processes

DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a full disk, a used-up quota, a file over its size limit


@contextlib.contextmanager
def exit_with_remedy(folder: Path | None) -> Iterator[None]:
    """End the program with one line for an expected error in the context; a defect of the program keeps its traceback.

    Args:
        folder: of the run, whose checkpoint the remedy may name; None before that is known.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(f"interrupted{_how_to_go_on(folder)}" if processes.is_main() else 1)
    except (OSError, ValueError, ArithmeticError) as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL_ERRNOS:
            where = Path(error.filename or folder or ".").resolve()
            sys.exit(f"error: no space left to write {where} ({error.strerror}): free some{_how_to_go_on(folder)}")
        sys.exit(f"error: {error}")
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        if processes.is_lost_peer(error):
            remedy = _how_to_go_on(folder) if processes.is_main() else ""
            sys.exit(f"error: process {processes.rank()} lost another, whose own error says why ({reason}){remedy}")
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            sys.exit(f"error: torch.compile failed {_compiler_needs(error)}, or leave --compile out")
        raise


def _compiler_needs(error: RuntimeError) -> str:
    """What the compiler said, and what it needs: torch 2.6 takes setuptools, too."""
    reason = " ".join(str(error).partition("\n\n")[0].split())
    inner = getattr(error, "inner_exception", None)
    missing = inner.name if isinstance(inner, ModuleNotFoundError) else None
    return f"({reason}): {f'pip install {missing}' if missing else 'install a C++ compiler'}"


def _how_to_go_on(folder: Path | None) -> str:
    can_resume = folder is not None and (folder / checkpoint.FILE).is_file()
    return f"; to go on: {processes.launcher()} --resume {shlex.quote(str(folder))}" if can_resume else ""
