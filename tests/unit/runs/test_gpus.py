"""Which GPU a worker gets, without a GPU: the choice is text in, text out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.runs.executors.base import make_executor
from pytest_entropy.runs.gpus import LOCAL_RANK, VISIBLE, assign_gpu, process_number, visible_gpus
from pytest_entropy.settings.devices import unusable

# A conftest of sessions: which GPUs a process sees at configure time, and whether torch is imported.
SEES = """
import os, pathlib, sys
import pytest

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    name = getattr(config, "workerinput", {"workerid": "controller"})["workerid"]
    seen = os.environ["CUDA_VISIBLE_DEVICES"], "torch" in sys.modules
    (pathlib.Path(__file__).parent / f"{name}.seen").write_text(repr(seen))
"""


def chosen(
    visible: str | None,
    worker: str | None,
    *,
    device: str | None = "cuda",
    nodes: Path | None = None,
    rank: str | None = None,
) -> str | None:
    environment = {} if visible is None else {VISIBLE: visible}
    environment |= {} if rank is None else {LOCAL_RANK: rank}
    assign_gpu(device, worker, environment, **({} if nodes is None else {"nodes": nodes}))
    return environment.get(VISIBLE)


@pytest.mark.parametrize(
    ("visible", "worker", "expected"),
    [
        ("2,3", "gw0", "2"),
        ("2,3", "gw1", "3"),
        ("2,3", "gw2", "2"),  # more workers than GPUs share them
        ("5", "gw7", "5"),
        (" 4 , 6 ", "gw1", "6"),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6,GPU-1b", "gw1", "GPU-1b"),
        ("MIG-aa,MIG-bb,MIG-cc", "gw2", "MIG-cc"),
        ("0,-1,1", "gw1", "0"),  # CUDA itself sees nothing behind an invalid entry
    ],
)
def test_a_worker_gets_one_of_the_callers_gpus(visible: str, worker: str, expected: str) -> None:
    assert chosen(visible, worker) == expected


@pytest.mark.parametrize("visible", ["", "-1", "none", "NoDevFiles"])
def test_hidden_gpus_stay_hidden(visible: str) -> None:
    assert visible_gpus({VISIBLE: visible}) == []
    assert chosen(visible, "gw1") == visible


@pytest.mark.parametrize("device", ["cpu", "cuda:1", None])
def test_other_devices_and_a_named_gpu_are_left_alone(device: str | None) -> None:
    assert chosen("2,3", "gw1", device=device) == "2,3"


@pytest.mark.parametrize(
    ("device", "said"),
    [("mps", "mps has no float64"), ("mps:0", "mps has no float64"), ("xpu", "a device is cpu, cuda, cuda:N, or auto")],
)
def test_a_device_that_cannot_work_is_refused_before_anything_is_loaded(
    device: str, said: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_entropy.checkpoints import load as loading
    from pytest_entropy.checkpoints import load_checkpoint

    monkeypatch.setattr(loading, "_load", None)
    with pytest.raises(UsageError, match=said):
        load_checkpoint(checkpoint, device=device)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_devices_of_these_names_may_work(device: str) -> None:
    assert unusable(device) is None


def test_outside_a_worker_nothing_changes() -> None:
    assert chosen("2,3", None) == "2,3"
    assert chosen("2,3", "master") == "2,3"


@pytest.mark.parametrize(("rank", "expected"), [("0", "2"), ("1", "3"), ("7", "3")])
def test_a_launched_process_gets_the_gpu_of_its_rank(rank: str, expected: str) -> None:
    assert chosen("2,3", None, rank=rank) == expected
    assert chosen("2,3", None, rank=rank, device="cuda:1") == "2,3"
    assert chosen("2,3", None, rank=rank, device="cpu") == "2,3"


@pytest.mark.parametrize("rank", ["", "-1", "first", "1.0", "٣"])
def test_a_rank_that_is_no_number_changes_nothing(rank: str) -> None:
    assert process_number(None, {LOCAL_RANK: rank}) is None
    assert chosen("2,3", None, rank=rank) == "2,3"


def test_workers_of_a_launched_session_stay_on_the_gpu_of_its_rank() -> None:
    session = {VISIBLE: "2,3,4", LOCAL_RANK: "1"}
    assign_gpu("cuda", None, session)
    assert session[VISIBLE] == "3"
    for worker in ("gw0", "gw1", "gw5"):
        inherited = dict(session)
        assign_gpu("cuda", worker, inherited)
        assert inherited[VISIBLE] == "3"
    assert process_number("gw5", session) == 5


@pytest.mark.parametrize("executor", ["local", "xdist"])
def test_executors_go_by_the_rank(executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "GPU-a,GPU-b,GPU-c")
    monkeypatch.setenv(LOCAL_RANK, "4")
    make_executor(executor).choose_device("cuda")
    assert os.environ[VISIBLE] == "GPU-b"


def test_without_the_variable_the_drivers_nodes_are_counted(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia7", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert visible_gpus({}, tmp_path) == ["0", "1"]
    assert chosen(None, "gw3", nodes=tmp_path) == "1"
    assert chosen(None, "gw3", nodes=tmp_path / "nowhere") is None


def test_choosing_twice_is_choosing_once() -> None:
    environment = {VISIBLE: "2,3,4"}
    for _ in range(2):
        assign_gpu("cuda", "gw2", environment)
    assert environment[VISIBLE] == "4"


def test_workers_of_a_session_have_theirs_before_torch_is_there(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At configure time, in real workers; the session itself ends with a usage error, as there is no GPU here."""
    monkeypatch.setenv(VISIBLE, "GPU-a,GPU-b")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv(LOCAL_RANK, raising=False)
    pytester.makeconftest(SEES)
    pytester.makepyfile("def test_nothing(): pass")
    done = pytester.runpytest_subprocess("-n3", "--device=cuda", "-p", "no:cacheprovider")
    assert done.ret == 0
    seen = {path.stem: path.read_text() for path in pytester.path.glob("*.seen")}
    assert seen == {
        "controller": "('GPU-a,GPU-b', False)",
        "gw0": "('GPU-a', False)",
        "gw1": "('GPU-b', False)",
        "gw2": "('GPU-a', False)",
    }


def test_a_launched_session_has_its_gpu_before_torch_is_there_and_its_workers_share_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VISIBLE, "GPU-a,GPU-b")
    monkeypatch.setenv(LOCAL_RANK, "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(SEES)
    pytester.makepyfile("def test_nothing(): pass")
    assert pytester.runpytest_subprocess("-n2", "--device=cuda", "-p", "no:cacheprovider").ret == 0
    seen = {path.stem: path.read_text() for path in pytester.path.glob("*.seen")}
    assert seen == dict.fromkeys(("controller", "gw0", "gw1"), "('GPU-b', False)")
