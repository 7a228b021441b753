"""The part of a run's record that holds its companion reads, with their discrepancies from second computations."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.measure.companion_reads import READ, CompanionReads
from pytest_entropy.probe.oracles.prompt_draw import other_companions
from pytest_entropy.probe.oracles.run import by_definition
from pytest_entropy.probe.oracles.texts import other_encodings
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.diagnostics import CompanionParts
from pytest_entropy.records.seeds import derive
from pytest_entropy.stats.largest import largest

NOTHING_READ = CompanionParts(count=0)


def companion_parts(
    setup: Setup, reads: CompanionReads | None, prompts: Sequence[Prompt], update: Update, seed: int
) -> CompanionParts:
    """The reads with what identifies them; computed again where the diagnostic ``definition`` is asked for.

    Args:
        setup: policy, prompts and settings.
        reads: the reads; None where there are none.
        prompts: E's.
        update: the update along whose direction was read, and whose prompts companions must not be.
        seed: the run's own seed.
    """
    if reads is None:
        return NOTHING_READ
    taken = {*update.prompts, *(prompt.key for prompt in prompts)}
    again = {}
    if "definition" in setup.config.diagnostics:
        exclude = frozenset() if setup.config.with_replacement else frozenset(taken)
        template = setup.policy.tokenizer.chat_template
        again = {
            "draw": other_companions(setup.prompts, reads.prompts, derive(seed, "companions"), exclude=exclude),
            "encodings": other_encodings(setup.second_tokenizer, reads.read, reads.rollouts, template)
            + _other_openings(reads.rollouts),
            "definition": _definition(setup, reads, len(prompts), update),
        }
    return CompanionParts(
        count=reads.companions.shape[1],
        opening=reads.rollouts.tokens[0, 0, :-1].tolist(),
        own=reads.own.tolist(),
        mean=reads.companions.mean(1).tolist(),
        shared=float(sum(prompt.key in taken for prompt in reads.prompts)),
        **again,
    )


def _other_openings(rollouts: Rollouts) -> float:
    """Number of prompts that are followed by other tokens than the first one."""
    first = rollouts.responses(0)
    return float(sum(rollouts.responses(n) != first for n in range(len(rollouts))))


def _definition(setup: Setup, reads: CompanionReads, B_E: int, update: Update) -> float:
    """Relative discrepancy of the largest read of E's prompts, and of the companions', from their definition."""
    gaps = []
    for some in (range(B_E), range(B_E, len(reads.values))):
        n = max(some, key=lambda n: abs(float(reads.values[n])))
        oracle = by_definition(setup.policy, reads.rollouts, n, update.direction, READ)
        assert oracle.s is not None
        gap = abs(float(reads.values[n]) - oracle.s)
        gaps.append(gap / oracle.size if oracle.size else gap)
    return largest(gaps)
