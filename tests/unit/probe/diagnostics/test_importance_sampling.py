"""Entropy changes by importance sampling against enumeration, their derivatives, and the sweep's bookkeeping."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe import ProbeConfig
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep, StepTotals, eta_sweep
from pytest_entropy.probe.diagnostics.importance_sampling import (
    Totals,
    effective_sample_size,
    entropy_change,
    entropy_slope,
    longest_step,
    moved,
    sequence_totals,
    step_rounding,
    totals_at,
)
from pytest_entropy.probe.diagnostics.self_normalised import clipped, pareto_smoothed, self_normalised_change
from pytest_entropy.settings.layers import Layer, resolve_config
from pytest_entropy.settings.model import ExperimentConfig
from tests import double, tiny
from tests.present import present

MULTIPLES = (-2, -1, 1, 2)


def inputs(
    dtype: torch.dtype = torch.float64, *, prompts: int = 6, G: int = 4
) -> tuple[Policy, Rollouts, dict[str, torch.Tensor]]:
    model = tiny.lora(tiny.qwen2())
    policy = tiny.policy(double.without_float32(model) if dtype == torch.float64 else model, dtype=dtype)
    return policy, tiny.sample(policy, tiny.prompts(prompts), G=G), tiny.direction(policy)


def totals(policy: Policy, rollouts: Rollouts, u: dict[str, torch.Tensor], step: float) -> Totals:
    return totals_at(policy, rollouts, u, step, chunk_tokens=1000)


@pytest.mark.parametrize(
    ("change", "estimator"),
    [(entropy_change, "importance_sampled"), (self_normalised_change, "self_normalised")],
)
def test_each_change_tends_to_its_linearisation_prompt_by_prompt(
    change: Callable[[Totals, Totals], np.ndarray], estimator: str
) -> None:
    policy, rollouts, u = inputs()
    exact = directional_derivatives(policy, rollouts, u, [estimator], chunk_tokens=1000).per_prompt[estimator]
    before = totals(policy, rollouts, u, 0.0)
    h = 1e-6
    ahead, behind = (change(before, totals(policy, rollouts, u, sign * h)) for sign in (1, -1))
    np.testing.assert_allclose((ahead - behind) / (2 * h), exact, rtol=1e-5)
    one_sided = [np.abs(change(before, totals(policy, rollouts, u, k * h)) / (k * h) - exact).max() for k in (1, 10)]
    assert one_sided[1] / one_sided[0] == pytest.approx(10, rel=0.1)


def test_self_normalised_weights_do_not_see_a_common_factor_and_the_unbiased_ones_do() -> None:
    policy, rollouts, u = inputs()
    before, after = totals(policy, rollouts, u, 0.0), totals(policy, rollouts, u, 1e-3)
    doubled = after._replace(sequence=after.sequence + np.log(2))
    np.testing.assert_allclose(self_normalised_change(before, doubled), self_normalised_change(before, after))
    assert not np.allclose(entropy_change(before, doubled), entropy_change(before, after))


def test_log_space_survives_weights_no_float_can_hold() -> None:
    policy, rollouts, u = inputs()
    before = totals(policy, rollouts, u, 0.0)
    far = before._replace(sequence=before.sequence + np.linspace(0, 4000, before.sequence.size).reshape(6, 4))
    best = far.nats[:, -1] - before.nats.mean(1)
    np.testing.assert_allclose(self_normalised_change(before, far), best, atol=1e-9)
    assert effective_sample_size(far.sequence - before.sequence) == pytest.approx(1 / before.sequence.size)
    assert not np.isfinite(entropy_change(before, far)).all()


def test_group_of_one_has_no_baseline() -> None:
    policy, rollouts, u = inputs(G=1)
    with pytest.raises(ValueError, match="needs G >= 2"):
        entropy_change(*[totals(policy, rollouts, u, 0.0)] * 2)


def test_moved_comes_back_bit_by_bit_even_after_an_error() -> None:
    policy, _, u = inputs(torch.float32)
    before = {name: p.detach().clone() for name, p in policy.trainable.items()}

    def fails_on_the_way() -> None:
        with moved(policy, u, 0.3):
            assert not torch.equal(next(iter(before.values())), next(iter(policy.trainable.values())))
            raise RunError("on the way")

    with pytest.raises(RunError):
        fails_on_the_way()
    assert all(torch.equal(before[name], p) for name, p in policy.trainable.items())


@pytest.mark.parametrize(("dtype", "low", "high"), [(torch.float64, 0, 1e-9), (torch.bfloat16, 0.05, 2)])
def test_step_rounding_is_what_the_weights_lose(dtype: torch.dtype, low: float, high: float) -> None:
    policy, _, u = inputs(dtype)
    assert low <= step_rounding(policy, u, 1e-4) <= high
    assert step_rounding(policy, u, 0.0) == 0


def test_sweep_has_the_training_step_and_leaves_for_a_usable_range() -> None:
    policy, rollouts, u = inputs()
    sweeps = {
        eta: eta_sweep(StepTotals(policy, rollouts, u, 1000), eta=eta, multiples=MULTIPLES) for eta in (1e-9, 1e-3, 3.0)
    }
    for eta, sweep in sweeps.items():
        assert eta in sweep.steps
        assert np.log2(sweep.unit / eta) == np.round(np.log2(sweep.unit / eta))
        assert {m * float(sweep.unit) for m in MULTIPLES} <= set(sweep.steps.tolist())
        assert (np.diff(sweep.steps) > 0).all()
        assert sweep.fresh.size == 0
    units = [float(sweep.unit) for sweep in sweeps.values()]
    assert units[0] > 1e-9
    assert units[2] < 3.0
    # Whatever the training step, the ladder stands where log-weights move by a few hundredths.
    before = totals(policy, rollouts, u, 0.0)
    for unit in units:
        move = totals(policy, rollouts, u, unit).sequence - before.sequence
        assert 2e-3 <= np.sqrt(np.square(move).mean()) <= 0.1


def test_noise_floor_is_rounding_and_nothing_else() -> None:
    floors = {}
    for dtype in (torch.float32, torch.float64):
        policy, rollouts, u = inputs(dtype)
        sweep = eta_sweep(StepTotals(policy, rollouts, u, 1000), eta=1e-3, multiples=MULTIPLES)
        floors[dtype] = np.sqrt(np.square(sweep.floor).mean())
        at_eta = np.abs(sweep.change[sweep.steps == 1e-3]).mean()
        assert floors[dtype] < 1e-2 * at_eta
    assert 1e-8 < floors[torch.float32] < 1e-4
    assert floors[torch.float64] < 1e-2 * floors[torch.float32]


def test_fresh_responses_are_the_same_at_no_step() -> None:
    policy, rollouts, u = inputs()
    drawn = []

    def sample() -> Rollouts:
        drawn.append(tiny.sample(policy, tiny.prompts(6)))
        return drawn[-1]

    sweep = eta_sweep(StepTotals(policy, rollouts, u, 1000), eta=1e-14, multiples=(-1, 2), sample=sample)
    assert torch.equal(drawn[0].tokens, rollouts.tokens)
    np.testing.assert_allclose(sweep.fresh[0], 0, atol=1e-10)
    assert sweep.fresh_steps.tolist() == [1e-14, sweep.steps.max()]
    differ = [a != b for n in range(6) for a, b in zip(drawn[1].responses(n), rollouts.responses(n), strict=True)]
    assert sweep.fresh_changed.tolist() == [0, sum(differ)]
    after, before = (drawn[1], rollouts)
    expected = after.entropies.sum(-1).mean(1) - before.entropies.sum(-1).mean(1)
    np.testing.assert_allclose(sweep.fresh[1], expected)
    assert np.abs(sweep.fresh[1]).min() > 1e-6


def test_arrays_hold_the_whole_sweep() -> None:
    policy, rollouts, u = inputs()
    sweep = eta_sweep(StepTotals(policy, rollouts, u, 1000), eta=1e-3, multiples=MULTIPLES)
    again = EtaSweep.from_arrays(sweep.arrays())
    for name in EtaSweep.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(sweep, name))
    assert EtaSweep.from_arrays({"ranks": np.zeros(3)}) is None


def test_a_step_out_of_range_is_named() -> None:
    policy, rollouts, u = inputs(torch.float32)
    with pytest.raises(RunError, match=r"log-probabilities at theta \+ 1e\+38 u are not finite"):
        eta_sweep(StepTotals(policy, rollouts, u, 1000), eta=1e38, multiples=MULTIPLES)


def test_no_direction_moves_nothing() -> None:
    policy, rollouts, u = inputs()
    still = {name: torch.zeros_like(value) for name, value in u.items()}
    sweep = eta_sweep(StepTotals(policy, rollouts, still, 1000), eta=1e-3, multiples=MULTIPLES)
    assert not sweep.change.any()
    assert sweep.unit == sweep.eta


def test_pareto_smoothing_keeps_light_tails_and_tells_heavy_ones() -> None:
    pytest.importorskip("arviz_stats")
    rng = np.random.default_rng(0)
    light = rng.normal(0, 0.1, (64, 8))
    smoothed, khat = pareto_smoothed(light)
    assert khat < 0.5
    order = np.argsort(light.ravel())
    # Only the tail is touched, whose length arviz-stats rounds up or down, and the weights keep their scale.
    tail = math.ceil(3 * light.size**0.5)
    np.testing.assert_allclose(smoothed.ravel()[order[:-tail]], light.ravel()[order[:-tail]])
    assert np.abs(smoothed - light).max() < 0.1
    heavy = np.log(rng.pareto(0.8, (64, 8)))
    smoothed, khat = pareto_smoothed(heavy)
    assert khat > 0.7
    assert smoothed.max() <= heavy.max()
    same, khat = pareto_smoothed(np.zeros((64, 8)))
    assert np.isnan(khat)
    assert not same.any()
    assert np.isnan(pareto_smoothed(light[:2])[1])


def test_missing_arviz_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arviz_stats.base", None)
    with pytest.raises(UsageError, match=r"install pytest-entropy\[psis\]"):
        pareto_smoothed(np.zeros((4, 8)))


def test_clipping_bounds_the_weights_from_above() -> None:
    logs = np.log(np.array([[0.1, 1.0, 3.0, 30.0]]))
    np.testing.assert_allclose(np.exp(clipped(logs, 4.0)), [[0.1, 1.0, 3.0, 4.0]])
    with pytest.raises(ValueError, match="must be above 1"):
        clipped(logs, 1.0)


def test_threads_and_pieces_leave_totals_alone() -> None:
    policy, rollouts, _ = inputs()
    whole = sequence_totals(policy, rollouts, chunk_tokens=10_000)
    pieces = sequence_totals(policy, rollouts, chunk_tokens=40, threads=3)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"eta_multiples": (0, 1)}, "finite and not 0"), ({"clip_weights": 0.5}, "must be above 1")],
)
def test_settings_that_cannot_work_are_named(settings: dict[str, tuple[int, int] | float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeConfig(**settings)


def configured(**section: Any) -> ExperimentConfig:
    return resolve_config([Layer("x", {"eta_sweep": section})]).config


def test_configuration_turns_the_sweep_on_by_its_multiples() -> None:
    assert "eta_sweep" not in ProbeConfig(**configured().probe_settings()).diagnostics
    config = ProbeConfig(**configured(multiples=[-1, 2.5], clip_weights=5, fresh_samples=True).probe_settings())
    assert "eta_sweep" in config.diagnostics
    assert (config.eta_multiples, config.clip_weights, config.fresh_samples) == ((-1, 2.5), 5, True)
    for wrong in ([1], [0, 1], [2, 2]):
        with pytest.raises(UsageError, match="at least two different numbers other than 0"):
            configured(multiples=wrong)


def test_configured_smoothing_without_arviz_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_entropy.settings.model.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"install pytest-entropy\[psis\]"):
        configured(multiples=[-1, 1], pareto_smoothed=True)


def test_a_policy_that_no_step_moves_has_no_slope_to_measure() -> None:
    """At a temperature near 0 the step that moves log-weights is beyond the parameters' own size: None, and no NaN."""
    policy, rollouts, u = inputs(torch.float32)
    measured = entropy_slope(policy, rollouts, u, score_of(policy, rollouts, u), chunk_tokens=1000)
    assert np.isfinite(present(measured)).all()
    frozen = tiny.policy(policy.model, temperature=1e-4)
    still = tiny.sample(frozen, tiny.prompts(6), G=4)
    score = score_of(frozen, still, u)
    assert np.abs(score).max() < 1e-3
    assert entropy_slope(frozen, still, u, score, chunk_tokens=1000) is None
    nowhere = {name: 0 * x for name, x in u.items()}
    assert (present(entropy_slope(frozen, still, nowhere, score, chunk_tokens=1000)) == 0).all()


