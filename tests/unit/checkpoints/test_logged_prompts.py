"""Logs of trainers: where they are found, which one is taken, and what of them is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checkpoints.logged_prompts import MOST, LoggedPrompts, logged_prompts
from tests.unit.checkpoints.trainer_files import files_in

MESSAGES = [{"role": "user", "content": "3 + 4?"}]


def found(root: Path) -> LoggedPrompts | None:
    return logged_prompts(replace(files_in(root), root=root))


def jsonl(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parquet(path: Path, *prompts: Any, column: str = "prompt") -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as files

    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(pyarrow.Table.from_pylist([{"step": 5, column: prompt} for prompt in prompts]), path)
    return path


def test_trls_log_nearest_before_the_checkpoint(tmp_path: Path) -> None:
    for step in (1, 4, 6, 100):
        parquet(
            tmp_path / "completions" / f"completions_{step:05d}.parquet",
            f"at {step}",
            f"at {step}",
            MESSAGES[0]["role"],
        )
    for name, step in (("checkpoint-5", 4), ("checkpoint-6", 6), ("checkpoint-200", 100), ("checkpoint-0", 1)):
        log = found(tmp_path / name)
        assert log is not None
        assert (log.step, log.prompts) == (step, (f"at {step}", "user"))
    # The run's directory itself, as the trainer saves its last state.
    last = found(tmp_path)
    assert last is not None
    assert last.name == "completions/completions_00100.parquet (step 100)"


def test_messages_are_read_with_their_nulls(tmp_path: Path) -> None:
    parquet(
        tmp_path / "completions" / "completions_00005.parquet",
        MESSAGES,
        [*MESSAGES, {"role": "assistant", "content": None}],
    )
    log = found(tmp_path / "checkpoint-5")
    assert log is not None
    assert log.prompts == (MESSAGES, [*MESSAGES, {"role": "assistant", "content": None}])


@pytest.mark.parametrize("directory", ["rollout_data", "rollouts", "rollout_dumps", "generations"])
def test_verls_rollouts_beside_its_checkpoints(tmp_path: Path, directory: str) -> None:
    rows = [
        {"input": f"user\n{n}?\nassistant\n", "output": "7", "gts": "7", "score": 1.0, "step": 10} for n in (1, 1, 2)
    ]
    jsonl(tmp_path / directory / "10.jsonl", *rows)
    jsonl(tmp_path / "rollout_val" / "10.jsonl", {"input": "of validation"})
    for root in ("global_step_10", "global_step_10/actor", "global_step_10/actor/huggingface"):
        (tmp_path / root).mkdir(parents=True, exist_ok=True)
        log = found(tmp_path / root)
        assert log is not None
        assert (log.step, log.prompts) == (10, ("user\n1?\nassistant\n", "user\n2?\nassistant\n"))


def test_logs_one_directory_further_down(tmp_path: Path) -> None:
    jsonl(tmp_path / "completions" / "eval" / "completions_00005.jsonl", {"prompt": "of evaluation"})
    assert found(tmp_path / "checkpoint-5") is None
    jsonl(tmp_path / "completions" / "train" / "completions_00005.jsonl", {"prompt": "of training"})
    log = found(tmp_path / "checkpoint-5")
    assert log is not None
    assert (log.name, log.prompts) == ("train/completions_00005.jsonl (step 5)", ("of training",))


def test_swifts_lists_of_a_step(tmp_path: Path) -> None:
    step = {"step": ["1", "1", "1"], "prompt": ["a?", "a?", "b?"], "completion": ["7"] * 3}
    jsonl(tmp_path / "v0-run" / "completions.jsonl", step, {**step, "prompt": ["c?", "d?", "c?"]})
    log = found(tmp_path / "v0-run" / "checkpoint-5")
    assert log is not None
    assert (log.step, log.prompts) == (None, ("a?", "b?", "c?", "d?"))
    jsonl(tmp_path / "v0-run" / "completions.jsonl", {"step": ["1"], "messages": [MESSAGES], "completion": ["7"]})
    log = found(tmp_path / "v0-run" / "checkpoint-5")
    assert log is not None
    assert log.prompts == (MESSAGES,)


def test_little_is_read_of_a_long_log(tmp_path: Path) -> None:
    jsonl(tmp_path / "rollouts" / "5.jsonl", *({"input": f"q {n}"} for n in range(5000)))
    log = found(tmp_path / "global_step_5")
    assert log is not None
    assert log.prompts == tuple(f"q {n}" for n in range(MOST))
    jsonl(tmp_path / "rollouts" / "5.jsonl", *({"input": "the same"} for _ in range(5000)), {"input": "late"})
    log = found(tmp_path / "global_step_5")
    assert log is not None
    assert log.prompts == ("the same",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{broken",
        b"[1]\n",
        b'{"input": 3}\n',
        b'{"other": "x"}\n',
        b'{"input": ""}\n',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_log_is_passed_over(tmp_path: Path, data: bytes) -> None:
    for name in ("rollouts/5.jsonl", "completions/completions_00005.parquet"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert found(tmp_path / "checkpoint-5") is None
    # An earlier one is taken where the nearest cannot be read.
    jsonl(tmp_path / "rollouts" / "4.jsonl", {"input": "q"})
    log = found(tmp_path / "checkpoint-5")
    assert log is not None
    assert log.step == 4


def test_other_files_beside_a_checkpoint_are_no_logs(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", {"prompt": "q"})
    jsonl(tmp_path / "5.jsonl", {"prompt": "q"})
    jsonl(tmp_path / "data" / "5.jsonl", {"prompt": "q"})
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "5.jsonl").mkdir()
    assert found(tmp_path / "checkpoint-5") is None
    assert found(tmp_path / "nowhere" / "checkpoint-5") is None
