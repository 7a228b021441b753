"""Whole runs of the probe on the device of :mod:`tests.fake_device`: a script, as the device is the whole process's.

    python -m tests.whole_runs                     the device's own rules, and every variant
    python -m tests.whole_runs mixed [NAME ...]    devices mixed by hand, one place at a time (tests.mixed_by_hand)
    python -m tests.whole_runs spread              models whose layers lie on the CPU and on the device

A line of JSON for each: its name, and where and why it failed, or what it measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_entropy.checkpoints.device_map import lay_across
from pytest_entropy.checkpoints.preflight.row_independence import with_separate_rows
from pytest_entropy.optimizers.state import AdamWState, ParameterState
from pytest_entropy.policy import distribution, teacher_forcing
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe import EntropyProbe, ProbeConfig, table_choice
from pytest_entropy.probe.prefix_value import FittedValue, RegressionSums, fitted
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.prompts import Prompt
from pytest_entropy.runs.run_files import write_tensors
from tests import fake_device, tiny
from tests.length_reward import length

DIAGNOSTICS = (
    "reinforce_loo", "score", "ranks", "definition", "entropy_slope", "total_variance", "eta_sweep",
)  # fmt: skip
SIZES = {"B_U": 2, "G": 2, "max_new_tokens": 3, "sample_rows": 4, "chunk_tokens": 60, "eta_multiples": (-1, 1)}
PROMPTS = [Prompt(text) for text in ("Tom has 3", "7", "buys 14 more.", "0 + 4 = ", "<think>", "Tom buys 45 apples")]
LEARNS = "a value of prefixes"
FEW = {"r": 2, "target_modules": ["q_proj", "down_proj"]}


@dataclass(frozen=True)
class ProbeInputs:
    """What a checkpoint gives a probe."""

    policy: Policy
    optimizer: AdamWState
    learning_rate: float = 1e-3
    learning_rate_source: str = "test"


@dataclass(frozen=True)
class Variant:
    """A tiny model (all of it trained without an ``adapter``), its weights' type, and the probe's settings.

    ``pieces``: whether the vocabulary's table is made in pieces.
    """

    name: str
    adapter: dict[str, Any] | None
    dtype: torch.dtype
    settings: dict[str, Any] = field(default_factory=dict)
    pieces: bool = True
    tied: bool = True
    layers: int = 1
    spread: dict[str, str | int] | None = None

    def inputs(self, device: str) -> ProbeInputs:
        words = tiny.tokenizer()
        model: Any = tiny.qwen2(
            len(words), hidden=16, layers=self.layers, eos_token_id=words.eos_token_id, tie_word_embeddings=self.tied
        )
        trained = self.dtype if self.adapter is None else torch.float32
        if self.adapter is not None:
            model = tiny.lora(model, **self.adapter)
        if self.spread is None or device == "cpu":
            model = fake_device.to_device(model, device, frozen=self.dtype, trained=trained)
        else:
            lay_across(model, self.spread)
        trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        generator = torch.Generator().manual_seed(0)
        state = {}
        for name, p in trainable.items():
            m, v = (torch.rand(p.shape, generator=generator) / 100 + 1e-4 for _ in range(2))
            state[name] = ParameterState(3, m, v, 1e-3, (0.9, 0.99), 1e-8, 0.01)
        return ProbeInputs(Policy(model, words, trainable, (words.eos_token_id,)), state)

    def probe(self, device: str) -> EntropyProbe:
        inputs = self.inputs(device)
        words = len(inputs.policy.tokenizer)
        entries = 2 * 4 * words if self.pieces else 2**25
        teacher_forcing.TABLE_ENTRIES = entries  # type: ignore[attr-defined]
        distribution.DRAW_ENTRIES = 3 * words
        with_separate_rows(inputs.policy, self.name)
        table_choice.fitted = all_predict if self.name == LEARNS else fitted  # type: ignore[attr-defined]
        config = ProbeConfig(**{"diagnostics": DIAGNOSTICS, **SIZES, **self.settings})
        return EntropyProbe(inputs, config, prompts=PROMPTS, reward=length, threads=1 if self.spread else 2)


def all_predict(fits: Sequence[RegressionSums], errors: Sequence[RegressionSums]) -> list[FittedValue]:
    """Fits that are kept, whatever they predict."""
    slopes, intercepts = reduce(RegressionSums.plus, fits).ridge(1.0)
    return [FittedValue(slopes[:, k], float(intercept), float(k)) for k, intercept in enumerate(intercepts)]


VARIANTS = [
    Variant("lora float32", FEW, torch.float32, {"fresh_samples": True}),
    Variant("lora bfloat16", FEW, torch.bfloat16, {"update_rule": "adamw", "max_grad_norm": 1.0, "advantage": "grpo"}),
    Variant("full float32", None, torch.float32, {"update_rule": "sgd"}, pieces=False),
    Variant("full bfloat16", None, torch.bfloat16, {"entropy_unit": "token"}),
    # Its embedding's adapter is out of the hooks' reach: the plain backward of each prompt.
    Variant(
        "dora", {"r": 2, "target_modules": ["q_proj", "embed_tokens"], "use_dora": True}, torch.float32,
        {"diagnostics": ()}, tied=False,
    ),
    Variant("single batch", FEW, torch.float32, {"mode": "u_statistic", "diagnostics": ()}),
    # Enough prompts of U to choose what is learnt, and responses that are equal.
    Variant(LEARNS, FEW, torch.float32, {"B_U": 4, "G": 4, "max_new_tokens": 2, "temperature": 0.05,
                                        "with_replacement": True}),
]  # fmt: skip
# Inputs, the first layer's and the head's on the CPU; and the other way round.
FIRST = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "gpu:0", "model.layers.2": "gpu:0",
         "model.norm": "gpu:0", "model.rotary_emb": "cpu", "lm_head": "cpu"}  # fmt: skip
LAST: dict[str, str | int] = {name: "cpu" if there == "gpu:0" else "gpu:0" for name, there in FIRST.items()}
LAST["model.embed_tokens"] = "gpu:0"
SPREAD = [
    Variant("lora", FEW, torch.float32, {"update_rule": "adamw", "static_cache": True}, layers=3, spread=dict(FIRST)),
    Variant("full", None, torch.float32, tied=False, layers=3, spread=LAST),
]  # fmt: skip
# Run on the CPU as well, for their numbers.
COMPARED = ("lora float32", "dora", "single batch", LEARNS)


class Phase:
    """The phase of a run that is under way."""

    name = ""

    @classmethod
    def watch(cls) -> None:
        phase = Meter.phase

        @contextmanager
        def watched(meter: Meter, name: str, *more: Any, **named: Any) -> Any:
            cls.name = name
            with phase(meter, name, *more, **named):
                yield

        Meter.phase = watched  # type: ignore[assignment]


def whole_run(variant: Variant, device: str) -> dict[str, Any]:
    """Load's check, update, run, entropy gradient, and what is written of them."""
    Phase.name = "load"
    probe = variant.probe(device)
    result = probe.run(4, seed=1)
    Phase.name = "results"
    told: dict[str, Any] = result.to_dict()
    measured: dict[str, Any] = {"per_prompt": result.per_prompt, **result.diagnostics, **told["agreement"]}
    update = result.update
    if probe.config.mode == "two_batch":
        kept = probe.update(1)
        Phase.name = "entropy_gradient"
        gradient = probe.entropy_gradient(3, seed=1)
        Phase.name = "written"
        with tempfile.TemporaryDirectory() as place:
            for name, tensors in (("g", kept.gradient), ("u", kept.direction), ("x", gradient)):
                write_tensors(Path(place) / name, tensors)
            if kept.control_variate is not None:
                write_tensors(Path(place) / "learnt", kept.control_variate.tensors())
        along = probe.setup.unit.name == "sequence"
        measured["gradient_along_u"] = along and sum(
            [float((gradient[n] * u).sum()) for n, u in kept.direction.items()]
        )
    json.dumps(result.to_dict())
    return {
        "threads": probe.setup.threads,
        "static_cache": probe.setup.policy.static_cache,
        "phases": list(result.seconds),
        "update_phases": list(update.seconds),
        "arrays": sorted(result.arrays),
        "oracle_gap": update.oracle_gap,
        "measured": measured,
        **{f"array {name}": values.tolist() for name, values in result.arrays.items()},
    }


