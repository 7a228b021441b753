"""The runs of one planned experiment: read each from the store, or compute it and store it for all workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.files import FileState, read_json, state_of, write_json
from pytest_entropy.records.memory_probe import MemoryProbes
from pytest_entropy.records.paths import MEMORY_PROBES, MEMORY_RECORD, RESULTS, UPDATE_RECORD, update_directory
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.seeds import derive
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.records.update import UpdateRecord
from pytest_entropy.runs.compute import Place, compute_update, reuse_update
from pytest_entropy.runs.executors.base import Executor
from pytest_entropy.runs.machine import Machine, environment
from pytest_entropy.runs.memory_probes import MemoryProber
from pytest_entropy.runs.plan import Plan
from pytest_entropy.runs.run_files import read_run, read_update
from pytest_entropy.runs.shared_updates import SharedUpdates, update_digest
from pytest_entropy.runs.store import FailedRun, RunStore
from pytest_entropy.runs.target_runs import TargetRuns

if TYPE_CHECKING:
    from pytest_entropy.probe import EntropyProbe
    from pytest_entropy.probe.update.direction import Update

# Not an identifier, so that no experiment's name gives the same seed.
UPDATE_SEED = "update batch"


class Execution:
    """The runs of one plan, stored or computed when they are asked for.

    Args:
        plan: the experiment's plan.
        machine: threads and loaded checkpoints of this process.
        executor: computes the runs that are not stored yet.
        log_level: level of the runs' log files.
    """

    def __init__(self, plan: Plan, machine: Machine, executor: Executor, log_level: int) -> None:
        self.plan, self.executor = plan, executor
        # The attempt of the test item that asks, from 1: what has failed in fewer is computed again.
        self.attempt = 1
        manifest = ExperimentRecord(
            experiment=plan.kind.name,
            stamp=plan.stamp,
            checkpoint=plan.resolved.config.checkpoint,
            checkpoint_digest=plan.checkpoint_digest,
            config_digest=plan.config_digest,
            layout=plan.files.layout,
            planned_runs=[plan.run_directory(b, r) for b, r in plan.runs],
            environment=environment(),
        )
        self.store = RunStore(plan.directory, manifest.to_dict(), plan.stamp, log_level)
        self.place = Place(
            machine,
            plan.files,
            plan.checkpoint_digest,
            plan.prompts,
            plan.reward,
            lambda spec: self.update_of(spec.run),
        )
        self._config = plan.resolved.to_yaml(plan.next_step)
        # Stored runs by directory with the state of their file: items and analyses ask for each of them several times.
        self._known: dict[str, tuple[FileState | None, RunRecord]] = {}
        self._latest: RunRecord | None = None
        self._updates: dict[int, Update] = {}
        self._seeds: dict[int, int] = {}
        self._directory = str(plan.directory)
        self.target = TargetRuns(plan, lambda run: self.run(plan.runs[0][0], run)[0])

    def spec(self, B_E: int, run: int) -> RunSpec:
        """The spec of one run, its computation as plain data."""
        config = self.plan.resolved.config
        return RunSpec(
            experiment=self.plan.kind.name,
            checkpoint=config.checkpoint,
            checkpoint_digest=self.plan.checkpoint_digest,
            settings=config.model_dump(mode="json"),
            B_E=B_E,
            run=run,
            seed=self.seed,
            update_seed=self.update_seed(self.plan.update_of(run)),
        )

    def run(self, B_E: int, run: int) -> tuple[RunRecord, bool]:
        """The record of one run, and whether it was stored before; computes a run that is not stored.

        Raises:
            FailedRun: the run failed; its directory holds ``error.txt``.
        """
        name = self.plan.run_directory(B_E, run)
        if (state := self._state(name)) is not None:
            return self._read(name, state), True
        with self.store.claim(name, self._config, attempt=self.attempt) as directory:
            if directory is not None:
                self.target.log_pilot()
                self.executor.compute(self.spec(B_E, run), self.place, directory)
        return self._read(name, self._state(name)), directory is None

    def _state(self, name: str) -> FileState | None:
        """The state of a run's record on disk; None where the run is not stored."""
        return state_of(os.path.join(self._directory, name, RESULTS))

    def _read(self, name: str, state: FileState | None) -> RunRecord:
        """The record of a stored run, read again only if its file has changed."""
        if state is None or name not in self._known or self._known[name][0] != state:
            record = read_run(self.store.path(name))
            # All runs share one update, and each holds its prompts and rewards: equal ones are kept once.
            if self._latest is not None and record.update == self._latest.update:
                record = replace(record, update=self._latest.update)
            self._latest = record
            self._known[name] = state, record
        return self._known[name][1]

    def each_run(self) -> Iterator[tuple[int, int, RunRecord | FailedRun]]:
        """(B_E, run number, record) of every planned run in order; in place of the record of a failed run its error.

        A run that a target of the error does not need is left out.
        """
        for B_E, run in self.plan.runs:
            if self.target.not_needed(run):
                continue
            try:
                yield B_E, run, self.run(B_E, run)[0]
            except FailedRun as failure:
                yield B_E, run, failure
        self.target.keep()

    def update_of(self, run: int) -> Update:
        """The update direction along which a run is measured, computed once and shared between workers and experiments.

        Raises:
            FailedRun: the update batch failed, and with it every run along it.
        """
        number = self.plan.update_of(run)
        if number not in self._updates:
            name = update_directory(number)
            claim = self.store.claim(name, self._config, done=UPDATE_RECORD, attempt=self.attempt)
            with claim as directory:
                if directory is not None:
                    self._fill(directory, self.spec(self.plan.runs[0][0], number))
            self._updates[number] = read_update(self.store.path(name))
        return self._updates[number]

    def _fill(self, directory: Path, spec: RunSpec) -> None:
        """Write the files of an update: those of the shared entry, or, where there is none, of a new one."""
        stored = self._update_of_stored_runs(self.plan.update_of(spec.run))
        shared = SharedUpdates(self.plan.directory.parents[1])
        with shared.entry(update_digest(spec, self.plan.inputs_digest)) as entry:
            # Gradients are saved when they are computed.
            session = None if self.plan.continues else self.plan.stamp
            taken = None if spec.settings["save_gradients"] else shared.take(entry, directory, session)
            if taken is None:
                compute_update(spec, self.place, directory, stored=stored)
                new = True
            else:
                new = reuse_update(spec, self.place, directory, taken, stored=stored)
            if new:
                shared.put(directory, entry, self.plan.stamp)

    def memory_probes(self, length_mean: float) -> MemoryProbes:
        """The probes of memory against B_E, G and length; measured once and shared through the store.

        Args:
            length_mean: of the planned runs' responses, in tokens.

        Raises:
            FailedRun: a probe failed.
        """
        claim = self.store.claim(MEMORY_PROBES, self._config, done=MEMORY_RECORD, attempt=self.attempt)
        with claim as directory:
            if directory is not None:
                prober = MemoryProber(self.spec(*self.plan.runs[0]), self.place, self.update_of(1))
                write_json(directory / MEMORY_RECORD, prober.probes(length_mean).to_dict())
        return MemoryProbes.from_dict(read_json(self.store.path(MEMORY_PROBES) / MEMORY_RECORD))

    @property
    def probe(self) -> EntropyProbe:
        """The probe on the plan's checkpoint.

        Raises:
            RunError: a prompt is too long for the model, or an answer cannot be read.
        """
        return self.place.probe(self.spec(*self.plan.runs[0]))

    @property
    def seed(self) -> int:
        """The experiment's seed, from which each run derives its own with (B_E, run)."""
        return derive(self.plan.resolved.config.seed, self.plan.kind.name)

    def update_seed(self, number: int) -> int:
        """The seed of an update batch: it depends on the configured seed alone, so that all experiments share it.

        Where runs are stored, it is the seed of their update, whichever version sampled it.

        Args:
            number: of the update batch, from 1.
        """
        if number not in self._seeds:
            stored = self._update_of_stored_runs(number)
            names = (UPDATE_SEED,) if number == 1 else (UPDATE_SEED, number)
            derived = derive(self.plan.resolved.config.seed, *names)
            self._seeds[number] = derived if stored is None or stored.seed is None else stored.seed
        return self._seeds[number]

    def _update_of_stored_runs(self, number: int) -> UpdateRecord | None:
        """The update's record in the first stored run along it that can be read; None where there is no such run."""
        for B_E, run in self.plan.runs:
            if self.plan.update_of(run) != number:
                continue
            try:
                results = self.store.path(self.plan.run_directory(B_E, run)) / RESULTS
                stored = RunRecord.from_json(results.read_bytes()).update
            except (OSError, ValueError):
                continue
            if None not in (stored.seed, stored.direction_norm) and stored.prompts and stored.rewards:
                return stored
        return None
