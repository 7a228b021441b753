"""The table of the plugin's command line options, for pytest's parser, the configuration and README's table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_entropy.plugin.option_values import (
    NEWEST,
    be_values,
    error_target,
    key_value,
    name_or_newest,
    positive,
    positive_number,
    probability,
    text_value,
)


@dataclass(frozen=True)
class Option:
    """One command line option.

    Attributes:
        name: the option as it is written, such as ``--bu``.
        help: its description in ``--help`` and in README.
        parse: converts the text to a value; None for a flag, and for a choice.
        metavar: placeholder of the value in ``--help``.
        key: the dotted configuration key it sets, if it sets exactly one.
        choices: its possible values, if they are fixed.
        repeated: whether it may be given more than once.
        alone: its value where it is given without one; None if it needs a value.
    """

    name: str
    help: str
    parse: Callable[[str], Any] | None = None
    metavar: str | None = None
    key: str | None = None
    choices: tuple[str, ...] | None = None
    repeated: bool = False
    alone: str | None = None

    @property
    def settings(self) -> dict[str, object]:
        """Keyword arguments of pytest's ``addoption``."""
        settings: dict[str, object] = {"help": self.help.replace("%", "%%"), "default": None}
        if self.parse is None and self.choices is None:
            return {**settings, "action": "store_true"}
        if self.choices is not None:
            return {**settings, "choices": self.choices}
        settings |= {"type": self.parse, "metavar": self.metavar}
        if self.alone is not None:
            settings |= {"nargs": "?", "const": self.alone}
        return {**settings, "action": "append"} if self.repeated else settings

    @property
    def usage(self) -> str:
        """The option with the placeholder of its value, such as ``--bu N``."""
        value = "|".join(self.choices) if self.choices else self.metavar
        if self.alone is not None:
            value = f"[{value}]"
        return f"{self.name} {value}" if value else self.name


OPTIONS = (
    Option(
        "--checkpoint",
        "checkpoint directory, or 'demo' for the bundled one (default: demo)",
        text_value,
        "DIR",
        "checkpoint",
    ),
    Option("--config", "YAML file over the experiment's template in configs/, key by key", text_value, "FILE"),
    Option(
        "--be-values",
        "B_E values of batch scaling, debug and your own experiments, such as 16,32,64",
        be_values,
        "N,N,...",
    ),
    Option("--be", "B_E of single run and sanity check (default: 256)", positive(2), "N"),
    Option("--bu", "B_U, prompts of the update batch (default: 32)", positive(1), "N", "batch_config.B_U"),
    Option(
        "--runs",
        "runs per B_E (default: 3; sanity check 15); with --entropy-target-se the most runs",
        positive(1),
        "N",
    ),
    Option(
        "--entropy-target-se",
        "take runs until the error of their mean delta_h1 is at most X, such as 0.001 or 10%; at most --runs "
        "(default: 16)",
        error_target,
        "X",
        "batch_config.target_se",
    ),
    Option("--base-model", "base model of an adapter, over the one it names", text_value, "DIR", "model.base_model"),
    Option("--device", "torch device: cpu, cuda, cuda:N (default: cpu)", text_value, "DEVICE", "model.device"),
    Option(
        "--dtype",
        "dtype of the weights (default: float32)",
        key="model.dtype",
        choices=("float32", "float64", "bfloat16"),
    ),
    Option(
        "--prompts",
        "prompts: a .jsonl or .parquet file, datasets:NAME, or 'demo' (default: demo)",
        text_value,
        "SOURCE",
        "prompts.source",
    ),
    Option(
        "--reward",
        "reward: exact_answer, gsm8k, boxed, math_verify, module:function or file.py:function; several as a,b*0.5",
        text_value,
        "NAME[,NAME*W]",
        "reward",
    ),
    Option(
        "--learning-rate", "eta of the next step, over the checkpoint's", positive_number, "X", "probe.learning_rate"
    ),
    Option(
        "--with-replacement", "draw prompts with replacement; E and U may share them", key="prompts.with_replacement"
    ),
    Option(
        "--save-gradients", "write update gradient, direction and entropy gradient as safetensors", key="save_gradients"
    ),
    Option("--minimal", "log key results only (INFO), whatever -v says"),
    Option("--resume", "continue the newest experiment directories of the same checkpoint and configuration"),
    Option(
        "--entropy-seed",
        "experiment seed (default: 0); every random number is derived from it by name",
        positive(0),
        "N",
        "seed",
    ),
    Option(
        "--entropy-threads",
        "CPU threads per process (default: cores divided among workers, at most OMP_NUM_THREADS); no effect on any "
        "number",
        positive(1),
        "N",
    ),
    Option(
        "--entropy-executor",
        "who computes the runs: local, xdist, or one of an installed package (default: as -n says)",
        text_value,
        "NAME",
    ),
    Option(
        "--entropy-alpha",
        "chance that a correct probe fails the session (default: 0.001), split over the planned checks",
        probability,
        "X",
        "checks.alpha",
    ),
    Option(
        "--entropy-inconclusive",
        "what a verdict the sample could not decide becomes (default: skip)",
        key="checks.inconclusive",
        choices=("skip", "fail"),
    ),
    Option("--entropy-save", "keep the results as baseline NAME, if the session is green", text_value, "NAME"),
    Option(
        "--entropy-compare",
        "compare with a baseline: a name, a .json file, or the newest one if neither is given",
        name_or_newest,
        "NAME|FILE",
        alone=NEWEST,
    ),
    Option(
        "--entropy-compare-fail",
        "what a regression is, such as delta_h1:5% or delta_h1~5% (equivalence); see docs/ci.md",
        text_value,
        "EXPR",
        repeated=True,
    ),
    Option("--entropy-compare-anyway", "compare another checkpoint, objective or schema, too"),
    Option(
        "--entropy-missing",
        "what a missing baseline means: fail, skip, or create it (default: fail)",
        choices=("fail", "skip", "create"),
    ),
    Option(
        "--entropy-tensorboard",
        "write the runs as TensorBoard scalars and histograms, too (needs the extra)",
        text_value,
        "DIR",
    ),
    Option("--entropy-keep", "remove all but the newest N experiments of each kind at session end", positive(1), "N"),
    Option("--entropy-results", "directory of results (default: results/ in the root directory)", text_value, "DIR"),
    Option(
        "--entropy-set",
        "any configuration key, such as batch_config.G=4; may be repeated",
        key_value,
        "KEY=VALUE",
        repeated=True,
    ),
)
