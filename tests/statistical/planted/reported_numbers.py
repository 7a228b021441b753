"""Faults of numbers that are reported and that no one computes a second time, and of stored runs that are used again.

Those of stage ``session`` show in the files of whole sessions.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_entropy.baselines import compare
from pytest_entropy.checkpoints.demo import PATH
from pytest_entropy.plugin import session_end
from pytest_entropy.plugin.experiment import Experiment
from pytest_entropy.probe.derivatives import derivative_piece
from pytest_entropy.probe.diagnostics import eta_sweep
from pytest_entropy.probe.measure import u_statistic
from pytest_entropy.probe.measure.entropy_unit import EntropyUnit
from pytest_entropy.probe.measure.two_batch import TwoBatch
from pytest_entropy.probe.probe import EntropyProbe
from pytest_entropy.probe.update import source
from pytest_entropy.probe.variance import total
from pytest_entropy.prompts import prompt as prompt_module
from pytest_entropy.prompts.prompt import DemoPrompts, Prompt
from pytest_entropy.records.baseline import BaselineRun
from pytest_entropy.records.item import ItemReport
from pytest_entropy.records.summary import RunRow
from pytest_entropy.reports import tables
from pytest_entropy.reports.figures import scaling
from pytest_entropy.reports.sections import runs as runs_section
from tests.statistical.planted.planted_fault import Plant, PlantedFault, Sessions, after, wrap
from tests.statistical.planted.whole_sessions import newest

KIND = "reported_numbers"
SANITY = ("reinforce_loo", "score", "ranks", "definition", "entropy_slope")
TOTAL: dict[str, object] = {"diagnostics": (*SANITY, "total_variance"), "B_U": 16}
SWEEP: dict[str, object] = {"diagnostics": (*SANITY, "eta_sweep")}
SINGLE_BATCH: dict[str, object] = {"mode": "u_statistic", "diagnostics": ()}
TOKEN: dict[str, object] = {"entropy_unit": "token"}


# ---------------------------------------------------------------------- the error over update batches


def _combined(change: Callable[[Any, np.ndarray, np.ndarray, float], Any]) -> Plant:
    """V_X, V_Y and T pass through ``change``, given the scalars they were computed from."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda s, products, *, eta: change(real(s, products, eta=eta), s, products, eta)

    return lambda patch: wrap(patch, total, "combine", changed)


def over_the_other_batch(found: Any, s: np.ndarray, products: np.ndarray, eta: float) -> Any:
    """V_Y divided by B_E in place of B_U."""
    return replace(found, update_batch=found.update_batch * len(products) / len(s))


def not_centred(found: Any, s: np.ndarray, products: np.ndarray, eta: float) -> Any:
    """T from products that are not centred over update prompts."""
    difference = (products[:, 0] - products[:, 1]) / 2
    return replace(found, interaction=eta**2 * float(np.square(difference).mean()) / len(products))


def of_one_half(found: Any, s: np.ndarray, products: np.ndarray, eta: float) -> Any:
    """T from the difference of the halves, not of each from their mean: four times as large."""
    return replace(found, interaction=4 * found.interaction)


def interaction_added(patch: pytest.MonkeyPatch) -> None:
    """V_X + V_Y + T."""
    patch.setattr(
        total.TotalVariance, "total",
        property(lambda self: self.entropy_batch + self.update_batch + self.interaction),
    )  # fmt: skip


