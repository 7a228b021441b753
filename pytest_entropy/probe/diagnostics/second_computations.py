"""Discrepancies of a batch from second computations: its draw, its prompts' tokens, its texts, its scalars' slopes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.oracles.prompt_draw import other_draws
from pytest_entropy.probe.oracles.slopes import slope_discrepancies
from pytest_entropy.probe.oracles.texts import other_encodings, other_texts
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.settings.probe import ProbeConfig


def entropy_batch_again(
    policy: Policy,
    prompts: Sequence[Prompt],
    rollouts: Rollouts,
    derivatives: Derivatives,
    update: Update,
    config: ProbeConfig,
    *,
    seed: int,
    prompt_set: PromptSet,
    tokenizer: Any,
) -> dict[str, float]:
    """Discrepancies of the entropy batch, by the names of :class:`~pytest_entropy.records.diagnostics.Diagnostics`.

    They are ``encodings``, prompts whose tokens a plain encoding does not give; ``prompt_draw``, places that hold
    another prompt than the seed puts there; and, where ``score`` was computed, those of
    :func:`~.oracles.slopes.slope_discrepancies`.

    Args:
        policy: the policy that was measured.
        prompts: the P prompts of E.
        rollouts: their responses, P prompts x G.
        derivatives: their s_n.
        update: the update whose direction was used, and whose prompts E must not hold.
        config: the settings.
        seed: the run's own seed.
        prompt_set: the whole set, from which E is drawn again.
        tokenizer: the second tokenizer.
    """
    taken, chunk = frozenset(update.prompts), config.tokens_at_once
    found = {
        "encodings": other_encodings(tokenizer, prompts, rollouts, policy.tokenizer.chat_template),
        "prompt_draw": other_draws(prompt_set, prompts, seed, exclude=taken, replace=config.with_replacement),
    }
    s, score = derivatives.per_prompt[config.estimator], derivatives.per_prompt.get("score")
    if score is None:
        return found
    return found | slope_discrepancies(
        policy, rollouts, update.direction, s, score, config.estimator, chunk_tokens=chunk
    )  # fmt: skip


def update_batch_again(
    policy: Policy,
    prompts: Sequence[Prompt],
    rollouts: Rollouts,
    texts: Sequence[Sequence[str]],
    config: ProbeConfig,
    *,
    seed: int,
    prompt_set: PromptSet,
    tokenizer: Any,
) -> dict[str, Any]:
    """Discrepancies of the update batch, by the names of :class:`~pytest_entropy.records.update.UpdateRecord`.

    They are ``encodings`` and ``prompt_draw`` as of the entropy batch, and ``texts``, responses whose text a plain
    decoding does not give.

    Args:
        policy: the policy that was sampled.
        prompts: the B_U prompts.
        rollouts: their responses, B_U prompts x G.
        texts: the responses' texts ``[B_U][G]`` that were rewarded.
        config: the settings.
        seed: the seed of the draw.
        prompt_set: the whole set, from which U is drawn again.
        tokenizer: the second tokenizer.
    """
    return {
        "encodings": other_encodings(tokenizer, prompts, rollouts, policy.tokenizer.chat_template),
        "texts": other_texts(tokenizer, rollouts, texts),
        "prompt_draw": other_draws(prompt_set, prompts, seed, replace=config.with_replacement),
    }
