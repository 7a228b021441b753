"""Vectors as large as a model are held in float32, and sums and updates lose no more than its rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.checks import bookkeeping
from pytest_entropy.optimizers.state import ParameterState
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.probe import parameter_vectors
from pytest_entropy.probe.parameter_vectors import CompensatedSum, held_in
from pytest_entropy.runs.run_files import write_tensors
from pytest_entropy.testing import tiny
from pytest_entropy.testing.recorded import PROMPTS, _length


def test_many_float32_parameters_are_held_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    few, fine = {"w": torch.zeros(11)}, {"w": torch.zeros(11, dtype=torch.float64)}
    assert held_in(few) == torch.float64
    monkeypatch.setattr(parameter_vectors, "LARGE", 10)
    assert (held_in(few), held_in(fine)) == (torch.float32, torch.float64)


def test_a_compensated_sum_keeps_what_plain_float32_loses() -> None:
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(1000, generator=generator) + 100 for _ in range(2000)]
    total = CompensatedSum({"w": parts[0], "unused": torch.zeros(3)})
    first = parts[0].clone()
    for part in parts:
        total.add({"w": part})
    exact = torch.stack(parts).double().sum(0)
    found = total.total()
    assert torch.equal(parts[0], first)
    assert torch.equal(found["w"], exact.float())
    assert torch.equal(found["unused"], torch.zeros(3))
    plain = torch.zeros(1000)
    for part in parts:
        plain += part
    assert not torch.equal(plain, exact.float())


@pytest.mark.parametrize(("rule", "clip"), [("adamw", 0.5), ("preconditioned", None), ("sgd", None)])
def test_a_direction_tensor_by_tensor_is_the_whole_one(rule: str, clip: float | None) -> None:
    generator = torch.Generator().manual_seed(1)
    gradient = {name: torch.randn(50, generator=generator) for name in "ab"}
    theta = {name: torch.randn(50, generator=generator) for name in "ab"}
    state = {
        name: ParameterState(4, g / 9, g.square() / 5, rate, (0.9, 0.99), 1e-8, 0.1)
        for (name, g), rate in zip(gradient.items(), (1e-3, 3e-4), strict=True)
    }
    whole = update_direction(rule, gradient, state, theta, max_grad_norm=clip)
    parts = update_direction(rule, gradient, state, theta, max_grad_norm=clip, dtype=torch.float32)
    for name, u in whole.items():
        assert parts[name].dtype == torch.float32
        torch.testing.assert_close(parts[name], u.float(), rtol=2e-7, atol=0)


def test_an_update_held_in_float32_has_the_numbers_of_float64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_checkpoint(tiny.save_seed_checkpoint(tmp_path))
    config = ProbeConfig(B_U=3, G=2, max_new_tokens=5, chunk_tokens=60, diagnostics=("definition",))
    runs, updates = [], []
    for large in (10**8, 10):
        monkeypatch.setattr(parameter_vectors, "LARGE", large)
        probe = EntropyProbe(loaded, config, prompts=PROMPTS, reward=_length)
        updates.append(probe.update(0))
        runs.append(probe.run(4, 0))
    fine, coarse = updates
    assert {t.dtype for vector in (coarse.gradient, coarse.direction) for t in vector.values()} == {torch.float32}
    for name, u in fine.direction.items():
        torch.testing.assert_close(coarse.direction[name].double(), u, rtol=1e-6, atol=1e-6 * float(u.abs().max()))
    size = float(np.abs(runs[0].per_prompt).max())
    np.testing.assert_allclose(runs[1].per_prompt, runs[0].per_prompt, rtol=0, atol=1e-6 * size)
    outcomes = bookkeeping.judged(runs[1:], with_replacement=False)
    assert [outcome.message() for outcome in outcomes if outcome.verdict == "fail"] == []
    for number, update in enumerate(updates):
        write_tensors(tmp_path / str(number), update.direction)
    sizes = [(tmp_path / str(number)).stat().st_size for number in range(2)]
    assert 2 * sizes[1] <= sizes[0] + 20_000
