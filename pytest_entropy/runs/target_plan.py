"""The target of the error at planning: which experiments take runs until it is reached, and how many at most."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from pytest_entropy.errors import UsageError
from pytest_entropy.settings.experiments import EVERY_RUN, ExperimentKind
from pytest_entropy.settings.layers import BUILT_IN, RUNS, TARGET, Layer, ResolvedConfig

# Runs that are taken at most where no number is configured.
MOST = 16
RUNS_OPTION = "--runs"


def without_idle_runs(kind: ExperimentKind, below: Sequence[Layer], above: Sequence[Layer]) -> list[Layer]:
    """The layers ``above`` without ``--runs`` where it does not apply: one run per B_E, and no target to take more for.

    Args:
        kind: of the experiment.
        below, above: the layers of its configuration, lowest first; the command line's are above.
    """
    if kind.repeats or (kind.to_target and _asks_for_target([*below, *above])):
        return list(above)
    return [layer for layer in above if layer.source != RUNS_OPTION]


def _asks_for_target(layers: Sequence[Layer]) -> bool:
    """Whether the highest layer that has the key sets a target."""
    section, _, name = TARGET.partition(".")
    sections = [layer.values.get(section) for layer in layers]
    targets = [values[name] for values in sections if isinstance(values, dict) and name in values]
    return bool(targets) and targets[-1] is not None


def require_stored_runs(kind: ExperimentKind, resolved: ResolvedConfig, directory: Path) -> None:
    """Reject a resumed experiment whose target allows fewer runs than are stored: reports are of all stored runs.

    Args:
        kind: of the experiment.
        resolved: its configuration.
        directory: of the stored experiment.

    Raises:
        UsageError: says how many runs are stored.
    """
    batch = resolved.config.batch_config
    if batch.target_se is None:
        return
    name = EVERY_RUN.format(B_E=batch.B_E_values[0], run=0).removesuffix("000")
    numbers = [place.name.removeprefix(name) for place in directory.glob(f"{name}*")]
    stored = max((int(number) for number in numbers if number.isdigit()), default=0)
    if stored > batch.runs_per_batch * batch.updates:
        allowed, enough = batch.runs_per_batch * batch.updates, ceil(stored / batch.updates)
        raise UsageError(
            f"{directory.name} holds {stored} runs of {kind.name}, and {resolved.sources[RUNS]} allows {allowed}: to "
            f"continue it, give --runs {enough} or more"
        )


def with_target(kind: ExperimentKind, resolved: ResolvedConfig) -> tuple[ResolvedConfig, tuple[str, ...]]:
    """The configuration with the most runs that a target allows, or without the target, and the header's notes on it.

    Args:
        kind: of the experiment.
        resolved: its configuration.

    Raises:
        UsageError: there are several B_E, of which one mean has no single error.
    """
    batch = resolved.config.batch_config
    if batch.target_se is None:
        return resolved, ()
    where = resolved.sources[TARGET]
    if not kind.to_target:
        why = f"not for {kind.name}, whose number of runs is fixed"
        return resolved.with_target(None, f"{where}: {why}"), (f"  target of the error: {why}",)
    if len(batch.B_E_values) > 1:
        listed = ", ".join(map(str, batch.B_E_values))
        raise UsageError(
            f"{where}: {TARGET} is the error of the mean of runs at one B_E, and {kind.name} has {listed}: give "
            f"{kind.sizes} with one of them"
        )
    if resolved.sources[RUNS] != BUILT_IN:
        return resolved, ()
    return resolved.with_most_runs(MOST, f"the most where {TARGET} is set and no number is"), ()
