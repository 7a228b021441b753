"""Where a probe's updates come from: batches U drawn by seed, rewarded, and the step taken on each, once."""

from __future__ import annotations

from dataclasses import replace

import torch

from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.discrepancies import reward_discrepancies
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.batch import UpdateBatch, take_update
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import derive
from pytest_entropy.rewards import evaluate, sample_of_equal


class UpdateSource:
    """Update directions by seed, each computed once and kept."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self._updates: dict[int, Update] = {}
        self._batches: dict[int, UpdateBatch] = {}

    def update(self, seed: int) -> Update:
        """The update direction of a fresh batch U.

        Raises:
            RunError: prompts run out, a reward fails, a gradient is not finite.
        """
        if seed not in self._updates:
            meter = Meter(device=self.setup.policy.device)
            with meter.phase("sampling"):
                prompts, rollouts = self._rollouts(seed)
            self._updates[seed] = self.take(prompts, rollouts, seed, meter)
        return self._updates[seed]

    def take(self, prompts: list[Prompt], rollouts: Rollouts, seed: int, meter: Meter) -> Update:
        """Reward the responses and take the step they lead to; ``meter`` is added to.

        Raises:
            RunError: a reward fails, or a gradient is not finite.
        """
        setup = self.setup
        with meter.phase("reward"), torch.enable_grad():
            rewards = evaluate(setup.reward, prompts, texts := setup.texts(rollouts))
        sample = sample_of_equal(prompts, texts, rewards)
        batch = UpdateBatch(tuple(prompt.key for prompt in prompts), rollouts, rewards, seed, sample)
        update = take_update(
            batch, setup.policy, setup.optimizer, setup.config, eta=setup.eta, eta_source=setup.eta_source, meter=meter
        )
        if "definition" not in setup.config.diagnostics:
            return update
        found = reward_discrepancies(setup.policy, prompts, rollouts, setup.reward, rewards, seed=derive(seed, "U"))
        return replace(
            update,
            other_prompts=found.other_prompts,
            reward_gap=found.reward_gap,
            rewards_rechecked=found.reward_gap is not None,
            draw_gap=found.draw_gap,
        )

    def batch(self, update: Update) -> UpdateBatch:
        """The batch an update was taken on; drawn again, from its seed, where another process took it."""
        if update.seed not in self._batches:
            _, rollouts = self._rollouts(update.seed)
            self._batches[update.seed] = UpdateBatch(tuple(update.prompts), rollouts, update.rewards, update.seed)
        return self._batches[update.seed]

    def _rollouts(self, seed: int) -> tuple[list[Prompt], Rollouts]:
        prompts = self.setup.choose(self.setup.config.B_U, derive(seed, "U"))
        return prompts, self.setup.sample(prompts, derive(seed, "U"), self.setup.config.G)
