"""The rollouts that a run stores for its report: its prompts with the lowest and highest s_n, and their responses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_entropy.records.rollouts import ExtremeRollouts, extremes
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.rewards.equal_rewards import prompt_text
from pytest_entropy.runs import extreme_rollouts
from pytest_entropy.runs.compute import compute
from pytest_entropy.runs.extreme_rollouts import _readable as readable
from tests.unit.runs.test_compute import place_of, spec

__all__ = ["spec"]


def stored(directory: Path) -> ExtremeRollouts:
    return ExtremeRollouts.from_dict(json.loads((directory / "rollouts.json").read_text()))


def test_the_first_run_stores_its_own_prompts_and_responses(spec: RunSpec, tmp_path: Path) -> None:
    place = place_of(spec)
    record = compute(spec, place, tmp_path)
    rollouts = stored(tmp_path)
    assert (rollouts.B_E, rollouts.run, rollouts.eta) == (4, 1, record.eta)
    s = sorted(record.per_prompt)
    assert [(one.s_n, one.extreme) for one in rollouts.prompts] == [
        (s[0], "lowest"), (s[1], "lowest"), (s[3], "highest"), (s[2], "highest"),
    ]  # fmt: skip
    setup = place.probe(spec).setup
    batch = setup.choose(4, record.seed, frozenset(record.update.prompts))
    texts = setup.texts(setup.sample(batch, record.seed))
    for one, (n, _) in zip(rollouts.prompts, extremes(record.per_prompt), strict=True):
        assert one.prompt == prompt_text(batch[n]).strip()
        assert [response.text for response in one.responses] == [readable(text) for text in texts[n][:2]]
        assert all(response.reward is not None for response in one.responses)


def test_long_texts_are_cut_and_keep_their_lines() -> None:
    assert readable("one\ntwo\x08") == "one\ntwo\\x08"
    assert readable("a" * 500 + "b" * 500) == f"{'a' * 300} … {'b' * 300} (1000 characters)"


def test_other_runs_store_none(spec: RunSpec, tmp_path: Path) -> None:
    compute(replace(spec, run=2), place_of(spec), tmp_path)
    assert not (tmp_path / "rollouts.json").exists()


def test_a_run_is_as_good_without_them(spec: RunSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*arguments: object) -> object:
        raise RuntimeError("no memory")

    monkeypatch.setattr(extreme_rollouts, "_drawn_again", no_memory)
    compute(spec, place_of(spec), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["arrays.npz", "results.json"]
