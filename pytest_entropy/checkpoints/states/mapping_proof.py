"""A proof from two consecutive checkpoints that each optimizer state belongs to the parameter it is mapped to.

AdamW's step from k to k+1 is determined by what checkpoint k+1 stores:
theta_{k+1} - theta_k = -lr (wd theta_k + m-hat / (sqrt(v-hat) + eps)), with m-hat, v-hat of k+1 (Loshchilov and
Hutter, arXiv 1711.05101, algorithm 2).  No gradient is needed, and clipping is already inside the moments.
Only the rate is unknown (the stored one is the *next* step's): one number per hyperparameter group, fitted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.errors import UsageError
from pytest_entropy.optimizers.state import AdamWState, ParameterState

# Rounding in units of the machine epsilon: weight decay and step round a weight by half a unit each at most; some
# thirty operations act on the moments.
_WEIGHT_ROUNDINGS = 1.0
_MOMENT_ROUNDINGS = 32.0
# Dynamic 8-bit codes are taken after the step; their relative error is far below that of a swap (about 1.4).
_QUANTISED = 0.4
# A step must stand this far above the rounding to be evidence.
_RESOLVED = 10.0
# Rates to try: enough that one is of a parameter whose state is in its place.
_CANDIDATES = 200
# Parameters that the message names.
_NAMED = 8


class Contradiction(UsageError):
    """Some of a checkpoint's optimizer states belong to other parameters than those they are mapped to."""


@dataclass(frozen=True)
class MappingProof:
    """Residuals of AdamW's step between two consecutive checkpoints, which prove the mapping of optimizer states.

    Attributes:
        before: the earlier checkpoint's name, None where there is none.
        relative: by live name, |theta_{k+1} - theta_k - lr u| / |lr u|, u the step of the stored state at rate 1;
            of the parameters that moved by more than the rounding of their weights.
        absolute: the largest element of theta_{k+1} - theta_k - lr u, by live name.
        unresolved: parameters that moved by less than that rounding; nothing is proved of them.
        rates: the fitted learning rate by hyperparameter group.
        reason: why the checkpoints could not be compared, else None.
    """

    before: str | None
    relative: Mapping[str, float]
    absolute: Mapping[str, float]
    unresolved: tuple[str, ...] = ()
    rates: Mapping[int, float] | None = None
    reason: str | None = None

    @property
    def proved(self) -> bool:
        """Whether at least one parameter's state was proved and none contradicted."""
        return self.reason is None and bool(self.relative)

    def __str__(self) -> str:
        if not self.proved:
            return f"not proved: {self.reason}"
        largest, share = max(self.absolute.values()), max(self.relative.values())
        text = f"proved from {self.before}, residual {largest:.1e} ({share:.1e} of the step)"
        if self.unresolved:
            all_of_them = len(self.relative) + len(self.unresolved)
            text += f"; {len(self.unresolved)} of {all_of_them} tensors moved too little to tell"
        return text


def not_proved(reason: str, before: str | None = None) -> MappingProof:
    """The result for checkpoints that could not be compared, with the reason and the earlier one's name."""
    return MappingProof(before, {}, {}, reason=reason)


class _Pair:
    """The weights before and after a step, read one tensor at a time, as two whole models need not fit into memory."""

    def __init__(self, before: Path, after: Path, keys: Mapping[str, str], name: str) -> None:
        self.name, self._keys = name, keys
        self._old, self._new = WeightsFile(before), WeightsFile(after)

    def incomparable(self, states: AdamWState) -> str | None:
        """Why the two cannot be compared, or None."""
        for name, state in states.items():
            key = self._keys.get(name)
            if key is None or key not in self._old or key not in self._new:
                return f"{self.name} has no {name} to compare with"
            if self._old.shape(key) != tuple(state.exp_avg.shape):
                return f"{name} has shape {self._old.shape(key)} in {self.name}"
            for weights in (self._old, self._new):
                if weights.dtype(key) not in ("F32", "F64"):
                    return f"weights are saved as {weights.dtype(key)}, whose rounding is of the size of a step"
        return None

    def step(self, name: str) -> _Step:
        """One parameter's step."""
        key = self._keys[name]
        before, after = self._old.read(key), self._new.read(key)
        theta, later = before.double(), after.double()
        size = max(float(theta.norm()), float(later.norm()))
        eps = max(torch.finfo(before.dtype).eps, torch.finfo(after.dtype).eps)
        return _Step(theta, later - theta, _WEIGHT_ROUNDINGS * eps * size)


@dataclass(frozen=True)
class _Step:
    """A parameter before its step, its difference after the step, and the norm of their rounding, all float64."""

    theta: torch.Tensor
    moved: torch.Tensor
    rounding: float

    def compare(self, state: ParameterState) -> _Comparison:
        """Compare the step taken with the step that the state gives at rate 1."""
        u = state.last_step(self.theta)
        tolerance = _QUANTISED if state.quantised else _MOMENT_ROUNDINGS * torch.finfo(state.exp_avg.dtype).eps
        dd, du, uu = (float((a * b).sum()) for a, b in ((self.moved, self.moved), (self.moved, u), (u, u)))
        return _Comparison(dd, du, uu, self.rounding, tolerance)

    def residual(self, state: ParameterState, rate: float) -> torch.Tensor:
        """moved - rate u, element by element: from scalar products half of the digits would be lost."""
        return self.moved - rate * state.last_step(self.theta)


