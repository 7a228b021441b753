"""Conformance of a prompt source: it claims what it opens, and opens the same prompts each time."""

from __future__ import annotations

from pytest_entropy.prompts import Prompt
from pytest_entropy.prompts.sources.base import Columns, PromptSource, known_sources
from pytest_entropy.registry import get


def check_prompt_source(name: str, source: str) -> None:
    """Check the prompt source of that name in the registry.

    Args:
        name: in the registry.
        source: a ``prompts.source`` that it opens.

    Raises:
        AssertionError: it does not claim ``source``, or another source does, too; it claims an empty text; it opens no
            prompts, or other ones the second time.
        UsageError: what it opens cannot be read.
    """
    kind = get("prompt_sources", name, PromptSource)
    assert kind.form, f"prompt source {name} does not say what one can give for it"
    assert not kind.claims(""), f"prompt source {name} claims an empty text"
    claimed = [other.form for other in known_sources() if other.claims(source)]
    assert claimed == [kind.form], (
        f"prompt source {name}: {source!r} is claimed by {claimed or 'none'}, expected it alone"
    )
    first, second = (kind.open(source, Columns()) for _ in range(2))
    assert len(first) > 0, f"prompt source {name} opens no prompts in {source!r}"
    for n in {0, len(first) // 2, len(first) - 1}:
        assert isinstance(first[n], Prompt), f"prompt source {name}: [{n}] is {type(first[n]).__name__}, not a Prompt"
        assert first[n].key == second[n].key, f"prompt source {name}: prompt {n} is another one the second time"
