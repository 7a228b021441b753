"""Tell by its keys which optimizer wrote a state: the registered ones (torch's and bitsandbytes' Adam and AdamW) are
accepted, every other one is refused by name.

It is a whitelist: any other key belongs to another optimizer, or is a setting that changes the step.  Only keys and
plain settings are read, so that a file can be judged before torch opens it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.formats.safe_unpickler import NamedClass, UnpickledObject
from pytest_entropy.checkpoints.formats.torch_archive import torchao_refusal
from pytest_entropy.checkpoints.states.state_record import state_dict_in
from pytest_entropy.errors import UsageError
from pytest_entropy.optimizers.optimizer_states import flat, known_kinds
from pytest_entropy.optimizers.states.base import GROUP_KEYS, SWITCHES

_OPTIMI, _COLLECTION = "an optimizer of optimi (StableAdamW or kin)", "an optimizer of the pytorch-optimizer package"
# Keys that identify an optimizer, for the message; any other unknown key is refused as well.
_BELONGS = {
    "momentum_decay": "torch's NAdam",
    "mu_product": "torch's NAdam",
    "exp_inf": "Adamax",
    "beta2_decay": "torch's Adafactor",
    "row_var": "torch's Adafactor",
    "clip_threshold": "transformers' Adafactor",
    "exp_avg_sq_row": "Adafactor",
    "dampening": "SGD",
    "centered": "RMSprop",
    "rho": "Adadelta",
    "lr_decay": "Adagrad",
    "lambd": "ASGD",
    "etas": "Rprop",
    "ns_steps": "Muon",
    "momentum_buffer": "SGD with momentum or Muon",
    "grokking_signal_fns": "GrokAdamW",
    "grok_ema": "GrokAdamW",
    "decouple_lr": _OPTIMI,
    "kahan_comp": _OPTIMI,
    "eps_sq": _OPTIMI,
    "weight_decouple": _COLLECTION,
    "fixed_decay": _COLLECTION,
    "weight_lr_power": "a schedule-free optimizer",
    "d_coef": "Prodigy or D-Adaptation",
    "proj_type": "GaLore or APOLLO",
    "update_proj_gap": "GaLore or APOLLO",
    "use_kahan_summation": "AnyPrecisionAdamW",
    "correct_bias": "transformers' former AdamW (adamw_hf), whose eps is not corrected for bias",
    "bias_correction": "apex's or DeepSpeed's Adam",
    "unorm_vec": "bitsandbytes' LAMB, or AdamW with max_unorm",
    "gnorm_vec": "bitsandbytes' AdamW with percentile_clipping",
}
_REMEDY = (
    "only the steps of torch's and bitsandbytes' AdamW (and of Adam without weight decay) are implemented, and no "
    "other state is read as theirs: probe a checkpoint trained with AdamW (optim adamw_torch, adamw_torch_fused or "
    "adamw_8bit)"
)


def require_adamw(path: Path, record: Any) -> None:
    """Reject an optimizer's state_dict that is not Adam's or AdamW's, or whose settings change AdamW's step.

    Args:
        path: its file; in a directory (DCP) the order of keys carries no information.
        record: the state_dict or its outline.  Values that an outline lacks are not checked; anything that is not a
            state_dict passes, and reading it in full reports that.

    Raises:
        UsageError: names the optimizer, or the key that AdamW does not have.
    """
    record = state_dict_in(path, record)
    if not isinstance(record, Mapping):
        return
    groups = [group for group in _members(record.get("param_groups")) if isinstance(group, Mapping)]
    entries = [flat(entry) for entry in _members(record.get("state")) if isinstance(entry, Mapping)]
    if any(_by_torchao(value) for entry in entries for value in entry.values()):
        raise UsageError(torchao_refusal(path))
    reason = next(_reasons(groups, entries), None)
    if reason is not None:
        raise UsageError(f"{path} is the state of {reason}; {_REMEDY}")
    for group in groups:
        _require_settings(path, group)


def outline(paths: Any) -> dict[Any, Any]:
    """Nested dictionaries with None at each of the given key paths: the outline of a state_dict in a DCP directory."""
    root: dict[Any, Any] = {}
    for path in paths:
        table = root
        for part in path[:-1]:
            table = table.setdefault(part, {}) if isinstance(table, dict) else {}
        if isinstance(table, dict):
            table.setdefault(path[-1], None)
    return root


def _members(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


def _by_torchao(value: object) -> bool:
    """Whether a value, or its stand-in, is one of torchao's tensors."""
    # Their pickles call a function of torch's with the class among its arguments.
    named = value.arguments if type(value) is UnpickledObject else ()
    names = [type(value).__module__, *(part.name for part in named if type(part) is NamedClass)]
    return any(name.startswith("torchao.") for name in names)


