"""A base model of another size than its adapter is refused by the shapes in the files' headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pytest_entropy.checkpoints.preflight.base_size import require_base_size
from pytest_entropy.errors import UsageError

REMEDY = "; name the base model that the adapter was trained on with --base-model DIR"
WORDS = "base model base is of another size than adapter adapter: "


def write(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    file.parent.mkdir(exist_ok=True)
    save_file({key: np.zeros(shape, np.float32) for key, shape in shapes.items()}, file)


def base_model(layers: int = 2, *, hidden: int = 4, transposed: bool = False, configured: int | None = None) -> None:
    shape = (hidden, 2 * hidden) if transposed else (2 * hidden, hidden)
    weights = {f"model.layers.{n}.mlp.up_proj.weight": shape for n in range(layers)}
    write(Path("base/model.safetensors"), {**weights, "model.embed_tokens.weight": (9, hidden)})
    Path("base/config.json").write_text(json.dumps({"num_hidden_layers": configured or layers}))


def adapter(layers: int = 2, *, targets: object = ("up_proj",), **more: object) -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    for n in range(layers):
        stem = f"base_model.model.model.layers.{n}.mlp.up_proj"
        shapes |= {f"{stem}.lora_A.weight": (3, 4), f"{stem}.lora_B.weight": (8, 3)}
    write(Path("adapter/adapter_model.safetensors"), shapes)
    config = {"target_modules": list(targets) if isinstance(targets, tuple) else targets, **more}
    Path("adapter/adapter_config.json").write_text(json.dumps(config))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal() -> str:
    with pytest.raises(UsageError) as refused:
        require_base_size(Path("adapter"), Path("base"))
    return str(refused.value)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_base_of_the_adapter_fits_stored_either_way_round(transposed: bool) -> None:
    base_model(transposed=transposed)
    adapter()
    assert require_base_size(Path("adapter"), Path("base")) is None  # type: ignore[func-returns-value]


def test_weights_of_other_sizes_are_refused() -> None:
    base_model(hidden=6)
    adapter()
    assert refusal() == (
        f"{WORDS}'model.layers.0.mlp.up_proj' is adapted as a weight of 8 x 4, and the base has 12 x 6{REMEDY}"
    )


def test_a_layer_that_the_base_lacks_is_refused() -> None:
    base_model(1)
    adapter()
    assert refusal() == f"{WORDS}'model.layers.1.mlp.up_proj' is adapted, and the base has no such layer{REMEDY}"


def test_a_layer_that_an_adapter_of_every_layer_lacks_is_refused() -> None:
    base_model(3)
    adapter()
    assert refusal() == (
        f"{WORDS}it has 'model.layers.2.mlp.up_proj', and the adapter, which is of every layer, has no tensor for it"
        f"{REMEDY}"
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"layers_to_transform": [0, 1]},
        {"exclude_modules": "model.layers.2.*"},
        {"targets": ("model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj")},
        {"targets": r".*layers\.[01]\..*"},
    ],
)
def test_an_adapter_of_some_layers_may_have_fewer_than_its_base(settings: dict[str, object]) -> None:
    base_model(3)
    adapter(**settings)  # type: ignore[arg-type]
    assert require_base_size(Path("adapter"), Path("base")) is None  # type: ignore[func-returns-value]


def test_a_layer_on_disk_that_is_not_loaded_is_no_layer_of_the_base() -> None:
    base_model(3, configured=2)
    adapter()
    assert require_base_size(Path("adapter"), Path("base")) is None  # type: ignore[func-returns-value]


def test_a_tensor_saved_whole_with_another_width_is_refused() -> None:
    base_model()
    adapter()
    write(Path("adapter/adapter_model.safetensors"), {"base_model.model.model.embed_tokens.weight": (9, 5)})
    assert refusal() == (
        f"{WORDS}'model.embed_tokens.weight' is saved whole with shape (9, 5), and the base has (9, 4){REMEDY}"
    )


def test_a_weight_that_the_base_has_under_another_name_is_left_to_loading() -> None:
    base_model()
    adapter()
    write(Path("base/model.safetensors"), {"layers.0.mlp.up_proj.weight": (1, 1)})
    assert require_base_size(Path("adapter"), Path("base")) is None  # type: ignore[func-returns-value]
