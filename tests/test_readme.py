"""README and docs: their code runs, their figures are the stored ones, their links lead somewhere, the tree is the tree."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision.transforms.v2.functional import to_pil_image

from tests.conftest import IMAGES

ROOT = Path(__file__).parent.parent
README, TRAINING, BENCHMARKS, DESIGN, QUICKSTART, REPORT, SCALE = (
    "README.md",
    "docs/training.md",
    "docs/benchmarks.md",
    "docs/design.md",
    "docs/quickstart.md",
    "docs/report.md",
    "docs/scale.md",
)
PAGES = [
    README,
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]
GENERATED = {  # by the site, tests/test_site.py follows its links
    "docs/gallery",
    "docs/notebooks",
}
OTHERS = {  # tests that run the code of a page, where it needs what these prepare
    "docs/training.md": "below",
    "docs/scale.md": "below",
    "docs/synthetic.md": "test_generate.py",
    "docs/preview.md": "test_preview.py",
    "docs/report.md": "test_report_page.py",
    "docs/design.md": "",  # declarations, cut short
}
TEXT = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT[page], re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def run(*words: object, cwd: Path) -> None:
    subprocess.run([sys.executable, *map(str, words)], cwd=cwd, env=os.environ | {"WANDB_MODE": "disabled"}, check=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `python -m train sample` was run, as the pages say at their beginning."""
    folder = tmp_path_factory.mktemp("trained")
    run("-m", "train", "sample", cwd=folder)
    return folder


@pytest.fixture
def beside_a_run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to change."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def python_blocks(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The names that the page's python blocks leave, run one after the other."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page not in OTHERS])
def test_python_blocks_run_one_after_the_other(page, tmp_path, monkeypatch):
    names = python_blocks(page, tmp_path, monkeypatch)
    if page not in (README, QUICKSTART):
        return
    assert names["augment"](names["batch"]).shape == (64, 1, 28, 28)
    dataset = names["dataset"]
    assert (len(names["base"]), len(dataset), dataset.is_synthetic(500), dataset.source(500)) == (500, 750, True, 44)


def test_python_blocks_of_the_training_page_run_beside_a_run(beside_a_run, monkeypatch):
    assert "runs/sample" in repr(python_blocks(TRAINING, beside_a_run, monkeypatch)["augment"])


