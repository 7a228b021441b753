"""Faults of the kinds measured in real probes, each planted in the running pipeline by a patch.

A fault is a function of pytest's MonkeyPatch; :data:`FAULTS` maps its name to it and to the check that has to
see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from pytest_entropy.checkpoints import Checkpoint
from pytest_entropy.optimizers import adam
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.policy import action_values, equal_responses, logits, merged_adapter, teacher_forcing
from pytest_entropy.policy import decoding as decoding_module
from pytest_entropy.policy import distribution as distribution_module
from pytest_entropy.policy import sampling as sampling_module
from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy, TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.sampling_record import Recorder
from pytest_entropy.policy.token_statistics import Asked
from pytest_entropy.probe import batches as draws
from pytest_entropy.probe import control_variate as control_variates
from pytest_entropy.probe import probe as probe_module
from pytest_entropy.probe import setup as setup_module
from pytest_entropy.probe import table_choice
from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.derivatives import gradient
from pytest_entropy.probe.derivatives.directional import Derivatives, directional_derivatives
from pytest_entropy.probe.derivatives.gradient import policy_gradient
from pytest_entropy.probe.derivatives.objectives import Objective
from pytest_entropy.probe.estimators import Weights, action_value, base
from pytest_entropy.probe.measure import companion_reads, entropy_unit, two_batch, u_statistic
from pytest_entropy.probe.measure.companion_reads import CompanionReads
from pytest_entropy.probe.measure.run_record import run_record
from pytest_entropy.probe.measure.two_batch import TwoBatch
from pytest_entropy.probe.pieces import scoring_chunks
from pytest_entropy.probe.probe import EntropyProbe
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update import batch as update_batch
from pytest_entropy.probe.update import objective, source
from pytest_entropy.probe.update.batch import take_update
from pytest_entropy.prompts import Prompt
from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.seeds import uniforms
from tests.present import present
from tests.statistical.planted.planted_fault import after_rewards


@dataclass(frozen=True)
class Fault:
    """``plant`` breaks the pipeline; ``seen_by`` names the check that must turn red and ``says`` what it must say.

    ``evidence`` names the alternative sampler that a fault amounts to: seen by a p-value, so that power is a
    question of sizes.  The others are seen by an exact comparison, in a single run, or of two where they are of runs
    among each other (``runs``).
    """

    plant: Callable[[pytest.MonkeyPatch], None]
    seen_by: str
    says: str
    evidence: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    runs: int = 1


# ---------------------------------------------------------------------- sampling


def _draws_from(patch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Draw tokens from another distribution than the one recorded: what the agreement check cannot see."""
    real = distribution_module.draw
    patch.setattr(distribution_module, "draw", lambda log_p, u: real(torch.log_softmax(change(log_p), -1), u))


def temperature_of_draws(patch: pytest.MonkeyPatch) -> None:
    _draws_from(patch, lambda log_p: log_p / 0.9)


def top_k_5_of_draws(patch: pytest.MonkeyPatch) -> None:
    _draws_from(patch, lambda log_p: _top_k(log_p, 5))


