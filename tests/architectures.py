"""Tiny random models of many architectures of transformers: plain, with experts, sinks, recurrent layers, composite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

Build = Callable[[int], Any]
# Tokens that stand for images and the like lie below the words of the prompts.
IMAGE, VIDEO, START, END, AUDIO = 5, 6, 3, 4, 8
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
}
_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "num_channels": 3,
}
_QWEN_VISION: dict[str, Any] = {
    "depth": 1,
    "hidden_size": 16,
    "intermediate_size": 32,
    "out_hidden_size": 32,
    "num_heads": 2,
    "patch_size": 8,
}
_QWEN_TOKENS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}
_MROPE = {"rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2]}}
_AUDIO = {"num_mel_bins": 8, "max_source_positions": 16}
_EXPERTS: dict[str, Any] = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
_LOCAL_EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
_DELTA_NET: dict[str, Any] = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
}
_MAMBA: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}
_LATENT: dict[str, Any] = {
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
}


def _named(name: str) -> Any:
    found = getattr(transformers, name, None)
    if found is None:
        pytest.skip(f"transformers {transformers.__version__} has no {name}")
    return found


def _model(name: str, config: Any) -> Any:
    torch.manual_seed(0)
    return _named(name)(config)


def text(architecture: str, *, model: str | None = None, **settings: Any) -> Build:
    """Builds a language model of a vocabulary's size.

    Args:
        architecture: the name of its configuration, without ``Config``.
        model: the name of its class; left out, ``<architecture>ForCausalLM``.
        settings: of its configuration.
    """
    return lambda vocabulary: _model(
        model or f"{architecture}ForCausalLM",
        _named(f"{architecture}Config")(**{**_TEXT, "vocab_size": vocabulary, **settings}),
    )


def composite(architecture: str, language: dict[str, Any], parts: dict[str, Any], **settings: Any) -> Build:
    """Builds a multimodal model whose language model has a vocabulary's size.

    Args:
        architecture: the name of its configuration, without ``Config``; its class is
            ``<architecture>ForConditionalGeneration``.
        language: settings of the language model.
        parts: settings of the other parts, by their key in the configuration.
        settings: of the whole.
    """
    return lambda vocabulary: _model(
        f"{architecture}ForConditionalGeneration",
        _named(f"{architecture}Config")(
            text_config={**_TEXT, "vocab_size": vocabulary, **language}, **parts, **settings
        ),
    )


PLAIN: dict[str, Build] = {
    "Llama": text("Llama"),
    "Qwen2": text("Qwen2"),
    "Gemma2": text("Gemma2", sliding_window=4),
    "Olmo3": text("Olmo3", sliding_window=4),
    "GPTNeoX": text("GPTNeoX"),
    "Falcon": lambda vocabulary: _model(
        "FalconForCausalLM",
        transformers.FalconConfig(**{**{k: v for k, v in _TEXT.items() if k != "head_dim"}, "vocab_size": vocabulary}),
    ),
}
EXPERTS: dict[str, Build] = {
    "GptOss, with sinks": text("GptOss", sliding_window=4, **_LOCAL_EXPERTS),
    "Qwen3Moe": text("Qwen3Moe", **_EXPERTS),
    "Mixtral": text("Mixtral", **_LOCAL_EXPERTS),
    "DeepseekV3": text("DeepseekV3", **_LATENT),
    "Ernie4_5_Moe": text(
        "Ernie4_5_Moe",
        moe_num_experts=4,
        moe_k=2,
        moe_intermediate_size=16,
        moe_layer_start_index=0,
        moe_layer_end_index=1,
    ),
    # It adds to its experts' output in place.
    "Llama4": text(
        "Llama4Text",
        model="Llama4ForCausalLM",
        num_local_experts=4,
        num_experts_per_tok=1,
        intermediate_size_mlp=64,
        attention_chunk_size=16,
    ),
}
RECURRENT: dict[str, Build] = {
    "Qwen3Next": text("Qwen3Next", shared_expert_intermediate_size=16, **_EXPERTS, **_DELTA_NET),
    "OlmoHybrid": text("OlmoHybrid", **_DELTA_NET),
    "Lfm2": text("Lfm2", layer_types=["conv", "full_attention"]),
    "Bamba": text("Bamba", attn_layer_indices=[1], mamba_n_groups=1, **_MAMBA),
    "FalconH1": text("FalconH1", mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8),
    "NemotronH": text(
        "NemotronH",
        layers_block_type=["mamba", "attention"],
        mamba_num_heads=4,
        mamba_head_dim=8,
        ssm_state_size=8,
        n_groups=1,
    ),
    # The states of these two run through padding.
    "Jamba": text(
        "Jamba",
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        num_experts=2,
        num_experts_per_tok=1,
        mamba_d_state=4,
        mamba_dt_rank=4,
    ),
    "Mamba": lambda vocabulary: _model(
        "MambaForCausalLM",
        transformers.MambaConfig(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=2,
            state_size=4,
            initializer_range=0.2,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        ),
    ),
}
COMPOSITE: dict[str, Build] = {
    "Gemma3": composite(
        "Gemma3",
        {"sliding_window": 4},
        {"vision_config": _VISION},
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=START,
        eoi_token_index=END,
    ),
    "Gemma4": composite(
        "Gemma4",
        {
            "sliding_window": 4,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 400,
            "num_kv_shared_layers": 0,
            "global_head_dim": 8,
            "layer_types": ["sliding_attention", "full_attention"],
        },
        {"vision_config": {**_VISION, "head_dim": 8, "num_key_value_heads": 2}},
        image_token_id=IMAGE,
    ),
    "Qwen2VL": composite(
        "Qwen2VL",
        _MROPE,
        {"vision_config": {"depth": 1, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 8}},
        **_QWEN_TOKENS,
    ),
    "Qwen2_5_VL": composite(
        "Qwen2_5_VL", _MROPE, {"vision_config": {**_QWEN_VISION, "fullatt_block_indexes": [0]}}, **_QWEN_TOKENS
    ),
    "Qwen3VLMoe": composite(
        "Qwen3VLMoe",
        {**_EXPERTS, "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        {"vision_config": {**_QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 16}},
        **_QWEN_TOKENS,
    ),
    "Qwen3_5, recurrent": composite(
        "Qwen3_5",
        {
            **_DELTA_NET,
            "rope_scaling": {"rope_type": "default", "mrope_section": [1, 1, 2], "partial_rotary_factor": 1.0},
        },
        {"vision_config": {**_QWEN_VISION, "num_position_embeddings": 16}},
        **_QWEN_TOKENS,
    ),
    "Mistral3": composite(
        "Mistral3",
        {"model_type": "mistral"},
        {"vision_config": {"model_type": "pixtral", **_VISION}},
        image_token_index=IMAGE,
    ),
    "Llava": composite(
        "Llava",
        {"model_type": "llama"},
        {"vision_config": {"model_type": "clip_vision_model", "projection_dim": 16, **_VISION}},
        image_token_index=IMAGE,
    ),
    "InternVL": composite(
        "InternVL",
        {"model_type": "qwen2"},
        {
            "vision_config": {
                "model_type": "internvl_vision",
                **_VISION,
                "image_size": [16, 16],
                "patch_size": [8, 8],
            }
        },
        image_token_id=IMAGE,
    ),
    "Idefics3": composite(
        "Idefics3", {"model_type": "llama"}, {"vision_config": _VISION}, image_token_id=IMAGE, scale_factor=1
    ),
    "Lfm2Vl, recurrent": composite(
        "Lfm2Vl",
        {"model_type": "lfm2", "layer_types": ["conv", "full_attention"]},
        {
            "vision_config": {
                "model_type": "siglip2_vision_model",
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "patch_size": 8,
                "num_patches": 4,
            }
        },
        image_token_id=IMAGE,
        projector_hidden_size=16,
        downsample_factor=1,
    ),
    "Qwen2Audio": composite(
        "Qwen2Audio",
        {"model_type": "qwen2"},
        {
            "audio_config": {
                "d_model": 16,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                **_AUDIO,
            }
        },
        audio_token_index=IMAGE,
    ),
    "Qwen2_5OmniThinker": composite(
        "Qwen2_5OmniThinker",
        _MROPE,
        {
            "vision_config": {**_QWEN_VISION, "fullatt_block_indexes": [0]},
            "audio_config": {
                "d_model": 16,
                "encoder_layers": 1,
                "encoder_attention_heads": 2,
                "encoder_ffn_dim": 32,
                "output_dim": 32,
                **_AUDIO,
            },
        },
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        audio_token_index=AUDIO,
    ),
}
ALL = {**PLAIN, **EXPERTS, **RECURRENT, **COMPOSITE}
# Where peft cannot adapt every linear map: a router that returns several tensors, a state space's own products.
TARGETS = {
    "Llama4": ["q_proj", "v_proj", "o_proj"],
    "FalconH1": ["q_proj", "v_proj", "o_proj"],
    "NemotronH": ["q_proj", "o_proj", "in_proj"],
    "Mamba": ["in_proj", "x_proj"],
}
# Before transformers 5 these have caches of their own, a module per expert that sees the rows routed to it, or no class
# among those that give next-token logits.
SINCE_5 = {*RECURRENT, "Qwen3Moe", "Mixtral", "DeepseekV3", "Ernie4_5_Moe", "Qwen2Audio", "Qwen2_5OmniThinker"}
