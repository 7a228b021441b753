"""Choose the number of companion reads from an update batch: the k with the least seconds x variance.

With k companions s~_n has the variance var(s - x) + var(x) / k, and a prompt costs c_0 + (1 + k) c_x; without any,
var(s) and c_0.  All three variances are of U's prompts, but for those where s - x is most extreme: one response with a
rare token would hide what reads explain, and reading in vain costs less than not reading.  Costs are numbers of tokens,
so that the choice is the same on every machine.  It depends on U alone, so that given U the s~_n stay independent and
of one law at every B_E.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import numpy as np

from pytest_entropy.policy.merged_adapter import merged
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.measure.companion_reads import opened, prompt_reads
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.probe.update.source import UpdateSource
from pytest_entropy.settings.companions import DEFAULT_READS, FEWEST_READS

log = logging.getLogger(__name__)

# Of seconds x variance, what reads must save.
LEAST_GAIN = 0.05
# More reads are never chosen, whatever is configured, so that the choice is the update's own.
MOST = 64
# Of U's prompts, those that are left out.
EXTREME = 0.1
# With fewer prompts of U variances say nothing, and the default number of reads is taken.
FEWEST_PROMPTS = 4


@dataclass(frozen=True)
class ReadingCost:
    """What a prompt of E costs, and what its reads explain, along one update.

    Attributes:
        whole, left, explained: var(s), var(s - x) and var(x).
        prompt, reading: tokens of a prompt with its responses, sampled and differentiated, and of a read.
    """

    whole: float
    left: float
    explained: float
    prompt: float
    reading: float

    def of(self, reads: int) -> float:
        """Tokens x variance with so many companions of a prompt."""
        if not reads:
            return self.prompt * self.whole
        return (self.prompt + (1 + reads) * self.reading) * (self.left + self.explained / reads)

    def paying(self) -> tuple[int, int]:
        """(the fewest companions that save enough, the number with the least tokens x variance); zeros if none do.

        >>> ReadingCost(1000, 40, 1000, 300, 20).paying(), ReadingCost(1000, 990, 10, 300, 20).paying()
        ((2, 20), (0, 0))
        """
        enough = [k for k in range(FEWEST_READS, MOST + 1) if self.of(k) < (1 - LEAST_GAIN) * self.of(0)]
        return (enough[0], min(enough, key=self.of)) if enough else (0, 0)


class ChosenReads:
    """The numbers of companion reads of updates; each is chosen once and kept.

    Args:
        setup: policy, prompts and settings.
        updates: the update batches.
    """

    def __init__(self, setup: Setup, updates: UpdateSource) -> None:
        self.setup, self.updates = setup, updates
        self._chosen: dict[int, Update] = {}

    def known(self, update: Update) -> Update:
        """The update with its number of companion reads.

        Raises:
            RunError: a gradient is not finite.
        """
        if update.companion_reads is not None:
            return update
        if update.seed not in self._chosen:
            meter = Meter(device=self.setup.policy.device)
            batch = self.updates.batch(update)
            with meter.phase("reading", batch.rollouts.size, passes=None):
                fewest, best = self._paying(update)
            self._chosen[update.seed] = replace(
                update,
                fewest_reads=fewest,
                companion_reads=best,
                seconds=update.seconds | meter.seconds,
                memory_mb=update.memory_mb | meter.memory_mb,
            )
        return self._chosen[update.seed]

    def of(self, update: Update, most: int) -> int:
        """The number of companion reads of an update, of at most so many; 0 where these are too few to pay.

        Args:
            update: any of the setup's.
            most: what settings and prompts allow.

        Raises:
            RunError: a gradient is not finite.
        """
        known = self.known(update)
        assert known.companion_reads is not None
        reads = min(known.companion_reads, most)
        return reads if reads >= (known.fewest_reads or FEWEST_READS) else 0

    def _paying(self, update: Update) -> tuple[int, int]:
        if len(update.prompts) < FEWEST_PROMPTS:
            return FEWEST_READS, DEFAULT_READS
        cost = self._cost(update)
        found = cost.paying()
        log.info(
            "companion reads: %d to %d pay; over U's prompts var(s) %.3g, var(s - x) %.3g, var(x) %.3g",
            *found, cost.whole, cost.left, cost.explained,
        )  # fmt: skip
        return found

    def _cost(self, update: Update) -> ReadingCost:
        setup, config = self.setup, self.setup.config
        tables = self.updates.tables(update)
        assert tables is not None
        batch = self.updates.batch(update).rollouts
        rollouts = replace(batch, control_variate=tables.on(batch.tokens.device))
        prompts = self.updates.prompts(update.seed)
        with merged(setup.policy):
            s = directional_derivatives(
                setup.policy, rollouts, update.direction, [config.estimator],
                chunk_tokens=config.tokens_at_once, threads=setup.threads,
            ).per_prompt[config.estimator]  # fmt: skip
            x = prompt_reads(setup, opened(setup.policy, prompts, tables, config.max_new_tokens), update)
        middle = _without_extremes(s - x)
        s, x = s[middle], x[middle]
        # What is left after the reads is mostly of the responses, whose number E may have another.
        left = float(np.var(s - x, ddof=1))
        further = left * (config.G / config.entropy_group - 1)
        own = float(np.mean([len(ids) for ids in rollouts.prompt_ids]))
        answers = config.entropy_group * float(rollouts.lengths.double().mean())
        return ReadingCost(
            whole=float(np.var(s, ddof=1)) + further,
            left=left + further,
            explained=float(np.var(x, ddof=1)),
            prompt=2 * (own + answers),
            reading=own + len(tables.opening) + 1,
        )


def _without_extremes(values: np.ndarray) -> np.ndarray:
    """Places of all values but the ``EXTREME`` share, rounded up, that is farthest from the median."""
    distance = np.abs(values - np.median(values))
    return np.argsort(distance, kind="stable")[: len(values) - math.ceil(EXTREME * len(values))]
