"""The trainer's settings stand above templates and below what the user gives, and the header says so."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_entropy.checkpoints.trainer_settings import TrainerSettings
from pytest_entropy.checkpoints.training_arguments import NAME
from pytest_entropy.errors import UsageError
from pytest_entropy.runs.trainer_layer import bundled_inputs, objective_untold, with_trainer
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config

TEMPLATE = Layer("configs/x.yaml", {"batch_config": {"G": 8}, "sampling": {"max_new_tokens": 12}})
TRAINER = TrainerSettings(
    {"probe.loss_type": "gspo", "batch_config.G": 4, "sampling.max_new_tokens": 12, "sampling.temperature": 0.7},
    {
        "probe.loss_type": "loss_type grpo, sequence level",
        "batch_config.G": "num_generations 4",
        "sampling.max_new_tokens": "max_completion_length 12",
        "sampling.temperature": "temperature 0.7",
    },
)


def resolved(trainer: TrainerSettings, *above: Layer) -> tuple[ResolvedConfig, list[str]]:
    config, lines = with_trainer(trainer, [TEMPLATE], above, resolve_config([TEMPLATE, *above]))
    return config, list(lines)


def test_above_the_template() -> None:
    found, lines = resolved(TRAINER)
    assert (found.config.probe.loss_type, found.config.batch_config.G) == ("gspo", 4)
    assert {key for key, source in found.sources.items() if source == NAME} == set(TRAINER.values)
    assert lines == [
        f"  from {NAME}: probe.loss_type gspo (loss_type grpo, sequence level); "
        "batch_config.G 4 (num_generations 4); sampling.max_new_tokens 12 (max_completion_length 12); "
        "sampling.temperature 0.7",
        "  instead of batch_config.G 8 (configs/x.yaml)",
    ]


def test_below_what_the_user_gives() -> None:
    given = Layer("--entropy-set", {"batch_config": {"G": 6}, "sampling": {"temperature": 0.7}})
    found, lines = resolved(TRAINER, given)
    assert (found.config.batch_config.G, found.sources["batch_config.G"]) == (6, "--entropy-set")
    assert found.sources["sampling.temperature"] == "--entropy-set"
    # The same value by another source is no difference.
    assert lines[1:] == [f"  not from {NAME}: num_generations 4 (batch_config.G 6 by --entropy-set)"]


KEY = "prompts.chat_template_kwargs.enable_thinking"
THINKING = TrainerSettings({KEY: False}, {KEY: "chat_template_kwargs.enable_thinking False"})


def test_the_trainers_arguments_of_the_chat_template() -> None:
    found, lines = resolved(THINKING)
    assert found.config.prompts.chat_template_kwargs == {"enable_thinking": False}
    assert (found.sources[KEY], lines) == (NAME, [f"  from {NAME}: {KEY} False"])
    for given, shown in ((True, "True by --entropy-set"), (None, "None by a null")):
        own = Layer("--entropy-set", {"prompts": {"chat_template_kwargs": {"enable_thinking": given}}})
        found, lines = resolved(THINKING, own)
        assert found.config.prompts.chat_template_kwargs == ({} if given is None else {"enable_thinking": True})
        assert lines == [f"  not from {NAME}: chat_template_kwargs.enable_thinking False ({KEY} {shown})"]
    both = Layer("own.yaml", {"prompts": {"chat_template_kwargs": {"effort": "low"}}})
    assert resolved(THINKING, both)[0].config.prompts.chat_template_kwargs == {
        "effort": "low",
        "enable_thinking": False,
    }


def test_what_does_not_go_with_the_users_settings_is_named_with_its_source() -> None:
    trainer = TrainerSettings({"probe.loss_type": "dapo"}, {"probe.loss_type": "loss_type dapo"})
    with pytest.raises(UsageError, match="mode u_statistic needs prompts that enter") as raised:
        resolved(trainer, Layer("--entropy-set", {"probe": {"mode": "u_statistic"}}))
    assert str(raised.value).endswith(f"({NAME} says probe.loss_type dapo; --entropy-set overrides it)")


def test_another_value_is_another_experiment() -> None:
    other = TrainerSettings({**TRAINER.values, "sampling.temperature": 0.8}, TRAINER.names)
    assert resolved(TRAINER)[0].digest() == resolved(TRAINER)[0].digest()
    assert resolved(TRAINER)[0].digest() != resolved(other)[0].digest()


def test_warnings_come_last() -> None:
    _, lines = resolved(TrainerSettings(warnings=("one", "two"), prompts_per_step=9))
    assert lines == [
        "  the trainer's step has 9 prompts; batch_config.B_U is 32", "  warning: one", "  warning: two",
    ]  # fmt: skip
    assert resolved(TrainerSettings(prompts_per_step=32))[1] == []


@pytest.mark.parametrize("weights", [(), (1.0,), (1.0, 1.0)])
def test_no_weights_to_speak_of(weights: tuple[float, ...]) -> None:
    reward = Layer("--reward", {"reward": "a,b" if len(weights) == 2 else "a"})
    found, lines = resolved(TrainerSettings(reward_weights=weights), reward)
    assert found.sources["reward"] == "--reward"
    assert lines == []


@pytest.mark.parametrize("given", ["a,b", ["a", {"name": "b"}]])
def test_weights_go_to_as_many_rewards(given: Any) -> None:
    found, lines = resolved(TrainerSettings(reward_weights=(1.0, 0.5)), Layer("--reward", {"reward": given}))
    assert [(term.name, term.weight) for term in found.config.reward] == [("a", 1.0), ("b", 0.5)]
    assert found.sources["reward"] == f"--reward, weights of {NAME}"
    assert lines == [f"  reward weights of {NAME}, in the order of --reward: a*1, b*0.5"]


@pytest.mark.parametrize("given", ["a,b*1", [{"name": "a", "weight": 2.0}, "b"]])
def test_weights_of_the_users_stay(given: Any) -> None:
    found, lines = resolved(TrainerSettings(reward_weights=(3.0, 0.5)), Layer("--reward", {"reward": given}))
    assert found.sources["reward"] == "--reward"
    assert lines == []


@pytest.mark.parametrize(
    ("weights", "layers"),
    [
        ((1.0, 0.5), []),
        ((1.0, 0.5), [Layer("--reward", {"reward": "a"})]),
        ((1.0, 1.0), [Layer("--reward", {"reward": "a"})]),
        ((1.0, 0.0), [Layer("--reward", {"reward": "a,b"})]),
    ],
)
def test_weights_that_fit_no_reward_are_said(weights: tuple[float, ...], layers: list[Layer]) -> None:
    found, lines = resolved(TrainerSettings(reward_weights=weights), *layers)
    assert all(term.weight == 1 for term in found.config.reward)
    (warning,) = lines
    assert warning.startswith("  warning: the trainer's reward_weights 1, ")


PROMPTS, REWARD = Layer("--prompts", {"prompts": {"source": "x.jsonl"}}), Layer("--reward", {"reward": "a"})


@pytest.mark.parametrize(
    ("layers", "line"),
    [
        (
            [],
            "  prompts and reward: the bundled word problems and exact_answer, since neither --prompts nor --reward is "
            "given: pass those that the policy is trained on",
        ),
        (
            [REWARD],
            "  prompts: the bundled word problems, since --prompts is not given: pass those that the policy is trained "
            "on",
        ),
        (
            [PROMPTS],
            "  reward: exact_answer, since --reward is not given: pass the one that the policy is trained on",
        ),
        ([PROMPTS, REWARD], None),
        # Who asks for the bundled ones knows.
        ([REWARD, Layer("--prompts", {"prompts": {"source": "demo"}})], None),
    ],
)
def test_bundled_prompts_and_reward_are_said(layers: list[Layer], line: str | None) -> None:
    assert bundled_inputs(resolve_config(layers)) == ([line] if line else [])


def test_an_objective_that_nobody_gave() -> None:
    (line,) = objective_untold(resolve_config([]))
    assert line.startswith(f"  objective: dr_grpo, the default, since no {NAME} lies beside the checkpoint")
    assert objective_untold(resolve_config([Layer("--entropy-set", {"probe": {"advantage": "grpo"}})])) == []
