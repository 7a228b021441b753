"""Runs of a planned experiment, from the store or freshly computed; the one place that loads checkpoints."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.errors import RunError
from pytest_entropy.prompts import require_room
from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.files import read_json, write_json
from pytest_entropy.records.paths import (
    ACTION_VALUES,
    ARRAYS,
    DIRECTION,
    ENTROPY_GRADIENT,
    RESULTS,
    UPDATE,
    UPDATE_GRADIENT,
    UPDATE_RECORD,
)
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.seeds import derive
from pytest_entropy.records.update import StoredUpdate, UpdateRecord
from pytest_entropy.rewards import require_answers
from pytest_entropy.runs.plan import Plan
from pytest_entropy.runs.store import FailedRun, RunStore
from pytest_entropy.stats import Measurement

if TYPE_CHECKING:
    import numpy as np

    from pytest_entropy.checkpoints import Checkpoint
    from pytest_entropy.probe import EntropyProbe
    from pytest_entropy.probe.update.direction import Update
    from pytest_entropy.records.run import RunRecord

log = logging.getLogger(__name__)
SCHEMA_VERSION = 1
# An experiment's name is an identifier, so that none of them has this seed.
UPDATE_SEED = "update batch"
# Relative; another machine's rounding moves the norm by far less, and other responses move it by far more.
SAME_NORM = 1e-3


@dataclass(frozen=True)
class Machine:
    """How this process computes: threads, and checkpoints loaded once."""

    threads: int
    loaded: dict[tuple[Any, ...], Checkpoint]

    def checkpoint(self, plan: Plan) -> Checkpoint:
        """The plan's checkpoint, loaded on first use and kept for the process."""
        from pytest_entropy.checkpoints.load import load

        model = plan.resolved.config.model
        key = (plan.files, model.device, model.dtype)
        if key not in self.loaded:
            import torch

            # Workers that each take all cores for one operation slow each other down.
            torch.set_num_threads(self.threads)
            self.loaded[key] = load(plan.files, device=model.device, dtype=model.dtype)
        return self.loaded[key]


