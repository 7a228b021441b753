"""Plant a fault, run what the sanity check or a session runs, and say how far it went and whether it was caught."""

from __future__ import annotations

import ast
import atexit
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint, registry
from pytest_entropy.checkpoints.demo import PATH, PROFILE
from pytest_entropy.checks import bookkeeping
from pytest_entropy.checks.base import Check
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.diagnostics import CHECKED
from pytest_entropy.settings.yaml_file import read_yaml
from pytest_entropy.stats.outcome import CheckOutcome
from tests.statistical.planted.planted_fault import PlantedFault
from tests.statistical.planted.whole_sessions import judge_sessions

ROOT = Path(__file__).parents[3]
PROFILE_SIZES = read_yaml(PROFILE)[0]
SIZES = PROFILE_SIZES["all"]["batch_config"] | PROFILE_SIZES["all"]["sampling"] | PROFILE_SIZES["all"]["memory"]
B_E = PROFILE_SIZES["sanity_check"]["batch_config"]["B_E_values"][0]
DIAGNOSTICS = CHECKED
ALPHA = 1e-4  # a check's share of 1e-3 in a session of ten
# Below it a fault has no effect to speak of; float32 passes of other shapes differ by a hundredth of it.
LEAST_EFFECT = 1e-4


@dataclass(frozen=True)
class Judged:
    """What became of a planted fault.

    Attributes:
        effect: relative change of the fault's number in the last run; infinite where the run itself failed.
        caught_by: the checks that failed, ``run`` where the run itself did.
        named: whether one of their messages holds one of the fault's causes.
        messages: of those checks.
        seconds: wall time of the faulty program.
    """

    effect: float
    caught_by: tuple[str, ...]
    named: bool
    messages: tuple[str, ...]
    seconds: float


def judge(fault: PlantedFault) -> Judged:
    """Plant the fault, run, and judge."""
    if fault.stage == "session":
        effect, caught, messages, seconds = judge_sessions(fault)
    else:
        correct = _correct_runs(fault)
        effect, caught, messages, seconds = _judge_runs(fault, correct)
    named = any(cause in message.lower() for message in messages for cause in fault.causes)
    return Judged(effect, caught, named, messages, seconds)


def _judge_runs(
    fault: PlantedFault, correct: Sequence[RunRecord]
) -> tuple[float, tuple[str, ...], tuple[str, ...], float]:
    start = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        fault.plant(patch)
        try:
            runs = measured(fault)
        # Whatever a run raises makes a session red; whether its words name the cause is judged.
        except Exception as error:
            return float("inf"), ("run",), (str(error),), time.perf_counter() - start
    red = [outcome for outcome in outcomes(runs) if outcome.verdict == "fail"]
    seconds = time.perf_counter() - start
    effect = relative_change(numbers(runs[-1], fault.number), numbers(correct[fault.runs - 1], fault.number))
    return effect, tuple(one.name for one in red), tuple(one.message() for one in red), seconds


def measured(fault: PlantedFault, runs: int | None = None) -> list[RunRecord]:
    """The runs of the program as it is, with the fault's settings, files and prompts."""
    with threads_kept():
        probe = EntropyProbe(
            load_checkpoint(files_of(fault.prepare) / "step_30"),
            ProbeConfig(**{**SIZES, "diagnostics": DIAGNOSTICS, **fault.settings}),
            prompts=None if fault.prompts is None else fault.prompts(),
        )
        single = probe.config.mode == "u_statistic"
        out = []
        for run in range(1, (runs or fault.runs) + 1):
            seed = run - 1 if fault.fresh_updates else 0
            update = None if single else probe.update(seed)
            out.append(probe.run(B_E, seed, run=run, update=update))
        return out


@contextmanager
def threads_kept() -> Iterator[None]:
    """Leave the number of threads and the gradient mode as they were."""
    before, gradients = torch.get_num_threads(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_grad_enabled(gradients)


_CORRECT: dict[object, list[RunRecord]] = {}


def _correct_runs(fault: PlantedFault) -> list[RunRecord]:
    """The runs of the correct program under the fault's settings, computed once."""
    key = (fault.prepare, fault.prompts, fault.fresh_updates, repr(sorted(fault.settings.items())))
    if len(_CORRECT.get(key, ())) < fault.runs:
        _CORRECT[key] = measured(fault)
    return _CORRECT[key]


@cache
def files_of(prepare: Callable[[Path], None] | None) -> Path:
    """A copy of the demo's base and last step, without the step before, changed by ``prepare``."""
    place = Path(tempfile.mkdtemp(prefix="planted-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    for part in ("base", "step_30"):
        shutil.copytree(PATH / part, place / part)
    if prepare is not None:
        prepare(place)
    return place


@cache
def asked_checks() -> tuple[str, ...]:
    """Names of the registered checks that the sanity check experiment imports, and of other packages' checks."""
    tree = ast.parse((ROOT / "experiments" / "test_sanity_check.py").read_text(encoding="utf-8"))
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    found = [module.rpartition(".")[2] for module in modules if module.startswith("pytest_entropy.checks.")]
    known = set(registry.names("checks"))
    return tuple(dict.fromkeys([*(name for name in found if name in known), *registry.added("checks")]))


def outcomes(runs: Sequence[RunRecord]) -> list[CheckOutcome]:
    """Every check that the sanity check experiment asks, and every bookkeeping identity."""
    found = [
        check.check(runs, alpha=ALPHA, rng=np.random.default_rng(0))
        for check in (registry.get("checks", name, Check) for name in asked_checks())
        if not check.inapplicable(runs)
    ]
    return [*found, *bookkeeping.judged(runs, with_replacement=False)]


def numbers(run: RunRecord, name: str) -> np.ndarray:
    """A number of the record, by its dotted name or the name of its array."""
    if name in run.arrays:
        return np.asarray(run.arrays[name], dtype=float)
    value: Any = run
    for part in name.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return np.atleast_1d(np.asarray(value, dtype=float))


def relative_change(faulty: np.ndarray, correct: np.ndarray) -> float:
    """|faulty - correct| / |correct|, infinite where the two have other shapes or one is not finite."""
    if faulty.shape != correct.shape or not np.isfinite(faulty).all():
        return float("inf")
    return float(np.linalg.norm(faulty - correct) / np.linalg.norm(correct))


HEAD = ("| kind | fault | number | effect | caught by | names the cause | s |", "|---|---|---|--:|---|---|--:|")


def row(fault: PlantedFault, judged: Judged) -> str:
    """A fault's row of the table."""
    effect = "run refused" if judged.effect == float("inf") else f"{judged.effect:.2g}"
    caught = ", ".join(judged.caught_by) or "**nothing**"
    named = "-" if not judged.caught_by else "yes" if judged.named else "no"
    return f"| {fault.kind} | {fault.name} | {fault.number} | {effect} | {caught} | {named} | {judged.seconds:.0f} |"
