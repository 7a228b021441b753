"""Chat templates of strangers: rendered as the tokenizer does, or refused by name, never waited for."""

from __future__ import annotations

from typing import Any

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


# ---------------------------------------------------------------------- tools and parts

ASK: dict[str, Any] = {"role": "user", "content": "add 3 and 4"}
CALL: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [
    {"type": "function", "function": {"name": "add", "arguments": {"a": 3, "b": 4}}},
]}  # fmt: skip
ANSWER: dict[str, Any] = {"role": "tool", "content": "7"}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {"type": "object"}}}
]
# The forms of Qwen2.5's, of Qwen2-VL's, and of texts with a tail joined by a plus.
TOOLED = (
    "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}{% for m in messages %}<{{ m.role }}>"
    "{% if m.content %}{{ m.content }}{% endif %}{% for c in m.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}<me>{% endif %}"
)
PARTS = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}<me>"
)
OF_TEXTS = {
    "written": "{{ m.content }}",
    "trimmed": "{{ m.content | trim }}",
    "joined": "{{ '' + m.content }}",
    "strings only": "{% if m.content is string %}{{ m.content }}{% endif %}",
    "as JSON": "{{ m.content if m.content is string else m.content | tojson }}",
    "looped": "{% for p in m.content %}{{ p }}{% endfor %}",
}


def in_parts(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]


def test_tool_calls_and_tools_are_what_the_template_makes_of_them() -> None:
    words = tokenizer(TOOLED)
    messages = [ASK, CALL, ANSWER]
    for tools in (TOOLS, None):
        expected = words.apply_chat_template(messages, tools=tools, add_generation_prompt=True, return_dict=False)
        assert encode_chat(words, messages, {"tools": tools} if tools else {}) == expected
    assert "adds" in words.decode(encode_chat(words, messages, {"tools": TOOLS}))
    assert str(words.decode(encode_chat(words, messages))).endswith(
        '<assistant>{"name": "add", "arguments": {"a": 3, "b": 4}}<tool>7<me>'
    )


def test_of_several_templates_the_one_for_tools_is_taken() -> None:
    words = tokenizer(None)
    words.chat_template = {"default": PLAIN, "tool_use": TOOLED}
    assert words.decode(encode_chat(words, [ASK])) == "user: add 3 and 4assistant:"
    assert str(words.decode(encode_chat(words, [ASK], {"tools": TOOLS}))).endswith("<user>add 3 and 4<me>")


def test_a_template_that_takes_parts_gets_them() -> None:
    words = tokenizer(PARTS)
    messages = in_parts("3 + 4", " = ?")
    expected = words.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert encode_chat(words, messages) == expected
    assert words.decode(encode_chat(words, messages)) == "<user>3 + 4 = ?<me>"


@pytest.mark.parametrize("name", OF_TEXTS)
def test_a_template_of_texts_never_shows_a_list(name: str) -> None:
    words = tokenizer("{% for m in messages %}<{{ m.role }}>" + OF_TEXTS[name] + "{% endfor %}<me>")
    assert words.decode(encode_chat(words, in_parts("3 + 4"))) == "<user>3 + 4<me>"
    with pytest.raises(RunError, match="takes texts only, and a message has 2 text parts, which trainers join in diff"):
        encode_chat(words, in_parts("3 + 4", "= ?"))


def test_what_a_template_leaves_out_of_a_text_too_is_no_sign_of_texts() -> None:
    # As Qwen3's leaves former reasoning out.
    words = tokenizer(PARTS.replace("{{ p.text }}", "{{ p.text.split('</think>')[-1] }}").replace(
        "{{ m.content }}", "{{ m.content.split('</think>')[-1] }}"
    ))  # fmt: skip
    former = {
        "role": "assistant",
        "content": [{"type": "text", "text": "<think>x</think>"}, {"type": "text", "text": "7"}],
    }
    assert words.decode(encode_chat(words, [former, ASK])) == "<assistant>7<user>add 3 and 4<me>"


@pytest.mark.parametrize(
    ("template", "messages", "text"),
    [
        # Words of a part may stand elsewhere, look like code, or cut the code that a list is written as.
        (OF_TEXTS["strings only"], [{"role": "system", "content": "Say 7: add 3 and 4"}, *in_parts("add 3 and 4")],
         "<system>Say 7: add 3 and 4<user>add 3 and 4<me>"),
        (OF_TEXTS["strings only"], in_parts("user"), "<user>user<me>"),
        ("{% for p in m.content %}{{ p.text }}{% endfor %}", in_parts('Is {"type": "text"} JSON?'),
         '<user>Is {"type": "text"} JSON?<me>'),
        ("{{ (m.content | string).split('</think>')[-1] }}", in_parts("<think>x</think>7"), "<user>7<me>"),
        ("{{ m.content | upper }}", in_parts("add"), "<user>ADD<me>"),
        ("{{ m.content | string | e }}", in_parts("add"), "<user>add<me>"),
    ],
    ids=["repeated", "the role's name", "code in a part", "code cut", "upper case", "escaped"],
)  # fmt: skip
def test_what_a_part_says_does_not_decide_whether_parts_are_taken(
    template: str, messages: list[dict[str, Any]], text: str
) -> None:
    words = tokenizer("{% for m in messages %}<{{ m.role }}>" + template + "{% endfor %}<me>")
    assert words.decode(encode_chat(words, messages)) == text
