"""The small probes of memory scaling: runs of other G, length and B_E whose memory is counted.

Planned runs vary B_E only, and on a CPU their memory is the process's, in which earlier work and the C library's free
lists have a part.  Here each run's own tensors are counted, so that the same seed gives the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_entropy.records.memory_probe import Axis, MemoryProbe, MemoryProbes
from pytest_entropy.records.seeds import derive
from pytest_entropy.runs.compute import Place, config_of
from pytest_entropy.settings.model import ExperimentConfig

if TYPE_CHECKING:
    from pytest_entropy.probe import EntropyProbe
    from pytest_entropy.probe.update.direction import Update
    from pytest_entropy.records.spec import RunSpec

log = logging.getLogger(__name__)
# Prompts of a probe against G or length: the fewest that have a standard error.
FEWEST = 2
# Pieces into which the smallest B_E is cut where lengths decide what a piece holds, so that each is nearly full.
PIECES = 4


class MemoryProber:
    """Makes the probes of one experiment, with its checkpoint and along its update.

    Args:
        spec: of any of its runs.
        place: this process's checkpoint, prompts and rewards.
        update: the experiment's update.
    """

    def __init__(self, spec: RunSpec, place: Place, update: Update) -> None:
        # Finds out what is wrong with prompts and rewards.
        place.probe(spec)
        self.place, self.update, self.seed = place, update, derive(spec.seed, "memory")
        self.config: ExperimentConfig = config_of(spec)

    def probes(self, length_mean: float) -> MemoryProbes:
        """All probes: against B_E, against G, and against length.

        Args:
            length_mean: of the planned runs' responses, in tokens.
        """
        from pytest_entropy.probe.memory.live_bytes import counting

        probes = [*self._against_B_E(length_mean), *self._against_G_and_length()]
        return MemoryProbes(counted=counting(self._probe().policy.device), probes=probes)

    def _probe(self, **changes: Any) -> EntropyProbe:
        """A probe of one thread, because the count is of one."""
        from pytest_entropy.probe import EntropyProbe, ProbeConfig

        model = self.config.model
        checkpoint = self.place.machine.checkpoint(self.place.files, model.device, model.dtype)
        settings: dict[str, Any] = {**self.config.probe_settings(), **changes}
        # Its pass over U depends on none of what is varied.
        settings["diagnostics"] = tuple(name for name in settings["diagnostics"] if name != "total_variance")
        return EntropyProbe(checkpoint, ProbeConfig(**settings), prompts=self.place.prompts, reward=self.place.reward)

    def _against_B_E(self, length_mean: float) -> Iterator[MemoryProbe]:
        """The smallest and the largest B_E, with pieces that the smallest fills.

        With larger pieces memory would grow with B_E until one is full.
        """
        sizes, config = sorted(self.config.batch_config.B_E_values), self._probe().config
        rows = min(config.sample_rows, sizes[0] * config.entropy_group)
        tokens = max(1, int(rows * length_mean / PIECES))
        budget = config.chunk_tokens
        probe = self._probe(sample_rows=rows, chunk_tokens=min(budget, tokens) if isinstance(budget, int) else tokens)
        # The self-check of a probe's first run is not of the batch.
        probe.run(FEWEST, self.seed, run=1, update=self.update)
        for B_E in dict.fromkeys((sizes[0], sizes[-1])):
            yield self._counted(probe, "B_E", B_E)

    def _against_G_and_length(self) -> Iterator[MemoryProbe]:
        config = self._probe().config
        G, limit = config.entropy_group, config.max_new_tokens
        for group in shares(G, 2):
            whole = self._timed("G", group, limit)
            yield whole
        for longest in shares(limit, 1)[:-1]:
            yield self._timed("length", G, longest)
        # The run with the whole of both belongs to both.
        yield replace(whole, axis="length")

    def _timed(self, axis: Axis, group: int, limit: int) -> MemoryProbe:
        probe = self._probe(G_E=group, max_new_tokens=limit)
        timed = probe.run(FEWEST, self.seed, run=1, update=self.update)
        seconds = sum(taken for phase, taken in timed.seconds.items() if phase != "self_check")
        return self._counted(probe, axis, FEWEST, seconds)

    def _counted(self, probe: EntropyProbe, axis: Axis, B_E: int, seconds: float | None = None) -> MemoryProbe:
        from pytest_entropy.probe.memory.live_bytes import counted_run

        record, peak = counted_run(lambda: probe.run(B_E, self.seed, run=1, update=self.update), probe.policy.device)
        limit = probe.config.max_new_tokens
        log.info("B_E %d, G %d, up to %d tokens: tensors held %.1f MiB", B_E, record.G, limit, peak)
        return MemoryProbe(
            axis=axis, B_E=B_E, G=record.G, max_new_tokens=limit, length_mean=record.length_mean, peak_mb=peak,
            seconds=seconds,
        )  # fmt: skip


def shares(size: int, least: int) -> list[int]:
    """A quarter, a half and the whole of a size, each once and none below ``least``.

    >>> shares(8, 2), shares(3, 2)
    ([2, 4, 8], [2, 3])
    """
    return sorted({max(least, size // part) for part in (4, 2, 1)})
