"""What bookkeeping sees in records alone: reported numbers that their own evidence does not give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_entropy.checks.bookkeeping import bookkeeping
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.evidence import copies
from pytest_entropy.probe.oracles.optimizer import real_clipping
from pytest_entropy.records.update import UpdateRecord
from tests.unit.reports.stored import ETA, result, scalars

AGREEMENT = {
    "log_probs": 0.0, "entropies": 0.0, "unterminated": 0.0, "entropy_sampled": 1.75, "entropy_se_sampled": 0.1,
    "length_sampled": 18.0, "ended_sampled": 1.0, "rounding": 1e-7, "past_the_end": 0.0, "copies": 0.0,
    "direction_gap": 0.0, "shared_with_update": 0.0, "repeated": 0.0,
}  # fmt: skip
LOOKED = {"temperature_gap": 0.0, "size_gap": 0.0, "other_prompts": 0.0}
UPDATE = {
    "prompts": ["p1", "p2"], "rewards": [[0.0, 1.0], [1.0, 1.0]], "reward_mean": 0.75, "reward_std": 0.5,
    "degenerate_groups": 0.5, "eta": ETA, "oracle_gap": 0.0, "eta_gap": 0.0, "other_prompts": 0.0, "reward_gap": 0.0,
    "rewards_rechecked": True, "fingerprint": 0.5,
}  # fmt: skip


def run_number(run, **agreement):
    s = scalars(np.random.default_rng(run), 16)
    record = AGREEMENT | LOOKED | {"first_prompts": run / 100} | agreement
    return result(16, run, s, entropy_se=0.1, update=UPDATE, agreement=record, asked=["definition"])


def verdict(*runs):
    return bookkeeping(runs, with_replacement=False).verdict


def test_a_right_record_is_green():
    assert verdict(run_number(1, first_prompts=0.1), run_number(2, first_prompts=0.2)) == "pass"
    assert verdict(replace(run_number(1), asked=[])) == "pass"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("entropy_mean", 1.76), ("entropy_se", 0.11), ("length_mean", 18.1), ("ended_share", 0.9),
        ("variance_conditional", 1e-9),
    ],
)  # fmt: skip
def test_a_reported_number_that_is_not_its_record_is_red(name, value):
    assert verdict(replace(run_number(1), **{name: value})) == "fail"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward_mean", 0.5), ("reward_std", 0.4), ("degenerate_groups", 0.0), ("eta", 2 * ETA),
        ("prompts", ["p1", "p1"]),
    ],
)  # fmt: skip
def test_what_is_said_of_the_update_follows_from_it(name, value):
    assert verdict(replace(run_number(1), update=UpdateRecord.from_dict(UPDATE | {name: value}))) == "fail"


@pytest.mark.parametrize("name", ["size_gap", "repeated", "copies", "unit_gap", "direction_gap", "shared_with_update"])
def test_what_a_run_found_out_of_order_is_red(name):
    # s is what one run of these numbers is judged by, whatever its unit; other identities of the unit are not at stake.
    unit = {"unit": "nats per token"} if name == "unit_gap" else {}
    outcome = bookkeeping([replace(run_number(1, **{name: 1.0}), **unit)], with_replacement=False)
    assert outcome.verdict == "fail"
    assert f"these do not follow: {name} (1)" in outcome.message()


@pytest.mark.parametrize("name", [*AGREEMENT, *LOOKED])
def test_a_measurement_that_is_missing_is_named_and_no_pass(name):
    record = replace(run_number(1).agreement, **{name: None})
    if name in ("log_probs", "entropies"):
        return  # of sampler_scorer_agreement
    outcome = bookkeeping([run_number(2), replace(run_number(1), agreement=record)], with_replacement=False)
    assert outcome.verdict == "inconclusive"
    assert f"B_E 16 run 1 has no agreement.{name}" in outcome.message()


@pytest.mark.parametrize("name", sorted(UPDATE))
def test_a_missing_part_of_the_update_is_no_pass(name):
    update = UpdateRecord.from_dict({key: value for key, value in UPDATE.items() if key != name})
    run = replace(run_number(1), update=update)
    if name not in ("oracle_gap", "rewards_rechecked"):
        assert verdict(run) == "inconclusive"
    assert verdict(replace(run_number(1), asked=None)) == "inconclusive"


def test_a_reward_that_is_not_asked_twice_leaves_no_gap_to_miss():
    once = UpdateRecord.from_dict(UPDATE | {"rewards_rechecked": False, "reward_gap": None})
    assert verdict(replace(run_number(1), update=once)) == "pass"
    assert verdict(replace(run_number(1), update=replace(once, rewards_rechecked=True))) == "inconclusive"


def test_runs_have_their_own_seeds_and_prompts():
    first, second = run_number(1, first_prompts=0.1), run_number(2, first_prompts=0.2)
    assert verdict(first, replace(second, seed=first.seed)) == "fail"
    assert verdict(first, run_number(2, first_prompts=0.1)) == "fail"


def test_clipping_is_torchs():
    gradient = {"a": torch.full((3, 4), 2.0), "b": torch.full((5,), -1.0)}
    whole = float(torch.cat([g.double().ravel() for g in gradient.values()]).norm())
    assert real_clipping(gradient, 2 * whole) == 1
    assert real_clipping(gradient, whole / 2) == pytest.approx(0.5, rel=1e-6)
    assert real_clipping({"a": torch.zeros(2)}, 1.0) == 1


def rollouts(tokens, log_prob):
    shape = tokens.shape
    return Rollouts(
        prompt_ids=((1,),) * shape[0],
        tokens=tokens,
        lengths=torch.full(shape[:2], shape[2]),
        ended=torch.ones(shape[:2], dtype=torch.bool),
        log_probs=torch.full(shape, log_prob),
        entropies=torch.ones(shape),
    )


def test_copies_are_seen_where_chance_does_not_make_them():
    alike = torch.arange(8).reshape(4, 1, 2).expand(4, 5, 2)
    assert copies(rollouts(alike, -2.0)) == 4
    # Of a policy that is nearly certain the same responses are what is to be expected.
    assert copies(rollouts(alike, -0.01)) == 0
    different = torch.arange(40).reshape(4, 5, 2)
    assert copies(rollouts(different, -2.0)) == 0
