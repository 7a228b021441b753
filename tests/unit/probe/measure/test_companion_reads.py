"""Companion reads: what is read, of whom, and what becomes of s_n."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.checkpoints import Checkpoint
from pytest_entropy.errors import RunError
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.probe.control_variate import LONGEST, learn
from pytest_entropy.probe.measure.companion_reads import READ, CompanionReads, opened, read_companions
from pytest_entropy.probe.oracles.run import by_definition
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.prompts import Prompt
from tests.length_reward import length
from tests.present import present

PROMPTS = [Prompt(f"Tom has {n} apples and buys {n % 7} more.", {"answer": str(n + n % 7)}) for n in range(80)]
MANY = [Prompt(f"Ann has {n} pears and eats {n % 5}.", {"answer": str(n)}) for n in range(400)]


def probe_of(loaded: Checkpoint, prompts: list[Prompt] = PROMPTS, **settings: Any) -> EntropyProbe:
    config = ProbeConfig(**{"B_U": 3, "G": 3, "max_new_tokens": 6, "learning_rate": 1e-3, **settings})
    return EntropyProbe(loaded, config, prompts=prompts, reward=length)


def reads_of(probe: EntropyProbe, B_E: int, seed: int = 5) -> tuple[list[Prompt], CompanionReads]:
    update = probe.update(0)
    prompts, rollouts = probe.two_batch.entropy_batch(B_E, seed, update)
    tables = present(rollouts.control_variate)
    # An opening, where a random policy has none.
    tables = replace(tables, opening=torch.tensor([7, 9]))
    count = probe.config.companions
    return prompts, read_companions(probe.setup, prompts, tables, update, count=count, seed=seed, meter=Meter())


def test_a_read_is_the_derivative_after_the_opening(loaded: Checkpoint) -> None:
    probe = probe_of(loaded, reads=3)
    assert present(probe.update(0).control_variate).width > 0
    prompts, reads = reads_of(probe, 4)
    u = probe.update(0).direction
    found = [by_definition(probe.policy, reads.rollouts, n, u, READ) for n in range(len(reads.read))]
    size = max(present(one.size) for one in found)
    assert reads.values == pytest.approx(np.array([one.s for one in found]), abs=1e-5 * size)
    assert reads.own == pytest.approx(reads.values[:4])
    of = {prompt.key: value for prompt, value in zip(reads.read, reads.values, strict=True)}
    assert reads.companions.ravel().tolist() == [of[prompt.key] for prompt in reads.prompts]
    assert reads.rollouts.responses(0)[0][:2] == [7, 9]
    assert np.ptp(reads.values) > 0


def test_companions_are_drawn_independently_of_e_and_u(loaded: Checkpoint) -> None:
    probe = probe_of(loaded, reads=20)
    prompts, reads = reads_of(probe, 4)
    taken = {prompt.key for prompt in prompts} | set(probe.update(0).prompts)
    keys = [prompt.key for prompt in reads.prompts]
    assert len(keys) == 80
    assert not taken & set(keys)
    # 80 draws of 73 prompts with replacement, each read once.
    assert len(set(keys)) < 73
    assert len(reads.read) == 4 + len(set(keys))
    assert reads.applied(np.arange(4.0)) == pytest.approx(np.arange(4.0) - reads.own + reads.companions.mean(1))


def test_with_replacement_e_and_u_may_be_read(loaded: Checkpoint) -> None:
    probe = probe_of(loaded, prompts=PROMPTS[:6], reads=40, with_replacement=True)
    _, reads = reads_of(probe, 4)
    assert len({prompt.key for prompt in reads.prompts}) == 6


def test_hardly_any_prompt_left_is_an_error_that_says_the_remedy(loaded: Checkpoint) -> None:
    probe = probe_of(loaded, prompts=PROMPTS[:7], reads=2)
    with pytest.raises(RunError, match=r"hardly any of 7 prompts is left .* batch_config.reads: 0"):
        reads_of(probe, 4)


@pytest.mark.parametrize(("size", "companions"), [(7, 0), (80, 0), (83, 2), (163, 4), (400, 4)])
def test_a_run_reads_at_most_a_tenth_of_the_prompts(loaded: Checkpoint, size: int, companions: int) -> None:
    """Beside U's three, for four prompts of E; without a plan it is the run that sees to it."""
    record = probe_of(loaded, prompts=MANY[:size], reads=4).run(4, 0)
    assert record.companions.count == companions
    assert record.sampling_fraction == pytest.approx(4 * max(1, companions) / (size - 3))


