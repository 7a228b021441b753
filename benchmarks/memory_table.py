"""Peak memory of an update and a run at real sizes, counted on tensors without data, as pieces are chosen for a device.

    python -m benchmarks.memory_table [--free 78] [--shape 1.5B] [--tokens 2048]

Weights are not made, so that it runs anywhere, in some seconds a cell.  Prints a row for each shape and response length
(G 8, prompts of 100 tokens, a bfloat16 base with a float32 adapter but for 0.5B, which is float32) and writes
``benchmarks/results/memory_table.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.gpu_models import random_policy
from pytest_entropy.errors import UsageError
from pytest_entropy.probe import ProbeConfig
from pytest_entropy.probe.memory.budget import GIB, budget_for

RESULTS = Path(__file__).parent / "results" / "memory_table.json"
SHAPES = {"0.5B": "float32", "1.5B": "bfloat16", "7B": "bfloat16"}
TOKENS = (512, 2048, 8192)
PROMPT, GROUP = 100, 8


def cell(shape: str, tokens: int, free: float) -> dict[str, Any]:
    """What a run of one shape and response length takes on a device with so many GiB."""
    policy = random_policy(shape, device="meta", dtype=SHAPES[shape])
    vars(policy)["plain_head"] = True
    weights = sum({id(p): p.numel() * p.element_size() for p in policy.model.parameters()}.values())
    config = ProbeConfig(G=GROUP, max_new_tokens=tokens)
    record = {"shape": shape, "dtype": SHAPES[shape], "tokens": tokens, "weights_gib": weights / GIB}
    try:
        chosen = budget_for(policy, config, prompt_tokens=lambda: PROMPT, threads=1, free=int(free * GIB) - weights)
    except UsageError as error:
        return {**record, "refused": str(error)}
    phases = {f"{name}_gib": (weights + size) / GIB for name, size in chosen.bytes_by_phase.items()}
    sizes = {"chunk_tokens": chosen.chunk_tokens, "sample_rows": chosen.sample_rows, "recompute": chosen.recompute}
    return {**record, **sizes, **phases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--free", type=float, default=78.0, help="GiB of the device")
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--tokens", type=int, action="append")
    options = parser.parse_args()
    cells = []
    print("| model | tokens | weights | sampling | gradient of U | derivatives | pieces of |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for shape in options.shape or SHAPES:
        for tokens in options.tokens or TOKENS:
            one = cell(shape, tokens, options.free)
            cells.append(one)
            print(_row(one), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"free_gib": options.free, "cells": cells}, indent=2) + "\n")


def _row(one: dict[str, Any]) -> str:
    head = f"| {one['shape']} {one['dtype']} | {one['tokens']} | {one['weights_gib']:.1f} |"
    if "refused" in one:
        return f"{head} refused: {one['refused']} ||||"
    sizes = " ".join(f"{one[f'{name}_gib']:.1f} |" for name in ("sampling", "gradient", "derivatives"))
    pieces = f"{one['chunk_tokens']} tokens, {one['sample_rows']} rows{', layers recomputed' * one['recompute']}"
    return f"{head} {sizes} {pieces} |"


if __name__ == "__main__":
    main()
