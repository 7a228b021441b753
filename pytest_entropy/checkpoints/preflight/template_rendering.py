"""Render a chat template as transformers does, without importing it (it imports torch), under a time limit.

The environment is that of ``transformers.utils.chat_template_utils``; tests compare the two on real templates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.policy.chat_template import SECONDS
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

if TYPE_CHECKING:
    from jinja2 import Environment, Template, nodes
    from jinja2.parser import Parser

# A prompt has some megabytes at most.
_MOST_BYTES = 2**30
# Names under which a message's reasoning is passed; templates read the first, gpt-oss' the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")


class TemplateFailure(Exception):
    """A chat template fails or does not come to an end; the text says why, in the template's own words."""


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    variables: Mapping[str, Any] | None = None,
    *,
    seconds: float = SECONDS,
) -> str:
    """The text of a conversation, the header of the assistant's turn included.

    Args:
        template: a stranger's; it runs in jinja2's sandbox.
        messages: the conversation.
        variables: further variables by name: special tokens, ``tools``, arguments such as ``enable_thinking``.
        seconds: the time limit.

    Raises:
        TemplateFailure: the template cannot be compiled, fails, exceeds the time limit, or takes too much memory.
    """
    given = {"tools": None, "documents": None, "add_generation_prompt": True, **(variables or {})}
    chat = [_with_reasoning(message) for message in messages]
    try:
        with _bounded_memory():
            return call_within(seconds, lambda: _compiled(template).render(messages=chat, **given))
    except TimeLimitExceeded:
        raise TemplateFailure(f"does not come to an end within {seconds:g} s") from None
    # A template may raise any kind of exception.
    except Exception as error:
        # Of an error of syntax; others have none.
        line = f", line {error.lineno}" if hasattr(error, "lineno") else ""
        raise TemplateFailure(f"fails ({type(error).__name__}{line}: {_one_line(str(error)[:300])})") from None


def _one_line(words: str) -> str:
    """A template's words on one line, without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in words).strip()


def used_variables(template: str, *, seconds: float = SECONDS) -> frozenset[str]:
    """The names of the variables that a template is given from outside; none where it cannot be parsed.

    Args:
        template: its text.
        seconds: the time limit.
    """
    from jinja2.meta import find_undeclared_variables

    try:
        return call_within(
            seconds, lambda: frozenset(find_undeclared_variables(template_environment().parse(template)))
        )
    except (TimeLimitExceeded, Exception):
        return frozenset()


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let the process take little more memory than it has, where the system can: more is a MemoryError."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        yield
        return
    before = soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bound = pages * resource.getpagesize() + _MOST_BYTES
    try:
        resource.setrlimit(resource.RLIMIT_AS, (bound if soft == resource.RLIM_INFINITY else min(bound, soft), hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@lru_cache(maxsize=8)
def _compiled(template: str) -> Template:
    return template_environment().from_string(template)


@lru_cache(maxsize=1)
def template_environment() -> Environment:
    """The sandbox with what templates may call; jinja2 is imported for chat prompts only."""
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}``, by which trainers find the assistant's tokens; its content is rendered as it is."""

        tags = {"generation"}

        def parse(self, parser: Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

        def _render(self, caller: Callable[[], str]) -> str:
            return caller()

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    # Not jinja2's own filter, which escapes the characters of HTML.
    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = _raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


def _raise_exception(message: str) -> None:
    """What templates call for conversations that they do not take."""
    from jinja2 import TemplateError

    raise TemplateError(message)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _with_reasoning(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message without nulls, its reasoning under each name that templates know."""
    plain = {key: value for key, value in message.items() if value is not None}
    reasoning = next((plain[key] for key in _REASONING if key in plain), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}
