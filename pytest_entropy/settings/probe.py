"""The settings of a probe, defined once for the sections of YAML files and for ``ProbeConfig``.

Each class holds the settings of one YAML section that the probe itself uses; its subclass in ``settings/model.py`` adds
the settings that only experiments have, and :class:`ProbeConfig` combines all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pytest_entropy import registry
from pytest_entropy.settings.batch_sizes import BatchSizes
from pytest_entropy.settings.companions import AUTO, why_no_reads
from pytest_entropy.settings.diagnostics import known_diagnostics
from pytest_entropy.settings.fields import (
    PositiveFloat,
    SettingsSection,
    Size,
    as_number,
    builtin,
    number_or_auto,
)
from pytest_entropy.settings.former_names import RENAMED, current_name
from pytest_entropy.settings.objectives import OBJECTIVES, SCALINGS, known_objective, normalised_over_batch

# The number of tokens scored together where memory does not bound it.
LARGEST_CHUNK = 16384
# With two prompts both row means are equal, and the error estimated from their spread would be 0.
SMALLEST_SINGLE_BATCH = 3


@runtime_checkable
class _Separable(Protocol):
    """The attribute of an estimator that settings depend on."""

    separable: bool


@runtime_checkable
class _Linear(Protocol):
    """The attribute of an update rule that settings depend on."""

    linear: bool


def _scaling(value: Any) -> Any:
    """Validate a scaling of rewards, given by name or, as TRL accepts too, as true or false."""
    value = {True: "group", False: "none"}[value] if isinstance(value, bool) else value
    if value is not None and value not in SCALINGS:
        raise ValueError(f"scale_rewards {value!r} is not one of {', '.join(SCALINGS)}")
    return value


class UpdateSettings(SettingsSection):
    """How delta_h1 is estimated, and which update is assumed."""

    mode: Literal["two_batch", "u_statistic"] = "two_batch"
    """`two_batch`, or `u_statistic`: update and entropy gradient from one batch of B_E prompts, `batch_config.B_U`
    unused ([§5](mathematics.md))."""
    entropy_unit: Literal["sequence", "token"] = "sequence"
    """`sequence`: nats per response, or `token`: nats per token."""
    estimator: Annotated[str, AfterValidator(registry.name_validator("estimators"))] = "action_value"
    """`action_value`, `rao_blackwell` (more variance on short answers, and no companion reads; the default in mode
    `u_statistic`), `reinforce_loo`, or an installed one; see [variance reduction](variance-reduction.md)."""
    update_rule: Annotated[str, AfterValidator(registry.name_validator("update_rules"))] = "preconditioned"
    """`preconditioned`, `adamw`, `sgd`, or an installed one."""
    loss_type: Annotated[str, AfterValidator(known_objective)] = "dr_grpo"
    """Objective (formerly `probe.advantage`, still accepted): `dr_grpo`, `grpo`, `gspo`, `dapo`, `cispo`, `bnpo`,
    `rloo`, `sapo`, `luspo`, `vespo`, verl's `seq-mean-token-mean`, `seq-mean-token-sum`,
    `seq-mean-token-sum-norm`, `token-mean`, or `predecessor`."""
    scale_rewards: Annotated[str | None, BeforeValidator(_scaling)] = None
    """`none`, `group`, `batch`, `leave_one_out`; TRL's true and false mean `group` and `none`; left out, the
    objective's."""
    advantage_epsilon: Annotated[float, Field(ge=0)] = 1e-4
    """Added to the standard deviation that advantages are divided by (TRL 1e-4, verl 1e-6)."""
    max_grad_norm: PositiveFloat | None = None
    """Gradient norm to which the `adamw` rule clips; left out, no clipping."""
    learning_rate: PositiveFloat | None = None
    """Learning rate η of the next step; left out, the checkpoint's."""

    @property
    def advantage(self) -> str:
        """The objective, under the former name of ``loss_type``."""
        return self.loss_type

    @model_validator(mode="before")
    @classmethod
    def _names_and_best_estimator(cls, values: Any) -> Any:
        """Translate former names, and default to the estimator that reaches a given error fastest in this mode."""
        if not isinstance(values, Mapping):
            return values
        given = {current_name(("probe",), name): value for name, value in values.items()}
        if len(given) < len(values):
            raise ValueError("advantage is the former name of loss_type; give one of them")
        if not given.get("estimator", ""):
            given["estimator"] = "rao_blackwell" if given.get("mode") == "u_statistic" else "action_value"
        return given

    @model_validator(mode="after")
    def _parts_per_prompt(self) -> UpdateSettings:
        """Reject settings whose update is not a mean of independent parts, one per prompt, in mode u_statistic."""
        if self.mode == "two_batch":
            return self
        if not registry.get("update_rules", self.update_rule, _Linear).linear:  # type: ignore[type-abstract]
            raise ValueError(
                f"mode u_statistic needs an update that is linear in the gradient, and {self.update_rule}'s is not: "
                "take update_rule preconditioned or sgd, or mode two_batch"
            )
        if normalised_over_batch(self.loss_type, self.scale_rewards):
            scaling = self.scale_rewards or OBJECTIVES[self.loss_type][0]
            raise ValueError(
                f"mode u_statistic needs prompts that enter the update one by one, and {self.loss_type} with "
                f"scale_rewards {scaling} normalises over the batch: take dr_grpo, grpo or rloo with scaling none or "
                "group, or mode two_batch"
            )
        if not registry.get("estimators", self.estimator, _Separable).separable:  # type: ignore[type-abstract]
            raise ValueError(
                f"mode u_statistic needs parts x_n of one prompt each, and {self.estimator}'s use other prompts: "
                "take estimator rao_blackwell, or mode two_batch"
            )
        if self.entropy_unit == "token":
            raise ValueError("mode u_statistic counts entropy per response: take entropy_unit sequence, or two_batch")
        return self


