"""A run is a function of its spec: computed anywhere, from its own pickle or its JSON, it has the same digits."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checkpoints import find_checkpoint
from pytest_entropy.errors import RunError
from pytest_entropy.prompts import open_prompts
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import RecordError
from pytest_entropy.records.spec import RunSpec
from pytest_entropy.rewards import RewardTerm, WeightedRewards, resolve_reward
from pytest_entropy.runs.compute import Place, compute, config_of
from pytest_entropy.runs.machine import Machine
from pytest_entropy.runs.run_files import read_run
from pytest_entropy.settings.layers import Layer, resolve_config

SETTINGS = {
    "batch_config": {"B_E_values": [4], "runs_per_batch": 1, "B_U": 4, "G": 3},
    "sampling": {"max_new_tokens": 6},
    "diagnostics": True,
}


@pytest.fixture(scope="module")
def spec(checkpoint: Path) -> RunSpec:
    config = resolve_config([Layer("test", {"checkpoint": str(checkpoint), **SETTINGS})]).config
    files = find_checkpoint(checkpoint)
    return RunSpec("batch_scaling", str(checkpoint), files.digest(), config.model_dump(mode="json"), 4, 1, 11, 12)


def place_of(spec: RunSpec) -> Place:
    """A process that knows nothing but the spec: prompts, reward and update come from what it names."""
    config = config_of(spec)
    terms = tuple(RewardTerm(resolve_reward(term.name), term.name, term.weight) for term in config.reward)
    prompts = open_prompts(config.prompts.source, prompt_column="prompt", answer_column="answer", template=None)
    files = find_checkpoint(spec.checkpoint)
    place = Place(
        Machine(1),
        files,
        files.digest(),
        prompts,
        WeightedRewards(terms),
        lambda own: place.probe(own).update(own.update_seed),
    )
    return place


def without_costs(record: RunRecord) -> dict[str, object]:
    costs: dict[str, Any] = {"seconds": {}, "memory_mb": {}, "peak_memory_mb": 0.0}
    return replace(record, **costs, update=replace(record.update, seconds={}, memory_mb={})).to_dict()


def test_a_spec_that_was_sent_gives_the_same_run(spec: RunSpec, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    first = compute(spec, place_of(spec), here)
    sent = RunSpec.from_dict(json.loads(json.dumps(pickle.loads(pickle.dumps(spec)).to_dict())))
    assert sent == spec
    second = compute(sent, place_of(sent), there)
    assert without_costs(first) == without_costs(second)
    assert without_costs(read_run(there)) == without_costs(second)
    assert set(read_run(there).arrays) == set(first.arrays)


def test_a_spec_is_told_from_another_by_its_digest(spec: RunSpec) -> None:
    assert replace(spec, run=2).digest() != spec.digest()
    other = replace(spec, settings={**spec.settings, "seed": 1})
    assert other.digest() != spec.digest()
    assert RunSpec.from_dict(spec.to_dict()).digest() == spec.digest()


def test_what_is_no_spec_is_refused_by_name(spec: RunSpec) -> None:
    record = spec.to_dict()
    with pytest.raises(RecordError, match="B_E"):
        RunSpec.from_dict(record | {"B_E": "4"})
    del record["update_seed"]
    with pytest.raises(RecordError, match="update_seed"):
        RunSpec.from_dict(record)


def test_another_checkpoint_of_that_name_is_not_computed_on(spec: RunSpec, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is another one here .*copy the same checkpoint"):
        compute(replace(spec, checkpoint_digest="0" * 16), place_of(spec), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_place_is_of_one_set_of_settings(spec: RunSpec, tmp_path: Path) -> None:
    place = place_of(spec)
    place.probe(spec)
    with pytest.raises(RunError, match="batch_scaling: the place has the prompts and rewards of other settings"):
        place.probe(replace(spec, settings={**spec.settings, "seed": 1}))
    # The first run estimates the error over update batches, too; the others have one probe.
    assert place.probe(replace(spec, run=3)) is place.probe(replace(spec, run=2))
    assert place.probe(spec).policy.model is place.probe(replace(spec, run=2)).policy.model


def test_prompts_that_the_trainer_logged_otherwise_are_a_note_of_every_run_and_in_its_log(
    spec: RunSpec, tmp_path: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import shutil

    shutil.copytree(checkpoint.parent, tmp_path / "run")
    root = tmp_path / "run" / checkpoint.name
    rows = [{"prompt": f"Tom has {n} apples. How many now?", "answer": str(n)} for n in range(12)]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    logged = [f"Answer briefly. {row['prompt']}" for row in rows[:3]]
    table = {"step": ["5"] * 3, "prompt": logged, "completion": ["7"] * 3}
    (tmp_path / "run" / "completions.jsonl").write_text(json.dumps(table))
    settings = {**spec.settings, "checkpoint": str(root), "prompts": {"source": str(source)}}
    files = find_checkpoint(root)
    own = replace(spec, checkpoint=str(root), checkpoint_digest=files.digest(), settings=settings)
    place = place_of(own)
    caplog.set_level("WARNING")
    for n, run in enumerate((own, replace(own, run=2, seed=13))):
        directory = tmp_path / f"out {n}"
        directory.mkdir()
        (note,) = [note for note in compute(run, place, directory).notes if "trainer's log" in note]
        assert note in read_run(directory).notes
        assert note.startswith("3 of 3 prompts in the trainer's log run/completions.jsonl have another form here")
        assert [record.message for record in caplog.records if "trainer's log" in record.message] == [note] * (n + 1)
