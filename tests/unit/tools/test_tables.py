"""README's and the documentation's tables are those of the options and the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.plugin.option_table import OPTIONS
from tools import tables


@pytest.mark.parametrize("path", list(tables.pages()), ids=lambda path: path.name)
def test_tables_are_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == tables.pages()[path], "run python -m tools.tables"


def test_every_option_and_every_default_is_there() -> None:
    options, keys = tables.option_table(), tables.key_table()
    assert all(f"| `{option.name}" in options for option in OPTIONS)
    sizes = "sanity check, single run: [256]; debug: [16, 32]; memory scaling: [32, 64, 128, 256]"
    assert f"| `batch_config.B_E_values` | [16, 32, 64] ({sizes}) |" in keys
    assert "| `diagnostics` | false (sanity check, debug: true) |" in keys
    assert "| `checks.alpha` | 0.001 |" in keys
    assert r"`--entropy-inconclusive skip\|fail`" in options


def test_a_page_that_was_changed_by_hand_is_seen() -> None:
    page = "<!-- keys: written by python -m tools.tables -->\nold\n<!-- end of keys -->\n"
    assert "new" in tables.filled(page, "keys", "new")
    assert "old" not in tables.filled(page, "keys", "new")
    with pytest.raises(ValueError, match="no place for the table"):
        tables.filled("nothing", "keys", "new")