def environment() -> dict[str, str]:
    """Versions a result may depend on."""
    from importlib.metadata import version

    packages = ("pytest-entropy", "torch", "transformers", "peft", "numpy", "pytest")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def threads_for(asked: int | None, workers: int) -> int:
    """Threads of one process: as asked, else the machine's cores divided among the workers."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return asked or max(1, cores // max(1, workers))


class Execution:
    """The runs of one plan.

    Args:
        plan: what to run.
        machine: threads and loaded checkpoints of this process.
        log_level: of the runs' log files.
    """

    def __init__(self, plan: Plan, machine: Machine, log_level: int) -> None:
        self.plan, self.machine = plan, machine
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
        self._config = plan.resolved.to_yaml(plan.next_step)

    def run(self, B_E: int, run: int) -> tuple[RunRecord, bool]:
        """One run's result, and whether it was there before.

        Raises:
            FailedRun: it failed; its directory holds ``error.txt``.
        """
        name = self.plan.run_directory(B_E, run)
        return self.store.obtain(name, self._config, lambda place: self._compute_run(place, B_E, run), read_result)

    def each_run(self) -> Iterator[tuple[int, int, RunRecord | FailedRun]]:
        """Every planned run in order, computing what is missing; failures are handed over, not raised."""
        for B_E, run in self.plan.runs:
            try:
                yield B_E, run, self.run(B_E, run)[0]
            except FailedRun as failure:
                yield B_E, run, failure

    @cached_property
    def update(self) -> Update:
        """The update direction of the experiment: computed once, shared between workers through the store.

        Raises:
            FailedRun: the update batch failed, and with it every run.
        """
        return self.store.obtain(UPDATE, self._config, self._compute_update, read_update, done=UPDATE_RECORD)[0]

    @cached_property
    def probe(self) -> EntropyProbe:
        """The probe on the plan's checkpoint.

        Raises:
            RunError: a prompt is too long for the model, or an answer cannot be read.
        """
        from pytest_entropy.probe import EntropyProbe, ProbeConfig

        config = self.plan.resolved.config
        for term in self.plan.reward.terms:
            require_answers(term.label, term.function, self.plan.prompts)
        policy = self.machine.checkpoint(self.plan).policy
        require_room(self.plan.prompts, policy.encode, policy.positions, config.sampling.max_new_tokens)
        return EntropyProbe(
            self.machine.checkpoint(self.plan),
            ProbeConfig(**config.probe_settings()),
            prompts=self.plan.prompts,
            reward=self.plan.reward,
            threads=self.machine.threads,
        )

    @property
    def seed(self) -> int:
        """The experiment's seed: with (B_E, run), each run's is derived from it."""
        return derive(self.plan.resolved.config.seed, self.plan.kind.name)

    @property
    def update_seed(self) -> int:
        """The seed of the update batch U: the configured seed's alone, so that all experiments take one U.

        Runs that are stored already keep the U they were measured along, whichever version drew it.
        """
        measured_along = self._update_of_stored_runs()
        if measured_along is not None and measured_along.seed is not None:
            return measured_along.seed
        return derive(self.plan.resolved.config.seed, UPDATE_SEED)

    def _update_of_stored_runs(self) -> UpdateRecord | None:
        """What the first stored run that can be read recorded of its update; None where there is no such run."""
        for B_E, run in self.plan.runs:
            try:
                stored = read_result(self.plan.directory / self.plan.run_directory(B_E, run)).update
            except (OSError, ValueError):
                continue
            if None not in (stored.seed, stored.direction_norm) and stored.prompts and stored.rewards:
                return stored
        return None

    def _compute_run(self, place: Path, B_E: int, run: int) -> None:
        config = self.plan.resolved.config
        log.info("checkpoint %s (%s), B_E %d, run %d", config.checkpoint, self.plan.checkpoint_digest, B_E, run)
        # A single-batch run takes its update from its own batch.
        update = self.update if config.probe.mode == "two_batch" else None
        result = self.probe.run(B_E, self.seed, run=run, update=update)
        if config.save_gradients:
            gradient = self.probe.entropy_gradient(B_E, self.seed, run=run, update=self.update)
            write_tensors(place / ENTROPY_GRADIENT, gradient)
        if result.arrays:
            import numpy as np

            np.savez_compressed(place / ARRAYS, **result.arrays)  # type: ignore[arg-type]
        record = {"schema_version": SCHEMA_VERSION, **result.to_dict()}
        log.info("delta_h1 = %s, %s", Measurement.of(result).in_words(), result.unit)
        write_json(place / RESULTS, record)

    def _compute_update(self, place: Path) -> None:
        checkpoint = self.machine.checkpoint(self.plan)
        log.info("optimizer state mapped by the %s; ignored sampling defaults: %s", checkpoint.mapping,
                 checkpoint.ignored_generation_config or "none")  # fmt: skip
        update = self.probe.update(self.update_seed)
        require_same_update(self._update_of_stored_runs(), update)
        write_tensors(place / DIRECTION, update.direction)
        if update.learnt is not None:
            write_tensors(place / ACTION_VALUES, vars(update.learnt))
        if self.plan.resolved.config.save_gradients:
            write_tensors(place / UPDATE_GRADIENT, update.gradient)
        record = StoredUpdate(
            **vars(update.record()),
            mapping=checkpoint.mapping,
            end_tokens=list(checkpoint.policy.eos_ids),
            sampling={"temperature": self.plan.resolved.config.sampling.temperature},
            ignored_generation_config=checkpoint.ignored_generation_config,
            parameters={
                "trainable": sum(p.numel() for p in checkpoint.policy.trainable.values()),
                "all": sum(p.numel() for p in checkpoint.policy.model.parameters()),
            },
        )
        write_json(place / UPDATE_RECORD, record.to_dict())


def require_same_update(recorded: UpdateRecord | None, update: Update) -> None:
    """Reject an update batch drawn again that is not the one stored runs ``recorded`` (None: there are none).

    Raises:
        RunError: its prompts, rewards or direction are others.
    """
    if recorded is None or recorded.direction_norm is None:
        return
    norm = recorded.direction_norm
    other = {
        "prompts": recorded.prompts != update.prompts,
        "rewards": recorded.rewards != update.rewards,
        "direction": abs(update.direction_norm - norm) > SAME_NORM * norm,
    }
    if any(other.values()):
        raise RunError(
            "the update batch of the runs that are stored here is gone, and drawn again it has other "
            f"{', '.join(name for name, differs in other.items() if differs)} (another version, machine or reward): "
            "these runs cannot be continued; begin anew, without --resume"
        )


def write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    """Tensors by name as safetensors."""
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def read_update(directory: Path) -> Update:
    """The update a store directory holds (without the gradient, which a run does not need)."""
    from safetensors.torch import load_file

    from pytest_entropy.policy.rollouts import ActionValues
    from pytest_entropy.probe.update.direction import Update

    record = UpdateRecord.from_dict(read_json(directory / UPDATE_RECORD))
    learnt = ActionValues(**load_file(directory / ACTION_VALUES)) if (directory / ACTION_VALUES).is_file() else None
    return Update(**vars(record), direction=load_file(directory / DIRECTION), gradient={}, learnt=learnt)


def read_result(directory: Path) -> RunRecord:
    """The result a run directory holds."""
    import numpy as np

    from pytest_entropy.records.run import RunRecord

    arrays: dict[str, np.ndarray] = {}
    if (directory / ARRAYS).is_file():
        with np.load(directory / ARRAYS, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    return RunRecord.from_dict(read_json(directory / RESULTS), arrays, directory=directory.name)
