"""Central differences of the responses' log-probabilities along a direction, which take no derivative."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.diagnostics.importance_sampling import moved, sequence_totals

# Times that a step is rescaled.
TRIES = 4


@dataclass(frozen=True)
class CentralDifferences:
    """Changes of S_pg, a response's log-probability, of P prompts x G responses when the policy moves.

    Attributes:
        policy: the policy at theta.
        rollouts: the responses.
        chunk_tokens: token budget of a piece.
    """

    policy: Policy
    rollouts: Rollouts
    chunk_tokens: int

    def half(self, direction: Mapping[str, torch.Tensor], step: float) -> np.ndarray:
        """(S(theta + h v) - S(theta - h v)) / 2, ``[P, G]`` nats.

        Args:
            direction: v by live parameter name.
            step: h.
        """
        ahead, behind = (self._sequences(direction, sign * step) for sign in (1, -1))
        return np.asarray((ahead - behind) / 2)

    def usable(self, direction: Mapping[str, torch.Tensor], step: float, move: float) -> tuple[float, np.ndarray]:
        """(h, :meth:`half` at h) of a step at which the S_pg that changes most changes by about ``move`` nats.

        Args:
            direction: v by live parameter name.
            step: the first h, which is rescaled.
            move: nats.
        """
        near = self.half(direction, step)
        for _ in range(TRIES):
            most = float(np.abs(near).max())
            if most == 0.0 or move / 2 < most < 2 * move:
                break
            step *= move / most
            near = self.half(direction, step)
        return step, near

    def _sequences(self, direction: Mapping[str, torch.Tensor], step: float) -> np.ndarray:
        with moved(self.policy, direction, step):
            return sequence_totals(self.policy, self.rollouts, chunk_tokens=self.chunk_tokens)[0]
