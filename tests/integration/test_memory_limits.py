"""A run within a limit of memory takes smaller pieces and gives the same numbers, or is refused; it is never killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# A run in a process of its own, whose address space may grow by so many bytes beyond what it is before the run.
RUN = """
import json, re, resource, sys
from pathlib import Path
import torch
from pytest_entropy.errors import UsageError
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.prompts import Prompt
from tests import tiny
from tests.whole_runs import ProbeInputs, length
from pytest_entropy.optimizers.state import ParameterState

def size(kind):
    return 1024 * int(re.search(rf"^{kind}:\\s+(\\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)[1])

words = tiny.tokenizer()
model = tiny.lora(tiny.qwen2(len(words), hidden=192, layers=4, eos_token_id=words.eos_token_id))
policy = tiny.policy(model, eos=())
policy.tokenizer = words
state = {n: ParameterState(3, torch.full(p.shape, 1e-3), torch.full(p.shape, 1e-4), 1e-3, (0.9, 0.99), 1e-8, 0.0)
         for n, p in policy.trainable.items()}
prompts = [Prompt(f"Tom has {n} apples") for n in range(40)]
config = ProbeConfig(B_U=4, G=8, max_new_tokens=110)
# The first operations of every kind load what they need.
first = ProbeConfig(B_U=2, G=2, max_new_tokens=2)
EntropyProbe(ProbeInputs(policy, state), first, prompts=prompts, reward=length).run(2)
before, more = size("VmSize"), sys.argv[1]
if more != "none":
    resource.setrlimit(resource.RLIMIT_AS, (before + int(more),) * 2)
try:
    probe = EntropyProbe(ProbeInputs(policy, state), config, prompts=prompts, reward=length)
    run = probe.run(12)
    print(json.dumps({"s": run.per_prompt, "entropy": run.entropy_mean, "chunk": probe.config.tokens_at_once,
                      "rows": probe.config.sample_rows, "took": size("VmPeak") - before}))
except UsageError as error:
    print(json.dumps({"refused": str(error)}))
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="address spaces are limited and read as Linux has it"),
]


def run_within(more: int | None) -> dict[str, Any]:
    """What the script says; a process that was killed says nothing, and is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, "none" if more is None else str(more)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_within_less_it_finishes_with_the_same_numbers_or_is_refused() -> None:
    free = run_within(None)
    assert free["chunk"] == 16384
    narrow = run_within(int(0.6 * free["took"]))
    assert narrow["chunk"] < free["chunk"]
    scale = max(map(abs, free["s"]))
    assert narrow["s"] == pytest.approx(free["s"], rel=0, abs=1e-4 * scale)
    assert narrow["entropy"] == pytest.approx(free["entropy"], rel=1e-6)
    refused = run_within(int(0.01 * free["took"]))
    assert "of one response of 110 tokens need" in refused["refused"]
    assert "lower sampling.max_new_tokens" in refused["refused"]
