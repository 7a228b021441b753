"""bitsandbytes' 8-bit moments, dequantised without it; bitsandbytes itself is the oracle."""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

import pytest
import torch

from pytest_entropy.optimizers.optimizer_states import moments_of
from pytest_entropy.optimizers.states.base import NotAdamW
from pytest_entropy.optimizers.states.bitsandbytes import dequantise


@pytest.fixture(scope="module")
def bnb() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: ModuleType = pytest.importorskip("bitsandbytes")
        return module


def stepped(
    bnb: ModuleType, kind: str, shapes: list[tuple[int, ...]]
) -> tuple[
    dict[str, dict[int, dict[str, int | dict[str, object]]] | list[dict[str, object]]], list[torch.nn.Parameter]
]:
    """The state_dict and parameters of a real optimizer after four steps."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    with warnings.catch_warnings():
        # Paging is a GPU's matter; the state has the same form.
        warnings.simplefilter("ignore")
        optimizer = getattr(bnb.optim, kind)(parameters, lr=1e-3)
        for _ in range(4):
            for p in parameters:
                p.grad = torch.randn_like(p) * torch.logspace(-4, 0, p.shape[-1])
            optimizer.step()
    return optimizer.state_dict(), parameters


SHAPES = [(64, 64), (96, 70), (10,), (63, 65), (4099,)]


@pytest.mark.parametrize("kind", ["AdamW8bit", "PagedAdamW8bit", "PagedAdamW", "AdamW32bit"])
@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
def test_equals_bitsandbytes(bnb: ModuleType, kind: str, flat: bool) -> None:
    record, parameters = stepped(bnb, kind, SHAPES)
    for index, p in enumerate(parameters):
        entry: dict[str, Any] = dict(record["state"][index])
        inner: dict[str, Any] = entry.pop("__bnb_optimizer_quant_state__", {})
        raw = {**entry, **inner}
        moments = moments_of(raw if flat else record["state"][index], tuple(p.shape))
        assert moments.step == 4
        assert moments.quantised == (kind.endswith("8bit") and p.numel() >= 4096)
        for ours, number in ((moments.exp_avg, "1"), (moments.exp_avg_sq, "2")):
            state = raw["state" + number]
            oracle = state
            if moments.quantised:
                assert state.dtype == torch.uint8
                oracle = bnb.functional.dequantize_blockwise(
                    state, absmax=raw["absmax" + number], code=raw["qmap" + number], blocksize=256
                )
            assert ours.shape == p.shape
            assert torch.equal(ours, oracle.reshape(p.shape))


@pytest.mark.parametrize("block", [256, 2048])
@pytest.mark.parametrize("count", [4096, 5000, 12289])
def test_block_sizes_old_and_new(block: int, count: int) -> None:
    codebook = torch.linspace(-1, 1, 256)
    codes = torch.randint(0, 256, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    largest = torch.arange(1.0, 1 + -(-count // block))
    values = dequantise(codes, codebook, largest)
    for i in (0, block - 1, block, count - 1):
        assert values[i] == codebook[int(codes[i])] * largest[i // block]


def entry(**changes: Any) -> dict[str, object]:
    return {"step": 3, "exp_avg": torch.zeros(4, 2), "exp_avg_sq": torch.ones(4, 2), **changes}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no moments": ({"step": 3}, "lacks exp_avg, exp_avg_sq"),
    "lion": ({"step": 3, "state1": torch.zeros(4, 2)}, "lacks state2"),
    "another shape": (entry(exp_avg=torch.zeros(2, 4)), r"has exp_avg of shape \(2, 4\), the parameter \(4, 2\)"),
    "expanded": (entry(exp_avg=torch.zeros(1).expand(10**12)), "of shape"),
    "not finite": (entry(exp_avg=torch.full((4, 2), torch.nan)), "exp_avg that is not finite"),
    "infinite": (entry(exp_avg_sq=torch.full((4, 2), torch.inf)), "exp_avg_sq that is not finite"),
    "negative": (entry(exp_avg_sq=-torch.ones(4, 2)), "negative exp_avg_sq"),
    "integers": (entry(exp_avg=torch.ones(4, 2, dtype=torch.int64)), "of type int64"),
    "sparse": (entry(exp_avg=torch.zeros(4, 2).to_sparse()), "not a plain tensor"),
    "meta": (entry(exp_avg=torch.zeros(4, 2, device="meta")), "not a plain tensor"),
    "a string": (entry(exp_avg="zeros"), "has a str as exp_avg"),
    "no step taken": (entry(step=0), "has taken 0 steps"),
    "step not a number": (entry(step="many"), "has taken many steps"),
    "step not finite": (entry(step=torch.tensor(torch.nan)), "has taken nan steps"),
    "8 bits without blocks": (
        {"step": 3, "state1": torch.zeros(4, 2, dtype=torch.uint8), "state2": torch.zeros(4, 2, dtype=torch.uint8)},
        "in 8 bits without qmap1 and absmax1",
    ),
    "blocks of a strange size": (
        {
            "step": 3,
            **{f"state{i}": torch.zeros(4, 2, dtype=torch.uint8) for i in (1, 2)},
            **{f"qmap{i}": torch.zeros(256) for i in (1, 2)},
            **{f"absmax{i}": torch.zeros(3) for i in (1, 2)},
        },
        "3 block maxima",
    ),
}


@pytest.mark.parametrize("case", list(BAD))
def test_is_refused(case: str) -> None:
    broken, message = BAD[case]
    with pytest.raises(NotAdamW, match=message):
        moments_of(broken, (4, 2))
