"""A run goes on where it was: with what it was begun with, from checkpoints that are whole, alone in its folder."""

import dataclasses
import re
import shutil
import signal
import sys
from importlib.util import find_spec

import pytest
import torch
import yaml
from torchvision.transforms.v2.functional import to_pil_image

from tests.conftest import IMAGES
from tests.running import python_m_train, records, started, wait_for_step
from train import checkpoint
from train import data as datasets
from train.__main__ import main
from train.errors import exit_with_remedy
from train.lock import LOCK_FILE, locked
from train.log import Log
from train.loop import train
from train.loss import evaluate
from train.recipes import Recipe
from vae_augment import VAEAugment, VAEConfig, hub
from vae_augment.__main__ import main as vae_augment

LONG = ["sample", "--steps", "500", "--batch_size", "32", "--bank_size", "50"]
SMALL = Recipe(vae=VAEConfig(latent_dim=4, width=16), steps=40, batch_size=32, bf16=False, checkpoint_every=10)
WEIGHTS = ("model.safetensors", "bank.safetensors")
TINY = ["--steps", "20", "--batch_size", "8", "--bank_size", "0", "--vae.width", "16", "--wandb", "disabled"]


def same_weights(a, b):
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in WEIGHTS)


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_run_that_began_over_another_does_not_resume_that_one(tmp_path):
    python_m_train(*LONG, "--steps", "20", "--out", "run", cwd=tmp_path)
    assert (tmp_path / "run" / checkpoint.FILE).exists()
    process = started(*LONG, "--seed", "7", "--out", "run", "--overwrite", cwd=tmp_path)
    while "seed: 7" not in (tmp_path / "run" / "training.yaml").read_text():
        assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()
    done = python_m_train("--resume", "run", cwd=tmp_path, check=False)
    assert "no checkpoint.pt to resume from" in done.stderr


class StopAt(Log):
    """Ctrl-C at a step that is logged."""

    def __init__(self, folder, stop):
        super().__init__(folder, {}, 40, "disabled")
        self._stop = stop

    def step(self, step, metrics):
        super().step(step, metrics)
        if step == self._stop:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.skipif(
    sys.platform == "win32" or not (shutil.which("g++") or shutil.which("clang++")),
    reason="torch.compile needs a C++ compiler",
)
@pytest.mark.skipif(
    torch.__version__ < "2.7" and find_spec("setuptools") is None, reason="torch 2.6 compiles with setuptools"
)
def test_a_compiled_run_goes_on_too_and_ends_like_one_that_is_not(tmp_path):
    recipe = dataclasses.replace(SMALL, vae=VAEConfig(latent_dim=4, width=16))
    data, compiled = datasets.load("sample", 1, 28), dataclasses.replace(recipe, compile=True)
    with Log(tmp_path, {}, 40, "disabled") as log:
        plain = train(recipe, data, log, tmp_path)
        whole = train(compiled, data, log, tmp_path)
    with StopAt(tmp_path, 20) as log, pytest.raises(KeyboardInterrupt):
        train(compiled, data, log, tmp_path)
    state = checkpoint.load(tmp_path)
    assert state["step"] == 20
    with Log(tmp_path, {}, 40, "disabled", 20) as log:
        resumed = train(compiled, data, log, tmp_path, state)
    for a, b, c in zip(plain.parameters(), whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(b, c)
        assert torch.allclose(a, b, atol=1e-3)


def test_a_library_that_the_compiler_lacks_is_named():
    def backend(graph, inputs):
        raise ModuleNotFoundError("No module named 'builder'", name="builder")

    def compiled():
        with exit_with_remedy(None):
            torch.compile(torch.neg, backend=backend)(torch.ones(1))

    torch.compiler.reset()
    with pytest.raises(
        SystemExit, match=r"^error: torch.compile failed .*No module named 'builder'.*: pip install builder, or leave"
    ):
        compiled()


def test_without_a_compiler_compile_is_one_clear_error(tmp_path):
    env = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = python_m_train("sample", "--compile", "true", "--out", "run", cwd=tmp_path, env=env, check=False)
    assert done.returncode == 1
    assert "error: torch.compile failed" in done.stderr
    assert "leave --compile out" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_best_weights_are_kept_beside_the_last_and_saved_if_asked_for(tmp_path, capsys):
    images = datasets.load("sample", 1, 28).train
    data = datasets.Data("eight images", images[:8], images[8:108])  # so few are soon learned by heart
    recipe = dataclasses.replace(SMALL, steps=200, batch_size=8, lr=1e-2, ema=0.5)
    with Log(tmp_path, {}, recipe.steps, "disabled") as log:
        last = train(recipe, data, log, tmp_path)
    best = checkpoint.load(tmp_path, checkpoint.BEST_FILE)
    assert best["step"] < 200
    assert f"weights of step {best['step']}: --resume {tmp_path} --keep best" in capsys.readouterr().err
    with Log(tmp_path, {}, recipe.steps, "disabled", 200) as log:
        kept = train(dataclasses.replace(recipe, keep="best"), data, log, tmp_path, checkpoint.load(tmp_path))
    assert all(torch.equal(value, best["average"][name]) for name, value in kept.named_parameters())
    assert evaluate(kept, data.test)["nats"] < evaluate(last, data.test)["nats"]
    losses = [record["best/loss"] for record in records(tmp_path) if "best/loss" in record]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] == pytest.approx(evaluate(kept, data.test)["nats"], abs=1e-3)


