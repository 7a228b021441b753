"""s_n by epsilon hooks against a plain per-prompt backward dotted with u in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from pytest_entropy.policy.dora import along_slope
from pytest_entropy.policy.logits import TeacherForced
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives import directional
from pytest_entropy.probe.derivatives.attached import attached
from pytest_entropy.probe.derivatives.directional import (
    directional_derivatives,
    directions_at_once,
)
from pytest_entropy.probe.derivatives.gradient import entropy_gradient
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.oracles.hooks import verify_tangent
from tests import tiny

NAMES = ["rao_blackwell", "reinforce_loo", "score"]


def plain(policy: Policy, rollouts: Rollouts, direction: dict[str, torch.Tensor], name: str) -> np.ndarray:
    """The oracle: one backward per prompt, no sharing, weight gradients formed and dotted with u."""
    policy.share_prompt = False
    direction, out = along_slope(policy.model, direction), []
    for n in range(len(rollouts)):
        one = rollouts.select([n])
        scores = policy.teacher_force(one)
        weights = get_estimator(name).weights(scores.log_probs, scores.entropies, one.mask, None)
        grads = torch.autograd.grad(
            weights.surrogate(scores.log_probs, scores.entropies), list(policy.trainable.values()), allow_unused=True
        )
        out.append(
            sum(
                float((g.double() * direction[name]).sum())
                for name, g in zip(policy.trainable, grads, strict=True)
                if g is not None
            )
        )
    policy.share_prompt = True
    return np.array(out)


def models() -> dict[str, Callable[[], PreTrainedModel]]:
    return {
        "full fine-tune": lambda: tiny.qwen2(),
        "untied": lambda: tiny.qwen2(tie_word_embeddings=False),
        "lora": lambda: tiny.lora(tiny.qwen2()),
        "rslora with biases": lambda: tiny.lora(tiny.qwen2(), use_rslora=True, bias="all"),
        "dora": lambda: tiny.lora(tiny.qwen2(), use_dora=True),
        "modules to save": lambda: tiny.lora(tiny.qwen2(tie_word_embeddings=False), modules_to_save=["lm_head"]),
        "embedding lora": lambda: tiny.lora(
            tiny.qwen2(tie_word_embeddings=False), target_modules=["embed_tokens", "q_proj"]
        ),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("kind", list(models()))
def test_equals_plain_backward(kind: str, dtype: torch.dtype) -> None:
    policy = tiny.policy(models()[kind](), dtype=dtype)
    rollouts = tiny.sample(policy, tiny.prompts(6))
    u = tiny.direction(policy)
    fast = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=100)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-4
    for name in NAMES:
        slow = plain(policy, rollouts, u, name)
        assert np.abs(fast.per_prompt[name] - slow).max() <= tolerance * np.abs(slow).max()
    assert verify_tangent(policy, rollouts, u, "rao_blackwell") < tolerance * 10


def test_chunks_change_rounding_only_and_threads_nothing() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    rollouts = tiny.sample(policy, tiny.prompts(12))
    u = tiny.direction(policy)
    small = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=60)
    threaded = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=60, threads=3)
    large = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=10_000)
    for name in NAMES:
        assert np.array_equal(small.per_prompt[name], threaded.per_prompt[name])
        np.testing.assert_allclose(
            small.per_prompt[name], large.per_prompt[name], rtol=0, atol=1e-4 * np.abs(large.per_prompt[name]).max()
        )


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing_where_a_parameter_is_left_to_the_plain_backward(threads: int) -> None:
    """It makes parameters require a gradient, which other threads' passes would see."""
    model = tiny.qwen2(tie_word_embeddings=False)
    policy = tiny.policy(tiny.lora(model, use_dora=True, target_modules=["q_proj", "embed_tokens"]))
    rollouts, u = tiny.sample(policy, tiny.prompts(12)), tiny.direction(policy)
    alone = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=60)
    for _ in range(3):
        beside = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=60, threads=threads)
        for name in NAMES:
            assert np.array_equal(alone.per_prompt[name], beside.per_prompt[name])


def test_out_of_memory_halves_the_piece_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    rollouts = tiny.sample(policy, tiny.prompts(8))
    u = tiny.direction(policy)
    expected = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10_000)
    score, sizes = type(policy).teacher_force, []

    def small_machine(self: Policy, part: Rollouts, ranks: torch.Tensor | None = None) -> TeacherForced:
        sizes.append(len(part))
        if len(part) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory")
        return score(self, part, ranks)

    monkeypatch.setattr(type(policy), "teacher_force", small_machine)
    got = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10_000)
    assert sizes[0] == 8
    assert sizes[-1] == 2
    np.testing.assert_allclose(got.per_prompt["rao_blackwell"], expected.per_prompt["rao_blackwell"], rtol=1e-4)


def trains_its_head(policy: Policy) -> bool:
    head = policy.model.get_output_embeddings()
    return any(p.requires_grad for p in head.parameters())


@pytest.mark.parametrize("kind", list(models()))
def test_a_vector_from_the_same_backward_leaves_every_bit_of_s_alone(kind: str) -> None:
    policy = tiny.policy(models()[kind]())
    rollouts, u = tiny.sample(policy, tiny.prompts(9)), tiny.direction(policy)
    alone = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=100)
    both = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=100, threads=2, gradient_of=NAMES[1])
    # torch multiplies a slice by a matrix that requires a gradient in another order of sums: the first token's logits.
    exact = 0.0 if not trains_its_head(policy) else 1e-5
    for name in NAMES:
        scale = np.abs(alone.per_prompt[name]).max()
        np.testing.assert_allclose(both.per_prompt[name], alone.per_prompt[name], rtol=0, atol=exact * scale)
    for table in ("log_probs", "entropies", "sequence", "nats", "first_surprises"):
        np.testing.assert_allclose(getattr(both, table), getattr(alone, table), rtol=exact, atol=exact)
    assert not alone.gradients
    mean = entropy_gradient(policy, rollouts, NAMES[1], chunk_tokens=100)
    (summed,) = both.gradients
    assert summed.keys() == mean.keys()
    for name, g in mean.items():
        torch.testing.assert_close(summed[name] / 9, g, rtol=1e-4, atol=1e-5 * float(g.abs().max()))


