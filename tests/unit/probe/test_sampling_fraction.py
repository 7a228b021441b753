"""A run's share of the prompts is compared run by run."""

from __future__ import annotations

import pytest

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.probe.batches import sampling_fraction
from pytest_entropy.probe.oracles.prompt_draw import other_fraction
from pytest_entropy.prompts import DemoPrompts, Prompt


def test_a_wrong_share_of_a_later_run_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is cached, because it reads the prompts: a right share must not stand for a wrong one."""
    config = ProbeConfig(B_U=4, G=2, max_new_tokens=4, diagnostics=("definition",))
    problems = DemoPrompts()
    probe = EntropyProbe(load_checkpoint("demo"), config, prompts=[problems[977 * n] for n in range(40)])
    right = probe.run(4, run=1)
    share = right.sampling_fraction
    assert share is not None
    assert share > 0
    assert right.agreement.fraction_gap == 0
    monkeypatch.setattr(probe, "_sampling_fraction", lambda B_E, update: share / 2)
    assert probe.run(4, run=2).agreement.fraction_gap == pytest.approx(share / 2)


def test_the_share_of_a_set_that_is_large_beside_a_run_is_counted_whole() -> None:
    """Extrapolated from the first prompts, among which U's were left out, it differed from the second count."""
    prompts = [Prompt(f"{n} + 1?", {"answer": str(n + 1)}) for n in range(1000)]
    taken = frozenset(prompts[n].key for n in range(8))
    share = sampling_fraction(prompts, 2, exclude=taken)
    assert share == 2 / 992
    assert other_fraction(prompts, share, 2, exclude=taken, replace=False) == 0
