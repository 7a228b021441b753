"""Bias of what is on by default, on a policy whose every response can be enumerated: in standard errors of the mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.measure.companion_reads import READ, opened
from pytest_entropy.probe.table_choice import chosen_tables
from pytest_entropy.prompts import Prompt
from pytest_entropy.testing import enumerable, tiny

G, B_U, PART, READS = 4, 32, 10_000, 8
ESTIMATORS = ("reinforce_loo", "rao_blackwell", "action_value")
WITH_READS = f"action_value, {READS} companion reads"
# Whatever the choice leaves out is on: cleaning, a share of the group's others, an arbitrary value of prefixes.
ALL_ON = "action_value, every part on"
CHUNK = 200_000


def rollouts(policy: Policy, count: int, seed: int, group: int = G) -> Rollouts:
    """Responses to random prompts of the few that there are.

    Args:
        policy: the enumerable policy.
        count: number of prompts.
        seed: of prompts and responses.
        group: responses to each.
    """
    ids = enumerable.random_prompts(count, seed=seed)
    return tiny.sample(policy, ids, G=group, limit=enumerable.LIMIT, seed=seed)


class Encoded(Prompt):
    """A prompt of the enumerable policy, which has no tokenizer: its text is its token ids."""

    def encoded(self, encode: object) -> list[int]:
        """The token ids."""
        return [int(token) for token in str(self.content).split()]


def reads(policy: Policy, drawn: Rollouts, tables: ControlVariateTables, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(x_n, mean over the companions of prompt n), ``[P]`` each, as a run takes them.

    Args:
        policy: the enumerable policy.
        drawn: P prompts x G responses.
        tables: what another batch has taught.
        seed: of the companions' draw.
    """
    few = [Encoded(" ".join(map(str, ids)), {}) for ids in enumerable.PROMPTS]
    found = directional_derivatives(
        policy, opened(policy, few, tables), tiny.direction(policy), [READ], chunk_tokens=1000
    ).per_prompt[READ]
    which = [enumerable.PROMPTS.index(list(ids)) for ids in drawn.prompt_ids]
    companions = np.random.default_rng(seed).integers(0, len(few), (len(drawn), READS))
    return found[which], found[companions].mean(1)


def taught(policy: Policy, batch: Rollouts) -> ControlVariateTables:
    """What a batch teaches, as an update has it.

    Args:
        policy: the enumerable policy.
        batch: the batch.
    """
    return chosen_tables(policy, batch, tiny.direction(policy), enumerable.LIMIT, chunk_tokens=CHUNK)


def all_on(policy: Policy, batch: Rollouts) -> ControlVariateTables:
    """Tables of a batch with every part of the estimator on, as large as the entropies are.

    Args:
        policy: the enumerable policy.
        batch: the batch.
    """
    width = next(policy.model.get_input_embeddings().parameters()).shape[1]
    value = torch.randn(4, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / width**0.5
    share = torch.tensor(0.6, dtype=torch.float64)
    return replace(learn(batch, enumerable.LIMIT), share=share, value=value)


def scalars(policy: Policy, count: int, seed: int, *, by: int = B_U, group: int = G) -> dict[str, np.ndarray]:
    """s_n ``[count]`` by estimator, and with companion reads, taught by one batch of ``by`` other prompts x G.

    Args:
        policy: the enumerable policy.
        count: number of prompts.
        seed: of prompts and responses.
        by: number of prompts of the batch that teaches.
        group: responses to a prompt.
    """
    u, batch = tiny.direction(policy), rollouts(policy, by, seed + 50_000)
    tables = taught(policy, batch)
    drawn = replace(rollouts(policy, count, seed, group), control_variate=tables)
    found = directional_derivatives(policy, drawn, u, ESTIMATORS, chunk_tokens=CHUNK).per_prompt
    own, companions = reads(policy, drawn, tables, seed)
    everything = replace(drawn, control_variate=all_on(policy, batch))
    more = directional_derivatives(policy, everything, u, ["action_value"], chunk_tokens=CHUNK).per_prompt
    return found | {WITH_READS: found["action_value"] - own + companions, ALL_ON: more["action_value"]}


def biases(prompts: int) -> dict[str, dict[str, float]]:
    """The mean's distance from the enumerated derivative in standard errors, z, on n prompts, by estimator."""
    policy = enumerable.policy()
    exact = enumerable.dot(enumerable.gradient(policy, enumerable.entropy(policy)), tiny.direction(policy))
    parts = [scalars(policy, min(PART, prompts), seed) for seed in range(max(1, prompts // PART))]
    out = {}
    for name in (*ESTIMATORS, WITH_READS, ALL_ON):
        s = np.concatenate([part[name] for part in parts])
        se = float(s.std(ddof=1)) / len(s) ** 0.5
        out[name] = {"z": (float(s.mean()) - exact) / se, "se": se, "exact": exact, "n": len(s)}
    return out
