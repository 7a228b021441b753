"""A run computed: ``compute(spec, place)`` is a function of the spec alone; the place is where it happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.errors import RunError
from pytest_entropy.prompts import PromptSet, require_room
from pytest_entropy.records.paths import ENTROPY_GRADIENT, UPDATE_GRADIENT
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.records.update import StoredUpdate, UpdateRecord
from pytest_entropy.rewards import WeightedRewards, require_answers
from pytest_entropy.runs.machine import Machine
from pytest_entropy.runs.run_files import write_run, write_tensors, write_update
from pytest_entropy.settings.model import ExperimentConfig
from pytest_entropy.stats import Measurement

if TYPE_CHECKING:
    from pytest_entropy.probe import EntropyProbe
    from pytest_entropy.probe.update.direction import Update

log = logging.getLogger(__name__)
# Relative; another machine's rounding moves the norm by far less, and other responses move it by far more.
SAME_NORM = 1e-3


@dataclass
class Place:
    """Where the runs of one experiment are computed.

    Attributes:
        machine: threads and loaded checkpoints of this process.
        files, digest: the checkpoint's files as found here, and their content's.
        prompts, reward: the prompt set and the rewards that the spec's settings name.
        update: gives the experiment's update, from wherever it is kept.
    """

    machine: Machine
    files: CheckpointFiles
    digest: str
    prompts: PromptSet
    reward: WeightedRewards
    update: Callable[[RunSpec], Update]
    _made: tuple[dict[str, object], EntropyProbe] | None = field(default=None, init=False)

    def probe(self, spec: RunSpec) -> EntropyProbe:
        """The probe of the spec's settings on the checkpoint here, made once.

        Raises:
            RunError: a prompt is too long for the model, an answer cannot be read, the checkpoint here is another one
                than the spec's, or the place was made for other settings.
        """
        from pytest_entropy.probe import EntropyProbe, ProbeConfig

        if self.digest != spec.checkpoint_digest:
            raise RunError(
                f"checkpoint {spec.checkpoint} is another one here (its content has digest {self.digest}, the run asks "
                f"for {spec.checkpoint_digest}): copy the same checkpoint to this place"
            )
        if self._made is None:
            config = config_of(spec)
            for term in self.reward.terms:
                require_answers(term.label, term.function, self.prompts)
            checkpoint = self.machine.checkpoint(self.files, config.model.device, config.model.dtype)
            policy = checkpoint.policy
            require_room(self.prompts, policy.encode, policy.positions, config.sampling.max_new_tokens)
            probe = EntropyProbe(
                checkpoint,
                ProbeConfig(**config.probe_settings()),
                prompts=self.prompts,
                reward=self.reward,
                threads=self.machine.threads,
            )
            self._made = spec.settings, probe
        settings, probe = self._made
        if settings != spec.settings:
            raise RunError(
                f"{spec.experiment}: the place has the prompts and rewards of other settings; make one of its own"
            )
        return probe


def config_of(spec: RunSpec) -> ExperimentConfig:
    """The spec's settings as their model.

    Raises:
        ValueError: they are none (a spec of another version).
    """
    return ExperimentConfig.model_validate(spec.settings)


def compute(spec: RunSpec, place: Place, directory: Path) -> RunRecord:
    """One run, and its files in ``directory``.

    Args:
        spec: what to compute.
        place: where; it changes no number.
        directory: an empty directory; ``results.json`` is written last.

    Raises:
        RunError: prompts run out, a reward fails, a number is not finite.
    """
    config = config_of(spec)
    log.info("checkpoint %s (%s), B_E %d, run %d", config.checkpoint, spec.checkpoint_digest, spec.B_E, spec.run)
    # A single-batch run takes its update from its own batch.
    update = place.update(spec) if config.probe.mode == "two_batch" else None
    probe = place.probe(spec)
    record = probe.run(spec.B_E, spec.seed, run=spec.run, update=update)
    if config.save_gradients:
        gradient = probe.entropy_gradient(spec.B_E, spec.seed, run=spec.run, update=place.update(spec))
        write_tensors(directory / ENTROPY_GRADIENT, gradient)
    log.info("delta_h1 = %s, %s", Measurement.of(record).in_words(), record.unit)
    write_run(directory, record)
    return record


def compute_update(spec: RunSpec, place: Place, directory: Path, *, stored: UpdateRecord | None = None) -> Update:
    """The update that all runs of the spec's experiment share, and its files in ``directory``.

    Args:
        spec: of any of the runs.
        place: where.
        directory: an empty directory; ``update.json`` is written last.
        stored: what runs that are there already recorded of their update, if there are any.

    Raises:
        RunError: a reward fails, a gradient is not finite, or the update is not the ``stored`` one.
    """
    config = config_of(spec)
    checkpoint = place.machine.checkpoint(place.files, config.model.device, config.model.dtype)
    log.info("optimizer state mapped by the %s; ignored sampling defaults: %s", checkpoint.mapping,
             checkpoint.ignored_generation_config or "none")  # fmt: skip
    update = place.probe(spec).update(spec.update_seed)
    require_same_update(stored, update)
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
