"""The command line: option names, their parsing, and the configuration layer they amount to."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_entropy.errors import UsageError
from pytest_entropy.settings.experiments import ExperimentKind

if TYPE_CHECKING:
    import pytest

    from pytest_entropy.settings.layers import Layer

# option -> dotted configuration key.
_DIRECT = {
    "--checkpoint": "checkpoint",
    "--bu": "batch_config.B_U",
    "--base-model": "model.base_model",
    "--device": "model.device",
    "--dtype": "model.dtype",
    "--prompts": "prompts.source",
    "--reward": "reward",
    "--learning-rate": "probe.learning_rate",
    "--with-replacement": "prompts.with_replacement",
    "--save-gradients": "save_gradients",
    "--entropy-seed": "seed",
    "--entropy-alpha": "checks.alpha",
    "--entropy-inconclusive": "checks.inconclusive",
}
_METAVARS = {
    **dict.fromkeys(("--checkpoint", "--base-model", "--entropy-results", "--entropy-tensorboard"), "DIR"),
    **dict.fromkeys(("--be", "--bu", "--runs", "--entropy-seed", "--entropy-threads", "--entropy-keep"), "N"),
    **dict.fromkeys(("--learning-rate", "--entropy-alpha"), "X"),
    "--config": "FILE",
    "--entropy-save": "NAME",
    "--entropy-executor": "NAME",
    "--entropy-compare": "NAME|FILE",
    "--be-values": "N,N,...",
    "--device": "DEVICE",
    "--prompts": "SOURCE",
    "--reward": "NAME[,NAME*W]",
}
_ONCE = (
    "--config",
    "--entropy-threads",
    "--entropy-results",
    "--entropy-tensorboard",
    "--entropy-keep",
    "--entropy-save",
    "--entropy-compare",
    "--entropy-missing",
    "--entropy-executor",
)
_SIZES = ("--be-values", "--be", "--runs")


def dest(option: str) -> str:
    """The attribute pytest keeps an option under; prefixed, since other plugins live there too."""
    return "entropy_" + option.removeprefix("--").removeprefix("entropy-").replace("-", "_")


def positive(least: int) -> Callable[[str], int]:
    """A parser of whole numbers that are at least ``least``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is too small, at least {least} is needed")
        return number

    return parse


def be_values(text: str) -> list[int]:
    """``16,32,64`` as a list; every B_E needs two prompts for a standard error."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty; give B_E values such as 16,32,64")
    values = [positive(2)(part.strip()) for part in text.split(",")]
    if len(set(values)) != len(values):
        raise argparse.ArgumentTypeError(f"{text}: the same B_E appears twice; use --runs for repetitions")
    return values


def positive_number(text: str) -> float:
    """A positive, finite number."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} must be positive and finite")
    return number


def probability(text: str) -> float:
    """A number strictly between 0 and 1."""
    number = positive_number(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text} must lie between 0 and 1")
    return number


