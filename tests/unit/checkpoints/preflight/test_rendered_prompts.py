"""A chat template that cannot render the prompts is refused by the files alone, in its own words."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight import planned_tokenizer as planned
from pytest_entropy.checkpoints.preflight.planned_tokenizer import planned_tokenizer
from pytest_entropy.checkpoints.preflight.rendered_prompts import require_rendered
from pytest_entropy.checkpoints.preflight.template_rendering import render
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import Prompt
from tests import tiny

ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{{ m.content }}{% endfor %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}hello"
NO_SYSTEM += "{{ messages[-1].content }}"
USER: list[dict[str, Any]] = [{"role": "user", "content": "Tom has 3"}]
WITH_SYSTEM = [{"role": "system", "content": "Be brief."}, *USER]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "base"
    tiny.tokenizer().save_pretrained(place)
    return place


def check(place: Path, prompts: list[Prompt], template: str | None = None) -> None:
    if template is not None:
        (place / "chat_template.jinja").write_text(template)
    files = CheckpointFiles("test", Path("C"), place, False, place / "optimizer.pt", None)
    tokenizer = planned_tokenizer(files)
    assert tokenizer is not None
    require_rendered(prompts, files, tokenizer)


def refusal(place: Path, prompts: list[Prompt], template: str | None = None) -> str:
    with pytest.raises(UsageError) as refused:
        check(place, prompts, template)
    return str(refused.value)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (ALTERNATING, "fails (TemplateError: Conversation roles must alternate user/assistant/user/assistant/...)"),
        (NO_SYSTEM, "fails (TemplateError: System role not supported)"),
        ("{% for m in messages %}", "fails (TemplateSyntaxError, line 1: Unexpected end of template."),
        ("{{ strftime_then('%Y') }}", "fails (UndefinedError: 'strftime_then' is undefined)"),
        ("{% for m in messages %}{{ m.content[0].text }}{% endfor %}", "gives no text"),
        ("{% if not messages %}{{ messages[0].content }}{% endif %}", "gives no text"),
    ],
    ids=["roles", "system", "syntax", "function", "parts", "empty"],
)
def test_the_message_has_the_templates_words_the_row_and_the_remedy(place: Path, template: str, words: str) -> None:
    message = refusal(place, [Prompt(WITH_SYSTEM)], template)
    assert message.startswith(f"the chat template in {place / 'chat_template.jinja'} {words}")
    assert " on row 1 of the prompts, [{'role': 'system', 'content': 'Be brief.'}" in message
    assert message.endswith(
        "; give the messages as this template takes them, save the template that the model was trained with as "
        "chat_template.jinja beside the tokenizer, or give prompts as text"
    )


def test_the_longest_prompt_is_rendered_whatever_its_row(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_entropy.checkpoints.preflight import rendered_prompts

    monkeypatch.setattr(rendered_prompts, "_SECONDS", -1.0)
    prompts = [Prompt(USER)] * 5 + [Prompt([{"role": "system", "content": "long " * 50}, *USER])] + [Prompt(USER)]
    # The time for the others is up after the first.
    monkeypatch.setattr(rendered_prompts, "monotonic", iter([0.0, -5.0, 5.0]).__next__)
    assert "on row 6 of the prompts" in refusal(place, prompts, NO_SYSTEM)


def test_other_prompts_are_rendered_as_far_as_time_allows(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_entropy.checkpoints.preflight import rendered_prompts

    prompts = [Prompt([{"role": "user", "content": "long " * 50}])] * 3 + [Prompt([{"role": "user", "content": "?"}])]
    template = "{{ raise_exception('a question') if messages[0].content == '?' else messages[0].content }}"
    assert "a question) on row 4 of the prompts" in refusal(place, prompts, template)
    monkeypatch.setattr(rendered_prompts, "_SECONDS", -1.0)
    check(place, prompts, template)


def test_one_prompt_of_each_form_is_rendered_whatever_the_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_entropy.checkpoints.preflight import rendered_prompts

    monkeypatch.setattr(rendered_prompts, "_SECONDS", -1.0)
    long = Prompt([{"role": "user", "content": "long " * 50}])
    assert "not supported) on row 3 of the prompts" in refusal(place, [long, long, Prompt(WITH_SYSTEM)], NO_SYSTEM)


def test_a_template_without_an_end_is_refused_in_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "render", partial(render, seconds=0.3))
    endless = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3
    assert "does not come to an end within 0.3 s on row 1" in refusal(place, [Prompt(USER)], endless)


def test_arguments_of_rows_are_rendered_too(place: Path) -> None:
    template = "{{ messages[0].content }}{% if level == 'none' %}{{ raise_exception('no such level') }}{% endif %}"
    check(place, [Prompt(USER), Prompt(USER, template_arguments={"level": "high"})], template)
    bad = Prompt(USER, template_arguments={"level": "none"})
    assert "no such level) on row 2 of the prompts" in refusal(place, [Prompt(USER), bad], template)


def test_text_prompts_need_no_template(place: Path) -> None:
    check(place, [Prompt("Tom has 3")])
    check(place, [Prompt("Tom has 3")], "{% for")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("none", "has no chat template (a base model?); give prompts as text, or save the template the model was"),
        ("processor", "has no chat template, only a chat_template.json, which is read for images and sound, not for"),
        ("null", "has no chat template (a base model?)"),
        ("other names", "has no chat template, only ones named rag, tool_use; give prompts as text"),
    ],
)
def test_where_no_template_is_read_the_message_says_what_is_there(place: Path, case: str, words: str) -> None:
    if case == "processor":
        (place / "chat_template.json").write_text('{"chat_template": "{{ messages[0].content }}"}')
    elif case == "null":
        tiny.edit_json(place / "tokenizer_config.json", chat_template=None)
    elif case == "other names":
        named = [{"name": name, "template": "x"} for name in ("tool_use", "rag")]
        tiny.edit_json(place / "tokenizer_config.json", chat_template=named)
    assert words in refusal(place, [Prompt(USER)])


def test_the_template_of_the_tokenizer_in_use_decides(place: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    tiny.tokenizer().save_pretrained(adapter)
    (place / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    files = CheckpointFiles("test", Path("C"), adapter, True, adapter / "optimizer.pt", str(place))
    tokenizer = planned_tokenizer(files)
    assert tokenizer is not None
    with pytest.raises(UsageError, match=rf"its base model's in {place} has one, which is not read; .* save that one"):
        require_rendered([Prompt(USER)], files, tokenizer)
    (adapter / "chat_template.jinja").write_text(NO_SYSTEM)
    with pytest.raises(UsageError, match=rf"the chat template in {adapter}.* fails .TemplateError: System role not"):
        require_rendered([Prompt(WITH_SYSTEM)], files, tokenizer)
    for file in adapter.iterdir():
        file.unlink()
    tokenizer = planned_tokenizer(files)
    assert tokenizer is not None
    assert tokenizer.place == place
    require_rendered([Prompt(WITH_SYSTEM)], files, tokenizer)


TEXTS_ONLY = "{% for m in messages %}{{ '<' + m.role + '>' + m.content }}{% endfor %}"
PARTS_ONLY = "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"


def of_parts(*texts: str) -> list[Prompt]:
    return [Prompt([{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}])]


def test_parts_are_rendered_as_a_run_encodes_them(place: Path) -> None:
    """One part for a template of texts is its text; several are refused, and never written as code."""
    check(place, of_parts("3 + 4?"), TEXTS_ONLY)
    tokenizer = planned.PlannedTokenizer(place)
    assert tokenizer.text(of_parts("3 + 4?")[0].content) == "<user>3 + 4?"
    with pytest.raises(
        UsageError,
        match="the chat template in .* takes texts only, and a message has 2 text .* on row 1 of the prompts",
    ):
        check(place, of_parts("3", "+ 4?"))
    check(place, of_parts("3", "+ 4?"), PARTS_ONLY)


def test_a_template_that_leaves_out_what_messages_say_is_refused(place: Path) -> None:
    """Templates of models with images loop over parts, and over a text's characters, which have none."""
    assert "leaves out what the user says, on row 1 of the prompts" in refusal(place, [Prompt(USER)], PARTS_ONLY)
    check(place, of_parts("Tom has 3"))
    # Each form of messages is looked at: the one text among lists of parts, in a row and in a conversation.
    (parts,) = of_parts("Tom has 3 apples and eats them")
    assert "says, on row 2 of the prompts" in refusal(place, [parts, Prompt(USER), parts], PARTS_ONLY)
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert "says, on row 1 of the prompts" in refusal(place, [Prompt([system, *USER])], PARTS_ONLY)
    dropping = "{% for m in messages if m.role != 'tool' %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    check(place, [Prompt([*USER, {"role": "tool", "content": "7"}])], dropping)
