"""Conformance of an executor: runs as :func:`~pytest_entropy.runs.compute.compute` gives them, and their failures."""

from __future__ import annotations

import atexit
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from unittest import mock

import numpy as np
import torch

from pytest_entropy.checkpoints import find_checkpoint
from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import open_prompts
from pytest_entropy.records.paths import RESULTS
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.registry import get
from pytest_entropy.rewards import RewardTerm, WeightedRewards, resolve_reward
from pytest_entropy.runs.compute import Place, compute, config_of
from pytest_entropy.runs.executors.base import Executor, make_executor
from pytest_entropy.runs.machine import Machine
from pytest_entropy.runs.run_files import read_run
from pytest_entropy.settings.layers import Layer, resolve_config
from pytest_entropy.testing import tiny

THREADS = 3
REWARDS = """
def length(prompts, completions, **columns):
    return [len(text) / 40 for text in completions]


def broken(prompts, completions, **columns):
    raise ValueError("no luck today")
"""
SETTINGS: dict[str, object] = {
    "batch_config": {"B_E_values": [3], "runs_per_batch": 2, "B_U": 2, "G": 2},
    "sampling": {"max_new_tokens": 3},
    # It has arrays beside its record.
    "eta_sweep": {"multiples": [-1.0, 1.0]},
}
# What starts CUDA, or has the driver read once and for all which GPUs this process may see.
STARTS_CUDA = ("_lazy_init", "is_available", "device_count")


def check_executor(name: str, *, device: str = "cpu") -> None:
    """Check the executor of that name in the registry on runs of a tiny checkpoint.

    It must be made for one process and for one of several, take the threads it is asked for and else one at least, and
    choose a device, or refuse it, without starting CUDA.  A run must be the one that ``compute`` gives, bit for bit but
    for time and memory, each time and for each :class:`~pytest_entropy.records.spec.RunSpec`, as it is returned and as
    it is stored.  Where a run fails, the executor must raise what ``compute`` does, leave no result, and go on with the
    next run.

    Args:
        name: in the registry.
        device: that the runs are computed on; it must be accepted.

    Raises:
        AssertionError: says which of these does not hold.
        UsageError: no executor has this name.
    """
    _require_kind(name)
    _require_devices(name, device)
    with TemporaryDirectory() as root:
        _require_runs(_Bench(name, make_executor(name), Path(root), _reference(device)))


def _require_kind(name: str) -> None:
    kind = get("executors", name, type)
    assert issubclass(kind, Executor), f"executor {name} is {kind.__name__}, expected a class derived from Executor"
    for worker, workers in ((None, 1), ("gw1", 2), ("gw0", 10_000)):
        made = make_executor(name, worker, workers)
        assert (made.worker, made.workers) == (worker, workers), (
            f"executor {name}: made for {worker} of {workers}, it is for {made.worker} of {made.workers}"
        )
        for asked in (1, THREADS):
            found = made.threads(asked)
            assert found == asked, f"executor {name}: asked for {asked} threads, it takes {found}"
        own = made.threads(None)
        assert isinstance(own, int), f"executor {name}: a process of {workers} takes {own!r} threads"
        assert own >= 1, f"executor {name}: a process of {workers} takes {own} threads, expected 1 at least"


def _require_devices(name: str, device: str) -> None:
    for worker in (None, "gw1"):
        for asked in dict.fromkeys((device, "cpu", "cuda", "cuda:0")):
            try:
                with _cuda_untouched():
                    make_executor(name, worker, 2).choose_device(asked)
            except UsageError as error:
                if asked == device:
                    raise AssertionError(
                        f"executor {name} refuses the device {device!r} that it is checked on: {error}"
                    ) from error
            except _Started:
                raise AssertionError(
                    f"executor {name} starts CUDA while it chooses {asked!r}: which GPU is this process's is read then"
                ) from None
            except Exception as error:
                raise AssertionError(
                    f"executor {name} raises {type(error).__name__} for the device {asked!r}, expected UsageError: "
                    f"{error}"
                ) from error


class _Started(BaseException):
    """An executor has started CUDA; no handler of its own is to catch it."""


@contextmanager
def _cuda_untouched() -> Iterator[None]:
    """CUDA cannot be started inside, and the environment is as before afterwards."""

    def refused(*arguments: object, **options: object) -> None:
        raise _Started

    there: Any = {name: refused for name in STARTS_CUDA if hasattr(torch.cuda, name)}
    with mock.patch.multiple(torch.cuda, **there), mock.patch.dict(os.environ):
        yield


# ---------------------------------------------------------------------- runs


