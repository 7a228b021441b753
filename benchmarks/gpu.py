"""The probe on a Qwen2.5-1.5B-shaped model with random weights: phases, peak memory, ratios to the floor.

    python -m benchmarks.gpu [--device cuda] [--dtype bfloat16] [--repeats 5] [--tiny] [--static-cache]

LoRA r = 64 on every linear map, B_E 256, B_U 32, G 8, 200 tokens; no download, no checkpoint.  Prints one JSON
record and writes it to ``benchmarks/results/gpu.json``.  ``--tiny`` runs the same path on a model of a few thousand
weights, on any device (``tests/unit/benchmarks/test_gpu.py``).  Responses of a random model hardly ever end by
themselves, so all are about as long as they may be.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks import floor
from benchmarks.measure import interleaved, ratios, summary
from pytest_entropy.optimizers.state import AdamWState, ParameterState
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts, gathered
from pytest_entropy.probe import ProbeConfig
from pytest_entropy.probe.batches import SamplePiece
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.peak_memory import peak_memory_mb
from pytest_entropy.probe.pieces import sampling_chunks, worked
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.update.batch import UpdateBatch, take_update
from pytest_entropy.probe.update.direction import Update

RESULTS = Path(__file__).parent / "results" / "gpu.json"
QWEN_1_5B = {
    "vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
    "num_attention_heads": 12, "num_key_value_heads": 2, "max_position_embeddings": 4096,
}  # fmt: skip
TINY = {
    "vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    B_E: int = 256
    B_U: int = 32
    G: int = 8
    tokens: int = 200
    prompt: int = 60
    rank: int = 64
    sample_rows: int = 512
    chunk_tokens: int = 16384


SMALL = Sizes(B_E=6, B_U=4, G=4, tokens=12, prompt=9, rank=4, sample_rows=8, chunk_tokens=200)


def random_policy(shape: dict[str, Any], rank: int, *, device: str, dtype: str, static_cache: bool) -> Policy:
    """A random model in ``dtype`` with a float32 adapter, made on the device."""
    torch.manual_seed(0)
    config = Qwen2Config(**shape, tie_word_embeddings=True, eos_token_id=0, bos_token_id=None)
    with torch.device(device):
        model = Qwen2ForCausalLM(config).to(getattr(torch, dtype))
        adapter = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False)
        model = get_peft_model(model, adapter).get_base_model().eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            # As the default initialisation leaves it large, responses would be noise of noise.
            parameter.data = parameter.data.float().mul_(0.1)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    return Policy(model, None, trainable, (0,), static_cache=static_cache)  # type: ignore[arg-type]


def sampled(policy: Policy, sizes: Sizes, prompts: int, seed: int) -> Rollouts:
    """Responses as the probe draws them."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, policy.model.config.vocab_size, size=(prompts, sizes.prompt)).tolist()

    def piece(indices: list[int]) -> SamplePiece:
        return SamplePiece(tuple(indices), tuple(tuple(ids[n]) for n in indices), seed, sizes.G, sizes.tokens)

    chunks = sampling_chunks([sizes.prompt] * prompts, sizes.G, sizes.sample_rows)
    return gathered(worked(policy, chunks, piece), prompts)


