"""The fault matrix: each planted fault turns the sanity check red, and its message names the cause.

``pytest tests/statistical/test_fault_matrix.py -m slow -s`` prints the table of docs/faults.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint, registry, stats
from pytest_entropy.checkpoints import Checkpoint
from pytest_entropy.checkpoints.demo import PROFILE
from pytest_entropy.checks import bookkeeping
from pytest_entropy.checks.base import Check
from pytest_entropy.errors import RunError
from pytest_entropy.policy.alternatives import ALTERNATIVES
from pytest_entropy.probe.diagnostics.token_evidence import total_sampler_log_ratios
from pytest_entropy.probe.measure.run_record import MeasuredBatch
from pytest_entropy.probe.measure.two_batch import TwoBatch
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.seeds import derive
from pytest_entropy.settings.diagnostics import CHECKED
from pytest_entropy.settings.model import ExperimentConfig
from pytest_entropy.settings.yaml_file import read_yaml
from pytest_entropy.stats.outcome import CheckOutcome
from tests.present import present
from tests.statistical import faults

pytestmark = pytest.mark.slow

PROFILE_SIZES = read_yaml(PROFILE)[0]
B_E = PROFILE_SIZES["sanity_check"]["batch_config"]["B_E_values"][0]
RUNS = PROFILE_SIZES["sanity_check"]["batch_config"]["runs_per_batch"]
DIAGNOSTICS = CHECKED
ALPHA = 1e-4  # a check's share of 1e-3 in a session of ten
# A session of the matrix is made so large that a fault escapes it once in a million.
MISS = 1e-6


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    loaded = load_checkpoint("demo")
    faults.END["id"] = loaded.policy.eos_ids[0]
    return loaded


def probe_on(checkpoint: Checkpoint, **settings: Any) -> EntropyProbe:
    sizes = PROFILE_SIZES["all"]["batch_config"] | PROFILE_SIZES["all"]["sampling"]
    return EntropyProbe(checkpoint, ProbeConfig(**{**sizes, "diagnostics": DIAGNOSTICS, **settings}))


# Of experiments/test_sanity_check.py, besides the bookkeeping; the calibration of errors takes many runs.
CHECKS = (
    "sampler_scorer_agreement", "batch_invariance", "draws", "definition", "update_gradient", "update_direction",
    "score_identity", "surprisal_identity", "sampler_alternatives", "estimator_agreement", "first_order_accuracy",
)  # fmt: skip


def checks(runs: list[RunRecord]) -> list[CheckOutcome]:
    """Every check of experiments/test_sanity_check.py that does not take many runs."""
    outcomes = [registry.get("checks", name, Check).check(runs, alpha=ALPHA) for name in CHECKS]
    return [*outcomes, *bookkeeping.judged(runs, with_replacement=False)]


def test_without_a_fault_all_is_green(checkpoint: Checkpoint) -> None:
    probe = probe_on(checkpoint)
    update = probe.update(0)
    runs = [probe.run(B_E, 0, run=run, update=update) for run in range(1, 4)]
    # Deterministic checks are never red; the five others at 1e-4 each.
    assert [outcome.name for outcome in checks(runs) if outcome.verdict == "fail"] == []


@pytest.mark.parametrize("name", [name for name, fault in faults.FAULTS.items() if fault.evidence is None])
def test_exact_comparisons_see_it_in_one_run(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault = faults.FAULTS[name]
    try:
        fault.plant(monkeypatch)
        probe = probe_on(checkpoint, **fault.settings)
        if fault.seen_by == "run":
            with pytest.raises(RunError, match=fault.says):
                probe.run(B_E, 0)
            return
        runs = [probe.run(B_E, 0, run=run + 1) for run in range(fault.runs)]
        # A single batch has no diagnostics of its own: what every experiment asks of it is its bookkeeping.
        single = bookkeeping.judged(runs, with_replacement=False) if probe.config.mode == "u_statistic" else None
        outcomes = {outcome.name: outcome for outcome in single or checks(runs)}
    finally:
        checkpoint.policy.model.eval()
    red = [outcome.name for outcome in outcomes.values() if outcome.verdict == "fail"]
    print(
        f"\n{name}: {fault.seen_by}, runs: {fault.runs}, {outcomes[fault.seen_by].statistic:.1e}; red: {', '.join(red)}"
    )
    assert fault.seen_by in red
    assert fault.says in outcomes[fault.seen_by].message()


@pytest.mark.parametrize("name", [name for name, fault in faults.FAULTS.items() if fault.evidence is not None])
def test_likelihood_ratios_see_it_at_the_size_they_promise(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault = faults.FAULTS[name]
    j = list(ALTERNATIVES).index(present(fault.evidence))
    fault.plant(monkeypatch)
    probe = probe_on(checkpoint, **fault.settings)
    # Two runs say how much evidence a run carries; the size for the promised power follows from it.
    tables = [one_run(probe, run) for run in (1, 2)]
    per_run = float(np.mean([table[j, 1] for table, _ in tables]))
    enough = stats.min_discrepancy_likelihood_ratio(len(ALTERNATIVES), alpha=ALPHA, power=1 - MISS)
    planned = stats.min_discrepancy_likelihood_ratio(len(ALTERNATIVES), alpha=ALPHA)
    size = math.ceil(1.2 * enough / per_run)
    tables += [one_run(probe, run) for run in range(3, size + 1)]
    total = np.sum([table for table, _ in tables], axis=0)
    outcome = stats.check_likelihood_ratio(
        dict(zip(ALTERNATIVES, total[:, 0].tolist(), strict=True)),
        dict(zip(ALTERNATIVES, total[:, 1].tolist(), strict=True)),
        alpha=ALPHA,
        name="sampler_alternatives",
        null="sampled tokens are as likely under the policy as its own draws are",
        likely_causes="the sampler",
        n=sum(count for _, count in tables),
    )
    at_default = RUNS * per_run
    needed = math.log(len(ALTERNATIVES) / ALPHA)
    power = scipy_stats.norm.cdf((at_default - needed) / math.sqrt(2 * at_default))
    print(
        f"\n{name}: {per_run:.2f} nats a run; power {power:.4f} at {RUNS} runs of {B_E}, 0.95 from "
        f"{math.ceil(planned / per_run)} runs; p = {outcome.p_value:.1e} at {size} runs"
    )
    assert outcome.verdict == "fail"
    assert f"these draws fit best: {fault.says}" in outcome.message()


# ---------------------------------------------------------------------- at checks.depth light

# One fault for each kind of check: of the sampler, the scorer, the estimator, the update, the numbers and their origin.
AT_LIGHT = (
    "sampler at T = 0.7", "random numbers of every batch", "end token ignored", "positions of padding",
    "entropy-to-go too late", "sign of u", "sign of the loss", "delta divided by B_E twice", "stale update",
    "rewards of the next prompt", "responses of the next prompt", "prompts of every run", "draws by top-k 5",
)  # fmt: skip
# Half the prompts of a run, a quarter of U: what is seen in them is seen in more.
FEW = {"B_U": 8, "chunk_tokens": 2048}


def light(checkpoint: Checkpoint, numbers: Sequence[int], size: int = B_E // 2) -> list[RunRecord]:
    """Runs of these numbers, of so many prompts, of a sanity check of 15 at depth light, as a session computes them."""
    batch = {"B_E_values": [size], "runs_per_batch": RUNS}
    config = ExperimentConfig.model_validate({"batch_config": batch, "diagnostics": True, "checks": {"depth": "light"}})
    asked = {run: config.asked_of(run) for run in (1, *numbers)}
    probes = {names: probe_on(checkpoint, **FEW, diagnostics=names) for names in asked.values()}
    update = probes[asked[1]].update(0)
    return [probes[asked[run]].run(size, 0, run=run, update=update) for run in numbers]


@pytest.mark.parametrize("name", AT_LIGHT)
def test_at_depth_light_it_is_seen_as_well(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """In a run with diagnostics and one without; evidence takes the two runs with diagnostics of a session of 15."""
    fault = faults.FAULTS[name]
    fault.plant(monkeypatch)
    runs = light(checkpoint, (1, 2)) if fault.evidence is None else light(checkpoint, (1, RUNS), B_E)
    outcomes = {outcome.name: outcome for outcome in checks(runs)}
    red = [outcome.name for outcome in outcomes.values() if outcome.verdict == "fail"]
    print(f"\n{name}, at depth light: red: {', '.join(red)}")
    assert fault.seen_by in red
    assert fault.says in outcomes[fault.seen_by].message()


def test_at_depth_light_all_is_green_without_a_fault(checkpoint: Checkpoint) -> None:
    runs = light(checkpoint, (1, 2, RUNS))
    assert [bool(run.asked) for run in runs] == [True, False, True]
    assert [outcome.name for outcome in checks(runs) if outcome.verdict == "fail"] == []


def test_what_a_plain_run_leaves_changed_is_seen_by_the_last_run(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = TwoBatch.measure

    def leaving(self: TwoBatch, *arguments: Any, **options: Any) -> MeasuredBatch:
        measured = measure(self, *arguments, **options)
        if not self.setup.config.diagnostics:
            left.append(self.setup.policy.model.register_forward_hook(lambda *_: None))
        return measured

    left: list[Any] = []
    monkeypatch.setattr(TwoBatch, "measure", leaving)
    try:
        runs = light(checkpoint, (1, 2, RUNS))
    finally:
        for handle in left:
            handle.remove()
    restored = registry.get("bookkeeping", "state_is_restored", Check)
    assert restored.check(runs[:2]).verdict == "pass"
    assert "hooks" in restored.check(runs).message()
    assert restored.check(runs).verdict == "fail"


def one_run(probe: EntropyProbe, run: int) -> tuple[np.ndarray, int]:
    """(evidence table, tokens) of the responses of one run, without its derivatives."""
    batch = [probe.setup.prompts[i] for i in np.random.default_rng([7, run]).integers(0, len(probe.setup.prompts), B_E)]
    rollouts = probe.setup.sample(batch, derive(0, "E", B_E, run))
    found = total_sampler_log_ratios(probe.policy, rollouts, seed=0, chunk_tokens=probe.config.tokens_at_once)
    table = found["sampler_evidence"]
    return table, int(rollouts.lengths.sum())
