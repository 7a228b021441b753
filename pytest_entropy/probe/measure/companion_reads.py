"""Companion reads: what a prompt alone fixes of s_n, averaged over further prompts that are read and not answered.

With x_n the derivative along u of H_K + sum_u q(c_K, u) pi(u) after a prompt and the opening that U's responses share,

    s~_n = s_n - x_n + (1/k) sum_j x_nj

has the mean of s_n, whatever x is, since E's prompts and the companions are drawn alike.  Given U the s~_n are
independent and of one law at every B_E, with the variance var(s - x) + var(x) / k (docs/variance-reduction.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.merged_adapter import merged
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.batches import draw_companions
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import derive

# The scalar that is read.
READ = "last_token"


@dataclass(frozen=True)
class CompanionReads:
    """The reads of one entropy batch with k companions to each of its prompts.

    Attributes:
        own: x_n ``[B_E]`` of E's prompts, nats per response per unit of eta.
        companions: x_nj ``[B_E, k]`` of their companions.
        prompts: the companions, those of prompt n at n k … (n + 1) k - 1.
        read: the prompts that were read: E's, then each companion once.
        rollouts: what was read of them.
        values: x of each.
    """

    own: np.ndarray
    companions: np.ndarray
    prompts: tuple[Prompt, ...]
    read: tuple[Prompt, ...]
    rollouts: Rollouts
    values: np.ndarray

    def applied(self, s: np.ndarray) -> np.ndarray:
        """s~_n ``[B_E]`` for s_n ``[B_E]``."""
        return np.asarray(s - self.own + self.companions.mean(1))


def read_companions(
    setup: Setup,
    prompts: Sequence[Prompt],
    tables: ControlVariateTables,
    update: Update,
    *,
    count: int,
    seed: int,
    meter: Meter,
) -> CompanionReads:
    """Draw companions of E's prompts that neither U nor E holds, and read both.

    Args:
        setup: policy, prompts and settings.
        prompts: E's B_E prompts.
        tables: U's action values and opening.
        update: the direction that is read along.
        count: k, the number of companions of each prompt.
        seed: the run's own seed.
        meter: gets the time and memory of the phase.

    Raises:
        RunError: hardly any other prompt is left.
    """
    config = setup.config
    taken = frozenset() if config.with_replacement else frozenset(update.prompts) | {prompt.key for prompt in prompts}
    drawn = draw_companions(setup.prompts, count * len(prompts), derive(seed, "companions"), exclude=taken)
    distinct, place = np.unique(drawn, return_inverse=True)
    others = [setup.prompts[int(index)] for index in distinct]
    every = (*prompts, *others)
    with meter.phase("reading", len(every) * (len(tables.opening) + 1)), merged(setup.policy):
        rollouts = opened(setup.policy, every, tables, config.max_new_tokens)
        values = prompt_reads(setup, rollouts, update)
    own, theirs = values[: len(prompts)], values[len(prompts) :]
    companions = tuple(others[n] for n in place)
    return CompanionReads(own, theirs[place].reshape(len(prompts), count), companions, every, rollouts, values)


def prompt_reads(setup: Setup, rollouts: Rollouts, update: Update) -> np.ndarray:
    """x ``[P]``, nats per response per unit of eta.

    Args:
        setup: policy and settings.
        rollouts: what is read of P prompts (:func:`opened`).
        update: the direction that is read along.
    """
    # A single response shares its prompt with none.
    alone = setup.policy.computing(share_prompt=False)
    found = directional_derivatives(
        alone, rollouts, update.direction, [READ], chunk_tokens=setup.config.tokens_at_once, threads=setup.threads
    )
    return found.per_prompt[READ]


def opened(policy: Policy, prompts: Sequence[Prompt], tables: ControlVariateTables, limit: int = 1) -> Rollouts:
    """One response to each prompt: the opening, and a token in the place of the first that may decide.

    Args:
        policy: encodes the prompts.
        prompts: P prompts.
        tables: U's action values and opening; the record says that no token of the opening decided.
        limit: tokens that a response may have, for which the model must have room after each prompt, as for E's.

    Raises:
        RunError: a prompt with its response is longer than the model's context.
    """
    opening = [*tables.opening.tolist(), policy.eos_ids[0] if policy.eos_ids else 0]
    ids = tuple(tuple(prompt.encoded(policy.encode)) for prompt in prompts)
    policy.require_room(max(map(len, ids)) + limit)
    shape = (len(prompts), 1, len(opening))
    device = policy.device
    return Rollouts(
        prompt_ids=ids,
        tokens=torch.tensor(opening, device=device).expand(shape),
        lengths=torch.full(shape[:2], len(opening), device=device),
        ended=torch.zeros(shape[:2], dtype=torch.bool, device=device),
        log_probs=torch.zeros(shape, device=device),
        entropies=torch.zeros(shape, device=device),
        control_variate=tables.on(device),
    )
