"""What a check needs is what it reads, and where it is missing the check is inconclusive and names it."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from pytest_entropy.checks.base import Check
from pytest_entropy.checks.summaries.sweep_fit import SWEEP_ARRAYS
from pytest_entropy.policy.alternatives import ALTERNATIVES
from pytest_entropy.probe.diagnostics.eta_sweep import EtaSweep
from pytest_entropy.records.measured import Missing, Undeclared
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.wire import RecordError
from tests.present import present
from tests.unit.checks.registered import CHECKS, PARTS, judged, without

# Of a record, what describes the run to a reader and is no measurement.
WORDS = {
    "B_E", "G", "run", "seed", "eta_source", "estimator", "update_rule", "unit", "mode", "notes", "seconds",
    "memory_mb", "peak_memory_mb", "schema_version",
}  # fmt: skip


def applies(check: Check, runs: list[RunRecord]) -> bool:
    return not check.inapplicable(runs)


@pytest.mark.parametrize("name", CHECKS)
def test_whatever_a_check_needs_is_missed_by_name(contexts: dict[str, list[RunRecord]], name: str) -> None:
    """Each field is taken out of a run of every form: inconclusive, with its name, wherever it is read."""
    check = CHECKS[name]
    missed = set()
    for runs in contexts.values():
        whole = judged(check, runs)
        for need in check.needs:
            now = judged(check, [without(runs[0], need), *runs[1:]])
            if now == whole:
                continue
            assert now.verdict == "inconclusive", need
            assert "what was not measured cannot pass" in now.message(), need
            if need.rpartition(".")[2] in now.message() or need == "asked":
                missed.add(need)
    assert missed == set(check.needs)


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_that_reads_what_it_does_not_name_is_found(contexts: dict[str, list[RunRecord]], name: str) -> None:
    """Each name is struck from ``needs``: reading the field is an error, so that no need is left unsaid or idle."""
    check = CHECKS[name]
    for need in check.needs:
        silent = replace(check, needs=tuple(other for other in check.needs if other != need))
        found = []
        for runs in contexts.values():
            try:
                judged(silent, runs)
            except Undeclared as error:
                found.append(str(error))
        assert found, need
        assert f"a check reads {need}, which its needs do not name" in found[0]


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_is_described(name: str) -> None:
    check = CHECKS[name]
    assert check.name == name
    assert check.claim
    assert check.likely_causes
    assert check.needs
    assert check.statistical or check.effect is None


def test_no_check_is_red_on_correct_runs(contexts: dict[str, list[RunRecord]]) -> None:
    for runs in contexts.values():
        assert [name for name in CHECKS if judged(name, runs, alpha=1e-4).verdict == "fail"] == []


def test_every_check_passes_somewhere(contexts: dict[str, list[RunRecord]]) -> None:
    """Else nothing would be seen where it stops passing."""
    passing = {name for runs in contexts.values() for name in CHECKS if judged(name, runs).verdict == "pass"}
    # Two sizes of so few prompts do not tell a finite-batch bias, nor an error's slope.
    assert set(CHECKS) - passing <= {"convergence", "se_slope", "sampler_alternatives", "se_calibration"}


# ---------------------------------------------------------------------- every field of a stored run


def places(run: RunRecord) -> list[tuple[str, str]]:
    """(part, name) of everything that a stored run has, in its record (part ``""``) and beside it (``arrays``)."""
    record: dict[str, Any] = run.to_dict()
    parts = (*PARTS, "diagnostics")
    found = [("", name) for name in record if name not in parts and name not in WORDS]
    return [
        *found,
        *((part, name) for part in parts for name in record[part]),
        *(("arrays", name) for name in run.arrays),
    ]


def changed(run: RunRecord, part: str, name: str, how: str) -> RunRecord:
    """The run as its record gives it back once ``name`` is deleted or renamed in ``part``.

    Raises:
        RecordError: without it there is no run.
    """
    record: dict[str, Any] = run.to_dict()
    arrays: dict[str, Any] = dict(run.arrays)
    where = arrays if part == "arrays" else record[part] if part else record
    value = where.pop(name)
    if how == "renamed":
        where[f"{name}_renamed"] = value
    return RunRecord.from_dict(record, arrays, directory=run.directory)


def rejudged(runs: list[RunRecord], part: str, name: str, how: str) -> dict[str, tuple[str, str]]:
    """Each check's verdict and message on runs of which the first is changed; "refused" where it is no run."""
    try:
        first = changed(runs[0], part, name, how)
    except RecordError as error:
        return {check: ("refused", str(error)) for check in CHECKS}
    return {check: _said(check, [first, *runs[1:]]) for check in CHECKS}


def _said(check: str, runs: list[RunRecord]) -> tuple[str, str]:
    outcome = judged(check, runs)
    return outcome.verdict, outcome.message()


def needed(check: str, run: RunRecord, part: str, name: str) -> bool:
    """Whether a check says that it reads the field."""
    names = {f"{part}.{name}" if part else name}
    if names == {"per_prompt"} or names == {f"diagnostics.{run.estimator}"}:
        names.add("entropy_term")
    return bool(names & set(CHECKS[check].needs))


