"""The example of docs/statistics.md runs as printed, and the page names every check."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pytest_entropy import stats

PAGE = (Path(__file__).parents[3] / "docs" / "statistics.md").read_text(encoding="utf-8")


def test_the_example_passes_and_its_check_can_fail() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code.group(1), "docs/statistics.md", "exec"), names)
    names["test_estimators_agree"]()
    drifted = stats.check_mean_difference([1.0, 1.1, 0.9] * 50, [0.5, 0.6, 0.6] * 50, alpha=1e-3, **names["WORDS"])
    assert drifted.verdict == "fail"


def test_every_check_is_on_the_page() -> None:
    checks = [name.removeprefix("check_") for name in stats.__all__ if name.startswith("check_")]
    assert [name for name in checks if f"`{name}`" not in PAGE] == []
