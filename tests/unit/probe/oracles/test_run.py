"""The probe's scalars and objectives against their definitions in plain loops, on the demo checkpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.checkpoints import demo
from pytest_entropy.errors import RunError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.estimators import estimator_names, get_estimator
from pytest_entropy.probe.oracles import one_response
from pytest_entropy.probe.oracles.run import (
    by_definition,
    definition_discrepancies,
    first_surprises_by_definition,
)
from pytest_entropy.probe.oracles.update import (
    OBJECTIVES_BY_DEFINITION,
    loss_slope_discrepancy,
    norm_discrepancy,
    token_weights_by_definition,
)
from pytest_entropy.probe.update.objective import token_weights
from pytest_entropy.prompts import DemoPrompts
from pytest_entropy.settings.objectives import OBJECTIVES, SCALINGS
from tests import tiny
from tests.present import present

PROMPTS, G = 64, 8


def policy_of(kind: str, dtype: str) -> Policy:
    checkpoint = load_checkpoint("demo", dtype=dtype)
    if kind == "lora":
        return checkpoint.policy
    model = AutoModelForCausalLM.from_pretrained(demo.PATH / "base", dtype=getattr(torch, dtype)).eval()
    return Policy(model, checkpoint.policy.tokenizer, dict(model.named_parameters()), checkpoint.policy.eos_ids)


@pytest.mark.parametrize(
    ("dtype", "tolerance", "count"),
    [
        ("float64", 1e-6, 16),
        pytest.param("float64", 1e-6, PROMPTS, marks=pytest.mark.slow),
        pytest.param("float32", 1e-4, PROMPTS, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("kind", ["lora", pytest.param("full fine-tune", marks=pytest.mark.slow)])
def test_scalars_of_many_prompts_equal_a_plain_backward_per_prompt(
    kind: str, dtype: str, tolerance: float, count: int
) -> None:
    policy = policy_of(kind, dtype)
    prompts = DemoPrompts()
    ids = [list(policy.encode(prompts[i].content)) for i in range(0, count * 500, 500)]
    assert len(ids) == count
    rollouts = tiny.sample(policy, ids, G=G, limit=32)
    u = tiny.direction(policy)
    fast = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=16384)
    slow = np.array([by_definition(policy, rollouts, n, u, "rao_blackwell").s for n in range(count)])
    # Relative to the typical size: a scalar may be zero by cancellation.
    assert np.abs(fast.per_prompt["rao_blackwell"] - slow).max() <= tolerance * np.sqrt(np.mean(slow**2))


@pytest.mark.parametrize("name", estimator_names())
def test_every_definition_is_the_fast_estimator(name: str) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)
    control_variate = learn(tiny.sample(policy, tiny.prompts(3), G=5, seed=1), 10)
    rollouts, u = (
        replace(tiny.sample(policy, tiny.prompts(7), G=5), control_variate=control_variate),
        tiny.direction(policy),
    )
    fast = directional_derivatives(policy, rollouts, u, [name], chunk_tokens=99).per_prompt[name]
    slow = [by_definition(policy, rollouts, n, u, name) for n in range(7)]
    # This architecture's norms compute in float32 whatever the weights are in.
    assert fast == pytest.approx(np.array([one.s for one in slow]), abs=1e-6 * max(present(one.size) for one in slow))


@pytest.mark.parametrize("scaling", [None, *SCALINGS])
@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_token_weights_equal_the_published_formulae(objective: str, scaling: str | None) -> None:
    rng = np.random.default_rng(0)
    rewards, lengths = rng.random((5, 4)).round(1), rng.integers(1, 30, (5, 4))
    settings: dict[str, Any] = {"max_new_tokens": 40, "scaling": scaling, "epsilon": 1e-3}
    fast = token_weights(torch.tensor(rewards), torch.tensor(lengths), objective, **settings)
    slow = token_weights_by_definition(rewards.tolist(), lengths.tolist(), objective, **settings)
    np.testing.assert_allclose(fast.numpy(), np.array(slow), rtol=1e-12, atol=1e-15)
    assert set(OBJECTIVES) == set(OBJECTIVES_BY_DEFINITION)


def test_the_loss_slope_sees_sign_scale_and_weights() -> None:
    checkpoint = load_checkpoint("demo", dtype="float64")
    probe = EntropyProbe(checkpoint, ProbeConfig(B_U=8, G=4, max_new_tokens=32, diagnostics=("definition",)))
    update = probe.update(0)
    assert present(update.loss_slope_gap) < 1e-3
    rollouts = probe.setup.sample([probe.setup.prompts[i] for i in range(8)], 5)
    rewards = np.random.default_rng(1).random((8, 4)).tolist()
    weights = token_weights_by_definition(rewards, rollouts.lengths.tolist(), "dr_grpo", max_new_tokens=32)
    right = probe_gradient(checkpoint.policy, rollouts, weights)
    u = {name: -g for name, g in right.items()}

    def gap(gradient: dict[str, torch.Tensor], table: list[list[float]] = weights) -> float:
        return loss_slope_discrepancy(checkpoint.policy, rollouts, table, gradient, u, step=1e-3, chunk_tokens=9999)[0]

    assert gap(right) < 1e-3
    assert gap({name: -g for name, g in right.items()}) > 0.1
    assert gap({name: 1.07 * g for name, g in right.items()}) > 0.01
    assert gap(right, [[1.07 * w for w in row] for row in weights]) > 0.01


def probe_gradient(policy: Policy, rollouts: Rollouts, weights: list[list[float]]) -> dict[str, torch.Tensor]:
    """The gradient of -sum w S by one backward per response."""
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in policy.trainable.items()}
    for n in range(len(rollouts)):
        scores = policy.teacher_force(rollouts.select([n]))
        loss = -(torch.tensor(weights[n]) * scores.log_probs.double().sum(-1)).sum()
        for name, g in zip(total, torch.autograd.grad(loss, list(policy.trainable.values())), strict=True):
            total[name] += g
    return total


def test_an_estimator_without_a_definition_fails_loudly() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    rollouts, u = tiny.sample(policy, tiny.prompts(4)), tiny.direction(policy)
    found = directional_derivatives(policy, rollouts, u, ["score"], chunk_tokens=99)
    assert definition_discrepancies(policy, rollouts, found, u, ["score"])["definition"] < 1e-3
    with pytest.raises(TypeError, match="needs a definition in plain loops"):
        replace(get_estimator("score"), definition=None)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="no estimator is named"):
        definition_discrepancies(policy, rollouts, found, u, [])


def test_a_number_that_is_none_is_no_agreement() -> None:
    """One NaN in the batch's own tables, wherever it stands among the prompts that are looked at."""
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    rollouts, u = tiny.sample(policy, tiny.prompts(4)), tiny.direction(policy)
    found = directional_derivatives(policy, rollouts, u, ["score"], chunk_tokens=99)
    lengths = [len(ids) for ids in rollouts.prompt_ids]
    for n in (lengths.index(min(lengths)), lengths.index(max(lengths))):
        log_probs, s = found.log_probs.clone(), found.per_prompt["score"].copy()
        log_probs[n, -1, 0] = torch.nan
        broken = replace(found, log_probs=log_probs)
        assert np.isnan(definition_discrepancies(policy, rollouts, broken, u, ["score"])["alone_log_probs"])
    s[lengths.index(min(lengths))] = np.nan
    broken = replace(found, per_prompt={"score": s})
    assert np.isnan(definition_discrepancies(policy, rollouts, broken, u, ["score"])["definition"])


