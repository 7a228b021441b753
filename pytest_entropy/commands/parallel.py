"""Apply a function to many directories, on all cores where that is faster."""

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
# Fewer directories than this are done before a second process has started.
WORTH_IT = 4


def each(
    work: Callable[[Path], T], places: Sequence[Path], *, expected: type[E], cores: int | None = None
) -> Iterator[tuple[Path, T | E]]:
    """(place, result of ``work`` or the error it raised) for every place, in order.

    Args:
        work: applied to each place.
        places: directories.
        expected: the type of error that is returned; others are raised.
        cores: number of processes at most; all cores by default.
    """
    cores = min(cores or os.cpu_count() or 1, len(places))
    one = partial(_caught, work, expected)
    # A forked process has its imports; elsewhere starting a process costs more time than it saves.
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
