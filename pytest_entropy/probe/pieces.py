"""How a batch of prompts is cut into pieces and worked through, so that memory and bits stay the same.

The cut depends on the data and the configured budget alone, never on the number of threads or workers, and
each piece is computed by one thread with one intra-op thread.  So on the CPU results agree to the last bit whatever
the parallelism.  When memory runs out a piece is halved and the work goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Slots = list[int]
Done = tuple[Slots, T]


class Piece(Protocol[T_co]):
    """A part of a batch's work that may be sent to another process: a frozen dataclass that pickles.

    It holds the rollouts of its own prompts and what the work takes beside them, and nothing of the process it was
    made in, so that every process which has loaded the same policy computes the same bits of it.
    """

    def compute(self, policy: Policy) -> T_co:
        """Do the work on a policy."""


MakePiece = Callable[[Slots], Piece[T]]


def sampling_chunks(prompt_lengths: Sequence[int], group: int, rows: int) -> list[Slots]:
    """Slots of prompts of similar length, at most ``rows`` responses a chunk (at least one prompt)."""
    order = sorted(range(len(prompt_lengths)), key=lambda n: (prompt_lengths[n], n))
    size = max(1, rows // group)
    return [order[i : i + size] for i in range(0, len(order), size)]


def scoring_chunks(rollouts: Rollouts, tokens: int) -> list[Slots]:
    """Slots ordered by response length, cut so that a chunk's padded tokens stay within ``tokens``.

    A prompt counts once, its responses G times; a chunk holds at least one prompt.
    """
    longest = rollouts.lengths.amax(1).tolist()
    order = sorted(range(len(rollouts)), key=lambda n: (longest[n], len(rollouts.prompt_ids[n]), n))
    chunks: list[Slots] = []
    widest = 0
    for n in order:
        widest_with = max(widest, len(rollouts.prompt_ids[n]))
        cost = widest_with + rollouts.group_size * longest[n]
        if chunks and (len(chunks[-1]) + 1) * cost <= tokens:
            chunks[-1].append(n)
            widest = widest_with
        else:
            chunks.append([n])
            widest = len(rollouts.prompt_ids[n])
    return chunks


# What else says that an allocation failed: the CPU allocator; cuBLAS, for its own workspace; the CUDA driver.
_NO_MEMORY = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDA error: out of memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or on the CPU; not every allocator has a class of error of its own."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    )


def threads_on(device: torch.device, asked: int) -> int:
    """Pieces to compute at once: as many as asked for on the CPU, one elsewhere.

    A GPU computes the pieces of several threads one after the other, and would hold all of them in memory.
    """
    return asked if device.type == "cpu" else 1


def work_through(policy: Policy, chunks: Sequence[Slots], piece: MakePiece[T], *, threads: int = 1) -> list[Done[T]]:
    """All (indices, result) pairs of :func:`worked`, for results that are small."""
    return list(worked(policy, chunks, piece, threads=threads))


def worked(policy: Policy, chunks: Sequence[Slots], piece: MakePiece[T], *, threads: int = 1) -> Iterator[Done[T]]:
    """Compute the piece of every chunk, several at once; a chunk that runs out of memory is halved.

    Args:
        policy: what the pieces are computed on.
        chunks: indices, by :func:`sampling_chunks` or :func:`scoring_chunks`.
        piece: the piece of some indices.
        threads: pieces computed at once.

    Yields:
        (indices, result) in the order of the chunks; what the caller does not keep is free again.
    """

    def attempt(indices: Slots) -> list[Done[T]]:
        try:
            return [(indices, piece(indices).compute(policy))]
        except Exception as error:
            if len(indices) < 2 or not is_out_of_memory(error):
                raise
        # Outside the except block, so that the failed pass's tensors are free before the next try.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        middle = len(indices) // 2
        return attempt(indices[:middle]) + attempt(indices[middle:])

    with one_thread_per_operation():
        if threads < 2 or len(chunks) < 2:
            for indices in chunks:
                yield from attempt(indices)
        else:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for pairs in pool.map(attempt, chunks):
                    yield from pairs


@contextmanager
def one_thread_per_operation() -> Iterator[None]:
    """Intra-op threads change the order of sums; within the block there is one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
