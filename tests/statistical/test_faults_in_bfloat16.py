"""Planted faults are seen on a bfloat16 base as well, and correct runs are not red for their rounding.

The tolerances are noise measured in each run (``pytest_entropy/checks/rounding/tolerances.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint, registry
from pytest_entropy.checkpoints import Checkpoint
from pytest_entropy.checks import bookkeeping
from pytest_entropy.checks.base import Check
from pytest_entropy.errors import RunError
from pytest_entropy.probe.derivatives.tangent import Tangent
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.diagnostics import CHECKED
from pytest_entropy.stats import CheckOutcome
from pytest_entropy.testing import tiny
from tests.length_reward import length
from tests.statistical import faults

pytestmark = pytest.mark.slow

DIAGNOSTICS = CHECKED
# Of different lengths, so that batches are padded.
PROMPTS = [Prompt(f"Tom has {n} " + "apples " * (n % 5) + "and buys 14 more.", {"answer": "7"}) for n in range(80)]
EXACT = ("sampler_scorer_agreement", "batch_invariance", "draws", "definition", "update_gradient", "update_direction")
FAULTS = (
    "sampler at T = 0.7", "temperature missing in scoring", "rows shuffled", "positions of padding",
    "random numbers of every batch", "dropout while scoring", "entropy-to-go too late",
    "sign of the entropy gradient", "s_n divided by B_E", "sign of the loss",
)  # fmt: skip


def loaded(root: Path, seed: int = 0) -> Checkpoint:
    """A float32 adapter on a bfloat16 base; another model for every seed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny, "qwen2", partial(tiny.qwen2, seed=seed, layers=2 + seed % 3, hidden=(32, 16, 48)[seed % 3]))
        return load_checkpoint(tiny.save_seed_checkpoint(root), dtype="bfloat16")


def one_run(checkpoint: Checkpoint, seed: int = 0, settings: Mapping[str, object] | None = None) -> RunRecord:
    config = ProbeConfig(
        **{
            "B_U": 4,
            "G": 3,
            "max_new_tokens": 8,
            "diagnostics": DIAGNOSTICS,
            **(settings or {}),
        }
    )
    return EntropyProbe(checkpoint, config, prompts=PROMPTS, reward=length).run(12, seed)


def exact(run: RunRecord) -> dict[str, CheckOutcome]:
    """The outcomes of all checks without an error rate, by name."""
    outcomes = [registry.get("checks", name, Check).check([run]) for name in EXACT]
    return {outcome.name: outcome for outcome in (*outcomes, *bookkeeping.judged([run], with_replacement=False))}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    found = loaded(tmp_path_factory.mktemp("bfloat16"))
    faults.END["id"] = found.policy.eos_ids[0]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_correct_runs_are_not_red(tmp_path: Path, seed: int) -> None:
    outcomes = exact(one_run(loaded(tmp_path, seed), seed))
    assert [outcome.message() for outcome in outcomes.values() if outcome.verdict == "fail"] == []
    decided = {name for name, outcome in outcomes.items() if outcome.verdict == "pass"}
    assert decided >= {*EXACT, "entropy_is_sampled"} - {"update_gradient"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    fault = faults.FAULTS[name]
    fault.plant(monkeypatch)
    if fault.seen_by == "run":
        with pytest.raises(RunError, match=fault.says):
            one_run(checkpoint, settings=fault.settings)
        return
    outcomes = exact(one_run(checkpoint, settings=fault.settings))
    seen = outcomes[fault.seen_by]
    print(f"\n{name}: {fault.seen_by} {seen.statistic:.2g}, tolerance {seen.minimum_detectable_effect:.2g}")
    assert seen.verdict == "fail", seen.message()
    assert fault.says in seen.message()


def test_a_module_whose_tangent_is_missing_is_seen(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    attach = Tangent.attach

    def fewer(self: Tangent) -> Any:
        # Of one layer: its adapters' hooks are not there.
        self._owners = {m: own for m, own in self._owners.items() if not self._names[m] & _of_first_layer(self)}
        return attach(self)

    monkeypatch.setattr(Tangent, "attach", fewer)
    monkeypatch.setattr(Tangent, "uncovered", lambda self: [])
    with pytest.raises(RunError, match="fast directional derivative is off"):
        one_run(checkpoint)


def _of_first_layer(tangent: Tangent) -> set[str]:
    return {name for name in tangent.direction if ".layers.0." in name}
