"""The Hub from several processes, with caches that cannot be written, offline, from the trainer, and from a foreign server."""

import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from tests.hub_client import environment
from tests.hub_server import Hub, serve
from vae_augment import hub as weights_hub

FASHION = weights_hub.BUNDLED / "fashion-mnist"
PULL = """
import hashlib, os, sys
import huggingface_hub, vae_augment
from vae_augment import hub
{before}
weights = hub.load("me/fashion", {options})
state = weights.vae.state_dict()
tensors = [*(state[key] for key in sorted(state)), weights.bank.latents, weights.bank.views[0].neighbours]
print(hashlib.sha256(b"".join(tensor.float().numpy().tobytes() for tensor in tensors)).hexdigest(), weights.commit)
"""


@pytest.fixture
def server():
    with serve() as hub:
        hub.commits["me/fashion"], hub.refs["me/fashion"] = {"0" * 40: {}}, {"main": "0" * 40}
        here = [name for name in weights_hub.FILES if (FASHION / name).is_file()]
        hub.commit("me/fashion", "main", {name: (FASHION / name).read_bytes() for name in here})
        yield hub


@pytest.fixture
def bundled(server):
    """Output of a process that has loaded these weights."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(PULL.replace("me/fashion", "fashion-mnist").format(before="", options=""), {})
    return printed.getvalue().replace("None", server.refs["me/fashion"]["main"])


def start(server: Hub, home: Path, script: str, **variables: str) -> "subprocess.Popen[str]":
    # root may write everywhere, unless it starts a program without that right
    as_others = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 and shutil.which("setpriv") else []
    return subprocess.Popen(
        [*as_others, sys.executable, "-c", script],
        env=environment(server.url, home, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(server: Hub, home: Path, script: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    with start(server, home, script, **variables) as process:
        out, error = process.communicate(timeout=120)
        return subprocess.CompletedProcess(script, process.returncode, out, error)


def test_two_processes_fill_one_cache_at_once(server, bundled, tmp_path):
    server.pause = 0.3  # so that both are at it together
    script = PULL.format(before="print('ready', flush=True); sys.stdin.readline()", options="")
    pair = [start(server, tmp_path, script) for _ in range(2)]
    for process in pair:
        assert process.stdout.readline() == "ready\n"
    for process in pair:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in pair:
        out, error = process.communicate(timeout=120)
        assert (out, process.returncode) == (bundled, 0), error
    assert list(tmp_path.rglob("*.incomplete")) == []
    server.requests.clear()
    offline = run(server, tmp_path, PULL.format(before="", options=""), HF_HUB_OFFLINE="1")
    assert offline.stdout == bundled, offline.stderr
    assert server.requests == [], "what is cached needs no server"


def test_offline_and_not_cached(server, tmp_path):
    empty = run(server, tmp_path, PULL.format(before="", options=""), HF_HUB_OFFLINE="1")
    assert "\nConnectionError" in empty.stderr
    assert "It is not in the cache" in empty.stderr
    assert server.requests == []


def test_a_cache_that_cannot_be_written(server, bundled, tmp_path):
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and there is no setpriv (util-linux) to take that from it")
    writable(tmp_path, False)
    empty = run(server, tmp_path, PULL.format(before="", options=""))
    assert "\nConnectionError" in empty.stderr
    assert "cannot be written" in empty.stderr
    assert "cache_dir" in empty.stderr
    writable(tmp_path, True)
    assert run(server, tmp_path, PULL.format(before="", options="")).stdout == bundled
    writable(tmp_path, False)
    filled = run(server, tmp_path, PULL.format(before="", options=""))
    writable(tmp_path, True)
    assert filled.stdout == bundled, filled.stderr


def writable(folder: Path, may: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chmod(path, (0o555 if path.is_dir() else 0o444) | (0o200 if may else 0))


def test_the_trainer_pushes_with_the_hub_name_in_the_card(server, tmp_path):
    script = (
        "from train.__main__ import main; "
        "main(['sample', '--steps', '20', '--bank_size', '50', '--out', {out!r}, '--wandb', 'disabled', "
        "'--push-to-hub', {repo!r}, '--private', '--endpoint', {url!r}])"
    )
    done = run(server, tmp_path, script.format(out=str(tmp_path / "run"), repo="me/garments", url=server.url))
    assert done.returncode == 0, done.stderr
    sha = done.stdout.split("revision='")[1][:40]
    files = server.commits["me/garments"][sha]
    assert set(files) == {*weights_hub.FILES, *weights_hub.DOCUMENTS} - {"prior.safetensors"}  # it has a bank
    assert b'from_pretrained("me/garments"' in files["README.md"]
    assert b"](samples.png)" in files["README.md"]
    assert server.private == {"me/garments"}
    wrong = run(server, tmp_path, script.format(out=str(tmp_path / "other"), repo="no id", url=server.url))
    assert "of the form user/repo" in wrong.stderr
    assert not (tmp_path / "other").exists(), "told before training"
    server.fail("POST", 403)
    refused = run(server, tmp_path, script.format(out=str(tmp_path / "third"), repo="me/third", url=server.url))
    assert refused.returncode == 1
    assert "the weights are whole" in refused.stderr
    assert weights_hub.load(tmp_path / "third").bank is not None


@pytest.mark.skipif(
    shutil.which("olah-cli") is None, reason="olah is not installed: pip install olah, in a venv of its own"
)
@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_pull_by_tag_from_a_server_of_others(bundled, tmp_path):
    """olah, a mirror of the Hub by other authors, serves git repositories."""
    repo = tmp_path / "mirrors" / "models" / "me" / "fashion"
    shutil.copytree(FASHION, repo)
    git = ["git", "-C", str(repo), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "weights"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True)
    sha = subprocess.run([*git, "rev-parse", "v1"], check=True, capture_output=True, text=True).stdout.strip()
    (repo / "config.json").write_text("{}")
    subprocess.run([*git, "commit", "-q", "-a", "-m", "main moves on"], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "olah.toml").write_text(
        f'[basic]\nhost = "127.0.0.1"\nport = {port}\nrepos-path = "{tmp_path / "repos"}"\n'
        f'mirrors-path = ["{tmp_path / "mirrors"}"]\n[accessibility]\noffline = true\n'
    )
    command = ["olah-cli", "-c", str(tmp_path / "olah.toml"), "--log-path", str(tmp_path / "logs")]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path) as olah:
        try:
            wait_for(port, tmp_path / "log")
            foreign = Hub(tmp_path)
            foreign.url = f"http://127.0.0.1:{port}"
            pulled = run(foreign, tmp_path / "cache", PULL.format(before="", options="revision='v1'"))
            assert pulled.stdout.split() == [bundled.split()[0], sha], pulled.stderr
            moved = run(foreign, tmp_path / "cache", PULL.format(before="", options=""))
            assert "WeightsError" in moved.stderr
        finally:
            olah.terminate()


def wait_for(port: int, log: Path) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.5)
        else:
            return
    pytest.fail(f"olah does not answer: {log.read_text()[-2000:]}")
