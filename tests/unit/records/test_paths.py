"""Names of files and directories under results/ are written once."""

from __future__ import annotations

import ast
from pathlib import Path

from pytest_entropy.records import paths

PACKAGE = Path(paths.__file__).parents[1]
# Names that other files have, too: a template's, a checkpoint's.
ELSEWHERE = {"update", "baselines", "sessions"}


def test_no_other_module_writes_a_name_of_ours() -> None:
    names = {value for key, value in vars(paths).items() if key.isupper() and isinstance(value, str)} - ELSEWHERE
    assert len(names) >= 20
    broken = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if file == Path(paths.__file__):
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        calls = [
            node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "page"
        ]
        templates = {id(call.args[0]) for call in calls}
        broken += [
            f"{file.relative_to(PACKAGE)}:{node.lineno} {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and node.value in names and id(node) not in templates
        ]
    assert broken == []


def test_names_do_not_clash() -> None:
    names = [value for key, value in vars(paths).items() if key.isupper()]
    assert len(names) == len(set(names))
