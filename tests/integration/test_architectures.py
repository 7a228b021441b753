"""delta_h1 of one-token responses on many architectures, against autograd on the model as the libraries load it.

It is eta <grad H(first token), u> exactly, whatever the tokens are.  The oracle takes u from the real optimizer's next
step with the stored state, and both gradients in float64, one prompt at a time, and shares no code with the probe.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoTokenizer

from pytest_entropy.checkpoints import find_checkpoint, load_checkpoint
from pytest_entropy.checkpoints.metadata import read_metadata
from pytest_entropy.checkpoints.preflight.context_length import require_context
from pytest_entropy.checkpoints.preflight.loadable import require_loadable
from pytest_entropy.checkpoints.preflight.next_step import require_next_step
from pytest_entropy.checkpoints.preflight.planned_prompts import require_encodable
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.prompts import Prompt
from pytest_entropy.records.seeds import prompt_number
from tests import tiny
from tests.architectures import ALL, SINCE_5, TARGETS

TEXTS = ["3+4", "Tom has 3 apples", "buys 14", "7", "apples 0123456789 and more", "<think>3", "Tom", "14 more"]
RATE, DECAY = 1e-3, 0.01
FAST = ("Gemma3", "Llama4", "Jamba")


@dataclass(frozen=True)
class Saved:
    """A checkpoint after three real steps, and the class that wrote its model."""

    place: Path
    model: type[Any]
    base: Path | None


def save(root: Path, architecture: str, kind: str, targets: str | None = None) -> Saved:
    """Train a tiny model on text for three steps, as a trainer loads it, and save it with its optimizer."""
    words = tiny.tokenizer()
    built = ALL[architecture](len(words))
    base, place = root / "base", root / "checkpoint-3"
    built.save_pretrained(base)
    live = type(built).from_pretrained(base)
    if kind == "lora":
        torch.manual_seed(1)
        modules = targets or TARGETS.get(architecture, "all-linear")
        live = get_peft_model(live, LoraConfig(r=4, lora_alpha=8, target_modules=modules, init_lora_weights=False))
    optimizer = torch.optim.AdamW([p for p in live.parameters() if p.requires_grad], lr=RATE, weight_decay=DECAY)
    generator = torch.Generator().manual_seed(0)
    live.eval()
    for _ in range(3):
        ids = torch.randint(10, len(words), (4, 10), generator=generator)
        logits = live(input_ids=ids).logits
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    live.save_pretrained(place)
    words.save_pretrained(place)
    torch.save(optimizer.state_dict(), place / "optimizer.pt")
    if kind == "lora":
        tiny.edit_json(place / "adapter_config.json", base_model_name_or_path="../base")
    return Saved(place, type(built), base if kind == "lora" else None)


def letters(prompts: Any, completions: Any, **columns: Any) -> list[float]:
    """A reward that varies between almost any two texts."""
    return [float(sum(map(ord, text)) % 7) for text in completions]


def bare(saved: Saved) -> Any:
    """The model by transformers and peft alone, in float64."""
    model: Any = saved.model.from_pretrained(saved.base or saved.place, dtype=torch.float64)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    if saved.base is not None:
        model = PeftModel.from_pretrained(model, saved.place, is_trainable=True)
    return model.double().eval()


def first_token(model: Any, ids: Any) -> torch.Tensor:
    """Log-probabilities of the first token after a prompt, ``[V]``."""
    log_p: torch.Tensor = torch.log_softmax(model(input_ids=torch.tensor([list(ids)])).logits[0, -1], -1)
    return log_p


def next_step(model: Any, saved: Saved, update: Any) -> dict[str, torch.Tensor]:
    """What the real optimizer's next step adds to each parameter, on the loss of the update's own responses."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(list(parameters.values()), lr=RATE, weight_decay=DECAY)
    optimizer.load_state_dict(torch.load(saved.place / "optimizer.pt", weights_only=True))
    for state in optimizer.state.values():
        state |= {key: state[key].double() for key in ("exp_avg", "exp_avg_sq")}
    rewards = torch.tensor(update.rewards, dtype=torch.float64)
    tokens = update.rollouts.tokens[:, :, 0]
    losses = [
        -((row - row.mean()) * first_token(model, ids)[own]).sum()
        for ids, own, row in zip(update.rollouts.prompt_ids, tokens, rewards, strict=True)
    ]
    (torch.stack(losses).sum() / tokens.numel()).backward()
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer.step()
    moved = {name: p.detach() - before[name] for name, p in parameters.items()}
    for name, p in parameters.items():
        p.data.copy_(before[name])
    return moved


def slope(model: Any, ids: Any, moved: dict[str, torch.Tensor]) -> float:
    """<grad H(first token), the step> in nats for one prompt."""
    parameters = dict(model.named_parameters())
    log_p = first_token(model, ids)
    gradients = torch.autograd.grad(
        -(log_p.exp() * log_p).sum(), [parameters[name] for name in moved], allow_unused=True
    )
    return sum(float((g * step).sum()) for g, step in zip(gradients, moved.values(), strict=True) if g is not None)


def planned(place: Path, prompts: list[Prompt]) -> None:
    """What planning asks of the checkpoint's files refuses none of these."""
    files = find_checkpoint(place)
    require_loadable(files)
    require_next_step(files, read_metadata(files), learning_rate=None, dtype="float32")
    require_context(files, prompts, 1, require_encodable(prompts, files))


# peft does not find again what its own patterns name.
@pytest.mark.filterwarnings("ignore:The following .*_pattern keys did not match:RuntimeWarning")
@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize(
    "architecture", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ALL]
)
def test_one_token_is_exact(tmp_path: Path, architecture: str, kind: str) -> None:
    if architecture in SINCE_5 and int(transformers.__version__.split(".")[0]) < 5:
        pytest.skip(f"{architecture} needs transformers 5")
    saved = save(tmp_path, architecture, kind)
    config = ProbeConfig(
        B_U=3, G=4, max_new_tokens=1, update_rule="adamw", loss_type="dr_grpo", estimator="rao_blackwell"
    )
    prompts = [Prompt(text, {"answer": "7"}) for text in TEXTS]
    planned(saved.place, prompts)
    probe = EntropyProbe(load_checkpoint(saved.place), config, prompts=prompts, reward=letters)
    update = probe.update(0)
    record = probe.run(4, 0, update=update)

    model, words = bare(saved), AutoTokenizer.from_pretrained(saved.place)
    moved = next_step(model, saved, update)
    texts = {prompt_number(prompt.key): prompt.content for prompt in prompts}
    assert record.prompts is not None
    exact = np.array([slope(model, words(texts[number])["input_ids"], moved) for number in record.prompts])
    measured = RATE * np.array(record.per_prompt)
    largest = np.abs(exact).max()
    assert largest > 0
    np.testing.assert_allclose(measured, exact, rtol=0, atol=1e-4 * largest)
    assert abs(record.delta_h1 - exact.mean()) <= 1e-4 * largest
