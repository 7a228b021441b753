"""Correct runs for checks to judge: a tiny policy, measured by the real probe in every form that a check may meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pytest_entropy import registry
from pytest_entropy.checkpoints import Checkpoint, load_checkpoint
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.run import RunRecord
from pytest_entropy.rewards import NamedReward
from pytest_entropy.settings.model import ExperimentConfig
from pytest_entropy.testing import tiny

Forms = Mapping[str, list[RunRecord]]
PROMPTS = [Prompt(f"Tom has {n} apples and buys {n % 7} more.", {"answer": str(n + n % 7)}) for n in range(1600)]
SIZES = {"B_U": 4, "G": 3, "max_new_tokens": 6}
# As many as a session of full size expects, so that no check is left undecided for want of them.
SURPRISES = 1e3
REWARD = "length_of_recorded_runs"


@cache
def forms() -> Forms:
    """Runs by what they are: of two batches with everything that any check looks at, of two sizes, without a sweep,
    per token, of single batches, of a bfloat16 base.  They are made once for the process (some
    seconds); do not change them."""
    with TemporaryDirectory() as root:
        place = tiny.save_seed_checkpoint(Path(root))
        loaded, coarse = load_checkpoint(place), load_checkpoint(place, dtype="bfloat16")
    # Only of a reward that is known to be repeatable is it measured whether rewards are their completions' own.
    registry.add("rewards", REWARD, NamedReward(_length, repeatable=True))
    try:
        return _measured(loaded, coarse)
    finally:
        registry.forget("rewards", REWARD)


def _measured(loaded: Checkpoint, coarse: Checkpoint) -> Forms:
    def probe(of: Checkpoint = loaded, **more: Any) -> EntropyProbe:
        return EntropyProbe(of, ProbeConfig(**{**SIZES, **more}), prompts=PROMPTS, reward=_length)

    checked: Any = ExperimentConfig(diagnostics=True).probe_settings()["diagnostics"]
    everything = probe(diagnostics=(*checked, "total_variance", "eta_sweep")).run
    two = [_with_surprises(everything(16, 1, run=run)) for run in (1, 2)]
    small = [_with_surprises(everything(6, 1, run=run)) for run in (1, 2)]
    per_token = probe(entropy_unit="token", diagnostics=("definition",)).run
    rough = probe(coarse, diagnostics=(*checked, "total_variance")).run
    rough_per_token = probe(coarse, entropy_unit="token", diagnostics=("definition",)).run
    rough_single = probe(coarse, mode="u_statistic", estimator="rao_blackwell", diagnostics=()).run
    single = probe(mode="u_statistic", estimator="rao_blackwell", diagnostics=()).run
    return {
        "two batches": two,
        "two sizes": [*small, *two],
        "without a sweep": [_without_sweep(run) for run in two],
        "per token": [per_token(6, 0, run=run) for run in (1, 2)],
        "single batches": [single(6, 0, run=run) for run in (1, 2)],
        "bfloat16": [_with_surprises(rough(16, 1, run=run)) for run in (1, 2)],
        "bfloat16, per token": [rough_per_token(6, 0, run=run) for run in (1, 2)],
        "bfloat16, single batches": [rough_single(6, 0, run=run) for run in (1, 2)],
    }


def on_every_run(change: Callable[[RunRecord], RunRecord]) -> Callable[[list[RunRecord]], list[RunRecord]]:
    """A fault of every run."""
    return lambda runs: [change(run) for run in runs]


def _with_surprises(run: RunRecord) -> RunRecord:
    """The run with each prompt's expected surprises scaled, so that they add up to ``SURPRISES``."""
    first = run.arrays["first_surprises"]
    return replace(
        run, expected_surprises=SURPRISES, arrays={**run.arrays, "first_surprises": SURPRISES / first.sum() * first}
    )


def _without_sweep(run: RunRecord) -> RunRecord:
    arrays = {name: array for name, array in run.arrays.items() if not name.startswith("sweep_")}
    return replace(run, arrays=arrays, asked=[name for name in run.asked or () if name != "eta_sweep"])


def _length(prompts: Any, completions: list[str], **columns: Any) -> list[float]:
    return [len(text) / 40 for text in completions]
