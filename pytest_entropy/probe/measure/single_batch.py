"""Measure delta_h1 from a single batch for both the update and the entropy gradient (docs/mathematics.md §5)."""

from __future__ import annotations

from pytest_entropy.probe.diagnostics.discrepancies import sampler_discrepancies
from pytest_entropy.probe.measure.run_record import MeasuredBatch
from pytest_entropy.probe.measure.u_statistic import u_statistic
from pytest_entropy.probe.oracles.rounding_noise import rounding_noise
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.batch import UpdateBatch
from pytest_entropy.probe.update.source import UpdateSource


class SingleBatch:
    """Measurements of one setup in mode ``u_statistic``: each takes the update from its own batch."""

    def __init__(self, setup: Setup, updates: UpdateSource) -> None:
        self.setup, self.updates = setup, updates

    def measure(self, B_E: int, seed: int) -> MeasuredBatch:
        """One independent measurement, as a U-statistic over pairs of different prompts.

        Args:
            B_E: number of prompts of the batch.
            seed: the run's own seed.

        Raises:
            ValueError: the number of blocks does not divide B_E.
            RunError: there are too few distinct prompts, a reward fails, or the hooks contradict a real backward.
        """
        setup, meter = self.setup, Meter(device=self.setup.policy.device)
        config = setup.config
        with meter.phase("sampling", B_E * config.entropy_group * config.max_new_tokens):
            prompts = setup.choose(B_E, seed)
            rollouts = setup.sample(prompts, seed)
        update = self.updates.take(prompts, rollouts, seed, meter)
        with meter.phase("self_check"):
            setup.verify_once(rollouts, update.direction)
        with meter.phase("derivatives", rollouts.size, passes=None):
            statistic, derivatives = u_statistic(
                setup.policy,
                rollouts,
                UpdateBatch(tuple(update.prompts), rollouts, update.rewards, seed).token_weights(config),
                setup.linearisation(update.gradient),
                update.direction,
                config.estimator,
                blocks=config.u_statistic_blocks,
                chunk_tokens=config.tokens_at_once,
                threads=setup.threads,
            )
        agreement = sampler_discrepancies(rollouts, derivatives, setup.policy, config.max_new_tokens)
        agreement |= rounding_noise(setup.policy, rollouts, update.direction, config.estimator)
        return MeasuredBatch(
            statistic.pseudo_values, update, rollouts, derivatives, agreement, meter,
            spread=statistic.spread(setup.eta), single_batch=statistic.record(),
        )  # fmt: skip
