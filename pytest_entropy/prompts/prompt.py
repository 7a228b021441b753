"""A prompt with its columns, and the protocol of a prompt set."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_entropy.prompts import word_problems
from pytest_entropy.prompts.messages import Message, parts_of

Content = str | list[Message]


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        content: a string, or chat messages.
        columns: the row's other columns by name; reward functions take them as keyword arguments.
        template_arguments: arguments of the chat template besides the messages, by name; ``tools`` among them.
        made_of: the text of a template, with ``{question}`` in it, and the question that the content was made of; None
            where no template was configured.
    """

    content: Content
    columns: Mapping[str, Any] = field(default_factory=dict)
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    made_of: tuple[str, str] | None = field(default=None, compare=False)

    def encoded(self, encode: Callable[..., Sequence[int]]) -> Sequence[int]:
        """The prompt's token ids, by a policy's ``encode``."""
        if not self.template_arguments:
            return encode(self.content)
        return encode(self.content, self.template_arguments)

    @property
    def key(self) -> str:
        """The prompt's identity: its content in Unicode normal form C with single spaces, and its template arguments.

        Two prompts with equal keys are the same question, whatever their line endings; E and U must not share one.
        """
        if isinstance(self.content, str):
            return _plain(self.content)
        messages = [_identity(message) for message in self.content]
        whole = [messages, dict(self.template_arguments)] if self.template_arguments else messages
        return json.dumps(whole, sort_keys=True, ensure_ascii=False, default=repr)


def _identity(message: Message) -> Message:
    """A message by which two prompts are told apart: a text and the parts it may be given in are the same question."""
    parts = parts_of(message)
    whole = {**message, "content": "".join(parts)} if parts else {k: v for k, v in message.items() if k != "content"}
    return {key: _plain(value) if isinstance(value, str) else value for key, value in whole.items()}


def _plain(text: str) -> str:
    """The text in Unicode normal form C, with every run of white space as one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


class PromptSet(Protocol):
    """A finite, ordered collection of prompts."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Prompt: ...


class DemoPrompts:
    """The word problems on which the bundled demo checkpoint was trained, made on demand."""

    def __len__(self) -> int:
        return word_problems.SIZE

    def __getitem__(self, index: int) -> Prompt:
        text, answer = word_problems.problem(index)
        return Prompt(text, {"answer": answer})

    def plain_row(self, index: int) -> Prompt:
        """The same prompt by a second way, with the answer computed from the problem's equation."""
        problem = word_problems.parts(index)
        sign = 1 if problem.sign == "+" else -1
        return Prompt(problem.prompt, {"answer": str(problem.left + sign * problem.right)})