def require_two_responses(sizes: BatchSizes, update: UpdateSettings, section: str = "") -> None:
    """Reject groups of one response, which leave no other response for a baseline.

    Args:
        sizes: the settings with G and G_E.
        update: the settings with the estimator and the objective.
        section: a prefix of the sizes' names in messages, such as ``batch_config.``.

    Raises:
        ValueError: G or G_E is less than 2.
    """
    if sizes.G < 2:
        raise ValueError(
            f"{section}G is {sizes.G}: advantages and leave-one-out baselines ({update.estimator}, {update.loss_type}) "
            "compare responses to one prompt; take G >= 2"
        )
    if sizes.G_E is not None and sizes.G_E < 2:
        raise ValueError(f"{section}G_E is {sizes.G_E}: leave-one-out baselines need two responses; take G_E >= 2")


class SampledPolicy(SettingsSection):
    """The distribution that is sampled and scored, softmax(logits / temperature), and the largest response length."""

    temperature: PositiveFloat = 1.0
    """Temperature T of the policy, the same in sampling and scoring."""
    max_new_tokens: Size = 256
    """Largest number of tokens per response."""


class MemorySection(SettingsSection):
    """Bounds on memory, and the kind of the sampler's cache; they change results by rounding only."""

    sample_rows: Size = 512
    """Largest number of responses decoded together; changes results by rounding only."""
    chunk_tokens: Annotated[int | Literal["auto"], BeforeValidator(number_or_auto(1))] = "auto"
    """Largest number of tokens scored together (by each thread, on a CPU); changes results by rounding only. auto:
    16384, or a power of two below it whose forecast memory fits what is free."""
    static_cache: Literal["auto", True, False] = "auto"
    """Sample with a preallocated key/value cache that is written in place; responses do not change. auto: on a GPU, not
    on a CPU, where it is no faster."""


def _above_one(value: float | None) -> float | None:
    if value is not None and not value > 1:
        raise ValueError(f"clip_weights is {value}, it must be above 1, which is the weight at a step of 0")
    return value


