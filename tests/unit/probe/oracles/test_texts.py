"""A second encoding, decoding and draw: what they see of prompts and texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_entropy.policy.chat_template import encode_chat
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.batches import draw_prompts
from pytest_entropy.probe.oracles.prompt_draw import other_draws, other_fraction
from pytest_entropy.probe.oracles.texts import other_encodings, other_texts, second_tokenizer
from pytest_entropy.prompts import DemoPrompts, Prompt, prompts_from_rows
from tests import tiny

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[a]{% endif %}"
)


def batch(*ids: list[int], tokens: list[list[int]] | None = None) -> Rollouts:
    table = torch.tensor(tokens or [[2, 0]] * len(ids)).reshape(len(ids), -1, 2)
    lengths = torch.full(table.shape[:2], 2)
    zero = torch.zeros(table.shape)
    return Rollouts(tuple(map(tuple, ids)), table, lengths, lengths > 0, zero, zero)


def test_tokens_other_than_a_plain_encodings_are_counted() -> None:
    words = tiny.tokenizer()
    prompts = [Prompt("Tom has 3 apples"), Prompt("and buys 14 more")]
    right = [words(prompt.content)["input_ids"] for prompt in prompts]
    assert other_encodings(words, prompts, batch(*right), None) == 0
    assert other_encodings(words, prompts, batch(right[0][:-1], right[1]), None) == 1
    assert other_encodings(words, prompts, batch([0, *right[0]], [*right[1], 0]), None) == 2


def test_messages_are_rendered_once_with_their_arguments() -> None:
    words = tiny.tokenizer()
    prompt = Prompt([{"role": "user", "content": "3+4"}])
    once = words("[user]3+4[a]", add_special_tokens=False)["input_ids"]
    assert other_encodings(words, [prompt], batch(once), TEMPLATE) == 0
    assert other_encodings(words, [prompt], batch(words("[user][user]3+4[a]")["input_ids"]), TEMPLATE) == 1
    assert other_encodings(words, [prompt], batch(words("3+4")["input_ids"]), TEMPLATE) == 1


PARTS = (
    "{% for m in messages %}[{{ m.role }}]{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}[a]{% endif %}"
)


def test_parts_are_told_from_texts_by_the_template() -> None:
    words = tiny.tokenizer()
    one = Prompt([{"role": "user", "content": [{"type": "text", "text": "3+4"}]}])
    once = words("[user]3+4[a]", add_special_tokens=False)["input_ids"]
    strings = TEMPLATE.replace("{{ m.content }}", "{% if m.content is string %}{{ m.content }}{% endif %}")
    for template in (TEMPLATE, TEMPLATE.replace("content }}", "content | tojson }}"), strings, PARTS):
        quoted = words('[user]"3+4"[a]', add_special_tokens=False)["input_ids"] if "tojson" in template else once
        assert other_encodings(words, [one], batch(quoted), template) == 0
    as_code = words("[user][{'type': 'text', 'text': '3+4'}][a]", add_special_tokens=False)["input_ids"]
    assert other_encodings(words, [one], batch(as_code), TEMPLATE) == 1
    two = Prompt([{"role": "user", "content": [{"type": "text", "text": "3+"}, {"type": "text", "text": "4"}]}])
    assert other_encodings(words, [two], batch(once), PARTS) == 0


@pytest.mark.parametrize(
    ("form", "messages", "text"),
    [
        ("strings", [("system", "Say 7: 3+4"), ("user", ["3+4"])], "[system]Say 7: 3+4[user]3+4[a]"),
        ("strings", [("user", ["user"])], "[user]user[a]"),
        ("parts", [("user", ['"type": "text"'])], '[user]"type": "text"[a]'),
        ("last", [("user", ["x</think>7"])], "[user]7[a]"),
    ],
)
def test_what_a_part_says_does_not_decide_how_it_is_rendered(form: str, messages: list[Any], text: str) -> None:
    """The same as the run's own encoding, which another test compares with the library's."""
    words = tiny.tokenizer()
    written = {
        "strings": "{% if m.content is string %}{{ m.content }}{% endif %}",
        "parts": "{% for p in m.content %}{{ p.text }}{% endfor %}",
        "last": "{{ (m.content | string).split('</think>')[-1] }}",
    }[form]
    template = TEMPLATE.replace("{{ m.content }}", written)
    contents = [
        {"role": role, "content": said if isinstance(said, str) else [{"type": "text", "text": one} for one in said]}
        for role, said in messages
    ]
    words.chat_template = template
    assert words.decode(encode_chat(words, contents)) == text
    encoded = words(text, add_special_tokens=False)["input_ids"]
    assert other_encodings(words, [Prompt(contents)], batch(encoded), template) == 0


def test_of_several_templates_the_library_chooses_by_the_tools() -> None:
    words = tiny.tokenizer()
    messages = [{"role": "user", "content": "3+4"}]
    both = {"default": TEMPLATE, "tool_use": "tools" + TEMPLATE}
    for prompt, text in (
        (Prompt(messages), "[user]3+4[a]"),
        (Prompt(messages, {}, {"tools": [{}]}), "tools[user]3+4[a]"),
    ):
        encoded = words(text, add_special_tokens=False)["input_ids"]
        assert other_encodings(words, [prompt], batch(encoded), both) == 0


@pytest.mark.parametrize(("content", "count"), [("Q: 3+4\nA:", 0), ("Q: Q: 3+4\nA:\nA:", 1), ("3+4", 1)])
def test_a_template_is_applied_once(content: str, count: int) -> None:
    words = tiny.tokenizer()
    (made,) = prompts_from_rows([("row 1", {"prompt": " 3+4 "})], source="rows", template="Q: {question}\nA:")
    assert made.content == "Q: 3+4\nA:"
    encoded = words(content)["input_ids"]
    assert other_encodings(words, [replace(made, content=content)], batch(encoded), None) == count


def test_texts_other_than_a_plain_decodings_are_counted() -> None:
    words = tiny.tokenizer()
    own = words("73")["input_ids"]
    assert len(own) == 2
    rollouts = batch([2], tokens=[own, [own[0], 0]])
    assert other_texts(words, rollouts, [["73", "7"]]) == 0
    assert other_texts(words, rollouts, [["7", "7<eos>"]]) == 2


def test_the_second_tokenizer_is_another_object(tmp_path: Path) -> None:
    words = tiny.tokenizer()
    assert second_tokenizer(words) is words
    words.save_pretrained(tmp_path)
    loaded = type(words).from_pretrained(tmp_path)
    second = second_tokenizer(loaded)
    assert second is not loaded
    assert second("Tom")["input_ids"] == words("Tom")["input_ids"]


def test_a_draw_is_the_seeds_permutation_of_the_whole_set() -> None:
    prompts = [Prompt(f"question {n % 30}", {"answer": str(n)}) for n in range(40)]
    taken = frozenset({prompts[3].key, prompts[7].key})
    drawn = [prompts[i] for i in draw_prompts(prompts, 12, 5, exclude=taken)]
    assert other_draws(prompts, drawn, 5, exclude=taken, replace=False) == 0
    first_half = [prompts[:15][i] for i in draw_prompts(prompts[:15], 12, 5, exclude=taken)]
    assert other_draws(prompts, first_half, 5, exclude=taken, replace=False) > 6
    assert other_draws(prompts, drawn[::-1], 5, exclude=taken, replace=False) >= 10
    answers = [replace(drawn[0], columns={"answer": "x"}), *drawn[1:]]
    assert other_draws(prompts, answers, 5, exclude=taken, replace=False) == 1
    again = [prompts[i] for i in draw_prompts(prompts, 12, 5, replace=True)]
    assert other_draws(prompts, again, 5, replace=True) == 0
    assert other_draws(prompts, drawn[:11], 5, exclude=taken, replace=False) == 0


def test_the_demos_prompts_are_made_a_second_way() -> None:
    prompts = DemoPrompts()
    for index in (0, 1, 2, 3, 55_000):
        assert prompts.plain_row(index) == prompts[index]


def test_the_share_of_the_set_is_counted_again() -> None:
    prompts = [Prompt(f"question {n % 30}") for n in range(40)]
    assert other_fraction(prompts, 0.4, 12, exclude=frozenset(), replace=False) == 0
    assert other_fraction(prompts, 0.0, 12, exclude=frozenset(), replace=False) == pytest.approx(0.4)
    assert other_fraction(prompts, 0.4, 12, exclude=frozenset(), replace=True) == 0.4
    large = DemoPrompts()
    assert other_fraction(large, 32 / len(large), 32, exclude=frozenset(), replace=False) == 0
    assert other_fraction(large, 0.0, 32, exclude=frozenset(), replace=False) > 0
