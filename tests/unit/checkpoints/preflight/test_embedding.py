"""A token without a row in the embedding is refused by the files alone, and only where a prompt uses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight import embedding
from pytest_entropy.checkpoints.preflight.embedding import embedding_rows, require_embedded_prompts
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer
from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import Prompt, PromptSet
from tests import tiny

SIZE = len(tiny.tokenizer())
PLAIN = [Prompt("Tom has 3 apples")]
CHAT: list[dict[str, Any]] = [{"role": "user", "content": "Tom has 3"}]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A whole model beside a tokenizer to which two tokens were added."""
    words = tiny.tokenizer()
    tiny.qwen2(len(words), eos_token_id=words.eos_token_id).save_pretrained(tmp_path)
    words.add_special_tokens({"additional_special_tokens": ["<tool>", "</tool>"]})
    words.save_pretrained(tmp_path)
    return tmp_path


def whole(place: Path) -> CheckpointFiles:
    return CheckpointFiles("test", Path("C"), place, False, place / "optimizer.pt", None)


def refusal(prompts: PromptSet, files: CheckpointFiles, place: Path) -> str:
    with pytest.raises(UsageError) as refused:
        require_embedded_prompts(prompts, files, PlannedTokenizer(place))
    return str(refused.value)


def test_tokens_that_no_prompt_uses_are_harmless(place: Path) -> None:
    require_embedded_prompts(PLAIN, whole(place), PlannedTokenizer(place))
    assert embedding_rows(whole(place)) == SIZE < PlannedTokenizer(place).highest


def test_the_first_row_with_such_a_token_is_named_with_both_sizes(place: Path) -> None:
    prompts = [*PLAIN, Prompt("Tom </tool> 3"), Prompt("<tool>")]
    assert refusal(prompts, whole(place), place) == (
        f"row 2 of the prompts holds the token '</tool>' with id {SIZE + 1}, and the model's input embedding has "
        f"{SIZE} rows (ids 0 to {SIZE - 1}): tokens were added to the tokenizer, and the embedding was not resized; "
        f"the tokenizer is in {place}. Save the tokenizer that the model was trained with beside the weights, or take "
        "the token out of the prompts or the chat template"
    )


def test_a_token_of_the_chat_template_counts(place: Path) -> None:
    (place / "chat_template.jinja").write_text("{{ messages[0].content }}{% if style %}<tool>{% endif %}")
    require_embedded_prompts([Prompt(CHAT)], whole(place), PlannedTokenizer(place))
    styled = Prompt(CHAT, template_arguments={"style": True})
    assert f"row 1 of the prompts holds the token '<tool>' with id {SIZE}" in refusal([styled], whole(place), place)


class OnDemand:
    """A set that makes its prompts when they are asked for."""

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Prompt:
        return Prompt("<tool>" if index == 0 else "Tom")


def test_of_prompts_made_on_demand_the_first_is_looked_at(place: Path) -> None:
    assert "row 1 of the prompts holds the token '<tool>'" in refusal(OnDemand(), whole(place), place)


def test_of_many_prompts_the_first_and_some_of_the_others_are_looked_at(place: Path) -> None:
    many = [*PLAIN] * 999 + [Prompt("<tool>")] + [*PLAIN] * 50_000
    assert "row 1000 of the prompts" in refusal(many, whole(place), place)
    require_embedded_prompts([*PLAIN] * 5000 + [Prompt("<tool>")], whole(place), PlannedTokenizer(place))


def test_the_time_for_all_prompts_is_bounded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_SECONDS", -1.0)
    require_embedded_prompts([*PLAIN, Prompt("<tool>")], whole(place), PlannedTokenizer(place))
    assert "row 1 " in refusal([Prompt("<tool>")], whole(place), place)


def test_a_run_refuses_the_rest_in_one_sentence(place: Path) -> None:
    from transformers import AutoTokenizer

    policy = tiny.policy(tiny.qwen2(SIZE))
    policy.tokenizer = AutoTokenizer.from_pretrained(str(place))
    assert max(policy.encode("Tom has 3")) < SIZE
    with pytest.raises(RunError, match=f"prompt 'a <tool>' holds the token '<tool>' with id {SIZE}, .* {SIZE} rows"):
        policy.encode("a <tool>")
    policy.tokenizer.chat_template = "{{ messages[0].content }}</tool>"
    with pytest.raises(RunError, match=f"'</tool>' with id {SIZE + 1}"):
        policy.encode(CHAT)


ADAPTERS: dict[str, tuple[dict[str, Any], str]] = {
    "adapted embedding": (
        {"target_modules": ["embed_tokens"]},
        f"adapts an embedding of as many rows as {SIZE + 2}",
    ),
    "saved whole": ({"modules_to_save": ["embed_tokens"]}, f"holds an embedding of as many rows as {SIZE + 2}"),
    "single tokens": (
        {"trainable_token_indices": [3, SIZE]},
        f"trains single tokens (trainable_token_indices) of a vocabulary of at least {SIZE + 1}",
    ),
    "single tokens by name": (
        {"trainable_token_indices": {"embed_tokens": [SIZE + 1]}},
        f"trains single tokens (trainable_token_indices) of a vocabulary of at least {SIZE + 2}",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", ADAPTERS)
def test_an_adapter_of_more_rows_than_its_base_is_refused(place: Path, case: str) -> None:
    settings, words = ADAPTERS[case]
    settings = {"target_modules": ["q_proj"], **settings}
    model = tiny.qwen2(SIZE)
    model.resize_token_embeddings(SIZE + 2)
    # As older versions of peft save, which left the embedding out unless it was asked for.
    get_peft_model(model, LoraConfig(r=4, **settings)).save_pretrained(
        str(place / "adapter"), save_embedding_layers="modules_to_save" in settings
    )
    files = CheckpointFiles("test", Path("C"), place / "adapter", True, place / "optimizer.pt", str(place))
    message = refusal(PLAIN, files, place)
    assert (
        f"adapter {files.weights} {words}, and the input embedding of its base model {place} has {SIZE} rows" in message
    )
    assert "model.resize_token_embeddings(" in message
    assert "--base-model DIR" in message


def gpt2(place: Path) -> None:
    config = GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(place)


def renamed(prefix: str) -> Callable[[Path], None]:
    """A model whose text part has a prefix, beside a vision part with embeddings of its own."""

    def change(place: Path) -> None:
        tensors = {f"{prefix}{key}": value for key, value in load_file(place / "model.safetensors").items()}
        save_file({**tensors, "vision_tower.embeddings.weight": torch.zeros(999, 4)}, place / "model.safetensors")

    return change


def without_names(place: Path) -> None:
    save_file({"unheard_of": torch.zeros(3, 4)}, place / "model.safetensors")
    tiny.edit_json(place / "config.json", vocab_size=None, text_config={"vocab_size": 77})


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (gpt2, 50),
        (renamed("language_model."), SIZE),
        (renamed("model.language_model."), SIZE),
        (without_names, 77),
        (lambda place: [file.unlink() for file in place.glob("model*")], SIZE),
    ],
    ids=["wte", "composite", "newer composite", "text_config", "config alone"],
)
def test_the_rows_are_those_of_the_embedding_of_text(place: Path, change: Callable[[Path], object], rows: int) -> None:
    change(place)
    assert embedding_rows(whole(place)) == rows
