"""What makes the host wait for a GPU, per decoded token and per piece: a script, for :mod:`tests.fake_device`.

    python -m tests.host_waits                     both precisions of the base weights
    python -m tests.host_waits faults [NAME ...]   with each of :data:`FAULTS` put back

A line of JSON for each: its name, what was counted beyond ``BUDGETS``, and all counts with the lines that caused them.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from pytest_entropy.policy import block_search, decoding, distribution, teacher_forcing
from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.control_variate import learn
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from pytest_entropy.probe.derivatives.gradient import policy_gradient
from pytest_entropy.probe.pieces import threads_on
from tests import fake_device, tiny
from tests.mixed_by_hand import Place, mixed
from tests.whole_runs import FEW, Variant

Counts = Counter[tuple[str, str]]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FEWER, MORE = 40, 70
EVEN, UNEVEN = [[5, 6, 7], [8, 9, 10]], [[5, 6, 7], [8], [9, 10]]
LOOKS = MORE // decoding.LOOK_EVERY - FEWER // decoding.LOOK_EVERY
# Largest number by (what, kind): for the tokens from FEWER to MORE; for a piece of one prompt.  Here four matrices are
# trained, and a piece's longest response is asked for once.
BUDGETS = {
    "decoding": {"copies": LOOKS},
    "decoding, padded": {"copies": LOOKS},
    "decoding, ends": {"copies": LOOKS},
    # How long the longest response is, and which tokens count.
    "derivative piece": {"asks": 2, "copies": 4},
    "gradient piece": {"asks": 2, "copies": 4},
}
# A budget of one prompt with its three responses of four tokens.
ONE = 3 + 3 * 4
WRITE, TAKE = "policy.sampling_record:Recorder.write", "policy.decoding:DecodingBatch.take"
FORCE, FORCED = "policy.teacher_forcing:teacher_force", "policy.require_eval()"
# Faults put back, and what of BUDGETS each exceeds.
FAULTS = [
    Place("a look at every token", "policy.decoding:tokens_per_look", "LOOK_EVERY", "1", "decoding"),
    Place("the rows left counted at every token",
          TAKE, "self.tokens = drawn.tokens", "self.tokens = drawn.tokens; int(self.running.sum())", "decoding"),
    Place("the mask asked at every token", "policy.policy:Policy.forward", "model = self.model if",
          "bool(attention_mask is None or attention_mask.all()); model = self.model if", "decoding, padded"),
    Place("the mask left to transformers at every token", "policy.attention_mask:decoding_mask",
          "not policy.takes_prepared_mask", "True", "decoding, padded"),
    Place("tokens written by a boolean index", WRITE, "self.tokens[rows, k] = drawn.tokens",
          "self.tokens[rows[running], k] = drawn.tokens[running]", "decoding, ends"),
    Place("lengths written by a boolean index", WRITE, "self.lengths.index_add_(0, rows, running.long())",
          "self.lengths[rows[running]] += 1", "decoding, ends"),
    Place("the rows that run searched",
          TAKE, "self.tokens = drawn.tokens", "self.tokens = drawn.tokens; self.running.nonzero()", "decoding, ends"),
    Place("logits asked whether they are finite", "policy.distribution:_draw_rows", "tokens = draw(log_p, uniform)",
          "tokens = draw(log_p, uniform); bool(torch.isfinite(log_p.amax(-1)).all())", "decoding"),
    Place("a float64 table of the vocabulary",
          "policy.distribution:draw", "log_probs.shape[-1] > SPAN", "False", "decoding"),
    Place("tokens copied at every token",
          TAKE, "self.tokens = drawn.tokens", "self.tokens = drawn.tokens; drawn.tokens.cpu()", "decoding"),
    Place("tokens after the end recorded", WRITE, "running.long()", "torch.ones_like(rows)", "decoding, ends"),
    Place("the mask asked in every piece", "policy.prefill:prefill", "config = policy.model.config",
          "config = policy.model.config; bool(attention_mask.all())", "derivative piece"),
    Place("the lengths asked in every piece",
          FORCE, FORCED, FORCED + "; int(rollouts.lengths.max())", "gradient piece"),
    Place("tokens copied in every piece", FORCE, FORCED, FORCED + "; rollouts.tokens.cpu()", "derivative piece"),
    Place("gradients copied twice", "probe.parameter_vectors:PlainSum.add", "self._sums[name] += tensor.double().cpu()",
          "self._sums[name] += tensor.double().cpu() + 0 * tensor.cpu()", "gradient piece"),
    Place("pieces as many at once as threads", "probe.pieces:threads_on", "asked if", "asked if True or", "threads"),
]  # fmt: skip


def sampled(policy: Policy, prompts: list[list[int]], limit: int, words: int) -> tuple[Rollouts, Counts]:
    with fake_device.counted(words) as counts:
        rollouts = tiny.sample(policy, prompts, G=3, limit=limit)
    return rollouts, counts


def more_tokens(policy: Policy, prompts: list[list[int]], words: int) -> Counts:
    """What MORE tokens cost beyond FEWER, after what is asked once of a model."""
    sampled(policy, prompts, 2, words)
    few, many = (sampled(policy, prompts, limit, words)[1] for limit in (FEWER, MORE))
    return many - few


def more_pieces(work: Callable[[list[int]], Any], words: int) -> Counts:
    """What a piece of one prompt costs, from four pieces and two."""
    work([0])
    counts = []
    for prompts in ([0, 1], [0, 1, 2, 3]):
        with fake_device.counted(words) as counted:
            work(prompts)
        counts.append(counted)
    return Counter({key: n / 2 for key, n in (counts[1] - counts[0]).items()})


def policies(precision: str, device: str) -> tuple[Policy, Policy]:
    """A policy whose responses do not end, and one of which every sixtieth token ends them."""
    made: Policy = Variant("", FEW, PRECISIONS[precision]).inputs(device).policy
    words = int(made.model.config.vocab_size)
    return replace(made, eos_ids=(), static_cache=True), replace(made, eos_ids=tuple(range(0, words, 60)))


def filled(tables: ControlVariateTables, rollouts: Rollouts) -> ControlVariateTables:
    """The tables with a value for each (context, token) drawn; cross-validation over four prompts may leave none."""
    drawn = torch.stack([rollouts.contexts.cpu().flatten(), rollouts.tokens.cpu().flatten()]).unique(dim=1)
    values = torch.linspace(0.1, 1.0, drawn.shape[1], dtype=torch.float64)
    token = torch.ones(int(drawn[1].max()) + 1, dtype=torch.float64)
    return replace(tables, token=token, pair_context=drawn[0], pair_token=drawn[1], pair_value=values)


def measured(precision: str) -> dict[str, Callable[[], Counts]]:
    """Counts by the names of ``BUDGETS``."""
    endless, ending = policies(precision, fake_device.NAME)
    words = int(endless.model.config.vocab_size)
    rollouts, _ = sampled(endless, [[5, 6, 7], [8, 9, 10], [3, 4, 5], [7, 7, 7]], 4, words)
    u = tiny.direction(endless)
    tables = filled(learn(rollouts, 4), rollouts).on(endless.device)

    def derivatives(prompts: list[int]) -> None:
        directional_derivatives(
            endless, replace(rollouts, control_variate=tables).select(prompts), u, ["action_value"], chunk_tokens=ONE
        )

    def gradient(prompts: list[int]) -> None:
        policy_gradient(endless, rollouts.select(prompts), torch.ones(len(prompts), 3), chunk_tokens=ONE)

    return {
        "decoding": partial(more_tokens, endless, EVEN, words),
        "decoding, padded": partial(more_tokens, endless, UNEVEN, words),
        "decoding, ends": partial(more_tokens, ending, EVEN * 6, words),
        "derivative piece": partial(more_pieces, derivatives, words),
        "gradient piece": partial(more_pieces, gradient, words),
    }


def exceeded(what: str, found: Counts) -> list[str]:
    """What of ``found`` is beyond its budget, with the lines."""
    kinds: Counter[str] = Counter()
    for (kind, _), n in found.items():
        kinds[kind] += n
    said = []
    for kind, n in kinds.items():
        budget = BUDGETS[what].get(kind, 0)
        if n > budget:
            lines = "; ".join(f"{times:g} at {line}" for (k, line), times in found.items() if k == kind)
            said.append(f"{what}: {n:g} {kind}, budget {budget}: {lines}")
    return said


def other_responses(prompts: list[list[int]]) -> list[str]:
    """Columns of the responses, some of which end between two looks, that are not the CPU's."""
    there = tiny.sample(policies("float32", fake_device.NAME)[1], prompts, G=3, limit=MORE)
    with sdpa_kernel(SDPBackend.MATH):
        here = tiny.sample(policies("float32", "cpu")[1], prompts, G=3, limit=MORE)
    same = {
        name: torch.equal(getattr(there, name).cpu(), getattr(here, name)) for name in ("tokens", "lengths", "ended")
    }
    for name in ("log_probs", "entropies"):
        same[name] = torch.allclose(getattr(there, name).cpu(), getattr(here, name), rtol=0, atol=1e-4)
    same["lengths that differ"] = len(here.lengths.unique()) > 5
    return [f"decoding, ends: other {name} than on the CPU" for name, equal in same.items() if not equal]


