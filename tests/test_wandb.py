"""Runs tracked in Weights & Biases: online against a server on loopback, offline read back, and sweeps."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests import wandb_server
from tests.running import python_m_train
from train.__main__ import main
from train.cli import make_parser
from train.log import WANDB_ID_FILE, WANDB_MODE_FILE, Log, artifact_name
from train.recipes import RECIPES
from vae_augment import hub

SHORT = ["sample", "--steps", "20", "--batch_size", "32", "--bank_size", "50", "--vae.width", "16", "--out", "run"]
SWEEP = Path(__file__).parent.parent / "examples" / "sweep.yaml"


@pytest.fixture
def server():
    with wandb_server.serve() as found:
        yield found


def online(server: wandb_server.Server, cwd: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    own = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "a" * 40}
    own |= {f"WANDB_{name}_DIR": str(cwd / name) for name in ("DATA", "CACHE", "CONFIG")}
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    script = f"{before}\nfrom train.__main__ import main; main({[*SHORT, '--wandb', 'online']})"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env=clean | own,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_an_online_run_sends_numbers_pictures_and_the_weights(server, tmp_path):
    done = online(server, tmp_path)
    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stderr.splitlines() if "wandb" in line or "W&B" in line]
    assert told.startswith(f"W&B: {server.url}/me/vae-augment/runs/")
    keys = set().union(*server.rows)
    parts = {"total", "recon", "kl", "lr", "grad_norm", "images_per_second", "epoch", "step", "latents"}
    assert parts | {"test/psnr_db", "test/active_units", "best/loss"} <= keys
    steps = [row["step"] for row in server.rows]
    assert steps == sorted(steps)
    assert steps[-1] == 20
    assert set(server.summary["test/psnr_db"]) == {"last", "max"}
    pictures = {name.split("/")[-1].split("_")[0] for name in server.files if name.endswith(".png")}
    assert {"originals", "reconstructions", "augmentations", "contact"} <= pictures
    assert all(server.files[name][:4] == b"\x89PNG" for name in server.files if name.endswith(".png"))
    # the artifact is the weights folder
    assert set(server.aliases) == {"latest", "step-20", "last"}
    (tmp_path / "artifact").mkdir()
    for name in {*hub.FILES, *hub.DOCUMENTS} - {"prior.safetensors"}:  # it has a bank
        (tmp_path / "artifact" / name).write_bytes(server.files[f"artifact/{name}"])
    one, other = hub.load(tmp_path / "artifact").vae, hub.load(tmp_path / "run").vae
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_server_that_dies_does_not_cost_the_run(server, tmp_path):
    server.dies_after = "UpsertBucket"
    done = online(
        server, tmp_path, "import train.log; train.log.WANDB_FINISH_SECONDS = 3  # five minutes are long for a test"
    )
    assert done.returncode == 0, done.stderr
    assert "wandb: WARNING" in done.stderr or "wandb: ERROR" in done.stderr, done.stderr
    assert hub.load(tmp_path / "run").bank is not None


@pytest.mark.parametrize("variables", [{}, {"WANDB_QUIET": "false"}])
def test_an_offline_run_says_in_one_line_how_to_send_it_unless_wandb_shall_talk(variables, tmp_path):
    done = python_m_train(*SHORT, "--wandb", "offline", cwd=tmp_path, env=variables)
    (place,) = Path(tmp_path, "run", "wandb").glob("offline-run-*")
    told = [line for line in done.stderr.splitlines() if "wandb" in line or "W&B" in line]
    assert f"W&B: offline, `wandb sync {place.relative_to(tmp_path)}` uploads it" in told
    assert ("wandb: Run summary:" in told) == (len(told) > 1) == bool(variables)


def test_an_artifact_has_a_name_that_wandb_takes():
    import wandb

    names = ["vae-run", "vae-caf\xe9", "vae-照片", "vae-图片", "vae-caf\udce9", "照片", "vae-" + "x" * 300, "a b/c"]
    found = [artifact_name(name) for name in names]
    assert found[0] == "vae-run"
    assert len(set(found)) == len(names)
    for name in found:
        wandb.Artifact(name, type="model")


@pytest.mark.parametrize("off", ["true", "1", "YES"])
def test_the_environment_turns_wandb_off(off, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_DISABLED", off)
    monkeypatch.setattr("train.log._init_wandb", lambda *_: pytest.fail("W&B was started"))
    with Log(tmp_path, {}, 1, None):
        pass


def test_the_environment_says_project_and_place(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "plankton")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "logs"))
    (tmp_path / "logs").mkdir()
    (tmp_path / "run").mkdir()
    with Log(tmp_path / "run", {}, 1, "offline") as log:
        assert log._run.project == "plankton"
    assert list((tmp_path / "logs" / "wandb").glob("offline-run-*"))


def test_a_run_over_another_does_not_log_into_its_wandb_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / WANDB_ID_FILE).write_text("of-another")
    main([*SHORT, "--overwrite", "--wandb", "disabled"])
    assert not (tmp_path / "run" / WANDB_ID_FILE).exists()


def stopped(monkeypatch, *flags: str) -> None:
    """A run that Ctrl-C ends at its tenth step, with a checkpoint."""
    with monkeypatch.context() as patch:
        step = Log.step
        patch.setattr(
            Log,
            "step",
            lambda log, at, values: (step(log, at, values), at >= 10 and signal.raise_signal(signal.SIGINT)),
        )
        with pytest.raises(SystemExit, match="--resume run"):
            main([*SHORT, *flags])


@pytest.fixture
def modes(tmp_path, monkeypatch):
    """The mode of each W&B run that would be started, with a key found; folder and environment are the test's own."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr("train.log._is_logged_in", lambda: True)
    monkeypatch.setattr("train.log._init_wandb", lambda folder, config, mode, resume: started.append(mode))
    return started


