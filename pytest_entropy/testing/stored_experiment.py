"""An experiment with something of everything that a report shows, and the same one empty, failed, null or hostile."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from pytest_entropy.records.comparison import Comparison, QuantityRow
from pytest_entropy.records.conclusion import Conclusion
from pytest_entropy.records.experiment import ExperimentRecord
from pytest_entropy.records.paths import CONFIG
from pytest_entropy.records.rollouts import ExtremeRollouts, PromptRollouts, Response
from pytest_entropy.records.run import RunRecord
from pytest_entropy.records.serialization import plain
from pytest_entropy.records.update import Sample, StoredUpdate
from pytest_entropy.reports.view import ExperimentView
from pytest_entropy.settings.layers import PROVENANCE, Layer, resolve_config
from pytest_entropy.stats import CheckOutcome
from pytest_entropy.stats.outcome import Verdict

ETA = 2e-4
SIZES = (8, 32)
ESTIMATORS = ("action_value", "reinforce_loo")
FAILED, MISSING = "BE032_run002", "BE032_run003"
# The beginning of a link, the end of an attribute, tags, and an address.
HOSTILE = "javascript:alert(1)//\"'><script>alert(2)</script><img src=x onerror=alert(3)>&lt;https://elsewhere.invalid/"
# Which experiment it is decides what its files are called.
OWN_WORDS = (ExperimentRecord, "experiment")


def whole_experiment(directory: Path) -> ExperimentView:
    """The view of an experiment with runs, a failed and a missing one, checks of each verdict, an analysis, rollouts,
    an update with equal rewards, a comparison, failed tests and another plugin's analysis; files of some are in
    ``directory``."""
    runs = [_run(B_E, number) for B_E in SIZES for number in (1, 2)][:-1]
    for place in (*(run.directory for run in runs), FAILED):
        (directory / place).mkdir(parents=True, exist_ok=True)
        (directory / place / CONFIG).write_text("{}\n", encoding="utf-8")
    resolved = resolve_config([Layer("test", {"batch_config": {"B_E_values": list(SIZES)}})])
    checks = [_outcome(f"check_{verdict}", verdict) for verdict in ("pass", "fail", "inconclusive")]
    row = QuantityRow(
        quantity="delta_h1", rule="delta_h1:5%", before=-0.02, after=-0.03, margin=0.001, word="CHANGED",
        outcome=_outcome("compare_delta_h1", "fail"),
    )  # fmt: skip
    points = [{"eta": h, "slope": -138 + 2e4 * h, "se": 6.0, "trusted": h < 3e-4} for h in (-2e-4, 2e-4, 4e-4)]
    return ExperimentView(
        directory=directory,
        manifest=ExperimentRecord(
            experiment="batch_scaling", stamp="2026-01-01_00-00-00", checkpoint="demo",
            checkpoint_digest="1d62985e3aded781", config_digest="0" * 16, layout="step directory",
            planned_runs=[*(run.directory for run in runs), FAILED, MISSING], environment={"python": "3.11"},
        ),
        runs=runs,
        failures={FAILED: "session 2026\nTraceback\nValueError: no luck\n"},
        checks={check.name: check for check in checks},
        analysis={
            "verdict": "converges", "reason": "a = -0.0275",
            "runs": [{"B_E": 8, "run": 1, "estimators": {name: {"mean": -0.02, "se": 0.001} for name in ESTIMATORS}}],
            "counted": "bytes of live tensors", "fits": [_fit("B_E", "memory"), _fit("G", "seconds")],
            "fit": {"a": -0.0275, "se_a": 8e-4, "b": 2e-3, "se_b": 0.03},
            "eta_sweep": {"points": points, "training_eta": ETA, "intercept": -138.0, "intercept_se": 5.0,
                          "delta_h1_over_eta": -137.0, "reading": "first order holds"},
        },
        update=_update(),
        config={**resolved.config.model_dump(mode="json"), PROVENANCE: resolved.sources},
        conclusion=Conclusion("converges", "a = -0.0275"),
        comparison=Comparison(baseline="main", pairing="3 of 3 runs", missing="the rest", quantities=[row]),
        plugin_analyses={"another_plugin": {"entropy": 1.5, "words": ["of", {"its": "own"}]}},
        failed_items={"test_entropy": "entropy is 0.3, expected 1.5"},
        earlier_errors={"update": ["reward r raised ConnectionError: 503"]},
        rollouts=ExtremeRollouts(
            B_E=32, run=1, eta=ETA, unit=runs[0].unit,
            prompts=[PromptRollouts("a question", -174.0, "lowest", [Response("an answer", 1.0)])],
        ),
    )  # fmt: skip


def _fit(axis: str, quantity: str) -> dict[str, Any]:
    """A line of memory scaling."""
    return {
        "axis": axis, "quantity": quantity, "source": "probes", "points": [[8.0, 2.0], [16.0, 3.0]], "slope": 0.125,
        "intercept": 1.0, "largest": 16.0, "seen": 3.0, "forecast": None, "seen_over_forecast": None,
    }  # fmt: skip


def nothing_yet(view: ExperimentView) -> ExperimentView:
    """The experiment before its first run."""
    return replace(
        view, runs=[], failures={}, checks={}, analysis={}, update=None, config={}, conclusion=None, comparison=None,
        plugin_analyses={}, failed_items={}, earlier_errors={}, rollouts=None,
    )  # fmt: skip


def all_failed(view: ExperimentView) -> ExperimentView:
    """The experiment with an error in place of every run and of its update batch."""
    failures = {name: "" for name in view.manifest.planned_runs} | {"update": "RunError: no memory\n"}
    return replace(nothing_yet(view), failures=failures, failed_items=view.failed_items)


def with_null_numbers(view: ExperimentView) -> ExperimentView:
    """The experiment with None for each number that may be None, and for each one in plain values."""
    return _mapped(view, lambda value, null: None if null and _is_number(value) else value)


def with_hostile_text(view: ExperimentView) -> ExperimentView:
    """The experiment with :data:`HOSTILE` for each text but those that are one of a few words, and beside the keys of
    all mappings."""
    return _mapped(view, lambda value, null: HOSTILE if isinstance(value, str) else value, key=HOSTILE)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mapped(view: ExperimentView, change: Callable[[Any, bool], Any], key: str | None = None) -> ExperimentView:
    """The view with ``change(value, whether None may stand there)`` of every value at any depth.

    With a ``key`` each mapping gets one more, with the value of its first.
    """

    def walk(value: Any, hint: Any) -> Any:
        options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        if any(get_origin(option) is Literal for option in options):
            return value
        if is_dataclass(value) and not isinstance(value, type):
            hints = get_type_hints(type(value))
            named = {f.name for f in fields(value) if not (isinstance(value, OWN_WORDS[0]) and f.name == OWN_WORDS[1])}
            return replace(value, **{name: walk(getattr(value, name), hints[name]) for name in sorted(named)})
        inner = next((get_args(option) for option in options if get_args(option)), ())
        of = inner[-1] if inner else Any
        if isinstance(value, Mapping):
            found = {name: walk(item, of) for name, item in value.items()}
            return {**found, key: next(iter(found.values()))} if found and key is not None else found
        if isinstance(value, list):
            return [walk(item, of) for item in value]
        return change(value, type(None) in options or any(option in (Any, object) for option in options))

    walked: ExperimentView = walk(view, ExperimentView)
    return walked


# ---------------------------------------------------------------------- its parts


def _run(B_E: int, number: int) -> RunRecord:
    s = -100.0 * np.random.default_rng(B_E + number).lognormal(0.0, 0.8, B_E)
    variance = float(ETA**2 * s.var(ddof=1) / B_E)
    seconds = {"sampling": 0.2, "derivatives": 0.5}
    record = {
        "B_E": B_E, "G": 8, "run": number, "seed": 1000 * B_E + number, "delta_h1": float(ETA * s.mean()),
        "variance_conditional": variance, "se_conditional": variance**0.5, "per_prompt": s.tolist(), "eta": ETA,
        "companions": {"count": 0},
        "eta_source": "optimizer.pt", "estimator": "rao_blackwell", "update_rule": "preconditioned",
        "entropy_mean": 1.75, "entropy_se": 0.1, "length_mean": 18.0, "ended_share": 1.0, "agreement": {},
        "seconds": seconds, "memory_mb": {name: 700.0 for name in seconds}, "peak_memory_mb": 800.0 + B_E,
        "update": plain(_update()), "variance_total": 2 * variance, "se_total": (2 * variance) ** 0.5,
        "notes": ["none of 4 prompts in the trainer's log is among the prompts"],
        "variance_parts": {"entropy_batch": variance, "update_batch": 2 * variance, "interaction": variance},
    }  # fmt: skip
    return RunRecord.from_dict(record, directory=f"BE{B_E:03d}_run{number:03d}").slim()


def _update() -> StoredUpdate:
    return StoredUpdate(
        rule="preconditioned", objective="dr_grpo", eta=ETA, eta_source="optimizer.pt", seed=7, prompts=["p1", "p2"],
        rewards=[[0.0, 0.0], [1.0, 1.0]], gradient_norm=0.0, direction_norm=0.0, reward_mean=0.5, reward_std=0.5,
        degenerate_groups=1.0, entropy_mean=1.7, length_mean=18.0, mapping="names", end_tokens=[1],
        sampling={"temperature": 1.0}, ignored_generation_config={"top_p": 0.9}, parameters={"all": 20},
        sample=[Sample("a question", "a completion", "an answer", 0.0)],
    )  # fmt: skip


def _outcome(name: str, verdict: Verdict) -> CheckOutcome:
    return CheckOutcome(
        name, "a mean is 0", 1.0, 0.2, 0.01, 0.5, (-0.5, 1.5), "nats", 32, verdict, 0.6, 0.7, 64, "a sign", None, "few"
    )
