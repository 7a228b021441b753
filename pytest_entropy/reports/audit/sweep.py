"""An eta sweep's record against the run's stored arrays: Lagrange's polynomial through the steps, prompt by prompt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.records.paths import ARRAYS
from pytest_entropy.reports.audit.arithmetic import mean, size, standard_error
from pytest_entropy.reports.audit.figures import DRAWN, line_of
from pytest_entropy.reports.audit.ledger import Ledger, finite, numbers
from pytest_entropy.reports.audit.pages import PrintedFigure
from pytest_entropy.reports.audit.stored_run import StoredRun

GIVE = "its stored arrays give"
# Relative: powers of steps lose digits.
LOST = 1e-6
# Bounds within which a step may be trusted (docs/mathematics.md §7).
SMALLEST_ESS, LARGEST_KHAT, LARGEST_ROUNDING = 0.5, 0.7, 0.05
Arrays = Mapping[str, list[Any]]


def sweep_arrays(directory: Path, run: StoredRun) -> Arrays | None:
    """The run's stored arrays of its sweep as lists, by name without prefix; None where it has no sweep."""
    import numpy as np

    file = directory / run.directory / ARRAYS
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as archive:
        found = {name.removeprefix("sweep_"): archive[name].tolist() for name in archive.files if "sweep_" in name}
    return found if "steps" in found else None


def sweep(ledger: Ledger, file: str, record: Mapping[str, Any], arrays: Arrays, run: StoredRun) -> None:
    """Compare the record of a sweep with the run's arrays.

    Args:
        ledger: where discrepancies are noted.
        file: the file that has the record.
        record: the sweep's.
        arrays: the run's stored arrays.
        run: the run.
    """
    where = f"of {run.name}'s eta sweep"
    ledger.number(file, f"training_eta {where}", record.get("training_eta"), finite(arrays["eta"]), says=GIVE)
    floor = math.sqrt(mean([value**2 for value in arrays["floor"]]))
    ledger.number(file, f"noise_floor {where}", record.get("noise_floor"), floor, says=GIVE)
    points = record.get("points") or []
    ledger.text(file, f"the number of steps {where}", len(points), len(arrays["steps"]), says=GIVE)
    for n, point in enumerate(points[: len(arrays["steps"])]):
        _point(ledger, file, point, arrays, n, where)
    _backwards(ledger, file, arrays, where)
    scalars = numbers(run.record["per_prompt"])
    if run.is_single_batch or run.record.get("unit") == "nats per token" or run.number("companions.count"):
        scalars = numbers((run.record.get("diagnostics") or {}).get(run.record["estimator"]))
    if scalars:
        h1 = mean(scalars)
        stated, near = record.get("delta_h1_over_eta"), LOST * size(scalars)
        ledger.number(file, f"delta_h1_over_eta {where}", stated, h1, within=near, says="its scalars give")
    if record.get("intercept") is not None:
        _fit(ledger, file, record, arrays, scalars, where)


def _backwards(ledger: Ledger, file: str, arrays: Arrays, where: str) -> None:
    """A step backwards that was taken has another change than the mirrored one of the step forwards."""
    changes = dict(zip(arrays["steps"], arrays["change"], strict=True))
    for step, forwards in changes.items():
        backwards = changes.get(-step)
        if step > 0 and backwards is not None and any(forwards) and backwards == [-change for change in forwards]:
            ledger.differs(file, f"the changes at -{step:g} {where} are those at {step:g} with the other sign")


def _point(ledger: Ledger, file: str, point: Mapping[str, Any], arrays: Arrays, n: int, where: str) -> None:
    h, at = arrays["steps"][n], f"at the step {arrays['steps'][n]:g} {where}"
    ledger.number(file, f"eta {at}", point["eta"], h, says=GIVE)
    for name, error, changes in (
        ("slope", "se", arrays["change"][n]),
        ("slope_self_normalised", "se_self_normalised", arrays["self_normalised"][n]),
    ):
        known = all(math.isfinite(change) for change in changes)
        slope = mean(changes) / h if known else None
        se = standard_error(changes) if known else None
        near = LOST * size(changes) / abs(h) if known else 0.0
        ledger.number(file, f"{name} {at}", point[name], slope, within=near, says=GIVE)
        ledger.number(file, f"{error} {at}", point[error], None if se is None else se / abs(h), within=near, says=GIVE)
    for name in ("ess", "group_ess", "khat"):
        stored = arrays[name][n]
        ledger.number(file, f"{name} {at}", point[name], stored if math.isfinite(stored) else None, says=GIVE)
    reasons = {
        f"effective sample size {point['ess']:.3g}": min(arrays["ess"][n], arrays["group_ess"][n]) < SMALLEST_ESS,
        f"k-hat {point['khat']}": arrays["khat"][n] > LARGEST_KHAT,
        "rounding": arrays["rounding"][n] > LARGEST_ROUNDING,
    }
    bad = [reason for reason, holds in reasons.items() if holds]
    if bad and point["trusted"]:
        ledger.differs(file, f"the slope {at} is trusted, in spite of its {bad[0]}")


