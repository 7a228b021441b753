"""The rows per prompt and positions of this thread's current forward pass, and how a recomputed part restores them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager


class _Rows(threading.local):
    per_prompt: int = 1
    positions: int | None = None
    entered: tuple[Callable[[], AbstractContextManager[object]], ...] = ()


_rows = _Rows()


@contextmanager
def row_groups(per_prompt: int, positions: int | None = None) -> Iterator[None]:
    """A block in which rows ``n * per_prompt … (n + 1) * per_prompt - 1`` belong to prompt n.

    Args:
        per_prompt: number of rows per prompt.
        positions: number of positions of each row; None where it is not known.
    """
    previous = _rows.per_prompt, _rows.positions
    _rows.per_prompt, _rows.positions = per_prompt, positions
    try:
        yield
    finally:
        _rows.per_prompt, _rows.positions = previous


def rows_per_prompt() -> int:
    """The number of rows per prompt in the current forward pass."""
    return _rows.per_prompt


def positions_per_row() -> int | None:
    """The number of positions of each row in the current forward pass, None where it is not known."""
    return _rows.positions


@contextmanager
def part_of_pass(enter: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """A block in which parts of the forward pass that backward recomputes are recomputed inside ``enter()``."""
    previous, _rows.entered = _rows.entered, (*_rows.entered, enter)
    try:
        yield
    finally:
        _rows.entered = previous


class SamePass(AbstractContextManager[None]):
    """A context that restores the row groups and contexts of the forward pass in which it was created.

    It may be entered later, on another thread, and any number of times.
    """

    def __init__(self) -> None:
        self._shape, self._entered = (_rows.per_prompt, _rows.positions), _rows.entered
        self._stacks: list[ExitStack] = []

    def __enter__(self) -> None:
        stack = ExitStack()
        stack.enter_context(row_groups(*self._shape))
        for enter in self._entered:
            stack.enter_context(enter())
        self._stacks.append(stack)

    def __exit__(self, *error: object) -> None:
        self._stacks.pop().close()
