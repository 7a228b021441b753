"""What bookkeeping sees in records alone, each identity by itself: numbers that their own evidence does not give."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.checks.bookkeeping import identities, judged
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.discrepancies import copies
from pytest_entropy.probe.oracles.optimizer import real_clipping
from pytest_entropy.records.diagnostics import CompanionParts, VarianceParts
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import UpdateRecord
from tests.present import present
from tests.unit.reports.stored import ETA, result, scalars

AGREEMENT = {
    "log_probs": 0.0, "entropies": 0.0, "unterminated": 0.0, "entropy_sampled": 1.75, "entropy_se_sampled": 0.1,
    "length_sampled": 18.0, "ended_sampled": 1.0, "rounding": 1e-7, "past_the_end": 0.0, "copies": 0.0,
    "direction_gap": 0.0, "shared_with_update": 0.0, "repeated": 0.0,
}  # fmt: skip
LOOKED = {
    "temperature_gap": 0.0, "size_gap": 0.0, "other_prompts": 0.0, "encodings": 0.0, "prompt_draw": 0.0,
    "fraction_gap": 0.0, "slopes": 0.0, "slopes_mean": 0.0,
    "slopes_noise": 0.0, "alone_surprises": 0.0, "entropy_per_token": 1.75, "entropy_per_token_se": 0.1,
}  # fmt: skip
READING = {
    "optimizer_scalars": 0.0, "moments": 0.0, "weights": 0.0, "adapter_scaling": 0.0, "end_tokens": 0.0, "scores": 0.0,
    "base_weights": 0.0,
}  # fmt: skip
UPDATE = {
    "prompts": ["p1", "p2"], "rewards": [[0.0, 1.0], [1.0, 1.0]], "reward_mean": 0.75, "reward_std": 0.5,
    "degenerate_groups": 0.5, "eta": ETA, "oracle_gap": 0.0, "eta_gap": 0.0, "other_prompts": 0.0, "reward_gap": 0.0,
    "rewards_rechecked": True, "fingerprint": 0.5, "random_slope_gap": 0.0, "random_slope_noise": 0.0,
    "zero_slope_gap": 0.0, "zero_gradients": [], "encodings": 0.0, "texts": 0.0, "prompt_draw": 0.0,
    "norm_gap": 0.0,
}  # fmt: skip


def run_number(run: int, **agreement: float) -> RunRecord:
    s = scalars(np.random.default_rng(run), 16)
    record = AGREEMENT | LOOKED | {"first_prompts": run / 100} | agreement
    made = result(
        16, run, s, entropy_se=0.1, update=UPDATE, agreement=record, asked=["definition"], state_changed=[],
        reading=READING, expected_surprises=40.0,
    )  # fmt: skip
    return replace(made, arrays={"first_surprises": np.full(16, 2.5)})


def verdicts(*runs: RunRecord, with_replacement: bool = False) -> dict[str, str]:
    """The verdict of every identity that applies, by name."""
    return {outcome.name: outcome.verdict for outcome in judged(runs, with_replacement=with_replacement)}


def not_passed(*runs: RunRecord, verdict: str = "fail") -> list[str]:
    """The identities with that verdict; all others have passed."""
    found = verdicts(*runs)
    assert set(found.values()) <= {"pass", verdict}
    return [name for name, seen in found.items() if seen != "pass"]


def test_a_right_record_is_green() -> None:
    assert not_passed(run_number(1, first_prompts=0.1), run_number(2, first_prompts=0.2)) == []
    assert not_passed(replace(run_number(1), asked=[])) == []


def test_every_identity_names_one_cause_of_its_own() -> None:
    causes = [check.likely_causes for check in identities()]
    assert len(set(causes)) == len(causes) == 41
    assert all(len(cause) <= 130 for cause in causes)


@pytest.mark.parametrize(
    ("name", "value", "identity"),
    [
        ("delta_h1", -0.01, "delta_h1_is_mean"),
        ("entropy_mean", 1.76, "entropy_is_sampled"),
        ("entropy_se", 0.11, "entropy_is_sampled"),
        ("length_mean", 18.1, "reported_means"),
        ("ended_share", 0.9, "reported_means"),
        ("expected_surprises", 41.0, "surprises_are_counted"),
        ("se_conditional", 1e-3, "standard_error_is_conditional"),
        ("variance_conditional", 1e-9, "standard_error_is_conditional"),
    ],
)
def test_a_reported_number_that_is_not_its_record_is_red(name: str, value: float, identity: str) -> None:
    changes: dict[str, Any] = {name: value}
    assert not_passed(replace(run_number(1), **changes)) == [identity]


@pytest.mark.parametrize(
    ("name", "value", "identity"),
    [
        ("reward_mean", 0.5, "update_record"),
        ("reward_std", 0.4, "update_record"),
        ("degenerate_groups", 0.0, "update_record"),
        ("norm_gap", 0.1, "update_record"),
        ("eta", 2 * ETA, "rate_is_configured"),
        ("eta_gap", 1.0, "rate_is_configured"),
        ("prompts", ["p1", "p1"], "prompts_distinct"),
        ("other_prompts", 2.0, "rows_belong"),
        ("reward_gap", 1.0, "rewards_belong"),
    ],
)
def test_what_is_said_of_the_update_follows_from_it(name: str, value: float | list[str], identity: str) -> None:
    assert not_passed(replace(run_number(1), update=UpdateRecord.from_dict(UPDATE | {name: value}))) == [identity]


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("size_gap", "sizes_as_configured"),
        ("temperature_gap", "temperature_is_configured"),
        ("other_prompts", "rows_belong"),
        ("repeated", "prompts_distinct"),
        ("copies", "responses_differ"),
        ("unterminated", "responses_end"),
        ("past_the_end", "responses_end"),
        ("unit_gap", "token_unit"),
        ("direction_gap", "direction_is_recorded"),
        ("shared_with_update", "batches_disjoint"),
    ],
)
def test_what_a_run_found_out_of_order_is_red_and_named(name: str, identity: str) -> None:
    # s is what one run of these numbers is judged by, whatever its unit; other identities of the unit are not at stake.
    unit: dict[str, Any] = {"unit": "nats per token"} if name == "unit_gap" else {}
    (outcome,) = [
        o
        for o in judged([replace(run_number(1, **{name: 1.0}), **unit)], with_replacement=False)
        if o.verdict == "fail"
    ]
    assert outcome.name == identity
    assert f"these do not follow from the record: {name} (1)" in outcome.message()


SINGLE = {
    "blocks": 16, "plug_in": -100.0, "diagonal": 50.0, "diagonal_gap": 0.0, "row_gap": 0.0, "zeta_1_jackknife": 4.0,
}  # fmt: skip


def single_batch(**changes: Any) -> RunRecord:
    """A single batch whose numbers follow from its parts."""
    value = (16 * -100.0 - 50.0) / 15
    s = np.array([value - 10.0, value + 10.0] * 8)
    zeta = float(s.var(ddof=1)) / 4
    made = result(
        16, 1, s, mode="u_statistic", entropy_se=0.1, update=UPDATE, agreement=AGREEMENT, asked=[],
        reading=READING, u_statistic=SINGLE | {"zeta_1_jackknife": zeta},
    )  # fmt: skip
    parts = {k: v for k, v in changes.items() if k in SINGLE}
    others = {k: v for k, v in changes.items() if k not in SINGLE}
    return replace(made, u_statistic=replace(made.u_statistic, **parts), **others)


@pytest.mark.parametrize(
    ("changes", "identity"),
    [
        ({}, None),
        ({"plug_in": -120.0}, "single_batch_identity"),
        ({"diagonal_gap": 0.02}, "single_batch_definition"),
        ({"row_gap": 0.02}, "single_batch_definition"),
        ({"row_gap": None, "blocks": 8, "plug_in": -90.0}, None),
        ({"zeta_1_jackknife": 1.0}, "standard_error_is_conditional"),
        ({"update": UpdateRecord.from_dict(UPDATE | {"oracle_gap": 2.0})}, "single_batch_step"),
    ],
)
def test_a_single_batch_follows_from_its_parts(changes: dict[str, float | UpdateRecord], identity: str | None) -> None:
    assert not_passed(single_batch(**changes)) == ([identity] if identity else [])


def test_a_total_variance_is_the_sum_of_its_parts() -> None:
    run = replace(run_number(1), asked=["definition", "total_variance"])
    own = present(run.variance_conditional)
    rng = np.random.default_rng(3)
    products = rng.standard_normal((2, 2))
    update_batch = float(ETA**2 * products.mean(1).var(ddof=1) / 2)
    interaction = update_batch - float(ETA**2 * np.cov(products.T)[0, 1] / 2)
    whole = products.mean(1) - products.mean()
    terms = np.prod(products - products.mean(0), axis=1)
    parts = VarianceParts(
        entropy_batch=own,
        update_batch=update_batch,
        interaction=interaction,
        standard_error=float(ETA**2 * terms.std(ddof=1) / 2**0.5),
        update_skewness=float((whole**3).mean() / (whole**2).mean() ** 1.5),
        definition=0.0,
    )
    total = own + update_batch - interaction
    arrays = {**run.arrays, "update_products": products}
    run = replace(run, variance_parts=parts, variance_total=total, arrays=arrays)
    assert not_passed(run) == []
    assert "total_variance_identity" in verdicts(run)
    assert not_passed(replace(run, variance_total=1.1 * total)) == ["total_variance_identity"]
    for name in ("update_batch", "interaction"):
        other = replace(parts, **{name: 1.1 * getattr(parts, name)})
        wrong = own + present(other.update_batch) - present(other.interaction)
        assert not_passed(replace(run, variance_parts=other, variance_total=wrong)) == ["total_variance_parts"]
    for name in ("definition", "standard_error", "update_skewness"):
        assert not_passed(replace(run, variance_parts=replace(parts, **{name: 0.1}))) == ["total_variance_parts"], name
    assert not_passed(replace(run, variance_total=None), verdict="inconclusive") == ["total_variance_identity"]


def test_the_sweep_is_weighted() -> None:
    gaps = {"sweep_change": 0.0, "sweep_self_normalised": 0.0, "sweep_sizes": 0.0, "sweep_khat": 0.0}

    def swept(**changes: float) -> RunRecord:
        return replace(run_number(1, **gaps | changes), asked=["definition", "eta_sweep"])

    assert not_passed(swept()) == []
    for name in gaps:
        assert not_passed(swept(**{name: 0.1})) == ["sweep_is_weighted"]


def test_a_column_holds_what_was_compared() -> None:
    run = replace(run_number(1, compared_prompt=3.0, compared_loo=-90.0), asked=["definition", "reinforce_loo"])
    numbers = [-50.0] * 3 + [-90.0] + [-20.0] * 12
    right = replace(run, diagnostics={"reinforce_loo": numbers})
    assert not_passed(right) == []
    assert "second_estimator_is_compared" in verdicts(right)
    others = replace(run, diagnostics={"reinforce_loo": numbers[::-1]})
    assert not_passed(others) == ["second_estimator_is_compared"]
    # An estimator has no second one in itself.
    assert "second_estimator_is_compared" not in verdicts(replace(others, estimator="reinforce_loo"))


def with_companions(run: RunRecord, **changes: Any) -> RunRecord:
    own, mean = np.arange(16.0), np.full(16, 7.0)
    parts: dict[str, Any] = {
        "count": 8,
        "own": own.tolist(),
        "mean": mean.tolist(),
        "shared": 0.0,
        "draw": 0.0,
        "encodings": 0.0,
    }
    plain = (np.asarray(run.per_prompt) + own - mean).tolist()
    parts |= {"definition": 1e-6} | changes
    return replace(run, companions=CompanionParts(**parts), diagnostics={run.estimator: plain})


def test_companion_reads_follow_from_the_record() -> None:
    run = run_number(1)
    right = with_companions(run)
    assert not_passed(right) == []
    assert {"scalars_hold_reads", "reads_are_derivatives", "companions_are_others"} <= set(verdicts(right))
    assert not_passed(replace(right, diagnostics={run.estimator: list(run.per_prompt)})) == ["scalars_hold_reads"]
    assert not_passed(with_companions(run, mean=[7.1, *[7.0] * 15])) == ["scalars_hold_reads"]
    assert not_passed(with_companions(run, definition=0.01)) == ["reads_are_derivatives"]
    assert not_passed(with_companions(run, encodings=1.0)) == ["reads_are_derivatives"]
    assert not_passed(with_companions(run, shared=1.0)) == ["companions_are_others"]
    assert not_passed(with_companions(run, draw=1.0)) == ["companions_are_others"]
    assert "companions_are_others" in verdicts(with_companions(run, shared=1.0), with_replacement=True)
    unasked = replace(with_companions(run, shared=1.0), asked=[])
    assert "companions_are_others" not in verdicts(unasked, with_replacement=True)
    for name, check in (
        ("own", "scalars_hold_reads"), ("definition", "reads_are_derivatives"), ("draw", "companions_are_others"),
    ):  # fmt: skip
        missing = with_companions(run, **{name: [] if name == "own" else None})
        assert not_passed(missing, verdict="inconclusive") == [check]
    older = replace(run, companions=CompanionParts())
    assert not {"companions_are_others", "scalars_hold_reads"} & set(verdicts(older))
    unknown = replace(right, companions=CompanionParts())
    assert not_passed(unknown, verdict="inconclusive") == [
        "companions_are_others", "reads_are_derivatives", "scalars_hold_reads",
    ]  # fmt: skip


def test_what_does_not_apply_says_why_and_is_no_pass() -> None:
    run = run_number(1)
    found = {check.name: check.inapplicable([run]) for check in identities()}
    reasons = {name: reason for name, reason in found.items() if reason}
    assert set(reasons) == {
        "companions_are_others", "reads_are_derivatives", "scalars_hold_reads",
        "scalars_are_slopes", "second_estimator_is_compared", "single_batch_identity", "single_batch_definition",
        "single_batch_step", "sweep_is_weighted", "token_unit", "total_variance_identity", "total_variance_parts",
    }  # fmt: skip
    for check in identities():
        if check.name in reasons:
            outcome = check.check([run])
            assert outcome.verdict == "inconclusive"
            assert reasons[check.name] in outcome.message()
    replaced = {check.name for check in identities() if check.inapplicable([run], with_replacement=True)}
    assert replaced - set(reasons) == {"batches_disjoint", "prompts_distinct", "runs_independent"}
    unasked = {check.name for check in identities() if check.inapplicable([replace(run, asked=[])])}
    assert unasked >= {"rows_belong", "rewards_belong", "sizes_as_configured", "temperature_is_configured"}


def test_a_run_that_does_not_say_what_it_was_asked_is_no_pass() -> None:
    assert not_passed(replace(run_number(1), asked=None), verdict="inconclusive") == [
        "gradient_is_whole", "prompts_are_drawn", "prompts_are_encoded", "rewards_belong", "rows_belong",
        "scalars_are_slopes", "second_estimator_is_compared", "sizes_as_configured", "state_is_restored",
        "surprises_are_counted", "sweep_is_weighted", "temperature_is_configured", "texts_are_decoded",
        "total_variance_identity", "total_variance_parts",
    ]  # fmt: skip


def test_a_reward_that_is_not_asked_twice_leaves_no_gap_to_miss() -> None:
    once = UpdateRecord.from_dict(UPDATE | {"rewards_rechecked": False, "reward_gap": None})
    assert "rewards_belong" not in verdicts(replace(run_number(1), update=once))
    twice = replace(run_number(1), update=replace(once, rewards_rechecked=True))
    assert not_passed(twice, verdict="inconclusive") == ["rewards_belong"]


def test_runs_have_their_own_seeds_and_prompts() -> None:
    first, second = run_number(1, first_prompts=0.1), run_number(2, first_prompts=0.2)
    assert not_passed(first, replace(second, seed=first.seed)) == ["runs_independent"]
    assert not_passed(first, run_number(2, first_prompts=0.1)) == ["runs_independent"]


def test_what_failed_comes_before_what_is_undecided() -> None:
    run = replace(run_number(1, copies=1.0), ended_share=0.5, asked=None)
    found = [outcome.verdict for outcome in judged([run], with_replacement=False)]
    assert found == sorted(found, key=["pass", "fail", "inconclusive"].index)
    assert set(found) == {"pass", "fail", "inconclusive"}


def test_clipping_is_torchs() -> None:
    gradient = {"a": torch.full((3, 4), 2.0), "b": torch.full((5,), -1.0)}
    whole = float(torch.cat([g.double().ravel() for g in gradient.values()]).norm())
    assert real_clipping(gradient, 2 * whole) == 1
    assert real_clipping(gradient, whole / 2) == pytest.approx(0.5, rel=1e-6)
    assert real_clipping({"a": torch.zeros(2)}, 1.0) == 1


def rollouts(tokens: torch.Tensor, log_prob: float) -> Rollouts:
    shape = tokens.shape
    return Rollouts(
        prompt_ids=((1,),) * shape[0],
        tokens=tokens,
        lengths=torch.full(shape[:2], shape[2]),
        ended=torch.ones(shape[:2], dtype=torch.bool),
        log_probs=torch.full(shape, log_prob),
        entropies=torch.ones(shape),
    )


def test_copies_are_seen_where_chance_does_not_make_them() -> None:
    alike = torch.arange(8).reshape(4, 1, 2).expand(4, 5, 2)
    assert copies(rollouts(alike, -2.0)) == 4
    # Of a policy that is nearly certain the same responses are what is to be expected.
    assert copies(rollouts(alike, -0.01)) == 0
    different = torch.arange(40).reshape(4, 5, 2)
    assert copies(rollouts(different, -2.0)) == 0
