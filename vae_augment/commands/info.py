"""Print what a weights folder is: its images, quality, licence and files.

NAME is a bundled name, a folder, or a Hugging Face Hub id, user/repo; only the last touches the network. The weights are
loaded for it, whole or not at all: no half or damaged folder is described.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping

from .. import hub
from . import show, usage

LABEL_WIDTH = 12  # characters
MAX_VALUE_LENGTH = 300  # characters of a line; --json prints all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=f"{', '.join(hub.bundled())}, a folder, or user/repo")
    parser.add_argument("--revision", help="branch, tag or commit of a Hub id; default main")
    parser.add_argument("--json", action="store_true", help="print the same as JSON")


def run(options: argparse.Namespace) -> None:
    with usage():
        about = hub.describe(options.name, revision=options.revision)
    if options.json:
        print(json.dumps(dataclasses.asdict(about), indent=2))  # in ASCII: control characters are escaped
        return
    for label, values in _parts(about):
        for number, value in enumerate(values):
            text = value if len(value) <= MAX_VALUE_LENGTH else f"{value[:MAX_VALUE_LENGTH]}..."
            show(f"{'' if number else label:<{LABEL_WIDTH}}{text}")


def _parts(about: hub.Description) -> Iterator[tuple[str, list[str]]]:
    """Each part's label and its lines."""
    yield "name", [about.name]
    yield "from", [_origin(about), about.folder]
    yield "images", [f"{about.channels} x {about.size} x {about.size} (channels, height, width in pixels)"]
    yield "latent", [" x ".join(map(str, about.latent))]
    yield "parameters", [f"{about.parameters:,}"]
    yield "trained on", _pairs(about.provenance) or ["not recorded"]
    yield "quality", [": ".join(hub.metric_text(*metric)) for metric in about.metrics.items()] or ["not measured"]
    yield "licence", [about.license or "not stated"]
    yield "gains", _pairs(about.gains) or ["none stored"]
    yield "bank", ["none" if about.bank is None else _bank(about.bank)]
    yield "files", [f"{name}: {size / 1e3:,.1f} kB" for name, size in about.files.items()]


def _origin(about: hub.Description) -> str:
    if about.source != "hub":
        return {"bundled": "bundled with vae-augment", "folder": "a local folder"}[about.source]
    return f"the Hugging Face Hub, revision {about.revision or 'main'}, commit {about.commit}"


def _bank(bank: hub.BankDescription) -> str:
    return f"{bank.latents:,} latents, each with {bank.neighbours} neighbours by {' and by '.join(bank.compared_by)}"


def _pairs(values: Mapping[str, object]) -> list[str]:
    return [f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}" for name, value in values.items()]