@pytest.mark.parametrize(
    ("begun", "variables", "resumed", "expected"),
    [
        (["--wandb", "disabled"], {}, [], []),
        (["--wandb", "disabled"], {"WANDB_MODE": "online"}, [], []),
        (["--wandb", "offline"], {}, [], ["offline", "offline"]),
        (["--wandb", "offline"], {"WANDB_MODE": "disabled"}, [], ["offline"]),
        (["--wandb", "online"], {"WANDB_MODE": "offline"}, [], ["online", "offline"]),
        (["--wandb", "online"], {"WANDB_MODE": "dryrun"}, [], ["online", "offline"]),
        (["--wandb", "online"], {"WANDB_DISABLED": "true"}, [], ["online"]),
        (["--wandb", "disabled"], {}, ["--wandb", "online"], ["online"]),
        ([], {}, [], ["online", "online"]),
        ([], {"WANDB_MODE": "offline"}, [], ["online", "offline"]),
    ],
)
def test_a_resumed_run_sends_no_more_than_was_said_when_it_was_begun(
    begun, variables, resumed, expected, modes, monkeypatch
):
    stopped(monkeypatch, *begun)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    main(["--resume", "run", *resumed])
    assert modes == expected


def test_what_is_said_of_wandb_on_resuming_holds_from_then_on(modes, monkeypatch):
    stopped(monkeypatch, "--wandb", "online")
    main(["--resume", "run", "--wandb", "disabled"])
    main(["--resume", "run"])
    assert modes == ["online"]


def test_a_run_over_another_does_not_keep_its_word_on_wandb(modes):
    main([*SHORT, "--wandb", "disabled"])
    main([*SHORT, "--overwrite"])
    main(["--resume", "run"])
    assert modes == ["online", "online"]
    assert not (Path("run") / WANDB_MODE_FILE).exists()


def test_a_damaged_word_on_wandb_is_asked_for_again(modes, monkeypatch):
    stopped(monkeypatch, "--wandb", "disabled")
    (Path("run") / WANDB_MODE_FILE).write_bytes(b"\xffdis")
    with pytest.raises(SystemExit, match="wandb_mode is damaged: go on with --wandb disabled, offline or online"):
        main(["--resume", "run"])
    main(["--resume", "run", "--wandb", "disabled"])
    assert modes == []


def test_what_a_sweep_varies_the_trainer_understands():
    """`wandb agent` writes a chosen setting as --key=value."""
    sweep = yaml.safe_load(SWEEP.read_text())
    assert sweep["command"] == ["python", "-m", "train", "fashion-mnist", "${args}"]
    parser = make_parser(RECIPES["fashion-mnist"])
    choices = [
        [f"--{name}={value}" for value in given.get("values", [given.get("value", given.get("min"))])]
        for name, given in sweep["parameters"].items()
    ]
    for arguments in itertools.zip_longest(*choices):
        chosen = [argument for argument in arguments if argument is not None]
        options = parser.parse_args(chosen)
        for argument in chosen:
            name, value = argument.removeprefix("--").split("=")
            assert options[name] == yaml.safe_load(value)
