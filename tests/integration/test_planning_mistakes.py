"""Mistakes that are found while planning: a sentence, exit code 4, nothing written; or a line in the header."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_entropy.testing.tiny import edit_json
from tests.conftest import Workspace, unwrapped


def refusal(workspace: Workspace, *arguments: str) -> str:
    """The one message of a session that is refused, which writes nothing and computes nothing."""
    done = workspace.refused(*arguments)
    text = done.stdout + done.stderr
    assert done.returncode == 4, text
    assert "Traceback" not in text
    assert not workspace.results.exists()
    (message,) = [line for line in text.splitlines() if line.startswith("ERROR: ")]
    return message.removeprefix("ERROR: ")


def replaced(arguments: list[str], *more: str) -> list[str]:
    """Arguments with some options' values replaced."""
    names = tuple(argument.split("=")[0] for argument in more if not argument.startswith("--entropy-set"))
    return [argument for argument in arguments if argument.split("=")[0] not in names] + list(more)


def test_a_single_batch_needs_no_prompts_of_an_update_batch(workspace: Workspace) -> None:
    single = "--entropy-set=probe.mode=u_statistic"
    whole = replaced(workspace.scaling, "--be-values=60", single)
    done = workspace.refused(*whole, "--collect-only", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert refusal(workspace, *replaced(workspace.scaling, "--be-values=61", single)) == (
        "prompts prompts.jsonl: 60 prompts are 1 too few for B_E 61 different prompts; give more prompts, smaller "
        "--be-values/--be, or --with-replacement"
    )
    assert refusal(workspace, *replaced(workspace.scaling, "--be-values=60")) == (
        "prompts prompts.jsonl: 60 prompts are 4 too few for B_E 60 + B_U 4 disjoint prompts; give more prompts, "
        "smaller --be-values/--be/--bu, or --with-replacement"
    )


def test_a_context_too_short_for_the_response_is_found_while_planning(workspace: Workspace) -> None:
    assert refusal(workspace, *workspace.scaling, "--entropy-set=sampling.max_new_tokens=128") == (
        f"checkpoint {workspace.checkpoint}: the model's context of 128 tokens has no room for a prompt beside a "
        "response of 128 tokens (sampling.max_new_tokens); take a sampling.max_new_tokens below 128"
    )
    assert refusal(workspace, *workspace.scaling, "--entropy-set=sampling.max_new_tokens=120").startswith(
        f"checkpoint {workspace.checkpoint}: 60 of 60 prompts are too long: the model has 128 positions, "
        "max_new_tokens is 120, which leaves 8 for the prompt, and the longest has 12 tokens"
    )


def test_a_base_model_of_another_size_is_found_while_planning(workspace: Workspace) -> None:
    from tests import tiny

    other = workspace.path / "other"
    tiny.qwen2(len(tiny.tokenizer()), hidden=64).save_pretrained(other)
    assert refusal(workspace, *workspace.scaling, "--base-model=other") == (
        f"base model other is of another size than adapter {workspace.checkpoint}/model: "
        "'model.layers.0.mlp.down_proj' is adapted as a weight of 32 x 64, and the base has 64 x 128; name the base "
        "model that the adapter was trained on with --base-model DIR"
    )


CHAT = [{"prompt": [{"role": "user", "content": f"Tom has {n} apples"}], "answer": n} for n in range(30)]


def own_copy(workspace: Workspace) -> Path:
    """A copy of the checkpoint, for changes of one test; the base model lies in ``base`` beside it."""
    place = workspace.path / "own"
    shutil.copytree(workspace.checkpoint.parent, place)
    return place / workspace.checkpoint.name


def test_a_token_without_a_row_in_the_embedding_is_found_while_planning(workspace: Workspace) -> None:
    from tests import tiny

    own = own_copy(workspace)
    words = tiny.tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<tool>"]})
    # Saved beside the adapter, whose base keeps its embedding.
    words.save_pretrained(own / "model")
    rows = [{"prompt": f"Tom <tool> {n}" if n == 7 else f"Tom has {n}", "answer": n} for n in range(60)]
    (workspace.path / "tools.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = replaced(workspace.scaling, f"--checkpoint={own}", "--prompts=tools.jsonl")
    size = len(words) - 1
    assert refusal(workspace, *given) == (
        f"row 8 of the prompts holds the token '<tool>' with id {size}, and the model's input embedding has {size} "
        f"rows (ids 0 to {size - 1}): tokens were added to the tokenizer, and the embedding was not resized; the "
        f"tokenizer is in {own}/model. Resize the base as it was for training, "
        f"model.resize_token_embeddings({size + 1}); model.save_pretrained(DIR), and give --base-model DIR, or take "
        "the token out of the prompts or the chat template"
    )
    unused = workspace.refused(*replaced(workspace.scaling, f"--checkpoint={own}"), "--collect-only", "-q")
    assert unused.returncode == 0, unused.stdout


def test_a_chat_template_that_refuses_the_prompts_is_found_while_planning(workspace: Workspace) -> None:
    own = own_copy(workspace)
    template = own.parent / "base" / "chat_template.jinja"
    (workspace.path / "chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHAT))
    given = replaced(workspace.scaling, f"--checkpoint={own}", "--prompts=chat.jsonl")
    template.write_text("{{ raise_exception('Only user and assistant roles are supported!') }}")
    assert refusal(workspace, *given).startswith(
        f"the chat template in {template} fails (TemplateError: Only user and assistant roles are supported!) on row 1 "
        "of the prompts, [{'role': 'user', 'content': 'Tom has 0 apples'}]; give the messages as this template takes"
    )
    template.write_text("be very brief " * 40 + "{{ messages[0].content }}")
    assert ": 30 of 30 prompts are too long: the model has 128 positions" in refusal(workspace, *given)
    template.write_text("{{ messages[0].content }}")
    done = workspace.refused(*given, "--collect-only", "-q")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda own: (own.parent / "base" / "tokenizer.json").write_text("{"), "tokenizer.json cannot be read"),
        (lambda own: (own.parent / "base" / "tokenizer.json").unlink(), "no usable tokenizer in"),
        (lambda own: edit_json(own.parent / "base" / "config.json", model_type="qwen9"), "has no architecture 'qwen9'"),
        (lambda own: shutil.copy(own.parent / "full.pt", own / "optimizer.pt"), "is this the optimizer of another"),
    ],
    ids=["damaged tokenizer", "no tokenizer", "unknown architecture", "another optimizer"],
)
def test_files_that_cannot_be_loaded_are_found_while_planning(
    workspace: Workspace, change: Callable[[Path], object], words: str
) -> None:
    from tests.unit.checkpoints.test_layouts import save_full

    own = own_copy(workspace)
    save_full(own.parent / "full")
    (own.parent / "full" / "optimizer.pt").rename(own.parent / "full.pt")
    change(own)
    assert words in refusal(workspace, *replaced(workspace.scaling, f"--checkpoint={own}"))