def top_p_of_draws(patch: pytest.MonkeyPatch) -> None:
    def nucleus(log_p: torch.Tensor) -> torch.Tensor:
        ordered, order = log_p.sort(-1, descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()
        cut = ordered.masked_fill(before >= 0.95, -torch.inf)
        return torch.full_like(log_p, -torch.inf).scatter(-1, order, cut)

    _draws_from(patch, nucleus)


def _top_k(log_p: torch.Tensor, k: int) -> torch.Tensor:
    return log_p.masked_fill(log_p < log_p.topk(k, -1).values[..., -1:], -torch.inf)


def _sampler_sees(patch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Another distribution in the sampler, recorded as such: what generation defaults do."""
    real = distribution_module.log_distribution
    inside = {"sampling": False}
    sample = Policy.sample

    def sampling(self: Policy, *arguments: Any) -> Rollouts:
        inside["sampling"] = True
        try:
            return sample(self, *arguments)
        finally:
            inside["sampling"] = False

    def distribution(logits: torch.Tensor, temperature: float) -> torch.Tensor:
        log_p = real(logits, temperature)
        return torch.log_softmax(change(log_p), -1) if inside["sampling"] else log_p

    patch.setattr(Policy, "sample", sampling)
    patch.setattr(distribution_module, "log_distribution", distribution)


def temperature_of_sampler(patch: pytest.MonkeyPatch) -> None:
    _sampler_sees(patch, lambda log_p: log_p / 0.7)


def top_k_of_sampler(patch: pytest.MonkeyPatch) -> None:
    _sampler_sees(patch, lambda log_p: _top_k(log_p, 50))


def repetition_penalty(patch: pytest.MonkeyPatch) -> None:
    """transformers' penalty of 1.05 on every token of prompt and response so far, in the draws alone."""
    sample, forward = Policy.sample, Policy.forward
    draw = distribution_module.draw
    now: dict[str, Any] = {}

    def sampling(self: Policy, prompt_ids: Sequence[Sequence[int]], uniforms: torch.Tensor) -> Rollouts:
        longest = max(map(len, prompt_ids))
        padded = torch.tensor([list(ids) + [ids[0]] * (longest - len(ids)) for ids in prompt_ids])
        now.update(prompts=padded.repeat_interleave(uniforms.shape[1], 0), k=0)
        return sample(self, prompt_ids, uniforms)

    def remembered(*arguments: Any) -> Recorder:
        now["recorder"] = recorder = Recorder(*arguments)
        return recorder

    def watched(self: Policy, *arguments: Any, **named: Any) -> torch.Tensor:
        now["logits"] = logits = forward(self, *arguments, **named)
        return logits

    def penalised(log_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        prompts, k = now["prompts"], now["k"]
        last = now["logits"][:, -1]
        logits = last.repeat_interleave(len(prompts) // len(last), 0)
        ids = torch.cat([prompts, now["recorder"].tokens[:, :k]], 1)
        own = logits.gather(-1, ids)
        logits = logits.scatter(-1, ids, torch.where(own < 0, own * 1.05, own / 1.05))
        now["k"] = k + 1
        return draw(torch.log_softmax(logits.float(), -1), uniform)

    # Rows stay where they are, so that the history is found by row.
    patch.setattr(decoding_module, "COMPACT_BELOW", 0.0)
    patch.setattr(sampling_module, "Recorder", remembered)
    patch.setattr(distribution_module, "draw", penalised)
    patch.setattr(Policy, "sample", sampling)
    patch.setattr(Policy, "forward", watched)


# ---------------------------------------------------------------------- scoring


def dropout_while_scoring(patch: pytest.MonkeyPatch) -> None:
    """Adapter dropout live in scoring, with the guard that refuses training mode taken away."""
    score = Policy.teacher_force

    def live(self: Policy, *arguments: Any) -> TeacherForced:
        dropout = torch.nn.functional.dropout
        handles = [
            module.register_forward_hook(lambda m, a, out: dropout(out, 0.05, training=True))
            for name, module in self.model.named_modules()
            if name.endswith("lora_A.default")
        ]
        try:
            return score(self, *arguments)
        finally:
            for handle in handles:
                handle.remove()

    patch.setattr(Policy, "require_eval", lambda self: None)
    patch.setattr(Policy, "teacher_force", live)


def training_mode(patch: pytest.MonkeyPatch) -> None:
    """The whole model in training mode."""
    build = Setup.__init__

    def built(self: Setup, checkpoint: Checkpoint, *arguments: Any, **named: Any) -> None:
        build(self, checkpoint, *arguments, **named)
        self.policy.model.train()

    patch.setattr(Setup, "__init__", built)


def end_token_masked(patch: pytest.MonkeyPatch) -> None:
    """pad = EOS, and the mask made from ``ids != pad``: the scorer loses the real end."""
    plain = Rollouts.mask
    assert isinstance(plain, property)
    assert plain.fget is not None
    whole: Callable[[Rollouts], torch.Tensor] = plain.fget

    def mask(self: Rollouts) -> torch.Tensor:
        return whole(self) & (self.tokens != END["id"])

    patch.setattr(Rollouts, "mask", property(mask))


def end_token_lost(patch: pytest.MonkeyPatch) -> None:
    """The sampler itself does not count the end token."""
    sample = Policy.sample

    def sampling(self: Policy, *arguments: Any) -> Rollouts:
        rollouts = sample(self, *arguments)
        shorter = torch.where(rollouts.ended, rollouts.lengths - 1, rollouts.lengths).clamp(min=1)
        return replace(rollouts, lengths=shorter)

    patch.setattr(Policy, "sample", sampling)


def end_token_ignored(patch: pytest.MonkeyPatch) -> None:
    """The sampler goes on after the end token, up to ``max_new_tokens``, and counts what follows."""
    sample = Policy.sample
    patch.setattr(Policy, "sample", lambda self, *arguments: sample(replace(self, eos_ids=()), *arguments))


END = {"id": -1}


def positions_of_padding(patch: pytest.MonkeyPatch) -> None:
    """Positions counted from the left edge, padding included, in sampling and scoring alike."""
    forward = Policy.forward

    # Rotary positions are relative: a constant shift of a whole row would change nothing, so cached keys and
    # later queries are given different offsets, as code that recomputes positions in decoding only does.
    def decoding_only(
        self: Policy,
        ids: torch.Tensor,
        kept: torch.Tensor | None,
        positions: torch.Tensor,
        cache: DynamicCache | None,
        **named: Any,
    ) -> torch.Tensor:
        if kept is not None and cache is not None and cache.get_seq_length():
            positions = positions + (kept == 0).sum(-1, keepdim=True)
        return forward(self, ids, kept, positions, cache, **named)

    patch.setattr(Policy, "forward", decoding_only)


def rows_shuffled(patch: pytest.MonkeyPatch) -> None:
    """Responses of a group in another order when scored."""
    sample = Setup.sample

    def shuffled(self: Setup, *arguments: Any) -> Rollouts:
        rollouts = sample(self, *arguments)
        return replace(rollouts, tokens=rollouts.tokens.roll(1, dims=1), lengths=rollouts.lengths.roll(1, dims=1))

    patch.setattr(Setup, "sample", shuffled)


def unscaled_logits_in_scoring(patch: pytest.MonkeyPatch) -> None:
    """The temperature forgotten by the scorer (sampling at T = 0.8)."""
    patch.setattr(teacher_forcing, "Asked", lambda temperature, *values: Asked(1.0, *values))


# ---------------------------------------------------------------------- estimators


def entropy_to_go_late(patch: pytest.MonkeyPatch) -> None:
    """Gamma_k = sum_{j > k + 1} H_j: one position too late, biased."""
    real = base.entropy_to_go
    patch.setattr(base, "entropy_to_go", lambda h: torch.nn.functional.pad(real(h)[..., 1:], (0, 1)))


def entropy_to_go_early(patch: pytest.MonkeyPatch) -> None:
    """Gamma_k = sum_{j >= k} H_j: one too early; unbiased, but not what is documented, with more variance."""
    real = base.entropy_to_go
    patch.setattr(base, "entropy_to_go", lambda h: real(h) + h)


def baseline_of_itself(patch: pytest.MonkeyPatch) -> None:
    """The group mean as baseline, own response included: biased by 1/G."""

    def own_included(gamma: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        alive = mask.to(gamma.dtype)
        return (gamma * alive).sum(1, keepdim=True) / alive.sum(1, keepdim=True).clamp(min=1) + 0 * gamma

    patch.setattr(base, "positional_baseline", own_included)


def context_of_the_token_itself(patch: pytest.MonkeyPatch) -> None:
    """A deciding token is its own context: action values depend on what they are subtracted from, a bias."""

    def early(tokens: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
        return torch.where(log_probs < math.log(action_values.DECIDES), tokens, contexts(tokens, log_probs))

    contexts = action_values.contexts
    patch.setattr(action_values, "contexts", early)


def cleaned_without_expectation(patch: pytest.MonkeyPatch) -> None:
    """The action values of later tokens are taken off the entropy-to-go, and not their expectation added: a bias."""
    real = action_value.ESTIMATOR

    def weights(
        log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, learnt: ControlVariate | None
    ) -> Weights:
        wrong = learnt and replace(learnt, expected=torch.zeros_like(learnt.expected))
        return real.weights(log_probs, entropies, mask, wrong)

    patch.setattr(action_value, "ESTIMATOR", replace(real, weights=weights))


def expectation_by_token_alone(patch: pytest.MonkeyPatch) -> None:
    """The expected action values leave out what contexts add, which the drawn token's value holds: a bias."""
    patch.setattr(teacher_forcing, "Asked", lambda temperature, *values: Asked(temperature, *values[:1]))


def value_of_the_next_prefix(patch: pytest.MonkeyPatch) -> None:
    """The baseline is the value of the prefix after the token, which the token is part of: a bias."""
    real = logits.values_of_prefixes
    patch.setattr(teacher_forcing, "values_of_prefixes", lambda hidden, value: real(hidden.roll(-1, dims=2), value))


def share_of_the_response_itself(patch: pytest.MonkeyPatch) -> None:
    """The share, here one half, is taken off of the mean over all responses, this one among them."""

    def of_all(rest: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        alive = mask.to(rest)
        return ((rest * alive).sum(1, keepdim=True) / alive.sum(1, keepdim=True).clamp(min=1)).expand_as(rest)

    patch.setattr(base, "positional_baseline", of_all)
    patch.setattr(table_choice, "best_share", lambda *sums: 0.5)


def sign_of_entropy_gradient(patch: pytest.MonkeyPatch) -> None:
    """The opposite sign of X_n in one of two code paths."""
    real = action_value.ESTIMATOR
    wrong = replace(real, weights=lambda *tables: real.weights(*tables)._each(torch.neg))
    patch.setattr(action_value, "ESTIMATOR", wrong)


# ---------------------------------------------------------------------- companion reads


def companions_of_e(patch: pytest.MonkeyPatch) -> None:
    """Every prompt of E is its own companion, with which reads cancel and errors are as if there were none."""
    real = draws.draw_companions

    def draw(prompts: PromptSet, count: int, seed: int, *, exclude: frozenset[str]) -> list[int]:
        found = real(prompts, count, seed, exclude=exclude)
        # U and E: the keys that must not be drawn.
        taken = [n for n in range(len(prompts)) if prompts[n].key in exclude][: len(found) // 2]
        return [*taken, *found[len(taken) :]]

    patch.setattr(companion_reads, "draw_companions", draw)


def companions_of_a_first_part(patch: pytest.MonkeyPatch) -> None:
    """Companions come from the first hundred prompts, whose mean read is another than the set's: a bias."""
    real = draws.draw_companions

    def draw(prompts: PromptSet, count: int, seed: int, *, exclude: frozenset[str]) -> list[int]:
        return [index % 100 for index in real(prompts, count, seed, exclude=exclude)]

    patch.setattr(companion_reads, "draw_companions", draw)


def reads_added(patch: pytest.MonkeyPatch) -> None:
    """The prompt's own read is added, and its companions' mean subtracted: no bias, and more variance."""
    patch.setattr(CompanionReads, "applied", lambda self, s: s + self.own - self.companions.mean(1))


def companions_read_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """Companions are read a token earlier than E's prompts: a bias."""
    real = companion_reads.opened

    def opened(policy: Policy, prompts: Sequence[Prompt], tables: ControlVariateTables, limit: int) -> Rollouts:
        found = real(policy, prompts, tables, limit)
        lengths = found.lengths.clone()
        lengths[len(lengths) // 2 :] -= 1
        return replace(found, lengths=lengths)

    patch.setattr(companion_reads, "opened", opened)


def reads_along_minus_u(patch: pytest.MonkeyPatch) -> None:
    """Reads are taken along -u."""
    real = directional_derivatives

    def derivatives(policy: Policy, rollouts: Rollouts, direction: dict[str, torch.Tensor], *a: Any, **k: Any) -> Any:
        return real(policy, rollouts, {name: -u for name, u in direction.items()}, *a, **k)

    patch.setattr(companion_reads, "directional_derivatives", derivatives)


# ---------------------------------------------------------------------- merged adapter


def stale_merge(patch: pytest.MonkeyPatch) -> None:
    """The merged weights are those of the adapter a few steps ago."""
    real = merged_adapter._merge

    def merge(module: Any) -> merged_adapter.MergedLayer:
        found = real(module)
        step = 0.1 * (found.weight - module.base_layer.weight.detach())
        return replace(found, weight=found.weight - step)

    patch.setattr(merged_adapter, "_merge", merge)


def merge_not_undone(patch: pytest.MonkeyPatch) -> None:
    """A layer goes on computing with its merged weight after the run."""
    real = companion_reads.read_companions

    def reads(setup: Setup, *arguments: Any, **named: Any) -> CompanionReads:
        found = real(setup, *arguments, **named)
        with merged_adapter.merged(setup.policy):
            layer = next(m for m in setup.policy.model.modules() if merged_adapter.merged_layer(m))
            forward = vars(layer)["forward"]
        patch.setattr(layer, "forward", forward)
        return found

    patch.setattr(two_batch, "read_companions", reads)


# ---------------------------------------------------------------------- equal responses


def equal_by_beginning(patch: pytest.MonkeyPatch) -> None:
    """Responses count as equal that begin and end with the same token."""
    real = equal_responses.EqualResponses.of.__func__  # type: ignore[attr-defined]

    def of(cls: Any, rollouts: Rollouts) -> equal_responses.EqualResponses:
        tokens = rollouts.tokens[:, :, :1].expand_as(rollouts.tokens)
        found: equal_responses.EqualResponses = real(cls, replace(rollouts, tokens=tokens, control_variate=None))
        return found

    patch.setattr(equal_responses.EqualResponses, "of", classmethod(of))


def equal_counted_once(patch: pytest.MonkeyPatch) -> None:
    """Of equal responses only the first counts: the others have no gradient."""
    real = equal_responses.EqualResponses.scored

    def scored(
        self: equal_responses.EqualResponses, policy: Policy, part: Rollouts, ranks: torch.Tensor | None = None
    ) -> TeacherForced:
        found = real(self, policy, part, ranks)
        later = torch.from_numpy(self.first != np.arange(part.group_size)).to(policy.device).unsqueeze(-1)
        columns = {
            name: torch.where(later, column.detach(), column)
            for name in ("log_probs", "entropies", "expected_values")
            if (column := getattr(found, name)) is not None
        }
        return replace(found, **columns)

    patch.setattr(equal_responses.EqualResponses, "scored", scored)


# ---------------------------------------------------------------------- the update


def sign_of_direction(patch: pytest.MonkeyPatch) -> None:
    real = update_direction
    patch.setattr(update_batch, "update_direction", lambda *a, **k: {name: -u for name, u in real(*a, **k).items()})


def sign_of_loss(patch: pytest.MonkeyPatch) -> None:
    real = policy_gradient
    patch.setattr(update_batch, "policy_gradient", lambda *a, **k: {name: -g for name, g in real(*a, **k).items()})


def no_bias_correction(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adam, "second_moment", lambda state: state.exp_avg_sq.double())


def pieces_as_means(patch: pytest.MonkeyPatch) -> None:
    """Each microbatch's gradient as its mean times the batch size, as if pieces were equal-sized."""
    real = gradient.summed_gradient

    def summed(
        policy: Policy, rollouts: Rollouts, objective_: Objective, *, chunk_tokens: int
    ) -> dict[str, torch.Tensor]:
        pieces = len(scoring_chunks(rollouts, chunk_tokens))

        class AsMean:
            def __init__(self, part: Objective) -> None:
                self.part = part

            needs_scores = False

            def as_surrogates(self, forced: TeacherForced | None, part: Rollouts) -> list[Weights]:
                factor = torch.full((len(part),), len(rollouts) / (len(part) * pieces), dtype=torch.float64)
                return [weights.scaled(factor) for weights in self.part.as_surrogates(forced, part)]

            def select(self, indices: list[int]) -> Objective:
                return AsMean(self.part.select(indices))

            def value(self, forced: TeacherForced, part: Rollouts) -> torch.Tensor:
                return self.part.value(forced, part) * len(rollouts) / (len(part) * pieces)

        return real(policy, rollouts, AsMean(objective_), chunk_tokens=chunk_tokens)

    patch.setattr(gradient, "summed_gradient", summed)


def biased_group_spread(patch: pytest.MonkeyPatch) -> None:
    """ddof = 0 in the advantages' standard deviation, G = 2."""

    def advantages(rewards: torch.Tensor, scaling: str, epsilon: float = 1e-4) -> torch.Tensor:
        centred = rewards.double() - rewards.double().mean(1, keepdim=True)
        return centred / (rewards.double().std(1, keepdim=True, correction=0) + epsilon)

    patch.setattr(objective, "advantages", advantages)


# ---------------------------------------------------------------------- numbers


def _result_with(patch: pytest.MonkeyPatch, change: Callable[[RunRecord], RunRecord]) -> None:
    real = run_record
    patch.setattr(probe_module, "run_record", lambda *arguments, **named: change(real(*arguments, **named)))


def divided_twice(patch: pytest.MonkeyPatch) -> None:
    """delta_h1 divided by B_E once more."""
    _result_with(patch, lambda r: replace(r, delta_h1=r.delta_h1 / r.B_E))


def scalars_divided_twice(patch: pytest.MonkeyPatch) -> None:
    """Each s_n already divided by B_E, in the estimator itself."""
    real = directional_derivatives

    def divided(policy: Policy, rollouts: Rollouts, *arguments: Any, **named: Any) -> Derivatives:
        out = real(policy, rollouts, *arguments, **named)
        return replace(out, per_prompt={name: s / len(rollouts) for name, s in out.per_prompt.items()})

    patch.setattr(two_batch, "directional_derivatives", divided)


def biased_variance(patch: pytest.MonkeyPatch) -> None:
    """ddof = 0 in the standard error."""

    def change(r: RunRecord) -> RunRecord:
        s = np.asarray(r.per_prompt)
        variance = float(r.eta**2 * s.var() / len(s))
        return replace(r, variance_conditional=variance, se_conditional=variance**0.5)

    _result_with(patch, change)


def diagonal_kept(patch: pytest.MonkeyPatch) -> None:
    """The V-statistic of a single batch: every prompt's product with itself kept, a bias of order 1/B."""
    patch.setattr(u_statistic, "without_diagonal", lambda plug_in, diagonal, blocks: plug_in)


def rate_doubled(patch: pytest.MonkeyPatch) -> None:
    """A learning rate other than the one stored: every number per unit of eta is right, delta_h1 is not."""
    build = Setup.__init__

    def built(self: Setup, *arguments: Any, **named: Any) -> None:
        build(self, *arguments, **named)
        self.eta *= 2

    patch.setattr(Setup, "__init__", built)


def stale_direction(patch: pytest.MonkeyPatch) -> None:
    """The scalars are taken along the update of another batch than the one on record."""
    real = EntropyProbe.update
    patch.setattr(
        EntropyProbe, "update", lambda self, seed: replace(real(self, seed), direction=real(self, seed + 1).direction)
    )


def rewards_of_the_next_prompt(patch: pytest.MonkeyPatch) -> None:
    after_rewards(patch, source, lambda found: np.roll(found, 1, axis=0).tolist())


def rewards_of_the_next_response(patch: pytest.MonkeyPatch) -> None:
    real = Setup.texts
    patch.setattr(Setup, "texts", lambda self, rollouts: [row[1:] + row[:1] for row in real(self, rollouts)])


def responses_of_the_next_prompt(patch: pytest.MonkeyPatch) -> None:
    """Rows rotated against their prompts: sampler and scorer agree, for both have the same rows."""
    real = Setup.sample

    def sample(self: Setup, *arguments: Any) -> Rollouts:
        rollouts = real(self, *arguments)
        return rollouts.select([*range(1, len(rollouts)), 0])

    patch.setattr(Setup, "sample", sample)


def temperature_left_at_one(patch: pytest.MonkeyPatch) -> None:
    """The configured temperature reaches no one, sampler and scorer alike."""
    build = Setup.__init__

    def built(self: Setup, *arguments: Any, **named: Any) -> None:
        build(self, *arguments, **named)
        self.policy = replace(self.policy, temperature=1.0)

    patch.setattr(Setup, "__init__", built)


def entropy_per_prompt(patch: pytest.MonkeyPatch) -> None:
    """The entropy summed over a group, not averaged."""
    _result_with(patch, lambda r: replace(r, entropy_mean=r.entropy_mean * r.G))


def same_prompts(patch: pytest.MonkeyPatch) -> None:
    """E drawn from the prompts of U."""
    real = draws.draw_prompts

    def draw_prompts(
        prompts: PromptSet, count: int, seed: int, *, exclude: frozenset[str] = frozenset(), replace: bool = False
    ) -> list[int]:
        if not exclude:
            return real(prompts, count, seed, replace=replace)
        return [i for i in range(len(prompts)) if prompts[i].key in exclude][:count]

    patch.setattr(setup_module, "draw_prompts", draw_prompts)


def clipping_upwards(patch: pytest.MonkeyPatch) -> None:
    """A gradient below the limit is scaled up to it."""

    def factor(gradient: Mapping[str, torch.Tensor], max_norm: float | None) -> torch.Tensor:
        whole = sum(float(g.double().square().sum()) for g in gradient.values()) ** 0.5
        return torch.tensor(1.0 if max_norm is None else max_norm / (whole + 1e-6), dtype=torch.float64)

    patch.setattr(adam, "clip_factor", factor)


def rate_of_runs(patch: pytest.MonkeyPatch) -> None:
    """Twice the update's rate, in the runs alone, where every number follows from it."""

    def change(r: RunRecord) -> RunRecord:
        return replace(
            r,
            eta=2 * r.eta,
            delta_h1=2 * r.delta_h1,
            variance_conditional=4 * present(r.variance_conditional),
            se_conditional=2 * present(r.se_conditional),
        )

    _result_with(patch, change)


def entropy_se_of_a_prompt(patch: pytest.MonkeyPatch) -> None:
    """The spread of the entropy over prompts in place of its mean's standard error."""
    _result_with(patch, lambda r: replace(r, entropy_se=r.entropy_se * r.B_E**0.5))


def variance_divided_twice(patch: pytest.MonkeyPatch) -> None:
    """The variance, though not the standard error, divided by B_E once more."""
    _result_with(patch, lambda r: replace(r, variance_conditional=present(r.variance_conditional) / r.B_E))


def mean_reward_of_one_prompt(patch: pytest.MonkeyPatch) -> None:
    """The update's mean reward is that of its first prompt."""
    real = take_update
    patch.setattr(
        source,
        "take_update",
        lambda batch, *arguments, **named: replace(
            real(batch, *arguments, **named), reward_mean=float(np.mean(batch.rewards[0]) - 0.01)
        ),
    )


def prompts_of_every_run(patch: pytest.MonkeyPatch) -> None:
    """All runs draw the same prompts: the seed without the run."""
    real = draws.draw_prompts
    patch.setattr(setup_module, "draw_prompts", lambda prompts, count, seed, **named: real(prompts, count, 5, **named))


def prompt_twice(patch: pytest.MonkeyPatch) -> None:
    """The first prompt of a batch stands in the second's place as well."""
    real = draws.draw_prompts

    def draw_prompts(*arguments: Any, **named: Any) -> list[int]:
        indices = real(*arguments, **named)
        return [indices[0], indices[0], *indices[2:]]

    patch.setattr(setup_module, "draw_prompts", draw_prompts)


def half_the_update(patch: pytest.MonkeyPatch) -> None:
    """The update is taken on half of B_U prompts."""
    real = draws.draw_prompts

    def draw_prompts(
        prompts: PromptSet, count: int, seed: int, *, exclude: frozenset[str] = frozenset(), replace: bool = False
    ) -> list[int]:
        return real(prompts, count if exclude else count // 2, seed, exclude=exclude, replace=replace)

    patch.setattr(setup_module, "draw_prompts", draw_prompts)


def learnt_from_itself(patch: pytest.MonkeyPatch) -> None:
    """The action values are those of E's own responses, which ties the weights to what they weigh: a bias."""
    real = TwoBatch.entropy_batch

    def batch(self: TwoBatch, *arguments: Any) -> tuple[list[Prompt], Rollouts]:
        prompts, rollouts = real(self, *arguments)
        control_variate = control_variates.learn(rollouts, self.setup.config.max_new_tokens)
        return prompts, replace(rollouts, control_variate=control_variate)

    patch.setattr(TwoBatch, "entropy_batch", batch)


def responses_that_copy(patch: pytest.MonkeyPatch) -> None:
    """One stream of random numbers for the responses of a group."""
    real = uniforms
    patch.setattr(
        draws,
        "uniforms",
        lambda seed, prompt_index, responses, positions: np.repeat(
            real(seed, prompt_index, 1, positions), responses, axis=0
        ),
    )


def random_numbers_of_every_batch(patch: pytest.MonkeyPatch) -> None:
    """Responses to E's first prompt share their numbers with those to U's first one, and so on."""
    real = uniforms
    patch.setattr(draws, "uniforms", lambda seed, *names: real(0, *names))


def length_score_left_out(patch: pytest.MonkeyPatch) -> None:
    """Entropy per token as if lengths did not move with the policy."""
    patch.setattr(entropy_unit, "_derivative", lambda a, score, nats, lengths: a / lengths)


FAULTS: dict[str, Fault] = {
    # sampling
    "sampler at T = 0.7": Fault(temperature_of_sampler, "sampler_scorer_agreement", "temperature"),
    "top-k 50 left on": Fault(top_k_of_sampler, "sampler_scorer_agreement", "truncation"),
    "draws at T = 0.9": Fault(temperature_of_draws, "sampler_alternatives", "temperature x 0.9", "temperature x 0.9"),
    "draws by top-k 5": Fault(top_k_5_of_draws, "sampler_alternatives", "top-k 5", "top-k 5"),
    "draws by top-p 0.95": Fault(top_p_of_draws, "sampler_alternatives", "top-p 0.95", "top-p 0.95"),
    "repetition penalty 1.05": Fault(
        repetition_penalty, "sampler_alternatives", "repetition penalty 1.05", "repetition penalty 1.05"
    ),
    # Four tokens of a run are others than at T = 1, one is another than without top-p: 14 expected in so many runs.
    "T = 0.9, against its random numbers": Fault(temperature_of_draws, "draws", "temperature", runs=4),
    "top-p 0.95, against its random numbers": Fault(top_p_of_draws, "draws", "top-p", runs=14),
    "repetition penalty, against its random numbers": Fault(repetition_penalty, "draws", "repetition", runs=4),
    "random numbers of every batch": Fault(random_numbers_of_every_batch, "draws", "belong to another batch"),
    # scoring
    "dropout while scoring": Fault(dropout_while_scoring, "run", "dropout"),
    "training mode": Fault(training_mode, "run", "dropout"),
    "end token masked": Fault(end_token_masked, "sampler_scorer_agreement", "sampler and the scorer"),
    "end token lost": Fault(end_token_lost, "responses_end", "pad = EOS"),
    "end token ignored": Fault(end_token_ignored, "responses_end", "ignored by the sampler"),
    "positions of padding": Fault(positions_of_padding, "batch_invariance", "positions or masks under left padding"),
    "rows shuffled": Fault(rows_shuffled, "sampler_scorer_agreement", "rows in another order"),
    "temperature missing in scoring": Fault(
        unscaled_logits_in_scoring, "sampler_scorer_agreement", "temperature", settings={"temperature": 0.8}
    ),
    # estimators
    "entropy-to-go too late": Fault(entropy_to_go_late, "definition", "entropy-to-go off by a position"),
    "entropy-to-go too early": Fault(entropy_to_go_early, "definition", "entropy-to-go off by a position"),
    "baseline of the response itself": Fault(
        baseline_of_itself, "definition", "a wrong baseline", settings={"estimator": "rao_blackwell"}
    ),
    "context of the token itself": Fault(context_of_the_token_itself, "definition", "action values of", runs=2),
    "later action values without expectation": Fault(
        cleaned_without_expectation, "definition", "action values of another context"
    ),
    "expectation without contexts": Fault(expectation_by_token_alone, "definition", "action values of"),
    "value of the next prefix": Fault(value_of_the_next_prefix, "definition", "a wrong baseline"),
    "a share of the response itself": Fault(share_of_the_response_itself, "definition", "a wrong baseline"),
    "sign of the entropy gradient": Fault(sign_of_entropy_gradient, "definition", "sign"),
    "s_n divided by B_E": Fault(scalars_divided_twice, "definition", "factor"),
    # companion reads
    "companions that E or U holds": Fault(companions_of_e, "companions_are_others", "companions that meet E or U"),
    "companions of the first hundred": Fault(
        companions_of_a_first_part, "companions_are_others", "a subset of the prompts read"
    ),
    "reads added": Fault(reads_added, "scalars_hold_reads", "a read added instead of subtracted"),
    "companions read elsewhere": Fault(companions_read_elsewhere, "reads_are_derivatives", "at another position"),
    "reads along -u": Fault(reads_along_minus_u, "reads_are_derivatives", "reads along another direction"),
    # merged adapter
    "a stale merge": Fault(stale_merge, "batch_invariance", "positions or masks"),
    "a merge that is not undone": Fault(merge_not_undone, "state_is_restored", "left"),
    # equal responses
    "equal by their beginning": Fault(equal_by_beginning, "run", "off by"),
    "equal responses counted once": Fault(equal_counted_once, "run", "off by"),
    # the update
    "sign of u": Fault(sign_of_direction, "update_direction", "a sign"),
    "sign of the loss": Fault(sign_of_loss, "update_gradient", "the sign or scale of the loss"),
    "no bias correction": Fault(no_bias_correction, "update_direction", "a missing bias correction"),
    "pieces summed as means": Fault(
        pieces_as_means, "update_gradient", "as if equal-sized", settings={"chunk_tokens": 1500}
    ),
    "ddof 0 with G = 2": Fault(biased_group_spread, "update_gradient", "ddof", settings={"G": 2, "advantage": "grpo"}),
    # numbers
    "delta divided by B_E twice": Fault(divided_twice, "delta_h1_is_mean", "a division by B_E"),
    "ddof 0 in the standard error": Fault(biased_variance, "standard_error_is_conditional", "ddof"),
    "V-statistic for U-statistic": Fault(
        diagonal_kept,
        "single_batch_identity",
        "a prompt with itself kept",
        settings={"mode": "u_statistic", "diagnostics": ()},
    ),
    "learning rate doubled": Fault(
        rate_doubled, "rate_is_configured", "a learning rate that is neither configured nor stored"
    ),
    "stale update": Fault(stale_direction, "direction_is_recorded", "a stale update"),
    "rewards of the next prompt": Fault(rewards_of_the_next_prompt, "rewards_belong", "rewards of another prompt"),
    "rewards of the next response": Fault(
        rewards_of_the_next_response, "rewards_belong", "rewards of another prompt or response"
    ),
    "responses of the next prompt": Fault(responses_of_the_next_prompt, "rows_belong", "responses of another prompt"),
    "temperature left at 1": Fault(
        temperature_left_at_one, "temperature_is_configured", "a temperature other than", settings={"temperature": 0.8}
    ),
    "entropy of a group": Fault(entropy_per_prompt, "entropy_is_sampled", "an entropy that is not the tokens' sum"),
    "clipping upwards": Fault(
        clipping_upwards, "update_direction", "clipping", settings={"update_rule": "adamw", "max_grad_norm": 100.0}
    ),
    "learning rate of runs": Fault(
        rate_of_runs, "rate_is_configured", "a learning rate that is neither configured nor stored"
    ),
    "standard error of the entropy": Fault(entropy_se_of_a_prompt, "entropy_is_sampled", "its error, over prompts"),
    "variance divided twice": Fault(variance_divided_twice, "standard_error_is_conditional", "a division by B_E"),
    "mean reward of one prompt": Fault(
        mean_reward_of_one_prompt, "update_record", "a mean of the rewards that the rewards do not give"
    ),
    "prompts of every run": Fault(prompts_of_every_run, "runs_independent", "shared by two runs", runs=2),
    "a prompt twice": Fault(prompt_twice, "prompts_distinct", "prompts drawn twice"),
    "half of U": Fault(half_the_update, "sizes_as_configured", "batches smaller than configured"),
    "values learnt from E": Fault(
        learnt_from_itself, "direction_is_recorded", "action values, learnt from another batch (E itself"
    ),
    "responses that copy": Fault(responses_that_copy, "responses_differ", "responses that copy one another"),
    "length score left out": Fault(
        length_score_left_out, "token_unit", "not the ratio's jackknife", settings={"entropy_unit": "token"}
    ),
    "sign of u, single batch": Fault(
        sign_of_direction,
        "single_batch_step",
        "an optimizer's step other than its definition",
        settings={"mode": "u_statistic", "diagnostics": ()},
    ),
    "entropy-to-go too late, single batch": Fault(
        entropy_to_go_late,
        "single_batch_definition",
        "an estimator",
        settings={"mode": "u_statistic", "diagnostics": ()},
    ),
    "E = U": Fault(same_prompts, "batches_disjoint", "E drawn from U"),
}
