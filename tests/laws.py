"""The laws of the house, each as a function of a package's directory that returns what breaks it, in words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Names that say nothing of what a module is for.
DRAWERS = {"utils", "util", "helpers", "common", "misc", "tools", "base_utils"}


@dataclass(frozen=True)
class Import:
    """One name that a module imports, in whichever form: ``target`` is the whole dotted name.

    ``typing`` says that it stands under ``if TYPE_CHECKING``.
    """

    module: str
    target: str
    line: int
    typing: bool


@dataclass(frozen=True)
class Package:
    """A package on disk: ``root`` is its directory, whose name is the package's."""

    root: Path

    @property
    def name(self) -> str:
        """The package's name."""
        return self.root.name

    def modules(self) -> dict[str, Path]:
        """Files by whole dotted name; a package's ``__init__`` has the package's."""
        return _modules(self.root)

    def room(self, module: str) -> str:
        """The first part of a dotted name below the package: a room, or a module that stands by itself."""
        parts = module.split(".")
        return parts[1] if len(parts) > 1 else "__init__"

    def imports(self, module: str) -> list[Import]:
        """All imports of a module: ``import a.b``, ``from a import b``, relative ones, and those by a name in a text
        (``import_module("a.b")``, ``__import__("a.b")``), at module level or inside functions."""
        path = self.modules()[module]
        found = list(_imports(_tree(path), module, path.stem == "__init__"))
        return [Import(module, self._whole(target), line, typing) for target, line, typing in found]

    def _whole(self, target: str) -> str:
        """The module that a dotted name leads to: of ``a.b.name`` it is ``a.b`` where that is a module of ours."""
        if target.split(".")[0] != self.name:
            return target
        while target not in self.modules() and "." in target:
            target = target.rpartition(".")[0]
        return target

    def place(self, entry: Import) -> str:
        """File and line of an import."""
        return f"{self.modules()[entry.module].relative_to(self.root)}:{entry.line}"


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _modules(root: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(tree: ast.AST, module: str, is_package: bool, typing: bool = False) -> Iterator[tuple[str, int, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, typing
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module, is_package)
            for alias in node.names:
                yield f"{origin}.{alias.name}", node.lineno, typing
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
            if isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                yield node.args[0].value, node.lineno, typing
            yield from _imports(node, module, is_package, typing)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                yield from _imports(ast.Module([child], []), module, is_package, True)
            for child in node.orelse:
                yield from _imports(ast.Module([child], []), module, is_package, typing)
        else:
            yield from _imports(node, module, is_package, typing)


def _origin(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def upward_imports(package: Package, floors: Sequence[set[str]]) -> list[str]:
    """A room imports only from itself and from lower floors (``floors`` from the ground up), in whatever form."""
    height = {room: level for level, rooms in enumerate(floors) for room in rooms}
    broken = []
    for module in package.modules():
        own = package.room(module)
        if own not in height:
            broken.append(f"{own} stands on no floor")
            continue
        for entry in package.imports(module):
            if entry.target.split(".")[0] != package.name or package.room(entry.target) == own:
                continue
            other = package.room(entry.target)
            if other == "__init__" and entry.target == package.name:
                broken.append(f"{package.place(entry)} imports the whole package")
            elif height.get(other, len(floors)) >= height[own]:
                broken.append(f"{package.place(entry)} imports {entry.target}, which does not stand below {own}")
    return broken


def circles(package: Package) -> list[str]:
    """No modules that import one another in a circle, at module level or inside functions, inside a room or across."""
    graph = {
        module: {e.target for e in package.imports(module) if e.target in package.modules() and not e.typing} - {module}
        for module in package.modules()
    }
    return [" <-> ".join(sorted(part)) for part in _components(graph) if len(part) > 1]


def _components(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Strongly connected components (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            found.append(stack[at:])
            del stack[at:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def kept_out(package: Package, library: str, rooms: Sequence[str], *, typing: bool = False) -> list[str]:
    """``library`` is imported nowhere in ``rooms``; where ``typing``, not for annotations either."""
    return [
        f"{package.place(entry)} imports {entry.target}"
        for module in package.modules()
        if package.room(module) in rooms
        for entry in package.imports(module)
        if entry.target.split(".")[0] == library and (typing or not entry.typing)
    ]


def kept_in(package: Package, library: str, rooms: Sequence[str]) -> list[str]:
    """``library`` is imported in ``rooms`` only, annotations included."""
    others = {package.room(module) for module in package.modules()} - set(rooms)
    return kept_out(package, library, sorted(others), typing=True)


def shared(package: Package, part: str, allowed: Sequence[str]) -> list[str]:
    """The modules below ``part`` import nothing of the package but one another and those ``allowed``."""
    own, others = f"{package.name}.{part}", {f"{package.name}.{name}" for name in allowed}
    return [
        f"{package.place(entry)} imports {entry.target}"
        for module in package.modules()
        if f"{module}.".startswith(f"{own}.")
        for entry in package.imports(module)
        if entry.target.split(".")[0] == package.name
        and not f"{entry.target}.".startswith(f"{own}.")
        and entry.target not in others
    ]


def files_touched(package: Package, rooms: Sequence[str]) -> list[str]:
    """``rooms`` neither open files nor read or write JSON, YAML or paths."""
    broken = []
    for library in ("json", "yaml", "pathlib", "shutil", "tempfile", "safetensors", "pickle"):
        broken += kept_out(package, library, rooms)
    for module, path in package.modules().items():
        if package.room(module) in rooms:
            for node in ast.walk(_tree(path)):
                if isinstance(node, ast.Call) and _called(node) == "open":
                    broken.append(f"{path.relative_to(package.root)}:{node.lineno} opens a file")
    return broken


def too_long(package: Package, *, module_lines: int, function_lines: int) -> list[str]:
    """Modules and functions that are too long to read in one go."""
    broken = []
    for path in package.modules().values():
        text = path.read_text(encoding="utf-8")
        where = path.relative_to(package.root)
        if len(text.splitlines()) > module_lines:
            broken.append(f"{where} has {len(text.splitlines())} lines")
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > function_lines:
                    broken.append(f"{where}:{node.lineno} {node.name} has {lines} lines")
    return broken


def unnamed(package: Package) -> list[str]:
    """Modules without a docstring, or with a name that says nothing."""
    broken = []
    for module, path in package.modules().items():
        if path.stem in DRAWERS:
            broken.append(f"{module} is a drawer")
        if not ast.get_docstring(_tree(path)):
            broken.append(f"{module} does not say what it is for")
    return broken


def defaults_of_zero(package: Package, rooms: Sequence[str]) -> list[str]:
    """``record.get(name, 0.0)``, ``getattr(run, name, 0.0)`` and ``value or 0.0`` make a missing number agree with
    everything."""
    broken = []
    for module, path in package.modules().items():
        if package.room(module) not in rooms:
            continue
        for node in ast.walk(_tree(path)):
            called = isinstance(node, ast.Call) and _called(node) in ("get", "getattr", "pop", "setdefault")
            default = called and len(node.args) > 1 and _is_zero(node.args[-1])  # type: ignore[attr-defined]
            either = isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) and _is_zero(node.values[-1])
            if default or either:
                broken.append(f"{path.relative_to(package.root)}:{node.lineno}")  # type: ignore[attr-defined]
    return broken


def _is_zero(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value == 0


def twins(package: Package) -> list[str]:
    """Public functions of one name with different annotated returns, and public classes of one name."""
    seen: dict[str, tuple[str, str]] = {}
    broken = []
    for module, path in package.modules().items():
        for node in _tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                returns = f"a class of {module}"
            elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and node.returns is not None:
                returns = ast.unparse(node.returns)
            else:
                continue
            first = seen.setdefault(node.name, (returns, module))
            if first[0] != returns:
                broken.append(f"{node.name}: {first[0]} in {first[1]}, {returns} in {module}")
    return broken


def arguments_untold(package: Package, rooms: Sequence[str]) -> list[str]:
    """Public functions of two or more arguments without an ``Args:`` section that names each, or their twin."""
    broken = []
    for where, function, doc, _ in _public_functions(package, rooms):
        wanted = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
        names = [argument.arg for argument in wanted if argument.arg not in ("self", "cls")]
        section = doc.partition("Args:")[2]
        missing = [name for name in names if not re.search(rf"\b{name}\b", section)]
        if len(names) > 1 and missing and not section.startswith(" those of :func:"):
            broken.append(f"{where} {function.name} does not say what {', '.join(missing)} is")
    return broken


def errors_untold(package: Package) -> list[str]:
    """Public functions that raise an error, and say so neither in a ``Raises:`` section nor in their class's."""
    broken = []
    for where, function, doc, of_class in _public_functions(package, None):
        raises = any(isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) for node in ast.walk(function))
        if raises and "Raises:" not in doc + of_class:
            broken.append(f"{where} {function.name} does not say what it raises")
    return broken


def _public_functions(package: Package, rooms: Sequence[str] | None) -> Iterator[tuple[str, ast.FunctionDef, str, str]]:
    """(file:line, function, its docstring, its class's docstring) of the rooms' public functions and methods."""
    for module, path in package.modules().items():
        if rooms is not None and package.room(module) not in rooms:
            continue
        holders: list[ast.Module | ast.ClassDef] = [_tree(path)]
        for holder in holders:
            for node in holder.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    holders.append(node)
                elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                    where = f"{path.relative_to(package.root)}:{node.lineno}"
                    of_class = ast.get_docstring(holder) if isinstance(holder, ast.ClassDef) else None
                    yield where, node, ast.get_docstring(node) or "", of_class or ""
