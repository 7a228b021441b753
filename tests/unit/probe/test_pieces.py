"""Pieces: nothing but rounding depends on them, and memory that runs out halves them, when sampling as well."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import pytest
import torch

from pytest_entropy.policy.equal_responses import EqualResponses
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts, gathered
from pytest_entropy.probe.batches import SamplePiece
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.derivative_piece import DerivativePiece
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import GradientPiece
from pytest_entropy.probe.derivatives.objectives import Loss, Surrogate
from pytest_entropy.probe.diagnostics.importance_sampling import TotalsPiece
from pytest_entropy.probe.diagnostics.token_evidence import LogRatiosPiece
from pytest_entropy.probe.pieces import Piece, is_out_of_memory, sampling_chunks, threads_on, work_through, worked
from tests import tiny


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny.policy(tiny.lora(tiny.qwen2()), dtype=torch.float64)


class Failing:
    """The policy's method, out of memory for more than ``most`` prompts."""

    def __init__(self, method: Callable[..., Any], most: int) -> None:
        self.method, self.most, self.failures = method, most, 0

    def __call__(self, first: Rollouts | tuple[tuple[int, ...], ...], *rest: torch.Tensor | None) -> Any:
        if len(first) > self.most:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.method(first, *rest)


@pytest.mark.parametrize("threads", [1, 2])
def test_scoring_that_runs_out_of_memory_goes_on_in_halves(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    rollouts, u = tiny.sample(policy, tiny.prompts(9)), tiny.direction(policy)
    whole = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=10**6)
    failing = Failing(policy.teacher_force, 2)
    monkeypatch.setattr(policy, "teacher_force", failing)
    halved = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=300, threads=threads)
    assert failing.failures
    np.testing.assert_allclose(halved.per_prompt["rao_blackwell"], whole.per_prompt["rao_blackwell"], rtol=1e-10)
    torch.testing.assert_close(halved.entropies, whole.entropies, rtol=1e-10, atol=1e-12)


