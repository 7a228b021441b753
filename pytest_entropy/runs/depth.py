"""The depth of an experiment's checks, decided at planning: which runs have the diagnostics of the sanity checks."""

from __future__ import annotations

from collections.abc import Callable

from pytest_entropy.settings.experiments import ExperimentKind
from pytest_entropy.settings.layers import DEPTH, ResolvedConfig

# Parameters from which auto is light: several times the time of plain runs is hours there.
LARGE = 1_000_000_000


def with_depth(kind: ExperimentKind, resolved: ResolvedConfig, size: Callable[[], int | None]) -> ResolvedConfig:
    """The configuration with ``checks.depth`` light or full, and why; as it is where no diagnostics are configured.

    Args:
        kind: the experiment's kind, which says whether light holds.
        resolved: the configuration.
        size: gives the number of the model's parameters, None where it is not known; called only for ``auto``.
    """
    config = resolved.config
    if not config.diagnostics:
        return resolved
    if kind.light == "never":
        return resolved.at_depth("full", f"every run of {kind.name} has all diagnostics")
    if config.checks.depth != "auto":
        return resolved
    given = f"auto, {resolved.sources[DEPTH]}"
    if kind.light == "configured":
        return resolved.at_depth("full", f"{given}: {kind.name} has light only where it is configured")
    parameters = size()
    if parameters is None:
        return resolved.at_depth("full", f"{given}: the size of the model is not known")
    depth = "light" if parameters >= LARGE else "full"
    return resolved.at_depth(depth, f"{given}: {parameters:.3g} parameters, light from {LARGE:.0e}")


def other_depth(resolved: ResolvedConfig) -> ResolvedConfig:
    """The same configuration at the other depth."""
    return resolved.at_depth("full" if resolved.config.checks.depth == "light" else "light", "")
