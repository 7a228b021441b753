"""delta_h1 from a single batch that gives the update and the entropy gradient alike (docs/mathematics.md §5)."""

from __future__ import annotations

from pytest_entropy.probe.diagnostics.discrepancies import sampler_discrepancies
from pytest_entropy.probe.measure.run_record import MeasuredBatch
from pytest_entropy.probe.measure.u_statistic import u_statistic
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.batch import UpdateBatch
from pytest_entropy.probe.update.source import UpdateSource


class SingleBatch:
    """Measurements of one setup, each along the update of its own batch."""

    def __init__(self, setup: Setup, updates: UpdateSource) -> None:
        self.setup, self.updates = setup, updates

    def measure(self, B_E: int, seed: int) -> MeasuredBatch:
        """One independent measurement, as a U-statistic over pairs of different prompts.

        Args:
            B_E: prompts of the batch.
            seed: the run's own.

        Raises:
            ValueError: blocks that do not divide B_E.
            RunError: prompts run out, a reward fails, or the hooks contradict a real backward.
        """
        setup, meter = self.setup, Meter(device=self.setup.policy.device)
        config = setup.config
        with meter.phase("sampling"):
            prompts = setup.choose(B_E, seed)
            rollouts = setup.sample(prompts, seed)
        update = self.updates.take(prompts, rollouts, seed, meter)
        with meter.phase("self_check"):
            setup.verify_once(rollouts, update.direction)
        with meter.phase("derivatives"):
            statistic, derivatives = u_statistic(
                setup.policy,
                rollouts,
                UpdateBatch(tuple(update.prompts), rollouts, update.rewards, seed).token_weights(config),
                setup.linearisation(update.gradient),
                update.direction,
                config.estimator,
                blocks=config.u_statistic_blocks,
                chunk_tokens=config.chunk_tokens,
                threads=setup.threads,
            )
        agreement = sampler_discrepancies(rollouts, derivatives, setup.policy, config.max_new_tokens)
        return MeasuredBatch(
            statistic.pseudo_values, update, rollouts, derivatives, agreement, meter,
            spread=statistic.spread(setup.eta), single_batch=statistic.record(),
        )  # fmt: skip
