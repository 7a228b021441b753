"""Whole runs of the probe on random models of real shapes: seconds and memory by phase, against the card's limits.

    python -m benchmarks.gpu [--shape 1.5B] [--tokens 512] [--diagnostics] [--floor] [--repeats N] [--device cuda]

Every cell is one shape and one response length: an update (sampling U, gradient, the optimizer's oracle) and a run
(sampling E, self-check, derivatives), by :class:`~pytest_entropy.probe.EntropyProbe` as in any session.  Bandwidth and
matrix products are measured on the same card first.  Prints the table of docs/performance.md and writes the record to
``benchmarks/results/gpu.json``.  Without a GPU, ``--device cpu --tiny`` takes the same path with a few thousand
weights.  Responses of a random model hardly ever end by themselves, so all are about as long as they may be.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks import floor
from benchmarks.gpu_limits import Limits, Work, measure_limits, shares
from benchmarks.gpu_models import RANKS, RandomCheckpoint, noise, random_checkpoint, random_prompts
from benchmarks.measure import interleaved, summary
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.probe.pieces import is_out_of_memory
from pytest_entropy.probe.update.direction import Update
from pytest_entropy.records.run import RunRecord
from pytest_entropy.settings.diagnostics import CHECKED

RESULTS = Path(__file__).parent / "results" / "gpu.json"
TOKENS = (512, 2048)
TINY_TOKENS = (12,)
PROMPT = 60
SEED = 1


@dataclass(frozen=True)
class Sizes:
    """Prompts of both batches, and responses to each; chosen for about a minute a cell on an H100."""

    B_E: int
    B_U: int
    G: int = 8


SIZES = {
    ("0.5B", 512): Sizes(64, 16), ("0.5B", 2048): Sizes(16, 8),
    ("1.5B", 512): Sizes(64, 16), ("1.5B", 2048): Sizes(16, 4),
    ("7B", 512): Sizes(32, 8), ("7B", 2048): Sizes(8, 4),
}  # fmt: skip
TINY = Sizes(6, 4, 4)


def refusal(device: str, tiny: bool) -> str:
    """Why nothing can be measured here, and what can; empty where something can."""
    missing = ""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        missing = f"torch {torch.__version__}, built {built}, sees no CUDA device"
    elif torch.device(device).type == "cpu" and not tiny:
        missing = "the real shapes would take hours on a CPU"
    if not missing:
        return ""
    return f"benchmarks.gpu needs a GPU: {missing}; the same path here: python -m benchmarks.gpu --device cpu --tiny"


def cell(checkpoint: RandomCheckpoint, sizes: Sizes, tokens: int, limits: Limits, options: Any) -> dict[str, Any]:
    """Seconds, memory, tokens per second and shares of the limits, by phase."""
    vocabulary = checkpoint.policy.model.config.vocab_size
    prompts = random_prompts(sizes.B_E + sizes.B_U + 2, PROMPT, vocabulary)
    settings: dict[str, Any] = {"B_U": sizes.B_U, "G": sizes.G, "static_cache": options.static_cache}
    settings |= {"sample_rows": 8, "chunk_tokens": 200} if options.tiny else {}
    settings |= {"chunk_tokens": options.chunk_tokens} if options.chunk_tokens else {}
    settings |= {"diagnostics": CHECKED} if options.diagnostics else {}
    # Kernels are loaded and tuned on first use.
    warm = EntropyProbe(checkpoint, ProbeConfig(**{**settings, "max_new_tokens": 8}), prompts=prompts, reward=noise)
    warm.run(2, SEED, update=warm.update(SEED))
    config = ProbeConfig(**settings, max_new_tokens=tokens)
    probe = EntropyProbe(checkpoint, config, prompts=prompts, reward=noise)
    update = probe.update(SEED)
    runs = [probe.run(sizes.B_E, SEED, run=r, update=update) for r in range(1, options.repeats + 1)]
    record = {
        "finite": all(torch.tensor(run.per_prompt).isfinite().all().item() for run in runs),
        "oracle_gap": update.oracle_gap,
        "sampler_gap": max(run.agreement.log_probs or 0.0 for run in runs),
        "length_mean": runs[0].length_mean,
        "config": config.model_dump(mode="json"),
        "phases": phases(probe, update, runs, sizes, limits),
    }
    return record | ({"floor": floors(probe, sizes, update)} if options.floor else {})


def phases(
    probe: EntropyProbe, update: Update, runs: Sequence[RunRecord], sizes: Sizes, limits: Limits
) -> dict[str, Any]:
    """What each phase of the update and of the runs took; those that read or write tokens, against the limits."""
    rows = probe.config.sample_rows
    of_U = Work(sizes.B_U, sizes.G, PROMPT, float(update.length_mean or 0))
    of_E = Work(sizes.B_E, sizes.G, PROMPT, runs[0].length_mean)
    measured: dict[str, tuple[str, Work, list[float], list[float]]] = {}
    for name, taken in update.seconds.items():
        measured[f"U: {name}"] = name, of_U, [taken], [update.memory_mb[name]]
    for name in runs[0].seconds:
        seconds_of, memory_of = [run.seconds[name] for run in runs], [run.memory_mb[name] for run in runs]
        measured[f"E: {name}"] = name, of_E, seconds_of, memory_of
    out: dict[str, Any] = {}
    for label, (name, work, seconds, memory) in measured.items():
        out[label] = {"seconds": summary(seconds), "peak_mb": max(memory)}
        if name in ("sampling", "gradient", "derivatives"):
            least = min(seconds)
            whole = rows if isinstance(rows, int) else work.prompts * work.G
            out[label] |= {
                "tokens_per_second": work.response_tokens / least,
                "share_of_limit": shares(probe.policy, name, work, least, limits, whole),
            }
    return out


def floors(probe: EntropyProbe, sizes: Sizes, update: Update) -> dict[str, Any]:
    """Plain ``generate`` and a plain forward-backward of E's tokens, once each after a warm-up."""
    policy, limit = probe.policy, probe.config.max_new_tokens
    _, rollouts = probe.two_batch.entropy_batch(sizes.B_E, SEED, update)
    prompts = max(1, 512 // sizes.G)

    def generate(r: int) -> None:
        for first in range(0, len(rollouts), prompts):
            floor.generate(policy, rollouts.prompt_ids[first : first + prompts], sizes.G, limit)

    rows = max(1, min(16, 16384 // (PROMPT + limit)))
    tasks = {"generate": generate, "forward-backward": lambda r: floor.forward_backward(policy, rollouts, rows=rows)}
    seconds = interleaved(tasks, 2)
    return {name: values[-1] for name, values in seconds.items()}


def table(record: Mapping[str, Any]) -> str:
    """The record as the table of docs/performance.md."""
    lines = [
        "| shape | tokens | B_E, B_U, G | sampling U, s | gradient, s | oracle, s | sampling E, s | derivatives, s | "
        "peak GiB (in) | tokens/s sampling; derivatives | of bandwidth, sampling | of FLOP/s: gradient; derivatives |",
        "|---" * 12 + "|",
    ]
    for one in record["cells"]:
        sizes = one["sizes"]
        row = [one["shape"], one["tokens"], f"{sizes['B_E']}, {sizes['B_U']}, {sizes['G']}"]
        if "error" in one:
            lines.append("| " + " | ".join(map(str, [*row, one["error"]])) + " |" * 9)
            continue
        of = one["phases"]
        names = ("U: sampling", "U: gradient", "U: oracle", "E: sampling", "E: derivatives")
        row += [f"{of[name]['seconds']['median']:.3g}" for name in names]
        most = max(of, key=lambda name: of[name]["peak_mb"])
        sampled, derived, gradient = of["E: sampling"], of["E: derivatives"], of["U: gradient"]
        row += [
            f"{of[most]['peak_mb'] / 1024:.3g} ({most})",
            f"{sampled['tokens_per_second']:.0f}; {derived['tokens_per_second']:.0f}",
            f"{sampled['share_of_limit']['bandwidth']:.1%}",
            f"{gradient['share_of_limit']['flop']:.1%}; {derived['share_of_limit']['flop']:.1%}",
        ]
        lines.append("| " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All cells; one that runs out of memory says so, and the others are measured all the same."""
    device = torch.device(options.device)
    limits = measure_limits(device, getattr(torch, options.dtype), tiny=options.tiny)
    shapes = ["tiny"] if options.tiny else options.shape or [name for name in RANKS if name != "tiny"]
    cells = []
    for shape in shapes:
        checkpoint = random_checkpoint(shape, device=options.device, dtype=options.dtype)
        for tokens in options.tokens or (TINY_TOKENS if options.tiny else TOKENS):
            # Of another length, the sizes of the next longer one.
            longer = min((known for known in TOKENS if known >= tokens), default=TOKENS[-1])
            sizes = TINY if options.tiny else SIZES[shape, longer]
            cells.append({"shape": shape, "tokens": tokens, "sizes": asdict(sizes)})
            try:
                cells[-1] |= cell(checkpoint, sizes, tokens, limits, options)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                cells[-1]["error"] = "out of memory"
            _empty(device)
        del checkpoint
        _empty(device)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": options.dtype,
        "versions": {name: version(name) for name in ("torch", "transformers", "peft")},
        "limits": asdict(limits),
        "cells": cells,
    }


def _empty(device: torch.device) -> None:
    """Free what the cell before held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> int:
    """Measure, print the table and write the record; 2 where there is nothing to measure on."""
    parser = argparse.ArgumentParser(description="whole runs of the probe on random models of real shapes")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"), help="of the frozen base")
    parser.add_argument("--shape", action="append", choices=[name for name in RANKS if name != "tiny"])
    parser.add_argument("--tokens", action="append", type=int, help="largest response length")
    parser.add_argument("--repeats", type=int, default=1, help="runs along the one update")
    parser.add_argument("--diagnostics", action="store_true", help="with the diagnostics of the sanity check")
    parser.add_argument("--floor", action="store_true", help="plain generate and forward-backward, too")
    parser.add_argument("--chunk-tokens", type=int, help="memory.chunk_tokens, over its default")
    parser.add_argument("--static-cache", action="store_true")
    parser.add_argument("--tiny", action="store_true", help="the same path on a tiny model")
    options = parser.parse_args(arguments)
    if reason := refusal(options.device, options.tiny):
        print(reason, file=sys.stderr)
        return 2
    record = measure(options)
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(record, indent=2) + "\n")
    print(f"{record['device']}, {record['dtype']}, torch {record['versions']['torch']}: "
          f"{record['limits']['bytes_per_second'] / 1e9:.0f} GB/s copied, "
          f"{record['limits']['flop_per_second'] / 1e12:.3g} TFLOP/s\n\n{table(record)}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