def test_a_tensorboard_directory_that_cannot_be_written_is_found_while_planning(workspace: Workspace) -> None:
    pytest.importorskip("tensorboard")
    assert refusal(workspace, *workspace.scaling, "--entropy-tensorboard=prompts.jsonl") == (
        "--entropy-tensorboard prompts.jsonl cannot be written: prompts.jsonl is a file; give a directory that can be"
    )
    if Path("/proc").is_dir():
        assert refusal(workspace, *workspace.scaling, "--entropy-tensorboard=/proc/events") == (
            "--entropy-tensorboard /proc/events cannot be written: No such file or directory (in /proc); give a "
            "directory that can be"
        )
    done = workspace.refused(*workspace.scaling, "--entropy-tensorboard=new/events", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (workspace.path / "new").exists()


def test_tensorboard_that_is_not_installed_is_found_while_planning(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_entropy.plugin import tensorboard

    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    assert refusal(workspace, *workspace.scaling, "--entropy-tensorboard=events") == (
        "--entropy-tensorboard needs TensorBoard: pip install 'pytest-entropy[tensorboard]'"
    )


def header(workspace: Workspace, *arguments: str) -> str:
    """The header of a session that only collects, with each of its wrapped lines in one."""
    done = workspace.refused(*arguments, "--collect-only")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return unwrapped(done.stdout)


def test_a_missing_baseline_is_found_while_planning(workspace: Workspace) -> None:
    file = workspace.results / "baselines" / "main.json"
    assert refusal(workspace, *workspace.scaling, "--entropy-compare=main") == (
        f"no baseline 'main' to compare with: {file} does not exist; save one with --entropy-save main, or say "
        "--entropy-missing skip or create"
    )
    absent = "  no baseline 'main' of batch_scaling: nothing will be compared"
    skipped = header(workspace, *workspace.scaling, "--entropy-compare=main", "--entropy-missing=skip")
    assert f"{absent} (--entropy-missing skip)\n" in skipped
    created = header(workspace, *workspace.scaling, "--entropy-compare=main", "--entropy-missing=create")
    assert f"{absent}, and a green session creates it (--entropy-missing create)\n" in created


def test_where_a_baseline_has_some_of_the_experiments_the_header_names_the_others(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_entropy.plugin.regression_gate import Gate

    def baseline(gate: Gate, experiment: str) -> object:
        return "a snapshot" if experiment == "single_run" else None

    monkeypatch.setattr(Gate, "baseline", baseline)
    monkeypatch.setattr(Gate, "refuse_another", lambda gate, plan: None)
    text = header(workspace, *workspace.everything, "--entropy-compare=main")
    for name in ("batch_scaling", "debug", "memory_scaling", "sanity_check"):
        line = f"  no baseline 'main' of {name}: its comparison will fail (--entropy-missing fail)\n"
        assert text.count(line) == 1
    assert "of single_run" not in text


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("existing", [False, True], ids=["new results", "old results"])
def test_a_session_that_selects_no_test_leaves_nothing_behind(
    workspace: Workspace, workers: str, existing: bool
) -> None:
    if existing:
        workspace.results.mkdir()
        (workspace.results / "notes.txt").write_text("mine")
    for arguments in (["-k", "nothing"], ["--collect-only"]):
        done = workspace.run(*workspace.scaling, *arguments, "-n", workers)
        assert done.returncode in (0, 5), done.stdout + done.stderr
        assert [file.name for file in workspace.results.rglob("*")] == ["notes.txt"] * existing
        assert workspace.results.exists() == existing


def test_an_empty_directory_of_results_that_was_there_stays(workspace: Workspace) -> None:
    workspace.results.mkdir()
    assert workspace.refused(*workspace.scaling, "-k", "nothing").returncode == 5
    assert list(workspace.results.iterdir()) == []


def test_the_header_says_which_base_model_is_used(workspace: Workspace) -> None:
    base = workspace.checkpoint.parent / "base"
    assert f"  base model: {base} (relative to the checkpoint)\n" in header(workspace, *workspace.scaling)
    given = header(workspace, *workspace.scaling, f"--base-model={base}")
    assert f"  base model: {base} (by --base-model)\n" in given
    demo = header(workspace, "experiments/test_single_run.py")
    assert "base model" not in demo


def test_resume_says_why_it_finds_nothing(workspace: Workspace) -> None:
    line = "  resume: nothing kept: there is no earlier batch_scaling in results/batch_scaling\n"
    assert line in header(workspace, *workspace.scaling, "--resume")
    assert "resume:" not in header(workspace, *workspace.scaling)


def test_answers_in_another_column_are_named_while_planning(workspace: Workspace) -> None:
    rows = [{"prompt": f"{n} apples", "solution": f"so \\boxed{{{n}}}"} for n in range(60)]
    workspace.path.joinpath("prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = replaced(workspace.scaling, "--reward=boxed")
    assert refusal(workspace, *arguments) == (
        "reward boxed needs the column 'answer', which the prompts do not have (their columns: solution); the prompts "
        "have 'solution': name the column with the answers as prompts.answer_column=solution"
    )
    done = workspace.refused(*arguments, "--entropy-set=prompts.answer_column=solution", "--collect-only")
    assert done.returncode == 0, done.stdout + done.stderr
    workspace.path.joinpath("own.py").write_text(
        "def f(completions, ground_truth=None, **kwargs):\n    return [0.0 for _ in completions]\n"
    )
    done = workspace.refused(*replaced(workspace.scaling, "--reward=own.py:f"), "--collect-only")
    assert (
        "warning: reward own.py:f reads 'ground_truth' only where the prompts have it, which they do not; they have "
        "'solution', which it does not read: give the column the name that it reads"
    ) in unwrapped(done.stdout)
