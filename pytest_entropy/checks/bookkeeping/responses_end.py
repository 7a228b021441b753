"""A response ends with its first end token, which is counted."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import identity, recorded

COUNTS = ("agreement.unterminated", "agreement.past_the_end")

CHECK = identity(
    "responses_end",
    "a response ends with its first end token, which counts",
    "the end token, masked out because pad = EOS or ignored by the sampler, or a limit other than max_new_tokens",
    COUNTS,
    recorded(*COUNTS),
)
