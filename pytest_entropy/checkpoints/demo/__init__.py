"""The bundled demo checkpoint: a tiny Qwen2 trained from scratch on word problems, then by GRPO with LoRA.

Rebuilt by ``python -m tools.demo.build``; see docs/demo.md.
"""

from __future__ import annotations

import json
from pathlib import Path

PATH = Path(__file__).parent / "artefact"
# step_29 is beside it: two consecutive steps prove how the optimizer numbers its parameters.
CHECKPOINT = PATH / "step_30"
PROFILE = Path(__file__).parent / "profile.yaml"


def read_record() -> dict[str, object]:
    """The record of the artefact's build: reward, entropy, sizes, digests, versions."""
    record: dict[str, object] = json.loads((PATH / "demo.json").read_bytes())
    return record
