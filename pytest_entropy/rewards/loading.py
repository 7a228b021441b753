"""Resolve the name of a reward function: a registered name, or a function of a module or a file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.rewards.builtin.base import NamedReward, PlainReward

_FORMS = "module:function, package.module.function or file.py:function"


def resolve_reward(name: str) -> PlainReward:
    """A reward by registered name, ``module:function``, ``package.module.function`` or ``file.py:function``.

    Raises:
        UsageError: the name is not registered, the module, file or function does not exist, or the import fails (the
            message has the last line of its traceback).
    """
    if name in registry.names("rewards"):
        return registry.get("rewards", name, NamedReward).function
    where, _, function = name.rpartition(":") if ":" in name else name.rpartition(".")
    if not where or not function.isidentifier() or name.endswith(".py"):
        raise UsageError(
            f"reward {name!r} is neither built in ({', '.join(registry.names('rewards'))}) nor of the form {_FORMS}"
        )
    module = _file(name, Path(where)) if where.endswith(".py") else _module(name, where)
    reward: PlainReward | None = getattr(module, function, None)
    if reward is None:
        public = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise UsageError(f"reward {name!r}: {where} has no function {function!r} (has: {', '.join(public) or 'none'})")
    if not callable(reward) or inspect.isclass(reward):
        raise UsageError(f"reward {name!r}: {function} in {where} is a {type(reward).__name__}, not a function")
    return reward


def _module(name: str, where: str) -> ModuleType:
    return _imported(name, where, lambda: importlib.import_module(where))


def _file(name: str, path: Path) -> ModuleType:
    """The module in a file, imported once per process."""
    path = path.expanduser()
    if not path.is_file():
        raise UsageError(f"reward {name!r}: file {path} does not exist")
    path = path.resolve()
    # Files of the same name in different directories are different modules.
    module_name = f"pytest_entropy_reward_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return sys.modules[module_name]

    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None  # a .py file has one
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        # As with a script, the file may import modules beside it; its directory is last, so that it hides nothing.
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[module_name]
            raise
        return module

    return _imported(name, str(path), load)


def _imported(name: str, where: str, load: Callable[[], ModuleType]) -> ModuleType:
    """The module that ``load`` imports; an import that fails is a usage error with place and reason."""
    try:
        return load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() in a module included
        last = traceback.format_exception_only(error)[-1].strip()
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
        if isinstance(error, SyntaxError):
            place = f"{error.filename}, line {error.lineno}: "
        else:
            place = f"{frames[-1].filename}, line {frames[-1].lineno}: " if len(frames) > 2 else ""
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name in (where, where.partition(".")[0]):
            hint = f"; put its directory on PYTHONPATH, or name it as {_FORMS.rpartition(' ')[2]}"
        raise UsageError(f"reward {name!r}: importing {where} failed: {place}{last}{hint}") from error
