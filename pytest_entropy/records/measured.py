"""A run's measured fields by name, for checks: a field that was not measured raises, and never counts as a number."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.update import Sample


class Missing(Exception):
    """A measured field that a check needs is not in a run's record."""


class Undeclared(LookupError):
    """A check reads a field that its ``needs`` do not name."""


class Measured:
    """One run as a check reads it.

    Fields are named as the record has them, with dots: ``delta_h1``, ``agreement.definition``, ``update.oracle_gap``,
    ``diagnostics.score``, ``arrays.ranks``; ``entropy_term`` is <X_n, u> itself, ``asked`` the configured diagnostics.

    Args:
        run: the record.
        needs: the fields that may be read.
    """

    def __init__(self, run: RunRecord, needs: Collection[str]) -> None:
        self._run, self._needs = run, needs

    def number(self, name: str) -> float:
        """The measured number ``name``.

        Raises:
            Missing: it is None, NaN, or no number.
            Undeclared: ``needs`` do not name it.
            AttributeError: a name that no run could have.
        """
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise self._missing(name)
        return float(value)

    def scalars(self, name: str) -> np.ndarray:
        """The numbers ``name`` ``[B_E]``, one for each prompt: ``per_prompt``, ``entropy_term``, a diagnostic.

        Raises:
            Missing: they are absent, or not one for each prompt.
            Undeclared: ``needs`` do not name them.
        """
        values = self._value(name)
        if values is None or len(values) != self._run.B_E:
            raise self._missing(f"{name} for each of its prompts")
        return np.asarray(values, dtype=float)

    def rows(self, name: str) -> list[Any]:
        """The list ``name``, such as ``update.prompts``.

        Raises:
            Missing: it is absent or empty.
            Undeclared: ``needs`` do not name it.
        """
        value = self._value(name)
        if not value:
            raise self._missing(name)
        return list(value)

    def array(self, name: str) -> np.ndarray:
        """The array ``name`` (``arrays.ranks``) kept beside the record.

        Raises:
            Missing: it is absent.
            Undeclared: ``needs`` do not name it.
        """
        value = self._value(name)
        if value is None:
            raise self._missing(f"array {name.removeprefix('arrays.')}")
        return np.asarray(value)

    def was_asked(self, diagnostic: str) -> bool:
        """Whether ``diagnostic`` was configured for the run.

        Raises:
            Missing: the record does not say what was.
            Undeclared: ``needs`` do not name ``asked``.
        """
        asked = self._value("asked")
        if asked is None:
            raise Missing(f"{self._place} does not say which diagnostics were asked for")
        return diagnostic in asked

    def has(self, name: str) -> bool:
        """Whether the field ``name`` is there at all.

        Raises:
            Undeclared: ``needs`` do not name it.
        """
        return self._value(name) is not None

    def _value(self, name: str) -> Any:
        if name not in self._needs:
            raise Undeclared(f"a check reads {name}, which its needs do not name: {', '.join(self._needs) or 'none'}")
        part, dot, key = name.partition(".")
        value = getattr(self._run, part)
        if not dot:
            return value
        return value.get(key) if isinstance(value, dict) else getattr(value, key)

    def _missing(self, what: str) -> Missing:
        return Missing(f"{self._place} has no {what}")

    @property
    def _place(self) -> str:
        return f"B_E {self._run.B_E} run {self._run.run}"

    # What a run is, rather than what it has measured, needs no declaration.

    @property
    def B_E(self) -> int:
        """The number of prompts of the entropy batch."""
        return self._run.B_E

    @property
    def run(self) -> int:
        """Which of the runs at this B_E it is."""
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
        """Whether update and entropy gradient share the batch."""
        return self._run.mode == "u_statistic"

    @property
    def is_per_token(self) -> bool:
        """Whether delta_h1 is in nats per token."""
        return self._run.unit == "nats per token"

    @property
    def rewards_rechecked(self) -> bool | None:
        """Whether the reward function was asked twice; None of a record that does not say."""
        return self._run.update.rewards_rechecked

    @property
    def update_rule(self) -> str:
        """The rule of the update, as recorded with it."""
        return self._run.update.rule

    @property
    def sample(self) -> Sequence[Sample]:
        """Rewarded responses of an update that moves nothing, for people to read."""
        return self._run.update.sample
