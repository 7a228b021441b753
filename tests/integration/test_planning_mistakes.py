"""Mistakes that are found while planning: a sentence, exit code 4, nothing written; or a line in the header."""

from __future__ import annotations

from tests.conftest import Workspace


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
