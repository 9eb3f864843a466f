"""Memory that a step frees is kept for the next one."""

import contextlib
import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of mallopt, in malloc.h
KEPT_BYTES = 2**30  # free memory that stays with the process
LARGEST_BLOCK = 2**25  # bytes of one allocation that comes from there; glibc takes no more


def keep_freed_memory() -> None:
    """Let glibc keep what it is given back, for the rest of the process; elsewhere do nothing.

    A step allocates its activations anew, some megabytes each. As glibc is set, it returns such blocks to the system at once,
    and the system hands them out again page by page, filled with zeros: a quarter of the time of a step.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        for name, value in (
            (TRIM_THRESHOLD, KEPT_BYTES),
            (TOP_PAD, 2 * LARGEST_BLOCK),
            (MMAP_THRESHOLD, LARGEST_BLOCK),
        ):
            mallopt(name, value)
