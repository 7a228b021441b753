"""Layers, provenance and the messages of wrong configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_entropy.errors import UsageError
from pytest_entropy.settings.layers import Layer, resolve_config
from pytest_entropy.settings.yaml_file import read_yaml


def from_text(tmp_path: Path, text: str, name: str = "c.yaml") -> Layer:
    path = tmp_path / name
    path.write_text(text)
    return Layer(name, *read_yaml(path))


def test_later_layers_win_key_by_key_and_sources_are_kept(tmp_path: Path) -> None:
    low = from_text(tmp_path, "batch_config:\n  B_U: 8\n  G: 4\n", "low.yaml")
    high = Layer("--bu", {"batch_config": {"B_U": 16}})
    resolved = resolve_config([low, high])
    assert (resolved.config.batch_config.B_U, resolved.config.batch_config.G) == (16, 4)
    assert resolved.sources["batch_config.B_U"] == "--bu"
    assert resolved.sources["batch_config.G"] == "low.yaml, line 3"
    assert resolved.sources["seed"] == "built-in default"


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    resolved = resolve_config([Layer("x", {"seed": 3, "probe": {"update_rule": "adamw"}})])
    again = resolve_config([from_text(tmp_path, resolved.to_yaml())])
    assert again.config == resolved.config
    assert again.digest() == resolved.digest()


def test_the_digest_is_of_what_results_depend_on() -> None:
    base = resolve_config([]).digest()
    assert resolve_config([Layer("x", {"checks": {"alpha": 0.01}})]).digest() == base
    assert resolve_config([Layer("x", {"seed": 1})]).digest() != base
    # A resumed session that wants the tensors must not meet runs that were stored without them.
    assert resolve_config([Layer("x", {"save_gradients": True})]).digest() != base
    assert resolve_config([Layer("x", {"sampling": {"temperature": 0.9}})]).digest() != base


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "batch_config:\n  B_E_vals: [4]\n",
            r"c.yaml, line 2: unknown key batch_config.B_E_vals; did you mean batch_con",
        ),
        ("learning_rat: 3\n", r"line 1: unknown key learning_rat; did you mean probe.learning_rate\?"),
        ("batch_config:\n  B: 3\n", "the old B is gone"),
        ("batch_config:\n  B_E_values: [16, x]\n", r"line 2: batch_config.B_E_values.1: .*integer \(given: 'x'\)"),
        ("batch_config: 3\n", "must be a section of keys, not 3"),
        ("seed: true\n", "valid integer"),
        ("probe:\n  estimator: magic\n", "'magic' is not registered; known are action_value, rao_blackwell"),
        ("batch_config:\n  B_E_values: [8, 8]\n", "the same B_E appears twice"),
        ("batch_config:\n  G: 1\n", "batch_config.G is 1: .*action_value, dr_grpo.* take G >= 2"),
        ("probe:\n  loss_type: gpro\n", r"line 2: probe.loss_type: objective 'gpro' is not known; did you mean gspo\?"),
        ("probe:\n  advantage: gpro\n", "c.yaml, line 2: probe.loss_type: objective 'gpro'"),
        ("probe:\n  advantage: grpo\n  loss_type: rloo\n", "line 2: probe.advantage is the former name of loss_type"),
        ("sampling:\n  top_p: 0.9\n", "must stay neutral"),
        ("probe:\n  learning_rate: .nan\n", "learning_rate"),
        ("model:\n  device: 'cuda; rm'\n", "model.device"),
        *(
            (
                f"memory:\n  chunk_tokens: {value}\n",
                r"^\S+, line 2: memory.chunk_tokens: Input should be auto, or a [^\n]*$",
            )
            for value in ("0", "-1", "lots", "1.5", "true", "1e99")
        ),
    ],
)
def test_messages_name_file_line_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_config([from_text(tmp_path, text)])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", r"line 2, column 2: broken YAML"),
        ("seed: 1\nseed: 2\n", r"line 2: key seed was already given in line 1"),
        ("- 1\n", "holds list, expected keys and values"),
        ("a: &x [1]\nb: *x\n", r"line 2: YAML aliases \(\*x\) are not accepted"),
        ("a: !!python/object/apply:os.system ['true']\n", "broken YAML"),
        ("a: " + "x" * 2**20, "larger than 1 MiB"),
    ],
)
def test_files_that_are_not_configurations(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        from_text(tmp_path, text)


def test_scientific_notation_without_a_point_is_a_number(tmp_path: Path) -> None:
    resolved = resolve_config([from_text(tmp_path, "probe:\n  learning_rate: 1e-6\n")])
    assert resolved.config.probe.learning_rate == 1e-6


def test_every_documented_key_exists_and_is_documented() -> None:
    from pathlib import Path

    from pytest_entropy.settings.layers import _leaves
    from pytest_entropy.settings.model import ExperimentConfig

    text = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()
    for key in _leaves(ExperimentConfig().model_dump()):
        assert f"`{'.'.join(key)}`" in text, key


def test_a_mapping_may_stand_over_a_scalar_and_the_other_way_round() -> None:
    """Rewards are given as a name, or as a list or mapping with weights; the last layer counts."""
    low, high = Layer("a", {"reward": "boxed"}), Layer("b", {"reward": ["gsm8k", {"name": "boxed", "weight": 2}]})
    names = [(term.name, term.weight) for term in resolve_config([low, high]).config.reward]
    assert names == [("gsm8k", 1.0), ("boxed", 2.0)]
    assert [term.name for term in resolve_config([high, low]).config.reward] == ["boxed"]
    mapping = Layer("c", {"reward": {"name": "boxed", "weight": 0.5}})
    with pytest.raises(UsageError, match="name a reward, several as"):
        resolve_config([low, mapping])


def test_digests_are_those_of_directories_begun_before() -> None:
    """--resume finds a directory by them: a key that came later changes none where it is not used."""

    def digest(values: dict[str, dict[str, object]]) -> str:
        # Directories begun before have runs without it, unless it was asked for.
        # Of action_value none is continued, whose numbers have changed.
        then: dict[str, dict[str, object]] = {
            "probe": {"total_variance": False, "estimator": "rao_blackwell"}, "batch_config": {"reads": 0},
        }  # fmt: skip
        return resolve_config([Layer("then", then), Layer("x", values)]).digest()

    assert digest({}) == "cf31e7232e9fb53c"
    assert digest({"batch_config": {"G": 4}, "prompts": {"source": "p.jsonl"}}) == "edd96488413dad27"
    # The objective's key was called advantage then.
    for name in ("advantage", "loss_type"):
        assert digest({"probe": {name: "grpo"}}) == "259a8824206b3c25"
    assert digest({"prompts": {"chat_template_kwargs": {"enable_thinking": False}}}) != "cf31e7232e9fb53c"
    assert digest({"batch_config": {"updates": 2}}) != "cf31e7232e9fb53c"
    assert digest({"batch_config": {"reads": 8}}) != "cf31e7232e9fb53c"
    assert digest({"batch_config": {"most_reads": 4}}) == "cf31e7232e9fb53c"
    assert len({digest({"batch_config": {"reads": "auto", "most_reads": most}}) for most in (4, 8)}) == 2
    default = resolve_config([Layer("then", {"probe": {"total_variance": False}, "batch_config": {"reads": 0}})])
    assert default.digest() != "183b369e774cb963"
    assert len({digest({"probe": {"total_variance": runs}}) for runs in ("first", "all", "none")}) == 3


def test_a_depth_is_in_the_digest_where_runs_differ_by_it() -> None:
    def digest(depth: str, runs: int = 15, diagnostics: bool = True) -> str:
        values = {"diagnostics": diagnostics, "batch_config": {"runs_per_batch": runs}, "checks": {"depth": depth}}
        return resolve_config([Layer("x", values)]).digest()

    assert digest("full") == digest("auto") != digest("light")
    assert (
        digest("light")
        == resolve_config([Layer("x", {"diagnostics": True, "batch_config": {"runs_per_batch": 15}})])
        .at_depth("light", "planning")
        .digest()
    )
    # A single run has them at every depth; and without diagnostics there is nothing to leave out.
    assert digest("full", runs=1) == digest("light", runs=1)
    assert digest("full", diagnostics=False) == digest("light", diagnostics=False)


def test_a_key_s_former_name_is_its_new_one(tmp_path: Path) -> None:
    low = from_text(tmp_path, "probe:\n  advantage: grpo\n", "low.yaml")
    resolved = resolve_config([low])
    assert resolved.config.probe.loss_type == resolved.config.probe.advantage == "grpo"
    assert resolved.sources["probe.loss_type"] == "low.yaml, line 2"
    assert resolve_config([low, Layer("x", {"probe": {"loss_type": "rloo"}})]).config.probe.loss_type == "rloo"
