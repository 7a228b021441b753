"""Files that name no end token within the vocabulary are refused while planning, as loading them is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.load import end_tokens
from pytest_entropy.checkpoints.preflight.end_tokens import require_end_token
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer
from pytest_entropy.errors import UsageError
from tests import tiny

SIZE = len(tiny.tokenizer())
# Ids in config.json, in generation_config.json, the tokenizer's own end token, and whether that is usable.
CASES: dict[str, tuple[Any, Any, str | None, bool]] = {
    "none": (None, None, None, False),
    "the tokenizer's": (None, None, "<eos>", True),
    "the model's": (5, None, None, True),
    "of generation": (None, [7, SIZE + 5], None, True),
    "outside": (SIZE, [SIZE + 1], None, False),
    "outside, but for the tokenizer's": (SIZE, None, "<eos>", True),
    "an added one, not resized": (None, None, "<end>", False),
}


@pytest.mark.parametrize("case", CASES)
def test_planning_and_loading_agree(tmp_path: Path, case: str) -> None:
    ids, generated, own, usable = CASES[case]
    tiny.qwen2(SIZE).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    tiny.edit_json(tmp_path / "config.json", eos_token_id=ids)
    tiny.edit_json(tmp_path / "generation_config.json", eos_token_id=generated)
    tiny.edit_json(tmp_path / "tokenizer_config.json", eos_token=own, tokenizer_class="PreTrainedTokenizerFast")
    files = CheckpointFiles("test", Path("C"), tmp_path, False, tmp_path / "optimizer.pt", None)
    tokenizer = PlannedTokenizer(tmp_path)
    if usable:
        require_end_token(files, tokenizer)
        return
    with pytest.raises(UsageError, match="names no end-of-sequence token.* set eos_token in .*tokenizer_config.json"):
        require_end_token(files, tokenizer)
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path))
    words = AutoTokenizer.from_pretrained(str(tmp_path))
    if own is None and words.eos_token is not None:
        words.eos_token = None
    with pytest.raises(UsageError, match="names no end-of-sequence token"):
        end_tokens(model, words)


def test_keys_that_are_left_out_are_left_to_loading(tmp_path: Path) -> None:
    tiny.qwen2(SIZE).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    files = CheckpointFiles("test", Path("C"), tmp_path, False, tmp_path / "optimizer.pt", None)
    (tmp_path / "config.json").write_text(f'{{"vocab_size": {SIZE}}}')
    tiny.edit_json(tmp_path / "tokenizer_config.json", eos_token=None)
    (tmp_path / "generation_config.json").unlink()
    require_end_token(files, PlannedTokenizer(tmp_path))
