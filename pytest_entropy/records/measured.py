"""A run's measured fields by name, as checks read them: reading a field that was not measured raises an error."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import Sample


class Missing(Exception):
    """A run's record lacks a field that a check reads."""


class Undeclared(LookupError):
    """A check reads a field that its ``needs`` do not declare."""


class Measured:
    """One run as a check reads it: the declared fields only, and only those that were measured.

    Fields are named by their dotted path in the record: ``delta_h1``, ``agreement.definition``, ``update.oracle_gap``,
    ``diagnostics.score``, ``arrays.ranks``; ``entropy_term`` is <X_n, u> itself, ``asked`` the configured diagnostics.

    Args:
        run: the run's record.
        needs: the names of the fields that may be read.
    """

    # Each check makes one for each run.
    __slots__ = ("_needs", "_run")

    def __init__(self, run: RunRecord, needs: Collection[str]) -> None:
        self._run, self._needs = run, needs

    def number(self, name: str) -> float:
        """The number in field ``name``.

        Raises:
            Missing: the value is None, NaN, or not a number.
            Undeclared: ``needs`` do not declare the field.
            AttributeError: records have no such field.
        """
        value = self._value(name)
        if type(value) is float and value == value:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise self._missing(name)
        return float(value)

    def scalars(self, name: str) -> np.ndarray:
        """The per-prompt numbers in field ``name``, ``[B_E]``: ``per_prompt``, ``entropy_term``, or a diagnostic.

        Raises:
            Missing: the field is absent, or does not hold one number per prompt.
            Undeclared: ``needs`` do not declare the field.
        """
        values = self._value(name)
        if values is None or len(values) != self._run.B_E:
            raise self._missing(f"{name} for each of its prompts")
        return np.asarray(values, dtype=float)

    def rows(self, name: str) -> list[Any]:
        """The list in field ``name``, such as ``update.prompts``.

        Raises:
            Missing: the list is absent or empty.
            Undeclared: ``needs`` do not declare the field.
        """
        value = self._value(name)
        if not value:
            raise self._missing(name)
        return list(value)

    def words(self, name: str) -> list[str]:
        """The list of words in field ``name``, such as ``state_changed``, which may be empty.

        Raises:
            Missing: there is no list.
            Undeclared: ``needs`` do not declare the field.
        """
        value = self._value(name)
        if value is None:
            raise self._missing(name)
        return list(value)

    def array(self, name: str) -> np.ndarray:
        """The array in field ``name``, such as ``arrays.ranks``, which is stored beside the record.

        Raises:
            Missing: the array is absent.
            Undeclared: ``needs`` do not declare the field.
        """
        value = self._value(name)
        if value is None:
            raise self._missing(f"array {name.removeprefix('arrays.')}")
        return np.asarray(value)

    def was_asked(self, diagnostic: str) -> bool:
        """Whether ``diagnostic`` was configured for the run.

        Raises:
            Missing: the record does not list the configured diagnostics.
            Undeclared: ``needs`` do not declare ``asked``.
        """
        asked = self._value("asked")
        if asked is None:
            raise Missing(f"{self._label} does not say which diagnostics were asked for")
        return diagnostic in asked

    def has(self, name: str) -> bool:
        """Whether field ``name`` has a value other than None.

        Raises:
            Undeclared: ``needs`` do not declare the field.
        """
        return self._value(name) is not None

    def _value(self, name: str) -> Any:
        if name not in self._needs:
            raise Undeclared(f"a check reads {name}, which its needs do not name: {', '.join(self._needs) or 'none'}")
        part, dot, key = name.partition(".")
        value = getattr(self._run, part)
        if not dot:
            return value
        return value.get(key) if isinstance(value, Mapping) else getattr(value, key)

    def _missing(self, what: str) -> Missing:
        return Missing(f"{self._label} has no {what}")

    @property
    def _label(self) -> str:
        return f"B_E {self._run.B_E} run {self._run.run}"

    # Properties that describe a run, as opposed to measured ones, need no declaration.

    @property
    def B_E(self) -> int:
        """The number of prompts of the entropy batch."""
        return self._run.B_E

    @property
    def run(self) -> int:
        """The number of the run among the runs at this B_E."""
        return self._run.run

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self._run.seed

    @property
    def estimator(self) -> str:
        """The name of the run's estimator."""
        return self._run.estimator

    @property
    def is_single_batch(self) -> bool:
        """Whether update and entropy gradient come from one batch (mode ``u_statistic``)."""
        return self._run.mode == "u_statistic"

    @property
    def is_per_token(self) -> bool:
        """Whether delta_h1 is in nats per token."""
        return self._run.unit == "nats per token"

    @property
    def companions(self) -> int | None:
        """Companion reads of each prompt; None if the record does not state it, and may have some.

        A run of an older version has none, and no <X_n, u> beside its scalars per response.
        """
        run = self._run
        older = run.companions.count is None and run.estimator not in run.diagnostics
        return 0 if older or run.is_other_unit else run.companions.count

    @property
    def rewards_rechecked(self) -> bool | None:
        """Whether rewards were computed a second time for comparison; None if the record does not state it."""
        return self._run.update.rewards_rechecked

    @property
    def reading_differs(self) -> Mapping[str, Mapping[str, float]]:
        """By field of the second reading what differs, and by how much."""
        return self._run.reading.differing

    @property
    def reading_unread(self) -> Mapping[str, str]:
        """By field of the second reading what was not read a second time, and why."""
        return self._run.reading.unread

    @property
    def update_rule(self) -> str:
        """The name of the update rule, as recorded with the update."""
        return self._run.update.rule

    @property
    def sample(self) -> Sequence[Sample]:
        """Up to two rewarded responses for people to read, if rewards are equal within every group; else none."""
        return self._run.update.sample
