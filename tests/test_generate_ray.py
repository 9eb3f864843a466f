"""The example with Ray Data, on a real local Ray, writes the set that one process does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.written_sets import tree
from vae_augment import SyntheticDataset
from vae_augment.source import open_source

EXAMPLE = Path(__file__).parents[1] / "examples" / "ray_generate.py"


def test_ray_writes_the_same_set_as_one_process(tmp_path):
    pytest.importorskip("ray")
    pytest.importorskip("datasets")
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    arguments = ["--ratio", "2", "--shard-size", "250"]
    done = subprocess.run(
        [sys.executable, EXAMPLE, "set", *arguments],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Ray wrote 1,000 images" in done.stdout
    dataset = SyntheticDataset(open_source("sample"), 2.0)
    dataset.writer(tmp_path / "here" / "set", format="parquet", shard_size=250).run(workers=1)
    assert tree(tmp_path / "set") == tree(tmp_path / "here" / "set")
