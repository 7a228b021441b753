"""The use of a control variate's tables: by the errors on the prompts they did not learn from, in plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe import table_choice
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.table_choice import CLEAN, NOTHING, SUBTRACT, ErrorsPiece, chosen_tables, used
from tests import tiny

LIMIT = 10


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)


def errors_by_loops(policy: Policy, part: Rollouts, tables: ControlVariateTables) -> list[float]:
    """Of nothing, subtracting and cleaning; the policy's rows come from the model itself."""
    found = [0.0, 0.0, 0.0]
    pairs: dict[tuple[int, int], float] = {
        (c, u): v
        for c, u, v in zip(
            tables.pair_context.tolist(), tables.pair_token.tolist(), tables.pair_value.tolist(), strict=True
        )
    }
    token: list[float] = tables.token.tolist()

    def q(context: int, u: int) -> float:
        return (token[u] if u < len(token) else 0.0) + pairs.get((context, u), 0.0)

    for n in range(len(part)):
        for ids in part.responses(n):
            prompt = list(part.prompt_ids[n])
            logits = policy.model(input_ids=torch.tensor([prompt + list(ids)])).logits[0]
            rows = torch.log_softmax(logits / policy.temperature, -1).double()[len(prompt) - 1 : -1].tolist()
            context, nats, own, expected, chance = -1, [], [], [], []
            for row, u in zip(rows, ids, strict=True):
                p = np.exp(row)
                nats.append(float(-(p * row).sum()))
                own.append(q(context, u))
                expected.append(sum(p[v] * q(context, v) for v in range(len(p))))
                chance.append(p[u])
                context = u if p[u] < 0.9 else context
            for k in range(len(ids)):
                after = range(k + 1, len(ids))
                gamma, mean = sum(nats[j] for j in after), float(tables.position[k])
                cleaned = gamma - sum(own[j] - expected[j] for j in after)
                for use, rest in enumerate((gamma - mean, gamma - mean - own[k], cleaned - mean - own[k])):
                    found[use] += (1 - chance[k]) ** 2 * rest**2
    return found


def test_the_errors_are_those_of_plain_loops() -> None:
    # Some tokens are certain at this temperature: their contexts go on.
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64, temperature=0.2)
    drawn = tiny.sample(policy, tiny.prompts(4, seed=4), G=2)
    met = zip(drawn.contexts[drawn.mask].tolist(), drawn.tokens[drawn.mask].tolist(), strict=True)
    pairs = sorted(set(met))[::2]
    values = torch.from_numpy(np.random.default_rng(1).normal(size=60 + len(pairs)))
    context, token = torch.tensor(pairs).T.contiguous()
    position = torch.linspace(9.0, 0.0, LIMIT, dtype=torch.float64)
    bare = learn(drawn, LIMIT)
    tables = replace(
        bare, position=position, token=values[:60], pair_context=context, pair_token=token,
        pair_value=values[60:],
    )  # fmt: skip
    with torch.no_grad():
        expected = errors_by_loops(policy, drawn, tables)
    part = replace(drawn, control_variate=tables)
    np.testing.assert_allclose(ErrorsPiece(part).compute(policy), expected, rtol=1e-6)
    assert len({round(error) for error in expected}) == 3


@pytest.mark.parametrize("best", [NOTHING, SUBTRACT, CLEAN])
def test_the_use_of_least_error_over_both_halves_is_chosen(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, best: int
) -> None:
    batch, asked = tiny.sample(policy, tiny.prompts(6), G=4), []

    def errors(piece: ErrorsPiece, policy: Policy) -> np.ndarray:
        """Least for ``best`` in the sum; in the second half, another is less."""
        asked.append(piece.part)
        return np.roll([1.0, 5.0, 5.0], best) if len(asked) == 1 else np.roll([3.0, 2.0, 2.0], best)

    monkeypatch.setattr(ErrorsPiece, "compute", errors)
    tables = chosen_tables(policy, batch, LIMIT, chunk_tokens=10**6)
    even, odd = asked
    for held, others in ((even, [1, 3, 5]), (odd, [0, 2, 4])):
        assert sorted(held.prompt_ids) == sorted(batch.prompt_ids[n] for n in range(6) if n not in others)
        taught = held.control_variate
        assert taught is not None
        learnt = learn(batch.select(others), LIMIT)
        assert all(torch.equal(a, b) for a, b in zip(taught.tensors().values(), learnt.tensors().values(), strict=True))
    whole = learn(batch, LIMIT)
    assert torch.equal(tables.position, whole.position)
    assert float(tables.cleans) == (best == CLEAN)
    assert (tables.width == 0 and len(tables.pair_value) == 0) == (best == NOTHING)


def test_a_batch_too_small_for_halves_subtracts(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_choice, "work_through", None)
    batch = tiny.sample(policy, tiny.prompts(3), G=4)
    tables = chosen_tables(policy, batch, LIMIT, chunk_tokens=10**6)
    assert float(tables.cleans) == 0
    assert torch.equal(tables.token, learn(batch, LIMIT).token)


def test_unused_tables_add_nothing(policy: Policy) -> None:
    tables = learn(tiny.sample(policy, tiny.prompts(6), G=4), LIMIT)
    bare = used(tables, NOTHING)
    assert bare.own(tables.pair_context, tables.pair_token).tolist() == [0.0] * len(tables.pair_token)
    assert torch.equal(bare.position, tables.position)
