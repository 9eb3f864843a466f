"""A process with the real huggingface_hub in it, which reads its environment once, at import; it runs scripts of tests."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hub_server import TOKEN

PROGRAM = """
import contextlib, io, json, sys
import torch, vae_augment, huggingface_hub
from vae_augment import VAE, VAEAugment, VAEConfig, hub, load_weights
names = dict(globals())
for line in sys.stdin:
    printed, error = io.StringIO(), ""
    try:
        with contextlib.redirect_stdout(printed):
            exec(json.loads(line), dict(names))
    except BaseException as raised:
        error = f"{type(raised).__name__}: {raised}"
    print(json.dumps([printed.getvalue().strip(), error]), flush=True)
"""


@dataclass(frozen=True)
class Done:
    """Output of a script, and the error that it ended with, as `Type: message`; empty without one."""

    out: str
    error: str


def environment(url: str, home: Path, **variables: str) -> dict[str, str]:
    """Environment of a process that takes this server for the Hub, without the user's own settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    own = {"HF_ENDPOINT": url, "HF_HOME": str(home), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return clean | own | variables


class Client:
    """Runs scripts, one after the other, in one process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def run(self, script: str, seconds: float = 120) -> Done:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(script) + "\n")
        self.process.stdin.flush()
        answer: list[str] = []  # by a thread, since Windows cannot wait for a pipe with a limit
        reader = threading.Thread(target=lambda: answer.append(self.process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(seconds)
        assert answer, f"hangs: {script}"
        return Done(*json.loads(answer[0]))


@contextmanager
def client(url: str, home: Path, **variables: str) -> Iterator[Client]:
    """`variables` are further ones of its environment."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment(url, home, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Client(process)
        finally:
            process.kill()
