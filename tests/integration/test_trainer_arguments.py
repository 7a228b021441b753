"""What a trainer's ``training_args.bin`` says of the objective is used, shown with its source, and never run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checkpoints.training_arguments import NAME
from pytest_entropy.runs.plan import Plan
from pytest_entropy.runs.planner import Planner, SessionRequest
from pytest_entropy.settings.dotted_keys import nested
from pytest_entropy.settings.layers import Layer
from tests.conftest import Workspace, unwrapped
from tests.trl_runs import OBJECTIVE, TrlRun, trl_run
from tests.unit.checkpoints.strangers import Payload, canary
from tests.unit.checkpoints.trainer_files import GRPOConfig, saved

__all__ = ["canary", "trl_run"]

GRPO = {
    "num_generations": 4, "loss_type": "bnpo", "scale_rewards": "none", "temperature": 0.7, "max_completion_length": 16,
}  # fmt: skip
# The tiny model's context is shorter than the default's 256 tokens.
SHORT = "--entropy-set=sampling.max_new_tokens=16"


@pytest.fixture
def own(checkpoint: Path, workspace: Workspace) -> Path:
    """A checkpoint of its own, beside which a trainer's file may be put."""
    shutil.copytree(checkpoint.parent, workspace.path / "run", ignore=shutil.ignore_patterns("*.lock"))
    return workspace.path / "run" / checkpoint.name


