"""The probe at sizes people have, on a CPU: a 0.5B LoRA, and a 50M full fine-tune with a vocabulary of 151,936.

    python -m benchmarks.real_size [--shape 0.5B] [--repeats 1] [--tokens 32] [--return-blocks]

Random weights, float32, nothing is downloaded.  CPU seconds and peak resident memory of each phase; the run over its
floor (``generate`` and one forward-backward of the same tokens); the derivative pass over the one before (the
vocabulary's product row by row, its logits computed a second time in backward); the default single run, with its eta
sweep and total variance, over the plain one; and the forecast of memory over what was seen.  With ``--return-blocks``
freed blocks return to the system, as they do in a run where memory is short; else the C library keeps some, which no
forecast counts.  Prints a table and writes ``benchmarks/results/real_size.json``.  It takes minutes and some 8 GiB: it
is for a quiet machine, not for CI.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks import floor
from benchmarks.gpu_models import RandomCheckpoint, noise, random_checkpoint, random_prompts
from benchmarks.measure import interleaved, ratios, summary
from pytest_entropy.policy import logits
from pytest_entropy.policy.row_map import row_groups
from pytest_entropy.probe import EntropyProbe, ProbeConfig
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.memory.forecast import Forecast, PieceSize
from pytest_entropy.probe.memory.heap import return_large_blocks
from pytest_entropy.records.free_memory import resident_bytes
from pytest_entropy.records.process_memory import count_anew, highest_mb

RESULTS = Path(__file__).parent / "results" / "real_size.json"
PROMPT, SEED = 17, 3
MIB = 2**20


@dataclass(frozen=True)
class Sizes:
    """Prompts of both batches, and responses to each."""

    B_E: int
    B_U: int
    G: int = 4


SHAPES = {"0.5B": Sizes(4, 4), "50M": Sizes(8, 2)}
# The single run's template.
DEFAULT = {"diagnostics": ("total_variance", "eta_sweep"), "eta_multiples": (-2.0, -1.0, 1.0, 2.0, 4.0)}


@contextmanager
def as_before() -> Iterator[None]:
    """The vocabulary as it was: its product row by row, and logits computed a second time in backward."""

    def row_by_row(self: logits.PiecewiseLogits, hidden: torch.Tensor) -> torch.Tensor:
        with row_groups(self.group):
            made: torch.Tensor = self.head(hidden)
        return made.reshape(-1, self.group, *made.shape[1:])

    with (
        mock.patch.object(logits.PiecewiseLogits, "logits_of", row_by_row),
        mock.patch.object(logits, "is_plain", return_value=False),
    ):
        yield


class Measured:
    """CPU seconds and peak memory of named work."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_mb: dict[str, float] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        count_anew()
        started = time.process_time()
        done = work()
        self.seconds[name] = time.process_time() - started
        self.peak_mb[name] = highest_mb()
        print(f"  {name}: {self.seconds[name]:.1f} CPU s, peak {self.peak_mb[name]:.0f} MiB", flush=True)
        return done


def probe_of(checkpoint: RandomCheckpoint, config: ProbeConfig, sizes: Sizes) -> EntropyProbe:
    prompts = random_prompts(4 * (sizes.B_E + sizes.B_U), PROMPT, int(checkpoint.policy.model.config.vocab_size))
    return EntropyProbe(checkpoint, config, prompts=prompts, reward=noise, threads=1)


