"""All that planning asks of prompts and tokenizer, on a checkpoint as it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from pytest_entropy.checkpoints import DEMO, CheckpointFiles, find_checkpoint, resolve
from pytest_entropy.checkpoints.preflight.planned_prompts import TriedPrompts, require_encodable
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import DemoPrompts, Prompt
from tests import tiny


def test_sound_prompts_pass(tmp_path: Path) -> None:
    require_encodable(DemoPrompts(), find_checkpoint(resolve(DEMO)))
    step = tiny.save_seed_checkpoint(tmp_path)
    require_encodable([Prompt("Tom has 3"), Prompt("x")], find_checkpoint(step))


def test_prompts_are_tried_once_with_each_tokenizer(tmp_path: Path) -> None:
    files = find_checkpoint(tiny.save_seed_checkpoint(tmp_path))
    prompts, tried = [Prompt("Tom has 3")], TriedPrompts()
    first = tried.tokenizer(files, prompts)
    assert first is not None
    assert tried.tokenizer(files, prompts) is first
    assert tried.tokenizer(files, list(prompts)) is not first


def test_a_prompt_that_the_tokenizer_drops_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "x": 1}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    files = CheckpointFiles("test", Path("C"), tmp_path, False, tmp_path / "optimizer.pt", None)
    prompts = [Prompt("x x"), Prompt("\u200b"), Prompt("x")]
    with pytest.raises(UsageError, match=r"row 2 of the prompts, '\\u200b', has no tokens by the tokenizer in"):
        require_encodable(prompts, files)
    require_encodable(prompts[::2], files)
