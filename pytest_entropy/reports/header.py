"""The header's lines of a plan that say what was found: the base model, and what ``--resume`` keeps."""

from __future__ import annotations

import os
from typing import Any

from pytest_entropy.records.error_text import shown
from pytest_entropy.records.paths import RESULTS


def base_lines(plan: Any) -> list[str]:
    """The lines that say which base model an adapter is loaded on, and which tensors are read under other names.

    Args:
        plan: of an experiment.
    """
    files = plan.files
    renamed = [f"  weights: {files.renamed}"] if files.renamed else []
    if files.base is None or plan.resolved.config.checkpoint == "demo":
        return renamed
    base = os.path.abspath(files.base) if os.path.isdir(files.base) else files.base
    return [f"  base model: {base} ({files.base_source})", *renamed]


def resume_lines(plan: Any) -> list[str]:
    """The line that says what ``--resume`` keeps, or why it keeps nothing; none without ``--resume``.

    Args:
        plan: of an experiment; one that is superseded has a line of its own.
    """
    if plan.nothing_kept:
        return [f"  resume: nothing kept: {plan.nothing_kept}"]
    if not plan.resumed:
        return []
    names = [plan.run_directory(B_E, run) for B_E, run in plan.runs]
    kept = sum(os.path.isfile(os.path.join(plan.directory, name, RESULTS)) for name in names)
    most = "at most " if plan.resolved.config.batch_config.target_se is not None else ""
    left = f"{most}{len(names) - kept} to compute" if kept < len(names) else "nothing to compute"
    return [f"  resume: kept {kept} of {len(names)} runs of {shown(plan.directory)}; {left}"]
