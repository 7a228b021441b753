"""The configuration of an experiment: names, types, defaults and ranges.  Imports neither torch nor pytest."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from pytest_entropy.settings.batch_sizes import BatchSizes
from pytest_entropy.settings.devices import unusable
from pytest_entropy.settings.diagnostics import CHECKED, runs_with_diagnostics
from pytest_entropy.settings.fields import LARGEST, PositiveFloat, SettingsSection, Size, as_number
from pytest_entropy.settings.probe import (
    SMALLEST_SINGLE_BATCH,
    MemorySection,
    SampledPolicy,
    SweepWeights,
    UpdateSettings,
    require_two_responses,
)
from pytest_entropy.settings.reward_terms import Rewards, RewardSection
from pytest_entropy.settings.target_error import target_error
from pytest_entropy.settings.template_arguments import template_arguments


class BatchConfig(BatchSizes):
    """The sizes of batches, and the number of runs at each entropy batch size."""

    B_E_values: list[Annotated[int, Field(ge=2, le=LARGEST)]] = Field(default=[16, 32, 64], min_length=1)
    """Prompts per entropy batch, each at least 2."""
    runs_per_batch: Size = 3
    """Independent runs per B_E, along each update batch."""
    updates: Size = 1
    """Update batches, in the single run: the drift per step is then a mean over them."""
    target_se: Annotated[str | None, BeforeValidator(target_error)] = None
    """Runs are taken until the standard error of their mean δH₁ for its update batch is at most this, such as `0.001`,
    or `10%` of |δH₁|; `runs_per_batch` is then the most runs (16 unless given)."""

    @field_validator("B_E_values")
    @classmethod
    def _distinct(cls, values: list[int]) -> list[int]:
        if len(set(values)) != len(values):
            raise ValueError("the same B_E appears twice; for more measurements at one B_E raise runs_per_batch")
        return values


class UStatisticSection(SettingsSection):
    """The blocks of the U-statistic: single prompts (``exact``), or ``blocks`` equal blocks of prompts."""

    method: Literal["exact", "blocks"] = "exact"
    """Pairs of prompts (`exact`), or of equal blocks of prompts (`blocks`)."""
    blocks: Annotated[int, Field(ge=2)] = 8
    """Number of blocks; must divide every B_E."""


def _which_runs(value: object) -> object:
    """Runs by name, or as true and false."""
    return {True: "all", False: "none"}[value] if isinstance(value, bool) else value


class ProbeSection(UpdateSettings):
    """How delta_h1 is estimated, and which update is assumed."""

    u_statistic: UStatisticSection = UStatisticSection()
    total_variance: Annotated[Literal["first", "all", "none"], BeforeValidator(_which_runs)] = "first"
    """Runs that also estimate the standard error over update batches, with U random as well: the `first` along each
    update batch at each B_E of at least B_U, or at the largest (the part of U is the same for the others), `all` (or
    true), or `none` (or false)."""

    def settings(self) -> dict[str, object]:
        """The keyword arguments of :class:`pytest_entropy.probe.ProbeConfig` that this section sets."""
        record = self.model_dump(include=set(UpdateSettings.model_fields))
        blocks = self.u_statistic.blocks if self.u_statistic.method == "blocks" else None
        return {**record, "u_statistic_blocks": blocks}


class SamplingSection(SampledPolicy):
    """The distribution that is sampled and scored: softmax(logits / temperature), without truncation."""

    top_p: float = 1.0
    """Must stay 1: truncated sampling breaks every identity that the probe rests on."""
    top_k: int = 0
    """Must stay 0, for the same reason."""

    @model_validator(mode="after")
    def _neutral(self) -> SamplingSection:
        if self.top_p != 1.0 or self.top_k != 0:
            raise ValueError(
                "top_p and top_k must stay neutral (1.0 and 0): truncation renormalises the sampler's "
                "log-probabilities and not the scorer's, and every identity the probe rests on would fail"
            )
        return self


class PromptSection(SettingsSection):
    """The source of prompts, and how rows become prompts."""

    source: Annotated[str, Field(min_length=1)] = "demo"
    """A `.jsonl` or `.parquet` file, `datasets:NAME`, or `demo`, the bundled word problems; see [prompts and
    rewards](prompts-and-rewards.md)."""
    prompt_column: Annotated[str, Field(min_length=1)] = "prompt"
    """Column with the prompt."""
    answer_column: Annotated[str, Field(min_length=1)] = "answer"
    """Column with the expected answer; the reward function receives all other columns as well."""
    template: Annotated[str, Field(min_length=1)] | None = None
    """`r1`, the name of a built-in template, or a text with `{question}`."""
    chat_template_kwargs: Annotated[dict[str, object], AfterValidator(template_arguments)] = {}
    """Variables for the checkpoint's chat template, such as `{enable_thinking: false}`; those in a row's column of
    this name take precedence."""
    tools: Annotated[str, Field(min_length=1)] | None = None
    """A JSON file with the tools of every chat prompt, as JSON schemas; those in a row's column of this name take
    precedence."""
    with_replacement: bool = False
    """Draw with replacement; E and U may share prompts."""


class ModelSection(SettingsSection):
    """How the checkpoint is loaded: base model, device, dtype."""

    base_model: str | None = None
    """Base model directory; left out, the one that the adapter's configuration names."""
    device: str = "cpu"
    """`cpu`, `cuda`, `cuda:N`, or `auto`, which lays a model larger than one GPU across all of them (mps is rejected,
    because it has no float64)."""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """`float32`, `float64`, or `bfloat16` for the frozen base of an adapter; never narrower than asked for."""

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if reason := unusable(device):
            raise ValueError(reason)
        return device


