"""A plan across devices: what would lie outside them is refused, and moving by hooks changes no number."""

from __future__ import annotations

import pytest
import torch

from pytest_entropy.checkpoints.device_map import lay_across, require_on_devices
from pytest_entropy.checkpoints.preflight.device import require_device
from pytest_entropy.errors import UsageError
from tests import tiny


@pytest.mark.parametrize("place", ["disk", "meta", "cpu"])
def test_parts_outside_the_gpus_are_refused(place: str) -> None:
    with pytest.raises(UsageError, match=r"no room for 1 parts of the model \(first: model.layers.1\)"):
        require_on_devices({"model.layers.0": 0, "model.layers.1": place})
    require_on_devices({"model.layers.0": 0, "model.layers.1": 1})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_auto_names_the_remedy() -> None:
    with pytest.raises(UsageError, match="--device auto: .* take --device cpu"):
        require_device("auto")


def test_hooks_on_one_device_change_nothing() -> None:
    model = tiny.qwen2()
    ids = torch.arange(2, 9)[None]
    before = model(input_ids=ids).logits
    planned = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "model.rotary_emb", "lm_head")
    lay_across(model, dict.fromkeys(planned, "cpu"))
    assert torch.equal(model(input_ids=ids).logits, before)
    assert model.lm_head.weight is model.model.embed_tokens.weight
