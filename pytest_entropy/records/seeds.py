"""Named random numbers: each is a function of a seed and its purpose, not of the order in which it is drawn."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive(*parts: str | int) -> int:
    """Derive a 64-bit seed from a parent seed and names, such as ``derive(experiment_seed, "E", 16, 1)``.

    It is SHA-256 of canonical JSON: the same on every machine, worker and Python version, and different for
    ``("a", "b")`` and ``("ab",)``.
    """
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def prompt_number(key: str) -> int:
    """A number below 2^48 that stands for a prompt's content in records: the same in every run and on every machine."""
    return derive("prompt", key) >> 16


def generator(*parts: str | int) -> np.random.Generator:
    """A numpy generator (Philox, counter-based) seeded by :func:`derive` from these parts."""
    return np.random.Generator(np.random.Philox(key=derive(*parts)))


def uniforms(seed: int, prompt_index: int, responses: int, positions: int) -> np.ndarray:
    """Uniform random numbers for the responses to one prompt, ``[responses, positions]`` float64 in [0, 1).

    Entry (g, k) depends only on (seed, prompt_index, g, k), so that a response does not change with the batch it is
    sampled in, the number of responses or their largest length.

    Args:
        seed: the batch's.
        prompt_index: the prompt's index in the batch.
        responses: G, the number of responses.
        positions: the largest number of response tokens.
    """
    rows = [generator(seed, prompt_index, g).random(positions) for g in range(responses)]
    return np.stack(rows) if rows else np.empty((0, positions))
