"""How many rows of the batch belong to each prompt, in the forward pass under way on this thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Rows(threading.local):
    per_prompt: int = 1


_rows = _Rows()


@contextmanager
def row_groups(per_prompt: int) -> Iterator[None]:
    """Within the block, rows ``n * per_prompt … (n + 1) * per_prompt - 1`` belong to prompt n."""
    previous, _rows.per_prompt = _rows.per_prompt, per_prompt
    try:
        yield
    finally:
        _rows.per_prompt = previous


def rows_per_prompt() -> int:
    """Rows per prompt of the forward pass under way."""
    return _rows.per_prompt
