"""The use of a control variate's tables: by what they leave of the prompts they did not learn from, in plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe import prefix_value, table_choice
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.prefix_value import FittedValue
from pytest_entropy.probe.table_choice import (
    CLEAN,
    NOTHING,
    SUBTRACT,
    UsesPiece,
    UseSums,
    chosen_tables,
    share_in_groups,
    used,
)
from tests import tiny

LIMIT = 10


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)


def left_by_loops(
    policy: Policy, part: Rollouts, tables: ControlVariateTables
) -> list[list[list[tuple[float, np.ndarray]]]]:
    """Of each token its chance, and what nothing, subtracting and cleaning leave; rows come from the model itself."""
    found: list[list[list[tuple[float, np.ndarray]]]] = []
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
        found.append([])
        for ids in part.responses(n):
            rests: list[tuple[float, np.ndarray]] = []
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
                rests.append((chance[k], np.array([gamma - mean, gamma - mean - own[k], cleaned - mean - own[k]])))
            found[-1].append(rests)
    return found


def test_the_sums_are_those_of_plain_loops() -> None:
    # Some tokens are certain at this temperature: their contexts go on.
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64, temperature=0.2)
    drawn = tiny.sample(policy, tiny.prompts(4, seed=4), G=3)
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
    squared = torch.rand(drawn.tokens.shape, dtype=torch.float64) * drawn.mask
    with torch.no_grad():
        left = left_by_loops(policy, drawn, tables)
    found = UsesPiece(replace(drawn, control_variate=tables), squared, (0, 1, 1, 0), None).compute(policy)
    shares = np.zeros((3, 2))
    fits = {fold: np.zeros((2, 3)) for fold in (0, 1)}
    errors = {fold: np.zeros((2, 3)) for fold in (0, 1)}
    for n, fold in enumerate((0, 1, 1, 0)):
        for g, rows in enumerate(left[n]):
            for k, (chance, rests) in enumerate(rows):
                others = [row[k][1] for h, row in enumerate(left[n]) if h != g and len(row) > k]
                mean = np.mean(others, 0) if others else np.zeros(3)
                weight = float(squared[n, g, k])
                shares += weight * np.stack([rests * mean, mean * mean], -1)
                fits[fold] += (1 - chance) * np.stack([rests, rests**2])
                errors[fold] += weight * np.stack([rests, rests**2])
    np.testing.assert_allclose(found.shares, shares, rtol=1e-5)
    for sums, expected in ((found.fits, fits), (found.errors, errors)):
        for fold, own in expected.items():
            np.testing.assert_allclose([sums[fold].y, sums[fold].yy], own, rtol=1e-5)
            assert sums[fold].x.shape == (4 * policy.model.config.hidden_size,)


@pytest.mark.parametrize("valued", [False, True])
@pytest.mark.parametrize("best", [NOTHING, SUBTRACT, CLEAN])
def test_the_use_of_least_error_is_chosen(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, best: int, valued: bool
) -> None:
    batch, asked = tiny.sample(policy, tiny.prompts(6), G=4), []
    width = 4 * policy.model.config.hidden_size
    slopes = np.linspace(-1, 1, width) if valued else np.zeros(width)

    def sums(piece: UsesPiece, policy: Policy) -> UseSums:
        asked.append(piece)
        return UseSums({}, {}, np.array([[1.0, 2.0], [2.0, 2.0], [-1.0, 2.0]]))

    def fits(folds: list[object], errors: list[object]) -> list[FittedValue]:
        return [FittedValue(slopes, 0.5, 1.0 if use == best else 2.0) for use in range(3)]

    monkeypatch.setattr(UsesPiece, "compute", sums)
    monkeypatch.setattr(table_choice, "fitted", fits)
    tables = chosen_tables(policy, batch, tiny.direction(policy), LIMIT, chunk_tokens=10**6)
    even, odd = asked
    assert {*even.folds, *odd.folds} == {0, 1, 2, 3}
    for piece, others in ((even, [1, 3, 5]), (odd, [0, 2, 4])):
        held = piece.part
        assert sorted(held.prompt_ids) == sorted(batch.prompt_ids[n] for n in range(6) if n not in others)
        taught = held.control_variate
        assert taught is not None
        learnt = learn(batch.select(others), LIMIT)
        assert all(torch.equal(a, b) for a, b in zip(taught.tensors().values(), learnt.tensors().values(), strict=True))
    whole = learn(batch, LIMIT)
    assert torch.equal(tables.position, whole.position + (0.5 if valued else 0.0))
    assert float(tables.cleans) == (best == CLEAN)
    fitted_share = (0.5, 1.0, 0.0)[best]
    assert float(tables.share) == ((fitted_share + table_choice.HALF) / 2 if valued else fitted_share)
    assert (tables.width == 0 and len(tables.pair_value) == 0) == (best == NOTHING)
    assert tables.value.shape == ((4, width // 4) if valued else (0,))
    assert torch.equal(tables.value.flatten(), torch.from_numpy(slopes)[: tables.value.numel()])


def test_a_projected_value_is_one_of_hidden_states(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_value, "FEATURES", 7)
    batch = tiny.sample(policy, tiny.prompts(8), G=3)
    tables = learn(batch, LIMIT)
    projection = prefix_value.projection_of(policy.model.config.hidden_size)
    slopes = np.linspace(-1, 1, 28)
    valued = table_choice.with_value(tables, FittedValue(slopes, 0.0, 0.0), projection)
    states = torch.randn(3, LIMIT, policy.model.config.hidden_size, dtype=torch.float64)
    assert projection is not None
    torch.testing.assert_close(
        prefix_value.features(states) @ valued.value.flatten(),
        prefix_value.features(states @ projection) @ torch.from_numpy(slopes),
    )
    piece = UsesPiece(replace(batch, control_variate=tables), batch.mask.double(), (0,) * 8, projection)
    assert piece.compute(policy).fits[0].x.shape == (28,)


def test_a_batch_too_small_for_halves_subtracts(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_choice, "worked", None)
    batch = tiny.sample(policy, tiny.prompts(3), G=4)
    tables = chosen_tables(policy, batch, tiny.direction(policy), LIMIT, chunk_tokens=10**6)
    assert float(tables.cleans) == float(tables.share) == len(tables.value) == 0
    assert torch.equal(tables.token, learn(batch, LIMIT).token)


def test_pieces_change_what_is_learnt_by_rounding_only(policy: Policy) -> None:
    batch, u = tiny.sample(policy, tiny.prompts(9), G=3), tiny.direction(policy)
    found, again = (chosen_tables(policy, batch, u, LIMIT, chunk_tokens=tokens) for tokens in (50, 10_000))
    for name, table in found.tensors().items():
        torch.testing.assert_close(again.tensors()[name], table, rtol=1e-3, atol=1e-5, msg=name)


def test_a_model_without_hidden_states_has_no_value_of_prefixes() -> None:
    policy = tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)
    vars(policy)["plain_head"] = False
    tables = chosen_tables(
        policy, tiny.sample(policy, tiny.prompts(8), G=3), tiny.direction(policy), LIMIT, chunk_tokens=10**6
    )
    assert len(tables.value) == 0


@pytest.mark.parametrize("now", [2, 3, 8, 32])
def test_the_share_of_other_groups_is_their_best_one(now: int) -> None:
    """By the variances: of r - share o, with what a group has in common and what each response has alone."""
    common, alone = 0.7, 2.0

    def best(group: int) -> float:
        shares = np.linspace(0, 1, 100_001)
        left = (1 - shares) ** 2 * common + alone * (1 + shares**2 / (group - 1))
        return float(shares[np.argmin(left)])

    assert share_in_groups(best(8), 8, now) == pytest.approx(best(now), abs=1e-4)


def test_unused_tables_add_nothing(policy: Policy) -> None:
    tables = learn(tiny.sample(policy, tiny.prompts(6), G=4), LIMIT)
    bare = used(tables, NOTHING)
    assert bare.own(tables.pair_context, tables.pair_token).tolist() == [0.0] * len(tables.pair_token)
    assert torch.equal(bare.position, tables.position)
