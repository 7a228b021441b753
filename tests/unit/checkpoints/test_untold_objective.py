"""What the probe's update leaves out of TRL's is said once each, and nothing is said of neutral values."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy.checkpoints.untold_objective import left_out

NEUTRAL = {
    "beta": 0.0,
    "entropy_coef": 0.0,
    "use_adaptive_entropy": False,
    "top_entropy_quantile": 1.0,
    "mask_truncated_completions": False,
    "num_iterations": 1,
    "steps_per_generation": 4,
    "gradient_accumulation_steps": 4,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": None,
    "repetition_penalty": 1.0,
    "generation_kwargs": None,
    "multi_objective_aggregation": "sum_then_normalize",
    "normalize_advantages": False,
    "reward_clip_range": None,
}


@pytest.mark.parametrize("given", [{}, NEUTRAL, {"top_k": None}, {"top_k": -1}, {"generation_kwargs": {}}])
def test_nothing_to_say(given: dict[str, Any]) -> None:
    assert left_out(given) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"beta": 0.04}, "KL term (beta 0.04) is left out"),
        ({"entropy_coef": 0.01}, "entropy bonus (entropy_coef)"),
        ({"use_adaptive_entropy": True}, "entropy bonus (entropy_coef)"),
        ({"top_entropy_quantile": 0.2}, "tokens of high entropy only"),
        ({"top_entropy_quantile": 0.0}, "tokens of high entropy only"),
        ({"mask_truncated_completions": True}, "truncated completions were masked in training"),
        ({"num_iterations": 2}, "several steps per batch (num_iterations)"),
        ({"steps_per_generation": 8}, "several steps per batch (steps_per_generation)"),
        ({"top_p": 0.9, "top_k": 50}, "sampled with top_p 0.9, top_k 50; here responses are drawn from softmax"),
        ({"min_p": 0.1}, "sampled with min_p 0.1"),
        ({"repetition_penalty": 1.1}, "sampled with repetition_penalty 1.1"),
        ({"generation_kwargs": {"top_p": 0.5}}, "sampled with generation_kwargs"),
        ({"multi_objective_aggregation": "normalize_then_sum"}, "normalised each reward"),
        ({"normalize_advantages": True}, "normalised its advantages"),
        ({"reward_clip_range": (-1, 1)}, "clipped its rewards"),
    ],
)
def test_one_sentence(given: dict[str, Any], words: str) -> None:
    (said,) = left_out({**NEUTRAL, **given})
    assert words in said


def test_values_of_strange_types_are_no_error() -> None:
    strange = dict.fromkeys(NEUTRAL, object())
    assert all("object at" not in said for said in left_out(strange))
    assert left_out(dict.fromkeys(("beta", "num_iterations", "top_entropy_quantile"), "text")) == []
