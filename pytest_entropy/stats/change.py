"""What the entropy does in words: it falls, rises, or no change is seen, at the next step and on average."""

from __future__ import annotations

from pytest_entropy.stats.intervals import too_few
from pytest_entropy.stats.measurement import NEXT_STEP, OVER_UPDATES, Measurement
from pytest_entropy.stats.signal import signal_to_noise

STILL = "no change: the update moves nothing"
Interval = tuple[float, float]


def change(measured: Measurement, unit: str, *, confidence: float, when: str = "") -> tuple[str, str]:
    """(what the entropy does, how well that is known), in words.

    The next step's update batch is another one, so that where the spread over update batches is known the interval for
    the next step decides; elsewhere the one for this update batch.  Where it holds 0, no change is claimed.

    >>> what, known = change(Measurement(-0.0253, 0.001, 64), "nats/response", confidence=0.95)
    >>> what
    'entropy falls by 0.0253 nats/response'
    >>> known
    'δH₁ = -0.0253 ± 0.0010 for this update batch'

    Args:
        measured: delta_h1 with its errors.
        unit: its unit in words.
        confidence: of the intervals, in (0, 1).
        when: follows the verb, such as `` at the next step``.
    """
    if measured.value == 0 and not measured.se:
        return STILL + when, ""
    known = f"δH₁ = {measured.in_words()}"
    if measured.ci(confidence) is None:
        few = "" if measured.se is None else too_few(measured.prompts)
        what = "sign not judged" if few else "change of unknown error"
        return what + when, f"{known}, {few}" if few else known
    interval, over = deciding_interval(measured, confidence)
    if interval is None:
        return "sign not judged" + when, f"{known}, {OVER_UPDATES} {too_few(measured.smaller_batch)}"
    percent = f"{100 * confidence:g}%"
    if _holds_zero(interval):
        low, high = interval
        return f"no change seen{when}: between {low:.3g} and {high:.3g} {unit} ({percent}, {over})", known
    way = _way(measured.value)
    range_ = f" ({percent}: by {_by(interval)})" if over == NEXT_STEP else ""
    return f"entropy {way} by {abs(measured.value):.3g} {unit}{when}{range_}", known


def deciding_interval(measured: Measurement, confidence: float) -> tuple[Interval | None, str]:
    """The interval that decides what is claimed of the next step, and the batches that it is over, in words.

    Args:
        measured: delta_h1 with its errors.
        confidence: of the interval, in (0, 1).
    """
    if measured.single_batch or measured.se_total is None:
        return measured.ci(confidence), measured.scope
    return measured.ci_next_step(confidence), NEXT_STEP


def drift(measured: Measurement, unit: str, *, confidence: float) -> str:
    """The mean change per step in words, over all update batches; empty where the error over them is not known.

    >>> drift(Measurement(-0.0253, 0.001, 64, update_part=1e-5), "nats/response", confidence=0.95)
    'drift per step, the mean over update batches: falls by 0.0187 to 0.0319 nats/response (95%)'

    Args:
        measured: delta_h1 with its errors.
        unit: its unit in words.
        confidence: of the interval, in (0, 1).
    """
    known = measured.se_next_step is not None and (measured.value or measured.se)
    interval = measured.ci_total(confidence) if known else None
    if interval is None:
        return ""
    low, high = interval
    seen = f"not seen, between {low:.3g} and {high:.3g}"
    moved = seen if _holds_zero(interval) else f"{_way(measured.value)} by {_by(interval)}"
    return f"drift per step, the mean over update batches: {moved} {unit} ({100 * confidence:g}%)"


def noise(measured: Measurement) -> str:
    """|SE / delta_h1| and its label for each error, in words; empty where it is undefined.

    >>> noise(Measurement(-0.0253, 0.001, 64, update_part=1e-5))
    '|SE/δH₁| = 0.04 (good) for this update batch, 0.13 (ok) over update batches'

    Args:
        measured: delta_h1 with its errors.
    """
    parts = []
    for se, scope in ((measured.se, measured.scope), (measured.se_total, OVER_UPDATES)):
        ratio, label = signal_to_noise(measured.value, se)
        if ratio is not None and (scope != OVER_UPDATES or not measured.single_batch):
            parts.append(f"{ratio:.2f} ({label}) {scope}")
    return f"|SE/δH₁| = {', '.join(parts)}" if parts else ""


def _way(value: float) -> str:
    return "falls" if value < 0 else "rises"


def _by(interval: Interval) -> str:
    """An interval on one side of 0 as sizes, the smaller first."""
    low, high = sorted(map(abs, interval))
    return f"{low:.3g} to {high:.3g}"


def _holds_zero(ci: tuple[float, float]) -> bool:
    return ci[0] <= 0 <= ci[1]
