"""An architecture that the installed transformers lacks is refused while planning, and no other one is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers.models.auto import configuration_auto, modeling_auto
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.preflight.architecture import require_known_architecture
from pytest_entropy.errors import UsageError
from tests.fresh_process import succeeds

CONFIG_MAPPING_NAMES = vars(configuration_auto)["CONFIG_MAPPING_NAMES"]


def check(place: Path, **config: Any) -> None:
    (place / "config.json").write_text(json.dumps(config))
    require_known_architecture(CheckpointFiles("test", Path("C"), place, False, place / "optimizer.pt", None))


def refusal(place: Path, **config: Any) -> str:
    with pytest.raises(UsageError) as refused:
        check(place, **config)
    return str(refused.value)


def test_every_type_that_transformers_has_is_known(tmp_path: Path) -> None:
    for kind in CONFIG_MAPPING_NAMES:
        check(tmp_path, model_type=kind, architectures=["SomeForCausalLM"])


def test_the_types_that_pass_without_a_causal_name_are_those_of_the_table(tmp_path: Path) -> None:
    of_several_parts = ("MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES", "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES")
    logits = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES).union(*(getattr(modeling_auto, t, {}) for t in of_several_parts))
    for kind in set(CONFIG_MAPPING_NAMES) & logits:
        check(tmp_path, model_type=kind)
    for kind in set(CONFIG_MAPPING_NAMES) - logits:
        assert f"{kind!r} is no causal language model in transformers" in refusal(tmp_path, model_type=kind)


def test_an_unknown_type_is_named_with_both_versions(tmp_path: Path) -> None:
    where = tmp_path / "config.json"
    assert refusal(tmp_path, model_type="qwen9", transformers_version="9.1.0") == (
        f"{where}: transformers {transformers.__version__}, which is installed, has no architecture 'qwen9' (it was "
        "saved by 9.1.0); install a version that has it built in, or correct model_type"
    )
    assert "has no architecture 'QWEN2'" in refusal(tmp_path, model_type="QWEN2")
    assert "no causal language model" in refusal(
        tmp_path, model_type="t5", architectures=["T5ForConditionalGeneration"], rope_parameters={}
    )
    # Of several parts, the class gives logits.
    check(tmp_path, model_type="llava", architectures=["LlavaForConditionalGeneration"], text_config={})
    check(tmp_path)


def test_a_type_that_this_process_registers_is_known(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from transformers import AutoConfig, Qwen2Config\n"
        "class Own(Qwen2Config):\n"
        "    model_type = 'own_one'\n"
        "AutoConfig.register('own_one', Own)\n"
        "from pytest_entropy.checkpoints.files import CheckpointFiles\n"
        "from pytest_entropy.checkpoints.preflight.architecture import require_known_architecture\n"
        "place = Path(sys.argv[1])\n"
        "(place / 'config.json').write_text('{\"model_type\": \"own_one\"}')\n"
        "require_known_architecture(CheckpointFiles('t', place, place, False, place / 'o', None))\n"
    )
    succeeds(code, tmp_path)
