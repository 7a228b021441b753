"""The arguments of a reward function: those its signature takes, and the columns it looks up in ``**columns``."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_entropy.rewards.builtin.base import PlainReward

# Names of TRL's other arguments; as in TRL, a column of such a name is not passed to rewards.
NOT_COLUMNS = frozenset(
    {"prompt", "prompts", "completion", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric"}
)
# Characters of a function's source that are looked at.
_LONGEST_SOURCE = 200_000
# What is inside these may not be executed in every call.
_CONDITIONAL = (
    ast.If, ast.IfExp, ast.Try, ast.BoolOp, ast.While, ast.Match, ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef,
    ast.ClassDef,
)  # fmt: skip


def _discard(*_: Any, **__: Any) -> None:
    """Stands in for TRL's loggers."""


# TRL's arguments that come from its trainer: none runs here, and what rewards log is discarded.
FROM_TRAINER: Mapping[str, Any] = {"trainer_state": None, "log_extra": _discard, "log_metric": _discard}


@dataclass(frozen=True)
class LookedUp:
    """Columns that a function's source looks up in its ``**columns``.

    Attributes:
        needed: by ``columns["x"]`` in every call.
        optional: by ``columns.get("x")``, or under a condition.
        anything: whether ``columns`` is used in another way, too, so that any column may be read.
    """

    needed: frozenset[str] = field(default_factory=frozenset)
    optional: frozenset[str] = field(default_factory=frozenset)
    anything: bool = False


def accepted_arguments(reward: PlainReward, arguments: Mapping[str, Any]) -> dict[str, object]:
    """The keyword arguments that a reward function's signature accepts, out of ``arguments`` and TRL's own."""
    offered = {**arguments, **FROM_TRAINER}
    known = parameters(reward)
    if known is None or any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
        return offered
    return {name: value for name, value in offered.items() if name in known}


def parameters(reward: PlainReward) -> Mapping[str, inspect.Parameter] | None:
    """The parameters of a function by name, None where it has no signature, as some callables written in C."""
    try:
        return inspect.signature(reward).parameters
    except (TypeError, ValueError):
        return None


def looked_up(reward: PlainReward) -> LookedUp:
    """The columns that a function looks up by name, from its source, which is read and not executed."""
    function = _source_of(reward)
    if function is None or function.args.kwarg is None:
        return LookedUp()
    name = function.args.kwarg.arg
    needed: set[str] = set()
    optional: set[str] = set()
    stored: set[str] = set()
    known = 0
    for node, always in _nodes(function.body, True, name):
        match node:
            case ast.Subscript(value=ast.Name(id=of), slice=ast.Constant(value=str(key))) if of == name:
                place = needed if always else optional
                (place if isinstance(node.ctx, ast.Load) else stored).add(key)
                known += 1
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=of), attr="get" | "pop" | "setdefault" as how),
                args=[ast.Constant(value=str(key)), *rest],
            ) if of == name:
                (needed if how == "pop" and not rest and always else optional).add(key)
                known += 1
            case ast.Compare(left=ast.Constant(value=str(key)), comparators=[ast.Name(id=of)]) if of == name:
                optional.add(key)
                known += 1
    uses = sum(isinstance(node, ast.Name) and node.id == name for node, _ in _nodes(function.body, True, name))
    # Where a name is asked for first, its lookup is not unconditional.
    optional -= stored
    return LookedUp(frozenset(needed - optional - stored), frozenset(optional), uses > known)


def _source_of(reward: PlainReward) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The syntax tree of a function, None where its source is not at hand."""
    function: Any = reward
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not inspect.isroutine(function):
        function = getattr(type(function), "__call__", function)  # noqa: B004
    try:
        source = textwrap.dedent(inspect.getsource(function))
        body = ast.parse(source).body if len(source) <= _LONGEST_SOURCE else []
    except (OSError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    first = body[0] if body else None
    return first if isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _nodes(statements: list[Any], always: bool, name: str) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes of some statements, each with whether it is executed in every call; not where ``name`` is another."""
    pending: list[tuple[ast.AST, bool]] = [(one, always) for one in statements]
    while pending:
        node, sure = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and name in _arguments(node.args):
            continue
        yield node, sure
        # After a return under a condition, what follows is executed in some calls only.
        inside = sure and not isinstance(node, _CONDITIONAL)
        pending += [(child, inside) for child in ast.iter_child_nodes(node)]


def _arguments(of: ast.arguments) -> set[str]:
    several = [*of.posonlyargs, *of.args, *of.kwonlyargs, *(one for one in (of.vararg, of.kwarg) if one is not None)]
    return {one.arg for one in several}
