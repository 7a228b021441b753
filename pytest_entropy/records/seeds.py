"""Randomness by name: every random number is a function of what it is for, never of when it was drawn."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive(*parts: str | int) -> int:
    """A 64-bit seed from the names of what it is for, such as ``derive(experiment_seed, "E", 16, 1)``.

    SHA-256 over canonical JSON: equal on every machine, worker and Python version, and different for
    ``("a", "b")`` and ``("ab",)``.
    """
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def generator(*parts: str | int) -> np.random.Generator:
    """A numpy generator seeded by :func:`derive` (Philox, a counter-based generator)."""
    return np.random.Generator(np.random.Philox(key=derive(*parts)))


def uniforms(seed: int, prompt_index: int, responses: int, positions: int) -> np.ndarray:
    """Uniform numbers for the responses to one prompt, shape ``[responses, positions]``, float64 in [0, 1).

    Row g depends on (seed, prompt_index, g) alone and column k on the position alone, so a response is the same
    whatever the batch it is drawn in, however many responses there are and however long they may get.
    """
    rows = [generator(seed, prompt_index, g).random(positions) for g in range(responses)]
    return np.stack(rows) if rows else np.empty((0, positions))
