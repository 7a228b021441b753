"""What the error over update batches costs: CPU seconds of each experiment's runs with it over those without.

    python -m benchmarks.second_error [--repeats 3]

On the demo checkpoint, with each experiment's sizes of the demo's profile.  Both sides run in turn in one process that
is warm, and the median ratio is printed with the smallest and the largest; the update batch itself is in neither.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.runs.planner import demo_profile
from pytest_entropy.settings.experiments import KNOWN
from pytest_entropy.settings.layers import Layer, resolve_config
from pytest_entropy.settings.model import ExperimentConfig

EXPERIMENTS = ("single_run", "batch_scaling", "sanity_check", "debug")


def configured(experiment: str, which: str) -> ExperimentConfig:
    """An experiment's configuration on the demo, with ``probe.total_variance`` as given."""
    kind = KNOWN[experiment]
    layers = [Layer("defaults", dict(kind.defaults)), *demo_profile(experiment)]
    return resolve_config([*layers, Layer("here", {"probe": {"total_variance": which}})]).config


class Runs:
    """All runs of an experiment's configuration, in one process."""

    def __init__(self, experiment: str, which: str) -> None:
        self.config = configured(experiment, which)
        self._probes: dict[tuple[str, ...], EntropyProbe] = {}
        self._update: Update | None = None

    def seconds(self) -> float:
        """CPU seconds of all runs."""
        batch, began = self.config.batch_config, time.process_time()
        for B_E in batch.B_E_values:
            for run in range(1, batch.runs_per_batch + 1):
                self._probe(run, B_E).run(B_E, 1, run=run, update=self._update)
        return time.process_time() - began

    def warm(self) -> None:
        """Make the probes and the update."""
        for B_E in self.config.batch_config.B_E_values:
            for run in (1, 2):
                self._update = self._probe(run, B_E).update(0)
                self._probe(run, B_E).run(8, 2, run=run, update=self._update)

    def _probe(self, run: int, B_E: int) -> EntropyProbe:
        asked = self.config.asked_of(run, B_E)
        if asked not in self._probes:
            settings = ProbeConfig(**self.config.probe_settings(run, B_E))
            self._probes[asked] = EntropyProbe(load_checkpoint("demo"), settings)
        return self._probes[asked]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args(arguments).repeats
    for experiment in EXPERIMENTS:
        without, with_it = Runs(experiment, "none"), Runs(experiment, "first")
        without.warm()
        with_it.warm()
        ratios = [with_it.seconds() / without.seconds() for _ in range(repeats)]
        middle = statistics.median(ratios)
        print(f"{experiment}: {middle:.3f} [{min(ratios):.3f}, {max(ratios):.3f}]", flush=True)


if __name__ == "__main__":
    main()
