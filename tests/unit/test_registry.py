"""Names of parts: built in by file, installed by entry point, added by a hook; and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from pytest_entropy import registry
from pytest_entropy.errors import UsageError
from pytest_entropy.rewards import NamedReward

MINE = NamedReward(lambda prompts, completions, **_: [0.0] * len(completions))


@pytest.fixture
def mine() -> Iterator[str]:
    registry.add("rewards", "mine", MINE)
    yield "mine"
    registry.forget("rewards", "mine")


def test_a_part_that_was_added_is_found_after_the_built_in_ones(mine: str) -> None:
    assert registry.names("rewards") == ("boxed", "exact_answer", "gsm8k", "math_verify", "mine")
    assert registry.get("rewards", mine, NamedReward) is MINE
    registry.forget("rewards", mine)
    assert mine not in registry.names("rewards")


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("rewards", "boxed", "reward 'boxed' is registered already"),
        ("rewards", "mine", "reward 'mine' is registered already"),
        ("rewards", "my-own", "a name must be an identifier"),
        ("reward", "x", "'reward' is not a kind of part; known are estimators"),
    ],
)
def test_names_that_cannot_be_added(mine: str, kind: str, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        registry.add(kind, name, NamedReward(print))
    # The same part again is no other part.
    registry.add("rewards", mine, MINE)


def test_a_part_of_another_kind_is_refused(mine: str) -> None:
    with pytest.raises(UsageError, match=r"reward 'mine' is NamedReward, expected builtins.int"):
        registry.get("rewards", mine, int)


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("update_rules", "adam", "update rule 'adam' is not registered; did you mean adamw"),
        ("layouts", "xyz", "checkpoint layout 'xyz' is not registered; known are dcp, deepspeed, fsdp"),
    ],
)
def test_a_name_that_nothing_has_is_refused_with_the_nearest(kind: str, name: str, says: str) -> None:
    with pytest.raises(registry.NotRegistered, match=says):
        registry.require_name(kind, name)
    with pytest.raises(ValueError, match=says):
        registry.name_validator(kind)(name)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("update_rules", {"adamw", "preconditioned", "sgd"}),
        ("optimizers", {"bitsandbytes", "torch_adamw"}),
        ("layouts", {"dcp", "deepspeed", "fsdp", "step_directory", "trainer", "verl"}),
        ("prompt_sources", {"dataset", "demo", "gsm8k_r1_template", "jsonl", "parquet"}),
    ],
)
def test_built_in_parts_are_those_in_the_folder_and_each_can_be_had(kind: str, names: set[str]) -> None:
    assert set(registry.names(kind)) >= names
    for name in names:
        assert registry.get(kind, name, object) is not None


def test_listing_names_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pytest_entropy import registry; [registry.names(kind) for kind in registry.KINDS]; "
        "print([m for m in ('torch', 'numpy', 'pydantic', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_layouts_and_rewards_are_had_without_torch() -> None:
    """Planning finds checkpoints and rewards in the controlling process, which never computes."""
    code = (
        "import sys; from pytest_entropy.checkpoints.layouts import known_layouts; known_layouts(); "
        "from pytest_entropy.rewards import named_rewards; named_rewards(); "
        "from pytest_entropy.optimizers.optimizer_states import known_kinds; known_kinds(); "
        "from pytest_entropy.settings.layers import resolve_config; resolve_config([]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_what_a_session_adds_goes_with_it(pytester: pytest.Pytester) -> None:
    """A second session in one process adds its own part under the same name."""
    pytester.makeconftest(
        """
        def pytest_entropy_register(registry):
            from pytest_entropy.rewards import NamedReward
            registry.add("rewards", "of_a_session", NamedReward(lambda prompts, completions, **_: [0.0]))
        """
    )
    pytester.makepyfile(
        "from pytest_entropy import registry\n"
        "def test_it_is_there():\n    assert 'of_a_session' in registry.names('rewards')\n"
    )
    for _ in range(2):
        pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    assert "of_a_session" not in registry.names("rewards")