def header(workspace: Workspace, checkpoint: Path, *arguments: str) -> list[str]:
    """The lines of a session's header; nothing is computed."""
    done = workspace.refused(
        "experiments/test_single_run.py", "--collect-only", f"--checkpoint={checkpoint}", "--prompts=prompts.jsonl",
        "--be=8", "--bu=4", *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return unwrapped(done.stdout).splitlines()


def plan_of(workspace: Workspace, checkpoint: Path, file: str | None = None, **keys: Any) -> Plan:
    given = {"checkpoint": str(checkpoint), "prompts.source": str(workspace.path / "prompts.jsonl"), **keys}
    layers = [Layer("--entropy-set", nested(key, value)) for key, value in given.items()]
    sizes = Layer("--be", {"batch_config": {"B_E_values": [8], "B_U": 4}})
    request = SessionRequest(workspace.path, config_file=file, layers=lambda kind: [*layers, sizes])
    return Planner(request, "2026-01-01_00-00-00").plan("single_run", workspace.path / "experiments" / "test_x.py")


# ---------------------------------------------------------------- the real trainer's


@pytest.fixture
def real(trl_run: Callable[[str], TrlRun]) -> Path:
    """A checkpoint of TRL's GRPOTrainer, none of whose settings is the default."""
    return trl_run(OBJECTIVE).checkpoint(2)


def test_the_real_trainers_settings_in_the_header(real: Path, workspace: Workspace) -> None:
    lines = header(workspace, real, "--reward=rewards.py:length,exact_answer")
    (step,) = (line for line in lines if line.startswith("  step: "))
    assert f"advantage bnpo ({NAME}); scale_rewards batch ({NAME}); temperature 0.7 ({NAME}); " in step
    template = workspace.path / "configs" / "single_run.yaml"
    assert (
        f"  from {NAME}: probe.loss_type bnpo; probe.scale_rewards batch; sampling.temperature 0.7; "
        "batch_config.G 2 (num_generations 2); sampling.max_new_tokens 9 (max_completion_length 9); "
        "probe.max_grad_norm 0.5"
    ) in lines
    assert f"  instead of batch_config.G 8 ({template}, line 5)" in lines
    # Two responses a prompt, and eight a step.
    assert not any("the trainer's step" in line for line in lines)
    assert f"  reward weights of {NAME}, in the order of --reward: rewards.py:length*1, exact_answer*0.5" in lines
    assert [line for line in lines if line.startswith("  warning: ")] == [
        "  warning: the trainer's KL term (beta 0.04) is left out of the update",
        "  warning: truncated completions were masked in training (mask_truncated_completions), and are counted here",
        "  warning: the trainer took several steps per batch (num_iterations); the update here is the first, on-policy "
        "one",
        "  warning: the trainer sampled with top_p 0.9; here responses are drawn from softmax(logits / T)",
    ]


def test_the_real_trainers_settings_in_the_configuration(real: Path, workspace: Workspace) -> None:
    plan = plan_of(workspace, real, reward="exact_answer")
    config, sources = plan.resolved.config, plan.resolved.sources
    assert (config.probe.loss_type, config.probe.scale_rewards, config.probe.max_grad_norm) == ("bnpo", "batch", 0.5)
    assert (config.sampling.temperature, config.sampling.max_new_tokens, config.batch_config.G) == (0.7, 9, 2)
    taken = {"loss_type", "scale_rewards", "max_grad_norm", "temperature", "max_new_tokens", "G"}
    assert {key.split(".")[1] for key, source in sources.items() if source == NAME} == taken
    recorded = plan.next_step["trainer"]
    assert isinstance(recorded, dict)
    assert recorded["value"]["epsilon"] == 0.1
    assert recorded["value"]["beta"] == 0.04


def test_a_run_with_the_real_trainers_settings_continues_only_with_the_same(real: Path, workspace: Workspace) -> None:
    place = workspace.path / "out" / real.name
    shutil.copytree(real, place)
    arguments = [
        "experiments/test_single_run.py", f"--checkpoint={place}", "--prompts=prompts.jsonl", "--be=8", "--bu=4",
    ]  # fmt: skip
    first = workspace.run(*arguments, "-k", "test_result", "-p", "no:xdist")
    assert list(workspace.results.rglob("results.json")), first.stdout + first.stderr
    assert any(line.endswith(", resumed") for line in header(workspace, place, "--resume"))
    (place / NAME).write_bytes(saved(GRPOConfig(**GRPO)))
    assert not any(line.endswith(", resumed") for line in header(workspace, place, "--resume"))


# ---------------------------------------------------------------- precedence


def test_the_command_line_and_the_users_file_stand_above(own: Path, workspace: Workspace) -> None:
    (own / NAME).write_bytes(saved(GRPOConfig(**GRPO)))
    file = workspace.path / "mine.yaml"
    file.write_text("batch_config: {G: 3}\n")
    config = plan_of(workspace, own, str(file), **{"sampling.temperature": 1.0}).resolved
    assert (config.config.probe.loss_type, config.sources["probe.loss_type"]) == ("bnpo", NAME)
    assert (config.config.batch_config.G, config.sources["batch_config.G"]) == (3, f"{file}, line 1")
    assert (config.config.sampling.temperature, config.sources["sampling.temperature"]) == (1.0, "--entropy-set")


def test_another_file_is_another_experiment(own: Path, workspace: Workspace) -> None:
    (own / NAME).write_bytes(saved(GRPOConfig(**GRPO)))
    first, again = (plan_of(workspace, own) for _ in range(2))
    (own / NAME).write_bytes(saved(GRPOConfig(**{**GRPO, "temperature": 0.8})))
    other = plan_of(workspace, own)
    assert first.config_digest == again.config_digest != other.config_digest
    assert first.checkpoint_digest == other.checkpoint_digest


# ---------------------------------------------------------------- files by strangers, and none


def test_a_hostile_file_runs_nothing_and_is_said(own: Path, workspace: Workspace, canary: Path) -> None:
    (own / NAME).write_bytes(saved(Payload(canary)))
    (warning,) = (line for line in header(workspace, own, SHORT) if line.startswith("  warning: "))
    assert warning.startswith(f"  warning: {NAME} holds no trainer's arguments; so the trainer's loss_type, ")
    assert "loss_type dapo (bnpo before 0.22, grpo before 0.16)" in warning
    assert "--entropy-set probe.loss_type=dapo" in warning


def test_code_among_the_arguments_is_no_setting(own: Path, workspace: Workspace, canary: Path) -> None:
    (own / NAME).write_bytes(saved(GRPOConfig(**{**GRPO, "temperature": [Payload(canary)]})))
    lines = header(workspace, own)
    assert any(line.startswith(f"  from {NAME}: probe.loss_type bnpo; ") for line in lines)
    (warning,) = (line for line in lines if line.startswith("  warning: "))
    assert warning.startswith(f"  warning: {NAME} has temperature a list, which sampling.temperature cannot be")


def test_a_pipe_is_not_waited_for(own: Path, workspace: Workspace) -> None:
    os.mkfifo(own / NAME)
    (warning,) = (line for line in header(workspace, own, SHORT) if line.startswith("  warning: "))
    assert warning.startswith(f"  warning: {NAME} is no file")


def test_no_file_and_no_reward_are_said(own: Path, workspace: Workspace) -> None:
    lines = header(workspace, own, SHORT)
    assert any(line.startswith("  objective: dr_grpo, the default, since no training_args.bin") for line in lines)
    assert any(line.startswith("  reward: exact_answer, since --reward is not given") for line in lines)
    quiet = header(workspace, own, SHORT, "--reward=rewards.py:length", "--entropy-set=probe.loss_type=grpo")
    assert not any(line.startswith(("  objective: ", "  reward: ", "  prompts")) for line in quiet)


def test_the_demo_needs_no_prompts(workspace: Workspace) -> None:
    done = workspace.refused("experiments/test_single_run.py", "--collect-only")
    assert done.returncode == 0
    assert "bundled word problems, since" not in done.stdout


def test_notes_are_said_once_for_all_experiments(own: Path, workspace: Workspace) -> None:
    (own / NAME).write_bytes(saved(GRPOConfig(**GRPO, beta=0.04)))
    sizes = ["--bu=4", "--be-values=8,16", "--be=8"]
    done = workspace.refused("experiments", "--collect-only", f"--checkpoint={own}", "--prompts=prompts.jsonl", *sizes)
    assert done.returncode == 0, done.stdout
    assert unwrapped(done.stdout).count("KL term (beta 0.04)") == 1
