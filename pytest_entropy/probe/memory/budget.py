"""Choose sizes of pieces whose forecast memory fits what is free, and refuse work of which not even one response fits.

The sizes are powers of two below fixed ones, so that they are the same on all machines that have room, and results,
whose rounding depends on the sizes, with them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import nn

from pytest_entropy.errors import UsageError
from pytest_entropy.policy import text_part
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.recomputation import layers_of, recomputing
from pytest_entropy.probe.memory.forecast import Forecast, PieceSize
from pytest_entropy.records.free_memory import free_bytes
from pytest_entropy.settings.probe import LARGEST_CHUNK, ProbeConfig

log = logging.getLogger(__name__)
GIB = 2**30
# Of free memory; the rest is for what no forecast counts: the allocator's gaps, and other processes.
SHARE = 0.8
# Work that by a rough bound takes less than this share of free memory is not forecast.
NEGLIGIBLE = 0.25
# A size is tried where a straight line through two others is below so many times what is free.
NEAR = 1.5
# Tables of the vocabulary's size that a piece holds at once, at most.
TABLES = 8
# A process may hold so many times what its tensors need, if freed blocks stay in the allocator's heap.
HELD = 1.5
# For all that no forecast counts, however small the pieces are.
RESERVE = 2**26
# Gradient and direction of the update in float64, and a copy of each for its oracle.
VECTORS = 4 * 8


@dataclass(frozen=True)
class Budget:
    """The sizes of a run's pieces, and the bytes that each kind of piece is forecast to take beside what is held.

    Attributes:
        chunk_tokens: tokens scored together.
        sample_rows: responses decoded together.
        recompute: whether layers are recomputed in backward, because one response does not fit otherwise.
        bytes_by_phase: ``derivatives``, ``gradient``, ``sampling``; empty where a rough bound is far below what
            is free.
        free: bytes that were free when the sizes were chosen; None where nothing tells.
        is_tight: whether the work might run out of memory if freed blocks stayed with the process.
    """

    chunk_tokens: int
    sample_rows: int
    recompute: bool = False
    bytes_by_phase: dict[str, int] = field(default_factory=dict)
    free: int | None = None
    is_tight: bool = False

    def in_words(self) -> str:
        """The budget as a line of the log."""
        sizes = f"pieces of {self.chunk_tokens} tokens, {self.sample_rows} responses decoded together"
        sizes += ", layers recomputed in backward" if self.recompute else ""
        if self.free is None or not self.bytes_by_phase:
            return sizes
        phases = ", ".join(f"{name} {_in_words(size)}" for name, size in self.bytes_by_phase.items())
        return f"{sizes}; they take at most: {phases}; {_in_words(self.free)} are free"


def available(device: torch.device) -> int | None:
    """Bytes that can still be allocated on a device; None where nothing tells.

    Args:
        device: where the work will be; on a GPU what torch keeps unused counts as free.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return free_bytes() if device.type == "cpu" else None


def budget_for(
    policy: Policy, config: ProbeConfig, *, prompt_tokens: Callable[[], int], threads: int, free: int | None
) -> Budget:
    """The sizes of pieces for a policy and settings.

    Args:
        policy: the policy; only its shapes matter.
        config: gives the sizes of batches and responses, and the configured bounds.
        prompt_tokens: counts the tokens of a long prompt, where a forecast needs them.
        threads: number of pieces computed at once.
        free: bytes that can still be allocated; None where nothing tells.

    Raises:
        UsageError: not even one response's piece fits; names the phase, the numbers and the options that help.
    """
    widest = LARGEST_CHUNK if config.chunk_tokens == "auto" else config.chunk_tokens
    plain = Budget(widest, config.sample_rows, free=free)
    if free is None or threads * _bound(policy, config, widest) < NEGLIGIBLE * free:
        return plain
    vectors = VECTORS * _entries(policy) if policy.device.type == "cpu" else 0
    chooser = _Chooser(policy, config, prompt_tokens(), threads, free - vectors - RESERVE)
    if max(chooser.least.values()) > chooser.room and layers_of(policy.model):
        chooser = replace(chooser, recompute=True)
    phase = max(chooser.least, key=lambda name: chooser.least[name])
    if chooser.least[phase] > chooser.room:
        raise UsageError(
            f"the {phase} of one response of {config.max_new_tokens} tokens need {_in_words(chooser.least[phase])}, "
            f"{_in_words(vectors + RESERVE)} more hold the vectors of the update and all else, {_in_words(free)} are "
            f"free on {policy.device}: lower sampling.max_new_tokens, take --entropy-threads 1 or fewer workers, "
            "--dtype bfloat16 for an adapter's base, or a device with more memory"
        )
    chosen = chooser.choose(plain)
    log.info("memory: %s", chosen.in_words())
    return chosen


