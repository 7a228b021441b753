"""Conformance of a check: its needs are true, its outcome is whole, correct runs are green, and planted faults red."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_entropy.checks.base import Check
from pytest_entropy.records.measured import Undeclared
from pytest_entropy.records.run import RunRecord
from pytest_entropy.registry import KINDS, get
from pytest_entropy.stats import CheckOutcome
from pytest_entropy.stats.outcome import Verdict
from pytest_entropy.testing.recorded import Forms, forms
from pytest_entropy.testing.stored_fields import fields_of, lacking, not_measured, otherwise, stored_name

Runs = Sequence[RunRecord]
# Runs in, runs with the fault out; it gets a copy of its own.
Fault = Callable[[list[RunRecord]], list[RunRecord]]
# Of few prompts; a fault has to be visible in them.
ALPHA = 0.05
# Correct runs of several forms, and never a red one among them.
RARE = 1e-4


def check_check(
    name: str,
    faults: Mapping[str, Fault] | None = None,
    *,
    runs: Runs | None = None,
    two_sided: bool = True,
    turns: Verdict = "fail",
    alpha: float = ALPHA,
) -> None:
    """Check the check of that name in the registry on runs of a tiny policy, and on ``runs``.

    It must describe itself.  On correct runs of every form it must not fail; where a field that it ``needs`` is
    deleted from a stored run, renamed, or not a number, it must become inconclusive and name the field, and without
    the fields that it does not name its outcome must stay.  It must judge the same runs the same way twice, change
    nothing in them, and say what it saw, what it could have seen, and what a failure points to.  A statistical check
    must need its share alpha, an exact one neither share nor generator.

    Args:
        name: in the registry.
        faults: by name, functions of correct runs that plant a fault; each must turn the check red.  Of a statistical
            check one must put its estimate above that of the correct runs, and one below.  None: what needs no fault
            is checked.
        runs: correct runs that it must pass; if left out, the first of :func:`.recorded.forms` that it does pass.
        two_sided: whether a statistical check looks to both sides.
        turns: the verdict of a fault, where a check cannot fail: ``inconclusive``.
        alpha: the share at which a statistical check judges ``runs`` and faults.

    Raises:
        AssertionError: says which of these does not hold, and for which field, form or fault.
        NotRegistered: no check has this name.
    """
    subject = Subject("checks", name, get("checks", name, Check), alpha)
    hold(subject, faults, runs=runs, sides=two_sided and subject.check.statistical, turns=turns)


@dataclass(frozen=True)
class Subject:
    """A registered check, and the share that it judges with here."""

    kind: str
    name: str
    check: Check
    alpha: float

    def __str__(self) -> str:
        return f"{KINDS[self.kind].noun} {self.name}"

    def outcome(self, runs: Runs, where: str, alpha: float | None = None) -> CheckOutcome:
        """Its outcome, with the same random numbers every time.

        Raises:
            AssertionError: it raised.
        """
        share = self.alpha if alpha is None else alpha
        try:
            return self.check.check(list(runs), alpha=share, rng=np.random.default_rng(0))
        except Undeclared as error:
            raise AssertionError(f"{self}: {error} ({where})") from error
        except Exception as error:
            raise AssertionError(f"{self} raises {type(error).__name__}: {error} ({where})") from error


def hold(
    subject: Subject, faults: Mapping[str, Fault] | None, *, runs: Runs | None, sides: bool, turns: Verdict
) -> None:
    """Hold a check or an identity against what both have to keep.

    Raises:
        AssertionError: says what does not hold.
    """
    _require_description(subject)
    # Copies: a check that changes what it judges leaves no trace in what others judge.
    every: Forms = copy.deepcopy({**({} if runs is None else {"given": list(runs)}), **forms()})
    outcomes = {form: _on_correct_runs(subject, form, correct) for form, correct in every.items()}
    right = next((form for form in every if outcomes[form].verdict == "pass"), None)
    if runs is not None:
        assert right == "given", f"{subject} does not pass the runs given: {outcomes['given'].message()}"
    assert right or faults is None, f"{subject} passes on none of {', '.join(every)}: give runs that it must pass"
    if right:
        _require_repeatable(subject, every[right], outcomes[right])
    missed = {need for form in every for need in _missed(subject, form, every[form], outcomes[form])}
    if not right:
        return
    idle = [need for need in subject.check.needs if need not in missed]
    assert not idle, f"{subject} needs {', '.join(idle)}, and its outcome is the same without: it does not read it"
    _require_error_rate(subject, every[right], outcomes[right])
    _require_whole(subject, outcomes[right], every[right])
    if faults is not None:
        _require_faults(subject, faults, every[right], outcomes[right], sides, turns)


def _require_description(subject: Subject) -> None:
    check = subject.check
    assert check.name == subject.name, f"{subject} calls itself {check.name!r}: its outcomes are stored under its name"
    for what, words in (("claim", check.claim), ("likely causes", check.likely_causes), ("needs", check.needs)):
        assert words, f"{subject} names no {what}"
    assert check.statistical or check.effect is None, f"{subject} is exact: there is no effect that it could miss"


def _on_correct_runs(subject: Subject, form: str, runs: Runs) -> CheckOutcome:
    """Its outcome, which must not be red beyond what a share of ``RARE`` allows."""
    outcome = subject.outcome(runs, f"runs: {form}")
    if outcome.verdict == "fail":
        # Of many outcomes at a share made for few prompts one is red by chance.
        rare = subject.outcome(runs, f"runs: {form}", RARE)
        assert rare.verdict != "fail", f"{subject} is red on correct runs ({form}): {rare.message()}"
    return outcome


# ---------------------------------------------------------------------- what it needs


def _missed(subject: Subject, form: str, runs: Runs, whole: CheckOutcome) -> set[str]:
    """What the check needs and misses, by name, in the first of ``runs``; what it does not need must not matter."""
    missed = set()
    for need in subject.check.needs:
        # A field that is read and not missed is taken for a number of its own choice, often the right one.
        passes = whole.verdict == "pass" and _reads(subject, need, runs)
        for way, run in lacking(runs[0], need):
            where = f"{need} {way}, runs: {form}"
            now = subject.outcome([run, *runs[1:]], where)
            if now == whole and not passes:
                continue
            assert now.verdict == "inconclusive", f"{subject} is {now.verdict} without what it needs ({where})"
            assert _names(now, need), f"{subject} does not say what is missing ({where}): {now.message()}"
            missed.add(need)
    _require_nothing_else(subject, form, runs, whole)
    return missed


def _reads(subject: Subject, need: str, runs: Runs) -> bool:
    """Whether it reads the field in these runs: once its needs do not name it, that is an error."""
    others = tuple(other for other in subject.check.needs if other != need)
    silent = replace(subject.check, needs=others)
    try:
        silent.check(list(runs), alpha=subject.alpha, rng=np.random.default_rng(0))
    except Undeclared:
        return True
    return False


def _names(outcome: CheckOutcome, need: str) -> bool:
    words = "which diagnostics were asked for" if need == "asked" else need.rpartition(".")[2]
    return words in outcome.reason


def _require_nothing_else(subject: Subject, form: str, runs: Runs, whole: CheckOutcome) -> None:
    """The outcome is the same whatever the fields are that it does not need; else those that matter are named."""
    read = {stored_name(run, need) for need in subject.check.needs for run in runs}
    others = [name for name in fields_of(runs[0]) if name not in read]

    def outcome(change: Callable[[RunRecord, str], RunRecord], names: Sequence[str]) -> CheckOutcome | str:
        run = runs[0]
        for name in names:
            run = change(run, name)
        try:
            return subject.outcome([run, *runs[1:]], "")
        except AssertionError as error:
            return str(error)

    for change in (not_measured, otherwise):
        if outcome(change, others) != whole:
            used = [name for name in others if outcome(change, [name]) != whole] or others
            raise AssertionError(f"{subject} reads {', '.join(used)}, which its needs do not name (runs: {form})")


# ---------------------------------------------------------------------- what it says


def _require_repeatable(subject: Subject, runs: Runs, truth: CheckOutcome) -> None:
    own = copy.deepcopy(list(runs))
    again = subject.outcome(own, "correct runs, judged again")
    assert _contents(own) == _contents(runs), f"{subject} changes the runs that it judges"
    assert truth == again, f"{subject}: judged twice, the same runs give {truth} and {again}"


def _contents(runs: Runs) -> list[tuple[str, dict[str, bytes]]]:
    return [(json.dumps(run.to_dict()), {name: a.tobytes() for name, a in run.arrays.items()}) for run in runs]


def _require_error_rate(subject: Subject, runs: Runs, truth: CheckOutcome) -> None:
    if not subject.check.statistical:
        try:
            alone: object = subject.check.check(list(runs))
        except ValueError as error:
            alone = error
        assert alone == truth, f"{subject} is exact, and its outcome depends on alpha or on random numbers: {alone}"
        return
    try:
        subject.check.check(list(runs), rng=np.random.default_rng(0))
    except ValueError:
        return
    raise AssertionError(f"{subject} is statistical, and judges without a share alpha of the error budget")


def _require_whole(subject: Subject, outcome: CheckOutcome, runs: Runs) -> None:
    """A decided outcome says all that a reader, a report and the error budget want of it."""
    assert outcome.name == subject.name, f"{subject}: its outcome is named {outcome.name!r}"
    for what, value in (("null hypothesis", outcome.null), ("unit", outcome.unit), ("n", outcome.n)):
        assert value, f"{subject}: its outcome has no {what}"
    assert outcome.effect is not None, f"{subject}: its outcome has no effect"
    stored = CheckOutcome.from_dict(json.loads(json.dumps(outcome.to_dict())))
    assert stored == outcome, f"{subject}: its outcome is another one once it was stored"
    if not subject.check.statistical:
        assert outcome.p_value is None, f"{subject} is exact, and its outcome has a p-value"
        return
    assert outcome.p_value is not None, f"{subject} is statistical, and its outcome has no p-value"
    assert outcome.alpha == subject.alpha, f"{subject} was given alpha {subject.alpha:g}, and took {outcome.alpha:g}"
    least, interest = outcome.minimum_detectable_effect, outcome.effect_of_interest
    assert least is not None, f"{subject}: its outcome does not say which effect it could have seen"
    declared = subject.check.effect_of_interest(list(runs))
    if declared is not None:
        assert interest is not None, f"{subject}: its outcome leaves out the effect of interest"
        assert math.isclose(interest, declared), f"{subject}: effect of interest {declared:g}, its outcome {interest:g}"
    if outcome.verdict == "pass" and interest is not None:
        assert least <= abs(interest), f"{subject} passes, and could not have seen its effect of interest"


def _require_faults(
    subject: Subject, faults: Mapping[str, Fault], runs: Runs, truth: CheckOutcome, sides: bool, turns: Verdict
) -> None:
    assert faults, f"{subject}: give a fault that it has to see"
    seen = []
    for fault, plant in faults.items():
        faulty = plant(copy.deepcopy(list(runs)))
        outcome = subject.outcome(faulty, f"fault: {fault}")
        assert outcome.verdict == turns, f"{subject} does not see the fault {fault!r}: {outcome.message()}"
        assert outcome.likely_causes, f"{subject}: its outcome does not say what a failure points to (fault: {fault})"
        _require_whole(subject, outcome, faulty)
        seen.append(outcome.effect)
    if sides:
        estimates = [effect for effect in seen if effect is not None]
        for side, there in (("above", max(estimates) > truth.effect), ("below", min(estimates) < truth.effect)):  # type: ignore[operator]
            assert there, f"{subject}: no fault puts its estimate {side} the truth; give one, or say two_sided=False"