def test_the_sweep_of_a_collapsed_policy_stays_within_the_parameters_size() -> None:
    policy, _, u = inputs(torch.float32)
    frozen = tiny.policy(policy.model, temperature=1e-4)
    still = tiny.sample(frozen, tiny.prompts(6), G=4)
    sweep = eta_sweep(StepTotals(frozen, still, u, 1000), eta=1e-4, multiples=MULTIPLES)
    assert float(sweep.unit) <= longest_step(frozen, u)
    assert np.isfinite(sweep.change).all()


def score_of(policy: Policy, rollouts: Rollouts, u: dict[str, torch.Tensor]) -> np.ndarray:
    return directional_derivatives(policy, rollouts, u, ["score"], chunk_tokens=1000).per_prompt["score"]


def test_the_longest_step_is_half_the_parameters_own_norm() -> None:
    policy, _, u = inputs()
    step = longest_step(policy, u)
    moved_by = sum(float((step * x).square().sum()) for x in u.values()) ** 0.5
    size = sum(float(policy.trainable[name].detach().square().sum()) for name in u) ** 0.5
    assert moved_by == pytest.approx(0.5 * size)
    assert longest_step(policy, {name: 0 * x for name, x in u.items()}) == float("inf")


def test_a_step_that_the_scores_make_too_long_is_cut_to_first_order() -> None:
    """A batch without a surprise has scores that say too little of how far its tokens' distributions move."""
    policy, rollouts, u = inputs()
    score = score_of(policy, rollouts, u)
    right = present(entropy_slope(policy, rollouts, u, score, chunk_tokens=1000))
    for understated in (30, 300):
        found = present(entropy_slope(policy, rollouts, u, score / understated, chunk_tokens=1000))
        assert np.abs(found - right).max() < 0.02 * np.abs(right).max()
