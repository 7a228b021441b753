"""Memory scaling: is peak memory flat in B_E, what do memory and time cost, and how well can both be forecast?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pytest_entropy.records.memory_probe import Axis, MemoryProbe, MemoryProbes, cost_in_words
from pytest_entropy.records.run import RunRecord
from pytest_entropy.stats import CheckOutcome, check_within_noise
from pytest_entropy.stats.outcome import OutcomeRecord

Quantity = Literal["memory", "seconds"]
# Growth of memory per prompt that counts as flat, as a share of the smallest batch's memory per prompt.  A run that
# keeps all its pieces has 1; how full pieces are moves it by a few hundredths.
FLAT = 0.25
# Bytes of a run's own tables per response token: tokens, log-probabilities, entropies and their copies.
TABLE_BYTES = 32
# Below these a piece is a single prompt, or too few pieces are added to tell flat from growing.
SMALLEST_B_E, SMALLEST_FACTOR = 8, 4
MIB = 2**20
ONE_MORE = {"B_E": "one more prompt", "G": "one more response to each", "length": "one more token of length"}
NAME, CLAIM, UNIT = "memory_flatness", "peak memory does not grow with B_E", "of growth in proportion to B_E"
LIKELY_CAUSES = "results of pieces that keep their activations or caches alive; a batch computed in one piece"


@dataclass(frozen=True)
class Cost:
    """One measured cost of one run.

    Attributes:
        axis: what varies among the costs that are fitted together.
        quantity: ``memory`` in MiB, or ``seconds``.
        source: ``runs``, the planned runs as they are, or ``probes``, runs whose tensors were counted.
        B_E, G, max_new_tokens: sizes of the run.
        x: the number that varies: prompts, responses per prompt, or mean response length in tokens.
        value: the cost.
    """

    axis: Axis
    quantity: Quantity
    source: Literal["runs", "probes"]
    B_E: int
    G: int
    max_new_tokens: int
    x: float
    value: float


# The forecast of a cost (whose ``value`` is not to be read) from the costs of smaller runs; None where it has none.
Forecast = Callable[[Sequence[Cost], Cost], float | None]


@dataclass(frozen=True)
class CostFit:
    """Costs along one axis, their line, and what the smaller runs forecast for the largest.

    Attributes:
        axis, quantity, source: as in :class:`Cost`.
        points: (x, cost) of each run.
        slope, intercept: of the least-squares line through all points; None where all x are equal.
        largest: the largest x; ``seen`` is the mean cost there.
        forecast: what the costs at smaller x forecast for it; None without a forecast.
        seen_over_forecast: 1 for an exact forecast.
    """

    axis: str
    quantity: str
    source: str
    points: list[tuple[float, float]]
    slope: float | None
    intercept: float | None
    largest: float
    seen: float
    forecast: float | None
    seen_over_forecast: float | None


@dataclass(frozen=True)
class RunCost:
    """What one planned run took: seconds over all phases, and the largest memory of a phase in MiB."""

    B_E: int
    run: int
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class MemoryScaling:
    """``memory_scaling.json``.

    Attributes:
        flatness: the check's outcome.
        counted: how the probes' memory was counted, in words.
        runs: of every planned run, with the process's memory.
        probes: with their own tensors' memory.
        fits: along each axis.
    """

    flatness: OutcomeRecord
    counted: str
    runs: list[RunCost]
    probes: list[MemoryProbe]
    fits: list[CostFit]


def linear_forecast(smaller: Sequence[Cost], target: Cost) -> float | None:
    """The line through the costs at smaller x; None with fewer than two of them.

    Args:
        smaller: costs along one axis.
        target: the run whose cost is forecast.
    """
    line = _line([(cost.x, cost.value) for cost in smaller])
    return None if line is None else line[0] + line[1] * target.x


def flatness(probes: Sequence[MemoryProbe]) -> CheckOutcome:
    """Check that the peak of a run's tensors does not grow with B_E, beyond the tables of its results.

    Bytes are counted and not sampled, so there is no error rate; the tolerance is what the filling of pieces may do.

    Args:
        probes: of all axes.

    Returns:
        The outcome; its effect is the growth per prompt as a share of the smallest batch's memory per prompt.
        Inconclusive where the sizes are too small or too close to one another.
    """
    along = sorted((probe for probe in probes if probe.axis == "B_E"), key=lambda probe: probe.B_E)
    if not along or along[0].B_E < SMALLEST_B_E or along[-1].B_E < SMALLEST_FACTOR * along[0].B_E:
        sizes = ", ".join(str(probe.B_E) for probe in along) or "none"
        reason = (
            f"B_E measured: {sizes}; the smallest has to be at least {SMALLEST_B_E}, and the largest "
            f"{SMALLEST_FACTOR} times as large: give other --be-values"
        )
        return CheckOutcome(
            NAME, CLAIM, None, None, 0.0, None, None, UNIT, len(along), "inconclusive", None, 1.0, None, LIKELY_CAUSES,
            reason=reason,
        )  # fmt: skip
    small, large = along[0], along[-1]
    per_prompt = small.G * small.max_new_tokens * TABLE_BYTES / MIB
    growth = (large.peak_mb - small.peak_mb) / (large.B_E - small.B_E) - per_prompt
    share = max(0.0, growth / (small.peak_mb / small.B_E))
    outcome = check_within_noise(
        [share], noise_floor=FLAT, name=NAME, null=CLAIM, unit=UNIT, likely_causes=LIKELY_CAUSES
    )
    return replace(outcome, effect_of_interest=1.0)


def memory_scaling(
    runs: Sequence[RunRecord], measured: MemoryProbes, *, forecast: Forecast = linear_forecast
) -> MemoryScaling:
    """Fits, and forecasts beside what was seen.

    Args:
        runs: records of the planned runs.
        measured: the probes.
        forecast: forecasts the largest run along an axis.
    """
    # The planned runs have the length that no probe exceeds.
    limit = max(probe.max_new_tokens for probe in measured.probes)
    costs = [*_of_runs(runs, limit), *_of_probes(measured.probes)]
    along: dict[tuple[str, str, str], list[Cost]] = {}
    for cost in costs:
        along.setdefault((cost.axis, cost.quantity, cost.source), []).append(cost)
    return MemoryScaling(
        flatness=flatness(measured.probes).to_dict(),
        counted=measured.counted,
        runs=[RunCost(run.B_E, run.run, sum(run.seconds.values()), max(run.memory_mb.values())) for run in runs],
        probes=measured.probes,
        fits=[_fit(key, of_axis, forecast) for key, of_axis in along.items()],
    )


def _of_runs(runs: Sequence[RunRecord], limit: int) -> Iterator[Cost]:
    for run in runs:
        # The self-check is made once per process, whatever B_E.
        seconds = sum(taken for phase, taken in run.seconds.items() if phase != "self_check")
        yield Cost("B_E", "memory", "runs", run.B_E, run.G, limit, run.B_E, max(run.memory_mb.values()))
        yield Cost("B_E", "seconds", "runs", run.B_E, run.G, limit, run.B_E, seconds)


def _of_probes(probes: Sequence[MemoryProbe]) -> Iterator[Cost]:
    for probe in probes:
        x = {"B_E": probe.B_E, "G": probe.G, "length": probe.length_mean}[probe.axis]
        sizes = probe.B_E, probe.G, probe.max_new_tokens
        yield Cost(probe.axis, "memory", "probes", *sizes, x, probe.peak_mb)
        if probe.seconds is not None:
            yield Cost(probe.axis, "seconds", "probes", *sizes, x, probe.seconds)


def _fit(key: tuple[str, str, str], costs: Sequence[Cost], forecast: Forecast) -> CostFit:
    points = [(cost.x, cost.value) for cost in costs]
    line = _line(points)
    largest = max(cost.x for cost in costs)
    last = [cost for cost in costs if cost.x == largest]
    seen = sum(cost.value for cost in last) / len(last)
    forecasted = forecast([cost for cost in costs if cost.x < largest], last[0])
    return CostFit(
        *key,
        points=points,
        slope=None if line is None else line[1],
        intercept=None if line is None else line[0],
        largest=largest,
        seen=seen,
        forecast=forecasted,
        seen_over_forecast=seen / forecasted if forecasted else None,
    )


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """(intercept, slope) by least squares; None where all x are equal."""
    if len({x for x, _ in points}) < 2:
        return None
    slope, intercept = np.polyfit([x for x, _ in points], [y for _, y in points], 1)
    return float(intercept), float(slope)


def conclusion(analysis: MemoryScaling) -> tuple[str, str]:
    """(verdict, reason) in words: flat or not, what one more of each size costs, how good forecasts were."""
    verdict = {"pass": "flat in B_E", "fail": "grows with B_E"}.get(analysis.flatness["verdict"], "inconclusive")
    share = analysis.flatness["effect"]
    sentences = (
        [] if share is None else [_growth(share, [probe.B_E for probe in analysis.probes if probe.axis == "B_E"])]
    )
    costs: dict[str, list[str]] = {}
    for fit in analysis.fits:
        if fit.slope is not None and fit.slope > 0 and (fit.axis, fit.quantity) != ("B_E", "memory"):
            costs.setdefault(ONE_MORE[fit.axis], []).append(cost_in_words(fit.quantity, fit.slope))
    if costs:
        each = (f"{what} costs {' and '.join(of)}" for what, of in costs.items())
        sentences.append(", ".join(each))
    ratios = [fit.seen_over_forecast for fit in analysis.fits if fit.seen_over_forecast is not None]
    if ratios:
        sentences.append(f"the largest took {min(ratios):.2f} to {max(ratios):.2f} of what the smaller ones forecast")
    return verdict, "; ".join(sentences)


def _growth(share: float, sizes: Sequence[int]) -> str:
    span = f"from B_E {min(sizes)} to {max(sizes)}"
    if share < 0.005:
        return f"peak memory stays level {span}"
    return f"peak memory grows by {100 * share:.2g} % of growth in proportion to B_E {span}"
