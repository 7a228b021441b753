"""One prompt with its columns, and what a collection of prompts offers."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_entropy.prompts import word_problems

Content = str | list[dict[str, Any]]


@dataclass(frozen=True)
class Prompt:
    """One prompt: a string or chat messages, the columns a reward function may ask for, and what the chat template is
    told besides the messages."""

    content: Content
    columns: Mapping[str, Any] = field(default_factory=dict)
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    def encoded(self, encode: Callable[..., Sequence[int]]) -> Sequence[int]:
        """Token ids, by a policy's ``encode``."""
        if not self.template_arguments:
            return encode(self.content)
        return encode(self.content, self.template_arguments)

    @property
    def key(self) -> str:
        """What makes two prompts the same: their content, in one Unicode form and whatever its white space, and the
        chat template's arguments.

        A copy of a question with another line ending is no new question, and E and U must not share it.
        """
        if isinstance(self.content, str):
            return _plain(self.content)
        messages = [{k: _plain(v) if isinstance(v, str) else v for k, v in m.items()} for m in self.content]
        whole = [messages, dict(self.template_arguments)] if self.template_arguments else messages
        return json.dumps(whole, sort_keys=True, ensure_ascii=False, default=repr)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


class PromptSet(Protocol):
    """A finite, ordered collection of prompts."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Prompt: ...


class DemoPrompts:
    """The word problems of the bundled demo checkpoint, made on demand."""

    def __len__(self) -> int:
        return word_problems.SIZE

    def __getitem__(self, index: int) -> Prompt:
        text, answer = word_problems.problem(index)
        return Prompt(text, {"answer": answer})
