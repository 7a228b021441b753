"""Models whose rows depend on padding, neighbours or the cache are refused when loaded, whatever their name."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from pytest_entropy.checkpoints.preflight.row_independence import with_separate_rows
from pytest_entropy.errors import UsageError
from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe.derivatives.directional import directional_derivatives
from tests import tiny
from tests.architectures import RECURRENT
from tests.unit.probe.derivatives.test_directional import plain

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
}
GPT2 = {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4}
WINDOW = {"sliding_window": 3, "num_key_value_heads": 2, "head_dim": 8}
FITS: dict[str, dict[str, Any]] = {
    # Window, learnt positions, ALiBi (no position ids), rotary: all by what the model does, none by its name.
    "Mistral": WINDOW,
    "Gemma2": WINDOW,
    "Gemma3Text": {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "GPT2": GPT2,
    "GPTNeoX": {},
    "OPT": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "Bloom": {"n_layer": 2, "n_head": 4},
    "Phi3": {"sliding_window": 3},
    "Qwen3Moe": {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2, "head_dim": 8},
}
# Recurrent layers take padding for tokens, whether a mask covers it or not.
UNPADDED: dict[str, dict[str, Any]] = {
    "Mamba": {"state_size": 8},
    # Counts its positions from the first column, padding or not.
    "Bart": {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64},
}
RECURRENT_TARGETS: dict[str, Any] = {
    "OlmoHybrid": "all-linear",
    "Qwen3Next": ["q_proj", "v_proj", "in_proj_qkvz", "out_proj"],
    "Lfm2": "all-linear",
}
# Its state goes from token to token by an argument of its own.
DOES_NOT: dict[str, dict[str, Any]] = {"Rwkv": {"attention_hidden_size": 32}}


def policy(architecture: str, more: dict[str, Any]) -> Policy:
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(
        **{**SIZES, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0, **more}
    )
    with torch.device("cpu"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for p in model.parameters():
        if p.dim() > 1:
            p.data.normal_(0, 0.2)
    return tiny.policy(model)


@pytest.mark.parametrize("architecture", list(FITS))
def test_attention_in_all_its_forms(architecture: str) -> None:
    fits = policy(architecture, FITS[architecture])
    if "deprecated_arguments" in inspect.signature(fits.model.forward).parameters:
        pytest.skip(f"{architecture} of this transformers cannot give the last position's logits alone")
    with_separate_rows(fits, "checkpoint x")


@pytest.mark.skipif(int(transformers.__version__.split(".")[0]) < 5, reason="recurrent models had caches of their own")
@pytest.mark.parametrize("architecture", list(UNPADDED))
def test_models_that_padding_changes_take_prompts_of_one_length(architecture: str) -> None:
    """Sampled and scored together, each response has the numbers of one plain pass over its own row."""
    found = with_separate_rows(policy(architecture, UNPADDED[architecture]), "checkpoint x")
    assert not found.pads
    rollouts = tiny.sample(found, tiny.prompts(5, longest=6), G=3, limit=7)
    forced = found.teacher_force(rollouts)
    for n, prompt in enumerate(rollouts.prompt_ids):
        for g, response in enumerate(rollouts.responses(n)):
            ids = torch.tensor([[*prompt, *response]])
            with torch.no_grad():
                log_p = torch.log_softmax(found.model(input_ids=ids, use_cache=False).logits[0].double(), -1)
            plain = log_p[len(prompt) - 1 : -1].gather(-1, ids[0, len(prompt) :, None])[:, 0]
            for table in (rollouts.log_probs, forced.log_probs.detach()):
                assert torch.allclose(table[n, g, : len(response)].double(), plain, atol=1e-4)


@pytest.mark.parametrize("architecture", list(DOES_NOT))
def test_models_whose_rows_no_batch_keeps_are_refused(architecture: str) -> None:
    with pytest.raises(UsageError, match=r"checkpoint x: the model (cannot be run on|gives other prob).*, and .*cache"):
        with_separate_rows(policy(architecture, DOES_NOT[architecture]), "checkpoint x")


@pytest.mark.skipif(int(transformers.__version__.split(".")[0]) < 5, reason="recurrent models had caches of their own")
@pytest.mark.parametrize("architecture", list(RECURRENT_TARGETS))
def test_an_adapter_on_recurrent_layers_has_the_slopes_of_a_plain_backward(architecture: str) -> None:
    """Responses of several tokens: a state that is overwritten in a shared cache is one that backward needs."""
    model = tiny.lora(RECURRENT[architecture](60), target_modules=RECURRENT_TARGETS[architecture])
    found = with_separate_rows(tiny.policy(model, eos=(0,)), "checkpoint x")
    rollouts = tiny.sample(found, tiny.prompts(4), G=3, limit=6)
    u = tiny.direction(found)
    fast = directional_derivatives(found, rollouts, u, ["rao_blackwell"], chunk_tokens=1000).per_prompt["rao_blackwell"]
    slow = plain(found, rollouts, u, "rao_blackwell")
    assert np.abs(slow).max() > 0
    assert np.abs(fast - slow).max() <= 1e-4 * np.abs(slow).max()
