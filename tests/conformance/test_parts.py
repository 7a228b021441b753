"""Layouts, optimizer states, rewards and prompt sources of the registry, each by its conformance check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pytest_entropy import registry
from pytest_entropy.checkpoints.layouts.base import Layout
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts.prompt import Prompt
from pytest_entropy.prompts.sources.base import PromptSource
from pytest_entropy.rewards import NamedReward
from pytest_entropy.testing import check_layout, check_optimizer, check_prompt_source, check_reward, tiny


@pytest.fixture
def added() -> Iterator[Callable[[str, object], None]]:
    """A function that adds a part of a kind under the name ``wrong``."""
    kinds = []

    def add(kind: str, part: object) -> None:
        kinds.append(kind)
        registry.add(kind, "wrong", part)

    yield add
    for kind in kinds:
        registry.forget(kind, "wrong")


def as_trainer(root: Path, checkpoint: Path, name: str = "optimizer.pt") -> Path:
    """The checkpoint's files as transformers' Trainer arranges them."""
    root.mkdir()
    for file in (checkpoint / "model").iterdir():
        (root / file.name).write_bytes(file.read_bytes())
    (root / name).write_bytes((checkpoint / "optimizer.pt").read_bytes())
    tiny.edit_json(root / "adapter_config.json", base_model_name_or_path=str(checkpoint.parent / "base"))
    return root


# Those that are made here; the others' directories need their own writers (tests/unit/checkpoints).
MADE: dict[str, Callable[[Path, Path], Path]] = {
    "step_directory": lambda root, checkpoint: checkpoint,
    "trainer": as_trainer,
    "fsdp": lambda root, checkpoint: as_trainer(root, checkpoint, "optimizer.bin"),
}


@pytest.mark.parametrize("name", registry.names("layouts"))
def test_layout(name: str, tmp_path: Path, checkpoint: Path) -> None:
    check_layout(name, MADE[name](tmp_path / "checkpoint-3", checkpoint) if name in MADE else None)


def test_a_layout_that_is_tried_too_late_is_refused(
    added: Callable[[str, object], None], tmp_path: Path, checkpoint: Path
) -> None:
    right = registry.get("layouts", "trainer", Layout)  # type: ignore[type-abstract]
    late = type("Late", (type(right),), {"order": 90, "name": "late"})()
    added("layouts", late)
    with pytest.raises(AssertionError, match="is taken for 'HF Trainer / TRL', which is tried first"):
        check_layout("wrong", as_trainer(tmp_path / "checkpoint-3", checkpoint))


ANSWERED = [("<answer>7</answer>", {"answer": "7"}, 1.0), ("<answer>8</answer>", {"answer": "7"}, 0.0)]
CASES = {
    "exact_answer": ANSWERED,
    "math_verify": ANSWERED,
    "gsm8k": [("so #### 1,200", {"answer": "x #### 1200"}, 1.0), ("1200", {"answer": "x #### 1200"}, 0.0)],
    "boxed": [(r"\boxed{7}", {"answer": "7"}, 1.0), (r"\boxed{8}", {"answer": "7"}, 0.0)],
}


@pytest.mark.parametrize("name", registry.names("rewards"))
def test_reward(name: str) -> None:
    check_reward(name, CASES[name])


def test_a_reward_that_looks_at_its_neighbours_is_refused(added: Callable[[str, object], None]) -> None:
    added("rewards", NamedReward(lambda prompts, completions, **_: [n / 2 for n in range(len(completions))],
                                 repeatable=True))  # fmt: skip
    with pytest.raises(AssertionError, match="says it is repeatable, and differs by 0.5"):
        check_reward("wrong", [("a", {}, 0.0), ("b", {}, 0.5)])
    with pytest.raises(AssertionError, match="is 0.5, expected 1, for 'b'"):
        check_reward("wrong", [("a", {}, 0.0), ("b", {}, 1.0)])


def sources(tmp_path: Path) -> dict[str, str]:
    rows = [{"prompt": f"q{n}", "answer": str(n)} for n in range(5)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(rows)
    parquet.write_table(table, tmp_path / "p.parquet")
    return {"demo": "demo", "jsonl": str(tmp_path / "p.jsonl"), "parquet": str(tmp_path / "p.parquet")}


@pytest.mark.parametrize("name", [n for n in registry.names("prompt_sources") if n in ("demo", "jsonl", "parquet")])
def test_prompt_source(name: str, tmp_path: Path) -> None:
    check_prompt_source(name, sources(tmp_path)[name])


def test_a_prompt_source_that_draws_anew_is_refused(added: Callable[[str, object], None]) -> None:
    count = iter(range(9))
    added("prompt_sources", PromptSource("anew", lambda s: s == "anew", lambda s, c: [Prompt(f"q{next(count)}")]))
    with pytest.raises(AssertionError, match="prompt 0 is another one the second time"):
        check_prompt_source("wrong", "anew")


def stepped() -> torch.optim.AdamW:
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(4, 2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.randn(4, 2)
    optimizer.step()
    return optimizer


def test_torch_s_state() -> None:
    record = stepped().state_dict()
    entry = record["state"][0]
    check_optimizer("torch_adamw", record, {0: (entry["exp_avg"], entry["exp_avg_sq"])})
    with pytest.raises(AssertionError, match="the second moment of 0 differs by 1"):
        check_optimizer("torch_adamw", record, {0: (entry["exp_avg"], 0.5 * entry["exp_avg_sq"])})
    with pytest.raises(UsageError, match="'foo'"):
        check_optimizer("torch_adamw", {**record, "state": {0: {**entry, "foo": 1}}}, {})


def test_bitsandbytes_state() -> None:
    record = stepped().state_dict()
    moments = record["state"][0]["exp_avg"], record["state"][0]["exp_avg_sq"]
    record["state"][0] = {"step": 1, "state1": moments[0], "state2": moments[1]}
    check_optimizer("bitsandbytes", record, {0: moments})
