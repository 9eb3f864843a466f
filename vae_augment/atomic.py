"""Files that are written whole or not at all."""

import os
import tempfile
import time
from pathlib import Path

PART_SUFFIX = ".part"  # of a file that is being written
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8) if os.name == "nt" else ()  # seconds between tries to replace a file


def atomic_write(path: Path, content: bytes) -> None:
    """Write to a temporary name in the same folder, then replace `path`: an interruption leaves the old file whole.

    Raises:
        OSError: the folder cannot be written, or the disk is full; its `filename` is `path`.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     atomic_write(Path(folder) / "notes.txt", b"whole")
        ...     (Path(folder) / "notes.txt").read_bytes()
        b'whole'
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART_SUFFIX)
    except OSError as error:
        error.filename = str(path)  # the user does not know the temporary name
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        replace(temporary, path)
    except BaseException as error:
        os.unlink(temporary)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)  # a full disk does not name the file
        raise


def replace(temporary: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """`os.replace`, tried again for a second and a half where it is denied: on Windows no file can be replaced while a scanner
    for viruses or another reader has it open, which is mostly over in a moment.

    Raises:
        OSError: it is denied for good, or fails for another reason.
    """
    for pause in PAUSES:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(temporary, path)


def remove_parts(folder: Path) -> None:
    """Remove the unfinished files that killed processes left in a folder."""
    for part in folder.glob(f".*{PART_SUFFIX}"):
        part.unlink()


def _umask() -> int:
    """Permission bits that new files of this process lack; the system has no call that only reads them."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
