"""The probe: sample U and E, take the update direction, and measure how entropy changes along it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.batches import draw_prompts, draw_ranks, draw_responses, sampling_fraction
from pytest_entropy.probe.config import SMALLEST_SINGLE_BATCH, ProbeConfig
from pytest_entropy.probe.derivatives.directional import Derivatives, directional_derivatives
from pytest_entropy.probe.diagnostics.evidence import (
    definition_agreement,
    reward_agreement,
    sampler_agreement,
    sampler_evidence,
    token_arrays,
    unit_agreement,
    update_agreement,
)
from pytest_entropy.probe.diagnostics.ground_truth import GROUND_TRUTH, ground_truth
from pytest_entropy.probe.estimators import estimator_names, get_estimator
from pytest_entropy.probe.inputs import Subject, learning_rate
from pytest_entropy.probe.measure.entropy_unit import EntropyUnit
from pytest_entropy.probe.measure.run_result import run_result
from pytest_entropy.probe.measure.single_batch import u_statistic
from pytest_entropy.probe.oracles.hooks import verify_tangent
from pytest_entropy.probe.pieces import threads_on
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.update.batch import UpdateBatch, take_update
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.probe.update.linearisation import Linearisation
from pytest_entropy.probe.variance.total import total_variance
from pytest_entropy.prompts import Prompt, PromptSet
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.seeds import derive, generator
from pytest_entropy.rewards import RewardFunction, evaluate, sample_of_equal

log = logging.getLogger(__name__)


class EntropyProbe:
    """Measures delta_h1 = eta <grad H, u> on a checkpoint (docs/mathematics.md §1-4).

    Args:
        checkpoint: policy and optimizer state, as :func:`load_checkpoint` gives them.
        config: see :class:`ProbeConfig`.
        prompts: where prompts come from; the demo's generator if left out.
        reward: reward function of the update batch; exact answer if left out.
        threads: pieces of a batch computed at once on the CPU; no effect on any number.

    Raises:
        RunError: neither the configuration nor the checkpoint gives a usable learning rate.
    """

    def __init__(
        self,
        checkpoint: Subject,
        config: ProbeConfig | None = None,
        *,
        prompts: PromptSet | None = None,
        reward: RewardFunction | None = None,
        threads: int = 1,
    ) -> None:
        from pytest_entropy.prompts import DemoPrompts
        from pytest_entropy.rewards import exact_answer

        self.config = config or ProbeConfig()
        self.policy = replace(
            checkpoint.policy, temperature=self.config.temperature, static_cache=self.config.static_cache
        )
        self.optimizer = checkpoint.optimizer
        self.prompts = DemoPrompts() if prompts is None else prompts
        self.reward = reward or exact_answer
        self.threads = threads_on(self.policy.device, threads)
        self.eta, self.eta_source = learning_rate(self.config.learning_rate, checkpoint)
        self.unit = EntropyUnit(self.config.entropy_unit, self.config.estimator)
        self._verified = False
        self._updates: dict[int, Update] = {}
        self._fractions: dict[tuple[int, frozenset[str]], float] = {}
        self._batches: dict[int, UpdateBatch] = {}

    # ------------------------------------------------------------------ the update

    # A module of rewards may turn gradients off for the whole process, when imported or when called.
    @torch.enable_grad()
    def update(self, seed: int) -> Update:
        """The update direction of a fresh batch U; computed once per seed and kept."""
        if seed not in self._updates:
            meter = Meter(device=self.policy.device)
            with meter.phase("sampling"):
                batch, rollouts = self._update_rollouts(seed)
            self._updates[seed] = self._take_update(batch, rollouts, seed, meter)
        return self._updates[seed]

    def _update_rollouts(self, seed: int) -> tuple[list[Prompt], Rollouts]:
        config = self.config
        slots = draw_prompts(self.prompts, config.B_U, derive(seed, "U"), replace=config.with_replacement)
        batch = [self.prompts[i] for i in slots]
        return batch, self.sample(batch, derive(seed, "U"), config.G)

    def _take_update(self, prompts: list[Prompt], rollouts: Rollouts, seed: int, meter: Meter) -> Update:
        with meter.phase("reward"), torch.enable_grad():
            rewards = evaluate(self.reward, prompts, texts := self._texts(rollouts))
        sample = sample_of_equal(prompts, texts, rewards)
        batch = UpdateBatch(tuple(prompt.key for prompt in prompts), rollouts, rewards, seed, sample)
        update = take_update(
            batch, self.policy, self.optimizer, self.config, eta=self.eta, eta_source=self.eta_source, meter=meter
        )
        if "definition" not in self.config.diagnostics:
            return update
        agreement = reward_agreement(self.policy, prompts, rollouts, self.reward, rewards, seed=derive(seed, "U"))
        return replace(update, **agreement)

    def _update_batch(self, update: Update) -> UpdateBatch:
        """The batch an update was taken on; drawn again, from its seed, where another process took it."""
        if update.seed not in self._batches:
            _, rollouts = self._update_rollouts(update.seed)
            self._batches[update.seed] = UpdateBatch(tuple(update.prompts), rollouts, update.rewards, update.seed)
        return self._batches[update.seed]

    def _linearisation(self, gradient: dict[str, torch.Tensor]) -> Linearisation:
        parameters = {name: p.detach().cpu() for name, p in self.policy.trainable.items()}
        return Linearisation(self.config.update_rule, gradient, self.optimizer, parameters, self.config.max_grad_norm)

    # ------------------------------------------------------------------ a run

    @torch.enable_grad()
    def run(self, B_E: int, seed: int = 0, *, run: int = 1, update: Update | None = None) -> RunRecord:
        """One independent measurement: fresh prompts and responses, delta_h1 along the update's direction.

        Args:
            B_E: prompts of the entropy batch, at least 2.
            seed: the experiment's seed; the run's own is derived from (seed, B_E, run).
            run: number of the run at this B_E.
            update: the direction to use; that of ``seed`` if left out.  In mode ``u_statistic`` the run's own
                batch gives it, and none may be handed in.

        Raises:
            ValueError: B_E < 2 (in mode ``u_statistic`` < 3), which leaves no standard error; blocks that do not
                divide B_E.
            RunError: prompts run out, a reward fails, a number is not finite.
        """
        if B_E < 2:
            raise ValueError(f"B_E is {B_E}: a standard error needs at least 2 prompts")
        if self.config.mode == "u_statistic":
            if B_E < SMALLEST_SINGLE_BATCH:
                raise ValueError(
                    f"B_E is {B_E}: in mode u_statistic the two prompts of a pair have one product, which says nothing "
                    f"of its error; take B_E >= {SMALLEST_SINGLE_BATCH}"
                )
            if update is not None:
                raise ValueError("mode u_statistic takes the update from the run's own batch: hand in none")
            return self._run_single_batch(B_E, run, derive(seed, "E", B_E, run))
        update = self.update(seed) if update is None else update
        own_seed, meter = derive(seed, "E", B_E, run), Meter(device=self.policy.device)
        with meter.phase("sampling"):
            prompts, rollouts = self._entropy_batch(B_E, own_seed, update)
        with meter.phase("self_check"):
            self._verify_once(rollouts, update)
        with meter.phase("derivatives"):
            derivatives = directional_derivatives(
                self.policy,
                rollouts,
                update.direction,
                self._estimators(),
                chunk_tokens=self.config.chunk_tokens,
                threads=self.threads,
                ranks=draw_ranks(rollouts, own_seed) if "ranks" in self.config.diagnostics else None,
            )
        s = self.unit.values(derivatives.per_prompt, rollouts)
        agreement = sampler_agreement(rollouts, derivatives, self.policy, self.config.max_new_tokens)
        agreement |= update_agreement((prompt.key for prompt in prompts), update, rollouts.action_values)
        agreement |= unit_agreement(self.unit, s, derivatives, rollouts)
        if "definition" in self.config.diagnostics:
            with meter.phase("definition"):
                agreement |= definition_agreement(
                    self.policy, prompts, rollouts, derivatives, update, self.config, self._estimators(), seed=own_seed
                )
        arrays = token_arrays(rollouts, derivatives)
        if GROUND_TRUTH & set(self.config.diagnostics):
            with meter.phase("ground_truth"):
                arrays |= ground_truth(
                    self.policy, rollouts, update.direction, derivatives, self.config, eta=self.eta,
                    sample=lambda: self.sample(prompts, own_seed), threads=self.threads,
                )  # fmt: skip
        total = self._total_variance(rollouts, s, update, own_seed, meter)
        if "ranks" in self.config.diagnostics:
            with meter.phase("evidence"):
                arrays["sampler_evidence"] = sampler_evidence(
                    self.policy, rollouts, chunk_tokens=self.config.chunk_tokens, threads=self.threads
                )
        return self._result(run, own_seed, s, update, rollouts, derivatives, agreement, meter, arrays=arrays, **total)

    def _run_single_batch(self, B_E: int, run: int, own_seed: int) -> RunRecord:
        """delta_h1 as a U-statistic of one batch (docs/mathematics.md §5)."""
        config, meter = self.config, Meter(device=self.policy.device)
        with meter.phase("sampling"):
            prompts, rollouts = self._entropy_batch(B_E, own_seed)
        update = self._take_update(prompts, rollouts, own_seed, meter)
        with meter.phase("self_check"):
            self._verify_once(rollouts, update)
        with meter.phase("derivatives"):
            statistic, derivatives = u_statistic(
                self.policy,
                rollouts,
                UpdateBatch(tuple(update.prompts), rollouts, update.rewards, own_seed).token_weights(config),
                self._linearisation(update.gradient),
                update.direction,
                config.estimator,
                blocks=config.u_statistic_blocks,
                chunk_tokens=config.chunk_tokens,
                threads=self.threads,
            )
        agreement = sampler_agreement(rollouts, derivatives, self.policy, config.max_new_tokens)
        s = statistic.pseudo_values
        return self._result(
            run, own_seed, s, update, rollouts, derivatives, agreement, meter,
            u_statistic=statistic.record(), **statistic.fields(self.eta),
        )  # fmt: skip

    def _total_variance(
        self, rollouts: Rollouts, s: np.ndarray, update: Update, own_seed: int, meter: Meter
    ) -> dict[str, Any]:
        """The result's fields for the variance with U random as well, if asked for."""
        if "total_variance" not in self.config.diagnostics:
            return {}
        if len(update.prompts) < 2:
            return {"notes": ["no total variance: one prompt in the update batch says nothing of others (B_U >= 2)"]}
        with meter.phase("total_variance"):
            batch = self._update_batch(update)
            gradient = update.gradient or batch.gradient(self.policy, self.config)
            return total_variance(
                self.policy,
                rollouts,
                s,
                batch,
                self._linearisation(gradient),
                self.unit,
                self.config,
                eta=self.eta,
                rng=generator(own_seed, "pairs"),
            ).fields()

    def entropy_gradient(
        self, B_E: int, seed: int = 0, *, run: int = 1, update: Update | None = None
    ) -> dict[str, torch.Tensor]:
        """The entropy gradient of the same batch as :meth:`run`, as a vector by live parameter name, float64.

        Dotted with the update's direction and times eta it is the run's delta_h1.
        """
        update = self.update(seed) if update is None else update
        _, rollouts = self._entropy_batch(B_E, derive(seed, "E", B_E, run), update)
        gradient = self.unit.gradient(self.policy, rollouts, chunk_tokens=self.config.chunk_tokens)
        for name, g in gradient.items():
            log.debug("entropy gradient |g| %.3e  %s", g.norm(), name)
        return gradient

    def _entropy_batch(self, B_E: int, own_seed: int, update: Update | None = None) -> tuple[list[Prompt], Rollouts]:
        """Fresh prompts, none of them the update's, and responses that carry what the update's have taught."""
        exclude = frozenset(update.prompts if update is not None else ())
        slots = draw_prompts(self.prompts, B_E, own_seed, exclude=exclude, replace=self.config.with_replacement)
        prompts = [self.prompts[i] for i in slots]
        rollouts = self.sample(prompts, own_seed)
        if update is None or not get_estimator(self.config.estimator).learns:
            return prompts, rollouts
        # An update that was taken for another estimator has learnt nothing; its batch is drawn again from its seed.
        learnt = update.learnt or self._update_batch(update).learnt(self.config)
        return prompts, replace(rollouts, action_values=learnt)

    def _sampling_fraction(self, B_E: int, update: Update) -> float:
        """Counted once for every size and update: a set may be large."""
        # A single batch is its own update batch.
        taken = frozenset(update.prompts if self.config.mode == "two_batch" else ())
        if (B_E, taken) not in self._fractions:
            self._fractions[B_E, taken] = sampling_fraction(
                self.prompts, B_E, exclude=taken, replace=self.config.with_replacement
            )
        return self._fractions[B_E, taken]

    def sample(self, batch: list[Prompt], seed: int, group: int | None = None) -> Rollouts:
        """``group`` responses to each prompt (left out: E's number); response g of slot n is keyed by (seed, n, g)."""
        group = self.config.entropy_group if group is None else group
        return draw_responses(self.policy, batch, seed, self.config, group=group, threads=self.threads)

    def _estimators(self) -> list[str]:
        extra = [name for name in self.config.diagnostics if name in estimator_names()]
        return list(dict.fromkeys([*self.unit.estimators, *extra]))

    def _verify_once(self, rollouts: Rollouts, update: Update) -> None:
        if not self._verified:
            verify_tangent(self.policy, rollouts, update.direction, self.config.estimator)
            self._verified = True

    def _texts(self, rollouts: Rollouts) -> list[list[str]]:
        return [[self.policy.decode(ids) for ids in rollouts.responses(n)] for n in range(len(rollouts))]

    def _result(
        self,
        run: int,
        seed: int,
        s: np.ndarray,
        update: Update,
        rollouts: Rollouts,
        derivatives: Derivatives,
        agreement: dict[str, float],
        meter: Meter,
        **more: Any,
    ) -> RunRecord:
        return run_result(
            self.config,
            self.unit,
            s,
            update,
            rollouts,
            derivatives,
            eta=self.eta,
            eta_source=self.eta_source,
            run=run,
            seed=seed,
            agreement=agreement,
            meter=meter,
            sampling_fraction=self._sampling_fraction(len(s), update),
            **more,
        )
