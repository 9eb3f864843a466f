"""How the site is built: `sphinx-build -W -b html docs docs/_build/html`, without network."""

import contextlib
import io
import os
import re
import shutil
import sys
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
os.environ["VAE_AUGMENT_PROGRESS"] = "0"  # no bars among the output of examples
os.environ["COLUMNS"] = "92"  # of the command's help

from vae_augment import __version__  # noqa: E402
from vae_augment.__main__ import VERBS, main  # noqa: E402

project = "vae-augment"
author = "The vae-augment developers"
release = version = __version__
project_copyright = f"{author}. Apache-2.0"

extensions = [
    "myst_nb",  # pages and notebooks in Markdown
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery/*.ipynb", "gallery/*.py.md5"]
html_theme = "furo"
html_title = f"vae-augment {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
pygments_dark_style = "monokai"
templates_path: list[str] = []

# Markdown, as GitHub reads it: the same links and anchors
myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_mode = "off"  # outputs are stored in the notebooks, and tests run them
suppress_warnings = ["myst.header"]  # a changelog's headings jump a level where a version has no parts

# Reference: single backquotes in docstrings are code, and types stand in signatures
default_role = "code"
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|collections|os|PIL|pathlib)\..*"),  # of others: nothing is fetched
    ("py:class", r"PreviewFigure|vae_augment\.(autoencoders|export|pool|report)\.\w+\.\w+"),  # not for users to make
]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Method", "notes_style")]
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "image_srcset": ["2x"],
    "remove_config_comments": True,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "abort_on_example_error": True,
}


CARDS = ROOT / "vae_augment" / "weights"


def copy_from_the_repository() -> None:
    """Notebooks and model cards, which have their place elsewhere, to where Sphinx finds them."""
    folders = {"notebooks": sorted((ROOT / "examples").glob("*.ipynb"))}
    folders |= {
        f"cards/{card.parent.name}": [card, card.with_name("samples.png")] for card in CARDS.glob("*/README.md")
    }
    for name, files in folders.items():
        (DOCS / name).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, DOCS / name)


def link_to_cards(app: Sphinx, name: str, text: list[str]) -> None:
    """Links to a card's file, which lead there on GitHub, lead to its page."""
    text[0] = text[0].replace("](../vae_augment/weights/", "](cards/")
    if name.startswith("cards/"):  # the front matter is for the Hub
        text[0] = re.sub(r"\A---\n.*?^---\n", "", text[0], flags=re.DOTALL | re.MULTILINE)


def write_command_help() -> None:
    """The page of the command: what each verb says of itself."""
    title = "The command"
    lines = [title, "=" * len(title), ""]
    for words in ([], *([verb] for verb in VERBS)):
        name = " ".join(["vae-augment", *words])
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            main([*words, "--help"])
        lines += [name, "-" * len(name), "", ".. code-block:: text", ""] if words else [".. code-block:: text", ""]
        lines += [*(f"   {line}" for line in shown.getvalue().splitlines()), ""]
    page, content = DOCS / "api" / "command.rst", "\n".join(lines)
    if not page.exists() or page.read_text(encoding="utf-8") != content:
        page.write_text(content, encoding="utf-8")


def keep_first_line(app: Sphinx, what: str, name: str, what_it_is: object, options: object, lines: list[str]) -> None:
    """A property's "Latents: of the pool" is a sentence; napoleon takes what stands before the colon for a type."""
    if what in ("attribute", "property", "data"):
        lines[:0] = ["..", ""]  # an empty comment


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", keep_first_line, priority=400)  # napoleon's is 500
    copy_from_the_repository()
    write_command_help()
    app.connect("source-read", link_to_cards)
