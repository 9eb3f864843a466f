"""How the site is built: `sphinx-build -W -b html docs docs/_build/html`, without network."""

import os
import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
os.environ["VAE_AUGMENT_PROGRESS"] = "0"  # no bars among the output of examples

from vae_augment import __version__  # noqa: E402

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
templates_path: list[str] = []

# Markdown, as GitHub reads it: the same links and anchors
myst_heading_anchors = 4
myst_links_external_new_tab = False
nb_execution_mode = "off"  # outputs are stored in the notebooks, and tests run them
suppress_warnings = ["myst.header"]  # a changelog's headings jump a level where a version has no parts

# Reference: single backquotes in docstrings are code, and types stand in signatures
default_role = "code"
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
    "min_reported_time": 1e9,
    "abort_on_example_error": True,
}


def copy_notebooks() -> None:
    """The notebooks of examples/, where Sphinx finds them."""
    folder = DOCS / "notebooks"
    folder.mkdir(exist_ok=True)
    for notebook in (ROOT / "examples").glob("*.ipynb"):
        shutil.copy(notebook, folder)


copy_notebooks()
