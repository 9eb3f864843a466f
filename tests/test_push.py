"""Push and pull with the real huggingface_hub client, against a server on loopback."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fresh_process import run_script
from tests.hub_server import TOKEN, Hub, InStore, serve
from vae_augment import hub as weights_hub

FASHION = weights_hub.BUNDLED / "fashion-mnist"
PUSH = "from vae_augment import hub; print(hub.push({folder!r}, 'me/fashion', {options}))"
PULL = """
import hashlib, torch
from vae_augment import VAEAugment
from vae_augment.sample import fashion_sample
augment = VAEAugment.from_pretrained("me/fashion", {options})
torch.manual_seed(0)
print(hashlib.sha256(augment(fashion_sample()[0][:8]).numpy().tobytes()).hexdigest())
"""


@pytest.fixture
def server():
    with serve() as hub:
        yield hub


def run(server: Hub, cache: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads its environment once, at import."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    own = {"HF_ENDPOINT": server.url, "HF_HOME": str(cache), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    return run_script(script, clean | own | variables, cache.parent / "output")


def pushed(server: Hub, tmp_path: Path, options: str = "") -> str:
    done = run(server, tmp_path / "pusher", PUSH.format(folder=str(FASHION), options=options))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


def test_what_one_process_pushes_another_loads_bit_for_bit(server, tmp_path):
    sha = pushed(server, tmp_path, "tag='v1'")
    assert set(server.commits["me/fashion"][sha]) == {
        *("config.json", "model.safetensors", "bank.safetensors", "README.md", "samples.png")
    }
    bundled = run(server, tmp_path / "a", PULL.replace("me/fashion", "fashion-mnist").format(options=""))
    for i, options in enumerate((f"revision={sha!r}", "revision='v1'", "")):
        pulled = run(server, tmp_path / f"cache{i}", PULL.format(options=options))
        assert pulled.returncode == 0, pulled.stderr
        assert pulled.stdout == bundled.stdout
    # what was fetched once needs no server
    server.fail = (".", 503)
    offline = run(server, tmp_path / "cache0", PULL.format(options=f"revision={sha!r}"), HF_HUB_OFFLINE="1")
    assert offline.stdout == bundled.stdout, offline.stderr


def test_the_default_upload_path_is_xet(server, tmp_path):
    """Bytes go through hf_xet into its own store and back, never through the server."""
    pytest.importorskip("hf_xet", reason="hf_xet is not installed, as on some platforms")
    server.expect(FASHION, tmp_path / "store")
    done = run(
        server, tmp_path / "pusher", PUSH.format(folder=str(FASHION), options="tag='v1'"), HF_HUB_DISABLE_XET="0"
    )
    if "local://" in done.stderr:
        pytest.skip(f"this hf_xet has no local store: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    sha = done.stdout.split()[-1]
    assert isinstance(server.commits["me/fashion"][sha]["model.safetensors"], InStore)
    assert server.blobs == {}
    bundled = run(server, tmp_path / "a", PULL.replace("me/fashion", "fashion-mnist").format(options=""))
    for i, options in enumerate((f"revision={sha!r}", "revision='v1'")):
        pulled = run(server, tmp_path / f"cache{i}", PULL.format(options=options), HF_HUB_DISABLE_XET="0")
        assert pulled.returncode == 0, pulled.stderr
        assert pulled.stdout == bundled.stdout


def test_one_push_is_one_commit_and_main_may_move(server, tmp_path):
    first = pushed(server, tmp_path)
    assert len(server.commits["me/fashion"]) == 2, "the empty start and one commit"
    server.commit("me/fashion", "main", {"config.json": b"{}"})
    moved = run(server, tmp_path / "a", PULL.format(options=""))
    assert "WeightsError" in moved.stderr
    pinned = run(server, tmp_path / "a", PULL.format(options=f"revision={first!r}"))
    assert pinned.returncode == 0, pinned.stderr


def test_a_private_repository_needs_the_token(server, tmp_path):
    pushed(server, tmp_path, "private=True")
    assert server.private == {"me/fashion"}
    assert run(server, tmp_path / "a", PULL.format(options="")).returncode == 0
    stranger = run(server, tmp_path / "b", PULL.format(options="token=False"))
    assert "FileNotFoundError" in stranger.stderr
    assert "could not be fetched" in stranger.stderr


def test_a_branch_is_pushed_to_and_pulled_from(server, tmp_path):
    pushed(server, tmp_path)
    server.refs["me/fashion"]["smaller"] = server.refs["me/fashion"]["main"]
    main = server.refs["me/fashion"]["main"]
    sha = pushed(server, tmp_path, "revision='smaller', commit_message='again'")
    assert server.refs["me/fashion"] == {"main": main, "smaller": sha}
    assert run(server, tmp_path / "a", PULL.format(options="revision='smaller'")).returncode == 0


def test_a_busy_server_is_told_or_asked_again(server, tmp_path):
    server.fail_times = {"POST /api/models/.*/preupload": [429, 503], "GET /api/models/me/fashion": [429]}
    pushed(server, tmp_path)
    busy = run(server, tmp_path / "a", PULL.format(options=""))
    assert "FileNotFoundError" in busy.stderr
    assert "429 Too Many Requests" in busy.stderr
    assert run(server, tmp_path / "a", PULL.format(options="")).returncode == 0
    assert not any(server.fail_times.values()), "every refusal was met"


def test_a_download_that_breaks_off_leaves_nothing_half(server, tmp_path):
    pushed(server, tmp_path)
    server.cut = "GET .*model.safetensors"
    broken = run(server, tmp_path / "a", PULL.format(options=""), HF_HUB_DOWNLOAD_TIMEOUT="2")
    assert "FileNotFoundError" in broken.stderr
    assert "could not be fetched" in broken.stderr
    server.cut = None
    assert run(server, tmp_path / "a", PULL.format(options="")).returncode == 0, "the same cache, afterwards"


def test_a_push_that_breaks_off_commits_nothing(server, tmp_path):
    server.fail = ("PUT /blobs", 422)  # not one that the client tries again for half a minute
    done = run(server, tmp_path / "a", PUSH.format(folder=str(FASHION), options=""))
    assert done.returncode == 1
    assert len(server.commits["me/fashion"]) == 1
    server.fail = None
    pushed(server, tmp_path)
    assert run(server, tmp_path / "a", PULL.format(options="")).returncode == 0


def test_two_processes_fill_one_cache(server, tmp_path):
    pushed(server, tmp_path)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: run(server, tmp_path / "a", PULL.format(options="")), range(2)))
    assert [done.returncode for done in both] == [0, 0], both[0].stderr + both[1].stderr
    assert both[0].stdout == both[1].stdout


def test_a_cache_that_cannot_be_written_is_told(server, tmp_path):
    pushed(server, tmp_path)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the cache should be")
    done = run(server, tmp_path, PULL.format(options=f"cache_dir={str(blocked)!r}"))
    assert "FileNotFoundError" in done.stderr
    assert "blocked" in done.stderr
    # a cache on a read-only disk, as in a container: what is in it loads
    run(server, tmp_path / "full", PULL.format(options=""))
    for path in sorted((tmp_path / "full").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    loaded = run(server, tmp_path / "full", PULL.format(options=""))
    for path in sorted((tmp_path / "full").rglob("*")):
        path.chmod(0o755)
    assert loaded.returncode == 0, loaded.stderr


def test_a_repository_with_a_missing_file_is_told(server, tmp_path):
    sha = pushed(server, tmp_path)
    del server.commits["me/fashion"][sha]["model.safetensors"]
    done = run(server, tmp_path / "a", PULL.format(options=""))
    assert "FileNotFoundError" in done.stderr
    assert "model.safetensors" in done.stderr


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_server_that_refuses_is_told_and_nothing_is_committed(server, tmp_path, status):
    server.fail = ("POST .*commit", status)
    done = run(server, tmp_path, PUSH.format(folder=str(FASHION), options=""))
    assert done.returncode == 1
    assert str(status) in done.stderr
    assert len(server.commits["me/fashion"]) == 1
    server.fail = ("GET /api/models", status)
    pull = run(server, tmp_path, PULL.format(options=""))
    assert "FileNotFoundError" in pull.stderr, pull.stderr


def test_what_does_not_load_is_not_pushed(server, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    done = run(server, tmp_path / "a", PUSH.format(folder=str(tmp_path), options=""))
    assert "WeightsError" in done.stderr
    assert server.requests == []


def test_missing_revision_is_named(server, tmp_path):
    pushed(server, tmp_path)
    done = run(server, tmp_path / "a", PULL.format(options="revision='v9'"))
    assert "FileNotFoundError" in done.stderr
    assert "v9" in done.stderr


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
    assert set(files) == {*weights_hub.FILES, *weights_hub.DOCUMENTS}
    assert b'from_pretrained("me/garments"' in files["README.md"]
    assert server.private == {"me/garments"}
    wrong = run(server, tmp_path, script.format(out=str(tmp_path / "other"), repo="no id", url=server.url))
    assert "of the form user/repo" in wrong.stderr
    assert not (tmp_path / "other").exists(), "told before training"
    server.fail = ("POST", 403)
    refused = run(server, tmp_path, script.format(out=str(tmp_path / "third"), repo="me/third", url=server.url))
    assert refused.returncode == 1
    assert "the weights are whole" in refused.stderr
    assert weights_hub.load(tmp_path / "third").bank is not None