def test_checkpoints_of_one_format_have_the_same_keys(tmp_path):
    """Later versions resume them, so that a renamed field keeps its name here."""
    with Log(tmp_path, {}, 10, "disabled") as log:
        train(dataclasses.replace(SMALL, steps=10), datasets.load("sample", 1, 28), log, tmp_path)
    keys = "images vae average optimizer batches step skipped seconds best best_step sums rng format"
    assert checkpoint.FORMAT_VERSION == 2
    assert checkpoint.load(tmp_path).keys() == set(keys.split())
    assert checkpoint.load(tmp_path, checkpoint.BEST_FILE).keys() == {"format", "step", "average"}


def test_how_often_and_what_to_keep_may_change_in_a_resumed_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "--steps",
        "30",
        "--batch_size",
        "32",
        "--bank_size",
        "0",
        "--vae.latent_dim",
        "4",
        "--vae.width",
        "16",
    ]
    main(["sample", *arguments, "--out", "run", "--wandb", "disabled"])
    main(["--resume", "run", "--keep", "best", "--checkpoint_every", "7", "--wandb", "disabled"])
    assert "keep: best" in (tmp_path / "run" / "README.md").read_text()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_refused_resume_changes_nothing_and_a_finished_run_stays_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(12):
        to_pil_image(IMAGES[i]).save(tmp_path / "photos" / f"{i:02}.png")
    small = ["--size", "28", "--steps", "20", "--vae.width", "16", "--bank_size", "0"]
    main(["--data", "folder:photos", *small, "--out", "run", "--wandb", "disabled"])
    before = contents(tmp_path / "run")
    numbers = records(tmp_path / "run")
    with pytest.raises(SystemExit, match="its own folder, run: leave --out other out"):
        main(["--resume", "run", "--out", "other", "--wandb", "disabled"])
    for i in range(12):
        to_pil_image(IMAGES[20 + i]).save(tmp_path / "photos" / f"{i:02}.png")
    with pytest.raises(SystemExit, match="other images than these"):
        main(["--resume", "run", "--wandb", "disabled"])
    assert contents(tmp_path / "run") == before
    for i in range(12):
        to_pil_image(IMAGES[i]).save(tmp_path / "photos" / f"{i:02}.png")
    with monkeypatch.context() as broken:
        broken.setattr("train.run.solve_gains", lambda *_: (_ for _ in ()).throw(OSError("broken off")))
        with pytest.raises(SystemExit, match="error: broken off"):
            main(["--resume", "run", "--wandb", "disabled"])
    assert hub.load(tmp_path / "run").metrics
    main(["--resume", "run", "--wandb", "disabled"])
    assert records(tmp_path / "run") == numbers, "its last measurement once"


