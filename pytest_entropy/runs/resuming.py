"""Find the stored experiment that ``--resume`` continues, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.records.results_directory import find_resumable
from pytest_entropy.runs.depth import other_depth
from pytest_entropy.runs.machine import DECISIVE, environment
from pytest_entropy.runs.nearest import why_nothing_is_kept
from pytest_entropy.settings.layers import ResolvedConfig


@dataclass(frozen=True)
class Resumable:
    """The stored experiment to continue.

    Attributes:
        directory: its directory; None if there is none.
        superseded: why an experiment of this configuration is not continued, in words; empty where there is none.
        nothing_kept: why nothing is continued, in words, where no experiment is of this configuration; else empty.
    """

    directory: Path | None = None
    superseded: str = ""
    nothing_kept: str = ""


def find_stored(
    category: Path,
    experiment: str,
    checkpoint_digest: str,
    config_digest: str,
    resolved: ResolvedConfig,
    digest: Callable[[ResolvedConfig], str],
) -> Resumable:
    """Find the newest stored experiment of this checkpoint, configuration and software.

    Args:
        category: the directory of all experiments of one kind.
        experiment: name of the experiment.
        checkpoint_digest: digest of the checkpoint's content.
        config_digest: of the configuration and of the files it names.
        resolved: the configuration.
        digest: gives that digest of another configuration.
    """
    present = environment()
    versions = {package: present[package] for package in DECISIVE}
    directory, superseded = find_resumable(category, checkpoint_digest, config_digest, versions, experiment=experiment)
    if directory is not None or superseded:
        return Resumable(directory, superseded)
    other = other_depth(resolved)
    if other.digest() != resolved.digest():
        stored, _ = find_resumable(category, checkpoint_digest, digest(other), versions, experiment=experiment)
        if stored is not None:
            depth = resolved.config.checks.depth
            return Resumable(superseded=f"{stored.name} was measured at another checks.depth, now {depth}")
    why = why_nothing_is_kept(category, experiment, checkpoint_digest, config_digest, resolved)
    return Resumable(nothing_kept=why)
