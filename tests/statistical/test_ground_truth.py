"""The entropy along u, by importance sampling and by fresh responses, against enumeration of every response."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.checks.eta_sweep_intercept import CHECK
from pytest_entropy.checks.summaries.eta_sweep import sweep_record
from pytest_entropy.checks.summaries.sweep_fit import polynomial
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep, fresh_change
from pytest_entropy.probe.diagnostics.importance_sampling import (
    Totals,
    entropy_change,
    moved,
    sequence_totals,
    totals_at,
)
from pytest_entropy.probe.diagnostics.self_normalised import self_normalised_change
from pytest_entropy.records.run import RunRecord
from tests import double, enumerable, tiny
from tests.present import present

STEP, PROMPTS, ALPHA = 0.02, 6000, 1e-4
# Prompts of the demo run, and the step, as a share of the training step, at which its derivatives are compared.
B_E, NEAR = 48, 1e-4
LADDER = np.array([-2.0, -1.0, 1.0, 2.0])


Enumerated = tuple[Rollouts, Totals, np.ndarray]


@pytest.fixture(scope="module")
def policy() -> Policy:
    plain = enumerable.policy()
    double.without_float32(plain.model)
    return plain


@pytest.fixture(scope="module")
def u(policy: Policy) -> dict[str, torch.Tensor]:
    """A direction of length 1, so that steps are distances."""
    direction = tiny.direction(policy)
    length = sum(float(part.square().sum()) for part in direction.values()) ** 0.5
    return {name: part / length for name, part in direction.items()}


def every_response(prompts: list[list[int]]) -> Rollouts:
    """All responses there are to each prompt, as if they had been sampled."""
    responses = list(enumerable.responses())
    tokens = torch.zeros(len(responses), enumerable.LIMIT, dtype=torch.int64)
    for row, response in enumerate(responses):
        tokens[row, : len(response)] = torch.tensor(response)
    lengths = torch.tensor([len(response) for response in responses])
    empty = torch.zeros(len(prompts), len(responses), enumerable.LIMIT, dtype=torch.float64)
    return Rollouts(
        prompt_ids=tuple(map(tuple, prompts)),
        tokens=tokens.expand(len(prompts), -1, -1).contiguous(),
        lengths=lengths.expand(len(prompts), -1).contiguous(),
        ended=torch.ones(len(prompts), len(responses), dtype=torch.bool),
        log_probs=empty,
        entropies=empty,
    )


def exact_change(policy: Policy, u: dict[str, torch.Tensor], step: float) -> np.ndarray:
    """[3]: H(theta + step u) - H(theta) of each prompt, by the definition E[-S] over every response."""
    with torch.no_grad():
        before = [float(enumerable.expectation(policy, p, lambda _, s: -s)) for p in enumerable.PROMPTS]
        with moved(policy, u, step):
            after = [float(enumerable.expectation(policy, p, lambda _, s: -s)) for p in enumerable.PROMPTS]
    change: np.ndarray = np.array(after) - np.array(before)
    return change


def derivatives_along(policy: Policy, u: dict[str, torch.Tensor]) -> np.ndarray:
    """(H', H'') along u of each prompt ``[3]``, by differentiating the enumerated entropy twice."""
    out = []
    for prompt in enumerable.PROMPTS:
        # Only plain attention can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH):
            value = enumerable.expectation(policy, prompt, lambda _, s: -s)
            slope = along(policy, u, value)
            out.append((float(slope.detach()), float(along(policy, u, slope).detach())))
    return np.array(out).T


def along(policy: Policy, u: dict[str, torch.Tensor], value: torch.Tensor) -> torch.Tensor:
    """The derivative of ``value`` along u, differentiable."""
    grads = torch.autograd.grad(value, list(policy.trainable.values()), create_graph=True, allow_unused=True)
    parts = [(g * u[name]).sum() for name, g in zip(policy.trainable, grads, strict=True) if g is not None]
    return torch.stack(parts).sum()


# ---------------------------------------------------------------------- every response, weighted by its probability


@pytest.fixture(scope="module")
def enumerated(policy: Policy) -> Enumerated:
    """Every response with its probability as its share: importance sampling without a sample."""
    rollouts = every_response(enumerable.PROMPTS)
    before = sequence_totals(policy, rollouts, chunk_tokens=10_000)
    shares = np.exp(before.sequence)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-12)
    return rollouts, before, shares


