"""What this process may still allocate, from the files that Linux shows; the least of all limits counts."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from pytest_entropy.records import free_memory

MIB = 2**20


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A proc and a cgroup mount: 8 GiB available, a process of 1000 MiB, no limits."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:  16777216 kB\nMemAvailable:  8388608 kB\n")
    (tmp_path / "proc/self/status").write_text("VmSize:\t1024000 kB\nVmRSS:\t512000 kB\nVmData:\t256000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return tmp_path


def free(linux: Path) -> int | None:
    return free_memory.free_bytes(linux / "proc", linux / "cgroup")


def test_without_limits_it_is_what_the_machine_has_available(linux: Path) -> None:
    assert free(linux) == 8 * 2**30


def test_a_group_of_version_2_leaves_its_limit_less_what_cannot_be_dropped(linux: Path) -> None:
    group = linux / "cgroup/jobs/one"
    group.mkdir(parents=True)
    (linux / "proc/self/cgroup").write_text("0::/jobs/one\n")
    (group / "memory.max").write_text(f"{1000 * MIB}\n")
    (group / "memory.current").write_text(f"{600 * MIB}\n")
    (group / "memory.stat").write_text(f"anon 1\ninactive_file {50 * MIB}\nactive_file {150 * MIB}\n")
    assert free(linux) == 600 * MIB


def test_pages_of_files_that_this_process_has_mapped_are_not_free(linux: Path) -> None:
    status = linux / "proc/self/status"
    status.write_text(status.read_text() + f"RssFile:\t{120 * 1024} kB\n")
    assert free(linux) == 8 * 2**30 - 120 * MIB
    (linux / "proc/meminfo").write_text(f"MemFree: {8190 * 1024} kB\nMemAvailable: {8192 * 1024} kB\n")
    assert free(linux) == 8190 * MIB
    group = linux / "cgroup/one"
    group.mkdir(parents=True)
    (linux / "proc/self/cgroup").write_text("0::/one\n")
    (group / "memory.max").write_text(f"{1000 * MIB}\n")
    (group / "memory.current").write_text(f"{600 * MIB}\n")
    for dropped, left in ((200, 480), (100, 400)):
        (group / "memory.stat").write_text(f"inactive_file {dropped * MIB}\n")
        assert free(linux) == left * MIB


def test_a_group_above_may_be_narrower(linux: Path) -> None:
    for place, most in (("jobs", 700), ("jobs/one", 1000)):
        group = linux / "cgroup" / place
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(f"{most * MIB}\n")
        (group / "memory.current").write_text(f"{600 * MIB}\n")
        (group / "memory.stat").write_text("anon 1\n")
    (linux / "proc/self/cgroup").write_text("0::/jobs/one\n")
    assert free(linux) == 100 * MIB


def test_a_group_of_version_1(linux: Path) -> None:
    group = linux / "cgroup/memory/box"
    group.mkdir(parents=True)
    (linux / "proc/self/cgroup").write_text("5:cpu:/box\n4:memory:/box\n0::/\n")
    (group / "memory.limit_in_bytes").write_text(f"{2000 * MIB}\n")
    (group / "memory.usage_in_bytes").write_text(f"{500 * MIB}\n")
    (group / "memory.stat").write_text(f"inactive_file {100 * MIB}\n")
    assert free(linux) == 1600 * MIB


def test_a_group_without_a_limit_bounds_nothing(linux: Path) -> None:
    group = linux / "cgroup/memory/box"
    group.mkdir(parents=True)
    (linux / "proc/self/cgroup").write_text("4:memory:/box\n0::/none\n")
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (group / "memory.usage_in_bytes").write_text("1\n")
    (group / "memory.stat").write_text("")
    assert free(linux) == 8 * 2**30


def test_a_limit_of_the_address_space_leaves_what_is_not_mapped(linux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 3000 * MIB, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    assert free(linux) == 2000 * MIB


def test_nothing_is_left_where_more_is_held_than_allowed(linux: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: resource.RLIM_INFINITY, resource.RLIMIT_DATA: 100 * MIB}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], limits[kind]))
    assert free(linux) == 0


def test_where_nothing_tells_there_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert free_memory.free_bytes(tmp_path / "proc", tmp_path / "cgroup") is None


def test_this_machine_tells(linux: Path) -> None:
    assert free_memory.resident_bytes(linux / "proc") == 500 * MIB
    here = free_memory.free_bytes()
    assert here is None or here > 0
