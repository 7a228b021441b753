"""Compute one run: its numbers are a function of the spec alone, wherever it is computed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.logged_comparison import compare_with_log
from pytest_entropy.errors import RunError
from pytest_entropy.prompts import PromptSet, require_room
from pytest_entropy.records.files import write_json
from pytest_entropy.records.paths import ENTROPY_GRADIENT, UPDATE_GRADIENT, UPDATE_RECORD
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.records.update import StoredUpdate, UpdateRecord
from pytest_entropy.rewards import WeightedRewards, require_answers
from pytest_entropy.runs.extreme_rollouts import write_extreme_rollouts
from pytest_entropy.runs.machine import Machine
from pytest_entropy.runs.run_files import read_update, write_run, write_tensors, write_update
from pytest_entropy.settings.companions import AUTO
from pytest_entropy.settings.model import ExperimentConfig
from pytest_entropy.stats import Measurement

if TYPE_CHECKING:
    from pytest_entropy.checkpoints import Checkpoint
    from pytest_entropy.probe import EntropyProbe
    from pytest_entropy.probe.update.direction import Update

log = logging.getLogger(__name__)
# Relative: rounding on another machine changes the norm by far less, other responses by far more.
SAME_NORM = 1e-3


@dataclass
class Place:
    """The checkpoint, prompts, rewards and update with which a process computes the runs of one experiment.

    Attributes:
        machine: threads and loaded checkpoints of this process.
        files, digest: the checkpoint's files on this machine, and the digest of their contents.
        prompts, reward: the prompt set and the rewards that the spec's settings name.
        update: gives the experiment's update direction, stored or computed.
    """

    machine: Machine
    files: CheckpointFiles
    digest: str
    prompts: PromptSet
    reward: WeightedRewards
    update: Callable[[RunSpec], Update]
    _made: _Made | None = field(default=None, init=False)

    def probe(self, spec: RunSpec) -> EntropyProbe:
        """The probe with the spec's settings and its run's diagnostics on this machine's checkpoint, made once.

        Raises:
            RunError: a prompt is too long for the model, an answer cannot be read, the checkpoint on this machine is
                not the spec's, or the place was made for other settings.
        """
        if self.digest != spec.checkpoint_digest:
            raise RunError(
                f"checkpoint {spec.checkpoint} is another one here (its content has digest {self.digest}, the run asks "
                f"for {spec.checkpoint_digest}): copy the same checkpoint to this place"
            )
        if self._made is None:
            config = config_of(spec)
            for term in self.reward.terms:
                require_answers(term.label, term.function, self.prompts)
                for note in term.notes:
                    log.warning("%s", note)
            policy = self._checkpoint(config).policy
            require_room(self.prompts, policy.encode, policy.positions, config.sampling.max_new_tokens)
            # With diagnostics first: what later runs leave changed is then told from the state as it was loaded.
            self._made = _Made(spec.settings, config, {config.asked_of(1): self._new_probe(config, 1)})
        made = self._made
        if made.settings != spec.settings:
            raise RunError(
                f"{spec.experiment}: the place has the prompts and rewards of other settings; make one of its own"
            )
        asked = made.config.asked_of(spec.run, spec.B_E)
        if asked not in made.probes:
            made.probes[asked] = self._new_probe(made.config, spec.run, spec.B_E)
        return made.probes[asked]

    @cached_property
    def caveat(self) -> str:
        """What the trainer's log beside the checkpoint says against the prompts; empty where nothing."""
        compared = compare_with_log(self.files, self.prompts)
        return "" if compared is None else compared.warning

    def _new_probe(self, config: ExperimentConfig, run: int, B_E: int | None = None) -> EntropyProbe:
        from pytest_entropy.probe import EntropyProbe, ProbeConfig

        return EntropyProbe(
            self._checkpoint(config),
            ProbeConfig(**config.probe_settings(run, B_E)),
            prompts=self.prompts,
            reward=self.reward,
            threads=self.machine.threads,
        )

    def _checkpoint(self, config: ExperimentConfig) -> Checkpoint:
        return self.machine.checkpoint(self.files, config.model.device, config.model.dtype)


@dataclass(frozen=True)
class _Made:
    """What a place has made: ``probes`` by their diagnostics, of runs with these ``settings``, parsed as ``config``."""

    settings: dict[str, object]
    config: ExperimentConfig
    probes: dict[tuple[str, ...], EntropyProbe]


def config_of(spec: RunSpec) -> ExperimentConfig:
    """The spec's settings as an :class:`ExperimentConfig`.

    Raises:
        ValueError: the settings are invalid (a spec of another version).
    """
    return ExperimentConfig.model_validate(spec.settings)


