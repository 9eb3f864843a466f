"""Arrows point down: which file may import which, imports inside functions counted."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = (
    {"user_warning"},
    {"atomic", "images", "demo_data", "numerics", "seeding", "tracing", "version", "workers"},
    {"vae", "jitter", "encoders", "neighbourhoods", "progress", "source", "amounts"},
    {"strength", "pool", "autoencoders", "prior"},
    {"classes", "options", "fit_report", "pool_labels", "report"},
    {"fit", "latent_move"},
    {"engine"},
    {"shortcuts", "hub", "survival"},
    {"apply", "fitted", "calibrated", "preview"},
    {"transform"},
    {"base_fit", "pool_images", "export", "share"},
    {"dataset", "app", "over_sampler"},
    {"__init__"},
    {"commands"},
    {"__main__", "train"},
    {"benchmarks", "examples"},
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
LONGEST = 400  # lines of a file; most are under 300


def files() -> Iterator[Path]:
    for package in ("vae_augment", "train", "benchmarks"):
        yield from sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path) for path in files()}


def room_of(module: str) -> str:
    """`vae_augment.pool.bank` -> pool; the package's own names come from its `__init__`."""
    package, _, rest = module.partition(".")
    return package if package != "vae_augment" else rest.partition(".")[0] or "__init__"


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    """Modules of ours that a file imports, wherever in it, each with the module that the statement names."""
    module = module_of(path)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[tuple[str, str]] = []
        if isinstance(node, ast.Import):
            names = [(alias.name, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            joined = [f"{source}.{alias.name}" for alias in node.names]
            names = [(name if name in MODULES else source, source) for name in joined]
        yield from (pair for pair in names if pair[0] in MODULES)


@pytest.mark.parametrize("path", list(files()), ids=module_of)
def test_imports_point_down_and_use_doors(path):
    module, room = module_of(path), room_of(module_of(path))
    for other, named in imports_of(path):
        if (there := room_of(other)) == room:
            continue
        assert RANK[there] < RANK[room], f"{module} imports {other}"
        is_past_door = named.split(".")[0] == "vae_augment" and named.count(".") > 1
        assert not is_past_door, f"{module} imports from {named}, past the door vae_augment.{there}"


def test_no_import_cycle():
    graph = {module_of(path): {name for name, _ in imports_of(path)} - {module_of(path)} for path in files()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("path", list(files()), ids=module_of)
def test_a_file_is_no_longer_than_two_screens_of_a_subject(path):
    assert len(path.read_text().splitlines()) <= LONGEST


def test_the_tree_in_the_design_has_the_same_order():
    tree = (ROOT / "docs" / "design.md").read_text().partition("## The tree")[2].partition("## ")[0]
    found = re.findall(r"^ ?(\d+) +(\w+)(?:\.py|/)(?: .*?(\w+)\.py)?", tree, re.MULTILINE)
    named = {name: int(number) for number, *names in found for name in names if name}
    levels = {name: rank for rank, names in enumerate(ORDER[:-1]) for name in names if name != "__init__"}
    levels["benchmarks"] = len(ORDER) - 1
    order = sorted(set(levels.values()))
    assert named == {name: order.index(rank) + 1 for name, rank in levels.items()}
