"""One step of the eta sweep by plain loops, and what sets it off."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep, eta_sweep
from pytest_entropy.probe.oracles.sweep import sweep_discrepancies
from tests import tiny

POLICY = tiny.policy(tiny.lora(tiny.qwen2()))
PROMPTS = 12
ROLLOUTS, U = tiny.sample(POLICY, tiny.prompts(PROMPTS)), tiny.direction(POLICY)
HAS_PSIS = importlib.util.find_spec("arviz_stats") is not None


def swept(*, pareto: bool = False, clip: float | None = None) -> EtaSweep:
    return eta_sweep(
        POLICY, ROLLOUTS, U, eta=1e-3, multiples=(-4, -1, 1, 4), chunk_tokens=1000, pareto=pareto, clip=clip
    )


def gaps(sweep: EtaSweep, *, pareto: bool = False, clip: float | None = None) -> dict[str, float]:
    return sweep_discrepancies(POLICY, ROLLOUTS, U, sweep, pareto=pareto, clip=clip, chunk_tokens=1000)


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