def compute(spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    """Compute one run, and write its files into ``directory``.

    Args:
        spec: what to compute.
        place: this process's checkpoint, prompts and rewards; no number depends on the machine.
        directory: an empty directory; ``results.json`` is written last.

    Raises:
        RunError: there are too few prompts, a reward fails, or a number is not finite.
    """
    config = config_of(spec)
    log.info("checkpoint %s (%s), B_E %d, run %d", config.checkpoint, spec.checkpoint_digest, spec.B_E, spec.run)
    # Before the first batch.
    if place.caveat:
        log.warning("%s", place.caveat)
    # A single-batch run takes its update from its own batch.
    update = place.update(spec) if config.probe.mode == "two_batch" else None
    probe = place.probe(spec)
    record = probe.run(spec.B_E, spec.seed, run=spec.run, update=update)
    if config.save_gradients:
        gradient = probe.entropy_gradient(spec.B_E, spec.seed, run=spec.run, update=place.update(spec))
        write_tensors(directory / ENTROPY_GRADIENT, gradient)
    if update is not None and spec.run == 1 and max(config.batch_config.B_E_values) == spec.B_E:
        write_extreme_rollouts(directory, probe, record)
    if place.caveat:
        record = replace(record, notes=[*record.notes, place.caveat])
    log.info("delta_h1 = %s, %s", Measurement.of(record).in_words(), record.unit)
    write_run(directory, record)
    return record


def compute_update(spec: RunSpec, place: Place, directory: Path, *, stored: UpdateRecord | None = None) -> Update:
    """Compute the update that all runs of the spec's experiment share, and write its files into ``directory``.

    Args:
        spec: of any of the runs.
        place: this process's checkpoint, prompts and rewards.
        directory: an empty directory; ``update.json`` is written last.
        stored: the update's record in runs that are stored already, None if there are none.

    Raises:
        RunError: a reward fails, a gradient is not finite, or the update is not the ``stored`` one.
    """
    config = config_of(spec)
    checkpoint = place.machine.checkpoint(place.files, config.model.device, config.model.dtype)
    log.info("optimizer state mapped by the %s; ignored sampling defaults: %s", checkpoint.mapping,
             checkpoint.ignored_generation_config or "none")  # fmt: skip
    if place.caveat:
        log.warning("%s", place.caveat)
    update = place.probe(spec).update(spec.update_seed)
    require_same_update(stored, update)
    if stored is not None and stored.companion_reads is not None:
        update = replace(update, companion_reads=stored.companion_reads, fewest_reads=stored.fewest_reads)
    if config.save_gradients:
        write_tensors(directory / UPDATE_GRADIENT, update.gradient)
    record = StoredUpdate(
        **vars(update.record()),
        mapping=checkpoint.mapping,
        end_tokens=list(checkpoint.policy.eos_ids),
        sampling={"temperature": config.sampling.temperature},
        ignored_generation_config=checkpoint.ignored_generation_config,
        parameters={
            "trainable": sum(p.numel() for p in checkpoint.policy.trainable.values()),
            "all": sum(p.numel() for p in checkpoint.policy.model.parameters()),
        },
    )
    write_update(directory, update, record)
    return update


def reuse_update(
    spec: RunSpec, place: Place, directory: Path, taken: StoredUpdate, *, stored: UpdateRecord | None = None
) -> bool:
    """Take the update of a shared entry, with its companion reads; whether these are new to the entry.

    Args:
        spec: of any of the runs.
        place: this process's checkpoint, prompts and rewards.
        directory: the update's, which holds the entry's files, and whose log says that it was computed before.
        taken: the entry's record; of an experiment with a number of reads it does not say how many pay.
        stored: the update's record in runs that are stored already, None if there are none; its choice stands.

    Raises:
        RunError: the update is not the ``stored`` one, or a gradient is not finite.
    """
    update = read_update(directory)
    require_same_update(stored, update)
    log.info("update U was computed before, for another experiment of these results, and is taken from there")
    if config_of(spec).batch_config.reads != AUTO:
        return False
    chosen = stored
    if chosen is None or chosen.companion_reads is None:
        chosen = place.probe(spec).chosen_reads.known(update)
    record = replace(taken, companion_reads=chosen.companion_reads, fewest_reads=chosen.fewest_reads)
    write_json(directory / UPDATE_RECORD, record.to_dict())
    return taken.companion_reads is None


def require_same_update(recorded: UpdateRecord | None, update: Update) -> None:
    """Reject an update that differs from the one along which stored runs were measured.

    Args:
        recorded: the update's record in stored runs, None if there are none.
        update: the update sampled again.

    Raises:
        RunError: its prompts, rewards or direction differ from the recorded ones.
    """
    if recorded is None or recorded.direction_norm is None:
        return
    norm = recorded.direction_norm
    differences = {
        "prompts": recorded.prompts != update.prompts,
        "rewards": recorded.rewards != update.rewards,
        "direction": abs(update.direction_norm - norm) > SAME_NORM * norm,
    }
    if any(differences.values()):
        raise RunError(
            "the update batch of the stored runs was removed, and sampled again it differs in its "
            f"{', '.join(name for name, differs in differences.items() if differs)} (another version, machine or "
            "reward): these runs cannot be continued; begin anew, without --resume"
        )
