"""The variables that a chat template takes, found in its source without running it."""

from __future__ import annotations

import math
from functools import cache

from jinja2 import nodes
from jinja2.exceptions import TemplateError
from jinja2.meta import find_undeclared_variables

from pytest_entropy.checkpoints.preflight.template_rendering import template_environment
from pytest_entropy.errors import UsageError
from pytest_entropy.settings.template_arguments import RESERVED
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

# Time limit for reading one template, in s; ordinary ones take milliseconds.
SECONDS = 10.0
# What transformers gives every template besides its own arguments and the special tokens.
_GIVEN = frozenset({"raise_exception", "strftime_now", "namespace", "dict", "range", "lipsum", "cycler", "joiner"})


@cache
def template_variables(text: str) -> frozenset[str]:
    """The names that callers may give a template: those that it reads and does not set itself.

    A name that it sets is one only where it asks first whether the caller gave it (``date_string is not defined``).

    Args:
        text: the template's source, by a stranger.

    Raises:
        UsageError: it is no template, or takes longer than the time limit to read.
    """
    try:
        return call_within(SECONDS, lambda: _variables(text))
    except TimeLimitExceeded:
        problem = f"takes more than {SECONDS:g} s to read"
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        problem = f"is not valid ({f'line {line}: ' if line else ''}{(error.message or '')[:200]})"
    except RecursionError:
        problem = "is nested too deeply"
    raise UsageError(problem)


def _variables(text: str) -> frozenset[str]:
    tree = template_environment().parse(text)
    read = frozenset(find_undeclared_variables(tree)) - _GIVEN - RESERVED - _names(tree, "param").keys()
    set_inside, asked_for = _names(tree, "store"), _asked_for(tree)
    return frozenset(
        name
        for name in read
        if not name.endswith("_token") and asked_for.get(name, math.inf) <= set_inside.get(name, math.inf)
    )


def _names(tree: nodes.Template, context: str) -> dict[str, int]:
    """The names in a context (``store``, ``param``), each with the first line that has it."""
    lines: dict[str, int] = {}
    for name in tree.find_all(nodes.Name):
        if name.ctx == context:
            lines[name.name] = min(name.lineno, lines.get(name.name, name.lineno))
    return lines


def _asked_for(tree: nodes.Template) -> dict[str, int]:
    """Names of which the template asks whether they are defined, each with the first line that does."""
    tested = [test.node for test in tree.find_all(nodes.Test) if test.name in ("defined", "undefined")]
    tested += [kept.node for kept in tree.find_all(nodes.Filter) if kept.name in ("default", "d") and kept.node]
    lines: dict[str, int] = {}
    for node in tested:
        if isinstance(node, nodes.Name):
            lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    return lines
