"""Faults beyond the place where a comparison stops: only the first elements, tensors, prompts or runs are right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pytest_entropy.optimizers import adam
from pytest_entropy.policy import distribution, sampling
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe import setup
from pytest_entropy.probe.derivatives import attached, directional
from pytest_entropy.probe.estimators import action_value
from pytest_entropy.probe.measure.two_batch import TwoBatch
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update import batch as update_batch
from pytest_entropy.probe.update import source
from tests.statistical.planted.planted_fault import Plant, PlantedFault, after, after_rewards, wrap

KIND = "early_stops"
Tensors = dict[str, torch.Tensor]


# ---------------------------------------------------------------------- the optimizer's step


def _direction(change: Callable[[Tensors], Tensors]) -> Plant:
    return lambda patch: after(patch, update_batch, "update_direction", change)


def last_tensor(direction: Tensors) -> Tensors:
    """The last tensor's step has the other sign."""
    last = list(direction)[-1]
    return {name: -u if name == last else u for name, u in direction.items()}


def last_rows(direction: Tensors) -> Tensors:
    """The last row of each tensor is not stepped (a grid that does not divide)."""
    changed = {name: u.clone() for name, u in direction.items()}
    for u in changed.values():
        u[-1] = 0
    return changed


def from_the_middle_on(patch: pytest.MonkeyPatch) -> None:
    """Elements beyond the first 20 000 have a step of their own; the oracle's limit stands at as many."""
    from pytest_entropy.probe.oracles import optimizer

    # As a limit of five million would be in a large model.
    patch.setattr(optimizer, "MOST_ELEMENTS", 20_000)

    def change(direction: Tensors) -> Tensors:
        seen, out = 0, {}
        for name, u in direction.items():
            out[name] = u if seen <= 20_000 else u * 1.5
            seen += u.numel()
        return out

    after(patch, update_batch, "update_direction", change)


