"""What loading a checkpoint imports: peft, which is slow to import, only for an adapter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.checkpoints.test_layouts import save_full

LOAD = """
import sys
from pytest_entropy import load_checkpoint
load_checkpoint(sys.argv[1])
print("peft" in sys.modules, "bitsandbytes" in sys.modules)
"""


@pytest.mark.slow
def test_a_full_checkpoint_is_loaded_without_peft(tmp_path: Path) -> None:
    save_full(tmp_path)
    done = subprocess.run([sys.executable, "-c", LOAD, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.split()[-2:] == ["False", "False"], done.stderr
