"""Freed blocks of a process with a large model return to the system once glibc was told so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from pytest_entropy.probe.memory.heap import return_large_blocks

# Once a block of 32 MiB was freed, glibc keeps smaller ones.  Then every second of a hundred blocks is freed.
HOLES = """
import sys, torch
from torch import nn
from pytest_entropy.probe.memory.heap import LARGE_MODEL, return_large_blocks
from pytest_entropy.records.free_memory import resident_bytes
model = nn.Linear(LARGE_MODEL // 4 // 64, 64, bias=False)
for _ in range(2):
    torch.ones(2**25 // 4 - 2**14)
told = sys.argv[1] == "told" and return_large_blocks(model)
blocks = [torch.ones(2**21 // 4) for _ in range(100)]
full = resident_bytes()
del blocks[::2]
print(int(told), full - resident_bytes())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap")
def test_freed_blocks_return_only_where_it_was_told() -> None:
    def returned(how: str) -> tuple[bool, int]:
        command = [sys.executable, "-W", "ignore", "-c", HOLES, how]
        told, size = subprocess.run(
            command, cwd=Path(__file__).parents[4], capture_output=True, text=True
        ).stdout.split()
        return told == "1", int(size)

    told, size = returned("told")
    if not told:
        pytest.skip("no glibc here")
    assert size > 60 * 2**20
    assert returned("not")[1] < 20 * 2**20


def test_a_small_model_keeps_them() -> None:
    assert not return_large_blocks(nn.Linear(8, 8))
