"""The site: it builds without a warning and without network, its links lead somewhere, and it says all that is public."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import vae_augment

ROOT = Path(__file__).parent.parent
NEEDED = ("sphinx", "furo", "myst_nb", "sphinx_gallery")
pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)), reason="needs pip install 'vae-augment[docs]'"
)
OFFLINE = """
import runpy, socket, sys
def refuse(*a, **k): raise OSError("network")
socket.socket.connect = socket.getaddrinfo = refuse
sys.argv[0] = "sphinx-build"
runpy.run_module("sphinx", run_name="__main__")
"""
PUBLIC_MODULES = ("prior", "jitter", "encoders", "vae", "hub", "report")  # each has a page of the reference


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; the gallery's examples run in it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            OFFLINE,
            "-W",
            "-q",
            "-d",
            str(folder / "trees"),
            "-b",
            "html",
            "docs",
            str(folder / "html"),
        ],
        cwd=ROOT,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it that may be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loads: set[str] = set()
        self.ids: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a":
            self.links.add(given.get("href", ""))
        elif tag in ("script", "img", "iframe", "source"):
            self.loads.add(given.get("src", ""))
        elif tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.add(given.get("href", ""))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path.resolve(): Page(path) for path in site.rglob("*.html")}


def test_every_link_within_the_site_leads_somewhere(pages):
    lost = []
    for path, page in pages.items():
        for link in page.links | page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                lost.append(f"{path.name}: {link}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids:
                lost.append(f"{path.name}: {link}: no such place")
    assert lost == []


def test_pages_load_nothing_from_elsewhere(site, pages):
    outside = re.compile(r"^(https?:)?//")
    assert [(path.name, load) for path, page in pages.items() for load in page.loads if outside.match(load)] == []
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def documented(pages: dict[Path, Page]) -> list[str]:
    """Full names that have a place on a page of the reference."""
    return [
        name for path, page in pages.items() if path.parent.name == "api" for name in page.ids if "vae_augment." in name
    ]


def test_every_public_name_is_in_the_reference_once(pages):
    names = [name.rpartition(".")[2] for name in documented(pages) if name.count(".") <= 2]  # members of classes apart
    for name in {*vae_augment.__all__, "LatentOverSampler"} - {"__version__"}:
        assert names.count(name) == 1, name


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_each_public_module_is_in_the_reference(module, pages):
    assert any(name.startswith(f"vae_augment.{module}.") for name in documented(pages))


def test_examples_of_the_gallery_come_with_pictures_and_as_notebooks(site):
    scripts = sorted((ROOT / "examples" / "gallery").glob("plot_*.py"))
    assert scripts
    for script in scripts:
        assert list((site / "_images").glob(f"sphx_glr_{script.stem}_001*.png")), script
        assert list((site / "_downloads").rglob(f"{script.stem}.ipynb")), script


def test_the_readme_is_not_part_of_the_site_and_the_changelog_is(site):
    assert (site / "changelog.html").exists()
    assert not (site / "README.html").exists()
