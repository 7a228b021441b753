"""The state that all parts of a probe share (policy, optimizer state, settings, prompts, reward), and its sampling."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from pytest_entropy.errors import RunError
from pytest_entropy.policy.kv_cache import preallocated
from pytest_entropy.policy.merged_adapter import merged, merged_bytes
from pytest_entropy.policy.recomputation import recomputing
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.batches import draw_prompts, draw_responses
from pytest_entropy.probe.inputs import NO_FILES, ProbeInputs, ReadAgain, learning_rate
from pytest_entropy.probe.measure.entropy_unit import EntropyUnit
from pytest_entropy.probe.memory.budget import available, budget_for
from pytest_entropy.probe.memory.heap import return_large_blocks
from pytest_entropy.probe.oracles.hooks import verify_tangent
from pytest_entropy.probe.oracles.texts import second_tokenizer
from pytest_entropy.probe.oracles.untouched_state import UntouchedState
from pytest_entropy.probe.pieces import threads_on
from pytest_entropy.probe.update.linearisation import Linearisation
from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.records.second_reading import SecondReading
from pytest_entropy.rewards import RewardFunction
from pytest_entropy.settings.probe import ProbeConfig

# Prompts whose tokens are counted for the forecast of memory.
SOME_PROMPTS = 64


class Setup:
    """A checkpoint, the settings it is probed with, its prompts and its reward function.

    Args:
        inputs: policy and optimizer state.
        config: the probe's settings; the policy takes its temperature and its sampling cache from them.
        prompts: the set of prompts.
        reward: reward function of the update batch.
        threads: number of pieces of a batch computed at once on the CPU; no effect on any number.

    Attributes:
        eta, eta_source: the learning rate that scales s_n to delta_h1, and where it comes from.
        unit: the unit of entropy.

    Raises:
        RunError: neither the configuration nor the checkpoint gives a usable learning rate.
    """

    def __init__(
        self, inputs: ProbeInputs, config: ProbeConfig, prompts: PromptSet, reward: RewardFunction, threads: int
    ) -> None:
        self.prompts, self.reward = prompts, reward
        static_cache = preallocated(inputs.policy.device) if config.static_cache == "auto" else config.static_cache
        self.policy = replace(inputs.policy, temperature=config.temperature, static_cache=static_cache)
        self.optimizer = inputs.optimizer
        self.threads = threads_on(self.policy.device, threads)
        self.eta, self.eta_source = learning_rate(config.learning_rate, inputs)
        self.unit = EntropyUnit(config.entropy_unit, config.estimator)
        self.config = self._within_memory(config)
        self._inputs = inputs
        self._verified = False
        # Of the state as loaded, before the first update.
        self._state = UntouchedState.of(self.policy, self.optimizer) if "definition" in config.diagnostics else None

    def _within_memory(self, config: ProbeConfig) -> ProbeConfig:
        """The settings with sizes of pieces that fit what is free.

        Raises:
            UsageError: not even one response fits.
        """
        free = available(self.policy.device)
        free = None if free is None else max(0, free - merged_bytes(self.policy))
        chosen = budget_for(self.policy, config, prompt_tokens=self._long_prompt, threads=self.threads, free=free)
        if chosen.is_tight:
            return_large_blocks(self.policy.model)
        if chosen.recompute:
            self.policy = recomputing(self.policy)
        sizes = {"chunk_tokens": chosen.chunk_tokens, "sample_rows": chosen.sample_rows}
        return config.model_copy(update=sizes)

    def _long_prompt(self) -> int:
        """Tokens of the longest of some of the prompts, evenly spread over the set."""
        lengths = [1]
        for n in range(0, len(self.prompts), max(1, len(self.prompts) // SOME_PROMPTS)):
            # A prompt that cannot be encoded is an error where it is drawn.
            with suppress(RunError):
                lengths.append(len(self.prompts[n].encoded(self.policy.encode)))
        return max(lengths)

    @cached_property
    def second_tokenizer(self) -> Any:
        """A tokenizer of the oracles' own, loaded from the policy's directory when it is first needed."""
        return second_tokenizer(self.policy.tokenizer)

    def second_reading(self) -> SecondReading:
        """The checkpoint's files, read a second time when it was loaded, against policy and optimizer state now."""
        if not isinstance(self._inputs, ReadAgain):
            return NO_FILES
        return self._inputs.read_again(self.policy, self.optimizer)

    def choose(self, count: int, seed: int, exclude: frozenset[str] = frozenset()) -> list[Prompt]:
        """Draw prompts from the set.

        Args:
            count: number of prompts.
            seed: seed of the draw.
            exclude: content keys that must not be drawn.

        Raises:
            RunError: the set has too few distinct prompts.
        """
        indices = draw_prompts(self.prompts, count, seed, exclude=exclude, replace=self.config.with_replacement)
        return [self.prompts[i] for i in indices]

    def sample(self, batch: list[Prompt], seed: int, group: int | None = None) -> Rollouts:
        """Draw responses to each prompt; response g to prompt n takes its random numbers from (seed, n, g).

        Args:
            batch: the P prompts.
            seed: seed of the draw.
            group: number of responses to a prompt; that of the entropy batch if left out.
        """
        group = self.config.entropy_group if group is None else group
        with merged(self.policy):
            return draw_responses(self.policy, batch, seed, self.config, group=group, threads=self.threads)

    def texts(self, rollouts: Rollouts) -> list[list[str]]:
        """The responses as text ``[P][G]``, without special tokens."""
        return [[self.policy.decode(ids) for ids in rollouts.responses(n)] for n in range(len(rollouts))]

    def verify_once(self, rollouts: Rollouts, direction: Mapping[str, torch.Tensor]) -> None:
        """Compare the hooks with a plain backward (:func:`verify_tangent`), until they have agreed once.

        Args:
            rollouts: the batch whose shortest prompt is taken.
            direction: u by live parameter name.

        Raises:
            RunError: the hooks and the plain backward disagree.
        """
        if not self._verified:
            chunk = self.config.tokens_at_once
            verify_tangent(self.policy, rollouts, direction, self.config.estimator, chunk_tokens=chunk)
            self._verified = True

    @property
    def compares_state(self) -> bool:
        """Whether a run's state is compared with what was loaded: where the diagnostic ``definition`` is asked for."""
        return self._state is not None

    def state_changes(self) -> list[str] | None:
        """What has changed since the checkpoint was loaded and a run leaves to the next, in words; None if not asked.

        It is compared where the diagnostic ``definition`` is asked for.
        """
        if self._state is None:
            return None
        return self._state.changes(UntouchedState.of(self.policy, self.optimizer))

    def linearisation(self, gradient: dict[str, torch.Tensor]) -> Linearisation:
        """J = du/dg of the configured update rule at a gradient, on the CPU, where the optimizer's state is."""
        parameters = {name: p.detach().cpu() for name, p in self.policy.trainable.items()}
        return Linearisation(self.config.update_rule, gradient, self.optimizer, parameters, self.config.max_grad_norm)
