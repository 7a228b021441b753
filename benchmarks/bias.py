"""Bias of what is on by default, on a policy whose every response can be enumerated: in standard errors of the mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.measure.companion_reads import READ, opened
from pytest_entropy.prompts import Prompt
from pytest_entropy.testing import enumerable, tiny

G, B_U, PART, READS = 4, 32, 10_000, 8
ESTIMATORS = ("reinforce_loo", "rao_blackwell", "action_value")
WITH_READS = f"action_value, {READS} companion reads"


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


def scalars(policy: Policy, count: int, seed: int, *, by: int = B_U, group: int = G) -> dict[str, np.ndarray]:
    """s_n ``[count]`` by estimator, and with companion reads, taught by one batch of ``by`` other prompts x G.

    Args:
        policy: the enumerable policy.
        count: number of prompts.
        seed: of prompts and responses.
        by: number of prompts of the batch that teaches.
        group: responses to a prompt.
    """
    tables = learn(rollouts(policy, by, seed + 50_000), enumerable.LIMIT)
    drawn = replace(rollouts(policy, count, seed, group), control_variate=tables)
    found = directional_derivatives(policy, drawn, tiny.direction(policy), ESTIMATORS, chunk_tokens=200_000).per_prompt
    own, companions = reads(policy, drawn, tables, seed)
    return found | {WITH_READS: found["action_value"] - own + companions}


def biases(prompts: int) -> dict[str, dict[str, float]]:
    """The mean's distance from the enumerated derivative in standard errors, z, on n prompts, by estimator."""
    policy = enumerable.policy()
    exact = enumerable.dot(enumerable.gradient(policy, enumerable.entropy(policy)), tiny.direction(policy))
    parts = [scalars(policy, min(PART, prompts), seed) for seed in range(max(1, prompts // PART))]
    out = {}
    for name in (*ESTIMATORS, WITH_READS):
        s = np.concatenate([part[name] for part in parts])
        se = float(s.std(ddof=1)) / len(s) ** 0.5
        out[name] = {"z": (float(s.mean()) - exact) / se, "se": se, "exact": exact, "n": len(s)}
    return out
