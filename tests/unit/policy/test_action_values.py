"""Contexts of tokens, and action values looked up in sparse tables: plain loops."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from pytest_entropy.policy.action_values import NO_CONTEXT, ControlVariateTables, contexts
from tests import tiny


def tables() -> ControlVariateTables:
    double = torch.float64
    return ControlVariateTables(
        torch.tensor([2.0, 1.0], dtype=double),
        torch.tensor([0.0, 0.5, -0.25], dtype=double),
        torch.tensor([-1, 2, 2, 2, 9]),
        torch.tensor([1, 0, 2, 7, 1]),
        torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=double),
        torch.tensor([4]),
        torch.ones((), dtype=double),
        torch.zeros((), dtype=double),
        torch.zeros(0, dtype=double),
    )


def test_a_context_is_the_last_token_that_decided() -> None:
    tokens = torch.tensor([[[5, 6, 7, 8, 9]]])
    log_probs = torch.tensor([[[0.95, 0.5, 0.91, 0.89, 0.2]]]).log()
    assert contexts(tokens, log_probs).tolist() == [[[NO_CONTEXT, NO_CONTEXT, 6, 6, 8]]]
    assert contexts(tokens[..., :1], log_probs[..., :1]).tolist() == [[[NO_CONTEXT]]]


def test_contexts_depend_on_the_prefix_alone() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), temperature=0.2)
    rollouts = tiny.sample(policy, tiny.prompts(6), G=4)
    found = rollouts.contexts
    chances = rollouts.log_probs.double().exp()
    for n in range(len(rollouts)):
        for g in range(4):
            ids = rollouts.responses(n)[g]
            for k in range(len(ids)):
                deciding = [ids[j] for j in range(k) if chances[n, g, j] < 0.9]
                assert int(found[n, g, k]) == (deciding[-1] if deciding else NO_CONTEXT)
    assert torch.equal(rollouts.select([4, 2]).contexts, found[[4, 2], :, : int(rollouts.lengths[[4, 2]].max())])
    # Some tokens decided, some did not.
    counted = chances[rollouts.mask]
    assert 0 < int((counted < 0.9).sum()) < len(counted)


def test_the_threshold_is_the_same_number_in_every_precision() -> None:
    at = torch.tensor([math.log(0.9)], dtype=torch.float64)
    for log_prob in (at.float(), torch.nextafter(at.float(), torch.tensor([-1.0])), at):
        row = torch.cat([log_prob, log_prob])
        decides = float(log_prob) < math.log(0.9)
        assert contexts(torch.tensor([3, 4]), row).tolist() == [NO_CONTEXT, 3 if decides else NO_CONTEXT]


def test_values_are_the_tables_sums() -> None:
    given, everything = tables(), [(c, u) for c in (-1, 0, 2, 9, 10**6) for u in (0, 1, 2, 3, 7, 10**6)]
    own = given.own(*(torch.tensor(column) for column in zip(*everything, strict=True)))
    pairs = {(-1, 1): 1.0, (2, 0): 2.0, (2, 2): 3.0, (2, 7): 4.0, (9, 1): 5.0}
    assert own.tolist() == [[0.0, 0.5, -0.25, 0, 0, 0, 0, 0][min(u, 7)] + pairs.get((c, u), 0.0) for c, u in everything]
    assert given.width == 3
    assert given.support.tolist() == [0, 1, 2, 7]


def test_the_rows_of_contexts_hold_their_pairs() -> None:
    added = tables().added_in(torch.tensor([[2, -1], [7, 9]]))
    ids, values = added.flat().rows(torch.zeros(1))
    assert values.dtype == torch.float32
    found = [
        [(u, v) for u, v in zip(*row, strict=True) if v] for row in zip(ids.tolist(), values.tolist(), strict=True)
    ]
    assert found == [[(0, 2.0), (2, 3.0), (7, 4.0)], [(1, 1.0)], [], [(1, 5.0)]]
    last = added.select((slice(None), slice(1, 2))).flat().rows(values)[1]
    assert torch.equal(last, values[[1, 3]])


def test_tables_without_pairs_add_nothing() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    given = tables()
    bare = replace(given, pair_context=nothing, pair_token=nothing, pair_value=nothing.double(), opening=nothing)
    assert bare.width == 0
    assert bare.own(torch.tensor([-1, 2]), torch.tensor([1, 5])).tolist() == [0.5, 0.0]
