"""The gate's comparison and a saved baseline, recomputed from the two files, and each planted fault named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.baselines import compare as gate
from pytest_entropy.baselines.baseline_file import load_baseline, save, snapshot
from pytest_entropy.baselines.compare_directories import to_rows
from pytest_entropy.baselines.rules import DEFAULT, parse_rules
from pytest_entropy.records.baseline import BaselineRun
from pytest_entropy.records.comparison import Comparison, SideErrors
from pytest_entropy.records.files import write_json
from pytest_entropy.reports.audit.gate import comparison, saved_baseline
from pytest_entropy.reports.audit.ledger import Ledger
from pytest_entropy.reports.audit.stored_run import look_before, read_stored
from tests.unit.reports.stored import store_experiment

RULES = ("delta_h1:5%,entropy:2%,signal_to_noise:20%", "delta_h1~0.01,entropy:-0.01,signal_to_noise~30%")


def pair(root: Path) -> tuple[Path, Path]:
    """An experiment with a longer step and a little more entropy than its baseline; the baseline's file."""
    directory = store_experiment(root, sizes=(16, 32))
    config = {"experiment": "batch_scaling", "sampling_fraction": 0.1}
    file = save(root / "base.json", "base", [directory])
    for number, place in enumerate(sorted(directory.glob("*/results.json"))):
        record = json.loads(place.read_text()) | {"sampling_fraction": config["sampling_fraction"]}
        s = [1.04 * one + 3 * (n % 3) * (number + 1) for n, one in enumerate(record["per_prompt"])]
        record |= {"per_prompt": s, "entropy_mean": 1.76 + 0.01 * number}
        place.write_text(json.dumps(record))
    return directory, file


def audited(root: Path, rules: str = RULES[0]) -> list[str]:
    directory, file = pair(root)
    before, after = load_baseline(file).experiments["batch_scaling"], snapshot(directory)
    before = replace(before, update=after.update)
    compared = gate.compare(before, after, parse_rules([rules]), alpha=1e-3)
    pairs = gate.paired_runs(before, after)
    words = f"{len(pairs)} of {len(after.runs)} runs paired by seed and B_E"
    record = Comparison(baseline="base", pairing=words, quantities=to_rows(compared))
    write_json(directory / "comparison.json", record.to_dict())
    ledger = Ledger()
    runs = read_stored(directory, sorted(look_before(directory).runs))
    comparison(ledger, directory, file, "batch_scaling", runs.values())
    return [line for found in ledger.found.values() for line in found]


@pytest.mark.parametrize("rules", [DEFAULT, *RULES])
def test_a_comparison_agrees_with_the_two_files(tmp_path: Path, rules: str) -> None:
    assert audited(tmp_path, rules) == []


def exchange(patch: pytest.MonkeyPatch) -> None:
    pairs = gate.paired_runs
    patch.setattr(gate, "paired_runs", lambda before, after: [(new, old) for old, new in pairs(before, after)])


def itself(patch: pytest.MonkeyPatch) -> None:
    pairs = gate.paired_runs
    patch.setattr(gate, "paired_runs", lambda before, after: [(new, new) for _, new in pairs(before, after)])


def without_eta(patch: pytest.MonkeyPatch) -> None:
    scaled = gate._scaled
    patch.setattr(gate, "_scaled", lambda pairs, side: 1e3 * scaled(pairs, side))


def other_errors(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gate, "side_errors", lambda runs, single_batch: SideErrors(se_conditional=0.5))


FAULTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "sides exchanged": (exchange, "delta_h1 of the baseline is"),
    "a run compared with itself": (itself, "the difference of delta_h1 is 0"),
    "another unit": (without_eta, "delta_h1 now is"),
    "other errors": (other_errors, "errors_before.se_conditional of delta_h1 is 0.5"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_of_the_gate_is_named(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, words = FAULTS[fault]
    plant(monkeypatch)
    found = audited(tmp_path)
    assert any(words in line for line in found), found


def test_a_saved_baseline_has_the_runs_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = store_experiment(tmp_path)
    runs = read_stored(directory, sorted(look_before(directory).runs))

    def found(file: Path) -> list[str]:
        ledger = Ledger()
        saved_baseline(ledger, file, "batch_scaling", runs.values())
        return ledger.lines()

    assert found(save(tmp_path / "base.json", "base", [directory])) == []
    real: Any = BaselineRun.of.__func__  # type: ignore[attr-defined]
    tenfold = classmethod(lambda cls, run: replace(real(cls, run), entropy_se=10 * run.entropy_se))
    monkeypatch.setattr(BaselineRun, "of", tenfold)
    (line,) = found(save(tmp_path / "wrong.json", "wrong", [directory]))
    assert "entropy_se of B_E 8 run 1" in line