@pytest.mark.parametrize("form", ["two batches", "per token", "single batches"])
def test_no_check_passes_on_a_record_that_lacks_a_field_it_looks_at(
    contexts: dict[str, list[RunRecord]], form: str
) -> None:
    """``pytest -s`` prints the list: each measured field of a stored run, and who stops passing without it."""
    runs = contexts[form]
    whole = {check: _said(check, runs) for check in CHECKS}
    for part, name in places(runs[0]):
        for how in ("deleted", "renamed"):
            now = rejudged(runs, part, name, how)
            lost = [check for check in CHECKS if now[check] != whole[check]]
            assert [check for check in lost if now[check][0] == "pass"] == [], (part, name, how)
            # What changes is what says that it reads the field, and no other.
            refused = now[lost[0]][0] == "refused" if lost else False
            assert refused or [check for check in lost if not needed(check, runs[0], part, name)] == [], (part, name)
            who = "the record is refused" if refused else ", ".join(lost) or "no check: for the reader"
            print(f"{form}: {f'{part}.{name}' if part else name} {how}: {who}")


def test_what_no_check_looks_at_is_for_the_reader(contexts: dict[str, list[RunRecord]]) -> None:
    """A measured field that no check reads could be anything; these are the ones."""
    read = {need for check in CHECKS.values() for need in check.needs}
    idle = {
        f"{part}.{name}" if part else name
        for runs in contexts.values()
        for part, name in places(runs[0])
        if f"{part}.{name}" not in read and name not in read
    }
    told = {f"update.{name}" for name in (
        "rule", "objective", "eta_source", "seed", "seconds", "memory_mb", "sample", "entropy_mean", "length_mean",
        # Of the direction's fingerprint; and whether a reward function is asked twice.
        "learnt_fingerprint", "rewards_rechecked",
    )}  # fmt: skip
    others = {name for name in idle if name.startswith("diagnostics.")}
    assert idle - told - others == {"se_total", "u_statistic.zeta_1_jackknife", "arrays.excess_surprisal"}


# ---------------------------------------------------------------------- single cases


def test_a_check_without_its_share_or_its_generator_is_an_error(runs: list[RunRecord]) -> None:
    with pytest.raises(ValueError, match="needs its share alpha"):
        CHECKS["score_identity"].check(runs)
    with pytest.raises(ValueError, match="needs a random generator"):
        CHECKS["se_calibration"].check(runs, alpha=1e-3)


def test_no_runs_are_no_pass() -> None:
    for name in CHECKS:
        assert judged(name, []).verdict == "inconclusive", name


def test_the_sweeps_arrays_are_those_of_the_probe() -> None:
    assert tuple(f"sweep_{field.name}" for field in fields(EtaSweep)) == SWEEP_ARRAYS


def test_a_sweep_that_was_asked_for_and_is_not_whole_is_missed(runs: list[RunRecord]) -> None:
    lacking = [replace(run, arrays=without(run, "arrays.sweep_floor").arrays) for run in runs]
    check = CHECKS["eta_sweep_intercept"]
    assert applies(check, lacking)
    assert "B_E 24 run 1 has no array sweep_floor" in judged(check, lacking).message()


def test_a_single_batch_has_no_slope_of_its_error(contexts: dict[str, list[RunRecord]]) -> None:
    outcome = judged("se_slope", contexts["single batches"])
    assert outcome.verdict == "inconclusive"
    assert "every run has an update of its own" in outcome.message()


def test_a_collapsed_policy_leaves_its_means_and_digits_undecided(runs: list[RunRecord]) -> None:
    collapsed = [replace(run, expected_surprises=0.1) for run in runs]
    for name in ("score_identity", "estimator_agreement", "first_order_accuracy", "eta_sweep_intercept"):
        outcome = judged(name, collapsed)
        assert outcome.verdict == "inconclusive"
        assert "responses are expected to hold a token other than the likeliest" in outcome.message()
    still = [without(run, "diagnostics.entropy_slope") for run in collapsed]
    without_slope = judged("first_order_accuracy", still).message()
    assert "responses are expected to hold a token other than the likeliest" in without_slope
    nats = [replace(run, agreement=replace(run.agreement, entropy_sampled=1e-6, definition=0.02)) for run in runs]
    outcome = judged("definition", nats)
    assert outcome.verdict == "inconclusive"
    assert "--dtype float64" in outcome.message()
    # A policy that still answers in several ways is judged as closely as ever.
    faulty = [replace(run, agreement=replace(run.agreement, definition=0.02)) for run in runs]
    assert judged("definition", faulty).verdict == "fail"


def test_alternatives_are_those_that_the_evidence_is_of(runs: list[RunRecord]) -> None:
    assert runs[0].arrays["sampler_evidence"].shape == (len(ALTERNATIVES), 2)


def test_an_effect_of_interest_needs_its_measurements_as_well(runs: list[RunRecord]) -> None:
    with pytest.raises(Missing, match="entropy_term"):
        CHECKS["score_identity"].effect_of_interest(
            [replace(run, per_prompt=None) for run in runs]  # type: ignore[arg-type]
        )
    assert CHECKS["draws"].effect_of_interest(runs) is None
    assert np.isfinite(present(CHECKS["surprisal_identity"].effect_of_interest(runs)))
