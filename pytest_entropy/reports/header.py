"""The header's lines of a plan that say what was found: the base model, and what ``--resume`` keeps."""

from __future__ import annotations

import os
from typing import Any


def base_lines(plan: Any) -> list[str]:
    """The line that says which base model an adapter is loaded on; none for a whole model and for the demo.

    Args:
        plan: of an experiment.
    """
    files = plan.files
    if files.base is None or plan.resolved.config.checkpoint == "demo":
        return []
    base = os.path.abspath(files.base) if os.path.isdir(files.base) else files.base
    return [f"  base model: {base} ({files.base_source})"]
