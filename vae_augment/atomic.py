"""Writing a file whole or not at all."""

import os
import tempfile
from pathlib import Path

PART = ".part"


def atomic_write(path: Path, content: bytes) -> None:
    """Write to a temporary name in the same folder, then replace `path`: an interruption leaves the old file whole."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    except OSError as error:  # names a file of which the user knows nothing
        error.filename = str(path)
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)  # a full disk does not say what it was to hold
        raise


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left of files that they had not written whole."""
    for part in folder.glob(f".*{PART}"):
        part.unlink()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
