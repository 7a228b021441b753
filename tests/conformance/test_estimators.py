"""Every estimator and scalar of the registry: unbiased on the enumerable policy, and equal to its definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from pytest_entropy import registry
from pytest_entropy.probe.control_variate import ControlVariate
from pytest_entropy.probe.estimators import estimator_names, get_estimator
from pytest_entropy.probe.estimators.base import Weights
from pytest_entropy.testing import check_estimator


@pytest.mark.parametrize("name", estimator_names())
def test_estimator(name: str) -> None:
    check_estimator(name)


@pytest.fixture
def added() -> Iterator[Callable[..., None]]:
    """A function that adds a changed Rao-Blackwell estimator under the name ``wrong``."""

    def add(**changes: Any) -> None:
        registry.add("estimators", "wrong", replace(get_estimator("rao_blackwell"), **changes))

    yield add
    registry.forget("estimators", "wrong")


def with_a_bias(
    log_probs: torch.Tensor, entropies: torch.Tensor, mask: torch.Tensor, control_variate: ControlVariate | None = None
) -> Weights:
    right = get_estimator("rao_blackwell").weights(log_probs, entropies, mask, control_variate)
    return Weights(right.log_prob * 1.001, right.entropy)


def test_weights_that_are_not_the_definition_s_are_refused(added: Callable[..., None]) -> None:
    added(weights=with_a_bias)
    with pytest.raises(AssertionError, match=r"weights of log pi\(t_k\) differ from its definition's"):
        check_estimator("wrong")


def test_a_biased_estimator_is_refused_even_where_it_is_as_defined(added: Callable[..., None]) -> None:
    added(mean="length")
    with pytest.raises(AssertionError, match=r"differs from the gradient of its mean \(length\)"):
        check_estimator("wrong")
