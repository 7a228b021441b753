"""Optimizers' state_dicts as trainers wrap them: found where there is one, refused while planning where not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.checkpoints.metadata import read_metadata
from pytest_entropy.checkpoints.preflight.screening import screen
from pytest_entropy.errors import UsageError
from tests.unit.checkpoints.read_again import expect_read_again
from tests.unit.checkpoints.strangers import copy

__all__ = ["copy"]

WRAPPED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "optimizer": lambda record: {"optimizer": record},
    "with a scheduler": lambda record: {"optimizer": record, "lr_scheduler": {"last_epoch": 3}, "step": 3},
    "optim": lambda record: {"optim": record, "epoch": 1},
    "optimizer_state_dict": lambda record: {"optimizer_state_dict": record, "loss": 0.5},
    "Lightning's list": lambda record: {"optimizer_states": [record], "loops": {}},
    "two deep": lambda record: {"state": {"optimizer": record}},
    "a list": lambda record: [record],
}


@pytest.mark.parametrize("case", list(WRAPPED))
def test_a_wrapped_state_is_read_as_the_plain_one(copy: Path, case: str) -> None:
    wanted = load_checkpoint(copy)
    rate = read_metadata(wanted.files)
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    torch.save(WRAPPED[case](record), copy / "optimizer.pt")
    screen(find_checkpoint(copy))
    assert read_metadata(find_checkpoint(copy)) == rate
    assert rate.learning_rate == wanted.learning_rate
    found = load_checkpoint(copy)
    assert found.optimizer
    for name, state in wanted.optimizer.items():
        assert torch.equal(found.optimizer[name].exp_avg, state.exp_avg), name
        assert torch.equal(found.optimizer[name].exp_avg_sq, state.exp_avg_sq), name
    expect_read_again(found)


def test_several_optimizers_are_refused_by_their_keys(copy: Path) -> None:
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    torch.save({"actor": record, "critic": record}, copy / "optimizer.pt")
    with pytest.raises(UsageError, match=r"several optimizers: record\[.actor.\], record\[.critic.\]\. Save"):
        screen(find_checkpoint(copy))
    with pytest.raises(UsageError, match="holds several optimizers"):
        load_checkpoint(copy)


def test_what_holds_no_optimizer_is_refused_while_planning(copy: Path) -> None:
    torch.save({"model": {"w": torch.zeros(2)}, "epoch": 1}, copy / "optimizer.pt")
    with pytest.raises(UsageError, match="not an optimizer's state_dict .* it holds 'epoch', 'model'"):
        screen(find_checkpoint(copy))


def test_another_optimizer_in_a_wrapper_is_refused(copy: Path) -> None:
    p = torch.nn.Parameter(torch.zeros(3))
    p.grad = torch.ones(3)
    optimizer = torch.optim.NAdam([p])
    optimizer.step()
    torch.save({"optim": optimizer.state_dict()}, copy / "optimizer.pt")
    with pytest.raises(UsageError, match="the state of torch's NAdam"):
        screen(find_checkpoint(copy))
