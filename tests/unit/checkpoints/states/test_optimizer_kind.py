"""Whose state an optimizer's file holds: real optimizers' states, AdamW's kin read, every other one refused by name."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

from pytest_entropy.checkpoints import find_checkpoint
from pytest_entropy.checkpoints.formats.torch_archive import read_outline
from pytest_entropy.checkpoints.preflight.screening import screen
from pytest_entropy.checkpoints.states.optimizer_kind import require_adamw
from pytest_entropy.errors import UsageError
from tests.unit.checkpoints.strangers import copy, refused
from tests.unit.checkpoints.test_layouts import rewrite, save_full

__all__ = ["copy"]


def stepped(kind: Callable[..., torch.optim.Optimizer], **options: Any) -> torch.optim.Optimizer:
    """A real optimizer after three steps on two small parameters."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(6, 4)), torch.nn.Parameter(torch.randn(4, 4))]
    optimizer = kind(parameters, lr=1e-3, **options)
    for _ in range(3):
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer.step()
    return optimizer


OTHERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any], str]] = {
    "RAdam": (torch.optim.RAdam, {}, "torch's RAdam"),
    "RAdam, decoupled": (torch.optim.RAdam, {"decoupled_weight_decay": True, "weight_decay": 0.1}, "torch's RAdam"),
    "NAdam": (torch.optim.NAdam, {}, "torch's NAdam"),
    "Adamax": (torch.optim.Adamax, {}, "Adamax"),
    "Adafactor": (torch.optim.Adafactor, {}, "torch's Adafactor"),
    "SGD": (torch.optim.SGD, {"momentum": 0.9}, "SGD"),
    "RMSprop": (torch.optim.RMSprop, {}, "RMSprop"),
    "Adagrad": (torch.optim.Adagrad, {}, "Adagrad"),
    "Adadelta": (torch.optim.Adadelta, {}, "Adadelta"),
    "ASGD": (torch.optim.ASGD, {}, "ASGD"),
    "Rprop": (torch.optim.Rprop, {}, "Rprop"),
    "amsgrad": (torch.optim.AdamW, {"amsgrad": True}, "amsgrad and maximize are not supported"),
    "maximize": (torch.optim.AdamW, {"maximize": True}, "amsgrad and maximize are not supported"),
    "L2 decay": (torch.optim.Adam, {"weight_decay": 0.1}, "Adam with weight decay 0.1 inside the gradient"),
}


@pytest.mark.parametrize("case", list(OTHERS))
def test_torchs_other_optimizers_are_refused_by_name_before_anything_is_loaded(copy: Path, case: str) -> None:
    kind, options, name = OTHERS[case]
    torch.save(stepped(kind, **options).state_dict(), copy / "optimizer.pt")
    with pytest.raises(UsageError, match=rf"optimizer\.pt.* {name}"):
        screen(find_checkpoint(copy))


def test_a_state_like_adamws_is_refused_when_loaded_as_well(copy: Path) -> None:
    """From Python nothing is screened before; the state has AdamW's keys, and parameters of this model."""
    record = torch.load(copy / "optimizer.pt", weights_only=True)
    settings = stepped(torch.optim.RAdam).state_dict()["param_groups"][0]
    record["param_groups"][0] = {**settings, "params": record["param_groups"][0]["params"]}
    torch.save(record, copy / "optimizer.pt")
    assert "optim adamw_torch, adamw_torch_fused or adamw_8bit" in refused(copy, "is the state of torch's RAdam")


def own(name: str, settings: dict[str, Any], keys: tuple[str, ...]) -> type[torch.optim.Optimizer]:
    """An optimizer of the given group settings and state keys, as packages define them."""

    def step(self: torch.optim.Optimizer) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = {"step": torch.tensor(3.0), **{key: torch.rand_like(p) for key in keys}}

    def init(self: torch.optim.Optimizer, params: list[torch.nn.Parameter], lr: float) -> None:
        defaults = {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, **settings}
        torch.optim.Optimizer.__init__(self, params, defaults)

    return type(name, (torch.optim.Optimizer,), {"__init__": init, "step": step})