def attempt(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """``work``'s record, or where it failed: the phase, and the line of the package."""
    try:
        return {"name": name, "failed": None, **work()}
    except Exception as error:
        frames = [x for x in traceback.extract_tb(error.__traceback__) if "/pytest_entropy/" in x.filename]
        where = [f"{x.filename.split('/pytest_entropy/')[-1]}:{x.lineno}: {x.line}" for x in frames[-2:]]
        said = f"{type(error).__name__}: {str(error)[:300]}"
        return {"name": name, "failed": said, "phase": Phase.name, "where": where}


def refused(work: Callable[[], Any]) -> str | None:
    """The error that ``work`` ends in, if it does."""
    try:
        work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def rules() -> dict[str, Any]:
    """Whether the device is as strict and as lenient as a GPU: what of each is refused, by name."""
    here, there = torch.arange(3.0), torch.arange(3.0).to(fake_device.NAME)
    number, index, mask = torch.tensor(2.0), torch.tensor([0, 2]), here > 0
    leaf = torch.nn.Parameter(there)
    strict: dict[str, Callable[[], Any]] = {
        "two tables": lambda: there + here,
        "in place": lambda: here.mul_(there),
        "a number's table in place": lambda: number.clone().add_(there),
        "joined": lambda: torch.cat([there, here]),
        "numbers joined": lambda: torch.stack([there.sum(), number]),
        "product": lambda: here @ there,
        "index on the device into a table that is not": lambda: here[index.to(fake_device.NAME)],
        "values of another device": lambda: there.clone().index_put_((index,), here[:2]),
        "gathered": lambda: there.gather(0, index),
        "compared": lambda: torch.equal(there, here),
        "to numpy": there.numpy,
        "into numpy": lambda: np.asarray(there),
        "gradient of another device": lambda: setattr(leaf, "grad", here),
        "gradient of another device by autograd": lambda: torch.autograd.grad(misplaced(leaf).sum(), leaf),
    }
    lenient: dict[str, Callable[[], Any]] = {
        "a number": lambda: there * number + torch.where(there > number, there, number),
        "index": lambda: (there[index], there[mask], there[[0, 1]]),
        "copied over": lambda: (there.clone()[:2].copy_(here[:2]), here.clone()[:2].copy_(there[:2])),
        "slice set": lambda: there.clone().__setitem__(slice(0, 2), here[:2]),
        "asked for": lambda: (float(there.sum()), there.tolist(), bool((there >= 0).all()), there.cpu().numpy()),
        "made there": lambda: torch.zeros(2, device=fake_device.NAME) + torch.tensor([1, 2], device=there.device),
    }
    with fake_device.Device():
        return {
            "strict": {name: refused(work) for name, work in strict.items()},
            "lenient": {name: refused(work) for name, work in lenient.items()},
        }


class Misplaced(torch.autograd.Function):
    """Identity with a gradient on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return grads[0].cpu()


def misplaced(x: torch.Tensor) -> torch.Tensor:
    same: torch.Tensor = Misplaced.apply(x)  # type: ignore[no-untyped-call]
    return same


def on_device(name: str, variant: Variant) -> dict[str, Any]:
    with fake_device.Device():
        return attempt(name, lambda: whole_run(variant, fake_device.NAME))


def main(arguments: list[str]) -> None:
    # Of libraries that renamed things.
    warnings.simplefilter("ignore")
    fake_device.set_up()
    Phase.watch()
    if arguments[:1] == ["mixed"]:
        from tests.mixed_by_hand import PLACES, mixed

        by_name = {variant.name: variant for variant in VARIANTS}
        for place in PLACES:
            if place.name in arguments[1:] or not arguments[1:]:
                with mixed(place):
                    print(json.dumps(on_device(place.name, by_name[place.variant])), flush=True)
        return
    variants = SPREAD if arguments[:1] == ["spread"] else VARIANTS
    if variants is VARIANTS:
        print(json.dumps({"name": "rules", **rules()}), flush=True)
    for variant in variants:
        record = on_device(variant.name, variant)
        if variant.name in COMPARED or variant.spread is not None:
            with sdpa_kernel(SDPBackend.MATH):
                record["on_cpu"] = attempt(variant.name, partial(whole_run, variant, "cpu"))
        print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
