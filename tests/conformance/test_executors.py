"""Every executor of the registry; and what is said of one that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_entropy import registry
from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.records.paths import RESULTS
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.runs.compute import Place, compute
from pytest_entropy.runs.executors.base import Executor
from pytest_entropy.testing import check_executor


@pytest.mark.parametrize("name", registry.names("executors"))
def test_executor(name: str) -> None:
    check_executor(name)


class Right(Executor):
    """It sends its runs as JSON."""

    # What the wrong ones keep from one run to the next; a right one keeps nothing.
    first: RunRecord
    last: RunRecord
    failed: RunError

    def choose_device(self, device: str) -> None:
        if device not in ("cpu", "cuda"):
            raise UsageError(f"{device} is not for this executor")

    def compute(self, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
        return compute(RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))), place, directory)


@pytest.fixture
def added() -> Iterator[Callable[..., None]]:
    """A function that adds an executor, right but for its arguments, under the name ``wrong``."""

    def add(**changes: Any) -> None:
        registry.add("executors", "wrong", type("Wrong", (Right,), changes))

    yield add
    registry.forget("executors", "wrong")


def forgets_the_worker(self: Right, worker: str | None = None, workers: int = 1) -> None:
    Executor.__init__(self)


def loses_the_error(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord | None:
    try:
        return compute(spec, place, directory)
    except RunError:
        return None


def keeps_the_first_run(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    if not hasattr(self, "first"):
        self.first = compute(spec, place, directory)
    return self.first


def keeps_the_last_result_for_the_error(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    try:
        self.last = compute(spec, place, directory)
    except RunError:
        return self.last
    return self.last


def another_seed(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    return compute(replace(spec, seed=spec.seed + 1), place, directory)


def rounds(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    run = compute(spec, place, directory)
    return replace(run, delta_h1=float(torch.tensor(run.delta_h1, dtype=torch.float32)))


def without_arrays(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    return replace(compute(spec, place, directory), arrays={})


def nowhere(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    run = compute(spec, place, directory)
    (directory / RESULTS).unlink()
    return run


def elsewhere_in_the_file(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    run = compute(spec, place, directory)
    record = json.loads((directory / RESULTS).read_text())
    (directory / RESULTS).write_text(json.dumps({**record, "delta_h1": 0.5}))
    return run


def says_less(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    try:
        return compute(spec, place, directory)
    except RunError:
        raise RunError("the run failed") from None


def raises_its_own(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    try:
        return compute(spec, place, directory)
    except RunError as error:
        raise RuntimeError(str(error)) from error


def leaves_a_result(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    try:
        return compute(spec, place, directory)
    except RunError:
        (directory / RESULTS).write_text("{}")
        raise


def fails_once_and_for_all(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    if getattr(self, "failed", None):
        raise self.failed
    try:
        return compute(spec, place, directory)
    except RunError as error:
        self.failed = error
        raise


def changes_the_spec(self: Right, spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    run = compute(spec, place, directory)
    spec.settings["seed"] = 1
    return run


def starts_cuda(self: Right, device: str) -> None:
    if device == "cuda":
        torch.cuda.init()


def counts_gpus(self: Right, device: str) -> None:
    assert torch.cuda.device_count() >= 0


def refuses(device: str) -> Callable[[Right, str], None]:
    def choose(self: Right, asked: str) -> None:
        if asked == device:
            raise UsageError("not for this executor")

    return choose


def cannot(self: Right, device: str) -> None:
    raise KeyError(device)


WRONG: dict[str, tuple[dict[str, Callable[..., object]], str]] = {
    "a worker forgotten": ({"__init__": forgets_the_worker}, "made for gw1 of 2, it is for None of 1"),
    "threads of its own": ({"threads": lambda self, asked: 2}, "asked for 1 threads, it takes 2"),
    "no thread": (
        {"threads": lambda self, asked: asked or 4 // self.workers}, "a process of 10000 takes 0 threads, expected 1",
    ),
    "threads unsaid": ({"threads": lambda self, asked: asked}, "a process of 1 takes None threads"),
    "CUDA started": ({"choose_device": starts_cuda}, "starts CUDA while it chooses 'cuda'"),
    "the driver asked": ({"choose_device": counts_gpus}, "starts CUDA while it chooses"),
    "no device for the check": ({"choose_device": refuses("cpu")}, "refuses the device 'cpu' that it is checked on"),
    "another error": ({"choose_device": cannot}, "raises KeyError for the device 'cpu', expected UsageError"),
    "an error lost": ({"compute": loses_the_error}, "gives NoneType where the run fails: .*is another one here"),
    "an error covered": ({"compute": keeps_the_last_result_for_the_error}, "gives RunRecord where the run fails"),
    "an error without its reason": ({"compute": says_less}, "says 'the run failed', expected"),
    "an error of its own": ({"compute": raises_its_own}, "raises RuntimeError where compute raises RunError"),
    "a result of a failure": ({"compute": leaves_a_result}, "leaves a result where the run fails"),
    "a failure for all": ({"compute": fails_once_and_for_all}, "says .*, expected"),
    "no record": ({"compute": lambda self, spec, place, directory: None}, "gives None, expected a RunRecord"),
    "the first run for all": ({"compute": keeps_the_first_run}, r"B_E, run, .*differ .*\(another run\)"),
    "another seed": ({"compute": another_seed}, "delta_h1.*differ from what compute gives"),
    "a rounding": ({"compute": rounds}, r": delta_h1 differ from what compute gives \(a run\)"),
    "no arrays": ({"compute": without_arrays}, "other arrays"),
    "nothing stored": ({"compute": nowhere}, "leaves no results.json"),
    "something else stored": ({"compute": elsewhere_in_the_file}, r"delta_h1 differ .*\(a run, as stored\)"),
    "a changed spec": ({"compute": changes_the_spec}, "changes the spec that it is given"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_is_said(added: Callable[..., None], fault: str) -> None:
    changes, said = WRONG[fault]
    added(**changes)
    with pytest.raises(AssertionError, match=rf"^executor wrong.*({said})"):
        check_executor("wrong")


def test_what_is_no_executor_is_refused() -> None:
    registry.add("executors", "wrong", int)
    try:
        with pytest.raises(AssertionError, match="executor wrong is int, expected a class derived from Executor"):
            check_executor("wrong")
    finally:
        registry.forget("executors", "wrong")


def test_without_a_fault_it_is_right(added: Callable[..., None]) -> None:
    added()
    check_executor("wrong")
