"""A template rendered without transformers gives transformers' text, and fails where transformers fails."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checkpoints.preflight.template_rendering import TemplateFailure, render, used_variables
from tests import tiny
from tests.fresh_process import succeeds

CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be <b>brief</b> & kind."},
    {"role": "user", "content": "How many? ü"},
    {"role": "assistant", "content": "<think>a</think>3", "reasoning_content": "r"},
    {"role": "user", "content": "And now?  "},
]
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds <two> numbers, ü",
        "parameters": {"type": "object", "properties": {"x": {"type": "number", "description": "one"}}},
    },
}
CALL = [
    CHAT[1],
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": "123456789", "type": "function", "function": {"name": "add", "arguments": {"x": 1}}}
    ]},
    {"role": "tool", "name": "add", "tool_call_id": "123456789", "content": "2"},
]  # fmt: skip
VARIANTS: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    (CHAT, {}), (CHAT[1:2], {}), (CHAT[1:2], {"enable_thinking": False}), (CHAT, {"tools": [TOOL]}),
    (CALL, {"tools": [TOOL]}),
]  # fmt: skip
OWN = {
    "blocks": "{% for m in messages %}\n  {% if m.role %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "json": "{{ messages | tojson }}{{ messages | tojson(indent=2) }}",
    "tokens": "{{ bos_token }}{{ eos_token }}{{ nothing }}{{ tools is none }}{{ documents is none }}",
    "namespace": "{% set n = namespace(a=0) %}{% for m in messages %}{% set n.a = n.a + 1 %}{% endfor %}{{ n.a }}",
    "reasoning": "{% for m in messages %}{{ m.thinking }}{{ m.reasoning_content }}{% endfor %}",
    "year": "{{ strftime_now('%Y') }}",
    "null": "{% for m in messages %}{{ m.name is defined }}{% endfor %}",
}


def installed_templates() -> list[Path]:
    """The chat templates that TRL brings: those of Qwen, Llama, Gemma, DeepSeek, Phi, gpt-oss and others."""
    spec = importlib.util.find_spec("trl")
    place = Path(spec.origin).parent / "chat_templates" if spec and spec.origin else Path("absent")
    return sorted(place.glob("*.jinja"))


def both(template: str, messages: list[dict[str, Any]], more: dict[str, Any]) -> tuple[str, str]:
    """What transformers makes of a conversation, and what is made here; both with their failures as text."""
    words = tiny.tokenizer()
    words.bos_token = "<s>"
    try:
        theirs = str(words.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True, **more
        ))  # fmt: skip
    except Exception as error:
        theirs = f"fails ({type(error).__name__}"
    try:
        ours = render(template, messages, {**words.special_tokens_map, **more})
    except TemplateFailure as failure:
        ours = str(failure)
    return theirs, ours


@pytest.mark.parametrize("name", OWN)
def test_the_environment_is_that_of_transformers(name: str) -> None:
    messages = [{**message, "name": None} for message in CHAT]
    theirs, ours = both(OWN[name], messages, {})
    assert ours == theirs
    assert not ours.startswith("fails")


def test_real_templates_give_the_same_text_or_the_same_failure() -> None:
    templates = installed_templates()
    if not templates:
        pytest.skip("trl is not installed")
    rendered = 0
    for file in templates:
        for messages, more in VARIANTS:
            theirs, ours = both(file.read_text(), messages, more)
            if theirs.startswith("fails ("):
                assert ours.startswith(theirs.split(":")[0].rstrip(")")), file.name
            else:
                assert ours == theirs, file.name
                rendered += 1
    assert rendered > 2 * len(templates)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ raise_exception('roles must alternate') }}", r"fails \(TemplateError: roles must alternate\)"),
        ("a\n{% for m in messages %}", r"fails \(TemplateSyntaxError, line 2: Unexpected end of template"),
        ("{{ undefined_function(messages) }}", r"fails \(UndefinedError: 'undefined_function' is undefined\)"),
        ("{{ messages | nonexistent }}", r"fails \(TemplateAssertionError, line 1: No filter named 'nonexistent'"),
        ("{{ raise_exception('a\\x1b[2J\\nb') }}", r"fails \(TemplateError: a \[2J b\)"),
        ("{{ ''.__class__.__mro__ }}", r"fails \(SecurityError: access to attribute '__class__'"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "does not come to an end"),
    ],
    ids=["refusal", "syntax", "function", "filter", "control characters", "sandbox", "endless"],
)
def test_a_failure_has_the_templates_own_words(template: str, why: str) -> None:
    with pytest.raises(TemplateFailure, match=why):
        render(template, CHAT, seconds=0.5)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not say what a process has")
def test_a_template_that_grows_without_bound_is_stopped() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    doubling = "{% set n = namespace(t='12345678') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}x"
    with pytest.raises(TemplateFailure, match="MemoryError"):
        render(doubling, CHAT)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert render("{{ 'x' * 1000000 }}", CHAT) == "x" * 1_000_000


def test_the_variables_of_a_template_are_known() -> None:
    assert used_variables("{{ bos_token }}{% for m in messages %}{{ m.eos_token }}{% endfor %}") == {
        "bos_token",
        "messages",
    }
    assert used_variables("{% for") == frozenset()


def test_neither_transformers_nor_torch_is_imported() -> None:
    code = (
        "import sys\n"
        "from pytest_entropy.checkpoints.preflight.template_rendering import render\n"
        "assert 'jinja2' not in sys.modules\n"
        "assert render('{{ messages[0].content }}', [{'content': 'x'}]) == 'x'\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    succeeds(code)
