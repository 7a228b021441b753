"""What differs between a baseline and now, by name, and both errors of each side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_entropy.baselines.differences import differences, package_differences
from pytest_entropy.baselines.side_errors import side_errors
from pytest_entropy.records.baseline import BaselineRun, SharedUpdate, Snapshot
from pytest_entropy.records.comparison import SideErrors
from pytest_entropy.stats import Measurement, pool


def run(number: int = 1, B_E: int = 32, *, se: float | None = 0.1, eta: float = 2e-4, **more: float) -> BaselineRun:
    fields: dict[str, float | None] = {"se_total": None, "variance_total": None, "sampling_fraction": None, **more}
    return BaselineRun(
        B_E=B_E, run=number, seed=number, eta=eta, delta_h1=1.0, se_conditional=se, entropy_mean=1.75, entropy_se=0.1,
        per_prompt=[1.0], **fields,
    )  # fmt: skip


BEFORE = Snapshot(
    checkpoint="runs/a",
    checkpoint_digest="a" * 16,
    objective={"seed": 0, "probe.advantage": "grpo"},
    environment={"torch": "2.12", "peft": "0.17"},
    settings={"model.dtype": "float32"},
    config_digest="c1",
    update=SharedUpdate(prompts=["p", "q"], rewards=[[0.0, 1.0], [0.0, 0.0]]),
    runs=[run()],
)
CASES: dict[str, tuple[Snapshot, list[str]]] = {
    "nothing": (BEFORE, []),
    "the checkpoint": (
        replace(BEFORE, checkpoint="runs/b", checkpoint_digest="b" * 16),
        ["another checkpoint (runs/a, digest aaaaaaaa → runs/b, digest bbbbbbbb)"],
    ),
    "settings": (
        replace(
            BEFORE, objective={"seed": 1, "probe.advantage": "grpo", "x": None}, settings={"model.dtype": "bfloat16"}
        ),
        ["seed 0 → 1", "model.dtype float32 → bfloat16"],
    ),
    "a setting that the baseline does not have": (
        replace(BEFORE, settings={"model.dtype": "float32", "memory.rows": 8}),
        ["memory.rows unset → 8"],
    ),
    "a baseline from before settings were recorded": (replace(BEFORE, settings={}), []),
    "the learning rate": (replace(BEFORE, runs=[run(eta=3e-4)]), ["learning rate η 0.0002 → 0.0003"]),
    "prompts of the update": (
        replace(BEFORE, update=SharedUpdate(prompts=["p", "r"], rewards=[[0.0, 1.0], [0.0, 0.0]])),
        ["1 of 2 prompts of the update batch are other ones"],
    ),
    "rewards of the update": (
        replace(BEFORE, update=SharedUpdate(prompts=["p", "q"], rewards=[[0.0, 1.0], [1.0, 0.0]])),
        ["rewards of the update batch (mean 0.25 → 0.5)"],
    ),
    "the content of a file": (
        replace(BEFORE, config_digest="c2"),
        ["a setting, or the content of a prompt or reward file (digest c1 → c2)"],
    ),
    "the path of a checkpoint alone": (replace(BEFORE, checkpoint="elsewhere", config_digest="c2"), []),
    "many settings": (
        replace(BEFORE, objective={f"k{n}": n for n in range(8)}),
        [*(f"k{n} unset → {n}" for n in range(6)), "4 more settings"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_differs(case: str) -> None:
    after, words = CASES[case]
    assert differences(BEFORE, after) == words


def test_packages_that_differ() -> None:
    after = replace(BEFORE, environment={"torch": "2.13", "peft": "0.17", "numpy": "2.1"})
    assert package_differences(BEFORE, after) == ["numpy not recorded → 2.1", "torch 2.12 → 2.13"]
    assert package_differences(replace(BEFORE, environment={}), after) == []


def test_of_one_run_the_errors_are_its_own() -> None:
    one = run(se=0.1, se_total=0.3, variance_total=0.09)
    assert side_errors([one], single_batch=False) == SideErrors(se_conditional=0.1, se_total=0.3)
    assert side_errors([one], single_batch=True) == SideErrors(se_conditional=0.1)
    assert side_errors([run(se=None)], single_batch=False) is None
    assert side_errors([], single_batch=False) is None


@pytest.mark.parametrize("fraction", [None, 0.25])
def test_of_runs_of_one_size_the_errors_are_those_of_the_tables(fraction: float | None) -> None:
    plain = [run(n, se=0.1 * n, variance_total=0.01 * n**2 + 0.04) for n in (1, 2, 3)]
    runs = [replace(one, sampling_fraction=fraction) for one in plain]
    found = side_errors(runs, single_batch=False)
    of_runs = [Measurement(1.0, 0.1 * n, 32, update_part=0.04, sampling_fraction=fraction or 0.0) for n in (1, 2, 3)]
    expected = pool(of_runs)
    assert found is not None
    assert found.se_conditional == pytest.approx(expected.se)
    assert found.se_total == pytest.approx(expected.se_total)


def test_a_larger_run_counts_for_more() -> None:
    # Sixteen and 48 prompts of one spread: together they are 64 independent prompts.
    found = side_errors([run(1, 16, se=0.4), run(2, 48, se=0.4 / 3**0.5)], single_batch=False)
    assert found is not None
    assert found.se_conditional == pytest.approx(0.2)
    assert found.se_total is None