def test_printed_commands_are_quoted_for_the_shell(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("train.run.solve_gains", interrupted)
        with pytest.raises(SystemExit, match="interrupted; to go on: python -m train --resume 'my run 1'"):
            main(["sample", *TINY, "--out", "my run 1"])
    with pytest.raises(SystemExit, match="--resume 'my run 1', or say --overwrite"):
        main(["sample", *TINY, "--out", "my run 1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "0.5", "--vae.width", "32"], r"these differ: (?=.*lr \(0.01 -> 0.5\)).*width \(16 -> 32\)"),
        ([], r"run has no checkpoint\.pt to resume from"),
    ],
)
def test_what_cannot_be_resumed_is_told(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    begun = yaml.safe_dump(dataclasses.asdict(dataclasses.replace(SMALL, data="sample")))
    (tmp_path / "run" / "training.yaml").write_text(begun)
    with pytest.raises(SystemExit, match=message):
        main(["--resume", "run", *arguments])
    with pytest.raises(SystemExit, match="none is no run"):
        main(["--resume", "none"])


WHOLE = yaml.safe_dump(dataclasses.asdict(dataclasses.replace(SMALL, data="sample")), sort_keys=False)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "steps", WHOLE[:-10], WHOLE[40:], WHOLE.replace("steps: 40", "steps: many")),
        *(
            WHOLE.replace("steps: 40", f"steps: {value}")
            for value in ("0", "null", "9" * 5000, "[" * 100_000, "!!int x")
        ),
        *(WHOLE + line for line in ("surprise: 1", "- x", "\t\0", "vae: 3", "vae: {}", "vae: null")),
        WHOLE.replace("width: 16", "width: {a: {a: {a: 1}}}"),
        WHOLE.encode() + b"\xff\xfe",
    ],
    ids=lambda text: repr(text[-20:]),
)
def test_a_damaged_recipe_of_a_run_is_told_in_one_line(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "training.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SystemExit) as ended:
        main(["--resume", "run", "--wandb", "disabled"])
    assert re.fullmatch(r"error: .*[Bb]egin a new run.*", ended.value.code)
    assert ended.value.code.isprintable()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["training.yaml"]


def test_a_run_that_another_process_writes_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    live = started(*LONG, "--out", "run", cwd=tmp_path)
    wait_for_step(tmp_path / "run", 50, live)
    for arguments in (["--resume", "run"], ["sample", *TINY, "--out", "run", "--overwrite"]):
        with pytest.raises(SystemExit, match=rf"run is being written by process {live.pid} on .*: wait until that has"):
            main(arguments)
    assert live.wait(timeout=120) == 0
    assert [record["step"] for record in records(tmp_path / "run") if "total" in record] == list(range(50, 501, 50))
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_a_lock_that_a_killed_process_left_holds_nobody_up(tmp_path):
    (tmp_path / LOCK_FILE).write_text("process 1 on this machine")
    with locked(tmp_path), pytest.raises(ValueError, match="is being written"), locked(tmp_path):
        pass
    with pytest.raises(OSError, match="broken off"), locked(tmp_path / "new" / "run"):
        raise OSError("broken off")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of which only the measuring is left."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    main(["sample", *TINY, "--vae.latent_dim", "4", "--out", str(folder)])
    return folder


def renamed(state, key):
    state[key + "?"] = state.pop(key)


def first_moments(state):
    return state["optimizer"]["state"][0]


WRONG = {
    "no dict": lambda s: [1, 2],
    "a tensor": lambda s: torch.zeros(3),
    "nothing": lambda s: {"format": checkpoint.FORMAT_VERSION, "images": s["images"]},
    **{
        f"no {key}": lambda s, key=key: renamed(s, key)
        for key in ("vae", "optimizer", "batches", "sums", "rng", "step")
    },
    "step of words": lambda s: s.update(step="many"),
    "step below 0": lambda s: s.update(step=-3),
    "step past the end": lambda s: s.update(step=10**9),
    "seconds NaN": lambda s: s.update(seconds=float("nan")),
    "best NaN": lambda s: s.update(best=float("nan")),
    "weights of another shape": lambda s: s["vae"].update(latent_mean=torch.zeros(5)),
    "weights NaN": lambda s: s["average"]["latent_mean"].fill_(float("nan")),
    "weights of numbers": lambda s: s["vae"].update(latent_mean=3),
    "weights missing": lambda s: s["vae"].popitem(),
    "optimizer a list": lambda s: s.update(optimizer=[]),
    "optimizer of half the weights": lambda s: s["optimizer"]["state"].popitem(),
    "moments of another shape": lambda s: first_moments(s).update(exp_avg=torch.zeros(2)),
    "moments that are one number": lambda s: first_moments(s).update(
        exp_avg=torch.zeros(1).expand(first_moments(s)["exp_avg"].shape)
    ),
    "moments missing": lambda s: first_moments(s).pop("exp_avg_sq"),
    "batches elsewhere": lambda s: s["batches"].update(start=-7),
    "batches drawn by nothing": lambda s: s["batches"].update(drawn_at=torch.zeros(3, dtype=torch.uint8)),
    "sums of words": lambda s: s["sums"].update(kl="none"),
    "sums of half the loss": lambda s: s["sums"].pop("total"),
    "random state missing": lambda s: s["rng"].clear(),
    "random state of floats": lambda s: s["rng"].update(cpu=torch.zeros(5056)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_checkpoint_of_wrong_content_is_damaged_and_nothing_is_changed(wrong, stopped, capsys):
    path = stopped / checkpoint.FILE
    whole = path.read_bytes()
    state = checkpoint.load(stopped)
    changed = WRONG[wrong](state)
    torch.save(changed if wrong in ("no dict", "a tensor", "nothing") else state, path)
    before = contents(stopped)
    try:
        with pytest.raises(SystemExit, match=r"^error: .*checkpoint\.pt is damaged \([^\n]*\): begin a new run$"):
            main(["--resume", str(stopped), "--wandb", "disabled"])
        assert contents(stopped) == before
    finally:
        path.write_bytes(whole)


def test_weights_of_a_run_that_was_stopped_are_told_how_to_come(stopped, tmp_path, capsys):
    run = tmp_path / "my run"
    shutil.copytree(stopped, run)
    (run / "config.json").unlink()  # which a run writes last
    for i in range(4):
        (tmp_path / "photos" / str(i % 2)).mkdir(parents=True, exist_ok=True)
        to_pil_image(IMAGES[i]).save(tmp_path / "photos" / str(i % 2) / f"{i}.png")
    told = f"is a run that has not ended, and has no weights yet: go on with it, python -m train --resume '{run}'"
    with pytest.raises(FileNotFoundError, match=re.escape(told)):
        VAEAugment.from_pretrained(run)
    made = ["--out", str(tmp_path / "made"), "--count", "2"]
    assert vae_augment(["generate", str(tmp_path / "photos"), "--weights", str(run), *made]) != 0
    assert told in capsys.readouterr().err
    (run / checkpoint.FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"is not a weights folder: it has no config\.json"):
        VAEAugment.from_pretrained(run)


@pytest.mark.parametrize("content", [None, b"", {"step": 1}, {"average": {"latent_mean": torch.zeros(3)}}])
def test_without_its_best_weights_a_run_keeps_its_last(content, stopped, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    state = checkpoint.load(run)
    checkpoint.save(run, state | {"best_step": 10})
    (run / checkpoint.BEST_FILE).unlink()
    if isinstance(content, bytes):
        (run / checkpoint.BEST_FILE).write_bytes(content)
    elif content is not None:
        checkpoint.save(run, content, checkpoint.BEST_FILE)
    with pytest.raises(SystemExit, match=r"best\.pt is damaged \(.*\): --resume .*run --keep last does without it"):
        main(["--resume", str(run), "--keep", "best", "--wandb", "disabled"])
    main(["--resume", str(run), "--keep", "last", "--wandb", "disabled"])


def test_damaged_lines_of_metrics_are_dropped_and_cost_no_run(stopped, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    numbers = records(run)
    with open(run / "metrics.jsonl", "ab") as file:
        for line in (b"", b"\0" * 300, b"{}", b"[1]", b'{"step": "x"}', b"\xff\xfe", b"[" * 100_000, b'{"step": 3'):
            file.write(line + b"\n")
        file.write(b'{"step": 7, "kl": ')
    main(["--resume", str(run), "--wandb", "disabled"])
    assert records(run) == numbers
