"""Render pages and their parts from templates; every value from outside is escaped."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pytest_entropy.records import paths
from pytest_entropy.reports.gate_reason import errors_in_words
from pytest_entropy.reports.session_rows import session_url


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pytest_entropy.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.globals |= {"paths": paths, "errors_in_words": errors_in_words, "session_url": session_url}
    environment.filters["figure"] = lambda value: "-" if value is None else f"{value:.3g}"
    environment.filters["plain"] = in_plain_words
    environment.filters["sentence"] = as_sentence
    environment.filters["words"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)
    return environment


def in_plain_words(value: object) -> str:
    """A setting or a measured value in the notation of a report.

    >>> in_plain_words(None), in_plain_words(0.011866454319713904), in_plain_words([8, 32])
    ('-', '0.01187', '8, 32')
    >>> in_plain_words([{"name": "exact_answer", "weight": 1.0}])
    'name exact_answer, weight 1'
    """
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {in_plain_words(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        separator = "; " if any(isinstance(item, dict) for item in value) else ", "
        return separator.join(map(in_plain_words, value))
    return str(value)


def as_sentence(text: str) -> str:
    """A text with the capital and the stop of a sentence; a name or a symbol at its beginning stays as it is.

    >>> as_sentence("a mean is 0"), as_sentence("s_n equals <X_n, u>"), as_sentence("δH₁ converges.")
    ('A mean is 0.', 's_n equals <X_n, u>.', 'δH₁ converges.')
    """
    first = text.partition(" ")[0]
    head = text[:1].upper() if first.isascii() and first.replace("'", "").replace("-", "").isalpha() else text[:1]
    return f"{head}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else "." * bool(text))


def page(template: str, **values: Any) -> str:
    """Render a whole page from the template of that file name with the given values."""
    return _environment().get_template(template).render(**values)


def fragment(template: str, **values: Any) -> Markup:
    """Render a part of a page from the template of that name in ``sections/``."""
    return Markup(_environment().get_template(f"sections/{template}.html").render(**values))