def measure(shape: str, tokens: int, repeats: int, *, return_blocks: bool = False) -> dict[str, Any]:
    """The record of one shape."""
    torch.set_num_threads(1)
    sizes, bare = SHAPES[shape], resident_bytes() or 0
    checkpoint = random_checkpoint(shape, device="cpu", dtype="float32")
    if return_blocks:
        return_large_blocks(checkpoint.policy.model)
    # Building a model may leave blocks behind; loading one does not.
    held = bare + sum(p.numel() * p.element_size() for p in checkpoint.policy.model.parameters())
    config = ProbeConfig(B_U=sizes.B_U, G=sizes.G, max_new_tokens=tokens, **DEFAULT)
    probe = probe_of(checkpoint, config, sizes)
    done = Measured()
    update = done("update", lambda: probe.update(SEED))
    # Each phase counts anew.
    done.peak_mb["update"] = max(update.memory_mb.values())
    done.peak_mb["gradient of U"] = update.memory_mb["gradient"]
    prompts, rollouts = probe.two_batch.entropy_batch(sizes.B_E, SEED, update)
    done("self-check", lambda: probe.setup.verify_once(rollouts, update.direction))
    policy, direction, chunk = probe.policy, update.direction, probe.config.tokens_at_once
    derive = partial(
        directional_derivatives, policy, rollouts, direction, [config.estimator], chunk_tokens=chunk, threads=1
    )

    def before(_: int) -> None:
        with as_before():
            derive()

    tasks = {
        "sampling": lambda _: probe.setup.sample(prompts, SEED),
        "derivatives": lambda _: derive(),
        "derivatives, as before": before,
        "generate": lambda _: floor.generate(policy, rollouts.prompt_ids, sizes.G, tokens),
        "forward-backward": lambda _: floor.forward_backward(policy, rollouts, rows=sizes.B_E * sizes.G),
    }
    seconds = interleaved(
        {name: partial(_once, done, name, work) for name, work in tasks.items()}, repeats, clock=time.process_time
    )
    plain = [a + b for a, b in zip(seconds["sampling"], seconds["derivatives"], strict=True)]
    least = [a + b for a, b in zip(seconds["generate"], seconds["forward-backward"], strict=True)]
    run = done("default single run", lambda: probe.run(sizes.B_E, SEED, update=update))
    done.peak_mb["default single run"] = max(run.memory_mb.values())
    return {
        "shape": shape,
        "sizes": vars(sizes),
        "tokens": tokens,
        "parameters": sum(p.numel() for p in policy.model.parameters()),
        "seconds": {**done.seconds, **{name: summary(values) for name, values in seconds.items()}},
        "peak_mb": done.peak_mb,
        "derivatives_over_before": summary(ratios(seconds["derivatives"], seconds["derivatives, as before"])),
        "run_over_floor": summary(ratios(plain, least)),
        "default_over_plain": done.seconds["default single run"] / float(summary(plain)["median"]),
        "forecast_over_seen": forecasts(probe, done, sizes, tokens, held),
        "blocks_returned": return_blocks,
    }


def _once(done: Measured, name: str, work: Callable[[int], Any], round_: int) -> None:
    done(name, partial(work, round_))


def forecasts(probe: EntropyProbe, done: Measured, sizes: Sizes, tokens: int, held: int) -> dict[str, float]:
    """Forecast over measured peak, both of the whole process, which holds ``held`` bytes and the update's vectors."""
    made = Forecast(probe.policy, probe.config.estimator, PROMPT, tokens)
    # The optimizer's two moments in float32, and gradient and direction in float64; U's gradient is one sum.
    entries = sum(p.numel() for p in probe.policy.trainable.values())
    summed, vectors = (2 * 4 + 8) * entries, (2 * 4 + 2 * 8) * entries
    planned = {
        "gradient of U": held + summed + made.gradient(PieceSize(sizes.B_U, sizes.G)),
        "derivatives": held + vectors + made.derivatives(PieceSize(sizes.B_E, sizes.G)),
    }
    return {name: size / MIB / done.peak_mb[name] for name, size in planned.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, action="append")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--return-blocks", action="store_true")
    options = parser.parse_args()
    records = []
    for shape in options.shape or SHAPES:
        print(f"{shape}, {options.tokens} tokens", flush=True)
        record = measure(shape, options.tokens, options.repeats, return_blocks=options.return_blocks)
        records.append(record)
        for name in ("derivatives_over_before", "run_over_floor", "default_over_plain", "forecast_over_seen"):
            print(f"  {name}: {record[name]}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