@pytest.mark.parametrize("step", [1e-4, 0.02, 0.5, -0.5])
def test_self_normalised_change_over_every_response_is_the_enumerated_one(
    policy: Policy, u: dict[str, torch.Tensor], enumerated: Enumerated, step: float
) -> None:
    rollouts, before, shares = enumerated
    after = totals_at(policy, rollouts, u, step, chunk_tokens=10_000)
    change = self_normalised_change(before, after, shares=shares)
    np.testing.assert_allclose(change, exact_change(policy, u, step), rtol=1e-9, atol=1e-13)


def test_sweep_gives_slope_and_second_derivative_along_u(
    policy: Policy, u: dict[str, torch.Tensor], enumerated: Enumerated
) -> None:
    rollouts, before, shares = enumerated
    steps = 2e-3 * LADDER
    change = np.stack(
        [
            self_normalised_change(before, totals_at(policy, rollouts, u, h, chunk_tokens=10_000), shares=shares)
            for h in steps
        ]
    )
    coefficients = polynomial(steps, change)
    slope, curvature = derivatives_along(policy, u)
    np.testing.assert_allclose(coefficients[0], slope, rtol=1e-6)
    np.testing.assert_allclose(2 * coefficients[1], curvature, rtol=1e-4)


# ---------------------------------------------------------------------- sampled responses


@dataclass
class Sampled:
    """Many prompts with G responses at theta and at +-STEP, and which of the toy's prompts each is."""

    which: np.ndarray
    rollouts: Rollouts
    before: Totals
    after: Totals

    def centred(self, policy: Policy, u: dict[str, torch.Tensor], change: np.ndarray) -> np.ndarray:
        """Change minus the exact one of the same prompt: mean 0 without bias."""
        centred: np.ndarray = change - exact_change(policy, u, STEP)[self.which]
        return centred


def sampled(policy: Policy, u: dict[str, torch.Tensor], G: int, prompts: int, seed: int) -> Sampled:
    which = np.random.default_rng(seed).integers(0, len(enumerable.PROMPTS), prompts)
    ids = [enumerable.PROMPTS[i] for i in which]
    rollouts = tiny.sample(policy, ids, G=G, limit=enumerable.LIMIT, seed=seed)
    before = sequence_totals(policy, rollouts, chunk_tokens=100_000)
    return Sampled(which, rollouts, before, totals_at(policy, rollouts, u, STEP, chunk_tokens=100_000))


@pytest.fixture(scope="module")
def small_groups(policy: Policy, u: dict[str, torch.Tensor]) -> Sampled:
    return sampled(policy, u, 4, PROMPTS, seed=11)


def z(values: np.ndarray) -> float:
    return float(values.mean() / (values.std(ddof=1) / len(values) ** 0.5))


def test_importance_sampled_change_is_unbiased(
    policy: Policy, u: dict[str, torch.Tensor], small_groups: Sampled
) -> None:
    change = entropy_change(small_groups.before, small_groups.after)
    assert abs(z(small_groups.centred(policy, u, change))) < 4


def first_order_bias(policy: Policy, u: dict[str, torch.Tensor], enumerated: Enumerated, G: int) -> np.ndarray:
    """[3] per unit of step: -1/G of what the weights contribute, cov(H_g, dS_g), from every response."""
    rollouts, before, shares = enumerated
    ahead, behind = (totals_at(policy, rollouts, u, sign * 1e-5, chunk_tokens=10_000) for sign in (1, -1))
    score = (ahead.sequence - behind.sequence) / 2e-5
    part: np.ndarray = -(shares * (before.nats - (shares * before.nats).sum(1, keepdims=True)) * score).sum(1) / G
    return part


def test_self_normalised_change_is_biased_by_one_over_G_of_the_weights_part(
    policy: Policy, u: dict[str, torch.Tensor], enumerated: Enumerated, small_groups: Sampled
) -> None:
    change = self_normalised_change(small_groups.before, small_groups.after)
    excess = small_groups.centred(policy, u, change)
    bias = STEP * first_order_bias(policy, u, enumerated, G=4)[small_groups.which]
    # Far too large to miss; explained by the formula up to the next order in the step.
    assert abs(z(excess)) > 6
    assert abs(z(excess - bias)) < 4


