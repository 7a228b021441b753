"""Two checkpoints one step apart, written by a real optimizer on a tiny model in the seed's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from tests import tiny


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def save_two(
    root: Path,
    *,
    first: int = 3,
    groups: Callable[[Any], Any] = trainable,
    schedule: Callable[[int], float] = lambda step: 1.0,
    clip: float | None = None,
    dtype: torch.dtype = torch.float32,
    adapter: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[Path, Path]:
    """``root/step_N`` and ``root/step_{N+1}`` with N = ``first``; a schedule multiplies the rate of each step."""
    words = tiny.tokenizer()
    base = tiny.qwen2(len(words), eos_token_id=words.eos_token_id)
    base.save_pretrained(root / "base")
    words.save_pretrained(root / "base")
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **(adapter or {})}
    model = get_peft_model(base, LoraConfig(**settings))
    for p in model.parameters():
        p.data = p.data.to(dtype) if p.requires_grad else p.data
    optimizer = torch.optim.AdamW(groups(model), **{"lr": 1e-3, **options})
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    generator = torch.Generator().manual_seed(0)
    places = []
    for step in range(1, first + 2):
        ids = torch.randint(2, len(words), (4, 10), generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            model(input_ids=ids, labels=ids).loss.backward()
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if step >= first:
            places.append(root / f"step_{step}")
            model.save_pretrained(str(places[-1] / "model"))
            torch.save(optimizer.state_dict(), places[-1] / "optimizer.pt")
            tiny.edit_json(places[-1] / "model" / "adapter_config.json", base_model_name_or_path="../../base")
    return places[0], places[1]
