"""What a hostile file may cost before it is refused."""

import resource
import time
from contextlib import contextmanager

SECONDS, MEGABYTES = 1.0, 100


@contextmanager
def at_once():
    """Within a second of this thread, and 100 MB."""
    memory, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    yield
    assert time.thread_time() - started < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1000 * MEGABYTES
