"""Which variables a chat template takes from its caller."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.checkpoints.preflight import template_variables as module
from pytest_entropy.checkpoints.preflight.template_variables import template_variables
from pytest_entropy.errors import UsageError


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        (
            "{% for m in messages %}{{ bos_token }}{{ m.content }}{% endfor %}{{ add_generation_prompt }}{{ tools }}",
            set(),
        ),
        (
            "{% if enable_thinking is defined and not enable_thinking %}x{% endif %}{{ effort }}",
            {"enable_thinking", "effort"},
        ),
        # As Llama 3.1 and Nemotron: set where the caller gave none.
        ("{% if not date is defined %}\n{% set date = '1' %}{% endif %}{{ date }}", {"date"}),
        ("{% set think = think if think is defined else True %}{{ think }}", {"think"}),
        ("{% set effort = effort | default('low') %}{{ effort }}", {"effort"}),
        # As Qwen3: set in one branch, read in another place.
        (
            "{% for m in messages %}{% if m.content %}{% set text = m.content %}{% endif %}{{ text }}{% endfor %}",
            set(),
        ),
        ("{% if messages %}\n{% set first = 'x' %}{% endif %}\n{% if first is defined %}{{ first }}{% endif %}", set()),
        (
            "{% macro show(content) %}{% if content is defined %}{{ content }}{% endif %}{% endmacro %}{{ show('a') }}",
            set(),
        ),
        (
            "{{ raise_exception('no') }}{{ strftime_now('%d') }}{% set ns = namespace(a=1) %}{{ ns.a }}{{ range(3) }}",
            set(),
        ),
        ("{% generation %}{{ a }}{% endgeneration %}{% for b in messages %}{% continue %}{% endfor %}", {"a"}),
    ],
)
def test_they_are_those_that_it_does_not_set_itself(text: str, variables: set[str]) -> None:
    assert template_variables(text) == variables


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("qwen2_5", set()),
        ("qwen3", {"enable_thinking"}),
        ("llama3_1", {"builtin_tools", "custom_tools", "date_string", "tools_in_user_message"}),
        ("gptoss", {"builtin_tools", "model_identity", "reasoning_effort"}),
        ("glm4moe", {"enable_thinking"}),
        ("nemotron_3_nano", {"enable_thinking", "truncate_history_thinking"}),
        ("deepseekv3", set()),
    ],
)
def test_those_of_real_templates(name: str, variables: set[str]) -> None:
    place = Path(pytest.importorskip("trl").__file__).parent / "chat_templates" / f"{name}.jinja"
    if not place.is_file():
        pytest.skip("this TRL has no such template")
    assert template_variables(place.read_text()) == variables


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{% for m in messages %}", "is not valid (line 1: Unexpected end of template"),
        ("{{ a", "is not valid (line 1: "),
        ("\n{{ a | nofilter }}", "is not valid (line 2: No filter named 'nofilter'.)"),
        ("{{ a }}{% tagless %}", "is not valid (line 1: Encountered unknown tag 'tagless'"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "is nested too deeply"),
    ],
)
def test_what_is_no_template_says_why(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        template_variables(text)
    assert reason in str(caught.value)


def test_reading_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.05)
    with pytest.raises(UsageError, match="takes more than 0.05 s to read"):
        template_variables("{{ a }}" * 150_000)
