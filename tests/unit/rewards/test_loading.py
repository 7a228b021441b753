"""Rewards by name: where they are found, and what is said when they are not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import DemoPrompts, Prompt
from pytest_entropy.prompts.prompt import PromptSet
from pytest_entropy.rewards import named_rewards, require_columns, resolve_reward
from pytest_entropy.rewards.builtin.base import PlainReward

BUILT_IN = {name: reward.function for name, reward in named_rewards().items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages"), *sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(name: str) -> str:
    with pytest.raises(UsageError) as caught:
        resolve_reward(name)
    return str(caught.value)


def test_built_in() -> None:
    assert {name: resolve_reward(name) for name in BUILT_IN} == BUILT_IN


def test_in_a_file_with_a_module_beside_it(folder: Path) -> None:
    (folder / "beside_the_reward.py").write_text("def value():\n    return 3\n")
    (folder / "my.py").write_text(
        "import beside_the_reward\ndef f(completions, **columns):\n    return [beside_the_reward.value()]\n"
    )
    assert resolve_reward("my.py:f")(completions=["x"]) == [3]
    assert resolve_reward(str(folder / "my.py") + ":f") is resolve_reward("./my.py:f")


def test_files_of_one_name_are_two_modules(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "rewards.py").write_text(f"def f(**_):\n    return {name!r}\n")
    assert [resolve_reward(f"{name}/rewards.py:f")() for name in ("a", "b", "a")] == ["a", "b", "a"]


def test_in_a_package_with_colon_or_dot(folder: Path) -> None:
    (folder / "packages" / "given").mkdir(parents=True)
    (folder / "packages" / "given" / "graders.py").write_text("def f(**_):\n    return 5\n")
    assert resolve_reward("given.graders:f")() == 5
    assert resolve_reward("given.graders.f") is resolve_reward("given.graders:f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import not_there_at_all\n", "broken.py, line 1: ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("x = 1\ny = x / 0\n", "broken.py, line 2: ZeroDivisionError: division by zero"),
        ("def f(:\n", "broken.py, line 1: SyntaxError: invalid syntax"),
        ("import sys\nsys.exit('bye')\n", "broken.py, line 2: SystemExit: bye"),
        ("import pytest\npytest.skip('no', allow_module_level=True)\n", "Skipped: no"),
        ("\0", "source code string cannot contain null bytes"),
    ],
    ids=["import", "exception", "syntax", "exit", "skip", "NUL"],
)
def test_a_file_that_fails_at_import(folder: Path, text: str, message: str) -> None:
    (folder / "broken.py").write_text(text)
    for _ in range(2):  # a half-imported module is not kept
        said = refused("broken.py:f")
        assert said.startswith("reward 'broken.py:f': importing ")
        assert message in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "is neither built in (boxed, exact_answer, gsm8k, math_verify) nor of the form module:function"),
        ("", "is neither built in"),
        (":f", "is neither built in"),
        ("my.py:", "is neither built in"),
        ("my.py", "is neither built in"),
        ("my.py:f()", "is neither built in"),
        ("gone.py:f", "file gone.py does not exist"),
        ("folder.py:f", "file folder.py does not exist"),
        ("my.py:g", "has no function 'g' (has: f)"),
        ("my.py:number", "number in my.py is a int, not a function"),
        ("my.py:Graded", "Graded in my.py is a type, not a function"),
        ("no_such_module_here:f", "No module named 'no_such_module_here'; put its directory on PYTHONPATH"),
        ("no_such_module_here.f", "No module named 'no_such_module_here'; put its directory on PYTHONPATH"),
        ("..:f", "importing .. failed"),
    ],
)
def test_a_name_that_leads_nowhere(folder: Path, name: str, message: str) -> None:
    (folder / "my.py").write_text("number = 3\nclass Graded: ...\ndef f(**_): ...\ndef _private(): ...\n")
    (folder / "folder.py").mkdir()
    assert message in refused(name)


def answered(*answers: str | int | None) -> list[Prompt]:
    return [Prompt(f"q{n}", {} if answer is None else {"answer": answer}) for n, answer in enumerate(answers)]


def needs_level(prompts: list[str], completions: list[str], level: list[int], **columns: object) -> None: ...


def needs_ids(completion_ids: list[list[int]], **columns: object) -> None: ...


def by_position(completions: list[str], /, **columns: object) -> None: ...


@pytest.mark.parametrize(
    ("reward", "prompts", "message"),
    [
        (BUILT_IN["exact_answer"], answered("1", None), "1 of 2 prompts have none (the first: prompt 2, 'q1')"),
        (BUILT_IN["gsm8k"], answered(None), "needs the column 'answer', which the prompts do not have (their "
         "columns: none); name the column with the answers as prompts.answer_column"),
        (BUILT_IN["exact_answer"], [Prompt("q", {"answer": None})], "needs an answer in every row"),
        (needs_level, answered("1"), "needs the column 'level', which the prompts do not have (their columns"),
        (needs_ids, answered("1"), "needs completion_ids"),
        (by_position, answered("1"), "takes 'completions' by position only"),
    ],
)  # fmt: skip
def test_a_reward_that_asks_for_what_is_not_there(reward: PlainReward, prompts: list[Prompt], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_columns("mine", reward, prompts)
    assert message in str(caught.value)


def test_a_reward_that_finds_what_it_asks_for() -> None:
    found: list[tuple[PlainReward, PromptSet]] = [
        (BUILT_IN["exact_answer"], answered("1", 0, False)),
        (BUILT_IN["exact_answer"], DemoPrompts()),
        (lambda completions, trainer_state, log_metric: 0, answered(None)),
        (needs_level, [Prompt("a", {"level": 1}), Prompt("b")]),
    ]
    for reward, prompts in found:
        assert require_columns("mine", reward, prompts) is None  # type: ignore[func-returns-value]
