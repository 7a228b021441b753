"""Templates that make a prompt of a question, and the parsing of texts that hold question and answer."""

from __future__ import annotations

import re

from pytest_entropy.errors import UsageError

PLACE = "{question}"

TEMPLATES = {
    # DeepSeek-R1-Zero's, arXiv 2501.12948, table 1.
    "r1": (
        "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The "
        "assistant first thinks about the reasoning process in the mind and then provides the user with the answer. "
        "The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags, "
        "respectively, i.e., <think> reasoning process here </think> <answer> answer here </answer>. "
        f"User: {PLACE}. Assistant:"
    ),
}
_WORKED = re.compile(r"(.*?)<think>.*<answer>(.*?)</answer>", re.DOTALL)


def find_template(name: str) -> str:
    """The text of the built-in template called ``name``, or ``name`` itself, which must hold ``{question}`` once.

    Raises:
        UsageError: it is neither.
    """
    text = TEMPLATES.get(name, name)
    if text.count(PLACE) != 1:
        raise UsageError(
            f"prompts.template {name[:60]!r} is neither built in ({', '.join(TEMPLATES)}) nor a text that holds "
            f"{PLACE} once"
        )
    return text


def apply_template(text: str, question: str) -> str:
    """The template's ``text`` with the question in the place of ``{question}``; other braces stay as they are.

    >>> apply_template("Q: {question}\\nA:", "2 + {x}?")
    'Q: 2 + {x}?\\nA:'
    """
    return text.replace(PLACE, question.strip())


def worked_example(text: str) -> tuple[str, str] | None:
    """(question, answer) of a text ``question <think> … </think> <answer> … </answer>``, None for any other text.

    >>> worked_example("What is 1 + 1? <think>easy</think> <answer>2</answer>")
    ('What is 1 + 1?', '2')
    """
    match = _WORKED.fullmatch(text.strip())
    return (match[1].strip(), match[2].strip()) if match else None
