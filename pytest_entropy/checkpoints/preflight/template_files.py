"""The chat templates of a checkpoint's tokenizer, and what they read, without loading the tokenizer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.checkpoints.preflight.template_variables import template_variables
from pytest_entropy.checkpoints.tokenizer_files import chat_templates


@dataclass(frozen=True)
class ChatTemplates:
    """The templates in a tokenizer's files.

    Attributes:
        place: the tokenizer's directory.
        by_name: the templates' texts; one alone is called ``default``.
    """

    place: Path
    by_name: Mapping[str, str]

    @property
    def variables(self) -> frozenset[str]:
        """The names that callers may give one of the templates.

        Raises:
            UsageError: a template is not valid.
        """
        return frozenset().union(*map(template_variables, self.by_name.values()))

    @property
    def write_tools(self) -> bool:
        """Whether one of the templates writes tools, which are no variable of callers by the rule for columns."""
        return any(re.search(r"\btools\b", text) for text in self.by_name.values())


def read_templates(place: Path) -> ChatTemplates:
    """The templates in a tokenizer's directory.

    Args:
        place: the tokenizer's directory.

    Raises:
        UsageError: a file is too large, or cannot be read.
    """
    return ChatTemplates(place, {name: found.text for name, found in chat_templates(place).items()})
