"""The update batch U: its responses, rewards and token weights, and the update direction taken from them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from pytest_entropy.optimizers.state import AdamWState
from pytest_entropy.optimizers.update_rules import update_direction
from pytest_entropy.policy.action_values import ControlVariateTables
from pytest_entropy.policy.policy import Policy
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.probe.derivatives.gradient import policy_gradient
from pytest_entropy.probe.estimators import get_estimator
from pytest_entropy.probe.oracles.optimizer import optimizer_discrepancy
from pytest_entropy.probe.oracles.random_slopes import random_slopes
from pytest_entropy.probe.oracles.update import loss_slope_discrepancy, token_weights_by_definition
from pytest_entropy.probe.parameter_vectors import held_in, norm
from pytest_entropy.probe.profiler import Meter
from pytest_entropy.probe.table_choice import chosen_tables, share_in_groups
from pytest_entropy.probe.update.direction import Update, fingerprint
from pytest_entropy.probe.update.objective import token_weights
from pytest_entropy.records.update import Sample, StillTerm, equal_rewards
from pytest_entropy.settings.probe import ProbeConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UpdateBatch:
    """B_U prompts with G rewarded responses each.

    Attributes:
        keys: the prompts' content keys.
        rollouts: B_U prompts x G responses.
        rewards: ``[B_U][G]``.
        seed: the seed that prompts and responses were drawn with.
        sample: responses that the update's record shows, where rewards are equal within every group.
        still_terms: rewards of a weighted sum that are equal within every group.
    """

    keys: tuple[str, ...]
    rollouts: Rollouts
    rewards: list[list[float]]
    seed: int
    sample: list[Sample] = field(default_factory=list)
    still_terms: list[StillTerm] = field(default_factory=list)

    def token_weights(self, config: ProbeConfig) -> torch.Tensor:
        """Token weights w ``[B_U, G]`` float64 of the loss -sum w_pg S_pg."""
        return token_weights(
            torch.tensor(self.rewards, dtype=torch.float64),
            self.rollouts.lengths.cpu(),
            config.loss_type,
            max_new_tokens=config.max_new_tokens,
            scaling=config.scale_rewards,
            epsilon=config.advantage_epsilon,
        )

    def gradient(self, policy: Policy, config: ProbeConfig) -> dict[str, torch.Tensor]:
        """Gradient of the loss by live parameter name, float64, on the CPU.

        Args:
            policy: the gradient is over its trainable parameters.
            config: names the objective, and gives the token budget of a piece.

        Raises:
            RunError: the gradient is not finite.
        """
        return policy_gradient(policy, self.rollouts, self.token_weights(config), chunk_tokens=config.tokens_at_once)

    def control_variate(
        self, policy: Policy, direction: Mapping[str, torch.Tensor], config: ProbeConfig
    ) -> ControlVariateTables | None:
        """Entropy-to-go tables learnt from the responses; None if the configured estimator uses none.

        Args:
            policy: scores the responses, to learn from their hidden states and to choose what is done with the tables.
            direction: u by live parameter name.
            config: names the estimator, and gives the token budget of a piece.
        """
        if not get_estimator(config.estimator).learns:
            return None
        limit, chunk = config.max_new_tokens, config.tokens_at_once
        tables = chosen_tables(policy, self.rollouts, direction, limit, chunk_tokens=chunk)
        share = share_in_groups(float(tables.share), config.G, config.entropy_group)
        return replace(tables, share=torch.tensor(share, dtype=torch.float64))


def take_update(
    batch: UpdateBatch,
    policy: Policy,
    optimizer: AdamWState,
    config: ProbeConfig,
    *,
    eta: float,
    eta_source: str,
    meter: Meter,
) -> Update:
    """Compute the update direction u of a batch, and its discrepancies from a real optimizer's step and from the loss.

    Args:
        batch: B_U prompts with rewarded responses.
        policy: the policy before the step.
        optimizer: the stored optimizer state by live parameter name.
        config: names the objective, the update rule and the clipping.
        eta, eta_source: the learning rate, and where it comes from.
        meter: gets the time and memory of the phases.

    Raises:
        RunError: the gradient is not finite.
    """
    # Gradient and optimizer state are on the CPU.
    parameters = {name: p.detach().cpu() for name, p in policy.trainable.items()}
    rule, clip = config.update_rule, config.max_grad_norm
    size = batch.rollouts.size
    with meter.phase("gradient", size):
        gradient = batch.gradient(policy, config)
        direction = update_direction(
            rule, gradient, optimizer, parameters, max_grad_norm=clip, dtype=held_in(parameters)
        )
    with meter.phase("oracle", size if "definition" in config.diagnostics else None, passes=None):
        gap = optimizer_discrepancy(rule, gradient, optimizer, parameters, direction, max_grad_norm=clip)
        slopes = _slope_fields(batch, policy, config, gradient, direction, eta)
    learns = get_estimator(config.estimator).learns
    with meter.phase("learning", size, passes=None) if learns else nullcontext():
        control_variate = batch.control_variate(policy, direction, config)
    update = Update(
        direction=direction, gradient=gradient, rule=rule, objective=config.loss_type, eta=eta, eta_source=eta_source,
        gradient_norm=norm(gradient), direction_norm=norm(direction),
        oracle_gap=gap, eta_gap=_eta_discrepancy(eta, config, optimizer),
        fingerprint=fingerprint(direction), control_variate=control_variate,
        learnt_fingerprint=None if control_variate is None else fingerprint(control_variate.tensors()),
        seconds=meter.seconds, memory_mb=meter.memory_mb,
        **_batch_fields(batch), **slopes,
    )  # fmt: skip
    _report(update, batch, config)
    return update


def _batch_fields(batch: UpdateBatch) -> dict[str, Any]:
    """Fields of :class:`UpdateRecord` that describe the batch: prompts, rewards, and means over the responses."""
    table = torch.tensor(batch.rewards, dtype=torch.float64)
    per_response = batch.rollouts.entropies.double().sum(-1)
    return {
        "seed": batch.seed,
        "prompts": list(batch.keys),
        "rewards": batch.rewards,
        "reward_mean": float(table.mean()),
        "reward_std": float(table.std()),
        "degenerate_groups": float((table.amax(1) == table.amin(1)).double().mean()),
        "entropy_mean": float(per_response.mean()),
        "length_mean": float(batch.rollouts.lengths.double().mean()),
        "sample": batch.sample,
        "still_terms": batch.still_terms,
    }


def _report(update: Update, batch: UpdateBatch, config: ProbeConfig) -> None:
    for name, g in update.gradient.items():
        log.debug("update gradient |g| %.3e  direction |u| %.3e  %s", g.norm(), update.direction[name].norm(), name)
    log.info(
        "update U: %d prompts x %d responses, mean reward %.3f, |g| %.3e, |u| %.3e",
        len(batch.keys), config.G, update.reward_mean, update.gradient_norm, update.direction_norm,
    )  # fmt: skip
    equal = equal_rewards(batch.rewards)
    if equal is not None:
        log.warning("the update batch has no gradient: %s; a sample: %s", equal, batch.sample)
    for term in batch.still_terms:
        log.warning("reward %s adds nothing to the update: %s; a sample: %s", term.name, term.equal, term.sample)


def _eta_discrepancy(eta: float, config: ProbeConfig, optimizer: AdamWState) -> float:
    """|eta / expected - 1|, where the configured rate is expected, else the largest stored one; 0 if neither exists."""
    stored = max((entry.lr for entry in optimizer.values()), default=0.0)
    expected = stored if config.learning_rate is None else config.learning_rate
    return abs(eta / expected - 1) if expected else 0.0


def _slope_fields(
    batch: UpdateBatch,
    policy: Policy,
    config: ProbeConfig,
    gradient: Mapping[str, torch.Tensor],
    direction: Mapping[str, torch.Tensor],
    eta: float,
) -> dict[str, Any]:
    """Discrepancies of the gradient from slopes of the loss, along u and along random directions, as record fields.

    Empty unless the diagnostic ``definition`` is asked for.
    """
    if "definition" not in config.diagnostics:
        return {}
    weights = token_weights_by_definition(
        batch.rewards,
        batch.rollouts.lengths.tolist(),
        config.loss_type,
        max_new_tokens=config.max_new_tokens,
        scaling=config.scale_rewards,
        epsilon=config.advantage_epsilon,
    )
    chunk = config.tokens_at_once
    along_u, noise = loss_slope_discrepancy(
        policy, batch.rollouts, weights, gradient, direction, step=eta, chunk_tokens=chunk
    )  # fmt: skip
    random = random_slopes(
        policy, batch.rollouts, weights, gradient, direction, step=eta, seed=batch.seed, chunk_tokens=chunk
    )
    return {
        "loss_slope_gap": along_u,
        "loss_slope_noise": noise,
        "random_slope_gap": random.gap,
        "random_slope_noise": random.noise,
        "zero_slope_gap": random.zero_gap,
        "zero_gradients": random.zero_blocks,
    }
