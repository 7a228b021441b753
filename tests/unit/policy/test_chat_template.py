"""Chat templates of strangers: rendered as the tokenizer does, or refused by name, never waited for."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from pytest_entropy.errors import RunError
from pytest_entropy.policy.chat_template import encode_chat
from tests import tiny

MESSAGES = [{"role": "user", "content": "Tom has 3 apples"}]
PLAIN = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
ENDLESS = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3


def tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    words = tiny.tokenizer()
    words.chat_template = template
    return words


def test_messages_go_through_the_template_up_to_the_answer() -> None:
    words = tokenizer(PLAIN)
    assert words.decode(encode_chat(words, MESSAGES)) == "user: Tom has 3 applesassistant:"


def test_no_template_is_no_guess() -> None:
    with pytest.raises(RunError, match="no chat template"):
        encode_chat(tokenizer(None), MESSAGES)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (ENDLESS, "did not come to an end within 0.5 s"),
        ("{{ raise_exception('roles must alternate') }}", "fails .TemplateError: roles must alternate"),
        ("{{ messages.nothing.at_all }}", "fails .UndefinedError"),
        ("{% for m in messages %}", "fails .TemplateSyntaxError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "fails .RecursionError"),
    ],
    ids=["loops", "refusal", "undefined", "syntax", "recursion"],
)
def test_a_template_that_fails_or_has_no_end_is_named_with_the_prompt(template: str, why: str) -> None:
    with pytest.raises(RunError, match=f"{why}(.|\n)*Tom has 3 apples"):
        encode_chat(tokenizer(template), MESSAGES, seconds=0.5 if template == ENDLESS else 60)
