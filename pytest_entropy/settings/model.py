"""What can be configured: names, types, defaults and ranges.  Imports neither torch nor pytest."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from pytest_entropy.settings.devices import unusable
from pytest_entropy.settings.diagnostics import CHECKED
from pytest_entropy.settings.fields import LARGEST, PositiveFloat, SettingsSection, Size, as_number
from pytest_entropy.settings.probe import (
    SMALLEST_SINGLE_BATCH,
    BatchSizes,
    MemorySection,
    SampledPolicy,
    SweepWeights,
    UpdateSettings,
    require_two_responses,
)
from pytest_entropy.settings.reward_terms import Rewards, RewardSection
from pytest_entropy.settings.template_arguments import template_arguments


class BatchConfig(BatchSizes):
    """Sizes: prompts per entropy batch (several values), prompts of the update batch, runs, responses (``G_E``: of the
    entropy batch, where they are not ``G``)."""

    B_E_values: list[Annotated[int, Field(ge=2, le=LARGEST)]] = Field(default=[16, 32, 64], min_length=1)
    """Prompts per entropy batch, each at least 2."""
    runs_per_batch: Size = 3
    """Independent runs per B_E."""

    @field_validator("B_E_values")
    @classmethod
    def _distinct(cls, values: list[int]) -> list[int]:
        if len(set(values)) != len(values):
            raise ValueError("the same B_E appears twice; for more measurements at one B_E raise runs_per_batch")
        return values


class UStatisticSection(SettingsSection):
    """Single-batch mode: every prompt its own block (``exact``), or ``blocks`` blocks of prompts."""

    method: Literal["exact", "blocks"] = "exact"
    """Pairs of prompts (`exact`), or of equal blocks of prompts (`blocks`)."""
    blocks: Annotated[int, Field(ge=2)] = 8
    """How many blocks; must divide every B_E."""


class ProbeSection(UpdateSettings):
    """How delta_h1 is estimated and which update is assumed."""

    u_statistic: UStatisticSection = UStatisticSection()
    total_variance: bool = False
    """The standard error over update batches, too: with U random as well (true in the templates of single run and
    debug)."""

    def settings(self) -> dict[str, object]:
        """The part of :class:`pytest_entropy.probe.ProbeConfig` that stands here."""
        record = self.model_dump(include=set(UpdateSettings.model_fields))
        blocks = self.u_statistic.blocks if self.u_statistic.method == "blocks" else None
        return {**record, "u_statistic_blocks": blocks}


class SamplingSection(SampledPolicy):
    """The one distribution sampled from and scored: softmax(logits / temperature), nothing else."""

    top_p: float = 1.0
    """Anything but 1 is refused: truncation breaks every identity."""
    top_k: int = 0
    """Anything but 0 is refused."""

    @model_validator(mode="after")
    def _neutral(self) -> SamplingSection:
        if self.top_p != 1.0 or self.top_k != 0:
            raise ValueError(
                "top_p and top_k must stay neutral (1.0 and 0): truncation renormalises the sampler's "
                "log-probabilities and not the scorer's, and every identity the probe rests on would fail"
            )
        return self


class PromptSection(SettingsSection):
    """Where prompts come from; ``demo`` is the bundled generator of word problems.

    ``template`` is the name of a built-in template or a text with ``{question}``; ``chat_template_kwargs`` are told to
    the checkpoint's chat template.
    """

    source: Annotated[str, Field(min_length=1)] = "demo"
    """A `.jsonl` or `.parquet` file, `datasets:NAME`, or `demo`, the bundled word problems; see [prompts and
    rewards](prompts-and-rewards.md)."""
    prompt_column: Annotated[str, Field(min_length=1)] = "prompt"
    """Column with the prompt."""
    answer_column: Annotated[str, Field(min_length=1)] = "answer"
    """Column with the expected answer; other columns reach the reward function, too."""
    template: Annotated[str, Field(min_length=1)] | None = None
    """`r1`, or a text with `{question}`."""
    chat_template_kwargs: Annotated[dict[str, object], AfterValidator(template_arguments)] = {}
    """Told to the checkpoint's chat template, such as `{enable_thinking: false}`; a row's column of that name goes
    over it."""
    with_replacement: bool = False
    """Draw with replacement; E and U may share prompts."""


class ModelSection(SettingsSection):
    """How the checkpoint is loaded."""

    base_model: str | None = None
    """Base model directory; left out, the one the adapter names."""
    device: str = "cpu"
    """`cpu`, `cuda` or `cuda:N` (mps has no float64, and is refused)."""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """`float32`, `float64`, or `bfloat16` for the frozen base of an adapter; never narrower than asked for."""

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if reason := unusable(device):
            raise ValueError(reason)
        return device


class CheckSection(SettingsSection):
    """Error rates of the assertions.

    ``alpha`` is the session's false-alarm budget, ``confidence`` that of reported intervals, ``tolerance`` the
    finite-batch bias, as a share of the converged value, that does not matter.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Chance that a correct probe fails the session."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of reported intervals."""
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Finite-batch bias, as a share of the converged value, that does not matter."""
    inconclusive: Literal["skip", "fail"] = "skip"
    """What a verdict the sample could not decide becomes: `skip` or `fail`."""


class EtaSweepSection(SweepWeights):
    """The entropy itself at several steps along the update: how far first order holds.

    ``multiples`` of the learning rate, none for no sweep; each costs a scoring pass.  ``pareto_smoothed`` (needs
    arviz-stats) and ``clip_weights`` tame the weights of the self-normalised variant; ``fresh_samples`` draws
    responses anew at the training step and the largest.
    """

    multiples: list[Annotated[float, BeforeValidator(as_number), Field(allow_inf_nan=False)]] = []
    """Steps, in multiples of η, at which the entropy itself is measured (one scoring pass each)."""

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
    """Everything an experiment's results depend on, and how it is judged."""

    checkpoint: Annotated[str, Field(min_length=1)] = "demo"
    """Checkpoint directory, or `demo`."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The session's seed: U's is derived from it alone, so that all experiments take one U, and every run's from it
    and the experiment's name."""
    batch_config: BatchConfig = BatchConfig(B_E_values=[16, 32, 64])
    probe: ProbeSection = ProbeSection()
    sampling: SamplingSection = SamplingSection()
    prompts: PromptSection = PromptSection()
    reward: Rewards = [RewardSection(name="exact_answer")]
    """A name (`exact_answer`, `gsm8k`, `boxed`, `math_verify`, an installed one, `module:function`,
    `file.py:function`), several as `a,b*0.5`, or a list of `{name, weight}`."""
    reward_timeout: PositiveFloat = 600.0
    """Seconds one call of a reward function may take."""
    model: ModelSection = ModelSection()
    memory: MemorySection = MemorySection()
    checks: CheckSection = CheckSection()
    eta_sweep: EtaSweepSection = EtaSweepSection()
    diagnostics: bool = False
    """reinforce_loo, directional scores and surprisal ranks from the same rollouts."""
    save_gradients: bool = False
    """Write gradients and directions, as `--save-gradients` does."""

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
                "diagnostics and save_gradients rest on an update that is independent of the entropy batch; with "
                "probe.mode u_statistic it is not: run the sanity check and the debug experiment with two_batch"
            )
        if self.batch_config.G_E is not None:
            raise ValueError(
                "batch_config.G_E is the entropy batch's own number of responses, and with probe.mode u_statistic "
                "there is one batch for both: give batch_config.G"
            )
        if min(self.batch_config.B_E_values) < SMALLEST_SINGLE_BATCH:
            raise ValueError(
                "batch_config.B_E_values holds 2, and with probe.mode u_statistic the two prompts of a pair have one "
                f"product, which says nothing of its error: give B_E >= {SMALLEST_SINGLE_BATCH}"
            )
        settings = self.probe.u_statistic
        uneven = [size for size in self.batch_config.B_E_values if size % settings.blocks]
        if settings.method == "blocks" and uneven:
            raise ValueError(
                f"probe.u_statistic.blocks is {settings.blocks}, which does not divide B_E = {uneven[0]}: give a "
                "number that divides all of batch_config.B_E_values"
            )
        return self

    def probe_settings(self) -> dict[str, object]:
        """Keyword arguments of :class:`pytest_entropy.probe.ProbeConfig`."""
        batch, sampling = self.batch_config, self.sampling
        return {
            **batch.model_dump(include=set(BatchSizes.model_fields)),
            **self.probe.settings(),
            **sampling.model_dump(include=set(SampledPolicy.model_fields)),
            "with_replacement": self.prompts.with_replacement,
            **self.memory.model_dump(),
            "diagnostics": self._diagnostics(),
            **self._sweep(),
        }

    def _diagnostics(self) -> tuple[str, ...]:
        extra: tuple[str, ...] = ()
        # A single batch's update is not independent of its responses, so that there is nothing to sweep, and its
        # error is the total one already.
        if self.probe.mode == "two_batch":
            extra += ("total_variance",) if self.probe.total_variance else ()
            extra += ("eta_sweep",) if self.eta_sweep.multiples else ()
        return (*CHECKED, *extra) if self.diagnostics else extra

    def _sweep(self) -> dict[str, object]:
        sweep = self.eta_sweep.model_dump()
        multiples = tuple(sweep.pop("multiples"))
        return {**sweep, **({"eta_multiples": multiples} if multiples else {})}
