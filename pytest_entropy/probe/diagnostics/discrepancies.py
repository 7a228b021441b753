"""Discrepancies that a run records for the checks: of sampler and scorer, of the batches, of the rewards."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.measure.entropy_unit import LENGTH, EntropyUnit
from pytest_entropy.probe.oracles.run import (
    definition_discrepancies,
    token_entropy_by_definition,
    token_unit_discrepancy,
)
from pytest_entropy.probe.parameter_vectors import norm
from pytest_entropy.probe.update.direction import Update, fingerprint
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import derive, generator
from pytest_entropy.rewards import RewardFunction, reward_discrepancy
from pytest_entropy.settings.probe import ProbeConfig
from pytest_entropy.stats.largest import largest

# A likelihood ratio that a correct sampler exceeds at most once in so many batches.
IMPROBABLE = 1e12
# The first prompts of a batch that, in order, identify its draw.
FIRST = 16
# Prompts whose tokens are compared with their random numbers.
LOOKED_AT = 8


def sampler_discrepancies(
    rollouts: Rollouts, derivatives: Derivatives, policy: Policy, max_new_tokens: int
) -> dict[str, float]:
    """Discrepancies between sampler and scorer on the same tokens, and counts of responses that end wrongly.

    Args:
        rollouts: P prompts x G responses as the sampler recorded them.
        derivatives: their scoring pass.
        policy: gives the end tokens and the unit roundoff of the weights.
        max_new_tokens: the length limit.

    Returns:
        By the names of :class:`Diagnostics`:

        - ``log_probs``, ``entropies``: largest absolute differences, nats.
        - ``unterminated``, ``past_the_end``: responses below the length limit without an end token, and responses that
          go on after one.
        - ``entropy_sampled``, ``entropy_se_sampled``, ``length_sampled``, ``ended_sampled``: the reported means by the
          sampler's record (nats per response, tokens, share).
        - ``copies``: of :func:`copies`.
        - ``rounding``: unit roundoff of the weights.
    """
    ends = torch.isin(rollouts.tokens, torch.tensor(policy.eos_ids, device=rollouts.tokens.device)) & rollouts.mask
    at_end = ends.gather(2, (rollouts.lengths - 1).unsqueeze(-1)).squeeze(-1)
    short = (rollouts.lengths < max_new_tokens) & ~at_end
    beyond = ends.sum(-1) > at_end.long()
    nats = rollouts.entropies.double().sum(-1).mean(1)
    return {
        "log_probs": largest_discrepancy(rollouts.log_probs, derivatives.log_probs),
        "entropies": largest_discrepancy(rollouts.entropies, derivatives.entropies),
        "unterminated": float(short.sum()),
        "past_the_end": float(beyond.sum()),
        "entropy_sampled": float(nats.mean()),
        "entropy_se_sampled": float(nats.std()) / len(rollouts) ** 0.5,
        "length_sampled": float(rollouts.mask.sum()) / at_end.numel(),
        "ended_sampled": float(at_end.sum()) / at_end.numel(),
        "copies": copies(rollouts),
        "rounding": policy.rounding,
    }


def copies(rollouts: Rollouts) -> float:
    """Number of prompts whose G responses are identical, if chance does not explain them; else 0.

    Given a prompt's first response, of probability pi, the others equal it with probability pi^(G - 1).  So
    e = pi^-(G - 1) where they do, and e = 0 where they do not, has mean 1 under a correct sampler, and so has
    (1 + e) / 2.  Prompts are independent, so the product of (1 + e) / 2 over them has mean 1 too, and exceeds 1e12 with
    probability at most 1e-12 (Markov's inequality).
    """
    tokens = torch.where(rollouts.mask, rollouts.tokens, -1)
    same = (tokens == tokens[:, :1]).all(-1).all(-1)
    surprise = -(rollouts.group_size - 1) * rollouts.log_probs[:, 0].double().sum(-1)
    likelier = surprise.masked_fill(~same, -torch.inf)
    evidence = float((torch.logaddexp(likelier, torch.zeros_like(likelier)) - math.log(2)).sum())
    return float(same.sum()) if evidence > math.log(IMPROBABLE) else 0.0


def update_discrepancies(
    prompts: Iterable[str], update: Update, control_variate: ControlVariateTables | None = None
) -> dict[str, float]:
    """Discrepancies of the entropy batch and of the direction used from the recorded update.

    Args:
        prompts: content keys of E's prompts, in order.
        update: the update with its record.
        control_variate: the tables that E's responses carry, or None.

    Returns:
        By the names of :class:`Diagnostics`:

        - ``shared_with_update``, ``repeated``: prompts of E that U holds too, and repeats of a prompt within E.
        - ``direction_gap``: largest relative gap of the direction's norm, of its fingerprint and of the tables'
          fingerprint from the recorded ones.
        - ``first_prompts``: a number in [0, 1) that identifies the order of E's first prompts; left out where two draws
          may have the same one by chance.
    """
    keys = list(prompts)
    gaps = [abs(norm(update.direction) / update.direction_norm - 1) if update.direction_norm else 0.0]
    if update.fingerprint is not None:
        gaps.append(_gap(fingerprint(update.direction), update.fingerprint))
    if control_variate is not None and update.learnt_fingerprint is not None:
        gaps.append(_gap(fingerprint(control_variate.tensors()), update.learnt_fingerprint))
    # The set of prompts allows at least as many orders as E's own prompts have.
    many = math.perm(len(set(keys)), min(FIRST, len(set(keys)))) > IMPROBABLE
    return {
        "shared_with_update": len(set(keys) & set(update.prompts)),
        "repeated": len(keys) - len(set(keys)),
        "direction_gap": largest(gaps),
        **({"first_prompts": derive(*keys[:FIRST]) / 2**64} if many else {}),
    }


def _gap(used: float, recorded: float) -> float:
    return abs(used - recorded) / (abs(used) + abs(recorded) or 1.0)


def definition_discrepancies_of_run(
    policy: Policy,
    prompts: Sequence[Prompt],
    rollouts: Rollouts,
    derivatives: Derivatives,
    update: Update,
    config: ProbeConfig,
    estimators: Sequence[str],
    *,
    seed: int,
) -> dict[str, float]:
    """Discrepancies of a run from its configuration, its random numbers and its definitions.

    Args:
        policy: the policy that was measured.
        prompts: the P prompts of E.
        rollouts: their responses, P prompts x G.
        derivatives: their scoring pass and s_n.
        update: the update whose direction was used.
        config: the settings to compare with.
        estimators: names of the estimators that were computed.
        seed: the seed that the responses were drawn with.

    Returns:
        By the names of :class:`Diagnostics`: ``temperature_gap``; ``size_gap``, the sum of differences of G and B_U;
        ``other_prompts``, rows that hold another prompt's tokens; ``draws``, of :func:`largest_draw_discrepancy`; and
        those of :func:`~.oracles.run.definition_discrepancies`.
    """
    sizes = ((rollouts.group_size, config.entropy_group), (len(update.prompts), config.B_U))
    return {
        "temperature_gap": abs(policy.temperature - config.temperature),
        "size_gap": float(sum(abs(used - asked) for used, asked in sizes)),
        "other_prompts": _other_prompts(policy, prompts, rollouts),
        "draws": largest_draw_discrepancy(policy, rollouts, seed),
        **definition_discrepancies(policy, rollouts, derivatives, update.direction, estimators),
    }


def largest_draw_discrepancy(policy: Policy, rollouts: Rollouts, seed: int) -> float:
    """Largest distance, in probability, of a token from the one that its random number picks.

    The token at position k of response g to prompt n has to be the first, in the order of token ids, whose cumulative
    probability exceeds the k-th random number of (seed, n, g).

    Args:
        policy: scores the tokens.
        rollouts: P prompts x G responses; the prompts with the most entropy are compared.
        seed: the seed that the responses were drawn with.
    """
    indices = rollouts.entropies.double().sum((1, 2)).argsort(descending=True)[:LOOKED_AT].tolist()
    shape = rollouts.tokens.shape
    # Not through seeds.uniforms, so that its numbers, which the sampler took, are checked too.
    rows = [generator(seed, n, g).random(shape[2]) for n in indices for g in range(shape[1])]
    table = torch.from_numpy(np.stack(rows)).reshape(len(indices), shape[1], shape[2])
    return float(policy.draw_discrepancies(rollouts.select(indices), table).max())


def unit_discrepancy(
    unit: EntropyUnit, values: np.ndarray, derivatives: Derivatives, rollouts: Rollouts
) -> dict[str, float]:
    """Discrepancies of a run per token from its definition; empty where the unit is per response.

    ``unit_gap`` is the relative gap of the values; ``entropy_per_token`` and ``entropy_per_token_se`` are the entropy
    per token and its standard error by plain loops, in nats.

    Args:
        unit: the unit of entropy.
        values: s_n ``[P]`` in that unit.
        derivatives: <X_n, u> and the length scores they were computed from.
        rollouts: P prompts x G responses.
    """
    if unit.name != "token":
        return {}
    per_prompt = derivatives.per_prompt
    entropy, entropy_se = token_entropy_by_definition(rollouts)
    return {
        "unit_gap": token_unit_discrepancy(values, per_prompt[unit.estimator], per_prompt[LENGTH], rollouts),
        "entropy_per_token": entropy,
        "entropy_per_token_se": entropy_se,
    }


@dataclass(frozen=True)
class RewardDiscrepancies:
    """Discrepancies of the update batch.

    Attributes:
        other_prompts: rows that hold another prompt's tokens.
        reward_gap: largest difference of a recorded reward from its response's reward computed again; None for a reward
            function that is called once only.
        draw_gap: of :func:`largest_draw_discrepancy`, in probability.
    """

    other_prompts: float
    reward_gap: float | None
    draw_gap: float


def reward_discrepancies(
    policy: Policy,
    prompts: Sequence[Prompt],
    rollouts: Rollouts,
    reward: RewardFunction,
    rewards: Sequence[Sequence[float]],
    *,
    seed: int,
) -> RewardDiscrepancies:
    """Compare U's rows with its prompts, its rewards with rewards computed again, its tokens with their random numbers.

    Args:
        policy: encodes the prompts, decodes and scores the responses.
        prompts: the B_U prompts.
        rollouts: their responses, B_U prompts x G.
        reward: the reward function.
        rewards: the recorded rewards ``[B_U][G]``.
        seed: the seed that the responses were drawn with.
    """
    texts = [[policy.decode(ids) for ids in rollouts.responses(n)] for n in range(len(prompts))]
    gap = reward_discrepancy(reward, prompts, texts, rewards)
    others = _other_prompts(policy, prompts, rollouts)
    return RewardDiscrepancies(others, gap, largest_draw_discrepancy(policy, rollouts, seed))


def _other_prompts(policy: Policy, prompts: Sequence[Prompt], rollouts: Rollouts) -> float:
    pairs = zip(prompts, rollouts.prompt_ids, strict=True)
    return float(sum(tuple(prompt.encoded(policy.encode)) != tuple(ids) for prompt, ids in pairs))


def largest_discrepancy(recorded: torch.Tensor, scored: torch.Tensor, *, prompts: int = 256) -> float:
    """Largest absolute difference of two tables; NaN if either holds a NaN.

    Args:
        recorded, scored: ``[P, G, L]``.
        prompts: number of prompts compared at a time, to bound memory.
    """
    pairs = zip(recorded.split(prompts), scored.split(prompts), strict=True)
    return float(torch.stack([(a.cpu().double() - b.double()).abs().max() for a, b in pairs]).max())
