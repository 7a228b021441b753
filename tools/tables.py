"""The tables of options in README.md and of keys in docs/configuration.md, written from what defines them.

``python -m tools.tables`` writes them between their markers; ``--check`` says whether they are current.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pytest_entropy.plugin.option_table import OPTIONS
from pytest_entropy.settings.experiments import KNOWN
from pytest_entropy.settings.model import ExperimentConfig

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- {name}: written by python -m tools.tables -->", "<!-- end of {name} -->"


def option_table() -> str:
    """README's options, as Markdown."""
    rows = [f"| `{_cell(option.usage)}` | {_cell(option.help)} |" for option in OPTIONS]
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def key_table() -> str:
    """The configuration's keys with their defaults, as Markdown."""
    rows = [
        f"| `{key}` | {_default(key, value)} | {_cell(meaning)} |"
        for key, value, meaning in _keys(ExperimentConfig, ExperimentConfig(), ())
    ]
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows])


def _keys(model: type[BaseModel], values: BaseModel, prefix: tuple[str, ...]) -> Iterator[tuple[str, Any, str]]:
    """Dotted key, default and meaning of everything that can be configured."""
    for name, field in model.model_fields.items():
        key, value = (*prefix, name), getattr(values, name)
        if isinstance(value, BaseModel):
            yield from _keys(type(value), value, key)
            continue
        if not field.description:
            raise ValueError(f"{'.'.join(key)} has no text below it in settings/")
        yield ".".join(key), value, " ".join(field.description.split())


def _default(key: str, value: Any) -> str:
    """The default, and that of the experiments that have one of their own."""
    own: dict[str, list[str]] = {}
    for kind in KNOWN.values():
        found: Any = kind.defaults
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None and found != value:
            own.setdefault(_shown(found), []).append(kind.name.replace("_", " "))
    others = "; ".join(f"{', '.join(kinds)}: {shown}" for shown, kinds in own.items())
    return f"{_shown(value)} ({others})" if others else _shown(value)


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, list):
        parts = [str(item.model_dump()["name"]) if isinstance(item, BaseModel) else f"{item:g}" for item in value]
        return f"`{parts[0]}`" if value and isinstance(value[0], BaseModel) else f"[{', '.join(parts)}]"
    return f"{value:g}" if isinstance(value, float) and value >= 0.01 else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def filled(text: str, name: str, table: str) -> str:
    """The page with the table between its markers.

    Raises:
        ValueError: the markers are not there.
    """
    begin, end = BEGIN.format(name=name), END.format(name=name)
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no place for the table: {begin} and {end} are to stand there")
    return pattern.sub(lambda _: f"{begin}\n\n{table}\n\n{end}", text)


def pages() -> dict[Path, str]:
    """Each page with its tables as they should be."""
    readme, keys = ROOT / "README.md", ROOT / "docs" / "configuration.md"
    return {
        readme: filled(readme.read_text(encoding="utf-8"), "options", option_table()),
        keys: filled(keys.read_text(encoding="utf-8"), "keys", key_table()),
    }


def main() -> int:
    """Write the tables, or with ``--check`` say which are not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    old = [path for path, text in pages().items() if path.read_text(encoding="utf-8") != text]
    for path in old:
        print(f"{path.relative_to(ROOT)} is not current: python -m tools.tables" if check else path.relative_to(ROOT))
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
    return int(check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
