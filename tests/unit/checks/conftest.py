"""Real runs of the demo in every form that a check may meet, made once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.model import ExperimentConfig

Contexts = dict[str, list[RunRecord]]


@pytest.fixture(scope="session")
def contexts() -> Contexts:
    """Runs by what they are: of two batches with everything that any check looks at, of two sizes, without a sweep,
    per token, of single batches."""
    asked: dict[str, Any] = ExperimentConfig(diagnostics=True).probe_settings()
    loaded = load_checkpoint("demo")
    common = {"B_U": 4, "G": 3, "max_new_tokens": 20, "chunk_tokens": 2048}

    def probe(**more: Any) -> EntropyProbe:
        return EntropyProbe(loaded, ProbeConfig(**{**common, **more}))

    everything = probe(diagnostics=(*asked["diagnostics"], "total_variance", "eta_sweep"))
    # As many surprises as a session of full size expects, so that no check is left undecided for want of them.
    two = [replace(everything.run(24, 1, run=run), expected_surprises=1e3) for run in (1, 2, 3)]
    small = [replace(everything.run(8, 1, run=run), expected_surprises=1e3) for run in (1, 2)]
    per_token = probe(entropy_unit="token", diagnostics=("definition",))
    single = probe(mode="u_statistic", estimator="rao_blackwell", diagnostics=())
    return {
        "two batches": two,
        "two sizes": [*small, *two],
        "without a sweep": [
            replace(
                run,
                arrays={name: a for name, a in run.arrays.items() if not name.startswith("sweep_")},
                asked=[name for name in run.asked or () if name != "eta_sweep"],
            )
            for run in two
        ],
        "per token": [per_token.run(16, 0, run=run) for run in (1, 2)],
        "single batches": [single.run(16, 0, run=run) for run in (1, 2)],
    }


@pytest.fixture(scope="session")
def runs(contexts: Contexts) -> list[RunRecord]:
    """Three runs of two batches."""
    return contexts["two batches"]