def _fit(
    ledger: Ledger, file: str, record: Mapping[str, Any], arrays: Arrays, scalars: Sequence[float], where: str
) -> None:
    steps = numbers(record.get("fitted_steps"))
    places = [arrays["steps"].index(step) for step in steps if step in arrays["steps"]]
    trusted = {point["eta"] for point in record["points"] if point["trusted"]}
    if len(places) != len(steps) or not set(steps) <= trusted:
        ledger.differs(file, f"the fitted steps {where} are {steps}, the trusted ones {sorted(trusted)}")
        return
    changes = [[change / step for change in arrays["change"][n]] for n, step in zip(places, steps, strict=True)]
    at_zero, slope_at_zero = lagrange(steps)
    prompts = range(len(changes[0]))
    intercepts = [math.fsum(w * row[p] for w, row in zip(at_zero, changes, strict=True)) for p in prompts]
    curvatures = [2 * math.fsum(w * row[p] for w, row in zip(slope_at_zero, changes, strict=True)) for p in prompts]
    # The weights of the polynomial amplify the rounding of each change.
    near = LOST * size([w * value for w, row in zip(at_zero, changes, strict=True) for value in row])
    near_2 = LOST * size([w * value for w, row in zip(slope_at_zero, changes, strict=True) for value in row])
    pairs: list[tuple[str, str, Sequence[float], float]] = [
        ("intercept", "intercept_se", intercepts, near),
        ("delta_h2", "delta_h2_se", curvatures, 2 * near_2),
    ]
    if len(scalars) == len(intercepts):
        differences = [one - s for one, s in zip(intercepts, scalars, strict=True)]
        pairs.append(("difference", "difference_se", differences, near + LOST * size(scalars)))
    for name, error, values, floor in pairs:
        ledger.number(file, f"{name} {where}", record.get(name), mean(values), within=floor, says=GIVE)
        se = standard_error(values)
        ledger.number(file, f"{error} {where}", record.get(error), se, within=floor, says=GIVE)
    slope, curvature = mean(intercepts), mean(curvatures)
    stated = finite(record.get("eta_star"))
    # Where the slope or the curvature is within rounding of 0, so is every digit of their ratio.
    if stated is not None and abs(slope) > 1e3 * near and abs(curvature) > 2e3 * near_2:
        star = abs(2 * slope / curvature)
        ledger.number(file, f"eta_star {where}", stated, star, within=1e-3 * star, says=GIVE)


def lagrange(steps: Sequence[float]) -> tuple[list[float], list[float]]:
    """(weights of the value at 0, weights of the derivative at 0) of the polynomial through values at ``steps``.

    >>> lagrange([1.0, 2.0])
    ([2.0, -1.0], [-1.0, 1.0])
    """
    values, derivatives = [], []
    for j, own in enumerate(steps):
        others = [step for k, step in enumerate(steps) if k != j]
        scale = math.prod(own - other for other in others)
        values.append(math.prod(-other for other in others) / scale)
        products = (math.prod(-other for m, other in enumerate(others) if m != k) for k in range(len(others)))
        derivatives.append(math.fsum(products) / scale)
    return values, derivatives


def sweep_figure(ledger: Ledger, file: str, shown: PrintedFigure, record: Mapping[str, Any]) -> None:
    """Compare the figure of a sweep with its record, which :func:`sweep` compares with the arrays.

    Args:
        ledger: where discrepancies are noted.
        file: the page that has the figure.
        shown: the figure.
        record: the sweep's.
    """
    file = f"{file}, figure {shown.title!r}"
    (panel,) = shown.panels
    drawn = [
        point for label in ("ΔH(η)/η", "not to be trusted") for point in line_of(panel, label) or ()
    ]  # fmt: skip
    slopes = {point["eta"]: finite(point.get("slope")) for point in record["points"]}
    known = {eta: slope for eta, slope in slopes.items() if slope is not None}
    ledger.text(file, "the number of steps", len(drawn), len(known), says="the sweep has")
    says = "the sweep's record says"
    for x, y in drawn:
        eta = min(known, key=lambda eta: abs(eta - (x or math.inf)), default=None)
        if eta is not None:
            near = DRAWN * abs(known[eta])
            ledger.number(file, f"the slope at the step {x}", y, known[eta], within=near, says=says)
            ledger.number(file, "a step", x, eta, within=DRAWN * abs(eta), says=says)
    for label, key in (("intercept of the fit", "intercept"), ("δH₁/η", "delta_h1_over_eta")):
        for _, y in line_of(panel, label) or ():
            source = finite(record.get(key))
            ledger.number(file, key, y, source, within=DRAWN * abs(source or 1.0), says=says)
