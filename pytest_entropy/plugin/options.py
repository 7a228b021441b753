"""Register the command line options, read their values, and make configuration layers of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_entropy.errors import UsageError
from pytest_entropy.plugin.option_table import OPTIONS
from pytest_entropy.records.paths import BASELINES
from pytest_entropy.settings.dotted_keys import nested
from pytest_entropy.settings.experiments import ExperimentKind

if TYPE_CHECKING:
    import pytest

    from pytest_entropy.settings.layers import Layer

# option -> dotted configuration key.
_DIRECT = {option.name: option.key for option in OPTIONS if option.key is not None}
# A flag that sets no key may be repeated, without effect.
_ONCE = [o.name for o in OPTIONS if not o.repeated and (o.parse or o.choices or o.key)]


def dest(option: str) -> str:
    """The option's attribute in pytest's namespace, with a prefix, because all plugins share it."""
    return "entropy_" + option.removeprefix("--").removeprefix("entropy-").replace("-", "_")


def add_options(parser: pytest.Parser) -> None:
    """Register all options of the plugin with pytest's parser, in one group."""
    group = parser.getgroup("entropy", "entropy probes as tests (pytest-entropy)")
    for option in OPTIONS:
        group.addoption(option.name, dest=dest(option.name), **option.settings)


def given(config: pytest.Config, option: str) -> Any:
    """An option's value, None where it was not given."""
    return config.getoption(dest(option), default=None)


def refuse_repeats(arguments: tuple[str, ...]) -> None:
    """Reject a command line with an option twice whose values are not a list.

    Raises:
        UsageError: an option is repeated; argparse would silently take the last value.
    """
    for option in _ONCE:
        count = sum(argument == option or argument.startswith(option + "=") for argument in arguments)
        if count > 1:
            raise UsageError(f"{option} is given {count} times; give it once (several B_E: --be-values 16,32,64)")


def refuse_swallowed_path(config: pytest.Config) -> None:
    """Reject ``--entropy-compare experiments/``: the tests' path became the name of a baseline.

    Raises:
        UsageError: the option's value, given as the next argument, is a test path and no baseline's name.
    """
    option = "--entropy-compare"
    value = given(config, option)
    if not value or (option, value) not in pairwise(map(str, config.invocation_params.args)):
        return
    path = config.invocation_params.dir / value.partition("::")[0]
    if not (path.is_dir() or (path.suffix == ".py" and path.is_file())):
        return
    named = given(config, "--entropy-results")
    results = Path(named).expanduser() if named else config.rootpath / "results"
    if not (results / BASELINES / f"{value}.json").is_file():
        raise UsageError(
            f"{option} took the tests' path {value} for a baseline's name: write {option}= {value} to compare with the "
            f"newest baseline, or put {option} last"
        )


def option_layers(config: pytest.Config, kind: ExperimentKind) -> list[Layer]:
    """The configuration layers of the command line for one kind of experiment, lowest first."""
    # pydantic is slow to import, and this module is imported in every pytest session.
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
    if runs is not None and (kind.repeats or kind.to_target):
        layers.append(Layer("--runs", nested("batch_config.runs_per_batch", runs)))
    for key, value in given(config, "--entropy-set") or ():
        layers.append(Layer("--entropy-set", nested(key, value)))
    return layers


def refuse_idle_sizes(
    config: pytest.Config, kinds: list[ExperimentKind], to_target: Sequence[ExperimentKind] = ()
) -> None:
    """Reject a size option that no experiment of the session uses.

    Args:
        config: pytest's, with the options' values.
        kinds: the kinds of the session's experiments.
        to_target: those whose runs are taken until their mean has the error that is asked for.

    Raises:
        UsageError: an option has no effect; names the option to use.
    """
    names = ", ".join(kind.name for kind in kinds)
    for option, other in (("--be-values", "--be"), ("--be", "--be-values")):
        if given(config, option) is not None and kinds and all(kind.sizes == other for kind in kinds):
            raise UsageError(f"{option} does not apply to {names}; use {other}")
    target = "--entropy-target-se"
    if given(config, "--runs") is not None and kinds and not to_target and not any(kind.repeats for kind in kinds):
        most = f"; with {target} it is the most runs" if any(kind.to_target for kind in kinds) else ""
        raise UsageError(f"--runs does not apply to {names}: there is one run per B_E{most}")
    if given(config, target) is not None and kinds and not to_target:
        raise UsageError(f"{target} does not apply to {names}: give it to single_run, whose runs have one mean")
