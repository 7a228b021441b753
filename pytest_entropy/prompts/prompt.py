"""One prompt with its columns, and what a collection of prompts offers."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_entropy import word_problems

Content = str | list[dict[str, Any]]


@dataclass(frozen=True)
class Prompt:
    """One prompt: a string or chat messages, and the columns a reward function may ask for."""

    content: Content
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What makes two prompts the same: their content, in one Unicode form and whatever its white space.

        A copy of a question with another line ending is no new question, and E and U must not share it.
        """
        if isinstance(self.content, str):
            return _plain(self.content)
        messages = [{k: _plain(v) if isinstance(v, str) else v for k, v in m.items()} for m in self.content]
        return json.dumps(messages, sort_keys=True, ensure_ascii=False, default=repr)


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
