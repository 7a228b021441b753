"""What the conformance check of checks and identities says of one that is wrong, a fault for each requirement."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_entropy import registry
from pytest_entropy.checks.base import Check, Given, Runs, exact, mean_zero, numbers
from pytest_entropy.records.measured import Measured
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome
from pytest_entropy.testing import check_check, check_identity, recorded
from pytest_entropy.testing.checks import Fault
from pytest_entropy.testing.recorded import on_every_run
from tests import simulated_runs

COPIES, SCORE = "agreement.copies", "diagnostics.score"
Judge = Callable[[Check, Runs, Given], CheckOutcome]
RIGHT = Check(
    name="wrong",
    claim="no prompt has copies",
    likely_causes="one seed for all responses",
    needs=(COPIES,),
    judge=lambda check, runs, given: exact(check, numbers(runs, COPIES), noise_floor=0.5, unit="prompts"),
)
FAULTS: dict[str, Fault] = {
    "copies": on_every_run(lambda run: replace(run, agreement=replace(run.agreement, copies=3.0)))
}


@pytest.fixture
def added() -> Iterator[Callable[..., None]]:
    """A function that adds a check under the name ``wrong``."""
    kinds = []

    def add(check: Check, kind: str = "checks") -> None:
        kinds.append(kind)
        registry.add(kind, "wrong", check)

    yield add
    for kind in kinds:
        registry.forget(kind, "wrong")


def judged(check: Check, values: Iterable[float], **changes: Any) -> CheckOutcome:
    return replace(exact(check, values, noise_floor=0.5, unit="prompts"), **changes)


def takes_a_missing_number_for_zero(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    return judged(check, [run.number(COPIES) if run.has(COPIES) else 0.0 for run in runs])


def does_not_say_what_is_missing(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    if not all(run.has(COPIES) for run in runs):
        return judged(check, [0.0], verdict="inconclusive", reason="something is not there")
    return judged(check, numbers(runs, COPIES))


def does_not_expect_a_missing_number(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    return judged(check, [float(run._run.agreement.copies) for run in runs])  # type: ignore[arg-type]


def reads_what_it_does_not_name(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    return judged(check, [*numbers(runs, COPIES), *numbers(runs, "agreement.repeated")])


def reads_past_what_it_names(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    return judged(check, [copies + (run._run.agreement.draws or 0.0) for copies, run in _with_copies(runs)])


def _with_copies(runs: Runs) -> Iterator[tuple[float, Measured]]:
    return zip(numbers(runs, COPIES), runs, strict=True)


def changes_its_runs(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    for run in runs:
        run._run.notes.append("judged")
    return judged(check, numbers(runs, COPIES))


def is_red_at_the_truth(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    return judged(check, [1.0 + copies for copies in numbers(runs, COPIES)])


def sees_nothing(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    return judged(check, [0.0 * copies for copies in numbers(runs, COPIES)])


def wants_a_share(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    return judged(check, numbers(runs, COPIES), alpha=given.share)


def says(**changes: Any) -> Judge:
    """A judge whose outcomes are right but for ``changes``."""
    return lambda check, runs, given: judged(check, numbers(runs, COPIES), **changes)


def differs_each_time() -> Judge:
    count = itertools.count(1)
    return lambda check, runs, given: judged(check, numbers(runs, COPIES), n=next(count))


EXACT: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"name": "other"}, "calls itself 'other'"),
    "no claim": ({"claim": ""}, "names no claim"),
    "no likely causes": ({"likely_causes": ""}, "names no likely causes"),
    "no needs": ({"needs": ()}, "names no needs"),
    "exact with an effect": ({"effect": lambda runs: 1.0}, "is exact: there is no effect"),
    "an idle need": ({"needs": (COPIES, "eta")}, "needs eta, and its outcome is the same without"),
    "missing is zero": ({"judge": takes_a_missing_number_for_zero}, r"is pass without .*copies not measured"),
    "missing is not named": ({"judge": does_not_say_what_is_missing}, "does not say what is missing .*copies"),
    "missing is an error": ({"judge": does_not_expect_a_missing_number}, "raises TypeError.*copies not measured"),
    "a need unsaid": ({"judge": reads_what_it_does_not_name}, "reads agreement.repeated, which its needs do not name"),
    "a need gone round": ({"judge": reads_past_what_it_names}, "reads agreement.draws, which its needs do not name"),
    "a changed record": ({"judge": changes_its_runs}, "changes the runs that it judges"),
    "red at the truth": ({"judge": is_red_at_the_truth}, r"is red on correct runs \(two batches\)"),
    "blind": ({"judge": sees_nothing}, "does not see the fault 'copies': wrong: pass"),
    "a share": ({"judge": wants_a_share}, "is exact, and its outcome depends on alpha"),
    "chance": ({"judge": None}, "judged twice, the same runs give"),
    "an outcome of another name": ({"judge": says(name="other")}, "its outcome is named 'other'"),
    "no null hypothesis": ({"judge": says(null="")}, "its outcome has no null hypothesis"),
    "no unit": ({"judge": says(unit="")}, "its outcome has no unit"),
    "no effect": ({"judge": says(effect=None)}, "its outcome has no effect"),
    "a p-value": ({"judge": says(p_value=0.5)}, "is exact, and its outcome has a p-value"),
    "an outcome that cannot be stored": ({"judge": says(ci=(np.nan, np.nan))}, "another one once it was stored"),
    "no cause of a failure": ({"judge": says(likely_causes="")}, "does not say what a failure points to"),
}


@pytest.mark.parametrize("fault", EXACT)
@pytest.mark.parametrize(("kind", "check"), [("checks", check_check), ("bookkeeping", check_identity)])
def test_what_is_wrong_is_said(added: Callable[..., None], kind: str, check: Callable[..., None], fault: str) -> None:
    changes, said = EXACT[fault]
    if fault == "chance":
        changes = {"judge": differs_each_time()}
    added(replace(RIGHT, **changes), kind)
    with pytest.raises(AssertionError, match=rf"^{registry.KINDS[kind].noun} wrong.*{said}"):
        check("wrong", FAULTS)


@pytest.mark.parametrize(("kind", "check"), [("checks", check_check), ("bookkeeping", check_identity)])
def test_without_a_fault_it_is_right(added: Callable[..., None], kind: str, check: Callable[..., None]) -> None:
    added(RIGHT, kind)
    check("wrong", FAULTS)
    check("wrong")
    with pytest.raises(AssertionError, match="give a fault that it has to see"):
        check("wrong", {})
    with pytest.raises(AssertionError, match="does not see the fault 'none': wrong: pass"):
        check("wrong", {"none": list})
    (runs,) = [FAULTS["copies"](simulated_runs.simulated([8]))]
    with pytest.raises(AssertionError, match="does not pass the runs given: wrong: fail|is red on correct runs"):
        check("wrong", FAULTS, runs=runs)


def test_one_that_changes_its_runs_leaves_others_as_they_are(added: Callable[..., None]) -> None:
    added(replace(RIGHT, judge=changes_its_runs))
    with pytest.raises(AssertionError, match="changes the runs that it judges"):
        check_check("wrong", FAULTS)
    assert not any("judged" in run.notes for runs in recorded.forms().values() for run in runs)


def test_one_that_passes_nowhere_is_refused(added: Callable[..., None]) -> None:
    added(replace(RIGHT, judge=says(verdict="inconclusive", reason="copies")))
    with pytest.raises(AssertionError, match="passes on none of two batches, .*: give runs that it must pass"):
        check_check("wrong", FAULTS)


def test_a_statistical_identity_is_refused(added: Callable[..., None]) -> None:
    added(replace(RIGHT, statistical=True), "bookkeeping")
    with pytest.raises(AssertionError, match="is statistical: what stored numbers keep has no error rate"):
        check_identity("wrong", FAULTS)


# ---------------------------------------------------------------------- statistical


def score(check: Check, runs: Runs, given: Given, **changes: Any) -> CheckOutcome:
    values = np.concatenate([run.scalars(SCORE) for run in runs])
    return replace(mean_zero(check, runs, given, values), **changes)


def with_its_own_share(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    return score(check, runs, replace(given, alpha=1e-3))


def with_another_share(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    assert given.share
    return with_its_own_share(check, runs, given)


def above_only(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    outcome = score(check, runs, given)
    return replace(outcome, verdict="pass") if outcome.effect is not None and outcome.effect < 0 else outcome


def outcomes(**changes: Any) -> Judge:
    return lambda check, runs, given: score(check, runs, given, **changes)


def half_the_effect(check: Check, runs: Runs, given: Given) -> CheckOutcome:
    outcome = score(check, runs, given)
    interest = outcome.effect_of_interest
    return outcome if interest is None else replace(outcome, effect_of_interest=0.5 * interest)


STATISTICAL: dict[str, tuple[dict[str, Any], str]] = {
    "no share": ({"judge": with_its_own_share}, "judges without a share alpha"),
    "another share": ({"judge": with_another_share}, "was given alpha 0.002, and took 0.001"),
    "one side": ({"judge": above_only}, "does not see the fault 'below'"),
    "no p-value": ({"judge": outcomes(p_value=None)}, "is statistical, and its outcome has no p-value"),
    "nothing detectable": ({"judge": outcomes(minimum_detectable_effect=None)}, "which effect it could have seen"),
    "no effect of interest": ({"judge": outcomes(effect_of_interest=None)}, "leaves out the effect of interest"),
    "another effect": ({"judge": half_the_effect}, r"effect of interest .*, its outcome"),
    "blind": ({"judge": outcomes(minimum_detectable_effect=1e9)}, "could not have seen its effect of interest"),
}


@pytest.mark.parametrize("fault", STATISTICAL)
def test_what_is_wrong_with_a_statistical_check_is_said(added: Callable[..., None], fault: str) -> None:
    changes, said = STATISTICAL[fault]
    added(replace(statistical(), **changes))
    with pytest.raises(AssertionError, match=rf"^check wrong.*{said}"):
        check_check("wrong", by_its_effect("above", "below"), runs=simulated(), alpha=2e-3)


def test_a_fault_is_wanted_on_each_side(added: Callable[..., None]) -> None:
    added(statistical())
    check_check("wrong", by_its_effect("above", "below"), runs=simulated(), alpha=2e-3)
    for side, other in (("above", "below"), ("below", "above")):
        with pytest.raises(AssertionError, match=f"no fault puts its estimate {other} the truth"):
            check_check("wrong", by_its_effect(side), runs=simulated(), alpha=2e-3)
        check_check("wrong", by_its_effect(side), runs=simulated(), two_sided=False, alpha=2e-3)


def statistical() -> Check:
    own = registry.get("checks", "score_identity", Check)
    return replace(own, name="wrong", judge=score)


def simulated() -> list[RunRecord]:
    return simulated_runs.simulated([32] * 15)


def by_its_effect(*sides: str) -> dict[str, Fault]:
    def put_off(sign: int) -> Fault:
        by = sign * simulated_runs.size_of_the_effect("score_identity", simulated())
        change = simulated_runs.CHANGES["score_identity"][0]
        return on_every_run(lambda run: change(run, by))

    return {side: put_off(1 if side == "above" else -1) for side in sides}
