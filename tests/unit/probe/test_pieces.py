"""Pieces: nothing but rounding depends on them, and memory that runs out halves them, when sampling as well."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from pytest_entropy.policy.rollouts import gathered
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.pieces import is_out_of_memory, threads_on, work_through, worked
from tests import tiny


@pytest.fixture(scope="module")
def policy():
    return tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)


class Failing:
    """The policy's method, out of memory for more than ``most`` prompts."""

    def __init__(self, method, most):
        self.method, self.most, self.failures = method, most, 0

    def __call__(self, first, *rest):
        if len(first) > self.most:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.method(first, *rest)


@pytest.mark.parametrize("threads", [1, 2])
def test_scoring_that_runs_out_of_memory_goes_on_in_halves(policy, monkeypatch, threads):
    rollouts, u = tiny.sample(policy, tiny.prompts(9)), tiny.direction(policy)
    whole = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10**6)
    failing = Failing(policy.score, 2)
    monkeypatch.setattr(policy, "score", failing)
    halved = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=300, threads=threads)
    assert failing.failures
    np.testing.assert_allclose(halved.per_prompt["rao_blackwell"], whole.per_prompt["rao_blackwell"], rtol=1e-10)
    torch.testing.assert_close(halved.entropies, whole.entropies, rtol=1e-10, atol=1e-12)


def test_sampling_that_runs_out_of_memory_goes_on_in_halves(policy, monkeypatch):
    from pytest_entropy.records.seeds import uniforms

    ids = tiny.prompts(9)
    whole = tiny.sample(policy, ids, seed=3)
    failing = Failing(policy.sample, 3)
    monkeypatch.setattr(policy, "sample", failing)

    def work(slots):
        table = np.stack([uniforms(3, n, 4, 10) for n in slots])
        return policy.sample([ids[n] for n in slots], torch.from_numpy(table))

    halved = gathered(worked([[8, 1, 2, 3, 4], [0, 5, 6, 7]], work), 9)
    assert failing.failures
    assert torch.equal(halved.lengths, whole.lengths)
    assert [halved.responses(n) for n in range(9)] == [whole.responses(n) for n in range(9)]
    assert halved.prompt_ids == whole.prompt_ids


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: f"{type(error).__name__} {str(error)[:40]}")
def test_whoever_says_it_memory_that_runs_out_halves_a_piece(error):
    def work(slots):
        if len(slots) > 1:
            raise error
        return slots

    assert is_out_of_memory(error)
    assert work_through([[0, 1, 2]], work) == [([0], [0]), ([1], [1]), ([2], [2])]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        ValueError("CUDA error: out of memory"),
    ],
)
def test_other_errors_of_a_gpu_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)


def test_a_gpu_computes_one_piece_at_a_time():
    assert threads_on(torch.device("cpu"), 4) == 4
    assert threads_on(torch.device("cuda", 1), 4) == 1


def test_an_error_of_another_kind_and_a_single_prompt_are_not_retried():
    def work(slots):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        work_through([[0, 1]], work)

    def never(slots):
        raise MemoryError

    with pytest.raises(MemoryError):
        work_through([[0, 1]], never)


def test_what_the_caller_drops_is_free_before_the_next_piece():
    alive: list[weakref.ref] = []

    def work(slots):
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 1
        result = torch.zeros(4)
        alive.append(weakref.ref(result))
        return result

    for _, result in worked([[n] for n in range(5)], work):
        del result
    assert len(alive) == 5


def test_action_values_do_not_depend_on_how_many_prompts_are_looked_at_together(policy, monkeypatch):
    rollouts = tiny.sample(policy, tiny.prompts(11), limit=20)
    whole = learn(rollouts, 20)
    monkeypatch.setattr("pytest_entropy.probe.control_variate.AT_ONCE", 2)
    pieces = learn(rollouts, 20)
    for name in ("position", "token", "share"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
