"""A direction's fingerprint, by which a stale or permuted one is told from the one on record."""

from __future__ import annotations

import pytest
import torch

from pytest_entropy.probe.update.direction import fingerprint


def test_sign_scale_order_and_place_change_the_fingerprint() -> None:
    generator = torch.Generator().manual_seed(0)
    u = {name: torch.randn(3, 4, generator=generator, dtype=torch.float64) for name in ("a", "b")}
    others = [
        {name: -part for name, part in u.items()},
        {name: 1.01 * part for name, part in u.items()},
        {"a": u["b"], "b": u["a"]},
        {"a": u["a"].flip(0), "b": u["b"]},
    ]
    assert fingerprint(dict(reversed(u.items()))) == fingerprint(u)
    for other in others:
        assert fingerprint(other) != pytest.approx(fingerprint(u), rel=1e-4)
