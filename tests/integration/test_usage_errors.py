"""Bad input: one clear message, exit code 4, nothing written, no model loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import tiny
from tests.conftest import Workspace

CASES = {
    "be-values not a number": (["--be-values=16,x"], "'x' is not a whole number"),
    "be-values zero": (["--be-values=0"], "0 is too small, at least 2"),
    "be-values negative": (["--be-values=-4"], "-4 is too small"),
    "be-values empty": (["--be-values="], "is empty; give B_E values such as 16,32,64"),
    "be-values twice": (["--be-values=4", "--be-values=8"], "--be-values is given 2 times"),
    "be-values repeated": (["--be-values=4,4"], "the same B_E appears twice"),
    "runs zero": (["--runs=0"], "0 is too small, at least 1"),
    "bu zero": (["--bu=0"], "0 is too small"),
    "more responses than memory": (["--entropy-set=batch_config.G=99999999999"], "less than or equal to 1000000"),
    "group of one": (["--entropy-set=batch_config.G=1"], "take G >= 2"),
    "group of one, reinforce_loo": (
        ["--entropy-set=batch_config.G=1", "--entropy-set=probe.estimator=reinforce_loo"],
        "leave-one-out baselines (reinforce_loo",
    ),
    "unknown key": (["--config=unknown.yaml"], "unknown.yaml, line 2: unknown key batch_config.B_E_vals; did you mean"),
    "old B": (["--config=old.yaml"], "old.yaml, line 2: batch_config.B: the old B is gone"),
    "wrong type": (["--config=type.yaml"], "type.yaml, line 2: batch_config.G: Input should be a valid integer"),
    "broken yaml": (
        ["--config=broken.yaml"],
        "broken.yaml, line 4, column 1: broken YAML: while parsing a flow sequence (from line 2)",
    ),
    "missing config": (["--config=nowhere.yaml"], "nowhere.yaml cannot be read"),
    "alias": (["--config=alias.yaml"], "alias.yaml, line 2: YAML aliases"),
    "too few prompts": (["--be-values=58"], "60 prompts are 2 too few for B_E 58 + B_U 4"),
    "no checkpoint": (["--checkpoint=nowhere"], "checkpoint nowhere does not exist; expected"),
    "no prompts": (["--prompts=nowhere.jsonl"], "prompts file nowhere.jsonl does not exist"),
    "no reward": (["--reward=rewards.py:nothing"], "has no function 'nothing'"),
    "reward unknown": (["--reward=exact"], "neither built in"),
    "size for others only": (["--be=32"], "--be does not apply to batch_scaling; use --be-values"),
    "target not a number": (["--entropy-target-se=small"], "'small' must be a positive error such as 0.001, or a"),
    "target zero": (["--entropy-target-se=0%"], "'0%' must be a positive error"),
    "target where runs are compared": (
        ["--entropy-target-se=0.001"],
        "--entropy-target-se does not apply to batch_scaling: give it to single_run",
    ),
    "target by its key": (["--entropy-set=batch_config.target_se=-1"], "batch_config.target_se: must be a positive"),
    "truncated sampling": (["--entropy-set=sampling.top_k=5"], "top_p and top_k must stay neutral"),
    "learning rate": (["--learning-rate=-1"], "must be positive"),
    "alpha": (["--entropy-alpha=1"], "between 0 and 1"),
    "device": (["--device=tpu"], "model.device"),
    "device without float64": (["--device=mps"], "mps has no float64"),
    "device not there": (["--device=cuda:99"], "--device cuda:99: torch"),
    "base of a whole model": (["--base-model=nowhere"], "base model 'nowhere'"),
}


@pytest.fixture
def files(workspace: Workspace) -> Workspace:
    texts = {
        "unknown": "batch_config:\n  B_E_vals: [16]\n",
        "old": "batch_config:\n  B: 256\n",
        "type": "batch_config:\n  G: many\n",
        "broken": "batch_config:\n  B_E_values: [16,\nprobe: 3\n",
        "alias": "a: &x [1]\nb: *x\n",
    }
    for name, text in texts.items():
        (workspace.path / f"{name}.yaml").write_text(text)
    return workspace


def refuse(workspace: Workspace, arguments: list[str], message: str, *, workers: str = "0") -> None:
    replaced = {"--entropy-set"} if "type.yaml" in str(arguments) else set()
    replaced |= {argument.split("=")[0] for argument in arguments if not argument.startswith("--entropy-set")}
    kept = [argument for argument in workspace.scaling if argument.split("=")[0] not in replaced]
    run = workspace.refused if workers == "0" else workspace.run
    done = run(*kept, *arguments, "-n", workers)
    assert done.returncode == 4, done.stdout + done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not workspace.results.exists()


@pytest.mark.parametrize("case", list(CASES))
def test_is_refused(files: Workspace, case: str) -> None:
    refuse(files, *CASES[case])


@pytest.mark.parametrize("case", ["unknown key", "no checkpoint", "too few prompts", "be-values twice"])
def test_is_refused_by_the_xdist_controller(files: Workspace, case: str) -> None:
    refuse(files, *CASES[case], workers="2")


OWN = """import pytest
{mark}
def test_run(probe_run):
    assert probe_run.se_conditional