MOMENTS = ("exp_avg", "exp_avg_sq")
LIKE_ADAMW: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "GrokAdamW": ({"alpha_init": 0.98, "lamb": 2.0, "grokking_signal_fns": None}, (*MOMENTS, "grok_ema"), "GrokAdamW"),
    "GrokAdamW's state": ({}, (*MOMENTS, "grok_ema"), "GrokAdamW .its state hold 'grok_ema'"),
    "optimi": ({"decouple_lr": False, "kahan_sum": False}, (*MOMENTS, "eps_sq"), "optimi .StableAdamW"),
    "pytorch-optimizer": ({"weight_decouple": True, "fixed_decay": False}, MOMENTS, "the pytorch-optimizer package"),
    "schedule-free": ({"weight_lr_power": 2.0, "train_mode": True}, ("z", "exp_avg_sq"), "a schedule-free optimizer"),
    "adamw_hf": ({"correct_bias": True}, MOMENTS, "transformers' former AdamW"),
    "apex": ({"bias_correction": True}, MOMENTS, "apex's or DeepSpeed's Adam"),
    "GaLore": ({"update_proj_gap": 200}, MOMENTS, "GaLore or APOLLO"),
    "unheard of": ({"cautious": True}, MOMENTS, "not AdamW .its param_groups hold 'cautious'"),
    "unheard of, by its state": ({"amsgrad": False}, (*MOMENTS, "slow"), "not AdamW .its state hold 'slow'"),
    "timm's former RAdam": ({}, MOMENTS, "not AdamW .its param_groups hold no 'amsgrad', which AdamW's always do"),
    "fairseq's Adam": ({"amsgrad": False}, MOMENTS, "not AdamW .its param_groups hold no 'maximize'"),
    "RAdam of torch 2.0": ({"foreach": None, "differentiable": False}, MOMENTS, "torch's RAdam"),
    "SparseAdam": ({"maximize": False, "weight_decay": 0.0}, MOMENTS, "hold 'maximize' and no 'amsgrad'"),
    "Adam of torch 2.5": (
        {"amsgrad": False, "maximize": False, "foreach": None, "capturable": False}, MOMENTS,
        "Adam with weight decay 0.01 inside the gradient",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(LIKE_ADAMW))
def test_what_looks_like_adamw_is_refused_by_its_own_keys(copy: Path, case: str) -> None:
    settings, keys, name = LIKE_ADAMW[case]
    torch.save(stepped(own(case, settings, keys)).state_dict(), copy / "optimizer.pt")
    with pytest.raises(UsageError, match=name):
        screen(find_checkpoint(copy))


def schedule(kind: Callable[..., object], **options: Any) -> Callable[..., torch.optim.Optimizer]:
    def make(parameters: list[torch.nn.Parameter], lr: float) -> torch.optim.AdamW:
        optimizer = torch.optim.AdamW(parameters, lr=lr)
        kind(optimizer, **options)
        return optimizer

    return make


