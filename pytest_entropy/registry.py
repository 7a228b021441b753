"""Names of what can be added, and where each is: built-in modules by file name, others by entry point or hook.

A *kind* is a folder of this package whose modules each hold one part under a fixed name: ``probe/estimators/`` holds
estimators, ``ESTIMATOR`` in each.  Another package adds a part by one line in its ``pyproject.toml``::

    [project.entry-points."pytest_entropy.estimators"]
    my_estimator = "my_package.my_estimator"

and a ``conftest.py`` by the hook ``pytest_entropy_register``.  Listing names imports none of these modules; only
:func:`get` does.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from pytest_entropy.errors import UsageError

T = TypeVar("T")
PACKAGE = "pytest_entropy"


@dataclass(frozen=True)
class Kind:
    """One kind of part: where the built-in ones are, and under which name a module holds its part.

    Attributes:
        folder: of this package, dotted.
        attribute: the name in the module.
        noun: what messages call one.
    """

    folder: str
    attribute: str
    noun: str


KINDS: dict[str, Kind] = {
    "estimators": Kind("probe.estimators", "ESTIMATOR", "estimator"),
    "scalars": Kind("probe.scalars", "ESTIMATOR", "per-prompt scalar"),
    "update_rules": Kind("optimizers.rules", "UPDATE_RULE", "update rule"),
    "optimizers": Kind("optimizers.states", "OPTIMIZER", "optimizer"),
    "layouts": Kind("checkpoints.layouts", "LAYOUT", "checkpoint layout"),
    "checks": Kind("checks", "CHECK", "check"),
    "bookkeeping": Kind("checks.bookkeeping", "CHECK", "bookkeeping identity"),
    "report_sections": Kind("reports.sections", "SECTION", "report section"),
    "rewards": Kind("rewards.builtin", "REWARD", "reward"),
    "prompt_sources": Kind("prompts.sources", "SOURCE", "prompt source"),
    "executors": Kind("runs.executors", "EXECUTOR", "executor"),
}
# Modules of such a folder that hold no part: what all parts of the kind share.
SHARED = "base"
# Parts that a hook has added to this process: kind and name to the part itself.
_added: dict[tuple[str, str], object] = {}


class NotRegistered(UsageError):
    """A name that no part of its kind has."""


def names(kind: str) -> tuple[str, ...]:
    """The names of all parts of a kind, built-in ones first; nothing is imported.

    >>> "rao_blackwell" in names("estimators")
    True

    Raises:
        KeyError: no such kind.
    """
    others = sorted({*_installed(kind), *(name for of, name in _added if of == kind)})
    return (*_built_in(kind), *(name for name in others if name not in _built_in(kind)))


def added(kind: str) -> tuple[str, ...]:
    """The names of the parts of a kind that are not built in; nothing is imported.

    Raises:
        KeyError: no such kind.
    """
    return tuple(name for name in names(kind) if name not in _built_in(kind))


def get(kind: str, name: str, wanted: type[T]) -> T:
    """The part of that name, imported.

    Args:
        kind: a key of ``KINDS``.
        name: one of :func:`names`.
        wanted: what the part has to be an instance of.

    Raises:
        NotRegistered: no part has this name; the nearest one is named.
        UsageError: the part's module cannot be imported, or what it holds is not ``wanted``.
    """
    part = _part(kind, name)
    if not isinstance(part, wanted):
        raise UsageError(
            f"{KINDS[kind].noun} {name!r} is {type(part).__name__}, expected {wanted.__module__}.{wanted.__qualname__}"
        )
    return part


def add(kind: str, name: str, part: object) -> None:
    """Add a part to this process, as the hook ``pytest_entropy_register`` does.

    Raises:
        UsageError: a name that is taken, is not an identifier, or a kind that there is not.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is not a kind of part; known are {', '.join(KINDS)}")
    if not name.isidentifier():
        raise UsageError(f"{KINDS[kind].noun} {name!r}: a name must be an identifier such as my_own")
    taken = name in _built_in(kind) or name in _installed(kind)
    if taken or _added.get((kind, name), part) is not part:
        raise UsageError(f"{KINDS[kind].noun} {name!r} is registered already; give it another name")
    _added[kind, name] = part


def forget(kind: str, name: str) -> None:
    """Take back what :func:`add` has added."""
    _added.pop((kind, name), None)


def restorer() -> Callable[[], None]:
    """A function that takes back whatever :func:`add` adds from now on: at the end of a session in a longer process."""
    before = dict(_added)

    def restore() -> None:
        _added.clear()
        _added.update(before)

    return restore


def require_name(kind: str, name: str) -> str:
    """``name`` itself, if a part has it.

    Raises:
        NotRegistered: none has; the nearest name is named, or all are.
    """
    known = names(kind)
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    raise NotRegistered(f"{KINDS[kind].noun} {name!r} is not registered; {hint}")


def known(kind: str) -> Callable[[str], str]:
    """A validator for a settings model: :func:`require_name` with a :class:`ValueError`, as pydantic wants it."""

    def validate(name: str) -> str:
        try:
            return require_name(kind, name)
        except NotRegistered as error:
            raise ValueError(str(error)) from None

    return validate


def _part(kind: str, name: str) -> Any:
    of = KINDS[kind]
    if name in _built_in(kind):
        return getattr(import_module(f"{PACKAGE}.{of.folder}.{name}"), of.attribute)
    if (kind, name) in _added:
        return _added[kind, name]
    require_name(kind, name)
    point = _installed(kind)[name]
    try:
        loaded = point.load()
    except Exception as error:
        raise UsageError(
            f"{of.noun} {name!r} cannot be imported from {point.value!r} ({_package(point)}): "
            f"{type(error).__name__}: {error}"
        ) from error
    # An entry point names the module, as a built-in part's file does, or the part in it.
    return getattr(loaded, of.attribute, loaded)


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name}" if point.dist is not None else "an unknown package"


@cache
def _built_in(kind: str) -> tuple[str, ...]:
    folder = Path(__file__).parent.joinpath(*KINDS[kind].folder.split("."))
    stems = (path.stem for path in folder.glob("*.py"))
    return tuple(sorted(stem for stem in stems if not stem.startswith("_") and stem != SHARED))


@cache
def _installed(kind: str) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=f"{PACKAGE}.{kind}"), key=lambda point: (point.name, point.value)):
        if point.name not in _built_in(kind):
            found.setdefault(point.name, point)
    return found
