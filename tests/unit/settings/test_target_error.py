"""A target of the error: how it is written, what it allows, and what it changes of a configuration."""

from __future__ import annotations

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.settings.layers import Layer, ResolvedConfig, resolve_config
from pytest_entropy.settings.target_error import allowed_error, target_error


@pytest.mark.parametrize(
    ("given", "text"),
    [(None, None), (0.001, "0.001"), ("1e-3", "0.001"), (2, "2"), ("10%", "10%"), (" 2.50 % ", "2.5%")],
)
def test_a_target_is_a_size_or_a_share(given: object, text: str | None) -> None:
    assert target_error(given) == text


@pytest.mark.parametrize("given", ["", "%", "-1", "0", "0%", "nan", "inf", "ten", "1%%", "10 % of it", True, [1]])
def test_anything_else_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="positive error such as 0.001, or a share of δH₁ such as 10%"):
        target_error(given)


def test_a_share_is_of_the_size_of_the_value() -> None:
    assert allowed_error("0.5", -3.0) == allowed_error("0.5", 0.0) == 0.5
    assert allowed_error("25%", -4.0) == allowed_error("25%", 4.0) == 1.0
    assert allowed_error("25%", 0.0) == 0.0


def configured(**batch: object) -> ResolvedConfig:
    values = {"B_E_values": [8], "runs_per_batch": 4, **batch}
    return resolve_config([Layer("x", {"batch_config": values, "eta_sweep": {"multiples": [-1, 1]}})])


def test_the_configuration_keeps_it_as_text_and_refuses_another() -> None:
    assert configured(target_se=0.001).config.batch_config.target_se == "0.001"
    assert configured().config.batch_config.target_se is None
    with pytest.raises(UsageError, match=r"x: batch_config.target_se: must be a positive error .*given: -1"):
        configured(target_se=-1)


def test_runs_depend_on_whether_there_is_a_target_and_on_neither_it_nor_the_most_runs() -> None:
    """So that --resume goes on with a smaller target, or with more runs, and with directories from before."""
    with_target = configured(target_se="10%").digest()
    assert with_target == configured(target_se="0.001", runs_per_batch=40).digest()
    assert with_target not in (configured().digest(), configured(target_se="10%", updates=2).digest())
    assert configured(target_se=None).digest() == configured().digest()
    assert configured().digest() != configured(runs_per_batch=5).digest()


def test_with_a_target_the_first_run_along_each_update_batch_has_the_eta_sweep() -> None:
    def swept(**batch: object) -> list[int]:
        config = configured(**batch).config
        return [run for run in range(1, 5) if "eta_sweep" in config.asked_of(run, 8)]

    assert swept() == [1, 2, 3, 4]
    assert swept(target_se="10%") == [1]
    assert swept(target_se="10%", updates=2) == [1, 2]
