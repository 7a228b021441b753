"""What a run keeps besides its scalars: sampler against scorer, and token-level arrays for the checks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import ControlVariateTables, Rollouts
from pytest_entropy.probe.derivatives.directional import Derivatives
from pytest_entropy.probe.derivatives.gradient import norm
from pytest_entropy.probe.measure.entropy_unit import LENGTH, EntropyUnit
from pytest_entropy.probe.oracles.run import definition_discrepancies, token_unit_discrepancy
from pytest_entropy.probe.pieces import scoring_chunks, work_through
from pytest_entropy.probe.update.direction import Update, fingerprint
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import derive, generator
from pytest_entropy.rewards import RewardFunction, reward_discrepancy
from pytest_entropy.settings.probe import ProbeConfig

# Evidence that no correct sampler gives but once in as many batches.
IMPROBABLE = 1e12
# So many of a batch's prompts, in order, tell one draw of prompts from another.
FIRST = 16
# Prompts whose responses are looked at token by token against their random numbers.
LOOKED_AT = 8


def sampler_discrepancies(
    rollouts: Rollouts, derivatives: Derivatives, policy: Policy, max_new_tokens: int
) -> dict[str, float]:
    """Largest differences between what sampler and scorer say of the same tokens, in nats, how many responses stop
    short without an end token that counts or go on after one, what the sampler's own record makes of the reported
    means, prompts whose responses are ``copies`` of one another, and the unit roundoff of the weights."""
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
    """How many prompts have G responses that are one and the same, if that is no chance, else 0.

    Given the first response, that the others are equal to it has the probability pi^(G - 1); so its inverse where they
    are, and 0 elsewhere, has mean 1, and so has half of that and a half.  Prompts are independent, so the product over
    them has mean 1 as well, and exceeds 1e12 once in 1e12 (Markov's inequality).
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
    """How many of E's prompts, by content, are U's as well or come ``repeated``, and whether the direction, its norm
    and what E's responses were told (``control_variate``) are what was recorded.

    ``first_prompts`` is a number that tells one choice of E's first prompts from another, left out where two choices
    may be the same by chance.
    """
    own = list(prompts)
    gaps = [abs(norm(update.direction) / update.direction_norm - 1) if update.direction_norm else 0.0]
    if update.fingerprint is not None:
        gaps.append(_gap(fingerprint(update.direction), update.fingerprint))
    if control_variate is not None and update.learnt_fingerprint is not None:
        gaps.append(_gap(fingerprint(vars(control_variate)), update.learnt_fingerprint))
    # As many orders as E's own prompts have are there at least, whatever the collection they are drawn from.
    many = math.perm(len(set(own)), min(FIRST, len(set(own)))) > IMPROBABLE
    return {
        "shared_with_update": len(set(own) & set(update.prompts)),
        "repeated": len(own) - len(set(own)),
        "direction_gap": max(gaps),
        **({"first_prompts": derive(*own[:FIRST]) / 2**64} if many else {}),
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
    """How far the policy's temperature and the batches' sizes are from the configured ones, how many rows have another
    prompt's tokens, how far tokens are from what the random numbers of ``seed`` pick
    (:func:`largest_draw_discrepancy`), and :func:`~.oracles.run.definition_discrepancies`."""
    sizes = ((rollouts.group_size, config.entropy_group), (len(update.prompts), config.B_U))
    return {
        "temperature_gap": abs(policy.temperature - config.temperature),
        "size_gap": float(sum(abs(used - asked) for used, asked in sizes)),
        "other_prompts": _other_prompts(policy, prompts, rollouts),
        "draws": largest_draw_discrepancy(policy, rollouts, seed),
        **definition_discrepancies(policy, rollouts, derivatives, update.direction, estimators),
    }


def largest_draw_discrepancy(policy: Policy, rollouts: Rollouts, seed: int) -> float:
    """The probability by which a token misses its random number, at most, in the groups with the most entropy.

    The token at position k of response g to prompt n is the first, in the order of token ids, with a
    cumulative probability above the k-th number of (``seed``, n, g).
    """
    indices = rollouts.entropies.double().sum((1, 2)).argsort(descending=True)[:LOOKED_AT].tolist()
    shape = rollouts.tokens.shape
    # Not through seeds.uniforms: what it gives the sampler is to be checked, too.
    rows = [generator(seed, n, g).random(shape[2]) for n in indices for g in range(shape[1])]
    table = torch.from_numpy(np.stack(rows)).reshape(len(indices), shape[1], shape[2])
    return float(policy.draw_discrepancies(rollouts.select(indices), table).max())


def unit_discrepancy(
    unit: EntropyUnit, values: np.ndarray, derivatives: Derivatives, rollouts: Rollouts
) -> dict[str, float]:
    """How far the values of the entropy per token are from their definition; nothing where it is per response."""
    if unit.name != "token":
        return {}
    own = derivatives.per_prompt
    return {"unit_gap": token_unit_discrepancy(values, own[unit.estimator], own[LENGTH], rollouts)}


@dataclass(frozen=True)
class RewardDiscrepancies:
    """Rows with another prompt's tokens, the largest difference of a reward from its own response's (None of a function
    that is not asked twice), and how far tokens are from what their random numbers pick, in probability."""

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
    """U's rows with another prompt's tokens, the largest difference of a reward from its own response's, and how far
    tokens are from what the random numbers of ``seed`` pick."""
    texts = [[policy.decode(ids) for ids in rollouts.responses(n)] for n in range(len(prompts))]
    gap = reward_discrepancy(reward, prompts, texts, rewards)
    others = _other_prompts(policy, prompts, rollouts)
    return RewardDiscrepancies(others, gap, largest_draw_discrepancy(policy, rollouts, seed))


def _other_prompts(policy: Policy, prompts: Sequence[Prompt], rollouts: Rollouts) -> float:
    pairs = zip(prompts, rollouts.prompt_ids, strict=True)
    return float(sum(tuple(prompt.encoded(policy.encode)) != tuple(ids) for prompt, ids in pairs))


def largest_discrepancy(recorded: torch.Tensor, scored: torch.Tensor, *, prompts: int = 256) -> float:
    """Largest absolute difference of two tables ``[P, G, L]``, a few prompts at a time; nan if there is one."""
    pairs = zip(recorded.split(prompts), scored.split(prompts), strict=True)
    return float(torch.stack([(a.cpu().double() - b.double()).abs().max() for a, b in pairs]).max())


def token_arrays(rollouts: Rollouts, derivatives: Derivatives) -> dict[str, np.ndarray]:
    """Token-level evidence kept with a run when ranks were asked for: one entry per token that counts."""
    if derivatives.ranks is None or derivatives.surprisal_sd is None:
        return {}
    mask = rollouts.mask.cpu()
    surprisal = -derivatives.log_probs.double() - derivatives.entropies.double()
    return {
        "ranks": derivatives.ranks[mask].numpy(),
        "surprisal_sd": derivatives.surprisal_sd[mask].numpy(),
        "excess_surprisal": surprisal.sum(-1).mean(1).numpy(),
    }


@dataclass(frozen=True)
class LogRatiosPiece:
    """Evidence to be had from some prompts' responses against every wrong sampler."""

    part: Rollouts

    def compute(self, policy: Policy) -> np.ndarray:
        """Score them: ``[J, 2]``."""
        return policy.sampler_log_ratios(self.part).cpu().numpy()


def total_sampler_log_ratios(policy: Policy, rollouts: Rollouts, *, chunk_tokens: int, threads: int = 1) -> np.ndarray:
    """``[J, 2]`` by :data:`~pytest_entropy.policy.alternatives.ALTERNATIVES`: log likelihood ratio of all tokens
    together against each wrong sampler, and what it would be on average if that one had been used, in nats."""
    chunks = scoring_chunks(rollouts, chunk_tokens)
    parts = work_through(policy, chunks, lambda indices: LogRatiosPiece(rollouts.select(indices)), threads=threads)
    total: np.ndarray = np.sum([part for _, part in parts], axis=0)
    return total
