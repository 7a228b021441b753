"""What another batch taught, as plain numbers, and the contexts of tokens, for estimators' definitions."""

from __future__ import annotations

import torch

from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.oracles.loops import Taught, TokenValues, contexts_of


def taught_by(rollouts: Rollouts, estimator: str) -> Taught | None:
    """The control variate tables that rollouts carry as plain numbers; None for an estimator that does not learn.

    Args:
        rollouts: the batch.
        estimator: the name of the estimator.
    """
    tables = rollouts.control_variate
    if tables is None or not get_estimator(estimator).learns:
        return None
    pairs: dict[int, dict[int, float]] = {}
    columns = (tables.pair_context.tolist(), tables.pair_token.tolist(), tables.pair_value.tolist())
    for context, token, value in zip(*columns, strict=True):
        pairs.setdefault(context, {})[token] = value
    return Taught(tables.position.tolist(), tables.token.tolist(), pairs, bool(tables.cleans), float(tables.share))


def value_of(rollouts: Rollouts) -> torch.Tensor | None:
    """What a prefix adds per unit of its features, ``[4, H]``, by the tables that rollouts carry; None without any."""
    return None if rollouts.control_variate is None else rollouts.control_variate.value


def values_at(taught: Taught | None, rollouts: Rollouts, prompt_index: int) -> list[list[TokenValues]]:
    """The action values at the tokens of one prompt's responses, response by response; empty lists without tables.

    Args:
        taught: the tables.
        rollouts: the batch that holds the prompt, with the log-probabilities that the sampler recorded.
        prompt_index: which of its prompts.
    """
    responses = rollouts.responses(prompt_index)
    if taught is None:
        return [[] for _ in responses]
    return [[taught.values_in(context) for context in contexts] for contexts in contexts_at(rollouts, prompt_index)]


def contexts_at(rollouts: Rollouts, prompt_index: int) -> list[list[int]]:
    """The contexts of one prompt's tokens, response by response, by plain loops over the sampler's record.

    Args:
        rollouts: the batch that holds the prompt.
        prompt_index: which of its prompts.
    """
    responses, recorded = rollouts.responses(prompt_index), rollouts.log_probs[prompt_index].tolist()
    return [contexts_of(ids, row[: len(ids)]) for ids, row in zip(responses, recorded, strict=True)]
