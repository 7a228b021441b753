"""What a run says of its phases before they start, and the tokens that they count, in a real tiny run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.prompts import Prompt
from pytest_entropy.records import phases
from pytest_entropy.records.phases import Phase

PROMPTS = [Prompt(f"Tom has {i} apples and buys {i % 7} more.", {"answer": str(i + i % 7)}) for i in range(400)]
G, LIMIT, B_U, B_E = 3, 6, 4, 5
OF_UPDATE = ["sampling", "reward", "gradient", "oracle", "learning"]
# The update's side of the total variance comes first: the pass of a small run takes its vectors along.
OF_RUN = ["sampling", "self_check", "derivatives", "reading", "definition", "total_variance", "evidence"]


class Entered(logging.Handler):
    """The phases in the order in which they were announced, as they are then and later."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[Phase] = []
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        phase = phases.current()
        assert phase is not None
        assert phase.done == 0
        self.phases.append(phase)
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def entered(checkpoint: Path) -> Entered:
    """The phases of an update and a run."""
    handler, logger = Entered(), logging.getLogger(phases.__name__)
    config = ProbeConfig(
        B_U=B_U, G=G, max_new_tokens=LIMIT, diagnostics=("definition", "ranks", "total_variance"), chunk_tokens=60
    )
    probe = EntropyProbe(
        load_checkpoint(checkpoint), config, prompts=PROMPTS, reward=lambda completions, **_: [*map(len, completions)]
    )
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        probe.run(B_E, update=probe.update(0))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return handler


def test_every_phase_is_announced_before_it_counts_a_token(entered: Entered) -> None:
    assert [phase.name for phase in entered.phases] == OF_UPDATE + OF_RUN
    assert entered.lines[0] == f"phase sampling: {B_U * G * LIMIT} tokens"
    assert entered.lines[1] == "phase reward: no tokens to process"
    assert phases.current() is None


def test_sampling_counts_at_most_what_was_planned(entered: Entered) -> None:
    sampled = [phase for phase in entered.phases if phase.name == "sampling"]
    assert [phase.tokens for phase in sampled] == [B_U * G * LIMIT, B_E * G * LIMIT]
    assert all(0 < phase.done <= B_U * G * LIMIT for phase in sampled[:1])


def test_one_pass_counts_the_tokens_that_were_planned_and_its_padding(entered: Entered) -> None:
    for name in ("gradient", "derivatives", "evidence"):
        (phase,) = (phase for phase in entered.phases if phase.name == name)
        assert phase.passes == 1
        assert phase.tokens is not None
        assert phase.tokens <= phase.done <= B_E * G * LIMIT


def test_passes_of_unknown_number_say_so_and_are_counted(entered: Entered) -> None:
    for name, times in (("definition", 1), ("oracle", 1), ("learning", 1), ("total_variance", 1)):
        found = [phase for phase in entered.phases if phase.name == name]
        assert len(found) == times
        assert {phase.passes for phase in found} == {None}
        # The definition is computed in plain loops, which share no code with pieces and count nothing.
        assert any(phase.done > 0 for phase in found) or name == "definition"
        assert all(phase.planned == f"passes over {phase.tokens} tokens" for phase in found)


def test_a_failed_phase_is_left(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), phases.working_on(tmp_path), phases.entered("reward"):
        1 / 0  # noqa: B018
    assert phases.current() is None
    phases.report(5)
    with phases.entered("sampling", 7):
        inside = phases.current()
    assert inside is not None
    assert (inside.work, inside.done) == (None, 0)
