"""The second workload: a small policy that reasons in many steps, with answers of one to three hundred tokens."""

from __future__ import annotations

from pathlib import Path

# Built by ``python -m benchmarks.long_answers.build``.
ARTEFACT = Path(__file__).parent / "artefact"
CHECKPOINT = ARTEFACT / "step_20"
# Tokens of a response at most.
LIMIT = 320