def test_sampling_that_runs_out_of_memory_goes_on_in_halves(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tiny.prompts(9)
    whole = tiny.sample(policy, ids, seed=3)
    failing = Failing(policy.sample, 3)
    monkeypatch.setattr(policy, "sample", failing)

    def piece(indices: list[int]) -> SamplePiece:
        return SamplePiece(tuple(indices), tuple(tuple(ids[n]) for n in indices), 3, 4, 10)

    halved = gathered(worked(policy, [[8, 1, 2, 3, 4], [0, 5, 6, 7]], piece), 9)
    assert failing.failures
    assert torch.equal(halved.lengths, whole.lengths)
    assert [halved.responses(n) for n in range(9)] == [whole.responses(n) for n in range(9)]
    assert halved.prompt_ids == whole.prompt_ids


T = TypeVar("T")
NO_POLICY: Any = None


def test_what_ran_out_of_memory_is_not_tried_again() -> None:
    tried: list[int] = []

    def work(indices: list[int]) -> int:
        tried.append(len(indices))
        if len(indices) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sum(indices)

    found = list(worked(NO_POLICY, [list(range(16))] * 3, Call.of(work)))
    assert [len(size) for size in (tried, [n for n in tried if n > 2])] == [3 + 3 * 8, 3]
    assert sorted(n for indices, _ in found for n in indices) == sorted([*range(16)] * 3)


def test_a_single_prompt_that_runs_out_of_memory_is_computed_in_parts(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts, u = tiny.sample(policy, tiny.prompts(3)), tiny.direction(policy)
    whole = directional_derivatives(policy, rollouts, u, ["reinforce_loo"], chunk_tokens=10**6)
    forced = policy.teacher_force
    tried: list[int] = []

    def narrow(part: Rollouts, ranks: torch.Tensor | None = None) -> Any:
        tried.append(len(part) * part.group_size)
        if len(part) * part.group_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forced(part, ranks)

    monkeypatch.setattr(policy, "teacher_force", narrow)
    parts = directional_derivatives(policy, rollouts, u, ["reinforce_loo"], chunk_tokens=10**6)
    expected = whole.per_prompt["reinforce_loo"]
    np.testing.assert_allclose(parts.per_prompt["reinforce_loo"], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    # Twelve rows, four of one prompt, two of it; from then on one at a time.
    assert [rows for rows in tried if rows > 1] == [12, 4, 2]


def test_a_single_response_that_does_not_fit_is_an_error(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    rollouts, u = tiny.sample(policy, tiny.prompts(2)), tiny.direction(policy)

    def full(*_: object) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Policy, "teacher_force", full)
    with pytest.raises(torch.OutOfMemoryError):
        directional_derivatives(policy, rollouts, u, ["score"], chunk_tokens=10**6)


def test_a_single_response_that_does_not_fit_is_computed_with_layers_recomputed(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts, u = tiny.sample(policy, tiny.prompts(3)), tiny.direction(policy)
    names = ["reinforce_loo"]
    whole = directional_derivatives(policy, rollouts, u, names, chunk_tokens=10**6, gradient_of=names[0])
    forced, kept = Policy.teacher_force, 0

    def without_a_graph_of_all_layers(own: Policy, part: Rollouts, ranks: torch.Tensor | None = None) -> Any:
        nonlocal kept
        if torch.is_grad_enabled() and not own.recompute:
            kept += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forced(own, part, ranks)

    monkeypatch.setattr(Policy, "teacher_force", without_a_graph_of_all_layers)
    again = directional_derivatives(policy, rollouts, u, names, chunk_tokens=10**6, gradient_of=names[0])
    # Three prompts, one, two of its four responses, one; from then on layers are recomputed.
    assert kept == 4
    for got, expected in [
        (again.per_prompt[names[0]], whole.per_prompt[names[0]]),
        *((again.gradients[0][name].numpy(), g.numpy()) for name, g in whole.gradients[0].items()),
    ]:
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@dataclass(frozen=True)
class Call(Generic[T]):
    """A piece that calls a function of its indices."""

    function: Callable[[list[int]], T]
    indices: list[int]

    @classmethod
    def of(cls, function: Callable[[list[int]], T]) -> Callable[[list[int]], Call[T]]:
        return lambda indices: cls(function, indices)

    def compute(self, policy: Policy) -> T:
        return self.function(self.indices)


def pieces_of(policy: Policy) -> dict[str, Piece[object]]:
    """One piece of each kind, from real rollouts."""
    rollouts = replace(tiny.sample(policy, tiny.prompts(5), seed=1), control_variate=None)
    u, part = tiny.direction(policy), rollouts.select([1, 3])
    weights = torch.linspace(-1, 1, 2 * rollouts.group_size, dtype=torch.float64).reshape(2, -1)
    ids = tuple(tuple(row) for row in tiny.prompts(2))
    return {
        "sample": SamplePiece((0, 1), ids, 7, 4, 10),
        "derivatives": DerivativePiece(part, (u,), ("rao_blackwell", "score"), gradient_of="score"),
        "loss": GradientPiece(part, (Loss(weights), Surrogate({"score": torch.ones(2, dtype=torch.float64)}))),
        "totals": TotalsPiece(part, EqualResponses.of(part)),
        "evidence": LogRatiosPiece(part),
    }


@pytest.mark.parametrize("kind", ["sample", "derivatives", "loss", "totals", "evidence"])
def test_a_piece_that_was_sent_gives_the_same_bits(policy: Policy, kind: str) -> None:
    piece = pieces_of(policy)[kind]
    sent = pickle.loads(pickle.dumps(piece))
    assert pickle.dumps(plain_values(sent.compute(policy))) == pickle.dumps(plain_values(piece.compute(policy)))


def plain_values(value: object) -> object:
    """A result as numbers alone: tensors' pickles hold where they lie."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return {name: plain_values(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    return plain_values(vars(value)) if hasattr(value, "__dict__") else value


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    # Older torch has no name of its own for it.
    getattr(torch, "AcceleratorError", RuntimeError)(
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"
    ),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: f"{type(error).__name__} {str(error)[:40]}")
def test_whoever_says_it_memory_that_runs_out_halves_a_piece(error: Exception) -> None:
    def work(indices: list[int]) -> list[int]:
        if len(indices) > 1:
            raise error
        return indices

    assert is_out_of_memory(error)
    assert work_through(NO_POLICY, [[0, 1, 2]], Call.of(work)) == [([0], [0]), ([1], [1]), ([2], [2])]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        ValueError("CUDA error: out of memory"),
    ],
)
def test_other_errors_of_a_gpu_are_not_taken_for_it(error: RuntimeError | ValueError) -> None:
    assert not is_out_of_memory(error)


def test_a_gpu_computes_one_piece_at_a_time() -> None:
    assert threads_on(torch.device("cpu"), 4) == 4
    assert threads_on(torch.device("cuda", 1), 4) == 1


def test_an_error_of_another_kind_and_a_single_prompt_are_not_retried() -> None:
    def work(indices: list[int]) -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        work_through(NO_POLICY, [[0, 1]], Call.of(work))

    def never(indices: list[int]) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        work_through(NO_POLICY, [[0, 1]], Call.of(never))


def test_what_the_caller_drops_is_free_before_the_next_piece() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def work(indices: list[int]) -> torch.Tensor:
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 1
        result = torch.zeros(4)
        alive.append(weakref.ref(result))
        return result

    for _, result in worked(NO_POLICY, [[n] for n in range(5)], Call.of(work)):
        del result
    assert len(alive) == 5


def test_action_values_do_not_depend_on_how_many_prompts_are_looked_at_together(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts = tiny.sample(policy, tiny.prompts(3), limit=20)
    whole = learn(rollouts, 20)
    assert len(whole.pair_value) > 3
    monkeypatch.setattr("pytest_entropy.probe.control_variate.PROMPTS_PER_PIECE", 2)
    pieces = learn(rollouts, 20)
    for name in ("position", "token", "pair_context", "pair_token", "pair_value"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


def test_off_the_cpu_prompts_of_one_length_come_together_where_they_fill_half_a_chunk() -> None:
    lengths = [9] * 21 + [5] * 8 + [7] * 3 + [6] * 2 + [8] * 4
    chunks = sampling_chunks(lengths, 4, 32, "cuda")
    assert sorted(n for chunk in chunks for n in chunk) == list(range(len(lengths)))
    # Of 8 prompts a chunk, so 4 of a length fill half of one.
    assert [[lengths[n] for n in chunk] for chunk in chunks] == [
        [5] * 8, [8] * 4, [9] * 8, [9] * 8, [9] * 5, [6, 6, 7, 7, 7]
    ]  # fmt: skip
    on_cpu = sampling_chunks(lengths, 4, 32)
    assert [len(chunk) for chunk in on_cpu] == [8, 8, 8, 8, 6]
    assert sampling_chunks(lengths, 4, 32, "cpu") == on_cpu


def test_many_different_lengths_share_chunks_off_the_cpu() -> None:
    lengths = [10 + n % 60 for n in range(256)]
    assert sampling_chunks(lengths, 8, 512, "cuda") == sampling_chunks(lengths, 8, 512)
    generator = np.random.default_rng(0)
    for spread in (1, 2, 5, 20, 100):
        drawn = [int(n) for n in generator.integers(10, 10 + spread, 300)]
        for rows in (4, 64, 512):
            chunks, on_cpu = sampling_chunks(drawn, 4, rows, "cuda"), sampling_chunks(drawn, 4, rows)
            assert len(chunks) <= 2 * len(on_cpu) + 1
            assert all(len(chunk) <= rows // 4 for chunk in chunks)
            assert sorted(n for chunk in chunks for n in chunk) == list(range(300))
