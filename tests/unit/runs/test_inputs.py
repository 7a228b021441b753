"""Which changes of rewards and prompts make another experiment, and which do not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_entropy.prompts import DemoPrompts, Prompt, PromptSet
from pytest_entropy.records.files import write_json
from pytest_entropy.records.results_directory import find_resumable
from pytest_entropy.rewards import RewardTerm, WeightedRewards, resolve_reward
from pytest_entropy.runs.inputs import digest_with_inputs, prompt_texts, with_local_imports
from pytest_entropy.settings.layers import Layer, resolve_config

REWARD = "from scoring import score\ndef reward(prompts, completions, **columns):\n    return score(completions)\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with a reward in a module, which imports another one beside it."""
    (tmp_path / "my_reward.py").write_text(REWARD)
    (tmp_path / "scoring.py").write_text(
        "from rules import limit\ndef score(texts):\n    return [limit for _ in texts]\n"
    )
    (tmp_path / "rules.py").write_text("limit = 1.0\n")
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("my_reward", "scoring", "rules"):
        sys.modules.pop(name, None)


def digest(name: str, prompts: PromptSet | None = None, source: str = "demo") -> str:
    importlib.invalidate_caches()
    reward = WeightedRewards((RewardTerm(resolve_reward(name), name),))
    settings = {"reward": [{"name": name}], "prompts": {"source": source}}
    return digest_with_inputs(resolve_config([Layer("test", settings)]), prompts or DemoPrompts(), reward).config


@pytest.mark.parametrize("file", ["my_reward.py", "scoring.py", "rules.py"])
@pytest.mark.parametrize("name", ["my_reward:reward", "{project}/my_reward.py:reward"])
def test_a_changed_reward_or_module_beside_it_is_another_experiment(project: Path, file: str, name: str) -> None:
    name = name.format(project=project)
    before = digest(name)
    (project / "unrelated.py").write_text("x = 2\n")
    assert digest(name) == before
    with (project / file).open("a") as stream:
        stream.write("# changed\n")
    assert digest(name) != before


def test_built_in_rewards_are_known_by_the_version(project: Path) -> None:
    assert len({digest("exact_answer"), digest("exact_answer")}) == 1
    assert digest("exact_answer") != digest("my_reward:reward")


def test_relative_imports_of_a_package_are_found(tmp_path: Path) -> None:
    package = tmp_path / "mine"
    (package / "parts").mkdir(parents=True)
    texts = {
        "__init__.py": "", "reward.py": "from . import shared\nfrom .parts.rule import x\n",
        "shared.py": "import mine.other\n", "other.py": "", "parts/__init__.py": "",
        "parts/rule.py": "from ..far import y\nx = 1\n", "far.py": "y = 1\n",
        "not_imported.py": "",
    }  # fmt: skip
    for name, text in texts.items():
        (package / name).write_text(text)
    found = {file.relative_to(package).as_posix() for file in with_local_imports(package / "reward.py")}
    assert found == set(texts) - {"not_imported.py"}


def test_changed_rows_of_a_data_set_are_another_experiment(project: Path) -> None:
    rows = [Prompt(f"{n} + {n}?", {"answer": str(2 * n)}) for n in range(20)]
    before = digest("exact_answer", rows, "datasets:sums")
    assert digest("exact_answer", list(rows), "datasets:sums") == before
    other = [*rows[:-1], Prompt(rows[-1].content, {"answer": "0"})]
    assert digest("exact_answer", other, "datasets:sums") != before
    assert digest("exact_answer", rows[::-1], "datasets:sums") != before


@dataclass
class Thing:
    """Its text is no address."""

    size: int


class Opaque:
    """Its text is an address, which differs between processes."""


def test_values_without_a_json_form_are_the_same_text_in_every_process() -> None:
    first, again = (
        list(prompt_texts([Prompt("a", {"b": b"bytes", "t": Thing(n), "o": Opaque(), "s": {3, 1}})])) for n in (1, 1)
    )
    assert first == again
    assert "0x" not in "".join(first)
    assert list(prompt_texts([Prompt("a", {"t": Thing(2)})])) != list(prompt_texts([Prompt("a", {"t": Thing(1)})]))


def test_another_version_is_not_resumed_and_an_older_experiment_of_this_one_is(tmp_path: Path) -> None:
    for name, torch in (("1", "2.0"), ("2", "2.1")):
        (tmp_path / name).mkdir()
        record = {"schema_version": 1, "experiment": "x", "stamp": name, "checkpoint_digest": "d", "config_digest": "c"}
        write_json(tmp_path / name / "experiment.json", {**record, "environment": {"torch": torch}})
    assert find_resumable(tmp_path, "d", "c", {"torch": "2.1"}) == (tmp_path / "2", "")
    directory, reason = find_resumable(tmp_path, "d", "c", {"torch": "2.0"})
    assert (directory, reason) == (tmp_path / "1", "2 was measured with torch 2.1, now 2.0")
    assert find_resumable(tmp_path, "d", "c", {"torch": "3", "peft": "1"}) == (
        None, "2 was measured with torch 2.1, now 3; peft of unknown version, now 1",
    )  # fmt: skip
