"""The plan of an experiment: its configuration, checkpoint and directory, fixed before any work.

A plan is a pure function of the command line, the files on disk and the session's time stamp, so every xdist
worker makes the same one.  Planning writes nothing and loads no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.metadata import Metadata
from pytest_entropy.checkpoints.training_arguments import NAME
from pytest_entropy.prompts import PromptSet
from pytest_entropy.records.item import run_id
from pytest_entropy.records.results_directory import read_manifest
from pytest_entropy.rewards import WeightedRewards
from pytest_entropy.settings.experiments import EVERY_RUN, ExperimentKind
from pytest_entropy.settings.layers import ResolvedConfig


@dataclass(frozen=True)
class Plan:
    """One experiment of the session, ready to be run.

    Attributes:
        kind: its name, defaults and directory names.
        resolved: its configuration, with the source of every value.
        files: paths of its checkpoint.
        metadata: what the checkpoint's files say before it is loaded.
        checkpoint_digest: digest of the checkpoint's files.
        config_digest: digest of the configuration and of the prompt and reward files it names.
        inputs_digest: digest of these files alone.
        prompts: its prompt set.
        reward: its weighted rewards.
        directory: directory of its results, which may not exist yet.
        stamp: the session's time stamp.
        resumed: whether the directory existed when the session began.
        superseded: why a stored experiment of this configuration is not continued, in words; empty where it is, or
            where there is none.
        notes: further lines of the session's header: what is taken from the trainer's file, and warnings.
        trainer: arguments in the trainer's file that set nothing, for the reader of ``config.yaml``.
    """

    kind: ExperimentKind
    resolved: ResolvedConfig
    files: CheckpointFiles
    metadata: Metadata
    checkpoint_digest: str
    config_digest: str
    prompts: PromptSet
    reward: WeightedRewards
    directory: Path
    stamp: str
    resumed: bool
    superseded: str = ""
    inputs_digest: str = ""
    nothing_kept: str = ""
    notes: tuple[str, ...] = ()
    trainer: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """(B_E, run number) of every run, in order."""
        batch = self.resolved.config.batch_config
        return [(b, r) for b in batch.B_E_values for r in range(1, batch.runs_per_batch * batch.updates + 1)]

    @property
    def continues(self) -> bool:
        """Whether the session was asked to continue stored experiments (``--resume``), found or not."""
        return self.resumed or bool(self.superseded or self.nothing_kept)

    def update_of(self, run: int) -> int:
        """The number of the update batch, from 1, along which a run is measured."""
        return (run - 1) % self.resolved.config.batch_config.updates + 1

    @property
    def depth(self) -> str:
        """``checks.depth`` in words, where the experiment has diagnostics and could have runs without; else empty."""
        config = self.resolved.config
        if not config.diagnostics or self.kind.light == "never":
            return ""
        some, every = len(config.diagnosed_runs), config.batch_config.runs_per_batch
        listed = f" (diagnostics in {some} of {every} runs)" if config.has_plain_runs else ""
        return f"depth {config.checks.depth}{listed}"

    @property
    def next_step(self) -> dict[str, object]:
        """Learning rate, objective, sampling and mapping that runs use, each with its source; plain values for YAML."""
        probe, sampling, sources = self.resolved.config.probe, self.resolved.config.sampling, self.resolved.sources
        rate: dict[str, object] = {"value": probe.learning_rate, "source": sources["probe.learning_rate"]}
        if probe.learning_rate is None:
            rate = {"value": self.metadata.learning_rate, "source": self.metadata.learning_rate_source}
        parts: dict[str, object] = {"learning_rate": rate}
        parts |= {
            name: {"value": getattr(probe, key), "source": sources[f"probe.{key}"]}
            for name, key in (("advantage", "loss_type"), *((n, n) for n in ("scale_rewards", "update_rule")))
        }
        parts |= {
            name: {"value": getattr(sampling, name), "source": sources[f"sampling.{name}"]}
            for name in ("temperature", "top_k", "top_p")
        }
        ignored = {"value": dict(self.metadata.ignored_sampling), "source": "generation_config.json (not used)"}
        mapping = {"value": self.metadata.names, "source": self.files.layout}
        parts |= {"ignored_sampling": ignored, "optimizer_states": mapping}
        if self.trainer:
            parts["trainer"] = {"value": dict(self.trainer), "source": f"{NAME} (for the reader)"}
        return parts

    @cached_property
    def ids(self) -> list[str]:
        """Item ids of :attr:`runs`."""
        return [run_id(*run) for run in self.runs]

    def run_directory(self, B_E: int, run: int) -> str:
        """Name of a run's directory, by the kind's pattern unless that would give two planned runs one name.

        An experiment that an earlier version began goes on under that version's names.
        """
        return self._run_pattern.format(B_E=B_E, B_U=self.resolved.config.batch_config.B_U, run=run)

    @cached_property
    def _run_pattern(self) -> str:
        """The pattern of run directories, cached because finding it formats the names of all runs."""
        # However many runs there may be: a session that continues the experiment may allow more.
        if self.resolved.config.batch_config.target_se is not None:
            return EVERY_RUN
        if self.kind.former_run_directory and self.resumed:
            begun = read_manifest(self.directory)
            if begun is not None and self._names(self.kind.former_run_directory) & set(begun.planned_runs):
                return self.kind.former_run_directory
        return self.kind.run_directory if len(self._names(self.kind.run_directory)) == len(self.runs) else EVERY_RUN

    def _names(self, pattern: str) -> set[str]:
        """The names that a pattern gives the planned runs' directories."""
        B_U = self.resolved.config.batch_config.B_U
        return {pattern.format(B_E=b, B_U=B_U, run=r) for b, r in self.runs}
