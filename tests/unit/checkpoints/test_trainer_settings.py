"""TRL's arguments become the settings of the same meaning; what none can be is said, and other trainers set nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_entropy.checkpoints.trainer_settings import KEYS, TrainerSettings, trainer_settings
from pytest_entropy.checkpoints.training_arguments import NAME, TrainingArguments
from pytest_entropy.settings.layers import Layer, resolve_config
from tests.unit.checkpoints.test_training_arguments import read
from tests.unit.checkpoints.trainer_files import GRPOConfig, RLOOConfig, SFTConfig, saved

GRPO = "trl.trainer.grpo_config.GRPOConfig"
PLAIN = {"num_generations": 4, "loss_type": "dapo", "scale_rewards": "group"}


def settings(class_name: str = GRPO, **given: Any) -> TrainerSettings:
    return trainer_settings(TrainingArguments(Path(NAME), class_name, {**PLAIN, **given}))


def test_every_argument_becomes_its_setting() -> None:
    found = settings(
        loss_type="bnpo", scale_rewards="batch", temperature=0.7, num_generations=6, max_completion_length=300,
        max_grad_norm=0.2,
    )  # fmt: skip
    assert found.values == {
        "probe.loss_type": "bnpo",
        "probe.scale_rewards": "batch",
        "sampling.temperature": 0.7,
        "batch_config.G": 6,
        "sampling.max_new_tokens": 300,
        "probe.max_grad_norm": 0.2,
    }
    assert set(found.names) == set(found.values) == set(KEYS.values())
    assert found.names["batch_config.G"] == "num_generations 6"
    assert found.warnings == ()


@pytest.mark.parametrize("loss", ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"])
def test_the_losses_of_trl(loss: str) -> None:
    assert settings(loss_type=loss).values["probe.loss_type"] == loss


@pytest.mark.parametrize(("loss", "named"), [("grpo", "gspo"), ("dapo", "dapo"), ("luspo", "luspo")])
def test_one_ratio_per_sequence(loss: str, named: str) -> None:
    found = settings(loss_type=loss, importance_sampling_level="sequence")
    assert found.values["probe.loss_type"] == named
    assert found.names["probe.loss_type"] == f"loss_type {loss}, sequence level"


@pytest.mark.parametrize(
    ("given", "scaling"),
    [(True, "group"), (False, "none"), ("group", "group"), ("batch", "batch"), ("none", "none")],
)
def test_the_scalings_of_trl(given: Any, scaling: str) -> None:
    assert settings(scale_rewards=given).values["probe.scale_rewards"] == scaling


@pytest.mark.parametrize("norm", [0, 0.0, None])
def test_a_norm_of_0_means_no_clipping(norm: Any) -> None:
    found = settings(max_grad_norm=norm)
    assert "probe.max_grad_norm" not in found.values
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"loss_type": "mine"}, "loss_type 'mine', which is not implemented: set --entropy-set probe.loss_type=…"),
        ({"loss_type": ["sigmoid"]}, "loss_type a list, which is not implemented"),
        ({"scale_rewards": "std"}, "scale_rewards 'std', which is not known"),
        ({"temperature": 0.0}, "temperature 0.0, which sampling.temperature cannot be"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"temperature": float("inf")}, "temperature inf"),
        ({"temperature": True}, "temperature True"),
        ({"temperature": "hot" * 100}, "temperature 'hothot"),
        (
            {"num_generations": 1},
            "num_generations 1, which batch_config.G cannot be: set --entropy-set batch_",
        ),
        ({"num_generations": 10**9}, "num_generations 1000000000"),
        ({"num_generations": 4.0}, "num_generations 4.0"),
        ({"max_completion_length": -1}, "max_completion_length -1"),
        ({"max_grad_norm": -1.0}, "max_grad_norm -1.0"),
    ],
)
def test_values_that_no_setting_can_be(given: dict[str, Any], words: str) -> None:
    found = settings(**given)
    (name,) = given
    assert KEYS[name] not in found.values
    (warning,) = found.warnings
    assert words in warning
    assert len(warning) < 400


def test_every_setting_taken_is_one_that_the_configuration_accepts() -> None:
    values = settings(temperature=0.7, max_completion_length=9, max_grad_norm=1.0).values
    layers = [Layer(NAME, {key.split(".")[0]: {key.split(".")[1]: value}}) for key, value in values.items()]
    resolved = resolve_config(layers)
    assert {key for key, source in resolved.sources.items() if source == NAME} == set(values)


def test_a_version_without_loss_type() -> None:
    given = {"num_generations": 8, "temperature": 0.9, "beta": 0.0}
    found = trainer_settings(TrainingArguments(Path(NAME), GRPO, given))
    assert "probe.loss_type" not in found.values
    # It divided by the group's standard deviation, without an argument for it.
    assert found.values["probe.scale_rewards"] == "group"
    (warning,) = found.warnings
    assert "no loss_type, as before TRL 0.17" in warning


def test_rloo() -> None:
    found = trainer_settings(TrainingArguments(Path(NAME), "trl.RLOOConfig", {"num_generations": 2, "beta": 0.05}))
    assert found.values == {"probe.loss_type": "rloo", "batch_config.G": 2}
    assert found.warnings == ("the trainer's KL term (beta 0.05) is left out of the update",)


@pytest.mark.parametrize(
    ("class_name", "given"),
    [
        ("trl.trainer.sft_config.SFTConfig", {"loss_type": "nll", "max_grad_norm": 1.0}),
        ("trl.trainer.dpo_config.DPOConfig", {"loss_type": ["sigmoid"], "beta": 0.1}),
        ("trl.trainer.rloo_config.RLOOConfig", {"rloo_k": 2, "kl_coef": 0.05, "temperature": 0.7}),
        ("transformers.training_args.TrainingArguments", {"max_grad_norm": 1.0}),
        ("mine.Other", {"num_generations": 4, "loss_type": "mine"}),
    ],
)
def test_other_trainers_set_nothing(class_name: str, given: dict[str, Any]) -> None:
    assert trainer_settings(TrainingArguments(Path(NAME), class_name, given)) == TrainerSettings()


def test_a_subclass_of_any_name_is_grpo_by_its_arguments() -> None:
    assert settings("mine.Own").values["probe.loss_type"] == "dapo"


@pytest.mark.parametrize(("group", "processes", "prompts"), [(4, 2, 12), (4, 1, 6), (5, 1, None), (4, None, None)])
def test_prompts_of_a_step_of_all_processes(
    tmp_path: Path, group: int, processes: int | None, prompts: int | None
) -> None:
    given = {**PLAIN, "num_generations": group, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 3}
    state = SFTConfig(num_processes=processes)
    found = trainer_settings(read(tmp_path, saved(GRPOConfig(**given, distributed_state=state))))
    assert found.prompts_per_step == prompts


def test_a_file_of_another_class(tmp_path: Path) -> None:
    found = trainer_settings(read(tmp_path, saved(RLOOConfig(num_generations=2, temperature=0.5))))
    assert found.values == {"probe.loss_type": "rloo", "batch_config.G": 2, "sampling.temperature": 0.5}
    assert trainer_settings(read(tmp_path, saved(SFTConfig(max_grad_norm=1.0)))) == TrainerSettings()


@pytest.mark.parametrize(
    ("given", "weights"),
    [([1.0, 0.5], (1.0, 0.5)), ([1], (1.0,)), (None, ()), ("1", ()), ([1.0, "a"], ()), ([float("nan")], ())],
)
def test_reward_weights(given: Any, weights: tuple[float, ...]) -> None:
    assert settings(reward_weights=given).reward_weights == weights


def test_what_is_recorded_for_the_reader() -> None:
    given: dict[str, Any] = {
        "beta": 0.0,
        "epsilon": 0.2,
        "epsilon_high": 0.28,
        "num_iterations": 1,
        "reward_weights": [1.0],
    }
    assert settings(**given, hub_token="secret").recorded == given
    assert settings(epsilon="x" * 1000).recorded == {}


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("", "TRL has these defaults: loss_type dapo (bnpo before 0.22, grpo before 0.16), scale_rewards group, "
         "temperature 1.0 (0.9 before 0.18), num_generations 8, max_completion_length 512 (256 before 1.10), "
         "max_grad_norm 1.0; set those of your run, as in --entropy-set probe.loss_type=dapo"),
        ("1.16.0", "TRL 1.16.0 has these defaults: loss_type dapo, scale_rewards group, temperature 1.0, "
         "num_generations 8, max_completion_length 512, max_grad_norm 1.0"),
        ("0.21.0", "loss_type bnpo, scale_rewards group, temperature 1.0, num_generations 8, max_completion_length 2"),
        ("0.15.2", "loss_type grpo, scale_rewards group, temperature 0.9"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_gives_trls_defaults(version: str, words: str) -> None:
    found = trainer_settings(TrainingArguments(Path(NAME), problem=f"{NAME} is no file", trl_version=version))
    assert found.values == {}
    (warning,) = found.warnings
    assert warning.startswith(f"{NAME} is no file; so the trainer's loss_type, scale_rewards, temperature, ")
    assert words in warning


def test_the_defaults_are_those_of_the_trl_that_is_installed() -> None:
    pytest.importorskip("trl")
    from importlib.metadata import version

    from trl import GRPOConfig as Real  # type: ignore[attr-defined]

    problem = TrainingArguments(Path(NAME), problem="no", trl_version=version("trl"))
    (warning,) = trainer_settings(problem).warnings
    for name in KEYS:
        assert f"{name} {Real.__dataclass_fields__[name].default}" in warning


@pytest.mark.parametrize(
    "given", [{"enable_thinking": False, "effort": "low"}, '{"enable_thinking": false, "effort": "low"}']
)
def test_the_arguments_of_the_chat_template(given: Any) -> None:
    found = settings(chat_template_kwargs=given)
    key = "prompts.chat_template_kwargs"
    assert {k: v for k, v in found.values.items() if k.startswith(key)} == {
        f"{key}.enable_thinking": False,
        f"{key}.effort": "low",
    }
    assert found.names[f"{key}.enable_thinking"] == "chat_template_kwargs.enable_thinking False"
    assert found.warnings == ()
    for nothing in (None, {}, "", {"enable_thinking": None}):
        assert not any(k.startswith(key) for k in settings(chat_template_kwargs=nothing).values)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (3, "chat_template_kwargs is a mapping such as {enable_thinking: false}, not int 3"),
        ("{broken", "chat_template_kwargs is a mapping"),
        ({"a": object()}, "a is object <object object"),
        ({"tools": []}, "tools is reserved"),
        ({"a": {"b": 1}}, "chat_template_kwargs a that is not read: set it as prompts.chat_template_kwargs.a in"),
        ({"a": "x" * 300}, "chat_template_kwargs a that is not read"),
    ],
)
def test_arguments_of_the_chat_template_that_no_setting_can_be(given: Any, words: str) -> None:
    found = settings(chat_template_kwargs=given)
    assert not any(key.startswith("prompts.") for key in found.values)
    (warning,) = found.warnings
    assert words in warning


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_trl_itself_saves_them(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    import torch
    from trl import GRPOConfig as Real  # type: ignore[attr-defined]

    arguments = Real(
        output_dir=str(tmp_path),
        chat_template_kwargs={"enable_thinking": False},
        use_cpu=True,
        bf16=False,
        report_to=[],
    )
    torch.save(arguments, tmp_path / NAME)
    assert trainer_settings(read(tmp_path)).values["prompts.chat_template_kwargs.enable_thinking"] is False
