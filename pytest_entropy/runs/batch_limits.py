"""What an experiment and its prompts allow of the configured batches, checked before any work."""

from __future__ import annotations

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import PromptSet
from pytest_entropy.settings.companions import AUTO, allowed_companions, why_no_reads
from pytest_entropy.settings.experiments import ExperimentKind
from pytest_entropy.settings.layers import BUILT_IN, MOST_READS, READS, ResolvedConfig
from pytest_entropy.settings.model import ExperimentConfig


def require_one_update(kind: ExperimentKind, resolved: ResolvedConfig) -> None:
    """Reject several update batches where runs are compared with one another.

    Args:
        kind: of the experiment.
        resolved: its configuration.

    Raises:
        UsageError: names the key and the experiment that takes it.
    """
    batch, mode = resolved.config.batch_config, resolved.config.probe.mode
    if batch.updates == 1:
        return
    where = resolved.sources["batch_config.updates"]
    if kind.one_update:
        raise UsageError(
            f"{where}: batch_config.updates is {batch.updates}, and {kind.name} compares runs along one update batch: "
            "give it to single_run, whose drift per step is a mean over update batches"
        )
    if mode == "u_statistic":
        raise UsageError(
            f"{where}: batch_config.updates is {batch.updates}, and in probe.mode u_statistic every run draws an "
            "update of its own: give batch_config.runs_per_batch"
        )


def allowed_reads(resolved: ResolvedConfig, prompts: PromptSet) -> tuple[ResolvedConfig, tuple[str, ...]]:
    """The configuration with as many companion reads as the prompts allow, the same at every B_E, and notes on them.

    Companions are drawn anew by every run, so that where they were a large part of the set, the set itself would be
    averaged over, and errors would be of this set and not of prompts like these.

    Args:
        resolved: an experiment's configuration.
        prompts: the configured set.
    """
    config, source = resolved.config, resolved.sources[READS]
    batch, probe = config.batch_config, config.probe
    reason = why_no_reads(probe.mode, probe.entropy_unit, probe.estimator)
    if reason and batch.reads:
        asked = (f"  companion reads: none instead of {batch.reads} ({source}): {reason}",)
        return resolved.with_reads(0, reason), () if source == BUILT_IN else asked
    if config.prompts.with_replacement or not batch.reads:
        return resolved, ()
    distinct = len({prompt.key for prompt in prompts}) if isinstance(prompts, list) else len(prompts)
    most = batch.reads if isinstance(batch.reads, int) else batch.most_reads
    reads, why = allowed_companions(
        most, max(batch.B_E_values), distinct=distinct - batch.B_U, rows=len(prompts) - batch.B_U
    )
    if not why:
        return resolved, ()
    chooses = batch.reads == AUTO
    note = f"  companion reads: {reads or 'none'} instead of {'at most ' if chooses else ''}{most}: {why}"
    if chooses and reads:
        return resolved.with_most_reads(reads, f"{resolved.sources[MOST_READS]}; {why}"), (note,)
    return resolved.with_reads(reads, f"{source}; {why}"), (note,)


def require_enough(prompts: PromptSet, config: ExperimentConfig) -> None:
    """Reject a set with fewer different prompts than a run draws: those of E, and of U where the run has one.

    Args:
        prompts: the configured set.
        config: the experiment's, in which a batch holds a prompt once.

    Raises:
        UsageError: says how many are missing, and for which batches.
    """
    largest, update = max(config.batch_config.B_E_values), config.batch_config.B_U
    needed, words = largest + update, f"B_E {largest} + B_U {update} disjoint prompts"
    smaller = "--be-values/--be/--bu"
    # A single batch is its own U.
    if config.probe.mode == "u_statistic":
        needed, words, smaller = largest, f"B_E {largest} different prompts", "--be-values/--be"
    distinct = len({prompt.key for prompt in prompts}) if isinstance(prompts, list) else len(prompts)
    if distinct < needed:
        which = "prompts" if distinct == len(prompts) else f"different prompts (of {len(prompts)})"
        raise UsageError(
            f"prompts {config.prompts.source}: {distinct} {which} are {needed - distinct} too few for {words}; "
            f"give more prompts, smaller {smaller}, or --with-replacement"
        )
