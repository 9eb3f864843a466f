"""Rows of figures, a line of JSON each: of which commit, on which machine, on which day."""

import datetime
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def commit() -> str:
    """Of the code that runs, if it is asked before the first figure: another may be committed meanwhile."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def machine() -> str:
    return f"{platform.machine()}, torch {torch.__version__}, 1 thread"


def stamp() -> dict[str, str]:
    """What a row says of its origin."""
    return {"commit": commit(), "machine": machine(), "date": datetime.date.today().isoformat()}


def store(row: Mapping[str, Any], file: Path) -> None:
    """Add a row to a file."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")


def stored(file: Path) -> list[dict[str, Any]]:
    """All rows of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
