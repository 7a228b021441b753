"""The report of one test item to the xdist controller, JUnit and the terminal, as pytest's ``user_properties``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats.signal import signal_to_noise

Property = tuple[str, object]
# Property names that differ from the field's name.
_NAMES = {
    "experiment": "entropy_experiment",
    "directory": "entropy_directory",
    "verdict": "entropy_verdict",
    "reason": "entropy_reason",
    "inconclusive": "entropy_inconclusive",
    "pilot": "entropy_pilot",
}
_P_VALUE = "entropy_p_"
# Fields that are no property, or a property per entry.
_NO_PROPERTIES = ("nodeid", "outcome", "p_values")
# Properties that every run reports, even if the value is None.
_OF_A_RUN = ("se_conditional", "mode", "sampling_fraction", "signal_to_noise", "unit")


def run_id(B_E: int, run: int) -> str:
    """The id of a run's test item.

    >>> run_id(16, 1)
    'BE016-run001'

    Args:
        B_E: prompts of its entropy batch.
        run: its number at this B_E.
    """
    return f"BE{B_E:03d}-run{run:03d}"


@dataclass(frozen=True, kw_only=True)
class ItemReport:
    """The report of one item, or a part of it with only some fields set: an item may report in several parts.

    Attributes:
        experiment, directory: name and directory of the item's experiment; empty if it belongs to none.
        B_E, run: the run that the item requested, whether or not the run has a result.
        delta_h1: the run's result, as are the fields after it, named as in :class:`RunRecord`; None without a result.
        signal_to_noise, signal_to_noise_label: |SE / delta_h1|, and the same in a word.
        seconds: the run's wall time over all phases.
        stored: whether the result was stored by an earlier session.
        verdict, reason: the item's conclusion, and the reason for it.
        inconclusive: the message of the check that could not decide.
        pilot: what the first runs say of the number that a target of the error takes, in words.
        attempts: executions of the item in this session, where it was executed more than once.
        p_values: by name of the check; None for a deterministic check.
        nodeid, outcome: pytest's id and outcome of the item; they are not properties.
    """

    experiment: str = ""
    directory: str = ""
    B_E: int | None = None
    run: int | None = None
    delta_h1: float | None = None
    se_conditional: float | None = None
    se_total: float | None = None
    variance_total: float | None = None
    notes: list[str] = field(default_factory=list)
    mode: str = "two_batch"
    sampling_fraction: float | None = None
    signal_to_noise: float | None = None
    signal_to_noise_label: str = ""
    unit: str = "nats per response"
    seconds: float | None = None
    peak_memory_mb: float | None = None
    entropy_mean: float | None = None
    stored: bool | None = None
    verdict: str = ""
    reason: str = ""
    inconclusive: str = ""
    attempts: int | None = None
    pilot: str = ""
    p_values: dict[str, float | None] = field(default_factory=dict)
    nodeid: str = ""
    outcome: str = ""

    @classmethod
    def of_run(cls, result: RunRecord, *, stored: bool) -> ItemReport:
        """The part of a report that holds a run's measurements.

        Args:
            result: the run.
            stored: whether an earlier session stored it.
        """
        ratio, label = signal_to_noise(result.delta_h1, result.se_conditional)
        return cls(
            B_E=result.B_E,
            run=result.run,
            delta_h1=result.delta_h1,
            se_conditional=result.se_conditional,
            se_total=result.se_total,
            variance_total=result.variance_total,
            notes=list(result.notes),
            mode=result.mode,
            sampling_fraction=result.sampling_fraction,
            signal_to_noise=ratio,
            signal_to_noise_label=label,
            unit=result.unit,
            seconds=round(sum(result.seconds.values()), 4),
            peak_memory_mb=round(result.peak_memory_mb, 1),
            entropy_mean=result.entropy_mean,
            stored=stored,
        )

    @property
    def update_fingerprint(self) -> float | None:
        """Not reported: an item's report is read alone."""
        return None

    @property
    def name(self) -> str:
        """The item's name, without the module's."""
        return self.nodeid.rpartition("::")[2]

    def to_properties(self) -> list[Property]:
        """The set fields as pytest's ``user_properties``: pairs of name and plain builtin."""
        properties: list[Property] = []
        for name, key in _properties().items():
            value = getattr(self, name)
            is_set = value is not None and value not in ("", [])
            if self.delta_h1 is not None if name in _OF_A_RUN else is_set:
                properties.append((key, "; ".join(value) if name == "notes" else value))
        return properties + [(_P_VALUE + check, p_value) for check, p_value in self.p_values.items()]

    @classmethod
    def from_properties(
        cls, properties: Iterable[tuple[object, Any]], *, nodeid: str = "", outcome: str = ""
    ) -> ItemReport:
        """Merge the parts of an item's report; the last value of a property counts, other plugins' properties do not.

        Args:
            properties: the item's ``user_properties``.
            nodeid: pytest's id of the item.
            outcome: pytest's outcome of the item.
        """
        by_name = {str(name): value for name, value in properties}
        values = {name: by_name[key] for name, key in _properties().items() if key in by_name}
        if "notes" in values:
            # The property holds all notes joined to one text.
            values["notes"] = [str(values["notes"])]
        p_values = {name.removeprefix(_P_VALUE): p for name, p in by_name.items() if name.startswith(_P_VALUE)}
        return cls(**{**values, "p_values": p_values, "nodeid": nodeid, "outcome": outcome})


@cache
def _properties() -> dict[str, str]:
    """The name of the property of each field that is one, in the order of fields."""
    return {one.name: _NAMES.get(one.name, one.name) for one in fields(ItemReport) if one.name not in _NO_PROPERTIES}
