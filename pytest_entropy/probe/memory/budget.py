"""Choose sizes of pieces whose forecast memory fits what is free, and refuse work of which not even one response fits.

The sizes are powers of two below fixed ones, so that they are the same on all machines that have room, and results,
whose rounding depends on the sizes, with them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from pytest_entropy.errors import UsageError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.memory.forecast import Forecast, PieceSize
from pytest_entropy.records.free_memory import free_bytes
from pytest_entropy.settings.probe import LARGEST_CHUNK, ProbeConfig

log = logging.getLogger(__name__)
GIB = 2**30
# Of free memory; the rest is for what no forecast counts: the allocator's gaps, and other processes.
SHARE = 0.8
# Work that by a rough bound takes less than this share of free memory is not forecast.
NEGLIGIBLE = 0.25
# Tables of the vocabulary's size that a piece holds at once, at most.
TABLES = 8
# Gradient and direction of the update in float64, and a copy of each for its oracle.
VECTORS = 4 * 8


@dataclass(frozen=True)
class Budget:
    """The sizes of a run's pieces, and the bytes that each kind of piece is forecast to take beside what is held.

    Attributes:
        chunk_tokens: tokens scored together.
        sample_rows: responses decoded together.
        bytes_by_phase: ``derivatives``, ``gradient``, ``sampling``; empty where a rough bound is far below what
            is free.
        free: bytes that were free when the sizes were chosen; None where nothing tells.
    """

    chunk_tokens: int
    sample_rows: int
    bytes_by_phase: dict[str, int] = field(default_factory=dict)
    free: int | None = None

    def in_words(self) -> str:
        """The budget as a line of the log."""
        sizes = f"pieces of {self.chunk_tokens} tokens, {self.sample_rows} responses decoded together"
        if self.free is None or not self.bytes_by_phase:
            return sizes
        phases = ", ".join(f"{name} {size / GIB:.2f} GiB" for name, size in self.bytes_by_phase.items())
        return f"{sizes}; they take at most: {phases}; {self.free / GIB:.2f} GiB are free"


def available(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None where nothing tells.

    Args:
        device: where the work will be; on a GPU what torch keeps unused counts as free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return free_bytes() if device.type == "cpu" else None


def budget_for(policy: Policy, config: ProbeConfig, *, prompt_tokens: int, threads: int, free: int | None) -> Budget:
    """The sizes of pieces for a policy and settings.

    Args:
        policy: the policy; only its shapes matter.
        config: gives the sizes of batches and responses, and the configured bounds.
        prompt_tokens: tokens of a long prompt.
        threads: number of pieces computed at once.
        free: bytes that can still be allocated; None where nothing tells.

    Raises:
        UsageError: not even one response's piece fits; names the phase, the numbers and the options that help.
    """
    widest = LARGEST_CHUNK if config.chunk_tokens == "auto" else config.chunk_tokens
    plain = Budget(widest, config.sample_rows, free=free)
    if free is None or threads * _bound(policy, config, widest) < NEGLIGIBLE * free:
        return plain
    chooser = _Chooser(policy, config, prompt_tokens, threads, free)
    chosen = chooser.choose(plain)
    log.info("memory: %s", chosen.in_words())
    return chosen


def _bound(policy: Policy, config: ProbeConfig, tokens: int) -> int:
    """Bytes that a piece of so many tokens takes at most, roughly: twice the inputs and outputs of all linear maps."""
    linear = [m for m in policy.model.modules() if isinstance(m, nn.Linear)]
    widths = sum(m.in_features + m.out_features for m in linear)
    vocabulary = int(policy.model.config.vocab_size)
    decoded = config.sample_rows * config.max_new_tokens
    per_token = 8 * widths + 4 * TABLES * vocabulary
    return tokens * per_token + VECTORS * _entries(policy) + decoded * 8 * widths // 8


def _entries(policy: Policy) -> int:
    return sum(p.numel() for p in policy.trainable.values())


@dataclass(frozen=True)
class _Chooser:
    policy: Policy
    config: ProbeConfig
    prompt_tokens: int
    threads: int
    free: int

    def choose(self, plain: Budget) -> Budget:
        """Sizes that fit, at most those of ``plain``."""
        config = self.config
        forecast = Forecast(
            self.policy, config.estimator, self.prompt_tokens, config.max_new_tokens,
            with_gradient="total_variance" in config.diagnostics,
        )  # fmt: skip
        phases = {"derivatives": forecast.derivatives, "gradient": forecast.gradient}
        groups = {"derivatives": self.config.entropy_group, "gradient": self.config.G}

        def scoring(tokens: int) -> dict[str, int]:
            sizes = {
                name: PieceSize.within(tokens, groups[name], self.prompt_tokens, self.config.max_new_tokens)
                for name in phases
            }
            return {name: self.threads_of(name) * phases[name](sizes[name]) for name in phases}

        def sampling(rows: int) -> dict[str, int]:
            group = self.config.entropy_group
            return {"sampling": self.threads * forecast.sampling(max(1, rows // group), group)}

        room = self.free - (0 if self.policy.device.type == "cuda" else VECTORS * _entries(self.policy))
        smallest = self.prompt_tokens + self.config.max_new_tokens
        least = scoring(smallest)
        self._require_room(least, room)
        if self.config.chunk_tokens == "auto":
            tokens, scored = _largest(plain.chunk_tokens, smallest, scoring, int(SHARE * room), least)
        else:
            tokens, scored = plain.chunk_tokens, scoring(plain.chunk_tokens)
        rows, decoded = _largest(plain.sample_rows, self.config.entropy_group, sampling, int(SHARE * room), {})
        return replace(plain, chunk_tokens=tokens, sample_rows=rows, bytes_by_phase=decoded | scored)

    def threads_of(self, phase: str) -> int:
        """Pieces of a phase that are computed at once; gradients are summed one by one."""
        return self.threads if phase == "derivatives" else 1

    def _require_room(self, least: dict[str, int], room: int) -> None:
        phase = max(least, key=lambda name: least[name])
        if least[phase] <= room:
            return
        vectors = VECTORS * _entries(self.policy)
        raise UsageError(
            f"the {phase} of one response of {self.config.max_new_tokens} tokens need {least[phase] / GIB:.2f} GiB "
            f"(and the update's vectors {vectors / GIB:.2f} GiB), and {self.free / GIB:.2f} GiB are free on "
            f"{self.policy.device}: lower sampling.max_new_tokens, take --entropy-threads 1 or fewer workers, a base "
            "in bfloat16 (--dtype bfloat16, for adapters), or a device with more memory"
        )


def _largest(
    widest: int, smallest: int, need: Callable[[int], dict[str, int]], room: int, least: dict[str, int]
) -> tuple[int, dict[str, int]]:
    """The largest of ``widest``, its half, its quarter … that fits, and its bytes by phase; ``smallest`` if none does.

    Args:
        widest, smallest: bounds of the size.
        need: bytes by phase of a size.
        room: bytes that may be taken.
        least: bytes by phase of the smallest size; computed where empty.
    """
    size, needed = widest, need(widest)
    if max(needed.values()) <= room or widest <= smallest:
        return size, needed
    least = least or need(smallest)
    # Memory grows linearly with the size, so that most sizes need not be tried.
    slope = (max(needed.values()) - max(least.values())) / (widest - smallest)
    while size // 2 >= smallest:
        size //= 2
        if max(least.values()) + slope * (size - smallest) <= room:
            needed = need(size)
            if max(needed.values()) <= room:
                return size, needed
    return smallest, least
