"""How much memory and how many processors a process may use, in a container too."""

import os

import pytest

from vae_augment.images import memory


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """The files in which Linux tells a container's limits, written by the test."""
    monkeypatch.delenv("VAE_AUGMENT_MEMORY", raising=False)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "CGROUPS_OF_PROCESS", tmp_path / "own")

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


GIB = 2**30


@pytest.mark.parametrize(
    ("own", "files"),
    [
        ("0::/\n", {"memory_dot_max": f"{GIB}\n"}),  # version 2, in a namespace of its own
        ("0::/a/b\n", {"a__memory_dot_max": f"{GIB}\n", "a__b__memory_dot_max": "max\n"}),
        ("0::/docker/1f\n", {"memory_dot_max": f"{GIB}\n"}),  # a path that only the host has
        ("4:memory:/a\n0::/\n", {"memory__a__memory_dot_limit_in_bytes": f"{GIB}\n"}),  # version 1
        ("4:memory:/docker/1f\n", {"memory__memory_dot_limit_in_bytes": f"{GIB}\n"}),
    ],
)
def test_the_memory_of_a_container_counts(own, files, cgroups):
    cgroups(own, **files)
    assert memory.memory_limit() == GIB // 2


def test_without_a_limit_the_memory_is_the_machine_s(cgroups):
    cgroups("4:memory:/\n0::/\n", memory__memory_dot_limit_in_bytes=f"{2**63 - 4096}\n", memory_dot_max="max\n")
    assert memory.memory_limit() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes are bound to processors on Linux only")
def test_processors_are_those_that_a_process_may_use(cgroups):
    before = os.sched_getaffinity(0)
    cgroups("0::/\n", cpu_dot_max="max 100000\n")
    assert memory.processors() == len(before)
    cgroups("0::/\n", cpu_dot_max="50000 100000\n")
    assert memory.processors() == 1
    cgroups("3:cpu,cpuacct:/a\n", cpu_dot_max="max 1", **{"cpu,cpuacct__a__cpu_dot_cfs_quota_us": "90000"})
    cgroups("3:cpu,cpuacct:/a\n", **{"cpu,cpuacct__a__cpu_dot_cfs_period_us": "100000"})
    assert memory.processors() == 1
    cgroups("0::/\n", cpu_dot_max="max 100000\n")
    try:
        os.sched_setaffinity(0, {min(before)})
        assert memory.processors() == 1
    finally:
        os.sched_setaffinity(0, before)
