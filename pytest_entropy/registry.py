"""The registry of parts by kind and name: built-in modules, entry points of other packages, parts added by a hook.

A *kind* is a folder of this package whose modules each hold one part under a fixed name: ``probe/estimators/`` holds
estimators, ``ESTIMATOR`` in each.  Another package adds a part by one line in its ``pyproject.toml``::

    [project.entry-points."pytest_entropy.estimators"]
    my_estimator = "my_package.my_estimator"

and a ``conftest.py`` adds one by the hook ``pytest_entropy_register``.  Only :func:`get` imports the modules of parts;
listing their names does not.
"""

from __future__ import annotations

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
    """One kind of part: the folder of the built-in parts, and the name under which a module holds its part.

    Attributes:
        folder: the dotted path of the folder, below this package.
        attribute: the name of the module's attribute that is the part.
        noun: what messages call a part of this kind.
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
# The one module of such a folder that holds no part, but what all parts of the kind share.
SHARED = "base"
# Parts that a hook has added to this process, by kind and name.
_added: dict[tuple[str, str], object] = {}


class NotRegistered(UsageError):
    """No part of this kind is registered under this name."""


def names(kind: str) -> tuple[str, ...]:
    """The names of all parts of a kind, built-in parts first, without importing any part.

    >>> "rao_blackwell" in names("estimators")
    True

    Raises:
        KeyError: ``kind`` is not a key of ``KINDS``.
    """
    others = sorted({*_installed(kind), *(name for of, name in _added if of == kind)})
    return (*_built_in(kind), *(name for name in others if name not in _built_in(kind)))


def added(kind: str) -> tuple[str, ...]:
    """The names of the parts of a kind that are not built in, without importing any part.

    Raises:
        KeyError: ``kind`` is not a key of ``KINDS``.
    """
    return tuple(name for name in names(kind) if name not in _built_in(kind))


def get(kind: str, name: str, wanted: type[T]) -> T:
    """Import and return the part of this kind and name.

    Args:
        kind: a key of ``KINDS``.
        name: one of :func:`names`.
        wanted: the type that the part must be an instance of.

    Raises:
        NotRegistered: no part has this name; the message names the nearest registered name.
        UsageError: the part's module cannot be imported, or the part is not an instance of ``wanted``.
        KeyError: ``kind`` is not a key of ``KINDS``.
    """
    part = _part(kind, name)
    if not isinstance(part, wanted):
        raise UsageError(
            f"{KINDS[kind].noun} {name!r} is {type(part).__name__}, expected {wanted.__module__}.{wanted.__qualname__}"
        )
    return part


def add(kind: str, name: str, part: object) -> None:
    """Register a part in this process, as the hook ``pytest_entropy_register`` does.

    Args:
        kind: a key of ``KINDS``.
        name: an identifier that no other part of the kind has.
        part: the part itself.

    Raises:
        UsageError: the kind is unknown, or the name is taken or not an identifier.
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
    """Remove a part that :func:`add` has registered, if it is registered.

    Args:
        kind: the part's kind.
        name: the part's name.
    """
    _added.pop((kind, name), None)


def restorer() -> Callable[[], None]:
    """A function that removes every part that :func:`add` registers from now on.

    The plugin calls it at the end of a session, because the process may outlive the session.
    """
    before = dict(_added)

    def restore() -> None:
        _added.clear()
        _added.update(before)

    return restore


def require_name(kind: str, name: str) -> str:
    """Return ``name`` if a part of this kind is registered under it.

    Args:
        kind: a key of ``KINDS``.
        name: the name to look up.

    Raises:
        NotRegistered: no part has this name; the message names the nearest registered name, or else all of them.
        KeyError: ``kind`` is not a key of ``KINDS``.
    """
    registered = names(kind)
    if name in registered:
        return name
    import difflib

    near = difflib.get_close_matches(name, registered, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(registered)}"
    raise NotRegistered(f"{KINDS[kind].noun} {name!r} is not registered; {hint}")


def name_validator(kind: str) -> Callable[[str], str]:
    """A pydantic validator that accepts the registered names of a kind.

    Raises:
        ValueError: (the validator) no part has the name; the message is that of :func:`require_name`.
    """

    def validate(name: str) -> str:
        try:
            return require_name(kind, name)
        except NotRegistered as error:
            raise ValueError(str(error)) from None

    return validate


def _part(kind: str, name: str) -> Any:
    described = KINDS[kind]
    if name in _built_in(kind):
        return getattr(import_module(f"{PACKAGE}.{described.folder}.{name}"), described.attribute)
    if (kind, name) in _added:
        return _added[kind, name]
    require_name(kind, name)
    entry_point = _installed(kind)[name]
    try:
        loaded = entry_point.load()
    except Exception as error:
        raise UsageError(
            f"{described.noun} {name!r} cannot be imported from {entry_point.value!r} ({_package(entry_point)}): "
            f"{type(error).__name__}: {error}"
        ) from error
    # An entry point may name the module that holds the part, or the part itself.
    return getattr(loaded, described.attribute, loaded)


def _package(entry_point: EntryPoint) -> str:
    return f"package {entry_point.dist.name}" if entry_point.dist is not None else "an unknown package"


@cache
def _built_in(kind: str) -> tuple[str, ...]:
    folder = Path(__file__).parent.joinpath(*KINDS[kind].folder.split("."))
    stems = (path.stem for path in folder.glob("*.py"))
    return tuple(sorted(stem for stem in stems if not stem.startswith("_") and stem != SHARED))


@cache
def _installed(kind: str) -> dict[str, EntryPoint]:
    installed: dict[str, EntryPoint] = {}
    for entry_point in sorted(entry_points(group=f"{PACKAGE}.{kind}"), key=lambda point: (point.name, point.value)):
        if entry_point.name not in _built_in(kind):
            installed.setdefault(entry_point.name, entry_point)
    return installed
