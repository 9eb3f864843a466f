"""The README's code blocks, extracted and run: they cannot go stale."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from torchvision.transforms.v2.functional import to_pil_image

from tests.conftest import IMAGES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def test_python_blocks_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["augment"](names["batch"]).shape == (64, 1, 28, 28)
    dataset = names["dataset"]
    assert (len(names["base"]), len(dataset), dataset.is_synthetic(500), dataset.source(500)) == (500, 750, True, 44)


def commands() -> list[str]:
    lines = "\n".join(blocks("bash")).splitlines()
    return [line.split("#")[0].strip() for line in lines if line.startswith("python ")]


@pytest.mark.parametrize("command", commands())
def test_commands_run(command, tmp_path):
    """Examples and `train sample` in full; training that needs a data set up to its parsed configuration."""
    words = shlex.split(command)
    (tmp_path / "photos").mkdir()
    to_pil_image(IMAGES[0].repeat(3, 1, 1)).save(tmp_path / "photos" / "boot.jpg")
    if words[1].endswith(".py"):
        words[1] = str(ROOT / words[1])
    elif words[:4] != ["python", "-m", "train", "sample"]:
        words.append("--print_config")
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, env=os.environ | {"WANDB_MODE": "disabled"}, check=True)
    assert words[-1] != "sample" or (tmp_path / "runs" / "sample" / "config.json").exists()


def test_develop_block_is_what_ci_runs():
    (develop,) = (block for block in blocks("bash") if "ruff" in block)
    install, check = develop.splitlines()
    script = (ROOT / ".ci" / "run").read_text()
    assert check in script
    assert install.removeprefix("pip install ") in script


def test_figures_are_those_of_the_weights():
    from vae_augment import hub

    for name in hub.bundled():
        metrics = hub.load(name).metrics
        (row,) = re.findall(rf"^\| `{name}` .*$", README, re.MULTILINE)
        for figure in (
            f"{metrics['test_psnr_db']:.1f} dB",
            f"{metrics['test_bits_per_dim']:.2f}",
            f"{metrics['test_knn_purity']:.3f}",
            f"{metrics['train_seconds']:.0f} s",
        ):
            assert f" {figure} " in row


def test_cards_of_the_bundled_weights_have_their_accuracy():
    from vae_augment import hub

    for name in hub.bundled():
        card = (hub.BUNDLED / name / "README.md").read_text()
        rows = re.findall(rf"^\| {name} \| \d+ \| .* \|$", README, re.MULTILINE)
        assert len(rows) == 4
        assert all(row in card for row in rows)


def test_costs_are_those_of_the_results():
    import json

    figures = json.loads((ROOT / "benchmarks" / "speed.json").read_text())
    one, many = figures["one image, 1 x 28 x 28"], figures["batches, 1 x 28 x 28"]
    for digits, (median, least, largest) in (
        (2, one["VAEAugment"]),
        (2, many["VAEAugment, batch of 64"]),
        (2, many["fitted VAEAugment, batch of 256"]),
        (2, many["fitted.sample of 64"]),
        (2, figures["DataLoader with one worker or more, net of loading"]["SyntheticDataset"]),
    ):
        text = f"{median:.{digits}f} ({least:.{digits}f} to {largest:.{digits}f})"
        assert text in README.replace("**", ""), text


def test_accuracy_tables_are_those_of_the_results():
    from benchmarks.table import exemplar_table, load, main_table, policy_table, track_table

    cells = load()
    for table in (main_table(cells), track_table(cells), exemplar_table(), policy_table(cells)):
        assert table in README, table


def test_the_tree_names_every_file():
    (tree,) = (block for block in blocks("") if "vae_augment/" in block)
    for package in ("vae_augment", "train"):
        for path in (ROOT / package).glob("*.py"):
            assert path.name == "__init__.py" or path.name in tree, path


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
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