def correction_of_the_first_tensors(patch: pytest.MonkeyPatch) -> None:
    """The bias correction is that of the step before for all but the first 30 tensors."""
    calls = {"n": 0}

    def changed(real: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def second(state: Any) -> torch.Tensor:
            calls["n"] += 1
            late = (calls["n"] - 1) % 42 >= 30
            return real(replace(state, step=state.step - 10) if late else state)

        return second

    wrap(patch, adam, "second_moment", changed)


# ---------------------------------------------------------------------- s_n


def _assembled(change: Callable[[np.ndarray, list[list[int]]], np.ndarray]) -> Plant:
    """The scalars of a batch pass through ``change``, given the prompts of its pieces in their order."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def changed(real: Callable[..., Any]) -> Callable[..., Any]:
            def assemble(parts: Any, *rest: Any) -> Any:
                kept = list(parts)
                found = real(kept, *rest)
                if len(kept) == 1:
                    return found
                indices = [list(some) for some, _ in kept]
                return replace(found, per_prompt={name: change(s, indices) for name, s in found.per_prompt.items()})

            return assemble

        wrap(patch, directional, "_assemble", changed)

    return plant


def last_piece(s: np.ndarray, pieces: list[list[int]]) -> np.ndarray:
    """The last piece's scalars, those of the longest responses, are halved."""
    s = s.copy()
    s[pieces[-1]] *= 0.5
    return s


def last_prompts(s: np.ndarray, pieces: list[list[int]]) -> np.ndarray:
    """The last two prompts of the batch get those of the two before."""
    s = s.copy()
    s[-2:] = s[-4:-2]
    return s


def rotated_in_the_last_piece(s: np.ndarray, pieces: list[list[int]]) -> np.ndarray:
    """The last piece's scalars are in another order: the mean is right, and with it the rest."""
    s = s.copy()
    s[pieces[-1]] = s[pieces[-1][1:] + pieces[-1][:1]]
    return s


def beyond_the_first_sixteen(s: np.ndarray, pieces: list[list[int]]) -> np.ndarray:
    """Prompts beyond the sixteenth are a tenth too large."""
    s = s.copy()
    s[16:] *= 1.1
    return s


def shrunk_where_large(s: np.ndarray, pieces: list[list[int]]) -> np.ndarray:
    """The few largest scalars are clipped, as outliers."""
    bound = np.quantile(np.abs(s), 0.9)
    return np.asarray(np.clip(s, -bound, bound))


def late_baseline(patch: pytest.MonkeyPatch) -> None:
    """From position 8 on the weights of tokens are half as large again."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def weights(log_probs: Any, entropies: Any, mask: Any, control_variate: Any = None) -> Any:
            found = real(log_probs, entropies, mask, control_variate)
            late = torch.arange(mask.shape[-1]) >= 8
            return replace(found, log_prob=torch.where(late, found.log_prob * 1.5, found.log_prob))

        return weights

    real = action_value.ESTIMATOR
    patch.setattr(action_value, "ESTIMATOR", replace(real, weights=changed(real.weights)))


# ---------------------------------------------------------------------- samples and prompts


def late_positions_cooler(patch: pytest.MonkeyPatch) -> None:
    """From position 8 on tokens are drawn at T = 0.7, and recorded at 1."""
    position = {"k": 0}
    draw = distribution.draw

    def sampled(real: Callable[..., Any]) -> Callable[..., Any]:
        def tokens(*arguments: Any) -> Any:
            found = real(*arguments)
            position["k"] += 1
            return found

        return tokens

    def started(real: Callable[..., Any]) -> Callable[..., Any]:
        def sample(*arguments: Any) -> Any:
            position["k"] = 0
            return real(*arguments)

        return sample

    def drawn(log_p: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        return draw(torch.log_softmax(log_p / 0.7, -1) if position["k"] >= 8 else log_p, u)

    patch.setattr(distribution, "draw", drawn)
    wrap(patch, sampling, "draw_tokens", sampled)
    wrap(patch, Policy, "sample", started)


def last_responses_copied(patch: pytest.MonkeyPatch) -> None:
    """The last response of each group is a copy of the first: a group of seven."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def sample(*arguments: Any, **named: Any) -> Any:
            found = real(*arguments, **named)
            parts = {}
            for name in ("tokens", "lengths", "ended", "log_probs", "entropies"):
                table = getattr(found, name).clone()
                table[:, -1] = table[:, 0]
                parts[name] = table
            return replace(found, **parts)

        return sample

    wrap(patch, Setup, "sample", changed)


def positions_bounded(patch: pytest.MonkeyPatch) -> None:
    """Positions stop growing at 30, where a short context would end."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def forward(self: Policy, ids: Any, kept: Any, positions: torch.Tensor, *more: Any, **named: Any) -> Any:
            return real(self, ids, kept, positions.clamp(max=30), *more, **named)

        return forward

    wrap(patch, Policy, "forward", changed)


def runs_share_their_last_prompts(patch: pytest.MonkeyPatch) -> None:
    """From the 17th prompt on all runs draw the same."""

    def changed(real: Callable[..., list[int]]) -> Callable[..., list[int]]:
        def draw(
            prompts: Any, count: int, seed: int, *, exclude: frozenset[str] = frozenset(), **named: Any
        ) -> list[int]:
            found = real(prompts, count, seed, exclude=exclude, **named)
            if not exclude:
                return found
            head = found[:16]
            used = exclude | {prompts[index].key for index in head}
            return head + real(prompts, count - 16, 5, exclude=used, **named)

        return draw

    wrap(patch, setup, "draw_prompts", changed)


def rewards_beyond_the_first_batch(patch: pytest.MonkeyPatch) -> None:
    """Rewards are computed 128 at a time, and those beyond the first 128 are their mean."""

    def changed(found: list[list[float]]) -> list[list[float]]:
        table = np.array(found, dtype=float)
        table.reshape(-1)[128:] = table.reshape(-1)[128:].round() * 0.5
        return table.tolist()  # type: ignore[no-any-return]

    after_rewards(patch, source, changed)


# ---------------------------------------------------------------------- the second run onwards


def _from_the_second_run_on(plant_late: Plant) -> Plant:
    """``plant_late`` when the first run has been measured."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        done: list[bool] = []

        def changed(real: Callable[..., Any]) -> Callable[..., Any]:
            def measure(*arguments: Any, **options: Any) -> Any:
                if len(done) == 1:
                    plant_late(patch)
                done.append(True)
                return real(*arguments, **options)

            return measure

        wrap(patch, TwoBatch, "measure", changed)

    return plant


def hooks_without_a_layer(patch: pytest.MonkeyPatch) -> None:
    after(patch, attached, "along_slope", lambda found: {n: u for n, u in found.items() if "layers.1." not in n})


def weights_drift(patch: pytest.MonkeyPatch) -> None:
    """Scalars are 5 % too small."""
    _assembled(lambda s, pieces: s * 0.95)(patch)


def _fault(name: str, plant: Plant, *causes: str, **more: Any) -> PlantedFault:
    return PlantedFault(name, KIND, plant, causes, **more)


STEP = ("optimizer's step", "direction", "sign", "update")
S_N = ("s_n", "scalar", "derivative", "estimator", "slope")
FAULTS = [
    _fault("sign of the last tensor's step", _direction(last_tensor), *STEP),
    _fault("last rows not stepped", _direction(last_rows), *STEP),
    _fault("step of elements beyond the oracle's limit", from_the_middle_on, *STEP),
    _fault("bias correction of late tensors", correction_of_the_first_tensors, *STEP, "bias correction"),
    _fault("s_n of the last piece", _assembled(last_piece), *S_N),
    _fault("s_n of the last two prompts", _assembled(last_prompts), *S_N),
    _fault("s_n beyond the first sixteen", _assembled(beyond_the_first_sixteen), *S_N),
    _fault("s_n rotated in the last piece", _assembled(rotated_in_the_last_piece), *S_N, "order", number="per_prompt"),
    _fault("s_n clipped where large", _assembled(shrunk_where_large), *S_N, "clip"),
    _fault("weights of late tokens", late_baseline, *S_N, "baseline", "weights", "position"),
    _fault("late tokens drawn at T = 0.7", late_positions_cooler, "temperature", "draw", "sampler"),
    _fault("last response of a group copied", last_responses_copied, "cop", "responses", "identical"),
    _fault("positions bounded", positions_bounded, "position"),
    _fault("runs share their last prompts", runs_share_their_last_prompts, "shared", "same prompts", "share", runs=2),
    _fault("rewards beyond the first 128", rewards_beyond_the_first_batch, "reward"),
    _fault("hooks without a layer from run 2 on", _from_the_second_run_on(hooks_without_a_layer), *S_N, runs=2),
    _fault("s_n 5 % small from run 2 on", _from_the_second_run_on(weights_drift), *S_N, "factor", runs=2),
]  # fmt: skip
