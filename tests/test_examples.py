"""The scripts of examples/ run, offline. Those of examples/gallery run when tests/test_site.py builds the site."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# which needs weights of others, and which a local cluster: tests/test_own_autoencoder.py and tests/test_generate_ray.py run them
ELSEWHERE = {"your_own_autoencoder.py", "ray_generate.py"}


@pytest.mark.parametrize(
    "example",
    [path for path in sorted((ROOT / "examples").glob("*.py")) if path.name not in ELSEWHERE],
    ids=lambda path: path.name,
)
def test_examples_run_offline(example, tmp_path):
    code = (
        "import runpy, socket, sys\n"
        "def refuse(*a, **k): raise OSError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        f"runpy.run_path({str(example)!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout
    if example.name == "quickstart.py":
        assert (tmp_path / "quickstart.png").stat().st_size > 5000