def test_rows_that_repeat_prompts_have_no_companions(loaded: Checkpoint) -> None:
    assert probe_of(loaded, prompts=MANY[:200] * 2, reads=4).run(4, 0).companions.count == 0
    assert probe_of(loaded, prompts=[*MANY[:300], *MANY[:2]], reads=4).run(4, 0).companions.count == 4


def test_reads_change_nothing_but_the_scalars(loaded: Checkpoint) -> None:
    with_reads, without = (probe_of(loaded, MANY, reads=k).run(5, 1) for k in (4, 0))
    own, mean = (np.asarray(values) for values in (with_reads.companions.own, with_reads.companions.mean))
    assert list(present(with_reads.entropy_term)) == list(without.per_prompt) == list(present(without.entropy_term))
    assert with_reads.per_prompt == pytest.approx((np.asarray(without.per_prompt) - own + mean).tolist())
    assert (with_reads.companions.count, without.companions.count) == (4, 0)
    assert with_reads.companions.shared == 0
    assert with_reads.prompts == without.prompts
    assert with_reads.delta_h1 == pytest.approx(with_reads.eta * np.mean(with_reads.per_prompt))


@pytest.mark.parametrize(
    "settings",
    [{"mode": "u_statistic"}, {"entropy_unit": "token"}, {"estimator": "rao_blackwell"}, {"reads": 0}],
    ids=["one batch", "per token", "nothing learnt", "none"],
)
def test_there_are_none_where_they_are_not_supported(loaded: Checkpoint, settings: dict[str, Any]) -> None:
    assert probe_of(loaded).config.companions == 8
    record = probe_of(loaded, **settings).run(4, 0)
    assert record.companions.count == 0
    assert not record.companions.own


def test_the_opening_is_what_nearly_all_responses_begin_with() -> None:
    def openings(share: float, shared: int, width: int = 40) -> list[int]:
        tokens = torch.arange(width).expand(50, 4, width).clone()
        tokens[:, :, shared:] += torch.arange(200).reshape(50, 4, 1) * width
        tokens.view(200, width)[: round(200 * (1 - share))] += 10**6
        lengths = torch.full((50, 4), width)
        some = torch.full(tokens.shape, math.log(0.5))
        drawn = Rollouts(((1,),) * 50, tokens, lengths, lengths > 0, some, -some)
        found: list[int] = learn(drawn, width).opening.tolist()
        return found

    assert openings(1.0, 3) == [0, 1, 2]
    assert openings(0.96, 3) == [0, 1, 2]
    assert openings(0.94, 3) == []
    assert openings(1.0, 0) == []
    # A response goes on after its opening, which is not too long.
    assert openings(1.0, 5, width=5) == [0, 1, 2, 3]
    assert openings(1.0, 40) == list(range(LONGEST))


def test_what_is_read_has_no_deciding_token(loaded: Checkpoint) -> None:
    probe = probe_of(loaded)
    tables = replace(present(probe.update(0).control_variate), opening=torch.tensor([3, 4, 5]))
    rollouts = opened(probe.policy, PROMPTS[:3], tables)
    assert rollouts.tokens.shape == (3, 1, 4)
    assert (rollouts.contexts == -1).all()
    assert [row[0][:3] for row in map(rollouts.responses, range(3))] == [[3, 4, 5]] * 3