def text_value(text: str) -> str:
    """Text that is not empty."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def key_value(text: str) -> tuple[str, Any]:
    """``section.key=value`` with the value read as YAML."""
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as batch_config.G=4")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: the value is not YAML: {error}") from None


def add_options(parser: pytest.Parser) -> None:
    """All options of the plugin, in one group."""
    group = parser.getgroup("entropy", "entropy probes as tests (pytest-entropy)")

    def add(option: str, help: str, **settings: Any) -> None:
        settings.setdefault("default", None)
        if option in _METAVARS:
            settings.setdefault("metavar", _METAVARS[option])
        group.addoption(option, dest=dest(option), help=help, **settings)

    add("--checkpoint", "checkpoint directory, or 'demo' for the bundled one (default: demo)", type=text_value)
    add("--config", "YAML file over the experiment's template in configs/, key by key", type=text_value)
    add("--be-values", "B_E values of batch scaling and debug, such as 16,32,64", type=be_values)
    add("--be", "B_E of single run and sanity check (default: 256)", type=positive(2))
    add("--bu", "B_U, prompts of the update batch (default: 32)", type=positive(1))
    add("--runs", "runs per B_E (default: 3; sanity check 15)", type=positive(1))
    add("--base-model", "base model of an adapter, over the one it names", type=text_value)
    add("--device", "torch device: cpu, cuda, cuda:N (default: cpu)", type=text_value)
    add("--dtype", "dtype of the weights (default: float32)", choices=("float32", "float64", "bfloat16"))
    add("--prompts", "prompts: a .jsonl or .parquet file, datasets:NAME, or 'demo' (default: demo)", type=text_value)
    add(
        "--reward",
        "reward: exact_answer, gsm8k, boxed, math_verify, module:function or file.py:function; several as a,b*0.5",
        type=text_value,
    )
    add("--learning-rate", "eta of the next step, over the checkpoint's", type=positive_number)
    add("--with-replacement", "draw prompts with replacement; E and U may share them", action="store_true")
    add("--save-gradients", "write gradients and update direction as safetensors", action="store_true")
    add("--minimal", "log key results only (INFO), whatever -v says", action="store_true")
    add("--resume", "continue the newest matching experiment directories", action="store_true")
    add("--entropy-seed", "experiment seed (default: 0)", type=positive(0))
    add("--entropy-threads", "CPU threads per process (default: cores divided among workers)", type=positive(1))
    add(
        "--entropy-executor",
        "who computes the runs: local, xdist, or one of an installed package (default: as -n says)",
        type=text_value,
    )
    add("--entropy-alpha", "chance that a correct probe fails the session (default: 0.001)", type=probability)
    add(
        "--entropy-inconclusive",
        "what a verdict the sample could not decide becomes (default: skip)",
        choices=("skip", "fail"),
    )
    add("--entropy-save", "keep the results as baseline NAME, if the session is green", type=text_value)
    add("--entropy-compare", "compare with a baseline: a name, or a .json file", type=text_value)
    add(
        "--entropy-compare-fail",
        "what a regression is, such as delta_h1:5%% or delta_h1~5%% (equivalence); see docs/ci.md",
        type=text_value,
        action="append",
        metavar="EXPR",
    )
    add("--entropy-compare-anyway", "compare another checkpoint, objective or schema, too", action="store_true")
    add(
        "--entropy-missing",
        "what a missing baseline means: fail, skip, or create it (default: fail)",
        choices=("fail", "skip", "create"),
    )
    add(
        "--entropy-tensorboard",
        "write the runs as TensorBoard scalars and histograms, too (needs the extra)",
        type=text_value,
    )
    add("--entropy-keep", "remove all but the newest N experiments of each kind at session end", type=positive(1))
    add("--entropy-results", "directory of results (default: results/ in the root directory)", type=text_value)
    add(
        "--entropy-set",
        "any configuration key, such as batch_config.G=4; may be repeated",
        type=key_value,
        action="append",
        metavar="KEY=VALUE",
    )


def given(config: pytest.Config, option: str) -> Any:
    """An option's value, None where it was not given."""
    return config.getoption(dest(option), default=None)


def refuse_repeats(arguments: tuple[str, ...]) -> None:
    """An option that is not a list may stand on the command line once.

    Raises:
        UsageError: it stands there twice; argparse would silently take the last.
    """
    for option in (*_DIRECT, *_SIZES, *_ONCE):
        count = sum(argument == option or argument.startswith(option + "=") for argument in arguments)
        if count > 1:
            raise UsageError(f"{option} is given {count} times; give it once (several B_E: --be-values 16,32,64)")


def option_layers(config: pytest.Config, kind: ExperimentKind) -> list[Layer]:
    """The configuration layers of the command line for one kind of experiment, lowest first."""
    # Imported here, for pydantic is slow to import and options are registered in every pytest session.
    from pytest_entropy.settings.layers import Layer

    layers = []
    for option, key in _DIRECT.items():
        value = given(config, option)
        if value is not None and value is not False:
            layers.append(Layer(option, nested(key, value)))
    sizes = given(config, kind.sizes)
    if sizes is not None:
        values = sizes if isinstance(sizes, list) else [sizes]
        layers.append(Layer(kind.sizes, nested("batch_config.B_E_values", values)))
    runs = given(config, "--runs")
    if runs is not None and kind.repeats:
        layers.append(Layer("--runs", nested("batch_config.runs_per_batch", runs)))
    for key, value in given(config, "--entropy-set") or ():
        layers.append(Layer("--entropy-set", nested(key, value)))
    return layers


def refuse_idle_sizes(config: pytest.Config, kinds: list[ExperimentKind]) -> None:
    """A size option that no experiment of the session takes is a misunderstanding, not a no-op.

    Raises:
        UsageError: names the option that would do.
    """
    names = ", ".join(kind.name for kind in kinds)
    for option, other in (("--be-values", "--be"), ("--be", "--be-values")):
        if given(config, option) is not None and kinds and all(kind.sizes == other for kind in kinds):
            raise UsageError(f"{option} does not apply to {names}; use {other}")
    if given(config, "--runs") is not None and kinds and not any(kind.repeats for kind in kinds):
        raise UsageError(f"--runs does not apply to {names}: there is one run per B_E")


def nested(key: str, value: Any) -> dict[str, Any]:
    """``nested("a.b", 1) == {"a": {"b": 1}}``."""
    record: Any = value
    for part in reversed(key.split(".")):
        record = {part: record}
    return record
