"""What a green experiment says where no statistical check could decide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_entropy.plugin.session_end import write_reports
from pytest_entropy.reports.reach import left_open
from pytest_entropy.stats import check_mean_zero, check_within_noise
from tests.unit.reports.stored import store_experiment


@pytest.mark.parametrize(
    ("verdict", "said"), [("inconclusive", "no statistical check could decide"), ("pass", ""), ("fail", "")]
)
def test_green_says_what_it_leaves_open(tmp_path: Path, verdict: str, said: str) -> None:
    exact = check_within_noise([0.0], noise_floor=1.0, name="draws", null="0", unit="nats", likely_causes="a row")
    noisy = check_mean_zero(
        [1.0, -1.0] * 40, alpha=1e-3, name="score_identity", null="0", unit="nats", likely_causes="a wrong sampler"
    )
    noisy = replace(noisy, verdict=verdict)  # type: ignore[arg-type]
    view = write_reports(store_experiment(tmp_path, checks=[exact.to_dict(), noisy.to_dict()]))
    words = left_open(view)
    assert words.startswith(said) if said else words == ""
    for name in ("summary.md", "report.html"):
        assert ("no statistical check could decide" in (view.directory / name).read_text()) == bool(said)
    assert not said or "a wrong sampler" in words
