"""The probe: sample U and E, take the update direction, and measure how entropy changes along it."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.batches import sampling_fraction
from pytest_entropy.probe.inputs import ProbeInputs
from pytest_entropy.probe.measure.chosen_reads import ChosenReads
from pytest_entropy.probe.measure.run_record import run_record
from pytest_entropy.probe.measure.single_batch import SingleBatch
from pytest_entropy.probe.measure.two_batch import TwoBatch
from pytest_entropy.probe.oracles.prompt_draw import other_fraction
from pytest_entropy.probe.oracles.untouched_state import process_changes, process_state
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.probe.update.source import UpdateSource
from pytest_entropy.prompts import PromptSet
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.seeds import derive
from pytest_entropy.rewards import RewardFunction
from pytest_entropy.settings.companions import allowed_companions
from pytest_entropy.settings.probe import SMALLEST_SINGLE_BATCH, ProbeConfig

log = logging.getLogger(__name__)


class EntropyProbe:
    """Measures delta_h1 = eta <grad H, u> on a checkpoint (docs/mathematics.md §1-4).

    Args:
        checkpoint: policy and optimizer state, as :func:`load_checkpoint` gives them.
        config: see :class:`ProbeConfig`.
        prompts: the set of prompts; the demo's generator if left out.
        reward: reward function of the update batch; :func:`exact_answer` if left out.
        threads: number of pieces of a batch computed at once on the CPU; no effect on any number.

    Raises:
        RunError: neither the configuration nor the checkpoint gives a usable learning rate.
    """

    def __init__(
        self,
        checkpoint: ProbeInputs,
        config: ProbeConfig | None = None,
        *,
        prompts: PromptSet | None = None,
        reward: RewardFunction | None = None,
        threads: int = 1,
    ) -> None:
        from pytest_entropy.prompts import DemoPrompts
        from pytest_entropy.rewards import exact_answer

        self.setup = Setup(
            checkpoint,
            config or ProbeConfig(),
            DemoPrompts() if prompts is None else prompts,
            reward or exact_answer,
            threads,
        )
        self.updates = UpdateSource(self.setup)
        self.two_batch = TwoBatch(self.setup, self.updates)
        self.single_batch = SingleBatch(self.setup, self.updates)
        self.chosen_reads = ChosenReads(self.setup, self.updates)
        self._fractions: dict[tuple[int, frozenset[str]], float] = {}
        self._fraction_gaps: dict[tuple[float, int, frozenset[str]], float] = {}

    @property
    def policy(self) -> Policy:
        """The policy, at the configured temperature."""
        return self.setup.policy

    @property
    def config(self) -> ProbeConfig:
        """The probe's settings."""
        return self.setup.config

    @property
    def eta(self) -> float:
        """The learning rate that scales s_n to delta_h1."""
        return self.setup.eta

    # A reward module may switch gradients off for the whole process, when it is imported or called.
    @torch.enable_grad()
    def update(self, seed: int) -> Update:
        """The update direction of a fresh batch U; computed once per seed and kept.

        Raises:
            RunError: there are too few distinct prompts, a reward fails, or the gradient is not finite.
        """
        update = self.updates.update(seed)
        return self.chosen_reads.known(update) if self.config.chooses_reads else update

    @torch.enable_grad()
    def run(self, B_E: int, seed: int = 0, *, run: int = 1, update: Update | None = None) -> RunRecord:
        """One independent measurement: fresh prompts and responses, delta_h1 along the update's direction.

        Args:
            B_E: number of prompts of the entropy batch, at least 2.
            seed: the experiment's seed; the run's own is derived from (seed, B_E, run).
            run: number of the run at this B_E.
            update: the update whose direction is used; that of ``seed`` if left out.  In mode ``u_statistic`` the
                run takes the update from its own batch, and none may be passed.

        Raises:
            ValueError: B_E < 2 (in mode ``u_statistic`` < 3), which leaves no standard error; the number of blocks
                does not divide B_E; or an update is passed in mode ``u_statistic``.
            RunError: there are too few distinct prompts, a reward fails, or a number is not finite.
        """
        if B_E < 2:
            raise ValueError(f"B_E is {B_E}: a standard error needs at least 2 prompts")
        own_seed = derive(seed, "E", B_E, run)
        changes: list[str] = []
        if self.config.mode == "u_statistic":
            self._require_single_batch(B_E, update)
            measured = self.single_batch.measure(B_E, own_seed)
        else:
            update = self.update(seed) if update is None else update
            # An update calls the user's reward function, which may change the process as it likes.
            before = process_state() if self.setup.compares_state else {}
            companions = self._companions(B_E, update)
            measured = self.two_batch.measure(B_E, own_seed, update, companions=companions)
            changes = process_changes(before, process_state()) if before else []
        # Of E, or of the companions where they are more.
        count = B_E * measured.companions.per_prompt
        fraction = min(1.0, self._sampling_fraction(B_E, measured.update) * count / B_E)
        record = run_record(self.setup, measured, run=run, seed=own_seed, sampling_fraction=fraction)
        left = self.setup.state_changes()
        if left is None:
            return record
        agreement = replace(record.agreement, fraction_gap=self._fraction_gap(fraction, count, measured.update))
        return replace(record, state_changed=[*changes, *left], agreement=agreement)

    def entropy_gradient(
        self, B_E: int, seed: int = 0, *, run: int = 1, update: Update | None = None
    ) -> dict[str, torch.Tensor]:
        """The estimated entropy gradient of the batch that :meth:`run` draws, by live parameter name, float64.

        Its inner product with the update's direction, times eta, is the run's delta_h1 without companion reads.

        Args:
            B_E: number of prompts of the entropy batch.
            seed: the experiment's seed.
            run: number of the run at this B_E.
            update: its prompts are excluded; the update of ``seed`` if left out.

        Raises:
            RunError: there are too few distinct prompts, or the gradient is not finite.
        """
        update = self.update(seed) if update is None else update
        _, rollouts = self.two_batch.entropy_batch(B_E, derive(seed, "E", B_E, run), update)
        gradient = self.setup.unit.gradient(self.policy, rollouts, chunk_tokens=self.config.tokens_at_once)
        for name, g in gradient.items():
            log.debug("entropy gradient |g| %.3e  %s", g.norm(), name)
        return gradient

    def _require_single_batch(self, B_E: int, update: Update | None) -> None:
        if B_E < SMALLEST_SINGLE_BATCH:
            raise ValueError(
                f"B_E is {B_E}: in mode u_statistic 2 prompts make one pair, whose product has no standard error; "
                f"take B_E >= {SMALLEST_SINGLE_BATCH}"
            )
        if update is not None:
            raise ValueError("mode u_statistic takes the update from the run's own batch: pass no update")

    def _companions(self, B_E: int, update: Update) -> int:
        """Companion reads of each prompt: as many as are configured, or chosen, and as the set of prompts allows."""
        reads, fraction = self.config.companions, self._sampling_fraction(B_E, update)
        if reads and fraction:
            rows = len(self.setup.prompts) - len(self._taken(update))
            reads = allowed_companions(reads, B_E, distinct=B_E / fraction, rows=rows)[0]
        return self.chosen_reads.of(update, reads) if reads and self.config.chooses_reads else reads

    def _fraction_gap(self, fraction: float, count: int, update: Update) -> float:
        """:func:`other_fraction` of a sampling fraction; cached for equal ones, since counting reads the prompts."""
        taken = self._taken(update)
        if (fraction, count, taken) not in self._fraction_gaps:
            self._fraction_gaps[fraction, count, taken] = other_fraction(
                self.setup.prompts, fraction, count, exclude=taken, replace=self.config.with_replacement
            )
        return self._fraction_gaps[fraction, count, taken]

    def _taken(self, update: Update) -> frozenset[str]:
        """Content keys of the prompts that E cannot draw; a single batch is its own update batch."""
        return frozenset(update.prompts if self.config.mode == "two_batch" else ())

    def _sampling_fraction(self, B_E: int, update: Update) -> float:
        """:func:`sampling_fraction` of E; cached by B_E and update, since counting reads the prompts."""
        taken = self._taken(update)
        if (B_E, taken) not in self._fractions:
            self._fractions[B_E, taken] = sampling_fraction(
                self.setup.prompts, B_E, exclude=taken, replace=self.config.with_replacement
            )
        return self._fractions[B_E, taken]
