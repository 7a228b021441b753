"""What planning says of prompts and chat template; whose arguments apply to which prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.checkpoints.training_arguments import NAME
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt
from pytest_entropy.runs.prompt_notes import prompt_notes, run_arguments
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config
from tests.unit.checkpoints.preflight.test_chat_template import ASK, saved

CHAT, TEXT = [Prompt(ASK, {"system": "Be brief."})], [Prompt("3 + 4?")]


def configured(source: str, **arguments: object) -> ResolvedConfig:
    return resolve_config([Layer(source, {"prompts": {"chat_template_kwargs": arguments}})])


def test_the_trainers_arguments_apply_to_chat_only_and_the_users_to_whatever_they_say(tmp_path: Path) -> None:
    trainers, users = configured(NAME, enable_thinking=False), configured("own.yaml", enable_thinking=False)
    assert run_arguments(trainers, CHAT) == run_arguments(users, CHAT) == {"enable_thinking": False}
    assert run_arguments(trainers, TEXT) == {}
    # Which with_arguments refuses.
    assert run_arguments(users, TEXT) == {"enable_thinking": False}
    files = saved(tmp_path)
    assert prompt_notes(trainers, files, TEXT)[1:] == (
        f"  chat_template_kwargs of {NAME} do not apply: the prompts are text",
    )
    (note,) = prompt_notes(trainers, files, CHAT)
    assert note.startswith("  not given to the chat template: system (")


def test_arguments_that_the_template_does_not_use_are_the_users_mistake_only(tmp_path: Path) -> None:
    files = saved(tmp_path)
    assert prompt_notes(configured(NAME, thoughts=False), files, [Prompt(ASK)]) == ()
    with pytest.raises(UsageError, match="does not use thoughts"):
        prompt_notes(configured("own.yaml", thoughts=False), files, [Prompt(ASK)])
    with pytest.raises(UsageError, match="column 'enable_thinking'"):
        prompt_notes(configured(NAME), files, [Prompt(ASK, {"enable_thinking": False})])


def test_tools_of_rows_and_a_last_message_of_the_assistant_are_said(tmp_path: Path) -> None:
    files, plain = saved(tmp_path), configured(NAME)
    tool = {"type": "function", "function": {"name": "add"}}
    prompts = [
        Prompt(ASK),
        Prompt(ASK, {"tools": [tool]}, {"tools": [tool]}),
        Prompt([*ASK, {"role": "assistant", "content": "<think>"}]),
    ]
    tools, turns = prompt_notes(plain, files, prompts)
    assert tools == (
        "  tools of 1 of 3 prompts are given to the chat template (TRL's GRPOTrainer gives those of its argument tools "
        "instead)"
    )
    assert turns == (
        "  1 of 3 prompts end in an assistant's message, and a new turn is opened after it; give them as text if the "
        "trainer continued that message"
    )


def test_text_prompts_of_a_tokenizer_with_a_template_are_said(tmp_path: Path) -> None:
    note = "  the prompts are text, so the tokenizer's chat template is not applied to them"
    assert prompt_notes(configured(NAME), saved(tmp_path / "with"), TEXT) == (note,)
    assert prompt_notes(configured(NAME), saved(tmp_path / "without", None), TEXT) == ()
    (tmp_path / "with" / "tokenizer_config.json").write_text("{")
    assert prompt_notes(configured(NAME), saved(tmp_path / "without", None), TEXT) == ()


@pytest.mark.parametrize(
    ("template", "remedy"),
    [
        # As Llama 3.2's and gpt-oss's.
        (
            "{% if not date_string is defined %}{% set date_string = strftime_now('%d') %}{% endif %}{{ date_string }}",
            "set the trainer's as prompts.chat_template_kwargs.date_string",
        ),
        ("{{ strftime_now('%Y-%m-%d') }}", "write the trainer's into the template"),
    ],
)
def test_a_template_that_writes_todays_date_is_said(tmp_path: Path, template: str, remedy: str) -> None:
    files = saved(tmp_path, template)
    (note,) = prompt_notes(configured(NAME), files, [Prompt(ASK)])
    assert note == f"  the chat template writes the date of the day on which it runs: {remedy}"
    assert prompt_notes(configured(NAME, date_string="26 Jul 2024"), files, [Prompt(ASK)]) == ()


def test_tools_of_the_run_that_the_template_does_not_use_are_refused(tmp_path: Path) -> None:
    given = resolve_config([Layer("own.yaml", {"prompts": {"tools": "tools.json"}})])
    assert prompt_notes(given, saved(tmp_path / "used"), [Prompt(ASK)]) == ()
    files = saved(tmp_path / "unused", "{% for m in messages %}{{ m.content }}{% endfor %}")
    with pytest.raises(UsageError, match="prompts.tools: the chat template in .* does not use tools; it would change"):
        prompt_notes(given, files, [Prompt(ASK)])
    assert given.digest() != resolve_config([Layer("own.yaml", {})]).digest()
