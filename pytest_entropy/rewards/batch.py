"""A batch in the form that reward functions take, and the prompt and completion that an error message shows."""

from __future__ import annotations

import copy
import reprlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_entropy.prompts import Content, Prompt

_SHOWN = 2000
# Columns may hold anything, as long and as deep as a row allows.
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


@dataclass(frozen=True)
class Batch:
    """Prompts and completions in flat order, each prompt repeated for its completions."""

    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]) -> Batch:
        """The batch of P prompts and ``[P][G]`` completions."""
        flat = [(prompt, text) for prompt, group in zip(prompts, completions, strict=True) for text in group]
        return cls(tuple(prompt for prompt, _ in flat), tuple(text for _, text in flat))

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return sorted({name for prompt in self.prompts for name in prompt.columns})

    def column(self, name: str) -> list[Any]:
        """A column, None where a prompt lacks it."""
        return [prompt.columns.get(name) for prompt in self.prompts]

    def contents(self) -> list[Content]:
        """Copies of the prompts' contents, which a reward function may change."""
        return [copy.deepcopy(prompt.content) for prompt in self.prompts]

    def completions(self) -> list[Any]:
        """Texts, or for chat prompts lists of one assistant message, as TRL passes them."""
        return [
            text if isinstance(prompt.content, str) else [{"role": "assistant", "content": text}]
            for prompt, text in zip(self.prompts, self.texts, strict=True)
        ]


def describe_completion(batch: Batch, n: int | None = None) -> str:
    """Indented lines that show completion ``n``, its prompt and its columns, for an error message.

    They are indented because reports take a message's last unindented line as its reason.

    Args:
        batch: the batch.
        n: flat index of the completion; None shows the first and says that the failing one is not known.
    """
    known = "" if n is not None else f" (the first of {len(batch)}; which one did it is not known)"
    prompt, text = batch.prompts[n or 0], batch.texts[n or 0]
    columns = ", ".join(f"{name}={_BRIEF.repr(value)}" for name, value in sorted(prompt.columns.items()))
    lines = (f"prompt{known}: {_cut(prompt.content)}", f"completion: {_cut(text)}", f"columns: {columns or 'none'}")
    return "".join(f"\n  {line}" for line in lines)


def failing_completion(error: BaseException, batch: Batch, completions: Sequence[Any]) -> int | None:
    """Flat index of the completion on which a reward function failed, None where it cannot be told.

    It is the only completion among the local variables of a frame; frames are searched from the error outwards.

    Args:
        error: what the function raised.
        batch: the batch it was called with.
        completions: the very objects that it was passed.
    """
    owner: dict[int, int] = {}
    for n, completion in enumerate(completions):
        parts = [completion] if isinstance(completion, str) else [completion, completion[0], completion[0]["content"]]
        for part in parts:
            # Equal short strings may be one object, which identifies no completion; neither does an object of a column.
            owner[id(part)] = n if owner.get(id(part), n) == n else -1
    for name in batch.columns:
        owner |= {id(value): -1 for value in batch.column(name)}
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        candidates = {owner.get(id(value), -1) for value in frame.f_locals.values()} - {-1}
        if len(candidates) == 1:
            return candidates.pop()
    return None


def visible(text: str, limit: int | None = None) -> str:
    """A text on one line with unprintable characters escaped; above ``limit`` characters only its two ends.

    >>> visible("a\\n" + "b" * 20 + "c", 8)
    'a\\\\nbb … bbbc (23 characters)'
    """
    if limit is not None and len(text) > limit:
        half = limit // 2
        return f"{visible(text[:half])} … {visible(text[-half:])} ({len(text)} characters)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cut(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