def test_a_vector_of_pieces_that_ran_out_of_memory_counts_each_prompt_once(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)
    rollouts, u = tiny.sample(policy, tiny.prompts(8)), tiny.direction(policy)
    expected = entropy_gradient(policy, rollouts, "rao_blackwell", chunk_tokens=10_000)
    real, failed = torch.autograd.grad, []

    def small_machine(*arguments: Any, **named: Any) -> Any:
        found = real(*arguments, **named)
        if len(arguments[1][0]) > 2:
            failed.append(len(arguments[1][0]))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return found

    monkeypatch.setattr(torch.autograd, "grad", small_machine)
    found = directional_derivatives(
        policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10_000, gradient_of="rao_blackwell"
    ).gradients[0]
    # The second half is not tried whole: what ran out is remembered.
    assert failed == [8, 4]
    for name, g in expected.items():
        torch.testing.assert_close(found[name] / 8, g, rtol=1e-8, atol=1e-10)


def test_a_vector_of_an_estimator_that_is_not_computed_is_refused() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    rollouts, u = tiny.sample(policy, tiny.prompts(2)), tiny.direction(policy)
    with pytest.raises(ValueError, match="the gradient of score is wanted"):
        directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=99, gradient_of="score")


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(models()))
def test_directions_at_once_are_those_one_by_one(kind: str) -> None:
    policy = tiny.policy(models()[kind]())
    rollouts = tiny.sample(policy, tiny.prompts(7))
    directions = [tiny.direction(policy, seed=seed) for seed in range(3)]
    first, *others = directions
    found = directional_derivatives(policy, rollouts, first, NAMES, chunk_tokens=100, also=others)
    for k, u in enumerate(others):
        alone = directional_derivatives(policy, rollouts, u, NAMES, chunk_tokens=100).per_prompt
        for name in NAMES:
            assert np.array_equal(found.along[name][k], alone[name])
    assert not any(m._forward_hooks for m in policy.model.modules())


def test_no_more_directions_at_once_than_weigh_as_much_as_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, adapted = tiny.policy(tiny.qwen2()), tiny.policy(tiny.lora(tiny.qwen2()))
    assert min(map(directions_at_once, (whole, adapted))) >= 8
    monkeypatch.setattr(directional, "LIGHT", 0)
    assert directions_at_once(whole) == 1
    weights, direction = (sum(p.numel() for p in ps) for ps in (adapted.model.parameters(), adapted.trainable.values()))
    assert directions_at_once(adapted) == weights // direction > 1
    for directions in (2, 1, 0):
        free = int((directions + 0.5) * 4 * direction / directional.SPARE)
        monkeypatch.setattr(directional, "_free_on_a_gpu", lambda policy, free=free: free)
        assert directions_at_once(adapted) == max(directions, 1)


def test_other_directions_wait_until_the_attached_ones_are_gone() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    u, v = (tiny.direction(policy, seed=seed) for seed in (0, 1))
    with attached(policy, [u, v], slope=True):
        with attached(policy, [u, v], slope=True) as tangents:
            assert len(tangents) == 2
        for others, more in (([u], {}), ([v, u], {}), ([u, v], {"gradients": True})):
            with pytest.raises(RuntimeError, match="other directions are attached"):
                attached(policy, others, slope=True, **more).__enter__()


def test_a_direction_for_an_unknown_parameter_is_refused() -> None:
    policy = tiny.policy(tiny.qwen2())
    rollouts = tiny.sample(policy, tiny.prompts(2))
    with pytest.raises(KeyError, match="the direction names parameters the model does not have"):
        directional_derivatives(policy, rollouts, {"nowhere": torch.zeros(1)}, NAMES, chunk_tokens=100)


def test_parameters_are_left_as_they_were() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()))
    before = {name: p.requires_grad for name, p in policy.model.named_parameters()}
    rollouts = tiny.sample(policy, tiny.prompts(2))
    directional_derivatives(policy, rollouts, tiny.direction(policy), NAMES, chunk_tokens=100)
    assert {name: p.requires_grad for name, p in policy.model.named_parameters()} == before
    assert all(p.grad is None for p in policy.model.parameters())
    assert not any(m._forward_hooks for m in policy.model.modules())


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_first_surprises_are_expected_as_loops_over_the_bare_model_have_it(temperature: float) -> None:
    """Of each response the sum of 1 - max pi up to its first token that is not the likeliest."""
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64, temperature=temperature)
    rollouts, u = tiny.sample(policy, tiny.prompts(7), G=3), tiny.direction(policy)
    found = directional_derivatives(policy, rollouts, u, ["score"], chunk_tokens=60).first_surprises
    for n in range(len(rollouts)):
        expected = 0.0
        for response in rollouts.responses(n):
            ids = torch.tensor([[*rollouts.prompt_ids[n], *response]])
            with torch.no_grad():
                logits = policy.model(input_ids=ids).logits[0, len(rollouts.prompt_ids[n]) - 1 : -1].double()
            p = torch.softmax(logits / temperature, -1)
            for k, token in enumerate(response):
                expected += 1 - float(p[k].max())
                if token != int(p[k].argmax()):
                    break
        assert found[n] == pytest.approx(expected, rel=1e-5)
