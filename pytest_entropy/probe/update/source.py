"""Draw update batches U by seed, reward their responses, and compute the update direction of each batch once."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.discrepancies import reward_discrepancies
from pytest_entropy.probe.diagnostics.second_computations import update_batch_again
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.oracles.update import norm_discrepancy
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.batch import UpdateBatch, take_update
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import derive
from pytest_entropy.rewards import evaluate_terms, sample_of, sample_of_equal, still_terms

log = logging.getLogger(__name__)


class UpdateSource:
    """Update directions by seed; each is computed once and kept."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._updates: dict[int, Update] = {}
        self._batches: dict[int, UpdateBatch] = {}

    def update(self, seed: int) -> Update:
        """The update direction of a fresh batch U.

        Raises:
            RunError: there are too few distinct prompts, a reward fails, or the gradient is not finite.
        """
        if seed not in self._updates:
            meter = Meter(device=self.setup.policy.device)
            config = self.setup.config
            with meter.phase("sampling", config.B_U * config.G * config.max_new_tokens):
                prompts, rollouts = self._rollouts(seed)
            made = self._updates[seed] = replace(self.take(prompts, rollouts, seed, meter), rollouts=rollouts)
            self._batches[seed] = UpdateBatch(tuple(made.prompts), rollouts, made.rewards, seed)
        return self._updates[seed]

    def take(self, prompts: list[Prompt], rollouts: Rollouts, seed: int, meter: Meter) -> Update:
        """Reward the responses of a batch and compute its update direction.

        Args:
            prompts: the B_U prompts.
            rollouts: their responses, B_U prompts x G.
            seed: the seed they were drawn with.
            meter: gets the time and memory of the phases.

        Raises:
            RunError: a reward fails, or the gradient is not finite.
        """
        setup = self.setup
        with meter.phase("reward"), torch.enable_grad():
            evaluated = evaluate_terms(setup.reward, prompts, texts := setup.texts(rollouts))
        rewards = evaluated.totals
        for part in sample_of(prompts, texts, rewards):
            log.info("rewarded: prompt %s; completion %s; answer %s; reward %g", *vars(part).values())
        batch = UpdateBatch(
            tuple(prompt.key for prompt in prompts), rollouts, rewards, seed,
            sample_of_equal(prompts, texts, rewards), still_terms(prompts, texts, evaluated),
        )  # fmt: skip
        update = take_update(
            batch, setup.policy, setup.optimizer, setup.config, eta=setup.eta, eta_source=setup.eta_source, meter=meter
        )
        norms = (update.gradient_norm, update.gradient), (update.direction_norm, update.direction)
        update = replace(update, norm_gap=norm_discrepancy(*norms))
        if "definition" not in setup.config.diagnostics:
            return update
        discrepancies = reward_discrepancies(
            setup.policy, prompts, rollouts, setup.reward, rewards, seed=derive(seed, "U")
        )
        return replace(
            update,
            other_prompts=discrepancies.other_prompts,
            reward_gap=discrepancies.reward_gap,
            rewards_rechecked=discrepancies.reward_gap is not None,
            draw_gap=discrepancies.draw_gap,
            **update_batch_again(
                setup.policy, prompts, rollouts, texts, setup.config,
                seed=derive(seed, "U"), prompt_set=setup.prompts, tokenizer=setup.second_tokenizer,
            ),
        )  # fmt: skip

    def batch(self, update: Update) -> UpdateBatch:
        """The batch of an update, kept; where its responses are missing, they are drawn again from its seed."""
        if update.seed not in self._batches:
            stored = update.rollouts
            rollouts = self._rollouts(update.seed)[1] if stored is None else stored.on(self.setup.policy.device)
            self._batches[update.seed] = UpdateBatch(tuple(update.prompts), rollouts, update.rewards, update.seed)
        return self._batches[update.seed]

    def tables(self, update: Update) -> ControlVariateTables | None:
        """What an update's batch has taught, None if the estimator learns nothing.

        An update taken for an estimator without tables holds none: they are learnt from its batch, drawn again.
        """
        setup = self.setup
        if not get_estimator(setup.config.estimator).learns:
            return None
        learnt = update.control_variate
        return learnt or self.batch(update).control_variate(setup.policy, update.direction, setup.config)

    def prompts(self, seed: int) -> list[Prompt]:
        """The prompts of the update batch of a seed.

        Raises:
            RunError: there are too few distinct prompts.
        """
        return self.setup.choose(self.setup.config.B_U, derive(seed, "U"))

    def gradient(self, update: Update) -> dict[str, torch.Tensor]:
        """The gradient of an update's loss by live parameter name, float64, on the CPU.

        It is computed again where the update was read from disk and is not this process's own.

        Raises:
            RunError: the gradient is not finite.
        """
        own = self._updates.get(update.seed, update)
        return update.gradient or own.gradient or self.batch(update).gradient(self.setup.policy, self.setup.config)

    def _rollouts(self, seed: int) -> tuple[list[Prompt], Rollouts]:
        prompts = self.prompts(seed)
        return prompts, self.setup.sample(prompts, derive(seed, "U"), self.setup.config.G)
