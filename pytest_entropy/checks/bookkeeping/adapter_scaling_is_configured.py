"""Every adapted module has the scaling that adapter_config.json gives, and is active."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import read_again

CHECK = read_again(
    "adapter_scaling_is_configured",
    "every module of the adapter's file is adapted and active, with the configured scaling",
    "LoRA's scaling (alpha / r, rsLoRA's alpha / sqrt(r), or a pattern), or an adapter that is merged or disabled",
    "adapter_scaling",
)
