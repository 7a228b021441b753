"""What ``--resume`` continues, and what it says where it finds nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.records.files import write_json
from pytest_entropy.runs.machine import environment
from pytest_entropy.runs.resuming import Resumable, find_stored
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config


def resolved(**changes: Any) -> ResolvedConfig:
    return resolve_config([Layer("test", changes)])


def store(category: Path, stamp: str, config: ResolvedConfig | None, **changes: object) -> None:
    """An experiment's directory with one run."""
    record = {
        "schema_version": 1,
        "experiment": "mine",
        "stamp": stamp,
        "checkpoint_digest": "a" * 16,
        "config_digest": "c",
        "environment": environment(),
        **changes,
    }
    (category / stamp / "run001").mkdir(parents=True)
    write_json(category / stamp / "experiment.json", record)
    if config is not None:
        (category / stamp / "run001" / "config.yaml").write_text(config.to_yaml({"learning_rate": 1}))


@pytest.fixture
def category(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results" / "mine"


def found(category: Path, config: ResolvedConfig, *, checkpoint: str = "a" * 16, digest: str = "c") -> Resumable:
    return find_stored(category, "mine", checkpoint, digest, config, lambda other: f"{digest} at another depth")


NONE_OF_THESE = "no mine in results/mine is of this checkpoint and configuration; the nearest, "


def test_the_newest_of_the_same_checkpoint_and_configuration_is_continued(category: Path) -> None:
    for stamp in ("1", "2"):
        store(category, stamp, resolved())
    assert found(category, resolved()) == Resumable(category / "2")


def test_without_an_earlier_experiment_of_the_name_that_is_said(category: Path) -> None:
    nothing = Resumable(nothing_kept="there is no earlier mine in results/mine")
    assert found(category, resolved()) == nothing
    store(category, "1", resolved(), experiment="other")
    assert found(category, resolved()) == nothing


def test_the_settings_that_differ_are_named_with_both_values(category: Path) -> None:
    store(category, "1", resolved(batch_config={"G": 8, "B_E_values": [4, 8]}, probe={"loss_type": "grpo"}))
    now = resolved(batch_config={"G": 4, "B_E_values": [4, 8, 16]})
    assert found(category, now, digest="d").nothing_kept == (
        f"{NONE_OF_THESE}1, differs in batch_config.G 8 → 4, batch_config.B_E_values 4,8 → 4,8,16, "
        "probe.loss_type grpo → dr_grpo"
    )


def test_the_experiment_with_the_fewest_differences_is_the_nearest(category: Path) -> None:
    store(category, "1", resolved(batch_config={"G": 8}))
    store(category, "2", resolved(batch_config={"G": 8, "B_U": 4}, seed=3))
    now = resolved(batch_config={"G": 4})
    assert found(category, now, digest="d").nothing_kept == f"{NONE_OF_THESE}1, differs in batch_config.G 8 → 4"


def test_many_differences_are_counted(category: Path) -> None:
    store(category, "1", resolved(batch_config={"G": 9, "B_U": 4}, seed=3, sampling={"max_new_tokens": 7}))
    assert found(category, resolved(), digest="d").nothing_kept.endswith(" and 1 more")


def test_another_checkpoint_and_other_files_are_named(category: Path) -> None:
    store(category, "1", resolved())
    assert found(category, resolved(), checkpoint="b" * 16).nothing_kept == (
        f"{NONE_OF_THESE}1, differs in the checkpoint's content aaaaaaaa → bbbbbbbb"
    )
    # How results are judged is no part of a run.
    now = resolved(checks={"alpha": 0.01}, checkpoint="elsewhere")
    files = "the content of the prompts or rewards, or a setting of another version"
    assert found(category, now, digest="d").nothing_kept == f"{NONE_OF_THESE}1, differs in {files}"


def test_an_experiment_without_a_readable_configuration_is_no_error(category: Path) -> None:
    store(category, "1", None)
    (category / "1" / "run001" / "config.yaml").write_text("{")
    assert "differs in the content of the prompts" in found(category, resolved(), digest="d").nothing_kept


def test_other_software_and_another_depth_have_words_of_their_own(category: Path) -> None:
    store(category, "1", resolved(), environment={**environment(), "torch": "1.0"})
    kept = found(category, resolved())
    assert (kept.directory, kept.nothing_kept) == (None, "")
    assert kept.superseded.startswith("1 was measured with torch 1.0, now ")
