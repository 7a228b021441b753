"""What a test item tells its controller, JUnit and the terminal: plain values that ride on pytest's report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats.signal import signal_to_noise

Property = tuple[str, object]
# Names of the properties where they are not the field's.
_NAMES = {
    "experiment": "entropy_experiment",
    "directory": "entropy_directory",
    "verdict": "entropy_verdict",
    "reason": "entropy_reason",
    "inconclusive": "entropy_inconclusive",
}
_P_VALUE = "entropy_p_"
# Of a run these are said even where they are None.
_OF_A_RUN = ("se_conditional", "mode", "sampling_fraction", "signal_to_noise", "unit")


@dataclass(frozen=True, kw_only=True)
class ItemReport:
    """What one item reports; an item says it in parts, each of them a report that holds a few fields.

    Attributes:
        experiment, directory: the experiment the item belongs to; empty for an item of none.
        B_E, run: the run it asked for, whether that has a result or failed.
        delta_h1: the result's, as the fields after it, by the names of :class:`RunRecord`; None without a result.
        seconds: of the run, all phases.
        stored: whether the run was there before.
        verdict, reason: what the item concluded.
        inconclusive: the message of the check that could not decide.
        p_values: by name of the check; None of a deterministic one.
        nodeid, outcome: pytest's name of the item, and what became of it; no properties.
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
    p_values: dict[str, float | None] = field(default_factory=dict)
    nodeid: str = ""
    outcome: str = ""

    @classmethod
    def of_run(cls, result: RunRecord, *, stored: bool) -> ItemReport:
        """The part that says what a run measured."""
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
    def name(self) -> str:
        """The item's name without its module's."""
        return self.nodeid.rpartition("::")[2]

    def to_properties(self) -> list[Property]:
        """``user_properties`` of the item: names and plain builtins; what this part does not say is left out."""
        found: list[Property] = []
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in ("nodeid", "outcome", "p_values"):
                continue
            told = value is not None and value not in ("", [])
            if self.delta_h1 is not None if one.name in _OF_A_RUN else told:
                found.append((_NAMES.get(one.name, one.name), "; ".join(value) if one.name == "notes" else value))
        return found + [(_P_VALUE + check, p_value) for check, p_value in self.p_values.items()]

    @classmethod
    def from_properties(
        cls, properties: Iterable[tuple[object, Any]], *, nodeid: str = "", outcome: str = ""
    ) -> ItemReport:
        """The parts of an item put together; later ones win, and other plugins' properties are left aside."""
        told = {str(name): value for name, value in properties}
        known = {one.name: _NAMES.get(one.name, one.name) for one in fields(cls) if one.name != "p_values"}
        found = {name: told[key] for name, key in known.items() if key in told}
        if "notes" in found:
            # They were joined to one text.
            found["notes"] = [str(found["notes"])]
        p_values = {name.removeprefix(_P_VALUE): p for name, p in told.items() if name.startswith(_P_VALUE)}
        return cls(**{**found, "p_values": p_values, "nodeid": nodeid, "outcome": outcome})
