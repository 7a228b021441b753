"""The same work on many directories, on all cores where that pays."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=Exception)
# Fewer than so many are done before a second process is.
WORTH_IT = 4


def each(
    work: Callable[[Path], T], places: Sequence[Path], *, expected: type[E], cores: int | None = None
) -> Iterator[tuple[Path, T | E]]:
    """(place, what ``work`` gives or the ``expected`` error it raises), in the order of ``places``."""
    cores = min(cores or os.cpu_count() or 1, len(places))
    one = partial(_caught, work, expected)
    # A fork has everything imported; elsewhere starting a process costs more than it saves.
    if cores < 2 or len(places) < WORTH_IT or sys.platform != "linux":
        yield from zip(places, map(one, places), strict=True)
        return
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        yield from zip(places, pool.imap(one, places), strict=True)


def _caught(work: Callable[[Path], T], expected: type[E], place: Path) -> T | E:
    try:
        return work(place)
    except expected as error:
        return error
