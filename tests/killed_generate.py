"""The program that test_generate_processes.py starts: sets that are written, killed at random moments, and written on.

torch is imported and the source fitted once, and every writing is a fork, which starts fast. It has workers of its own, and all
are killed together, or, once, it alone. Prints how many shards were there at each kill.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from vae_augment import SyntheticDataset
from vae_augment.export import Writer
from vae_augment.source import open_source


def begin(writer: Writer) -> int:
    """Start a process that writes, the first of its group, and return its id."""
    if pid := os.fork():
        return pid
    os.setpgid(0, 0)
    code = 1
    try:
        writer.run(workers=2)
        code = 0
    finally:
        os._exit(code)


def ended_well(pid: int) -> bool:
    return os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    form, root = sys.argv[1], Path(sys.argv[2])
    random.seed(int(sys.argv[3]))
    dataset = SyntheticDataset(open_source("sample"), 4.0, "fashion-mnist")
    whole, killed = (dataset.writer(root / name / "set", format=form, shard_size=100) for name in ("whole", "killed"))
    assert ended_well(begin(whole))
    most = len(whole.contents.shards)
    # at once, at random shards, and when all are there but not the card
    for kill, shards in enumerate([0, *sorted(random.sample(range(1, most), 3)), most]):
        process = begin(killed)
        while (killed.folder / ".vae-augment" / "plan.json").exists() < (shards > 0) or most - len(
            killed.missing()
        ) < shards:
            assert os.waitpid(process, os.WNOHANG) == (0, 0), f"it ended before shard {shards}"
            time.sleep(0.001)
        time.sleep(0.02 * random.random())
        alone = kill == 2
        (os.kill if alone else os.killpg)(process, signal.SIGKILL)
        os.waitpid(process, 0)
        print("killed at", most - len(killed.missing()), "of", most, flush=True)
        if killed.is_whole:
            break
    assert ended_well(begin(killed))