def test_a_response_counts_up_to_its_first_surprise() -> None:
    tops = [[(0.5, 0.4), (0.7, 0.1), (0.6, 0.3)], [(0.9, 0.1), (0.8, 0.1), (0.5, 0.3)]]
    # The first leaves the path at its second token; the second never does.
    own = [[0.5, 0.1, 0.6], [0.9, 0.8, 0.5]]
    assert first_surprises_by_definition(tops, own, tie=1e-3) == pytest.approx((1.6, 1.6))


def test_equally_likely_tokens_may_count_as_either() -> None:
    tops = [[(0.4, 0.3999999), (0.9, 0.1)]]
    for own in (0.4, 0.3999999):
        assert first_surprises_by_definition(tops, [[own, 0.9]], tie=1e-3) == pytest.approx((0.6, 0.7))


def test_a_batch_counts_surprises_as_their_definition_does() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    rollouts, u = tiny.sample(policy, [[3, 4], [5, 6, 7], [8]], G=G, limit=6), tiny.direction(policy)
    fast = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=16384)
    found = definition_discrepancies(policy, rollouts, fast, u, ["rao_blackwell"])
    assert found["alone_surprises"] < 1e-5
    other = replace(fast, first_surprises=fast.first_surprises + 1)
    assert definition_discrepancies(policy, rollouts, other, u, ["rao_blackwell"])["alone_surprises"] > 1e-2
    unknown = replace(fast, first_surprises=np.full(3, np.nan))
    assert "alone_surprises" not in definition_discrepancies(policy, rollouts, unknown, u, ["rao_blackwell"])


def test_a_norm_is_that_of_all_entries() -> None:
    tensors = {"a": torch.tensor([3.0, 0.0]), "b": torch.tensor([[4.0]])}
    assert norm_discrepancy((5.0, tensors)) == pytest.approx(0, abs=1e-12)
    assert norm_discrepancy((5.0, tensors), (7.0, tensors)) == pytest.approx(0.4)
    assert norm_discrepancy((0.0, {})) == 0


@pytest.mark.parametrize("name", ["rao_blackwell", "action_value"])
def test_pieces_of_a_response_do_not_change_its_definition(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64, temperature=0.8)
    tables = learn(tiny.sample(policy, tiny.prompts(3), seed=1), 10)
    rollouts = replace(tiny.sample(policy, tiny.prompts(3)), control_variate=tables)
    u = tiny.direction(policy)
    whole = by_definition(policy, rollouts, 1, u, name)
    monkeypatch.setattr(one_response, "PIECE_ENTRIES", 3 * 60)
    pieces = by_definition(policy, rollouts, 1, u, name)
    assert present(pieces.s) == pytest.approx(present(whole.s), rel=1e-9)
    assert present(pieces.size) == pytest.approx(present(whole.size), rel=1e-9)
    assert pieces.log_probs == whole.log_probs
    assert pieces.entropies == whole.entropies
    assert pieces.surprises == whole.surprises
