"""The number of companion reads that an update batch chooses with ``batch_config.reads: auto``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pytest_entropy.checkpoints import Checkpoint, load_checkpoint
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.probe.measure import chosen_reads
from pytest_entropy.probe.measure.chosen_reads import ReadingCost
from pytest_entropy.probe.measure.companion_reads import READ, opened
from pytest_entropy.probe.oracles.run import by_definition
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import derive
from tests.length_reward import length
from tests.present import present

MANY = [Prompt(f"Ann has {n} pears and eats {n % 5}.", {"answer": str(n)}) for n in range(1200)]


def probe_of(loaded: Checkpoint, prompts: list[Prompt] = MANY, **settings: Any) -> EntropyProbe:
    sizes = {"B_U": 12, "G": 3, "max_new_tokens": 4, "learning_rate": 1e-3, "reads": "auto"}
    return EntropyProbe(loaded, ProbeConfig(**{**sizes, **settings}), prompts=prompts, reward=length)


def kept_by(seen: list[ReadingCost], patch: pytest.MonkeyPatch) -> None:
    """Keep what a choice is made from; five reads are chosen."""

    def paying(self: ReadingCost) -> tuple[int, int]:
        seen.append(self)
        return 2, 5

    patch.setattr(ReadingCost, "paying", paying)


def test_the_choice_has_the_least_tokens_times_variance() -> None:
    rng = np.random.default_rng()
    chosen, first = [], []
    for _ in range(1000):
        left, explained, prompt = (float(10 ** rng.uniform(-2, 4)) for _ in range(3))
        reading = prompt * float(rng.uniform(0.01, 1))
        cost = ReadingCost(left + explained, left, explained, prompt, reading)
        costs = {k: (prompt + (1 + k) * reading) * (left + explained / k) for k in range(2, 65)}
        without = prompt * (left + explained)
        fewest, best = cost.paying()
        pay = [k for k, c in costs.items() if c < 0.95 * without]
        assert (fewest, best) == ((min(pay), min(pay, key=lambda n: costs[n])) if pay else (0, 0))
        # Between both all pay: a limit there is taken as it is.
        assert not pay or set(range(fewest, best + 1)) <= set(pay)
        chosen.append(best)
        first.append(fewest)
    assert {0, 64} < set(chosen)
    assert max(first) > 2


@pytest.mark.parametrize(
    ("left", "explained", "reads"), [(1.0, 0.0, 0), (0.0, 0.0, 0), (0.0, 1.0, 64), (float("nan"), 1.0, 0)]
)
def test_degenerate_variances_choose_as_well(left: float, explained: float, reads: int) -> None:
    assert ReadingCost(left + explained, left, explained, 100.0, 10.0).paying()[1] == reads


def test_the_variances_are_those_of_the_update_batch(loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """By plain backwards, prompt by prompt, and without the two of twelve prompts that are most extreme."""
    seen: list[ReadingCost] = []
    kept_by(seen, monkeypatch)
    probe = probe_of(loaded)
    update = probe.update(0)
    assert update.companion_reads == 5
    tables = present(update.control_variate)
    rollouts = replace(present(update.rollouts), control_variate=tables)
    prompts = probe.setup.choose(12, derive(0, "U"))
    assert [prompt.key for prompt in prompts] == update.prompts
    alone = opened(probe.policy, prompts, tables)
    s, x = (
        np.array([present(by_definition(probe.policy, of, n, update.direction, name).s) for n in range(12)])
        for of, name in ((rollouts, "action_value"), (alone, READ))
    )
    kept = np.sort(np.argsort(np.abs(s - x - np.median(s - x)))[:10])
    (cost,) = seen
    assert cost.whole == pytest.approx(s[kept].var(ddof=1), rel=1e-3)
    assert cost.left == pytest.approx((s - x)[kept].var(ddof=1), rel=1e-3)
    assert cost.explained == pytest.approx(x[kept].var(ddof=1), rel=1e-3)
    own, answers = np.mean([len(ids) for ids in rollouts.prompt_ids]), float(rollouts.lengths.sum()) / 12
    assert cost.prompt == pytest.approx(2 * (own + answers))
    assert cost.reading == own + len(tables.opening) + 1


def test_fewer_responses_to_a_prompt_of_e_leave_more_variance_and_cost_less(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ReadingCost] = []
    kept_by(seen, monkeypatch)
    for group in (4, 2):
        probe_of(loaded, G=4, G_E=group, estimator="action_value").update(0)
    four, two = seen
    assert two.prompt < four.prompt
    assert two.whole - two.left == pytest.approx(four.whole - four.left, rel=0.3)
    # The share of the group's others is another one as well.
    assert two.left > 1.5 * four.left


@pytest.mark.parametrize(
    ("configured", "found", "reads"),
    [(16, (2, 5), 5), (4, (2, 5), 4), (4, (4, 5), 4), (3, (4, 5), 0), (16, (0, 0), 0)],
    ids=["chosen", "limited", "just enough", "too few to pay", "none pays"],
)
def test_every_run_has_as_many_whatever_its_size(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch, configured: int, found: tuple[int, int], reads: int
) -> None:
    monkeypatch.setattr(ReadingCost, "paying", lambda self: found)
    probe = probe_of(loaded, most_reads=configured)
    assert [probe.run(B_E, 0).companions.count for B_E in (2, 5, 8)] == [reads] * 3
    record = probe.update(0).record()
    assert (record.fewest_reads, record.companion_reads) == found
    assert record.seconds["reading"] > 0


def test_an_update_that_does_not_say_how_many_is_asked_again(loaded: Checkpoint) -> None:
    """As one that was stored by a session with a number of reads."""
    probe = probe_of(loaded)
    update = probe.update(0)
    stored = replace(update, companion_reads=None, gradient={}, rollouts=None)
    other = probe_of(loaded)
    assert other.run(4, 0, update=stored).companions.count == probe.run(4, 0).companions.count
    assert other.chosen_reads.known(stored).companion_reads == update.companion_reads


def test_an_update_of_few_prompts_says_nothing(loaded: Checkpoint) -> None:
    probe = probe_of(loaded, B_U=3)
    assert probe.update(0).companion_reads == 8
    assert probe.run(4, 0).companions.count == 8
    assert probe_of(loaded, B_U=3, most_reads=2).run(4, 0).companions.count == 2


def test_the_prompts_bound_what_is_chosen(loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadingCost, "paying", lambda self: (2, 16))
    assert probe_of(loaded, MANY[: 12 + 200]).run(4, 0).companions.count == 5
    assert probe_of(loaded, MANY[: 12 + 70]).run(4, 0).companions.count == 0
    monkeypatch.setattr(ReadingCost, "paying", lambda self: (6, 16))
    assert probe_of(loaded, MANY[: 12 + 200]).run(4, 0).companions.count == 0


@pytest.mark.parametrize(
    "settings", [{"mode": "u_statistic"}, {"entropy_unit": "token"}, {"estimator": "rao_blackwell"}]
)
def test_nothing_is_chosen_where_reads_are_not_supported(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    def unasked(*_: object) -> int:
        raise AssertionError

    monkeypatch.setattr(chosen_reads.ChosenReads, "known", unasked)
    settings = {"estimator": "rao_blackwell", **settings} if "mode" in settings else settings
    assert probe_of(loaded, **settings).run(4, 0).companions.count == 0


def test_the_demo_reads() -> None:
    """What reads explain there is most of the variance: 0.8 to 0.95, whichever update (docs/variance-reduction.md)."""
    sizes = {"B_U": 32, "G": 8, "max_new_tokens": 32, "chunk_tokens": 2048}
    probe = EntropyProbe(load_checkpoint("demo"), ProbeConfig(**sizes, reads="auto"))
    assert present(probe.update(0).companion_reads) >= 8
