"""The enumerable policy of :mod:`pytest_entropy.testing`, for tests here."""

from pytest_entropy.testing.enumerable import (
    END,
    LIMIT,
    PROMPTS,
    VOCABULARY,
    dot,
    entropy,
    expectation,
    gradient,
    length,
    policy,
    random_prompts,
    responses,
)

__all__ = [
    "END", "LIMIT", "PROMPTS", "VOCABULARY", "dot", "random_prompts", "entropy", "expectation", "gradient", "length",
    "policy", "responses",
]  # fmt: skip