def record(name: str, precision: str, what: str | None = None) -> dict[str, Any]:
    """What is beyond its budget, or ends in an error; of one of ``BUDGETS`` only, if it is given."""
    beyond, told = [], {}
    with fake_device.Device():
        for key, count in measured(precision).items():
            if what in (None, key):
                found = count()
                told[key] = {f"{kind} at {line}": n for (kind, line), n in found.items()}
                beyond += exceeded(key, found)
        if what in (None, "decoding, ends"):
            beyond += other_responses(EVEN * 6) + other_responses(UNEVEN * 4)
        if threads_on(torch.device(fake_device.NAME, 0), 16) != 1:
            beyond.append("threads: more than 1")
    return {"name": name, "beyond": beyond, "counts": told}


def main(arguments: list[str]) -> None:
    warnings.simplefilter("ignore")
    fake_device.set_up()
    # So that the vocabulary of the tests is a large one.
    block_search.BLOCK, block_search.SPAN, distribution.CHECKED_TOKENS = 8, 64, 64
    distribution.SPAN = 64  # type: ignore[attr-defined]
    teacher_forcing.TABLE_ENTRIES = 3 * 2 * 320  # type: ignore[attr-defined]
    if arguments[:1] == ["faults"]:
        for place in FAULTS:
            if place.name in arguments[1:] or not arguments[1:]:
                with mixed(place):
                    print(json.dumps(record(place.name, "float32", place.variant)), flush=True)
        return
    for precision in PRECISIONS:
        print(json.dumps(record(precision, precision)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