@dataclass(frozen=True)
class _Comparison:
    """Scalar products of the step taken, d, and the step at rate 1, u; rounding of weights; tolerance of moments."""

    dd: float
    du: float
    uu: float
    rounding: float
    tolerance: float

    @property
    def rate(self) -> float | None:
        """The learning rate that fits this parameter alone; None if none fits."""
        return self.du / self.uu if self.uu > 0 and self.du > 0 else None

    def size(self, rate: float) -> float:
        """Norm of the step at this rate."""
        return rate * float(self.uu**0.5)

    def limit(self, rate: float) -> float:
        """The largest norm of a residual that rounding explains."""
        return self.rounding + self.tolerance * max(float(self.dd**0.5), self.size(rate))

    def fits(self, rate: float) -> bool:
        """Whether the step at this rate explains the difference of the weights."""
        squared = self.dd - 2 * rate * self.du + rate * rate * self.uu
        # Cancellation in the products is 1e-8 of the step, below every tolerance.
        return float(max(squared, 0.0) ** 0.5) <= self.limit(rate)

    def resolved(self, rate: float) -> bool:
        """Whether the step stands out from the rounding: only then is a fit evidence."""
        return self.size(rate) > _RESOLVED * self.rounding


def prove(
    before: Path, after: Path, keys: Mapping[str, str], states: AdamWState, *, names: tuple[str, str]
) -> MappingProof:
    """Prove the mapping of optimizer states from two directories of weights, one optimizer step apart.

    Args:
        before, after: directories with safetensors.
        keys: live parameter name to key in the files.
        states: AdamW's state after the step, by live name.
        names: what messages call the two checkpoints.

    Returns:
        The relative and absolute residual of every parameter's step, and the fitted learning rates.

    Raises:
        Contradiction: a parameter's step is not that of the state mapped to it; every such parameter is named.
        UsageError: one of the two cannot be read.
    """
    pair = _Pair(before, after, keys, names[0])
    reason = pair.incomparable(states)
    if reason is not None:
        return not_proved(reason, names[0])
    compared = {name: pair.step(name).compare(state) for name, state in states.items()}
    if not all(math.isfinite(one.dd) for one in compared.values()):
        return not_proved(f"weights of {names[0]} are not finite", names[0])
    rates = {
        group: _fit([compared[name] for name, state in states.items() if state.group == group])
        for group in sorted({state.group for state in states.values()})
    }
    relative: dict[str, float] = {}
    absolute: dict[str, float] = {}
    unresolved, wrong = [], []
    for name, state in states.items():
        one, rate = compared[name], rates[state.group]
        residual = pair.step(name).residual(state, rate)
        if float(residual.norm()) > one.limit(rate):
            wrong.append(name)
        elif not one.resolved(rate):
            unresolved.append(name)
            continue
        relative[name] = float(residual.norm()) / max(one.size(rate), one.dd**0.5)
        absolute[name] = float(residual.abs().max())
    if wrong:
        raise Contradiction(_contradiction(pair, wrong, relative, states, rates, names[1]))
    if not relative:
        reason = f"since {names[0]} no parameter moved by more than the rounding of its stored weights"
    return MappingProof(names[0], relative, absolute, tuple(unresolved), rates, reason)


def _fit(members: list[_Comparison]) -> float:
    """The rate that fits most parameters, refined on these by least squares: robust to many misplaced states."""
    candidates = [member.rate for member in members if member.rate is not None]
    if not candidates:
        return 0.0
    some = candidates[:: 1 + len(candidates) // _CANDIDATES]
    best = max(some, key=lambda rate: sum(one.fits(rate) and one.resolved(rate) for one in members))
    inliers = [one for one in members if one.fits(best) and one.resolved(best)]
    # Weighted least squares: 8-bit moments must not blur those of 24 bits.
    weights = [1 / one.limit(best) ** 2 for one in inliers]
    total = sum(w * one.uu for w, one in zip(weights, inliers, strict=True))
    return sum(w * one.du for w, one in zip(weights, inliers, strict=True)) / total if total > 0 else best


def _contradiction(
    pair: _Pair,
    wrong: Sequence[str],
    relative: Mapping[str, float],
    states: AdamWState,
    rates: Mapping[int, float],
    where: str,
) -> str:
    """The message that names the parameters whose states contradict their steps, and the states' owners if known."""
    parts = []
    for name in wrong[:_NAMED]:
        step = pair.step(name)
        owner = next((other for other in wrong if _explains(step, states[other], rates)), None)
        filed = f", its state is filed under {owner}" if owner and owner != name else ""
        parts.append(f"{name} (relative residual {relative[name]:.2g}{filed})")
    if len(wrong) > _NAMED:
        parts.append(f"and {len(wrong) - _NAMED} more")
    other = "; another optimizer than AdamW may have taken that step" if 2 * len(wrong) > len(states) else ""
    # On one line, because reports show the last line of an error.
    return (
        f"optimizer states of {where} are permuted or of another model: {len(wrong)} of {len(states)} parameters did "
        f"not move from {pair.name} as their state says: {'; '.join(parts)}. Save the parameters' names with the "
        f"states (build the optimizer from model.named_parameters()); if {pair.name} is not the step before in the "
        "same run, move it away" + other
    )


def _explains(step: _Step, state: ParameterState, rates: Mapping[int, float]) -> bool:
    """Whether a state gives the step that a parameter took."""
    if state.exp_avg.shape != step.theta.shape:
        return False
    rate, one = rates[state.group], step.compare(state)
    return one.resolved(rate) and float(step.residual(state, rate).norm()) <= one.limit(rate)