def _in_words(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"


def _bound(policy: Policy, config: ProbeConfig, tokens: int) -> int:
    """Bytes that a piece of so many tokens takes at most, roughly: twice the inputs and outputs of all linear maps."""
    linear = [m for m in policy.model.modules() if isinstance(m, nn.Linear)]
    widths = sum(m.in_features + m.out_features for m in linear)
    vocabulary = text_part.vocabulary(policy.model)
    decoded = config.sample_rows * config.max_new_tokens
    per_token = 8 * widths + 4 * TABLES * vocabulary
    return tokens * per_token + VECTORS * _entries(policy) + decoded * widths


def _entries(policy: Policy) -> int:
    return sum(p.numel() for p in policy.trainable.values())


@dataclass(frozen=True)
class _Chooser:
    """Chooses the sizes for one policy, its settings, and ``room`` bytes beside the update's vectors.

    Attributes:
        policy, config, threads: of :func:`budget_for`.
        prompt_tokens: tokens of a long prompt.
        room: bytes that pieces may take.
        recompute: whether layers are recomputed in backward.
    """

    policy: Policy
    config: ProbeConfig
    prompt_tokens: int
    threads: int
    room: int
    recompute: bool = False

    @property
    def smallest(self) -> int:
        """Tokens of one response with its prompt."""
        return self.prompt_tokens + self.config.max_new_tokens

    @cached_property
    def _forecast(self) -> Forecast:
        return Forecast(
            recomputing(self.policy) if self.recompute else self.policy,
            self.config.estimator,
            self.prompt_tokens,
            self.config.max_new_tokens,
            with_gradient="total_variance" in self.config.diagnostics,
        )

    @cached_property
    def least(self) -> dict[str, int]:
        """Bytes by phase of one response's pieces."""
        return self.scoring(self.smallest)

    def scoring(self, tokens: int) -> dict[str, int]:
        """Bytes by phase of pieces of so many tokens; the update's gradients are computed piece by piece."""
        size = (self.prompt_tokens, self.config.max_new_tokens)
        along = self._forecast.derivatives(PieceSize.within(tokens, self.config.entropy_group, *size))
        return {
            "derivatives": self.threads * along,
            "gradient": self._forecast.gradient(PieceSize.within(tokens, self.config.G, *size)),
        }

    def sampling(self, rows: int) -> dict[str, int]:
        """Bytes of sampling so many responses at a time."""
        group = self.config.entropy_group
        return {"sampling": self.threads * self._forecast.sampling(max(1, rows // group), group)}

    def choose(self, plain: Budget) -> Budget:
        """Sizes that fit, at most those of ``plain``."""
        share = int(SHARE * self.room)
        if self.config.chunk_tokens == "auto":
            tokens, scored = _largest(plain.chunk_tokens, self.smallest, self.scoring, share, self.least)
        else:
            tokens, scored = plain.chunk_tokens, self.scoring(plain.chunk_tokens)
        rows, decoded = _largest(plain.sample_rows, self.config.entropy_group, self.sampling, share, {})
        needed = decoded | scored
        return replace(
            plain, chunk_tokens=tokens, sample_rows=rows, recompute=self.recompute, bytes_by_phase=needed,
            is_tight=HELD * max(needed.values()) > self.room,
        )  # fmt: skip


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
    # Memory grows about linearly with the size, so that sizes far too large need not be tried.
    slope = (max(needed.values()) - max(least.values())) / (widest - smallest)
    while size // 2 >= smallest:
        size //= 2
        if max(least.values()) + slope * (size - smallest) <= NEAR * room:
            needed = need(size)
            if max(needed.values()) <= room:
                return size, needed
    return smallest, least