@pytest.mark.slow
def test_self_normalised_change_over_large_groups_is_the_enumerated_one(
    policy: Policy, u: dict[str, torch.Tensor], enumerated: Enumerated
) -> None:
    many = sampled(policy, u, 256, 400, seed=12)
    change = self_normalised_change(many.before, many.after)
    assert abs(z(many.centred(policy, u, change))) < 4


@pytest.mark.slow
def test_fresh_responses_have_the_enumerated_change_far_from_theta(policy: Policy, u: dict[str, torch.Tensor]) -> None:
    which = np.random.default_rng(13).integers(0, len(enumerable.PROMPTS), PROMPTS)
    ids = [enumerable.PROMPTS[i] for i in which]

    def sample() -> Rollouts:
        return tiny.sample(policy, ids, G=4, limit=enumerable.LIMIT, seed=13)

    before = sample()
    change, changed = fresh_change(policy, before, u, 2.0, sample)
    assert changed > 1000
    exact = exact_change(policy, u, 2.0)[which]
    assert abs(z(change - exact)) < 4
    assert abs(z(change)) > 6
    # The same random numbers on both sides: less noise than two independent samples.
    apart = tiny.sample(policy, ids, G=4, limit=enumerable.LIMIT, seed=14)
    independent, _ = fresh_change(policy, before, u, 0.1, lambda: apart)
    assert fresh_change(policy, before, u, 0.1, sample)[0].std() < independent.std()


# ---------------------------------------------------------------------- the demo checkpoint, in float64


def demo_run(multiples: tuple[float, ...]) -> RunRecord:
    checkpoint = load_checkpoint("demo", dtype="float64")
    double.without_float32(checkpoint.policy.model)
    config = ProbeConfig(
        estimator="rao_blackwell",
        B_U=16,
        max_new_tokens=32,
        diagnostics=("self_normalised", "importance_sampled", "eta_sweep"),
        eta_multiples=multiples,
    )
    return EntropyProbe(checkpoint, config).run(B_E, seed=5)


@pytest.fixture(scope="module")
def demo() -> RunRecord:
    """One run with steps at the training step and at one ten-thousandth of it."""
    return demo_run((-2, -1, -NEAR, NEAR, 10 * NEAR, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "estimator"),
    [("self_normalised", "self_normalised"), ("change", "importance_sampled")],
)
def test_slope_tends_to_its_exact_linearisation_on_every_prompt(demo: RunRecord, kind: str, estimator: str) -> None:
    sweep = present(EtaSweep.from_arrays(demo.arrays))
    exact = np.asarray(demo.diagnostics[estimator])
    slope = {float(h / sweep.unit): row / h for h, row in zip(sweep.steps, getattr(sweep, kind), strict=True)}
    near = min(slope, key=lambda m: abs(m - NEAR))
    np.testing.assert_allclose(slope[near], exact, rtol=1e-3)
    error = {m: np.abs(row - exact).max() for m, row in slope.items() if m > 0}
    ladder = sorted(error)
    assert error[ladder[1]] / error[ladder[0]] == pytest.approx(10, rel=0.1)


@pytest.mark.slow
def test_intercept_of_the_demo_is_delta_h1_and_a_wrong_factor_is_not(demo: RunRecord) -> None:
    sweep = present(EtaSweep.from_arrays(demo.arrays))
    keep = np.isin(np.round(sweep.steps / sweep.unit, 6), LADDER)
    used = {name: getattr(sweep, name)[keep] for name in ("steps", "change", "self_normalised", "ess", "group_ess")}
    used |= {name: getattr(sweep, name)[keep] for name in ("khat", "rounding")}
    run = replace(demo, arrays=replace(sweep, **used).arrays())
    assert CHECK.check([run], alpha=ALPHA).verdict == "pass"
    for factor in (-1, 2):
        wrong = replace(run, per_prompt=[factor * s for s in run.per_prompt])
        assert CHECK.check([wrong], alpha=ALPHA).verdict == "fail"
    summary = sweep_record(run, confidence=0.95, tolerance=0.1)
    difference, intercept = present(summary.difference), present(summary.intercept)
    assert abs(difference) < 4 * present(summary.difference_se)
    assert abs(intercept - present(summary.delta_h1_over_eta) - difference) < 1e-9
    # The exact linearisation of the unbiased change has the same intercept, without any noise between them.
    exact = np.mean(demo.diagnostics["importance_sampled"])
    assert summary.intercept == pytest.approx(exact, rel=1e-4)
    assert summary.verdict == "holds"
