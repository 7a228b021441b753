"""Correct probes where checks have cried wolf: forty prompts, policies that have all but collapsed; whole sessions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.prompts import DemoPrompts

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


SanityCheck = Callable[..., tuple[int, str, dict[str, dict[str, Any]]]]


@pytest.fixture
def sanity_check(tmp_path: Path) -> SanityCheck:
    """Runs the demo's sanity check with more options; returns (exit code, output, check outcomes by name)."""

    def run(*options: str) -> tuple[int, str, dict[str, dict[str, Any]]]:
        results = tmp_path / "results"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "experiments/test_sanity_check.py", "-q", "-p", "no:cacheprovider",
             f"--entropy-results={results}", *options],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        checks = [json.loads(file.read_text()) for file in results.rglob("check_*.json")]
        return done.returncode, done.stdout, {check["name"]: check for check in checks}

    return run


def test_forty_prompts_of_which_every_run_draws_all_that_are_left(sanity_check: SanityCheck, tmp_path: Path) -> None:
    source = tmp_path / "forty.jsonl"
    prompts = [DemoPrompts()[977 * n] for n in range(40)]
    source.write_text("".join(json.dumps({"prompt": p.content, **p.columns}) + "\n" for p in prompts))
    code, output, checks = sanity_check(f"--prompts={source}", "--bu=8", "--be=32", "--runs=15", "--entropy-seed=0")
    assert code == 0, output
    # Runs of the same prompts spread by their answers alone: it compares answers shuffled within prompts.
    assert checks["se_calibration"]["verdict"] == "pass"
    assert checks["se_calibration"]["p_value"] > 1e-5
    assert [name for name, check in checks.items() if check["verdict"] == "fail"] == []
    assert checks["score_identity"]["verdict"] == checks["estimator_agreement"]["verdict"] == "pass"


@pytest.mark.parametrize("temperature", [0.02, 0.15])
def test_a_collapsed_policy_is_undecided_and_not_red(sanity_check: SanityCheck, temperature: float) -> None:
    """Its rewards are equal; momentum moves it all the same."""
    code, output, checks = sanity_check(
        f"--entropy-set=sampling.temperature={temperature}", "--entropy-set=probe.update_rule=adamw", "--runs=6"
    )
    assert code == 0, output
    assert [name for name, check in checks.items() if check["verdict"] == "fail"] == []
    for name in ("score_identity", "estimator_agreement", "first_order_accuracy"):
        assert checks[name]["verdict"] == "inconclusive"
        assert "responses are expected to hold a token other than the likeliest" in checks[name]["reason"]
