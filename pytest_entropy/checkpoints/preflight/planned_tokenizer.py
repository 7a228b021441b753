"""The tokenizer that runs will load, as far as its files and the tokenizers library give it without transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.template_rendering import TemplateFailure, render, used_variables
from pytest_entropy.checkpoints.tokenizer_files import (
    NAMED,
    WHOLE,
    Template,
    added_tokens,
    chat_template,
    require_vocabulary,
    special_tokens,
    tokenizer_place,
    unnumbered_tokens,
)
from pytest_entropy.errors import UsageError
from pytest_entropy.policy.chat_template import PartsNotTaken, as_taken

Content = str | Sequence[Mapping[str, Any]]


class Token(NamedTuple):
    """A token's id and its text."""

    number: int
    text: str


class PlannedTokenizer:
    """A tokenizer read from a directory.

    Args:
        place: the directory.

    Raises:
        UsageError: its ``tokenizer.json`` cannot be read.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        file = place / WHOLE
        # Read once for all experiments of a session, again where the file has changed.
        self._loaded = _read(file, file.stat().st_mtime_ns) if file.is_file() else None

    @cached_property
    def highest(self) -> int:
        """The highest token id; of a tokenizer without ``tokenizer.json``, the highest of its added tokens (or -1)."""
        numbers = self._loaded.get_vocab(with_added_tokens=True).values() if self._loaded else added_tokens(self.place)
        return max(numbers, default=-1)

    @property
    def counts(self) -> bool:
        """Whether :meth:`encode` gives the tokens of a text."""
        return self._loaded is not None

    @property
    def named(self) -> dict[str, str]:
        """The special tokens that the files name, by the names under which templates know them (``bos_token``)."""
        return {name: token for name, token in self._special.items() if token is not None}

    @property
    def special(self) -> frozenset[str]:
        """The texts of all special tokens, which decoding can leave out."""
        added = self._loaded.get_added_tokens_decoder().values() if self._loaded else ()
        return frozenset(token.content for token in added if token.special).union(self.named.values())

    def end_token(self) -> list[int] | None:
        """The id of its end-of-sequence token, none where the files say that there is none; None if they do not say."""
        if self._loaded is None or "eos_token" not in self._special:
            return None
        number = self._loaded.token_to_id(self._special["eos_token"] or "")
        return [] if number is None else [number]

    def template(self, *, tools: bool = False) -> Template | None:
        """The chat template that is used for prompts with or without tools."""
        return chat_template(self.place, tools=tools)

    def rendered(self, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any] | None = None) -> str | None:
        """A conversation as text; None without a template, or where it may need tokens that the files do not name.

        Args:
            messages: the conversation.
            arguments: variables of the template by name, ``tools`` among them.

        Raises:
            TemplateFailure: the template fails, does not come to an end, or cannot take a message's parts.
        """
        given = dict(arguments or {})
        template = self.template(tools=bool(given.get("tools")))
        if template is None:
            return None
        write = partial(render, template.text, variables={**self.named, **given})
        try:
            return write(as_taken(write, messages))
        except PartsNotTaken as error:
            raise TemplateFailure(str(error)) from None
        except TemplateFailure:
            if used_variables(template.text) & set(NAMED) <= set(self._special):
                raise
            return None

    def text(self, content: Content, arguments: Mapping[str, Any] | None = None) -> str | None:
        """The text of a prompt, that of a conversation rendered: :meth:`rendered`."""
        return content if isinstance(content, str) else self.rendered(content, arguments)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The token ids of a text; none where they cannot be counted.

        Args:
            text: as rendered.
            special: whether tokens that the tokenizer puts around a text are added, as around plain prompts.
        """
        ids: list[int] = self._loaded.encode(text, add_special_tokens=special).ids if self._loaded else []
        return ids

    def beyond(self, rows: int, text: str, *, special: bool = False) -> Token | None:
        """The first token of a text whose id is ``rows`` or more; None if there is none.

        Without ``tokenizer.json`` only added tokens are looked for, which are matched word for word.

        Args:
            rows: of the model's embedding.
            text: as rendered.
            special: as for :meth:`encode`.
        """
        if self.highest < rows:
            return None
        if self._loaded:
            number = next((number for number in self.encode(text, special=special) if number >= rows), None)
            return None if number is None else Token(number, str(self._loaded.id_to_token(number)))
        added = sorted(added_tokens(self.place).items())
        return next(
            (Token(number, one.content) for number, one in added if number >= rows and one.content in text), None
        )

    @cached_property
    def _special(self) -> dict[str, str | None]:
        return special_tokens(self.place)


def planned_tokenizer(files: CheckpointFiles) -> PlannedTokenizer | None:
    """The tokenizer of a checkpoint; None where its files are not known to be on this machine.

    Args:
        files: paths of the checkpoint.

    Raises:
        UsageError: its directory holds no vocabulary, or one that cannot be read.
    """
    require_vocabulary(files)
    place = tokenizer_place(files)
    return None if place is None else PlannedTokenizer(place)


@lru_cache(maxsize=2)
def _read(file: Path, changed: int) -> Any:
    """The tokenizer in a file, with the tokens that transformers adds to it when it loads the settings beside it."""
    from tokenizers import AddedToken, Tokenizer

    try:
        loaded = Tokenizer.from_file(str(file))
    # The library raises plain exceptions for what it cannot read.
    except Exception as error:
        raise UsageError(
            f"tokenizer {file} cannot be read ({str(error)[:200]}): a damaged file, a pointer of git-lfs, or one by a "
            "newer tokenizers library; save the tokenizer again, or copy the base model's"
        ) from None
    loaded.no_truncation()
    loaded.no_padding()
    numbered = [token for _, token in sorted(added_tokens(file.parent).items())]
    for token in (*numbered, *unnumbered_tokens(file.parent)):
        if loaded.token_to_id(token.content) is None:
            loaded.add_tokens([AddedToken(token.content, **token.options)])
    return loaded