SCHEDULERS = torch.optim.lr_scheduler
READ: dict[str, tuple[Callable[..., torch.optim.Optimizer], dict[str, Any]]] = {
    "AdamW": (torch.optim.AdamW, {}),
    "names": (lambda ps, lr: torch.optim.AdamW([("a", ps[0]), ("b", ps[1])], lr=lr), {}),
    "fused": (torch.optim.AdamW, {"fused": True}),
    "foreach": (torch.optim.AdamW, {"foreach": True}),
    "a tensor's rate": (lambda ps, lr: torch.optim.AdamW(ps, lr=torch.tensor(lr)), {}),
    "Adam": (torch.optim.Adam, {}),
    "Adam, decoupled": (torch.optim.Adam, {"decoupled_weight_decay": True, "weight_decay": 0.1}),
    "linear schedule": (schedule(SCHEDULERS.LinearLR), {}),
    "one cycle": (schedule(SCHEDULERS.OneCycleLR, max_lr=1e-2, total_steps=9), {}),
    "cycles": (schedule(SCHEDULERS.CyclicLR, base_lr=1e-4, max_lr=1e-2, cycle_momentum=False), {}),
    "averaging": (schedule(torch.optim.swa_utils.SWALR, swa_lr=1e-3), {}),
    "AdamW of torch 2.5": (own("adamw", {"amsgrad": False, "foreach": None, "maximize": False}, MOMENTS), {}),
}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("case", list(READ))
def test_adamw_and_its_kin_pass_with_and_without_torch(tmp_path: Path, case: str) -> None:
    kind, options = READ[case]
    if case == "Adam, decoupled" and not options.keys() <= inspect.signature(kind).parameters.keys():
        pytest.skip("this torch's Adam cannot decouple its decay")
    torch.save(stepped(kind, **options).state_dict(), tmp_path / "optimizer.pt")
    require_adamw(tmp_path / "optimizer.pt", torch.load(tmp_path / "optimizer.pt", weights_only=True))
    seen = read_outline(tmp_path / "optimizer.pt")
    assert set(seen) == {"state", "param_groups"}, "planning sees the keys without torch"
    assert {"step", "exp_avg"} <= set(seen["state"][0])
    require_adamw(tmp_path / "optimizer.pt", seen)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("AdamW8bit", None),
        ("PagedAdamW32bit", None),
        ("Adam8bit", None),
        ("LAMB", "LAMB"),
        ("AdEMAMix", "AdEMAMix"),
        ("Lion8bit", "of bitsandbytes with one moment"),
        ("RMSprop", "of bitsandbytes with one moment"),
    ],
)
def test_bitsandbytes_optimizers(tmp_path: Path, kind: str, name: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bnb = pytest.importorskip("bitsandbytes")
        torch.save(stepped(getattr(bnb.optim, kind)).state_dict(), tmp_path / "optimizer.pt")
    for record in (torch.load(tmp_path / "optimizer.pt", weights_only=True), read_outline(tmp_path / "optimizer.pt")):
        if name is None:
            require_adamw(tmp_path / "optimizer.pt", record)
        else:
            with pytest.raises(UsageError, match=name):
                require_adamw(tmp_path / "optimizer.pt", record)


@pytest.mark.parametrize(("change", "name"), [({}, None), ({"momentum_decay": 4e-3}, "torch's NAdam")])
def test_a_dcp_directory_is_judged_by_its_description(
    tmp_path: Path, change: dict[str, float], name: str | None
) -> None:
    record, names = save_full(tmp_path)
    (tmp_path / "optimizer.pt").unlink()
    by_name = rewrite(tmp_path, record, names, order=list(range(len(names))), keys="strings")
    by_name["param_groups"][0].update(change)
    with pytest.warns(UserWarning, match="single process"):
        dcp.save({"optimizer": by_name}, checkpoint_id=tmp_path / "optimizer_0")  # type: ignore[attr-defined]
    if name is None:
        screen(find_checkpoint(tmp_path))
    else:
        refused(tmp_path, name)


def test_stand_ins_of_a_strangers_file_are_not_called(tmp_path: Path) -> None:
    class Setting:
        def __reduce__(self) -> tuple[object, ...]:
            return torch.Size, ((1,),), {"numel": 3, "item": 4}

    torch.save({"state": {}, "param_groups": [{"weight_decay": Setting(), "amsgrad": Setting()}]}, tmp_path / "x.pt")
    seen = read_outline(tmp_path / "x.pt")
    assert seen["param_groups"][0]["amsgrad"].numel == 3
    require_adamw(tmp_path / "x.pt", seen)
    require_adamw(tmp_path / "x.pt", {"param_groups": [{"amsgrad": torch.empty(1, device="meta")}]})


@pytest.mark.parametrize("record", [None, [], {"state": 3}, {"param_groups": "x", "state": [1]}, {"optimizer": None}])
def test_what_is_no_state_dict_is_left_to_its_reader(tmp_path: Path, record: object) -> None:
    require_adamw(tmp_path, record)
    torch.save(record, tmp_path / "x.pt")
    require_adamw(tmp_path, read_outline(tmp_path / "x.pt"))
    assert read_outline(tmp_path / "nowhere.pt") is None
