"""Every check and identity of the registry, each with faults that it has to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pytest_entropy import registry
from pytest_entropy.checks.base import Check
from pytest_entropy.records.run import RunRecord
from pytest_entropy.testing import check_check, check_identity, recorded
from pytest_entropy.testing.checks import Fault
from pytest_entropy.testing.recorded import on_every_run
from pytest_entropy.testing.stored_fields import fields_of, restored, stored_name
from tests import simulated_runs


def measured(**changes: float) -> Fault:
    """Runs with these numbers, by their names with two underscores for a dot: ``agreement__copies``."""

    def changed(run: RunRecord) -> RunRecord:
        for name, value in changes.items():
            part, _, key = name.rpartition("__")
            new = {part: replace(getattr(run, part), **{key: value})} if part else {key: value}
            run = replace(run, **new)
        return run

    return on_every_run(changed)


def scaled(name: str, by: float) -> Fault:
    """Runs whose number of this name is ``by`` times what it is."""

    def changed(run: RunRecord) -> RunRecord:
        part, _, key = name.rpartition("__")
        value = by * getattr(getattr(run, part) if part else run, key)
        return measured(**{name: value})([run])[0]

    return on_every_run(changed)


def off_by_its_effect(name: str, side: int) -> Fault:
    change = simulated_runs.CHANGES[name][0]

    def put_off(runs: list[RunRecord]) -> list[RunRecord]:
        by = side * simulated_runs.size_of_the_effect(name, runs)
        return [change(run, by) for run in runs]

    return put_off


def copied_estimator(run: RunRecord) -> RunRecord:
    return replace(run, diagnostics={**run.diagnostics, "reinforce_loo": list(run.per_prompt)})


def reads_added(run: RunRecord) -> RunRecord:
    return replace(run, companions=replace(run.companions, own=[-x for x in run.companions.own]))


EXACT: dict[str, Mapping[str, Fault]] = {
    "batch_invariance": {
        "padding changes log-probabilities": measured(agreement__alone_log_probs=0.01),
        "padding changes entropies": measured(agreement__alone_entropies=0.01),
    },
    "definition": {
        "a factor of 1.02": measured(agreement__definition=0.02),
        "the other way": measured(agreement__definition=-0.02),
    },
    "draws": {"the next token but one": measured(agreement__draws=0.1)},
    "sampler_scorer_agreement": {
        "temperature": measured(agreement__log_probs=0.05),
        "entropies of other logits": measured(agreement__entropies=0.05),
    },
    "update_direction": {"another rule": measured(update__oracle_gap=0.01)},
    "update_gradient": {"a weight of the objective": measured(update__loss_slope_gap=0.1)},
}
IDENTITIES: dict[str, Mapping[str, Fault]] = {
    "adapter_scaling_is_configured": {"twice": measured(reading__adapter_scaling=0.5)},
    "batches_disjoint": {"shared": measured(agreement__shared_with_update=1.0)},
    "companions_are_others": {
        "in E or U": measured(companions__shared=1.0),
        "other draws": measured(companions__draw=2.0),
    },
    "delta_h1_is_mean": {"above": scaled("delta_h1", 1.1), "below": scaled("delta_h1", 0.9)},
    "direction_is_recorded": {"another direction": measured(agreement__direction_gap=0.01)},
    "end_tokens_are_configured": {"one less": measured(reading__end_tokens=1.0)},
    "entropy_is_sampled": {"above": scaled("entropy_mean", 1.1), "below": scaled("entropy_se", 0.9)},
    "gradient_is_whole": {
        "a tensor lost": measured(update__random_slope_gap=0.1),
        "a block of zeros": measured(update__zero_slope_gap=0.1),
    },
    "prompts_are_drawn": {
        "of E": measured(agreement__prompt_draw=3.0),
        "of U": measured(update__prompt_draw=1.0),
        "the share": measured(agreement__fraction_gap=0.1),
    },
    "prompts_are_encoded": {"of E": measured(agreement__encodings=1.0), "of U": measured(update__encodings=1.0)},
    "base_is_stored": {"through half precision": measured(reading__base_weights=1e-3)},
    "model_is_loaded": {"another head": measured(reading__scores=0.3)},
    "moments_are_stored": {"of a neighbour": measured(reading__moments=1.5)},
    "optimizer_scalars_are_stored": {"one step": measured(reading__optimizer_scalars=0.03)},
    "prompts_distinct": {"in E": measured(agreement__repeated=1.0)},
    "rate_is_configured": {"twice": scaled("eta", 2), "another group's": measured(update__eta_gap=1.0)},
    "reported_means": {"longer": scaled("length_mean", 1.1), "fewer end": measured(ended_share=-0.1)},
    "responses_differ": {"one seed for all": measured(agreement__copies=2.0)},
    "responses_end": {"cut": measured(agreement__unterminated=1.0), "gone on": measured(agreement__past_the_end=1.0)},
    "rewards_belong": {"of a neighbour": measured(update__reward_gap=1.0)},
    "rows_belong": {"of E": measured(agreement__other_prompts=1.0), "of U": measured(update__other_prompts=1.0)},
    "runs_independent": {"one seed": lambda runs: [replace(run, seed=runs[0].seed) for run in runs]},
    "reads_are_derivatives": {
        "at another position": measured(companions__definition=0.02),
        "of other tokens": measured(companions__encodings=1.0),
    },
    "scalars_hold_reads": {
        "added": on_every_run(reads_added),
        "of another estimator": on_every_run(lambda run: replace(run, estimator="reinforce_loo")),
    },
    "scalars_are_slopes": {
        "one prompt": measured(agreement__slopes=0.5),
        "the mean": measured(agreement__slopes_mean=0.1),
    },
    "second_estimator_is_compared": {
        "the first estimator's": on_every_run(copied_estimator),
        "another number": measured(agreement__compared_loo=1.0),
    },
    "single_batch_definition": {
        "another product": measured(u_statistic__diagonal_gap=0.02),
        "a row mean of one side": measured(u_statistic__row_gap=0.02),
    },
    "single_batch_identity": {"plug-in": scaled("u_statistic__plug_in", 1.2)},
    "single_batch_step": {"another step": measured(update__oracle_gap=2.0)},
    "sizes_as_configured": {"one prompt fewer": measured(agreement__size_gap=1.0)},
    "standard_error_is_conditional": {"above": scaled("se_conditional", 1.1), "below": scaled("se_conditional", 0.9)},
    "state_is_restored": {
        "a hook left": on_every_run(lambda run: replace(run, state_changed=["hooks left: 1, lm_head"])),
    },
    "surprises_are_counted": {
        "every surprise": measured(agreement__alone_surprises=0.05),
        "of other prompts": scaled("expected_surprises", 0.9),
    },
    "sweep_is_weighted": {
        "no weights": measured(agreement__sweep_change=0.01),
        "over all prompts": measured(agreement__sweep_self_normalised=0.01),
        "by the largest weight": measured(agreement__sweep_sizes=0.2),
        "the other tail": measured(agreement__sweep_khat=0.3),
    },
    "temperature_is_configured": {"0.7": measured(agreement__temperature_gap=0.3)},
    "texts_are_decoded": {"a token lost": measured(update__texts=3.0)},
    "token_unit": {"per response": measured(agreement__unit_gap=0.1)},
    "total_variance_identity": {"above": scaled("variance_total", 1.1), "below": scaled("variance_total", 0.9)},
    "total_variance_parts": {
        "V_Y": scaled("variance_parts__update_batch", 1.1),
        "T": scaled("variance_parts__interaction", 0.9),
        "its error": scaled("variance_parts__standard_error", 1.1),
        "its skewness": measured(variance_parts__update_skewness=9.0),
        "another definition": measured(variance_parts__definition=0.02),
    },
    "weights_are_stored": {"not restored": measured(reading__weights=1e-5)},
    "update_record": {
        "mean": scaled("update__reward_mean", 1.5),
        "spread": scaled("update__reward_std", 1.5),
        "another norm": measured(update__norm_gap=1e-3),
    },
}


def equal_rewards(runs: list[RunRecord]) -> list[RunRecord]:
    return [replace(run, update=replace(run.update, rewards=[[1.0] * 3] * 4, gradient_norm=0.0)) for run in runs]


def test_every_built_in_part_has_its_faults() -> None:
    own = set(registry.names("checks")) - set(registry.added("checks"))
    assert own == {*EXACT, *simulated_runs.CHANGES, "update_moves"}
    assert set(registry.names("bookkeeping")) - set(registry.added("bookkeeping")) == set(IDENTITIES)


@pytest.mark.parametrize("name", registry.names("checks"))
def test_check(name: str) -> None:
    if name == "update_moves":
        # It cannot fail: a batch of equal rewards is nobody's error.
        check_check(name, {"equal rewards": equal_rewards}, turns="inconclusive")
    elif name in simulated_runs.CHANGES:
        _, sides, sizes = simulated_runs.CHANGES[name]
        faults = {f"side {side}": off_by_its_effect(name, side) for side in sides}
        if name == "se_calibration":
            # Its effect of interest is a ratio, whose other side is below 1.
            faults["errors five times too large"] = on_every_run(lambda run: simulated_runs.spread(run, 1 / 5))
        check_check(
            name, faults, runs=simulated_runs.simulated(sizes), two_sided=len(faults) > 1, alpha=simulated_runs.SHARE
        )
    else:
        check_check(name, EXACT.get(name))


@pytest.mark.parametrize("name", registry.names("bookkeeping"))
def test_identity(name: str) -> None:
    check_identity(name, IDENTITIES.get(name))


def test_every_field_of_a_stored_run_is_looked_at_or_is_for_the_reader() -> None:
    """``pytest -s`` prints the list: each measured field, and who does not pass without it, as the checks' needs say
    and :func:`check_check` has seen."""
    parts = {
        name: registry.get(kind, name, Check) for kind in ("checks", "bookkeeping") for name in registry.names(kind)
    }
    fields: set[str] = set()
    read: set[str] = set()
    for form, runs in recorded.forms().items():
        for field in fields_of(runs[0]):
            who = [name for name, check in parts.items() if _needs(check, runs, field)]
            fields.add(field)
            read |= {field} if who else set()
            print(f"{form}: {field}: {', '.join(who) or 'no check: for the reader'}{_without(runs[0], field)}")
    told = {f"update.{name}" for name in (
        "objective", "eta_source", "seed", "seconds", "memory_mb", "entropy_mean", "length_mean", "learnt_fingerprint",
        "companion_reads", "fewest_reads",
    )}  # fmt: skip
    others = {name for name in fields if name.startswith("diagnostics.")}
    assert fields - read - told - others == {"se_total", "u_statistic.zeta_1", "arrays.excess_surprisal"}


def _needs(check: Check, runs: list[RunRecord], field: str) -> bool:
    return not check.inapplicable(runs) and field in {stored_name(runs[0], need) for need in check.needs}


def _without(run: RunRecord, field: str) -> str:
    try:
        restored(run, field, "deleted")
    except ValueError:
        return "; without it the record is refused"
    return ""
