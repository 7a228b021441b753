"""Cut a batch of prompts into pieces and compute them, with bounded memory and bit-identical results on the CPU.

The cut depends on the data, the configured budget and the type of device alone, never on the number of threads or
workers, and each piece is computed by one thread with one intra-op thread.  So on the CPU results agree to the last bit
whatever the parallelism.  A piece that runs out of memory is halved and computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from typing import Generic, Protocol, TypeVar

import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.recomputation import layers_of, recomputing
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.records import phases

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Slots = list[int]
Done = tuple[Slots, T]


class Piece(Protocol[T_co]):
    """A part of a batch's work that may be sent to another process: a frozen dataclass that pickles.

    It holds the data of its own prompts and the parameters of the work, and no state of the process that made it, so
    that every process that has loaded the same policy computes the same bits.
    """

    def compute(self, policy: Policy) -> T_co:
        """Compute the piece's result on a policy."""


MakePiece = Callable[[Slots], Piece[T]]


def sampling_chunks(prompt_lengths: Sequence[int], group: int, rows: int, device_type: str = "cpu") -> list[Slots]:
    """Cut prompts, sorted by length, into chunks of indices.

    Off the CPU prompts of one length come together as far as they fill at least half a chunk, since attention is faster
    without padding; the others share chunks, since each chunk is a pass over all positions.  So there are at most
    about twice as many chunks as there would be on the CPU.

    Args:
        prompt_lengths: tokens of each prompt, ``[P]``.
        group: number of responses to each prompt.
        rows: largest number of responses in a chunk; a chunk holds at least one prompt all the same.
        device_type: type of the policy's device.
    """
    order = sorted(range(len(prompt_lengths)), key=lambda n: (prompt_lengths[n], n))
    size = max(1, rows // group)
    if device_type == "cpu":
        return _cut(order, size)
    alone: list[Slots] = []
    mixed: Slots = []
    for _, same in groupby(order, key=lambda n: prompt_lengths[n]):
        for chunk in _cut(list(same), size):
            if 2 * len(chunk) >= size:
                alone.append(chunk)
            else:
                mixed += chunk
    return alone + _cut(mixed, size)


def _cut(indices: Slots, size: int) -> list[Slots]:
    return [indices[i : i + size] for i in range(0, len(indices), size)]


def scoring_chunks(
    rollouts: Rollouts, tokens: int, *, pads: bool = True, distinct: Sequence[int] | None = None
) -> list[Slots]:
    """Cut prompts, sorted by responses and their longest, into chunks of indices whose padded tokens fit a budget.

    A prompt's own tokens count once, its longest response's tokens as often as responses are computed.

    Args:
        rollouts: P prompts x G responses.
        tokens: largest number of padded tokens in a chunk; a chunk holds at least one prompt all the same.
        pads: whether prompts of different lengths may be in one chunk, as the policy that scores them says.
        distinct: number of responses to each prompt that are computed; all G if left out.
    """
    longest = rollouts.lengths.amax(1).tolist()
    lengths = [len(ids) for ids in rollouts.prompt_ids]
    rows = [rollouts.group_size] * len(rollouts) if distinct is None else distinct
    # Without padding, prompts of one length have to come together.
    order = sorted(range(len(rollouts)), key=lambda n: (0 if pads else lengths[n], rows[n], longest[n], lengths[n], n))
    chunks: list[Slots] = []
    widest = tallest = 0
    for n in order:
        own = lengths[n]
        widest_with, tallest_with = max(widest, own), max(tallest, longest[n])
        cost = widest_with + rows[n] * tallest_with
        if chunks and (pads or own == widest) and (len(chunks[-1]) + 1) * cost <= tokens:
            chunks[-1].append(n)
            widest, tallest = widest_with, tallest_with
        else:
            chunks.append([n])
            widest, tallest = own, longest[n]
    return chunks


# Words of a failed allocation in a RuntimeError: by the CPU allocator; by cuBLAS for its workspace; by the CUDA driver.
_NO_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on a GPU or on the CPU, by its class or by its message."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    )


def threads_on(device: torch.device, asked: int) -> int:
    """Number of pieces to compute at once: as many as asked for on the CPU, one on any other device.

    A GPU would compute the pieces of several threads one after the other, and hold all of them in memory.

    Args:
        device: what the policy is on.
        asked: the configured number of threads.
    """
    return asked if device.type == "cpu" else 1


def work_through(policy: Policy, chunks: Sequence[Slots], piece: MakePiece[T], *, threads: int = 1) -> list[Done[T]]:
    """The (indices, result) pairs of :func:`worked` as a list, for results that are small.

    Args:
        policy: what the pieces are computed on.
        chunks: indices of prompts, one list per piece.
        piece: makes the piece of some indices.
        threads: number of pieces computed at once.
    """
    return list(worked(policy, chunks, piece, threads=threads))


class _Within(Generic[T]):
    """Computes pieces within the memory there is: what ran out is computed in smaller parts, and what follows, too.

    Args:
        policy: what the pieces are computed on.
        piece: makes the piece of some indices.
    """

    def __init__(self, policy: Policy, piece: MakePiece[T]) -> None:
        self._policy, self._piece = policy, piece
        # The largest number of prompts that is tried, and how often a single prompt's piece is lessened.
        self._prompts: int | None = None
        self._lessened = 0

    def attempt(self, indices: Slots) -> list[Done[T]]:
        """The results of the piece of these indices, or of several that take its place."""
        if self._prompts is not None and len(indices) > self._prompts:
            return [done for some in _cut(indices, self._prompts) for done in self.attempt(some)]
        piece = self._made(indices)
        try:
            result = piece.compute(self._policy)
            phases.report(_tokens(piece))
            return [(indices, result)]
        except Exception as error:
            if not is_out_of_memory(error) or not self._take_less(indices, piece):
                raise
        # Outside the except block, so that the failed pass's tensors are free before the next try.
        del piece
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self.attempt(indices)

    def _take_less(self, indices: Slots, piece: Piece[T]) -> bool:
        """Compute fewer prompts at once from now on, or a part of a prompt's piece; whether there is anything less.

        The last resort for pieces that are differentiated: layers are recomputed in backward.
        """
        if len(indices) > 1:
            self._prompts = min(self._prompts or len(indices), len(indices) // 2)
        elif _lesser(piece) is not None:
            self._lessened += 1
        elif hasattr(piece, "lesser") and not self._policy.recompute and layers_of(self._policy.model):
            self._policy = recomputing(self._policy)
        else:
            return False
        return True

    def _made(self, indices: Slots) -> Piece[T]:
        piece = self._piece(indices)
        for _ in range(self._lessened if len(indices) == 1 else 0):
            piece = _lesser(piece) or piece
        return piece


def _lesser(piece: Piece[T]) -> Piece[T] | None:
    """The same request in a form that needs less memory, if the piece's kind has one."""
    lesser: Callable[[], Piece[T] | None] | None = getattr(piece, "lesser", None)
    return None if lesser is None else lesser()


def worked(policy: Policy, chunks: Sequence[Slots], piece: MakePiece[T], *, threads: int = 1) -> Iterator[Done[T]]:
    """Compute the piece of every chunk, several at once; a chunk that runs out of memory is halved, and later ones too.

    Args:
        policy: what the pieces are computed on.
        chunks: indices of prompts, one list per piece, by :func:`sampling_chunks` or :func:`scoring_chunks`.
        piece: makes the piece of some indices.
        threads: number of pieces computed at once.

    Yields:
        (indices, result) in the order of the chunks; no result is held after the caller has dropped it.
    """

    within = _Within(policy, piece)
    attempt = within.attempt
    with one_thread_per_operation():
        if threads < 2 or len(chunks) < 2:
            for indices in chunks:
                yield from attempt(indices)
        else:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for pairs in pool.map(attempt, chunks):
                    yield from pairs


def _tokens(piece: object) -> int:
    """Padded response tokens of a piece by its shape, which costs no wait for a GPU; sampling reports its own."""
    part = getattr(piece, "part", None)
    return part.tokens.numel() if isinstance(part, Rollouts) else 0


@contextmanager
def one_thread_per_operation() -> Iterator[None]:
    """Use one intra-op thread within the block, because their number changes the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
