"""A lock on a run's folder: two processes that write one run would spoil it."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = "running.lock"  # says who writes the run; there while it is written, and after a kill


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing a run's folder within; it is made if there is none, and goes again if it stays empty.

    The system frees the lock of a process that has ended, however it ended: a lock file that a kill left behind holds
    nobody up. On a system or a disk that has no such locks, nothing is kept.

    Raises:
        ValueError: another process writes this folder.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.nullcontext() if fcntl is None else _lock(folder / LOCK_FILE):
            yield
    finally:
        for path in new:
            with contextlib.suppress(OSError):
                path.rmdir()


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    file = _open_locked(path)
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # before it is freed, so that nobody locks a file that has no name any more
        os.close(file)


def _open_locked(path: Path) -> int:
    """Open a lock file, and return its descriptor once it is locked and still has this name."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode("utf-8", "replace") or "another process"
            os.close(file)
            message = f"{path.parent} is being written by {holder}: wait until that has ended, or stop it first"
            raise ValueError(message) from None
        except OSError:  # a disk without locks
            return file
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)  # the process before has removed it in the meantime
