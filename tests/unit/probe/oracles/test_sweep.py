"""One step of the eta sweep by plain loops, and what sets it off."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep, StepTotals, eta_sweep
from pytest_entropy.probe.diagnostics.importance_sampling import Totals
from pytest_entropy.probe.oracles.sweep import spread_over_lengths, sweep_discrepancies
from tests import tiny

POLICY = tiny.policy(tiny.lora(tiny.qwen2()))
PROMPTS = 12
ROLLOUTS, U = tiny.sample(POLICY, tiny.prompts(PROMPTS)), tiny.direction(POLICY)
HAS_PSIS = importlib.util.find_spec("arviz_stats") is not None


TOTALS = StepTotals(POLICY, ROLLOUTS, U, 1000)


def swept(*, pareto: bool = False, clip: float | None = None) -> EtaSweep:
    return eta_sweep(TOTALS, eta=1e-3, multiples=(-4, -1, 1, 4), pareto=pareto, clip=clip)


def gaps(sweep: EtaSweep, *, pareto: bool = False, clip: float | None = None) -> dict[str, float]:
    return sweep_discrepancies(POLICY, ROLLOUTS, U, sweep, TOTALS.known, pareto=pareto, clip=clip, chunk_tokens=1000)


@pytest.mark.parametrize("clip", [None, 1.01])
@pytest.mark.parametrize("pareto", [False, pytest.param(True, marks=pytest.mark.skipif(not HAS_PSIS, reason="psis"))])
def test_a_sweep_is_what_loops_give(pareto: bool, clip: float | None) -> None:
    found = gaps(swept(pareto=pareto, clip=clip), pareto=pareto, clip=clip)
    assert set(found) == {"sweep_change", "sweep_self_normalised", "sweep_sizes", "sweep_khat"}
    assert max(found.values()) < 1e-6


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("change", "sweep_change"),
        ("self_normalised", "sweep_self_normalised"),
        ("ess", "sweep_sizes"),
        ("group_ess", "sweep_sizes"),
    ],
)
def test_another_number_is_seen(field: str, name: str) -> None:
    sweep = swept()
    found = gaps(replace(sweep, **{field: getattr(sweep, field)[::-1]}))
    assert [key for key, gap in found.items() if gap > 1e-4] == [name]


def test_a_step_whose_weights_overflow_is_passed_over() -> None:
    sweep = swept()
    change = sweep.change.copy()
    change[0] = np.inf
    assert max(gaps(replace(sweep, change=change)).values()) < 1e-6
    assert gaps(replace(sweep, change=np.full_like(change, np.nan))) == {}


@pytest.mark.skipif(not HAS_PSIS, reason="psis")
def test_the_shape_of_the_other_tail_is_seen() -> None:
    sweep = swept(pareto=True)
    assert np.isfinite(sweep.khat).all()
    assert gaps(replace(sweep, khat=sweep.khat + 0.1), pareto=True)["sweep_khat"] == pytest.approx(0.1)
    assert gaps(replace(sweep, khat=np.full(len(sweep.khat), np.nan)), pareto=True)["sweep_khat"] == 1


def test_totals_that_a_new_pass_does_not_give_are_seen_though_every_loop_over_them_agrees() -> None:
    """The sweep of totals whose prompts are in another order at theta is consistent in itself."""
    of_others = TOTALS(0.0)
    known = {0.0: Totals(of_others.sequence[::-1].copy(), of_others.nats[::-1].copy())}
    totals = StepTotals(POLICY, ROLLOUTS, U, 1000, known=known)
    sweep = eta_sweep(totals, eta=1e-3, multiples=(-4, -1, 1, 4))
    found = sweep_discrepancies(POLICY, ROLLOUTS, U, sweep, known, pareto=False, clip=None, chunk_tokens=1000)
    assert [key for key, gap in found.items() if gap > 1e-4] == ["sweep_change"]


@pytest.mark.parametrize(("prompts", "chosen"), [(1, 1), (2, 2), (4, 2), (12, 3), (100, 16)])
def test_the_prompts_scored_again_are_spread_over_the_lengths(prompts: int, chosen: int) -> None:
    rollouts = ROLLOUTS.select([n % PROMPTS for n in range(prompts)])
    some = spread_over_lengths(rollouts)
    tokens = rollouts.lengths.sum(1)
    assert len(set(some)) == chosen
    assert tokens[some[0]] == tokens.min()
    assert tokens[some[-1]] == tokens.max() or chosen == 1
    assert (tokens[some].diff() >= 0).all()