def parts_of_half_the_update(patch: pytest.MonkeyPatch) -> None:
    """Only the first half of U's prompts has parts; those of the others are 0."""

    def half(y: np.ndarray) -> np.ndarray:
        y = y.copy()
        y[len(y) // 2 :] = 0
        return y

    after(patch, total, "update_parts", half)


# ---------------------------------------------------------------------- a single batch


def rows_of_one_side(patch: pytest.MonkeyPatch) -> None:
    """Row means by x alone, not symmetrised: their mean is right, their spread is not."""
    kept: list[np.ndarray] = []

    def changed(real: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def rows(*arguments: Any) -> np.ndarray:
            kept.append(real(*arguments))
            # The sides come in pairs: x, then y.
            return kept[-1] if len(kept) % 2 else kept[-2]

        return rows

    wrap(patch, u_statistic, "without_diagonal_rows", changed)


def pseudo_values_without_their_factor(patch: pytest.MonkeyPatch) -> None:
    """U + (r_n - U) in place of U + 2 (r_n - U): half the error."""
    patch.setattr(u_statistic.UStatistic, "pseudo_values", property(lambda self: self.row_means))


def zeta_with_ddof_0(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(u_statistic.UStatistic, "zeta_1", property(lambda self: float(self.row_means.var())))


# ---------------------------------------------------------------------- entropy, evidence, records


def _token_entropy(change: Callable[[np.ndarray, np.ndarray], tuple[float, float]]) -> Plant:
    return lambda patch: patch.setattr(EntropyUnit, "entropy", lambda self, nats, lengths: change(nats, lengths))


def lengths_as_if_fixed(nats: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
    """The error of the entropy per token as if lengths were known."""
    return float(nats.mean() / lengths.mean()), float(nats.std(ddof=1) / lengths.mean() / len(nats) ** 0.5)


def mean_of_ratios(nats: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
    """The mean over prompts of their entropy per token, in place of the ratio of means."""
    ratios = nats / lengths
    return float(ratios.mean()), float(ratios.std(ddof=1) / len(ratios) ** 0.5)


def fraction_not_counted(patch: pytest.MonkeyPatch) -> None:
    """The share of the set that a run draws is said to be 0."""
    patch.setattr(EntropyProbe, "_sampling_fraction", lambda *arguments: 0.0)


def every_surprise(patch: pytest.MonkeyPatch) -> None:
    """All surprises of a response are counted, not its first: more evidence than there is."""

    def all_of_them(forced: Any, part: Any) -> np.ndarray:
        chance = -np.expm1(forced.likeliest.detach().double().cpu().numpy())
        return np.asarray((chance * part.mask.cpu().numpy()).sum((1, 2)))

    patch.setattr(derivative_piece, "expected_first_surprises", all_of_them)


def norm_of_the_gradient(patch: pytest.MonkeyPatch) -> None:
    """The gradient's norm is the sum of its tensors' norms."""
    after(
        patch, source, "take_update",
        lambda update: replace(update, gradient_norm=sum(float(g.norm()) for g in update.gradient.values())),
    )  # fmt: skip


def second_estimator_copied(patch: pytest.MonkeyPatch) -> None:
    """The column of the second estimator holds the first's scalars, with a little noise."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def measure(self: TwoBatch, *arguments: Any, **options: Any) -> Any:
            found = real(self, *arguments, **options)
            noise = np.random.default_rng(0).normal(size=len(found.s)) * found.s.std()
            found.derivatives.per_prompt["reinforce_loo"] = found.s + noise - noise.mean()
            return found

        return measure

    wrap(patch, TwoBatch, "measure", changed)


# ---------------------------------------------------------------------- the sweep


def size_by_the_largest(patch: pytest.MonkeyPatch) -> None:
    """1 / max of the normalised weights in place of 1 / their sum of squares."""

    def share(logs: np.ndarray, axis: int | None = None) -> np.ndarray:
        w = np.exp(logs - logs.max(axis=axis, keepdims=True))
        return np.asarray(w.mean(axis) / w.max(axis))

    patch.setattr(eta_sweep, "effective_sample_size", share)


def shape_of_the_other_tail(patch: pytest.MonkeyPatch) -> None:
    """The Pareto shape of the smallest weights."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        return lambda logs: (real(logs)[0], real(-logs)[1])

    wrap(patch, eta_sweep, "pareto_smoothed", changed)


def weights_left_out(patch: pytest.MonkeyPatch) -> None:
    """The change of the responses' own entropies, without the change of their probabilities."""
    patch.setattr(eta_sweep, "entropy_change", lambda before, after_: (after_.nats - before.nats).mean(1))


def self_normalised_over_all(patch: pytest.MonkeyPatch) -> None:
    """Weights normalised over all prompts in place of each group."""

    def change(before: Any, after_: Any, *, log_weights: np.ndarray, **named: Any) -> np.ndarray:
        w = np.exp(log_weights)
        return np.asarray((w / w.mean() * after_.nats - before.nats).mean(1))

    patch.setattr(eta_sweep, "self_normalised_change", change)


def curvature_left_out(patch: pytest.MonkeyPatch) -> None:
    """Steps backwards are not taken but mirrored from those forwards."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def sweep(*arguments: Any, **named: Any) -> Any:
            found = real(*arguments, **named)
            steps, change = list(found.steps), found.change.copy()
            for j, step in enumerate(steps):
                if step < 0 and -step in steps:
                    change[j] = -change[steps.index(-step)]
            return replace(found, change=change)

        return sweep

    from pytest_entropy.probe.diagnostics import finite_steps

    wrap(patch, finite_steps, "eta_sweep", changed)


# ---------------------------------------------------------------------- tables, figures, files


def columns_exchanged(patch: pytest.MonkeyPatch) -> None:
    """Two columns of the rows are exchanged: the error of delta_h1 and that of the entropy."""
    after(
        patch, tables, "run_rows",
        lambda rows: [replace(row, se_conditional=row.entropy_se, entropy_se=row.se_conditional) for row in rows],
    )  # fmt: skip


def without_sign(patch: pytest.MonkeyPatch) -> None:
    """The table of runs has no signs."""
    after(patch, session_end, "to_csv", lambda text: text.replace(",-", ","))


def first_run_for_the_mean(patch: pytest.MonkeyPatch) -> None:
    """The mean over runs at a B_E is the first run."""
    real = tables.SizeRow.of.__func__  # type: ignore[attr-defined]
    patch.setattr(tables.SizeRow, "of", classmethod(lambda cls, runs: replace(real(cls, runs[:1]), runs=len(runs))))


def error_of_the_mean_not_pooled(patch: pytest.MonkeyPatch) -> None:
    """The mean over runs is given the error of one run."""

    def single(found: Any) -> Any:
        return replace(found, se=None if found.se is None else found.se * 2**0.5)

    after(patch, tables, "pool", single)


def millinats(patch: pytest.MonkeyPatch) -> None:
    """Items report delta_h1 in thousandths of its unit."""
    real = ItemReport.of_run.__func__  # type: ignore[attr-defined]

    def of_run(cls: type[ItemReport], result: Any, *, stored: bool) -> ItemReport:
        found: ItemReport = real(cls, result, stored=stored)
        return replace(found, delta_h1=1e3 * result.delta_h1)

    patch.setattr(ItemReport, "of_run", classmethod(of_run))


def bars_of_one_error(patch: pytest.MonkeyPatch) -> None:
    """Bars called 95 % intervals are one standard error long."""

    def short(one: Any) -> Any:
        if one.interval is None:
            return one
        low, high = one.interval
        middle, reach = (low + high) / 2, (high - low) / 2 / 1.96
        return replace(one, interval=(middle - reach, middle + reach))

    after(patch, scaling, "_drawn", lambda found: ([short(one) for one in found[0]], found[1]))


def figure_of_entropy(patch: pytest.MonkeyPatch) -> None:
    """The points of the figure are in another order than their batch sizes."""

    def reversed_points(drawn: Any) -> list[Any]:
        return [
            replace(one, delta_h1=other.delta_h1, interval=other.interval)
            for one, other in zip(drawn, drawn[::-1], strict=True)
        ]

    after(patch, scaling, "_drawn", lambda found: (reversed_points(found[0]), found[1]))


def rows_shifted(patch: pytest.MonkeyPatch) -> None:
    """The numbers of a row of the page are those of the run before."""
    before: list[Any] = []

    def of(run: Any, experiment: str) -> RunRow:
        before.append(run)
        return replace(RunRow.of(before[max(0, len(before) - 2)], experiment), directory=run.directory)

    patch.setattr(runs_section, "RunRow", SimpleNamespace(of=of))


def six_decimals(patch: pytest.MonkeyPatch) -> None:
    """Records are written with six decimals."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rounded(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rounded(item) for item in value]
        return round(value, 6) if isinstance(value, float) else value

    from pytest_entropy.runs import run_files

    wrap(patch, run_files, "write_json", lambda real: lambda path, record: real(path, rounded(record)))


def intervals_by_the_normal(patch: pytest.MonkeyPatch) -> None:
    """The analysis as written has a's interval as a plus or minus one standard error."""

    def changed(real: Callable[..., Path]) -> Callable[..., Path]:
        def record(self: Experiment, analysis: Any, file: str | None = None) -> Path:
            fit = analysis.get("fit")
            if fit:
                analysis = {**analysis, "fit": {**fit, "ci_a": [fit["a"] - fit["se_a"], fit["a"] + fit["se_a"]]}}
            return real(self, analysis, file)

        return record

    wrap(patch, Experiment, "record", changed)


def parameters_exchanged(patch: pytest.MonkeyPatch) -> None:
    """a and b of the scaling fit are exchanged in the analysis as written."""

    def changed(real: Callable[..., Path]) -> Callable[..., Path]:
        def record(self: Experiment, analysis: Any, file: str | None = None) -> Path:
            fit = analysis.get("fit")
            if fit:
                analysis = {**analysis, "fit": {**fit, "a": fit["b"], "b": fit["a"]}}
            return real(self, analysis, file)

        return record

    wrap(patch, Experiment, "record", changed)


# ---------------------------------------------------------------------- the regression gate


def with_itself(patch: pytest.MonkeyPatch) -> None:
    """Runs are compared with themselves, so that nothing ever changes."""
    after(patch, compare, "paired_runs", lambda pairs: [(new, new) for _, new in pairs])


def sides_exchanged(patch: pytest.MonkeyPatch) -> None:
    """The baseline and the present change sides: every difference has the other sign."""
    after(patch, compare, "paired_runs", lambda pairs: [(new, old) for old, new in pairs])


def noise_of_the_baseline(patch: pytest.MonkeyPatch) -> None:
    """The error of the entropy is stored ten times too large, so that no change of it is ever seen."""
    real = BaselineRun.of.__func__  # type: ignore[attr-defined]

    def of(cls: type[BaselineRun], run: Any) -> BaselineRun:
        found: BaselineRun = real(cls, run)
        return replace(found, entropy_se=10 * (found.entropy_se or 0.0))

    patch.setattr(BaselineRun, "of", classmethod(of))


def a_little_later(patch: pytest.MonkeyPatch, place: Path) -> None:
    """Another checkpoint, whose step is 2 % longer: within what the gate tolerates."""
    import torch

    file = place / "step_30" / "optimizer.pt"
    record = torch.load(file, weights_only=True)
    for entry in record["state"].values():
        entry["exp_avg_sq"] /= 1.02**2
    torch.save(record, file)


# ---------------------------------------------------------------------- stored runs used again


def older_version(patch: pytest.MonkeyPatch) -> None:
    """An older version of the package, which took the answers of the next row."""
    size = len(DemoPrompts())

    def changed(real: Callable[[Any, int], Prompt]) -> Callable[[Any, int], Prompt]:
        def item(self: DemoPrompts, index: int) -> Prompt:
            return Prompt(real(self, index).content, real(self, (index + 1) % size).columns)

        return item

    from pytest_entropy.runs import execution

    wrap(patch, prompt_module.DemoPrompts, "__getitem__", changed)
    after(patch, execution, "environment", lambda found: {**found, "pytest-entropy": "0.0.9"})


def new_version(patch: pytest.MonkeyPatch, place: Path) -> None:
    """The present version of the package is installed."""
    patch.undo()


def nothing(patch: pytest.MonkeyPatch) -> None:
    """What is wrong is outside the program, which does not notice."""


REWARD = "def score(prompts, completions, **columns):\n    return [{value} for text in completions]\n"


def reward_module(place: Path) -> None:
    (place / "my_rewards.py").write_text(REWARD.format(value="len(text) / 40"))
    (place / "conftest.py").write_text(
        "import sys\nsys.path.insert(0, str(__import__('pathlib').Path(__file__).parent))\n"
    )


def another_reward(patch: pytest.MonkeyPatch, place: Path) -> None:
    (place / "my_rewards.py").write_text(REWARD.format(value="text.count('1') / 10"))


def data_set(place: Path, first: int = 0) -> None:
    from datasets import Dataset

    problems = [DemoPrompts()[index] for index in range(first, first + 200)]
    shutil.rmtree(place / "problems", ignore_errors=True)
    columns = {
        "prompt": [str(one.content) for one in problems],
        "answer": [str(one.columns["answer"]) for one in problems],
    }
    Dataset.from_dict(columns).save_to_disk(str(place / "problems"))


def data_set_replaced(patch: pytest.MonkeyPatch, place: Path) -> None:
    """A later edition of the data set, with other problems, under the old name."""
    data_set(place, first=200)


# ---------------------------------------------------------------------- what is read


def _row(place: Path, column: str) -> float:
    with (newest(place) / "results.csv").open(encoding="utf-8") as stream:
        return float(next(csv.DictReader(stream))[column])


def _json(file: str, *keys: str | int) -> Callable[[Path], float]:
    def read(place: Path) -> float:
        value = json.loads(next(iter(sorted(newest(place).glob(file)))).read_text(encoding="utf-8"))
        for key in keys:
            value = value[key]
        return float(value)

    return read


def _markdown(place: Path) -> str:
    """The cells of the table by B_E, without the seconds."""
    lines = (newest(place) / "summary.md").read_text(encoding="utf-8").splitlines()
    return "".join(line.rpartition("|")[0].rpartition("|")[0] for line in lines if re.match(r"\| \d", line))


def _page_row(place: Path) -> str:
    """The second row of the page's table of runs, without seconds and memory."""
    text = (newest(place) / "report.html").read_text(encoding="utf-8")
    cells = re.findall(r'<tr><td data-of="run">BE\d+_run\d+</td><td[^>]*>([^<]*)</td>', text)
    return str(cells[1])


def _figure(place: Path) -> str:
    """The picture of delta_h1 against B_E, found by its alternative text."""
    text = (newest(place) / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r"<img[^>]*>", text)
    return next(str(picture) for picture in pictures if "all errors" in picture and "a = " in picture)


def _junit(place: Path) -> float:
    entries = ET.parse(place / "junit.xml").iter("property")
    return next(float(one.get("value", "nan")) for one in entries if str(one.get("name")).endswith("::delta_h1"))


def prepared_demo(place: Path) -> None:
    for part in ("base", "step_30"):
        shutil.copytree(PATH / part, place / part)


SCALING = (
    "experiments/test_batch_scaling.py", "--checkpoint=demo", "--be-values=8,16", "--runs=2", "--bu=4",
)  # fmt: skip
SINGLE = (
    "experiments/test_single_run.py",
    "--be=4",
    "--bu=4",
    "--entropy-set=batch_config.G=4",
    "--entropy-set=eta_sweep.multiples=[]",
)
OWN = (*SINGLE, "--checkpoint={place}/step_30", "--entropy-set=sampling.max_new_tokens=32")
GATE = ((*OWN, "--entropy-save=base"), (*OWN, "--entropy-compare=base", "--entropy-compare-anyway"))
DELTA = _json("*/results.json", "delta_h1")


def _resumed(*options: str, **more: Any) -> dict[str, Any]:
    """A session, and a second one that resumes it; of the correct program the second begins anew."""
    first = (*SINGLE, *options)
    sessions = Sessions(((first), (*first, "--resume")), DELTA, reference=(first, first), **more)
    return {"stage": "session", "sessions": sessions, "number": "delta_h1 of the second session"}


def _session(
    number: str, reads: Callable[[Path], float | str], *commands: tuple[str, ...], **more: Any
) -> dict[str, Any]:
    return {"stage": "session", "number": number, "sessions": Sessions(commands or (SCALING,), reads, **more)}


def _fault(name: str, plant: Plant, *causes: str, **more: Any) -> PlantedFault:
    return PlantedFault(name, KIND, plant, causes, **more)


OVER_U = ("total variance", "variance_total", "se_total", "over update batches", "variance_parts")
U_WORDS = ("row mean", "pseudo", "zeta", "single batch", "u-statistic", "standard error")
SWEPT = ("sweep", "importance", "weights")
TABLE = ("results.csv", "csv", "summary", "report", "table", "column")
STORED = ("version", "resume", "stored run")
FAULTS = [
    _fault(
        "update part of the variance over B_E", _combined(over_the_other_batch), *OVER_U, "update_batch", "b_u",
        settings=TOTAL, number="se_total",
    ),
    _fault(
        "interaction not centred", _combined(not_centred), *OVER_U, "interaction", settings=TOTAL,
        number="variance_parts.interaction",
    ),
    _fault(
        "interaction of one half", _combined(of_one_half), *OVER_U, "interaction", settings=TOTAL,
        number="variance_total",
    ),
    _fault("interaction added", interaction_added, *OVER_U, "interaction", settings=TOTAL, number="variance_total"),
    _fault(
        "update part of half of U", parts_of_half_the_update, *OVER_U, "update_batch", settings=TOTAL,
        number="variance_parts.update_batch",
    ),
    _fault("row means of one side", rows_of_one_side, *U_WORDS, settings=SINGLE_BATCH, number="se_conditional"),
    _fault(
        "pseudo-values without their factor", pseudo_values_without_their_factor, *U_WORDS, settings=SINGLE_BATCH,
        number="se_conditional",
    ),
    _fault(
        "zeta_1 with ddof 0", zeta_with_ddof_0, *U_WORDS, "ddof", settings=SINGLE_BATCH, number="u_statistic.zeta_1"
    ),
    _fault(
        "error per token with lengths fixed", _token_entropy(lengths_as_if_fixed), "entropy_se", "its error",
        "per token", "jackknife", settings=TOKEN, number="entropy_se",
    ),
    _fault(
        "entropy per token as a mean of ratios", _token_entropy(mean_of_ratios), "entropy", "per token", "ratio",
        settings=TOKEN, number="entropy_mean",
    ),
    _fault(
        "share of the set not counted", fraction_not_counted, "sampling_fraction", "share", number="sampling_fraction"
    ),
    _fault("every surprise counted", every_surprise, "surprise", number="expected_surprises"),
    _fault("norm of the gradient", norm_of_the_gradient, "gradient_norm", "norm", number="update.gradient_norm"),
    _fault(
        "second estimator copied", second_estimator_copied, "reinforce_loo", "estimator",
        number="diagnostics.reinforce_loo",
    ),
    _fault("effective sample size by the largest weight", size_by_the_largest, *SWEPT, "ess", "effective sample size",
           settings=SWEEP, number="sweep_ess"),
    _fault("k-hat of the other tail", shape_of_the_other_tail, *SWEPT, "k-hat", "khat", "pareto",
           settings={**SWEEP, "pareto_smoothed": True}, number="sweep_khat"),
    _fault("self-normalised over all prompts", self_normalised_over_all, *SWEPT, "self", settings=SWEEP,
           number="sweep_self_normalised"),
    _fault("importance weights left out", weights_left_out, *SWEPT, settings=SWEEP, number="sweep_change"),
    _fault(
        "importance weights left out, in a session", weights_left_out, *SWEPT, "intercept",
        **_session("intercept of the sweep", _json("single_test_results.json", "eta_sweep", "intercept"),
                   (*SINGLE[:-1], "--checkpoint=demo")),
    ),
    _fault(
        "curvature left out", curvature_left_out, *SWEPT, "curvature", "delta_h2", "second derivative",
        **_session("delta_h2", _json("single_test_results.json", "eta_sweep", "delta_h2"),
                   (*SINGLE[:-1], "--checkpoint=demo")),
    ),
    _fault(
        "columns of the rows exchanged", columns_exchanged, *TABLE, "se_conditional",
        **_session("se_conditional in results.csv", lambda place: _row(place, "se_conditional")),
    ),
    _fault("signs lost in results.csv", without_sign, *TABLE, "sign",
           **_session("delta_h1 in results.csv", lambda place: _row(place, "delta_h1"))),
    _fault(
        "first run for the mean", first_run_for_the_mean, *TABLE, "mean", **_session("table in summary.md", _markdown)
    ),
    _fault("error of the mean not pooled", error_of_the_mean_not_pooled, *TABLE, "mean", "pool",
           **_session("table in summary.md", _markdown)),
    _fault("rows of the page shifted", rows_shifted, *TABLE, "row", **_session("row of report.html", _page_row)),
    _fault("bars of one standard error", bars_of_one_error, "figure", "bar", "interval", "report",
           **_session("figure in report.html", _figure)),
    _fault("points of the figure in another order", figure_of_entropy, "figure", "point", "order", "report",
           **_session("figure in report.html", _figure)),
    _fault("delta_h1 of items in millinats", millinats, "junit", "propert", "unit", "report",
           **_session("delta_h1 in junit.xml", _junit, (*SCALING, "--junitxml={place}/junit.xml"))),
    _fault("six decimals in results.json", six_decimals, "results.json", "round", "decimals", "variance",
           **_session("variance_conditional in results.json", _json("*/results.json", "variance_conditional"))),
    _fault("interval of one standard error in the analysis", intervals_by_the_normal, "interval", "ci_a", "analysis",
           **_session("ci_a in convergence_analysis.json", _json("convergence_analysis.json", "fit", "ci_a", 0))),
    _fault("a and b exchanged in the analysis", parameters_exchanged, "analysis", "fit",
           **_session("a in convergence_analysis.json", _json("convergence_analysis.json", "fit", "a"))),
    _fault(
        "gate compares a run with itself", with_itself, "baseline", "compar",
        **_session("effect in comparison.json", _json("comparison.json", "quantities", 0, "outcome", "effect"), *GATE,
                   before=prepared_demo, between=a_little_later),
    ),
    _fault(
        "gate's sides exchanged", sides_exchanged, "baseline", "compar", "sign",
        **_session("effect in comparison.json", _json("comparison.json", "quantities", 0, "outcome", "effect"), *GATE,
                   before=prepared_demo, between=a_little_later),
    ),
    _fault(
        "noise of the baseline's entropy x 10", noise_of_the_baseline, "baseline", "entropy_se", "noise",
        **_session("entropy_se in the baseline", lambda place: float(json.loads(
            (place / "results" / "baselines" / "base.json").read_text())["experiments"]["single_run"]["runs"][0][
                "entropy_se"]), GATE[0], before=prepared_demo),
    ),
    _fault(
        "runs of an older version resumed", older_version, *STORED,
        **_resumed("--checkpoint=demo", between=new_version),
    ),
    _fault(
        "runs of a changed reward module resumed", nothing, *STORED, "reward",
        **_resumed("--checkpoint=demo", "--reward=my_rewards:score", before=reward_module, between=another_reward),
    ),
    _fault(
        "runs of a changed data set resumed", nothing, *STORED, "data set", "dataset", "prompts",
        **_resumed(
            "--checkpoint=demo", "--prompts=datasets:{place}/problems", before=data_set, between=data_set_replaced
        ),
    ),
]  # fmt: skip