"""
# How a module may say which experiment it is; the last one cannot be read without importing it.
DECLARED = {
    "by its name": "",
    "with keywords": 'pytestmark = pytest.mark.entropy_experiment("own", batch_config={"B_E_values": [4]})',
    "computed": 'pytestmark = pytest.mark.entropy_experiment("o" + "wn")',
}


@pytest.mark.parametrize("mark", DECLARED.values(), ids=DECLARED)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_an_experiment_of_ones_own_refuses_bad_input_in_one_message(files: Workspace, mark: str, workers: str) -> None:
    (files.path / "test_own.py").write_text(OWN.format(mark=mark))
    run = files.refused if workers == "0" else files.run
    done = run("test_own.py", *files.small, "--entropy-set=a=1", "-n", workers)
    text = done.stdout + done.stderr
    assert done.returncode == 4, text
    assert text.count("unknown key a") == 1, text
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert not files.results.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["experiments/test_single_run.py", "--be=6", "--runs=3"],
            "one run per B_E; with --entropy-target-se it is the most",
        ),
        (["experiments/test_debug.py", "--runs=3"], "--runs does not apply to debug: there is one run per B_E"),
        (["experiments/test_debug.py", "--entropy-target-se=1"], "--entropy-target-se does not apply to debug"),
        (["test_own.py", "--entropy-target-se=1", "--be-values=4,6"], "and own has 4, 6: give --be-values with one"),
    ],
)
def test_runs_until_a_target_need_an_experiment_that_takes_them(
    files: Workspace, arguments: list[str], message: str
) -> None:
    (files.path / "test_own.py").write_text(OWN.format(mark=""))
    done = files.refused(*files.small, *arguments, "-n0")
    text = done.stdout + done.stderr
    assert done.returncode == 4, text
    assert message in text
    assert not files.results.exists()


@pytest.mark.slow
def test_one_experiment_has_one_configuration(files: Workspace) -> None:
    classes = [
        f"    @pytest.mark.entropy_experiment('own', batch_config={{'B_E_values': [{size}]}})\n"
        "    def test_run(self, probe_run):\n        assert probe_run\n"
        for size in (4, 6)
    ]
    text = "import pytest\n\n" + "".join(f"class Test{n}:\n{body}" for n, body in enumerate(classes))
    (files.path / "test_own.py").write_text(text)
    for workers in ("0", "2"):
        done = files.run("test_own.py", *files.small, "-n", workers)
        assert done.returncode == 4, done.stdout + done.stderr
        assert "experiment 'own' is declared with {'batch_config': {'B_E_values': [6]}}" in done.stdout + done.stderr
    assert not files.results.exists()


def test_no_optimizer_state(files: Workspace, tmp_path: Path) -> None:
    broken = tmp_path / "copy"
    shutil.copytree(files.checkpoint.parent, broken)
    (broken / "step_3" / "optimizer.pt").unlink()
    refuse(files, [f"--checkpoint={broken / 'step_3'}"], "no optimizer state (looked for")


def test_adapter_without_base(files: Workspace, tmp_path: Path) -> None:
    broken = tmp_path / "copy"
    shutil.copytree(files.checkpoint.parent, broken)
    config = broken / "step_3" / "model" / "adapter_config.json"
    tiny.edit_json(config, base_model_name_or_path=None)
    refuse(files, [f"--checkpoint={broken / 'step_3'}"], "names no base model")
    tiny.edit_json(config, base_model_name_or_path="/not/there")
    refuse(files, [f"--checkpoint={broken / 'step_3'}"], "was not found")
    tiny.edit_json(config, base_model_name_or_path="../../../../somewhere")
    refuse(files, [f"--checkpoint={broken / 'step_3'}"], "'../../../../somewhere' of adapter")


def test_an_unknown_directory_lists_what_was_found(files: Workspace) -> None:
    (files.path / "stuff").mkdir()
    (files.path / "stuff" / "weights.gguf").write_text("x")
    refuse(files, ["--checkpoint=stuff"], "found: weights.gguf")


def test_prompts_name_file_and_line(files: Workspace) -> None:
    (files.path / "bad.jsonl").write_text(json.dumps({"prompt": "x"}) + "\n{oops\n")
    refuse(files, ["--prompts=bad.jsonl"], "bad.jsonl, line 2: not JSON")
    (files.path / "bad.jsonl").write_bytes(b'{"prompt": "\xff"}\n')
    refuse(files, ["--prompts=bad.jsonl"], "is not UTF-8")
    (files.path / "bad.jsonl").write_text(json.dumps({"question": "x"}) + "\n")
    refuse(files, ["--prompts=bad.jsonl"], "no column 'prompt' (found: question)")
