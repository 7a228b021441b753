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
