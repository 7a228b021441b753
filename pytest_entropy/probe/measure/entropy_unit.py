"""The unit of entropy: nats per response, or nats per token, a ratio of means (docs/mathematics.md §3).

Per token, H_tok = E[sum_k H_k] / E[L].

With a_n = <X_n, u> the entropy term and l_n the length score (the directional derivative of a prompt's mean
length), the derivative of the ratio of means is

    d = (mean a - H_tok mean l) / mean L,      H_tok = mean h / mean L,

h_n and L_n being a prompt's mean entropy and length per response.  The delete-one jackknife removes its bias of order
1/B_E (Quenouille 1956), and the jackknife's pseudo-values take the place of s_n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.gradient import combined_gradient, entropy_gradient
from pytest_entropy.probe.variance.jackknife import Jackknife, leave_one_out_means

UNITS = {"sequence": "nats per response", "token": "nats per token"}
# The estimator of the gradient of the mean response length.
LENGTH = "length_score"


@dataclass(frozen=True)
class EntropyUnit:
    """The configured unit of entropy, and the derivative of the entropy in it from per-prompt scalars.

    Attributes:
        name: a key of :data:`UNITS`.
        estimator: name of the estimator of the entropy gradient (:mod:`~.probe.estimators`).
    """

    name: str
    estimator: str

    @property
    def words(self) -> str:
        """The unit of delta_h1 in words."""
        return UNITS[self.name]

    @property
    def estimators(self) -> list[str]:
        """Names of the estimators whose directional derivatives :meth:`values` takes."""
        return [self.estimator] if self.name == "sequence" else [self.estimator, LENGTH]

    def values(self, per_prompt: Mapping[str, np.ndarray], rollouts: Rollouts) -> np.ndarray:
        """s_n ``[P]`` in the unit, per unit of eta: their mean estimates <grad H, u>, their spread gives its error.

        Per response s_n is <X_n, u> itself, per token the jackknife's pseudo-value.

        Args:
            per_prompt: <X_n, u> ``[P]`` by estimator name, for every name in :attr:`estimators`.
            rollouts: the P prompts' responses; their recorded entropies and lengths are used per token.
        """
        if self.name == "sequence":
            return per_prompt[self.estimator]
        return token_derivative(per_prompt[self.estimator], per_prompt[LENGTH], *_columns(rollouts)).pseudo_values

    def entropy(self, nats: np.ndarray, lengths: np.ndarray) -> tuple[float, float]:
        """(entropy of the policy, its standard error) in the unit.

        Args:
            nats: h_n ``[P]``, a prompt's mean entropy in nats per response.
            lengths: L_n ``[P]``, a prompt's mean response length in tokens.
        """
        if self.name == "sequence":
            return float(nats.mean()), float(nats.std(ddof=1) / len(nats) ** 0.5)
        jackknife = token_entropy(nats, lengths)
        return jackknife.corrected, jackknife.se

    def gradient(self, policy: Policy, rollouts: Rollouts, *, chunk_tokens: int) -> dict[str, torch.Tensor]:
        """The estimated entropy gradient in the unit: its inner product with u is the mean of :meth:`values`.

        Args:
            policy: the gradient is over its trainable parameters.
            rollouts: P prompts x G responses.
            chunk_tokens: token budget of a piece.

        Returns:
            Tensors by live parameter name, float64, on the CPU.
        """
        if self.name == "sequence":
            return entropy_gradient(policy, rollouts, self.estimator, chunk_tokens=chunk_tokens)
        alpha, beta = (torch.from_numpy(column) for column in unit_coefficients(*_columns(rollouts)))
        return combined_gradient(policy, rollouts, {self.estimator: alpha, LENGTH: beta}, chunk_tokens=chunk_tokens)


def _columns(rollouts: Rollouts) -> tuple[np.ndarray, np.ndarray]:
    """Each prompt's mean entropy (nats) and mean length (tokens) per response, ``[P]`` each."""
    nats = rollouts.entropies.double().sum(-1).mean(1).cpu().numpy()
    return nats, rollouts.lengths.double().mean(1).cpu().numpy()


def token_derivative(
    entropy_term: np.ndarray, length_score: np.ndarray, nats: np.ndarray, lengths: np.ndarray
) -> Jackknife:
    """d, the derivative of H_tok along u in nats per token per unit of eta, with its jackknife over prompts.

    Args:
        entropy_term: a_n ``[B_E]``, nats per response per unit of eta.
        length_score: l_n ``[B_E]``, tokens per response per unit of eta.
        nats: h_n ``[B_E]``, mean of sum_k H_k over the prompt's responses.
        lengths: L_n ``[B_E]``, mean response length.
    """
    columns = (entropy_term, length_score, nats, lengths)
    full = _derivative(*(column.mean() for column in columns))
    return Jackknife(float(full), _derivative(*(leave_one_out_means(column) for column in columns)))


def _derivative(a: np.ndarray, score: np.ndarray, nats: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    derivative: np.ndarray = (a - nats / lengths * score) / lengths
    return derivative


def token_entropy(nats: np.ndarray, lengths: np.ndarray) -> Jackknife:
    """H_tok = mean h / mean L in nats per token, with its jackknife over prompts.

    Args:
        nats: h_n ``[B_E]``, a prompt's mean entropy in nats per response.
        lengths: L_n ``[B_E]``, a prompt's mean response length in tokens.
    """
    left_out = leave_one_out_means(nats) / leave_one_out_means(lengths)
    return Jackknife(float(nats.mean() / lengths.mean()), left_out)


def unit_coefficients(nats: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(alpha ``[B_E]``, beta ``[B_E]``) such that sum_n (alpha_n a_n + beta_n l_n) is the bias-corrected d.

    :func:`token_derivative` is linear in the a_n and l_n, so that the same coefficients combine the vectors X_n and the
    gradients of the mean length into the gradient of H_tok.

    Args:
        nats: h_n ``[B_E]``, a prompt's mean entropy in nats per response.
        lengths: L_n ``[B_E]``, a prompt's mean response length in tokens.
    """
    n = len(lengths)
    scale, scale_left = 1 / lengths.mean(), 1 / leave_one_out_means(lengths)
    slope, slope_left = nats.mean() * scale**2, leave_one_out_means(nats) * scale_left**2

    def combine(full: float, left_out: np.ndarray) -> np.ndarray:
        # n full - (n-1) mean_i left_out_i, where unit m is in the means of all i but its own.
        combined: np.ndarray = full - (left_out.sum() - left_out) / n
        return combined

    return combine(scale, scale_left), -combine(slope, slope_left)
