"""The digest by which a session finds the runs it may continue: the configuration, and the content that it names."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pytest_entropy.prompts import DemoPrompts, PromptSet
from pytest_entropy.rewards import WeightedRewards
from pytest_entropy.settings.layers import ResolvedConfig

# The package's own sources are known by its version.
PACKAGE = Path(__file__).parents[1]
# Of a larger set of prompts that are made on demand, as many at equal distances are digested.
MOST_PROMPTS = 100_000


@dataclass(frozen=True)
class InputDigests:
    """Digests as 16 hex digits.

    Attributes:
        inputs: of the prompts and of the rewards' sources.
        config: of both and of the configuration.
    """

    inputs: str
    config: str


def digest_with_inputs(resolved: ResolvedConfig, prompts: PromptSet, reward: WeightedRewards) -> InputDigests:
    """Digests of the prompts and of the rewards' sources, without and with the configuration.

    A file of prompts or rewards is digested by its bytes, a reward in a module by the module's source; with either come
    the modules beside it that it imports.  Prompts from elsewhere (a data set, a hook) are digested one by one.

    Args:
        resolved: the configuration.
        prompts: the prompts that it names.
        reward: the rewards that it names.
    """
    content = b"".join(_content(resolved, prompts, reward))
    with_config = resolved.digest().encode() + content
    return InputDigests(*(hashlib.sha256(part).hexdigest()[:16] for part in (content, with_config)))


def _content(resolved: ResolvedConfig, prompts: PromptSet, reward: WeightedRewards) -> Iterator[bytes]:
    """The digests of all files and prompts."""
    config = resolved.config
    source = Path(config.prompts.source).expanduser()
    files = [source, *(Path(term.name.split(".py:")[0] + ".py").expanduser() for term in config.reward)]
    if config.prompts.tools:
        files.append(Path(config.prompts.tools).expanduser())
    named = [file for file in files if file.is_file()]
    yield from map(_of_file, named)
    known = {file.resolve() for file in named}
    for file in _reward_sources(reward):
        if file not in known:
            yield _of_file(file)
            known.add(file)
    if not source.is_file() and not _is_bundled(prompts):
        for text in prompt_texts(prompts):
            yield hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _of_file(file: Path) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


@cache
def package_digest() -> str:
    """Digest of this package's own sources, by which results of other code are told apart, as 16 hex digits."""
    sources = sorted(PACKAGE.rglob("*.py"))
    return hashlib.sha256(b"".join(map(_of_file, sources))).hexdigest()[:16]


def _is_bundled(prompts: PromptSet) -> bool:
    return isinstance(prompts, DemoPrompts)


def prompt_texts(prompts: PromptSet) -> Iterator[str]:
    """Each prompt as a text of its content, columns and template arguments, the same in every process."""
    total = len(prompts)
    places = range(total) if total <= MOST_PROMPTS else (n * total // MOST_PROMPTS for n in range(MOST_PROMPTS))
    yield str(total)
    for place in places:
        prompt = prompts[place]
        whole = [prompt.content, dict(prompt.columns), dict(prompt.template_arguments)]
        yield json.dumps(whole, sort_keys=True, ensure_ascii=False, default=_as_text, skipkeys=True)


def _as_text(value: object) -> str:
    """A value without a JSON form: its bytes' digest, or its text; an object whose text is an address, by its type."""
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, set | frozenset):
        return str(sorted(map(str, value)))
    to_bytes = getattr(value, "tobytes", None)
    if callable(to_bytes):
        return hashlib.sha256(to_bytes()).hexdigest()
    text = str(value)
    return type(value).__qualname__ if f"{id(value):x}" in text.lower() else text


def _reward_sources(reward: WeightedRewards) -> Iterator[Path]:
    """The source files of all rewards and of the modules beside them that they import, in a fixed order."""
    for term in reward.terms:
        file = source_of(term.function)
        if file is not None and not file.is_relative_to(PACKAGE):
            yield from with_local_imports(file)


def source_of(function: Callable[..., Any]) -> Path | None:
    """The file in which a reward is defined; None where there is no such file."""
    inner: Any = inspect.unwrap(function)
    # functools.partial, and objects with __call__.
    inner = getattr(inner, "func", inner)
    module = sys.modules.get(getattr(inner, "__module__", None) or type(inner).__module__)
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file and Path(file).is_file() else None


def with_local_imports(file: Path) -> list[Path]:
    """The file, and the modules beside it (or in its package) that it imports, and those that they import, sorted.

    Imports are read from the source, so that every process finds the same; modules imported by computed names are not
    found.
    """
    found, waiting = {file}, [file]
    while waiting:
        for other in _imported_beside(waiting.pop()):
            if other not in found:
                found.add(other)
                waiting.append(other)
    return sorted(found)


def _imported_beside(file: Path) -> Iterator[Path]:
    if _is_installed(file):
        return
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _module_files(_root(file), alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            # One dot is the file's own package, each further one its parent.
            place = file.parents[node.level - 1] if 0 < node.level <= len(file.parents) else _root(file)
            yield from _module_files(place, parts)
            for alias in node.names:
                yield from _module_files(place, [*parts, alias.name])


def _root(file: Path) -> Path:
    """The directory from which a file's absolute imports of its neighbours start: above its outermost package."""
    place = file.parent
    while (place / "__init__.py").is_file() and place != place.parent:
        place = place.parent
    return place


def _module_files(place: Path, parts: list[str]) -> Iterator[Path]:
    """The files of a module below ``place`` and of its packages, as far as they exist there."""
    for n in range(1, len(parts) + 1):
        base = place.joinpath(*parts[:n])
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file() and not _is_installed(file):
                yield file.resolve()


def _is_installed(file: Path) -> bool:
    """Whether the file is this package's or an installed one's, which are known by their versions."""
    return file.resolve().is_relative_to(PACKAGE) or not {"site-packages", "dist-packages"}.isdisjoint(file.parts)