def optimizer_state(policy: Policy) -> AdamWState:
    """Moments as a few steps leave them, where a checkpoint's are: on the CPU."""
    rng = torch.Generator().manual_seed(0)

    def moments(shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(shape, generator=rng) * 1e-3, torch.rand(shape, generator=rng) * 1e-6 + 1e-8

    return {
        name: ParameterState(3, *moments(p.shape), 1e-5, (0.9, 0.999), 1e-8, 0.0)
        for name, p in policy.trainable.items()
    }


def updated(policy: Policy, optimizer: AdamWState, sizes: Sizes, rollouts: Rollouts) -> Update:
    """The update as the probe takes it: gradient, direction, and the oracle's step beside it; random rewards."""
    rewards = np.random.default_rng(0).random((sizes.B_U, sizes.G)).tolist()
    batch = UpdateBatch(tuple(map(str, range(sizes.B_U))), rollouts, rewards, seed=0)
    config = ProbeConfig(B_U=sizes.B_U, G=sizes.G, max_new_tokens=sizes.tokens, chunk_tokens=sizes.chunk_tokens)
    meter = Meter(device=policy.device)
    return take_update(batch, policy, optimizer, config, eta=1e-5, eta_source="benchmark", meter=meter)


def floor_generate(policy: Policy, sizes: Sizes, rollouts: Rollouts) -> None:
    """Plain ``generate``, as many rows at once as the probe samples."""
    prompts = max(1, sizes.sample_rows // sizes.G)
    for first in range(0, len(rollouts), prompts):
        floor.generate(policy, rollouts.prompt_ids[first : first + prompts], sizes.G, sizes.tokens)


def measure(policy: Policy, sizes: Sizes, repeats: int) -> dict[str, Any]:
    """Seconds by phase, peak memory by phase, and the run over its floor, round by round."""
    on_gpu = policy.device.type == "cuda"
    update_batch = sampled(policy, sizes, sizes.B_U, seed=1)
    optimizer = optimizer_state(policy)
    update = updated(policy, optimizer, sizes, update_batch)
    u = update.direction
    rollouts = sampled(policy, sizes, sizes.B_E, seed=2)
    peaks: dict[str, float] = {}

    def task(name: str, work: Any, r: int) -> None:
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(policy.device)
        work()
        if on_gpu:
            torch.cuda.synchronize(policy.device)
        peaks[name] = max(peaks.get(name, 0.0), peak_memory_mb(policy.device))

    rows = max(1, sizes.chunk_tokens // (sizes.prompt + sizes.tokens))
    tasks = {
        "update": lambda: updated(policy, optimizer, sizes, update_batch),
        "sampling": lambda: sampled(policy, sizes, sizes.B_E, seed=2),
        "derivatives": lambda: directional_derivatives(
            policy, rollouts, u, ["rao_blackwell"], chunk_tokens=sizes.chunk_tokens
        ),
        "generate": lambda: floor_generate(policy, sizes, rollouts),
        "forward-backward": lambda: floor.forward_backward(policy, rollouts, rows=min(rows, 16)),
    }
    for name, work in tasks.items():
        task(name, work, 0)
    peaks.clear()
    seconds = interleaved({name: partial(task, name, work) for name, work in tasks.items()}, repeats)
    run = [a + b for a, b in zip(seconds["sampling"], seconds["derivatives"], strict=True)]
    least = [a + b for a, b in zip(seconds["generate"], seconds["forward-backward"], strict=True)]
    s = directional_derivatives(policy, rollouts, u, ["rao_blackwell"], chunk_tokens=sizes.chunk_tokens)
    return {
        "sizes": asdict(sizes),
        "device": torch.cuda.get_device_name(policy.device) if on_gpu else policy.device.type,
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "mean_length": float(rollouts.lengths.double().mean()),
        "oracle_gap": update.oracle_gap,
        "finite": bool(np.isfinite(s.per_prompt["rao_blackwell"]).all()),
        "sampler_gap": float((rollouts.log_probs.cpu() - s.log_probs).abs().max()),
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "peak_mb": peaks,
        "run_over_floor": summary(ratios(run, least)),
    }


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description="the probe on a 1.5B-shaped model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="the same path on a tiny model")
    parser.add_argument("--static-cache", action="store_true")
    options = parser.parse_args(arguments)
    shape, sizes = (TINY, SMALL) if options.tiny else (QWEN_1_5B, Sizes())
    policy = random_policy(
        shape, sizes.rank, device=options.device, dtype=options.dtype, static_cache=options.static_cache
    )
    record = {**vars(options), **measure(policy, sizes, options.repeats)}
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
    return record


if __name__ == "__main__":
    main()