class _Reference:
    """A tiny checkpoint with prompts and rewards on disk, and what ``compute`` makes of its runs, each once."""

    def __init__(self, root: Path, device: str) -> None:
        self.root, self.device = root, device
        self.checkpoint = tiny.save_seed_checkpoint(root)
        self.files, self.machine = find_checkpoint(self.checkpoint), Machine(1)
        rows = [{"prompt": f"Tom has {n} apples.", "answer": str(n)} for n in range(12)]
        (root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        (root / "rewards.py").write_text(REWARDS, encoding="utf-8")
        self._places: dict[str, Place] = {}
        self._runs: dict[str, tuple[RunRecord, RunRecord] | str] = {}

    def spec(self, reward: str = "length", **changes: Any) -> RunSpec:
        """A run with the reward of that name, as a process that was sent it has it."""
        settings = {
            **SETTINGS, "checkpoint": str(self.checkpoint), "prompts": {"source": str(self.root / "prompts.jsonl")},
            "reward": [{"name": f"{self.root / 'rewards.py'}:{reward}"}], "model": {"device": self.device},
        }  # fmt: skip
        config = resolve_config([Layer("conformance", settings)]).config.model_dump(mode="json")
        digest = self.files.digest()
        made = RunSpec("batch_scaling", str(self.checkpoint), digest, config, B_E=3, run=1, seed=11, update_seed=12)
        received: RunSpec = pickle.loads(pickle.dumps(replace(made, **changes)))
        return received

    def place(self, spec: RunSpec) -> Place:
        """This process as a place for the spec, with prompts and rewards as it names them."""
        config = config_of(spec)
        (term,) = config.reward
        if term.name not in self._places:
            prompts = open_prompts(config.prompts.source, prompt_column="prompt", answer_column="answer", template=None)
            reward = WeightedRewards((RewardTerm(resolve_reward(term.name), term.name, term.weight),))
            update = cache(lambda seed: place.probe(spec).update(seed))
            place = Place(
                self.machine, self.files, self.files.digest(), prompts, reward, lambda own: update(own.update_seed)
            )
            self._places[term.name] = place
        return self._places[term.name]

    def expected(self, spec: RunSpec) -> tuple[RunRecord, RunRecord] | str:
        """The run as returned and as stored, or the message of its failure."""
        key = spec.digest()
        if key not in self._runs:
            with TemporaryDirectory() as root:
                try:
                    self._runs[key] = compute(spec, self.place(spec), Path(root)), read_run(Path(root))
                except RunError as error:
                    self._runs[key] = str(error)
        return self._runs[key]


@cache
def _reference(device: str) -> _Reference:
    root = mkdtemp()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return _Reference(Path(root), device)


@dataclass
class _Bench:
    """An executor beside what ``compute`` gives; its runs' directories are in ``root``."""

    name: str
    executor: Executor
    root: Path
    reference: _Reference

    def directory(self) -> Path:
        """A new empty directory for a run."""
        return Path(mkdtemp(dir=self.root))


def _require_runs(bench: _Bench) -> None:
    of = bench.reference.spec
    _require_run(bench, "a run", of())
    _require_run(bench, "another run", of(B_E=4, run=2))
    _require_run(bench, "the first run again", of())
    _require_failure(bench, "another checkpoint in this place", of(checkpoint_digest="0" * 16))
    _require_failure(bench, "a reward that raises", of("broken"))
    _require_run(bench, "a run after two that failed", of(B_E=4, run=2))


def _require_run(bench: _Bench, what: str, spec: RunSpec) -> None:
    # The executor gets another copy: whatever it does to it, the place keeps the reference's.
    expected = bench.reference.expected(pickle.loads(pickle.dumps(spec)))
    assert not isinstance(expected, str), f"compute itself fails here: {expected} ({what})"
    before, directory = spec.digest(), bench.directory()
    try:
        record = bench.executor.compute(spec, bench.reference.place(spec), directory)
    except Exception as error:
        raise AssertionError(
            f"executor {bench.name} raises {type(error).__name__} where compute gives a run ({what}): {error}"
        ) from error
    assert isinstance(record, RunRecord), f"executor {bench.name} gives {record!r}, expected a RunRecord ({what})"
    assert spec.digest() == before, f"executor {bench.name} changes the spec that it is given ({what})"
    _require_equal(bench, what, expected[0], record)
    assert (directory / RESULTS).is_file(), f"executor {bench.name} leaves no {RESULTS} ({what})"
    _require_equal(bench, f"{what}, as stored", expected[1], read_run(directory))


def _require_equal(bench: _Bench, what: str, expected: RunRecord, found: RunRecord) -> None:
    one, other = _without_costs(expected), _without_costs(found)
    differ = [key for key in one if one[key] != other[key]]
    assert not differ, f"executor {bench.name}: {', '.join(differ)} differ from what compute gives ({what})"
    assert set(expected.arrays) == set(found.arrays), f"executor {bench.name}: other arrays ({what})"
    for name, array in expected.arrays.items():
        assert np.array_equal(array, found.arrays[name], equal_nan=array.dtype.kind == "f"), (
            f"executor {bench.name}: array {name} differs from what compute gives ({what})"
        )


def _without_costs(run: RunRecord) -> dict[str, str]:
    update = replace(run.update, seconds={}, memory_mb={})
    record = replace(run, seconds={}, memory_mb={}, peak_memory_mb=0.0, update=update).to_dict()
    # As text, where NaN is NaN.
    return {key: json.dumps(value) for key, value in record.items()}


def _require_failure(bench: _Bench, what: str, spec: RunSpec) -> None:
    expected = bench.reference.expected(pickle.loads(pickle.dumps(spec)))
    assert isinstance(expected, str), f"compute itself does not fail here ({what})"
    directory = bench.directory()
    try:
        found = bench.executor.compute(spec, bench.reference.place(spec), directory)
    except RunError as error:
        said = str(error)
    except Exception as error:
        raise AssertionError(
            f"executor {bench.name} raises {type(error).__name__} where compute raises RunError ({what}): {error}"
        ) from error
    else:
        raise AssertionError(
            f"executor {bench.name} gives {type(found).__name__} where the run fails: {expected} ({what})"
        )
    assert expected in said, f"executor {bench.name} says {said!r}, expected {expected!r} ({what})"
    assert not (directory / RESULTS).exists(), f"executor {bench.name} leaves a result where the run fails ({what})"
