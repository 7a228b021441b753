"""Which variance reduction pays: seconds x SE^2 of every candidate on the demo, over several update batches.

    python -m benchmarks.variance_reduction [--prompts 1024] [--updates 3]

One forward-mode pass gives the derivatives along u token by token, so that all candidates are made from the same
rollouts without another pass.  Those the package offers are then timed by themselves.  ``action_value`` learns from
the update batch, every other candidate from prompts of other folds of its own batch; all are unbiased by construction.
The batch is as large as a run's (``BATCH``), because that is where learning from others has to work.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.measure import interleaved, variance_ratio
from benchmarks.methods import token_tangents
from benchmarks.workload import CHUNK_TOKENS, G, Workload
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.estimators.base import entropy_to_go, positional_baseline
from pytest_entropy.probe.pieces import scoring_chunks

BATCH, FOLDS = 64, 4
OFFERED = ("reinforce_loo", "rao_blackwell_no_baseline", "rao_blackwell", "action_value")


@dataclass(frozen=True)
class Tables:
    """What the candidates are made of: ``[P, G, L]`` float64, zero where no token counts.

    ``score`` and ``slope`` are <grad log pi(t_k), u> and <grad H_k, u>; ``hidden`` ``[P, G, L, D]`` is the last
    hidden state at each prefix; ``mask`` is bool.
    """

    score: np.ndarray
    slope: np.ndarray
    nats: np.ndarray
    gamma: np.ndarray
    baseline: np.ndarray
    hidden: np.ndarray
    mask: np.ndarray

    @property
    def entropy_term(self) -> np.ndarray:
        """(1/G) sum_gk <grad H_k, u> ``[P]``."""
        term: np.ndarray = self.slope.sum((1, 2)) / self.mask.shape[1]
        return term

    def with_baseline(self, b: np.ndarray) -> np.ndarray:
        """s_n ``[P]`` of the Rao-Blackwell estimator with baseline b ``[P, G, L]``."""
        s: np.ndarray = self.entropy_term + self.control((self.gamma - b) * self.mask)
        return s

    def control(self, weights: np.ndarray) -> np.ndarray:
        """(1/G) sum_gk w_gk <grad log pi(t_k), u> ``[P]``: mean zero if w_gk depends on the prefix alone."""
        control: np.ndarray = (weights * self.score).sum((1, 2)) / self.mask.shape[1]
        return control


def tables(policy: Policy, rollouts: Rollouts, direction: Mapping[str, torch.Tensor]) -> Tables:
    """One forward-mode pass over the rollouts, and the hidden states by a hook on the last norm."""
    shape = tuple(rollouts.tokens.shape)
    out = {name: np.zeros(shape) for name in ("score", "slope", "nats")}
    hidden = np.zeros((*shape, policy.model.config.hidden_size), dtype=np.float32)
    for indices in scoring_chunks(rollouts, CHUNK_TOKENS):
        part = rollouts.select(indices)
        seen: list[torch.Tensor] = []
        handle = policy.model.model.norm.register_forward_hook(lambda m, a, o, seen=seen: seen.append(o))
        scores, tangents = token_tangents(policy, part, direction)
        handle.remove()
        length = part.tokens.shape[2]
        for name, value in (
            ("score", tangents.log_probs), ("slope", tangents.entropies), ("nats", scores.entropies)
        ):  # fmt: skip
            out[name][indices, :, :length] = value.numpy()
        first = seen[0][:, -1:].repeat_interleave(rollouts.group_size, dim=0)
        states = torch.cat([first, *seen[1:]], dim=1).detach()
        hidden[indices, :, :length] = states.reshape(len(indices), rollouts.group_size, length, -1).numpy()
    nats = torch.from_numpy(out["nats"])
    gamma = entropy_to_go(nats)
    baseline = positional_baseline(gamma, rollouts.mask).numpy()
    return Tables(**out, gamma=gamma.numpy(), baseline=baseline, hidden=hidden, mask=rollouts.mask.numpy())


# ---------------------------------------------------------------------- candidates made from the tables


def folds_of(count: int, batch: int = BATCH) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(training, held-out) prompt indices: folds within each batch of ``batch`` prompts."""
    everything = np.arange(count)
    for start in range(0, count, batch):
        own = everything[start : start + batch]
        for f in range(FOLDS):
            yield own[np.arange(len(own)) % FOLDS != f], own[np.arange(len(own)) % FOLDS == f]


def ridge_baseline(data: Tables, *, hidden: bool, penalty: float = 1.0) -> np.ndarray:
    """b_k by ridge regression of Gamma_k on position, H_k, the entropy so far, the group's mean and, if asked
    for, the last hidden state; learnt from other folds."""
    prompts, group, length = data.mask.shape
    position = np.broadcast_to(np.eye(length), (prompts, group, length, length))
    so_far = data.nats.cumsum(-1) - data.nats
    columns = [position, np.stack([data.nats, so_far, data.baseline], -1)]
    features = np.concatenate([*columns, data.hidden] if hidden else columns, -1)
    b = np.zeros(data.mask.shape)
    for train, test in folds_of(prompts):
        x, y = features[train][data.mask[train]], data.gamma[train][data.mask[train]]
        scale = np.maximum(x.std(0), 1e-6)
        x = x / scale
        gram = x.T @ x + penalty * len(x) / 100 * np.eye(x.shape[1])
        b[test] = features[test] @ (np.linalg.solve(gram, x.T @ y) / scale)
    return b


