"""Check before loading, by the tokenizer's files, that runs will be able to encode the prompts."""

from __future__ import annotations

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.embedding import require_embedded_prompts
from pytest_entropy.checkpoints.preflight.end_tokens import require_end_token
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer, planned_tokenizer
from pytest_entropy.checkpoints.preflight.rendered_prompts import require_rendered
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import PromptSet
from pytest_entropy.prompts.sampled_rows import sampled_rows


def require_encodable(prompts: PromptSet, files: CheckpointFiles) -> PlannedTokenizer | None:
    """The checkpoint's tokenizer; rejects prompts that it or the model's embedding cannot take.

    Neither torch nor transformers is imported.

    Args:
        prompts: at least one.
        files: paths of the checkpoint.

    Returns:
        The tokenizer; None where it is not known to be on this machine.

    Raises:
        UsageError: there is no usable tokenizer, no end token or no chat template, the template fails, a token has no
            row in the embedding, or a prompt has no tokens.
    """
    tokenizer = planned_tokenizer(files)
    if tokenizer is not None:
        require_end_token(files, tokenizer)
        require_rendered(prompts, files, tokenizer)
        require_embedded_prompts(prompts, files, tokenizer)
        _require_tokens(prompts, tokenizer)
    return tokenizer


class TriedPrompts:
    """Sets of prompts that were tried with tokenizers, each once for all experiments of a session."""

    def __init__(self) -> None:
        # With the prompts themselves, so that no other set gets their id.
        self._found: dict[tuple[CheckpointFiles, int], tuple[PromptSet, PlannedTokenizer | None]] = {}

    def tokenizer(self, files: CheckpointFiles, prompts: PromptSet) -> PlannedTokenizer | None:
        """The checkpoint's tokenizer: :func:`require_encodable`.

        Args:
            files: paths of the checkpoint.
            prompts: at least one.
        """
        key = (files, id(prompts))
        if key not in self._found:
            self._found[key] = prompts, require_encodable(prompts, files)
        return self._found[key][1]


def _require_tokens(prompts: PromptSet, tokenizer: PlannedTokenizer) -> None:
    """Reject a text that the tokenizer drops as a whole; the shortest is the likeliest."""
    row, prompt = min(sampled_rows(prompts), key=lambda pair: len(str(pair[1].content)))
    if isinstance(prompt.content, str) and tokenizer.counts and not tokenizer.encode(prompt.content, special=True):
        raise UsageError(
            f"row {row + 1} of the prompts, {prompt.content[:60]!r}, has no tokens by the tokenizer in "
            f"{tokenizer.place}; remove it from the prompts"
        )