def test_python_blocks_of_the_page_on_scale_run(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    names = python_blocks(SCALE, tmp_path, monkeypatch)
    assert len(names["bank"]) == 100
    assert (tmp_path / "large" / "bank.safetensors").is_file()


def commands(*pages: str) -> list[str]:
    lines = "\n".join(block for page in pages for block in blocks(page, "bash")).splitlines()
    found = [line.split("#")[0].strip() for line in lines if line.startswith(("python ", "vae-augment "))]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize(
    "command", commands(*(page for page in PAGES if page != BENCHMARKS and OTHERS.get(page, "below") == "below"))
)
def test_commands_run(command, tmp_path, request):
    """Examples, `train sample` and what is done with its run in full; other training up to its parsed configuration."""
    words = shlex.split(command)
    for image, name in zip(IMAGES, ("cat", "dog"), strict=False):
        (tmp_path / "photos" / name).mkdir(parents=True)
        to_pil_image(image.repeat(3, 1, 1)).save(tmp_path / "photos" / name / "1.jpg")
    shutil.copytree(tmp_path / "photos", tmp_path / "unlabelled")
    np.save(tmp_path / "bands.npy", IMAGES[:8].repeat(1, 4, 1, 1).numpy())
    if "runs/sample" in command:
        request.getfixturevalue("beside_a_run")  # in tmp_path
    if words[0] == "vae-augment":
        words[:1] = ["python", "-m", "vae_augment"]
    elif words[1].endswith(".py"):
        words[1] = str(ROOT / words[1])
    elif words[:4] != ["python", "-m", "train", "sample"] and "--resume" not in words and "--print_config" not in words:
        words.append("--print_config")
    run(*words[1:], cwd=tmp_path)
    assert words[-1] != "sample" or (tmp_path / "runs" / "sample" / "config.json").exists()


@pytest.mark.parametrize("command", [line for line in commands(BENCHMARKS) if " benchmarks." in line])
def test_benchmarks_have_the_flags_that_the_page_names(command):
    _, _, module, *words = shlex.split(command)
    source = (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert all(f'"{word}"' in source for word in words if word.startswith("--"))


def test_every_benchmark_is_on_the_page():
    helpers = {
        "__init__",
        "deformed",
        "fixmatch",
        "many_classes",
        "on_gpu",
        "peers",
        "pretrain",
        "probe",
        "rows",
        "speed_table",
    }  # of the others
    for path in (ROOT / "benchmarks").glob("*.py"):
        assert path.stem in helpers or f"python -m benchmarks.{path.stem}" in TEXT[BENCHMARKS], path


def test_develop_block_is_what_ci_runs():
    (develop,) = (block for block in blocks(README, "bash") if "ruff" in block)
    install, check = develop.splitlines()
    script = (ROOT / ".ci" / "run").read_text()
    assert check in script
    assert install.removeprefix("pip install ") in script


def test_figures_are_those_of_the_weights():
    from vae_augment import hub

    for name in hub.bundled():
        metrics = hub.load(name).metrics
        (row,) = re.findall(rf"^\| `{name}` .*$", TEXT[BENCHMARKS], re.MULTILINE)
        for figure in (
            f"{metrics['test_psnr_db']:.1f} dB",
            f"{metrics['test_bits_per_dim']:.2f}",
            f"{metrics['test_knn_purity']:.3f}",
            f"{metrics['train_seconds']:.0f} s",
        ):
            assert f" {figure} " in row


def test_cards_of_the_bundled_weights_have_their_accuracy():
    from benchmarks.table import load, main_table
    from vae_augment import hub

    for name in ("mnist", "fashion-mnist"):  # photographs' accuracy is measured with banks of their own
        card = (hub.BUNDLED / name / "README.md").read_text()
        rows = re.findall(rf"^\| {name} \| \d+ \| .* \|$", main_table(load()), re.MULTILINE)
        assert len(rows) == 4
        assert all(row in card and row in TEXT[BENCHMARKS] for row in rows)


def test_costs_are_those_of_the_results():
    import json

    from benchmarks import speed, speed_table

    figures = json.loads(speed.RESULTS.read_text())
    assert speed_table.page_table(figures) in TEXT[BENCHMARKS]
    for name in speed.BUNDLED:
        card = (ROOT / "vae_augment" / "weights" / name / "README.md").read_text(encoding="utf-8")
        assert speed_table.card_table(figures, name) in card


def test_the_table_of_writing_is_that_of_the_results():
    import json

    from benchmarks import writing

    assert writing.table(json.loads(writing.RESULTS.read_text())) in TEXT[BENCHMARKS]


def test_accuracy_tables_are_those_of_the_results():
    from benchmarks import table

    cells = table.load()
    made = (table.main_table, table.track_table, table.peer_table, table.variation_table, table.policy_table)
    for text in (*(of(cells) for of in made), table.exemplar_table()):
        assert text in TEXT[BENCHMARKS], text


POLICIES = {"mnist": "affine", "fashion-mnist": "randaugment"}  # the best of each, alone


def test_the_few_figures_of_the_readme_are_those_of_the_benchmarks():
    from benchmarks import own_images, rivals
    from benchmarks.table import difference, load, mean

    cells, photographs, beside = load(), own_images.load(), rivals.load()
    digits, garments = (cells["B", data, 10, policy] for data, policy in POLICIES.items())
    photos = photographs["cifar10", 10, "policy", own_images.OWN]
    pairs = [
        (digits, cells["B", "mnist", 10, "affine+new"]),
        (garments, cells["B", "fashion-mnist", 10, "randaugment+new"]),
        (photos, photographs["cifar10", 10, "policy+new", "cifar10"]),
        (photos, photographs["cifar10", 10, "policy+ours", own_images.OWN]),
        (beside["cifar10", 10, "policy"], beside["cifar10", 10, "decoded"]),
        (cells["B", "fashion-mnist", 100, "randaugment"], cells["B", "fashion-mnist", 100, "randaugment+new"]),
        (cells["A", "mnist", 10, "affine"], cells["A", "mnist", 10, "affine+ours"]),
        (garments, cells["B", "fashion-mnist", 10, "randaugment+jitter"]),
    ]
    section = TEXT[README].partition("## Does it help?")[2].partition("\n## ")[0].replace("**", "")
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    for row, (alone, ours) in zip(rows, pairs, strict=True):
        assert row.endswith(f"| {mean(alone):.2f} | {mean(ours):.2f} | {difference(ours, alone)} |"), row


def files_of_the_tree() -> set[str]:
    """Paths of the python files that the tree names: packages in column 3, their members in 5, files of these in 7."""
    (tree,) = (block for block in blocks(DESIGN, "") if "   vae_augment/ " in block)
    package, folder, found = "", "", set()
    for line in tree.splitlines():
        names = re.findall(r"\w+(?:/|\.py)(?=[ ;]|$)", line)
        column = len(line) - len(line[3:].lstrip())
        if column == 3:
            package, folder = names[0] if names else "", ""
        elif column == 5:
            folder = names[0] if names[0].endswith("/") else ""
        inside = package + folder if column == 7 else package
        found |= {inside + name for name in names if name.endswith(".py")}
    return found


def files_of_the_packages() -> set[str]:
    paths = (path for package in ("vae_augment", "train") for path in (ROOT / package).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix() for path in paths}


def test_the_tree_names_every_file():
    doors = {path for path in files_of_the_packages() if path.endswith("/__init__.py")}
    assert sorted(files_of_the_packages() - doors - files_of_the_tree()) == []


def test_the_tree_names_no_file_that_is_not_there():
    assert sorted(files_of_the_tree() - files_of_the_packages()) == []


def anchors(text: str) -> set[str]:
    """As GitHub makes them of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", TEXT[page]):
        if any(path.startswith(f"{folder.removeprefix('docs/')}/") for folder in GENERATED):
            continue
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), (path, anchor)
