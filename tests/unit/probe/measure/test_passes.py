"""How many prompts a run scores, differentiates and samples, phase by phase: budgets that must not rise unseen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_entropy.checkpoints import Checkpoint
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.probe.oracles.run import by_definition
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.prompts import Prompt
from tests.length_reward import length

PROMPTS = [Prompt(f"Tom has {n} apples and buys {n % 7} more.", {"answer": str(n + n % 7)}) for n in range(400)]
# Prompts that are scored without a graph, scored with one, differentiated, sampled, and computed by their definition.
WITHOUT, WITH, BACKWARD, SAMPLED, DEFINED = "without", "with", "backward", "sampled", "defined"


class Passes:
    """Counts of prompts by phase of the run; the real functions do the work."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.by_phase: dict[str, Counter[str]] = {}
        self._phase, self._graph, self._defines = "", 0, False
        phase, score, sample = Meter.phase, Policy.teacher_force, Policy.sample
        grad, define = torch.autograd.grad, by_definition

        @contextmanager
        def phase_of(meter: Meter, name: str, *more: Any, **named: Any) -> Iterator[None]:
            self._phase = name
            with phase(meter, name, *more, **named):
                yield

        def scored(policy: Policy, rollouts: Any, *more: Any) -> Any:
            self._count(WITH if torch.is_grad_enabled() else WITHOUT, len(rollouts))
            self._graph = len(rollouts)
            return score(policy, rollouts, *more)

        def sampled(policy: Policy, ids: Any, uniforms: Any) -> Any:
            self._count(SAMPLED, len(ids))
            return sample(policy, ids, uniforms)

        def differentiated(*arguments: Any, **named: Any) -> Any:
            if not self._defines:
                self._count(BACKWARD, self._graph)
            return grad(*arguments, **named)

        def defined(*arguments: Any) -> Any:
            self._count(DEFINED, 1)
            self._defines = True
            try:
                return define(*arguments)
            finally:
                self._defines = False

        patch.setattr(Meter, "phase", phase_of)
        patch.setattr(Policy, "teacher_force", scored)
        patch.setattr(Policy, "sample", sampled)
        patch.setattr(torch.autograd, "grad", differentiated)
        patch.setattr("pytest_entropy.probe.oracles.variance.by_definition", defined)

    def _count(self, what: str, prompts: int) -> None:
        self.by_phase.setdefault(self._phase, Counter())[what] += prompts


def measured(
    loaded: Checkpoint,
    patch: pytest.MonkeyPatch,
    B_E: int,
    B_U: int,
    *,
    elsewhere: bool = False,
    responses: bool = True,
    **settings: Any,
) -> tuple[dict[str, Counter[str]], Any]:
    """(counts by phase, record) of a single run with all that its template asks for."""
    config = ProbeConfig(
        B_U=B_U, G=3, max_new_tokens=6, learning_rate=1e-3, diagnostics=("total_variance", "eta_sweep"), **settings
    )
    probe = EntropyProbe(loaded, config, prompts=PROMPTS, reward=length)
    # As a session does: the update is read from its files, which do not hold its gradient.
    update = replace(probe.update(0), gradient={})
    update = update if responses else replace(update, rollouts=None)
    if elsewhere:
        probe = EntropyProbe(loaded, config, prompts=PROMPTS, reward=length)
    passes = Passes(patch)
    return passes.by_phase, probe.run(B_E, 0, update=update)


def test_a_small_run_passes_over_each_prompt_as_rarely_as_its_definition_allows(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, record = measured(loaded, monkeypatch, B_E=4, B_U=4)
    steps = len(record.arrays["sweep_steps"])
    # E's prompts and each companion once.
    read = counts["reading"][WITH]
    assert 4 + 20 < read <= 4 * (1 + record.companions.count)
    assert counts == {
        "reading": {WITH: read, BACKWARD: read},
        "sampling": {SAMPLED: 4},
        "self_check": {WITHOUT: 2, WITH: 2, BACKWARD: 2},
        # The entropy gradient as a vector, and the totals at theta, come from this pass as well.
        "derivatives": {WITH: 4, BACKWARD: 4},
        # Steps, two for the noise floor, and for half of the prompts theta and one step again.
        "ground_truth": {WITHOUT: (steps + 2) * 4 + 2 * 2},
        # U once, and an oracle of one of its prompts; E's vectors come from the derivatives' pass.
        "total_variance": {WITH: 4 + 1, BACKWARD: 4 + 1},
    }


def test_of_a_large_run_u_is_passed_as_often_and_the_noise_is_a_parts(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, record = measured(loaded, monkeypatch, B_E=40, B_U=10)
    steps, floor = len(record.arrays["sweep_steps"]), len(record.arrays["sweep_floor"])
    assert floor == 10
    assert counts["ground_truth"] == {WITHOUT: steps * 40 + 3 * floor + 2 * 10}
    assert counts["total_variance"] == {WITH: 10 + 1, BACKWARD: 10 + 1}


def test_per_token_the_vector_takes_a_pass_of_its_own(loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, _ = measured(loaded, monkeypatch, B_E=4, B_U=4, entropy_unit="token")
    assert counts["derivatives"] == {WITH: 4, BACKWARD: 2 * 4}
    assert counts["total_variance"] == {WITH: 4 + 4 + 1, BACKWARD: 4 + 4 + 1}


def test_of_an_update_of_another_process_only_missing_responses_are_drawn_again(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, record = measured(loaded, monkeypatch, B_E=4, B_U=4, elsewhere=True)
    assert counts["total_variance"] == {WITH: 4 + 1, BACKWARD: 4 + 1}
    counts, without = measured(loaded, monkeypatch, B_E=4, B_U=4, elsewhere=True, responses=False)
    assert counts["total_variance"] == {SAMPLED: 4, WITH: 4 + 1, BACKWARD: 4 + 1}
    # Prompts that share a normaliser have a share of U's gradient, which is in no file.
    counts, _ = measured(loaded, monkeypatch, B_E=4, B_U=4, elsewhere=True, loss_type="dapo")
    assert counts["total_variance"] == {WITH: 4 + 4 + 1, BACKWARD: 4 + 4 + 1}
    _, here = measured(loaded, monkeypatch, B_E=4, B_U=4)
    assert record.variance_parts == without.variance_parts == here.variance_parts
