"""A context that is too short for prompt and response is refused by the checkpoint's files alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.context_length import require_context
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer
from pytest_entropy.errors import UsageError
from pytest_entropy.prompts import DemoPrompts, Prompt, PromptSet
from tests.fresh_process import succeeds

NO_ROOM = (
    "the model's context of 20 tokens has no room for a prompt beside a response of 20 tokens "
    "(sampling.max_new_tokens); take a sampling.max_new_tokens below 20"
)


@pytest.fixture
def files(tmp_path: Path) -> CheckpointFiles:
    """A model of 20 positions whose tokens are words."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # A tokenizer's own truncation must not hide a prompt's length.
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 20}')
    return CheckpointFiles("test", Path("C"), tmp_path, False, tmp_path / "optimizer.pt", None)


def check(files: CheckpointFiles, prompts: PromptSet, max_new_tokens: int) -> None:
    require_context(files, prompts, max_new_tokens, PlannedTokenizer(files.weights))


def refusal(files: CheckpointFiles, prompts: PromptSet, max_new_tokens: int) -> str:
    with pytest.raises(UsageError) as refused:
        check(files, prompts, max_new_tokens)
    return str(refused.value)


@pytest.mark.parametrize("key", ["max_position_embeddings", "n_positions"])
def test_a_response_as_long_as_the_context_leaves_no_room(files: CheckpointFiles, key: str) -> None:
    (files.weights / "config.json").write_text(f'{{"{key}": 20}}')
    for prompts in ([Prompt("short")], DemoPrompts()):
        assert refusal(files, prompts, 20) == f"checkpoint C: {NO_ROOM}"
    check(files, [Prompt("short")], 19)


def test_the_longest_prompt_and_response_are_counted_in_tokens(files: CheckpointFiles) -> None:
    prompts = [Prompt("seventeen " + "word " * 11), Prompt("a b c")]
    check(files, prompts, 8)
    assert refusal(files, prompts, 9) == (
        "checkpoint C: 1 of 2 prompts are too long: the model has 20 positions, max_new_tokens is 9, which leaves 11 "
        "for the prompt, and the longest has 12 tokens; remove them, or lower sampling.max_new_tokens. The longest "
        f"begins {prompts[0].content!r}"
    )


def test_of_a_chat_the_last_message_is_counted_which_every_template_holds(files: CheckpointFiles) -> None:
    long = {"role": "user", "content": " word" * 12}
    check(files, [Prompt([long, {"role": "user", "content": "short"}])], 9)
    assert "the longest has 12 tokens" in refusal(files, [Prompt([{"role": "system", "content": "x"}, long])], 9)


def test_what_the_files_do_not_say_is_left_to_loading(files: CheckpointFiles) -> None:
    prompts = [Prompt("word " * 30)]
    require_context(files, prompts, 9, None)
    (files.weights / "tokenizer.json").unlink()
    check(files, prompts, 9)
    assert refusal(files, prompts, 20) == f"checkpoint C: {NO_ROOM}"
    (files.weights / "config.json").write_text("{}")
    assert check(files, prompts, 20) is None  # type: ignore[func-returns-value]


def test_of_a_chat_with_a_template_the_rendered_text_is_counted(files: CheckpointFiles) -> None:
    template = "be kind and brief {% for m in messages %}{{ m.content }} {% endfor %}{{ style }}"
    (files.weights / "chat_template.jinja").write_text(template)
    chat = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]
    check(files, [Prompt(chat)], 13)
    # Four words of the template and three of the messages.
    assert "leaves 6 for the prompt, and the longest has 7 tokens" in refusal(files, [Prompt(chat)], 14)
    styled = [Prompt(chat), Prompt(chat, template_arguments={"style": "in very few words"})]
    assert "1 of 2 prompts are too long" in refusal(files, styled, 13)


def test_of_many_suspects_the_longest_are_counted(files: CheckpointFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_entropy.checkpoints.preflight import context_length

    monkeypatch.setattr(context_length, "READ_WHEN_PLANNING", 2)
    prompts = [Prompt("word " * n) for n in (5, 12, 6, 11, 5)]
    assert "1 of 5 prompts are too long" in refusal(files, prompts, 9)
    assert "2 of 5 prompts are too long" in refusal(files, prompts, 16)


def test_torch_is_not_imported() -> None:
    code = (
        "import sys\n"
        "from pytest_entropy.checkpoints import find_checkpoint, resolve\n"
        "from pytest_entropy.checkpoints.preflight.context_length import require_context\n"
        "from pytest_entropy.checkpoints.preflight.planned_prompts import require_encodable\n"
        "from pytest_entropy.prompts import Prompt\n"
        "files, prompts = find_checkpoint(resolve('demo')), [Prompt('word ' * 100)]\n"
        "try:\n"
        "    require_context(files, prompts, 16, require_encodable(prompts, files))\n"
        "except ValueError as error:\n"
        "    assert 'the longest has 500 tokens' in str(error)\n"
        "assert 'tokenizers' in sys.modules and 'torch' not in sys.modules\n"
    )
    succeeds(code)
