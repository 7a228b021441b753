"""A planted fault: what it breaks, how far it moves a reported number, and what a message that names it would say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_entropy.prompts.prompt import PromptSet

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Sessions:
    """Whole sessions in one directory, in which a fault of stage ``session`` shows.

    Attributes:
        commands: the arguments of each session, one after the other.
        reads: the wrong number or text in the directory after the last session.
        reference: the arguments of the sessions of the correct program, where they are others.
        before: lays out the directory before the first session.
        between: what happens after the first session; it is given the fault's patch, which it may undo.
    """

    commands: tuple[tuple[str, ...], ...]
    reads: Callable[[Path], float | str]
    reference: tuple[tuple[str, ...], ...] | None = None
    before: Callable[[Path], None] | None = None
    between: Callable[[pytest.MonkeyPatch, Path], None] | None = None


@dataclass(frozen=True)
class PlantedFault:
    """One fault of the running program.

    Attributes:
        name: in a few words.
        kind: one of the six kinds, the name of its module.
        plant: breaks the program by patches; ``pytest.MonkeyPatch.undo`` repairs it.
        causes: words in lower case, any of which a message that names the cause would hold.
        settings: of the probe, in addition to the demo's.
        runs: runs of the sanity check until it shows.
        stage: ``run`` (a probe and its checks), or ``session`` (whole sessions of pytest).
        number: the reported number that is wrong, a dotted field of a run's record or the name of an array.
        prepare: changes the copy of the demo's files, for the correct program as well.
        prompts: the set of prompts, for the correct program as well; the demo's if left out.
        fresh_updates: every run takes an update of its own.
        sessions: of stage ``session``.
    """

    name: str
    kind: str
    plant: Plant
    causes: tuple[str, ...]
    settings: Mapping[str, object] = field(default_factory=dict)
    runs: int = 1
    stage: Literal["run", "session"] = "run"
    number: str = "delta_h1"
    prepare: Callable[[Path], None] | None = None
    prompts: Callable[[], PromptSet] | None = None
    fresh_updates: bool = False
    sessions: Sessions | None = None


def wrap(patch: pytest.MonkeyPatch, owner: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Replace the attribute by ``change`` of it; an attribute that has moved is an error."""
    patch.setattr(owner, name, change(getattr(owner, name)))


def after(patch: pytest.MonkeyPatch, owner: Any, name: str, change: Callable[[Any], Any]) -> None:
    """Make the function return ``change`` of what it returns."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **named: change(real(*arguments, **named))

    wrap(patch, owner, name, changed)


def after_rewards(
    patch: pytest.MonkeyPatch, owner: Any, change: Callable[[list[list[float]]], list[list[float]]]
) -> None:
    """Change the rewards ``[P][G]`` of an update batch after they were computed."""
    after(patch, owner, "evaluate_terms", lambda found: replace(found, totals=change(found.totals)))
