"""Settings that do not go together are refused with the reason, in the file's model and in the probe's own."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_entropy import EntropyProbe, load_checkpoint
from pytest_entropy.errors import UsageError
from pytest_entropy.probe import ProbeConfig
from pytest_entropy.settings.layers import Layer, resolve_config

REFUSED = [
    ({"update_rule": "adamw"}, "linear in the gradient, and adamw's is not"),
    ({"advantage": "dapo"}, "normalises over the batch"),
    ({"scale_rewards": "batch"}, "normalises over the batch"),
    ({"entropy_unit": "token"}, "counts entropy per response"),
    ({"estimator": "action_value"}, "use other prompts"),
]


@pytest.mark.parametrize(("probe", "message"), REFUSED)
def test_the_u_statistic_refuses_what_it_cannot_do(probe: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_config([Layer("a file", {"probe": {"mode": "u_statistic", **probe}})])
    with pytest.raises(ValueError, match=message):
        ProbeConfig(mode="u_statistic", **probe)
    # The same settings are fine with two batches.
    assert resolve_config([Layer("a file", {"probe": probe})]).config.probe.mode == "two_batch"


@pytest.mark.parametrize("values", [{"diagnostics": True}, {"save_gradients": True}])
def test_what_needs_an_independent_update_is_refused(values: dict[str, bool]) -> None:
    with pytest.raises(UsageError, match="independent of the entropy batch"):
        resolve_config([Layer("a file", {"probe": {"mode": "u_statistic"}, **values})])


def test_the_entropy_batch_may_have_its_own_number_of_responses() -> None:
    config = resolve_config([Layer("a file", {"batch_config": {"G": 4, "G_E": 2}})]).config
    settings = ProbeConfig(**config.probe_settings())
    assert (settings.G, settings.entropy_group) == (4, 2)
    assert ProbeConfig(G=4).entropy_group == 4
    with pytest.raises(UsageError, match="G_E is 1: leave-one-out baselines need two"):
        resolve_config([Layer("a file", {"batch_config": {"G_E": 1}})])
    with pytest.raises(ValueError, match="G_E is 1"):
        ProbeConfig(G_E=1)
    with pytest.raises(UsageError, match="one batch serves for both: give batch_config.G"):
        resolve_config([Layer("a file", {"batch_config": {"G_E": 2}, "probe": {"mode": "u_statistic"}})])
    with pytest.raises(ValueError, match="leave G_E out"):
        ProbeConfig(mode="u_statistic", G_E=2)


def test_blocks_divide_every_batch() -> None:
    blocks = {"mode": "u_statistic", "u_statistic": {"method": "blocks", "blocks": 8}}
    with pytest.raises(UsageError, match="blocks is 8, which does not divide B_E = 12"):
        resolve_config([Layer("a file", {"probe": blocks, "batch_config": {"B_E_values": [16, 12]}})])
    config = resolve_config([Layer("a file", {"probe": blocks})]).config
    assert config.probe_settings()["u_statistic_blocks"] == 8
    assert resolve_config([]).config.probe_settings()["u_statistic_blocks"] is None


def test_the_u_statistic_s_error_is_the_total_one_without_a_diagnostic() -> None:
    both = {"mode": "u_statistic", "total_variance": True}
    assert resolve_config([Layer("a file", {"probe": both})]).config.probe_settings()["diagnostics"] == ()


def test_every_probe_setting_is_one_the_probe_knows() -> None:
    config = resolve_config([Layer("a file", {"probe": {"total_variance": True}, "diagnostics": True})]).config
    assert "total_variance" in ProbeConfig(**config.probe_settings()).diagnostics


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mode": "one_batch"}, "mode 'one_batch'"),
        ({"entropy_unit": "word"}, "'word'"),
        ({"estimator": "rao_blackwel"}, "did you mean rao_blackwell"),
        ({"update_rule": "adam"}, "did you mean adamw"),
        ({"loss_type": "gpro"}, "did you mean gspo"),
        ({"advantage": "grpo", "loss_type": "grpo"}, "one of them"),
        ({"B_U": 0}, "B_U 0: Input should be greater"),
        ({"temperature": 0.0}, "temperature 0.0: .*greater than 0"),
    ],
)
def test_unknown_names_are_refused(values: dict[str, str | float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ProbeConfig(**values)


def test_two_prompts_are_no_single_batch() -> None:
    """Both row means are one number then, and the error made of their spread is 0."""
    with pytest.raises(UsageError, match=r"B_E_values holds 2, .* give B_E >= 3"):
        resolve_config([Layer("a file", {"batch_config": {"B_E_values": [2, 8]}, "probe": {"mode": "u_statistic"}})])
    probe = EntropyProbe(load_checkpoint("demo"), ProbeConfig(mode="u_statistic", G=2, max_new_tokens=4))
    with pytest.raises(ValueError, match=r"B_E is 2: .* take B_E >= 3"):
        probe.run(2)


def test_python_s_settings_are_the_sections_settings() -> None:
    """One definition: the same names, and the same defaults."""
    sections = resolve_config([]).config.probe_settings()
    # An experiment's first runs also know their error over update batches.
    assert sections["diagnostics"] == ("total_variance",)
    assert ProbeConfig(**{**sections, "diagnostics": ()}) == ProbeConfig()
    assert set(sections) | {"eta_multiples"} == set(ProbeConfig.model_fields)


def test_python_s_settings_take_arrays_scalars_and_the_former_name() -> None:
    config = ProbeConfig(G=np.int64(4), eta_multiples=[1, 2], advantage="grpo", learning_rate=1)
    assert (config.G, config.eta_multiples, config.loss_type, config.advantage) == (4, (1.0, 2.0), "grpo", "grpo")
    with pytest.raises(TypeError, match="no setting 'B_E'"):
        ProbeConfig(B_E=3)
    with pytest.raises(ValueError, match="B_U 'many': .*; G 0: "):
        ProbeConfig(G=0, B_U="many")
    with pytest.raises(ValueError, match=r"^G is 1: .*\(action_value, dr_grpo\)"):
        ProbeConfig(G=1)