class CheckSection(SettingsSection):
    """The error rates of checks, and the confidence level of reported intervals."""

    alpha: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Probability that a correct probe fails the session."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Confidence level of reported intervals."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Largest finite-batch bias that is tolerated, as a share of the converged value."""
    inconclusive: Literal["skip", "fail"] = "skip"
    """Outcome of a check that its sample could not decide: `skip` or `fail`."""
    depth: Literal["auto", "light", "full"] = "auto"
    """Runs that have the diagnostics: every one (`full`), or one in seven, at least one (`light`: 15 runs then take
    1.4 times the time of plain ones instead of 3.5 times).  `auto` is `light` in the sanity check of a model of 1e9
    parameters or more, else `full`; see [what each depth sees](statistics.md#depth)."""


class EtaSweepSection(SweepWeights):
    """The eta sweep: the entropy itself at several steps along the update, to see how far first order holds.

    ``pareto_smoothed`` needs arviz-stats.
    """

    multiples: list[Annotated[float, BeforeValidator(as_number), Field(allow_inf_nan=False)]] = []
    """Steps, in multiples of η, at which the entropy itself is measured, by one scoring pass each; empty for no
    sweep."""

    @model_validator(mode="after")
    def _usable(self) -> EtaSweepSection:
        if 0 in self.multiples or len(set(self.multiples)) != len(self.multiples) or len(self.multiples) == 1:
            raise ValueError(
                "eta_sweep.multiples must be at least two different numbers other than 0, such as [-2, -1, 1, 2, 4] "
                "(or [] for no sweep)"
            )
        if self.pareto_smoothed and find_spec("arviz_stats") is None:
            raise ValueError("Pareto-smoothed weights need arviz-stats: install pytest-entropy[psis]")
        return self


class ExperimentConfig(SettingsSection):
    """All settings on which an experiment's results and verdicts depend."""

    checkpoint: Annotated[str, Field(min_length=1)] = "demo"
    """Checkpoint directory, or `demo`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The session's seed: U's seed is derived from it alone, so that all experiments share U; a run's seed is derived
    from it and the experiment's name."""
    batch_config: BatchConfig = BatchConfig(B_E_values=[16, 32, 64])
    probe: ProbeSection = ProbeSection()
    sampling: SamplingSection = SamplingSection()
    prompts: PromptSection = PromptSection()
    reward: Rewards = [RewardSection(name="exact_answer")]
    """The name of a reward (`exact_answer`, `gsm8k`, `boxed`, `math_verify`, an installed one, `module:function`,
    `file.py:function`), several as `a,b*0.5`, or a list of `{name, weight}`."""
    reward_timeout: PositiveFloat = 600.0
    """Time limit for one call of a reward function, in seconds."""
    model: ModelSection = ModelSection()
    memory: MemorySection = MemorySection()
    checks: CheckSection = CheckSection()
    eta_sweep: EtaSweepSection = EtaSweepSection()
    diagnostics: bool = False
    """Also compute reinforce_loo, directional scores and surprisal ranks, from the same rollouts."""
    save_gradients: bool = False
    """Save gradients and directions, as `--save-gradients` does."""

    @model_validator(mode="after")
    def _groups(self) -> ExperimentConfig:
        require_two_responses(self.batch_config, self.probe, "batch_config.")
        return self

    @model_validator(mode="after")
    def _single_batch(self) -> ExperimentConfig:
        if self.probe.mode == "two_batch":
            return self
        if self.diagnostics or self.save_gradients:
            raise ValueError(
                "diagnostics and save_gradients need an update that is independent of the entropy batch; with "
                "probe.mode u_statistic it is not: run the sanity check and the debug experiment with two_batch"
            )
        if self.batch_config.G_E is not None:
            raise ValueError(
                "batch_config.G_E is the number of responses in the entropy batch, and with probe.mode u_statistic "
                "one batch serves for both: give batch_config.G"
            )
        if min(self.batch_config.B_E_values) < SMALLEST_SINGLE_BATCH:
            raise ValueError(
                "batch_config.B_E_values holds 2, and with probe.mode u_statistic two prompts form one pair, from "
                f"which no error can be estimated: give B_E >= {SMALLEST_SINGLE_BATCH}"
            )
        settings = self.probe.u_statistic
        uneven = [size for size in self.batch_config.B_E_values if size % settings.blocks]
        if settings.method == "blocks" and uneven:
            raise ValueError(
                f"probe.u_statistic.blocks is {settings.blocks}, which does not divide B_E = {uneven[0]}: give a "
                "number that divides all of batch_config.B_E_values"
            )
        return self

    @property
    def diagnosed_runs(self) -> tuple[int, ...]:
        """Numbers of the runs at each B_E that have the diagnostics of the sanity checks; empty without any."""
        if not self.diagnostics:
            return ()
        return runs_with_diagnostics(self.batch_config.runs_per_batch, self.checks.depth)

    @property
    def has_plain_runs(self) -> bool:
        """Whether some runs have the diagnostics of the sanity checks, and others do not."""
        return 0 < len(self.diagnosed_runs) < self.batch_config.runs_per_batch

    def probe_settings(self, run: int = 1, B_E: int | None = None) -> dict[str, object]:
        """The keyword arguments of :class:`pytest_entropy.probe.ProbeConfig` for a run of this configuration.

        Args:
            run: the run's number at its B_E; the first has all diagnostics at every depth.
            B_E: prompts of its entropy batch; the largest if left out.
        """
        batch, sampling = self.batch_config, self.sampling
        return {
            **batch.model_dump(include=set(BatchSizes.model_fields)),
            **self.probe.settings(),
            **sampling.model_dump(include=set(SampledPolicy.model_fields)),
            "with_replacement": self.prompts.with_replacement,
            **self.memory.model_dump(),
            "diagnostics": self.asked_of(run, B_E),
            **self._sweep(),
        }

    def asked_of(self, run: int, B_E: int | None = None) -> tuple[str, ...]:
        """The names of the diagnostics of a run, which its record lists as ``asked``.

        Args:
            run: the run's number at its B_E.
            B_E: prompts of its entropy batch; the largest if left out.
        """
        extra: tuple[str, ...] = ()
        # A single batch's update is not independent of its responses, so that no sweep is possible, and its standard
        # error is already the total one.
        if self.probe.mode == "two_batch":
            extra += ("total_variance",) if self._has_total(run, B_E) else ()
            # Runs that a target takes are there for their mean; the analysis shows the first one's sweep.
            swept = self.batch_config.target_se is None or run <= self.batch_config.updates
            extra += ("eta_sweep",) if self.eta_sweep.multiples and swept else ()
        without = not self.diagnostics or (self.has_plain_runs and run not in self.diagnosed_runs)
        return extra if without else (*CHECKED, *extra)

    def _has_total(self, run: int, B_E: int | None) -> bool:
        """Whether a run estimates the variance over update batches, too, which takes a pass over U."""
        which, batch = self.probe.total_variance, self.batch_config
        enough = B_E is None or min(batch.B_U, max(batch.B_E_values)) <= B_E
        return which == "all" or (which == "first" and run <= batch.updates and enough)

    def _sweep(self) -> dict[str, object]:
        sweep = self.eta_sweep.model_dump()
        multiples = tuple(sweep.pop("multiples"))
        return {**sweep, **({"eta_multiples": multiples} if multiples else {})}