class SweepWeights(SettingsSection):
    """Smoothing and clipping of the eta sweep's self-normalised importance weights, and fresh samples beside them."""

    pareto_smoothed: bool = False
    """Smooth the weights of the self-normalised variant by Pareto smoothing (`pip install pytest-entropy[psis]`)."""
    clip_weights: Annotated[
        Annotated[float, Field(allow_inf_nan=False)] | None, BeforeValidator(as_number), AfterValidator(_above_one)
    ] = None
    """Largest weight of the self-normalised variant, above 1; left out, not clipped."""
    fresh_samples: bool = False
    """Also sample new responses at η and at the largest step."""


Several = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)


class ProbeConfig(UpdateSettings, BatchSizes, SampledPolicy, MemorySection, SweepWeights):
    """All settings of a probe.

    The attributes have the names and meanings of the keys in YAML's sections (docs/configuration.md); in addition:

    Attributes:
        u_statistic_blocks: M, the number of equal blocks of prompts; None for single prompts.
        with_replacement: draw prompts with replacement, and allow E and U to share prompts.
        diagnostics: names of further per-prompt scalars of the same rollouts (estimators and scalars), and of
            measurements: ``"ranks"``, the surprisal ranks of the sampled tokens; ``"definition"``, batch and update
            against their definitions; ``"entropy_slope"`` (with ``"score"``), the ground truth of s_n;
            ``"total_variance"``, the standard error with U random as well; ``"eta_sweep"``, the entropy itself along u.
        eta_multiples: the steps of the sweep in multiples of eta, or of a power of two times eta if eta is too small or
            too large for a sweep.

    Raises:
        ValueError: a setting is out of its range, or a name is unknown; the message names every such setting.
        TypeError: a keyword is not the name of a setting.
    """

    model_config = ConfigDict(title="ProbeConfig")

    u_statistic_blocks: Annotated[int, Field(ge=2)] | None = None
    with_replacement: bool = False
    diagnostics: Annotated[tuple[str, ...], Several, AfterValidator(known_diagnostics)] = ()
    eta_multiples: Annotated[tuple[float, ...], Several] = (-2.0, -1.0, 1.0, 2.0, 4.0)

    def __init__(self, **settings: Any) -> None:
        names = {*type(self).model_fields, *RENAMED["probe"]}
        if unknown := [name for name in settings if name not in names]:
            raise TypeError(f"ProbeConfig has no setting {unknown[0]!r}")
        try:
            super().__init__(**{name: builtin(value) for name, value in settings.items()})
        except ValidationError as error:
            raise ValueError("; ".join(map(_sentence, error.errors()))) from None

    @property
    def tokens_at_once(self) -> int:
        """Number of tokens scored together; the largest one where it is still to be chosen."""
        return LARGEST_CHUNK if self.chunk_tokens == "auto" else self.chunk_tokens

    @property
    def entropy_group(self) -> int:
        """Responses per prompt of the entropy batch."""
        return self.G if self.G_E is None else self.G_E

    @property
    def companions(self) -> int:
        """Companion reads for each prompt of the entropy batch, the most with ``auto``; 0 where not supported."""
        if why_no_reads(self.mode, self.entropy_unit, self.estimator):
            return 0
        return self.reads if isinstance(self.reads, int) else self.most_reads

    @property
    def chooses_reads(self) -> bool:
        """Whether each update batch chooses the number of companion reads, up to ``companions``."""
        return self.reads == AUTO and self.companions > 0

    @field_validator("eta_multiples")
    @classmethod
    def _steps(cls, multiples: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(m) and m for m in multiples):
            raise ValueError(f"eta_multiples are {multiples}: each must be finite and not 0")
        return multiples

    @model_validator(mode="after")
    def _one_batch(self) -> ProbeConfig:
        require_two_responses(self, self)
        if self.mode == "two_batch":
            return self
        if self.G_E is not None:
            raise ValueError("mode u_statistic has one batch: its responses per prompt are G, leave G_E out")
        if self.diagnostics:
            raise ValueError(
                "the diagnostics need an update that is independent of the entropy batch: take mode two_batch"
            )
        return self


def _sentence(item: Any) -> str:
    """One of pydantic's errors as a sentence."""
    if item["type"] == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(map(str, item['loc']))} {item['input']!r}: {item['msg']}"
