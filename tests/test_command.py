"""The command `vae-augment` prints weights, ends in an exit code, and lets no stranger's file write to the terminal."""

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.conftest import IMAGES
from tests.hub_client import client
from tests.hub_server import serve
from vae_augment import LatentBank, Weights, __version__, hub
from vae_augment.__main__ import VERBS, main

HOSTILE = "\x1b[2Jgone\rback\x07\x9b31m\u202eesrever\nerror: forged"


def vae_augment(*arguments, **variables):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vae_augment", *arguments],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def folder(vae, tmp_path):
    """Weights of a stranger who wrote into every text what a terminal would obey."""
    weights = Weights(
        vae,
        LatentBank.from_images(vae, IMAGES[:20]),
        {f"Noise{HOSTILE}": 0.5},
        {"name": HOSTILE, f"key{HOSTILE}": 12, "sha256": "0" * 5000},
        {"test_psnr_db": 26.632, f"metric{HOSTILE}": 1.0},
    )
    hub.save(tmp_path / "weights", weights, f"---\nlicense: {json.dumps(HOSTILE)}\n---\n{HOSTILE}\n")
    return tmp_path / "weights"


def test_without_arguments_the_usage_is_told():
    done = vae_augment()
    assert done.returncode == 2
    assert done.stderr.startswith("usage: vae-augment")
    assert done.stdout == ""


def test_the_installed_command_is_this_one():
    scripts = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]
    assert EntryPoint("vae-augment", scripts["vae-augment"], "console_scripts").load() is main
    assert vae_augment("--version").stdout == f"vae-augment {__version__}\n"


def test_every_module_of_the_folder_is_a_verb_with_help(capsys):
    assert "info" in VERBS
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(f"\n    {verb} " in out for verb in VERBS)


def test_bundled_weights_are_told_in_one_block():
    done = vae_augment("info", "mnist")
    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        "name        mnist\n",
        "from        bundled with vae-augment\n",
        "images      1 x 28 x 28 ",
        "latent      48\n",
        "trained on  name: MNIST training images\n            images: 60,000\n",
        "held-out images: 26.54 dB\n",
        "licence     apache-2.0\n",
        "gains       Noise: 0.2689\n",
        "bank        10,000 latents, each with 13 neighbours by latents and HOG and by patch features\n",
        "            model.safetensors: ",
    ):
        assert said in done.stdout
    assert "\n\n" not in done.stdout


def test_json_says_the_same(capsys):
    for name in hub.bundled():
        assert main(["info", name, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        weights, folder = hub.load(name), hub.BUNDLED / name
        assert (told["name"], told["source"], told["folder"], told["commit"]) == (name, "bundled", str(folder), None)
        assert (told["channels"], told["size"], told["latent"]) == (
            weights.vae.channels,
            weights.vae.size,
            list(weights.vae.latent_shape),
        )
        assert told["parameters"] == sum(p.numel() for p in weights.vae.parameters())
        assert (told["provenance"], told["metrics"], told["gains"]) == (
            weights.provenance,
            weights.metrics,
            weights.gains,
        )
        assert told["bank"]["latents"] == len(weights.bank)
        assert told["files"] == {path.name: path.stat().st_size for path in folder.iterdir()}
        assert told["license"] == "apache-2.0"


def test_what_is_not_known_is_said_so(vae, tmp_path, capsys):
    hub.save(tmp_path, Weights(vae), "Mine.\n")
    assert main(["info", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"name        {tmp_path}\nfrom        a local folder\n")
    for said in ("trained on  not recorded", "quality     not measured", "licence     not stated", "bank        none"):
        assert f"\n{said}\n" in out
    assert "gains       none stored\n" in out


def test_a_strangers_file_cannot_write_to_the_terminal(folder, capsys):
    assert main(["info", str(folder)]) == 0
    text = capsys.readouterr().out
    assert all(line.isprintable() for line in text.split("\n"))
    assert text.count("\\x1b[2Jgone\\rback\\x07\\x9b31m\\u202eesrever\\nerror: forged") == 5, "each is seen, escaped"
    assert max(map(len, text.split("\n"))) < 400
    assert main(["info", str(folder), "--json"]) == 0
    text = capsys.readouterr().out
    assert text.isascii()
    assert all(line.isprintable() for line in text.split("\n"))
    assert json.loads(text)["provenance"]["name"] == HOSTILE


def test_an_error_of_a_strangers_file_is_one_line_that_is_printable(folder, capsys):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {HOSTILE: 1}))
    assert main(["info", str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.removesuffix("\n").isprintable()
    assert "unknown keys: \\x1b[2Jgone" in captured.err


def test_a_wrong_name_is_one_line_with_the_close_one():
    done = vae_augment("info", "mnits")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no weights named 'mnits'. Did you mean 'mnist'?")
    assert done.stderr.count("\n") == 1


def test_what_the_output_cannot_encode_is_escaped(vae, tmp_path):
    hub.save(tmp_path, Weights(vae, provenance={"name": "Vögel"}))
    done = vae_augment("info", str(tmp_path), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "name: V\\xf6gel" in done.stdout


def test_names_and_folders_touch_no_network(folder):
    code = f"""
import socket, sys
def refuse(*a, **k): raise OSError("network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from vae_augment.__main__ import main
assert main(["info", "mnist"]) == main(["info", {str(folder)!r}]) == 0
assert "huggingface_hub" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_weights_of_the_hub_are_told_with_their_commit_and_licence(tmp_path):
    fashion = hub.BUNDLED / "fashion-mnist"
    with serve() as server, client(server.url, tmp_path) as process:
        server.commits["me/fashion"], server.refs["me/fashion"] = {"0" * 40: {}}, {"main": "0" * 40}
        files = {name: (fashion / name).read_bytes() for name in hub.FILES if (fashion / name).is_file()}
        server.commit("me/fashion", "main", files | {"README.md": b"---\nlicense: mit\n---\n"})
        sha = server.refs["me/fashion"]["main"]

        def info(*arguments):
            done = process.run(f"from vae_augment.__main__ import main; assert main({['info', *arguments]!r}) == 0")
            assert done.error == ""
            return done.out

        process.run("load_weights('me/fashion')")  # the card is not in the cache
        server.fail(".", 500)
        assert "licence     not stated" in info("me/fashion"), "what is cached is told"
        server.faults.clear()
        out = info("me/fashion")
        assert f"from        the Hugging Face Hub, revision main, commit {sha}\n" in out
        assert "licence     mit\n" in out
        told = json.loads(info("me/fashion", "--revision", sha, "--json"))
        assert (told["source"], told["revision"], told["commit"]) == ("hub", sha, sha)
        assert set(told["files"]) == {*files, "README.md"}
        absent = process.run("from vae_augment.__main__ import main; print(main(['info', 'me/absent']))")
        assert (absent.out, absent.error) == ("2", "")
