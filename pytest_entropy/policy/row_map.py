"""The number of batch rows per prompt in this thread's current forward pass, and how a recomputed part restores it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager


class _Rows(threading.local):
    per_prompt: int = 1
    entered: tuple[Callable[[], AbstractContextManager[object]], ...] = ()


_rows = _Rows()


@contextmanager
def row_groups(per_prompt: int) -> Iterator[None]:
    """A block in which rows ``n * per_prompt … (n + 1) * per_prompt - 1`` belong to prompt n."""
    previous, _rows.per_prompt = _rows.per_prompt, per_prompt
    try:
        yield
    finally:
        _rows.per_prompt = previous


def rows_per_prompt() -> int:
    """The number of rows per prompt in the current forward pass."""
    return _rows.per_prompt


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
        self._per_prompt, self._entered = _rows.per_prompt, _rows.entered
        self._stacks: list[ExitStack] = []

    def __enter__(self) -> None:
        stack = ExitStack()
        stack.enter_context(row_groups(self._per_prompt))
        for enter in self._entered:
            stack.enter_context(enter())
        self._stacks.append(stack)

    def __exit__(self, *error: object) -> None:
        self._stacks.pop().close()