def _reasons(groups: list[Mapping[str, Any]], entries: list[dict[str, object]]) -> Iterator[str]:
    """The optimizer that wrote the state and the key that tells, for each sign that it is not Adam or AdamW."""
    kinds = list(known_kinds().values())
    in_groups = GROUP_KEYS.union(*(kind.group_keys for kind in kinds))
    in_state = frozenset[str]().union(*(kind.state_keys for kind in kinds))
    keys = {key: "param_groups" for group in groups for key in group}
    keys = {key: "state" for entry in entries for key in entry} | keys
    for key, name in _BELONGS.items():
        # An installed package may read keys that no built-in optimizer has.
        if key in keys and key not in in_groups | in_state:
            yield f"{name} (its {keys[key]} hold {key!r})"
    for group in groups:
        if "betas" in group and "eps" not in group:
            yield "Lion or its kin (betas without eps)"
        if "amsgrad" not in group and (own := [key for key in SWITCHES if key in group]):
            name = "torch's RAdam" if "weight_decay" in group else "torch's SparseAdam"
            yield f"{name} (its param_groups hold {own[0]!r} and no 'amsgrad', which Adam's and AdamW's always hold)"
        if _plain(group.get("alpha")) or _plain(group.get("t_alpha")) or _plain(group.get("t_beta3")):
            yield "AdEMAMix (its param_groups hold an alpha)"
    if any("state1" in entry and "state2" not in entry for entry in entries):
        yield "an optimizer of bitsandbytes with one moment (Lion, RMSprop, SGD, Adagrad)"
    for place, known, tables in (("param_groups", in_groups, groups), ("state", in_state, entries)):
        for key in (key for table in tables for key in table if key not in known):
            yield f"an optimizer that is not AdamW (its {place} hold {str(key)[:60]!r}, which AdamW's do not)"
    for kind in kinds:
        mine = any(kind.recognise(entry, {}) for entry in entries)
        for key in sorted(kind.always if mine else ()):
            if any(key not in group for group in groups):
                yield f"an optimizer that is not AdamW (its param_groups hold no {key!r}, which AdamW's always do)"


def _require_settings(path: Path, group: Mapping[str, Any]) -> None:
    if _plain(group.get("amsgrad")) or _plain(group.get("maximize")):
        raise UsageError(f"{path}: amsgrad and maximize are not supported; train without them")
    decay = _plain(group.get("weight_decay"))
    if decay and (group.get("decoupled_weight_decay") is False or (not path.is_dir() and _by_former_adam(group))):
        raise UsageError(
            f"{path}: Adam with weight decay {decay:g} inside the gradient is not AdamW; train with AdamW, or without "
            "weight decay"
        )


def _by_former_adam(group: Mapping[str, Any]) -> bool:
    """Whether Adam of torch before 2.7 wrote the group: it differs from AdamW's in the order of two keys only."""
    keys = [key for key in group if key in ("maximize", "foreach", "decoupled_weight_decay")]
    return keys == ["maximize", "foreach"]


def _plain(value: Any) -> float | None:
    """A setting as a number; None where it is not a number or not known."""
    try:
        # The method of a tensor's type, not an attribute that an untrusted file gave to a stand-in.
        if hasattr(type(value), "numel") and value.numel() == 1:
            value = value.item()
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return float("inf")
    except RuntimeError:  # a tensor without data
        return None