def with_controls(s: np.ndarray, controls: list[np.ndarray]) -> np.ndarray:
    """s - C beta, with beta the regression of s on mean-zero controls over the other folds."""
    c, out = np.stack(controls, 1), s.copy()
    for train, test in folds_of(len(s)):
        beta = np.linalg.lstsq(c[train], s[train] - s[train].mean(), rcond=None)[0]
        out[test] = s[test] - c[test] @ beta
    return out


def position_controls(data: Tables, edges: tuple[int, ...] = (0, 4, 8, 16, 64)) -> list[np.ndarray]:
    """The directional score of a range of positions each."""
    k = np.arange(data.mask.shape[2])
    pairs = zip(edges, edges[1:], strict=False)
    return [c for c in (data.control(data.mask * ((k >= a) & (k < b))) for a, b in pairs) if c.any()]


CANDIDATES: dict[str, Callable[[Tables], np.ndarray]] = {
    "ridge baseline (position, H, entropy so far)": lambda d: d.with_baseline(ridge_baseline(d, hidden=False)),
    "ridge baseline + hidden state": lambda d: d.with_baseline(ridge_baseline(d, hidden=True)),
    "rao_blackwell + score control": lambda d: with_controls(
        d.with_baseline(d.baseline), [d.control(d.mask.astype(float))]
    ),
    "rao_blackwell + score controls by position": lambda d: with_controls(
        d.with_baseline(d.baseline), position_controls(d)
    ),
    "ridge + hidden state + score control": lambda d: with_controls(
        d.with_baseline(ridge_baseline(d, hidden=True)), [d.control(d.mask.astype(float))]
    ),
    "entropy term alone (biased: bound for any baseline)": lambda d: d.entropy_term,
}


# ---------------------------------------------------------------------- the comparison


def scalars(workload: Workload, prompts: int, seed: int) -> dict[str, np.ndarray]:
    """s_n ``[prompts]`` of every candidate and of every estimator on offer, from the same rollouts."""
    rollouts = workload.rollouts(prompts, seed, estimator="action_value")
    offered = workload.scalars(rollouts, *OFFERED)
    data = tables(workload.probe.policy, rollouts, workload.update.direction)
    return offered | {name: make(data) for name, make in CANDIDATES.items()}


def seconds_per_run(workload: Workload, repeats: int = 5) -> dict[str, float]:
    """Median CPU seconds of a run of BATCH prompts, sampling included, by estimator on offer (one thread, so that
    these are the wall seconds of an idle machine)."""

    def run(name: str, r: int) -> None:
        workload.scalars(workload.rollouts(BATCH, 1000 + r, estimator=name), name)

    tasks = {name: lambda r, name=name: run(name, r) for name in OFFERED}
    return {
        name: float(np.median(values)) for name, values in interleaved(tasks, repeats, clock=time.process_time).items()
    }


def compare(prompts: int, updates: int) -> dict[str, dict[str, Any]]:
    """By candidate: variance relative to rao_blackwell per update, the mean's distance in SE, seconds where timed."""
    rows: dict[str, dict[str, list[Any]]] = {}
    workload = None
    for seed in range(updates):
        workload = Workload.demo(seed=seed)
        s = scalars(workload, prompts, seed)
        plain = s["rao_blackwell"]
        for name, values in s.items():
            row = rows.setdefault(name, {"less_variance": [], "shift": []})
            row["less_variance"].append(variance_ratio(plain, values, resamples=500))
            gap = values - plain
            error = gap.std(ddof=1) / len(gap) ** 0.5
            row["shift"].append(float(gap.mean() / error) if error else 0.0)
    assert workload is not None
    seconds = seconds_per_run(workload)
    return {name: {**row, "seconds": seconds.get(name)} for name, row in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prompts", type=int, default=1024)
    parser.add_argument("--updates", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = compare(options.prompts, options.updates)
    plain = result["rao_blackwell"]["seconds"]
    print(f"{options.prompts} prompts x {G} responses in batches of {BATCH}, {options.updates} update batches")
    print(
        "| candidate | var(rao_blackwell) / var, per update [95 %] | paired shift / SE | CPU s | less seconds x SE² |"
    )
    print("|---|---|---|---|---|")
    for name, row in result.items():
        less = [r["value"] for r in row["less_variance"]]
        gains = ", ".join(f"{r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}]" for r in row["less_variance"])
        shifts = ", ".join(f"{x:+.1f}" for x in row["shift"])
        seconds = row["seconds"]
        cost = "" if seconds is None else f"{np.median(less) * plain / seconds:.2f}×"
        print(f"| {name} | {gains} | {shifts} | {'' if seconds is None else f'{seconds:.2f}'} | {cost} |")


if __name__ == "__main__":
    main()
