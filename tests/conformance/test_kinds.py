"""Every kind of part has a conformance check, so that whoever adds one knows what it is held against."""

from __future__ import annotations

import subprocess
import sys

from pytest_entropy import registry, testing

CHECK_OF = {
    "estimators": "check_estimator",
    "scalars": "check_estimator",
    "update_rules": "check_update_rule",
    "optimizers": "check_optimizer",
    "layouts": "check_layout",
    "checks": "check_check",
    "bookkeeping": "check_identity",
    "report_sections": "check_report_section",
    "rewards": "check_reward",
    "prompt_sources": "check_prompt_source",
    "executors": "check_executor",
}


def test_every_kind_has_a_check() -> None:
    assert set(CHECK_OF) == set(registry.KINDS)
    for name in CHECK_OF.values():
        assert callable(getattr(testing, name))
    assert set(CHECK_OF.values()) <= set(testing.__all__)


def test_importing_the_checks_imports_nothing_heavy() -> None:
    code = (
        "import sys, pytest_entropy.testing; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
