"""The responses to a prompt are drawn independently."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import identity, recorded

CHECK = identity(
    "responses_differ",
    "the responses to a prompt differ, unless the policy is nearly certain of them",
    "responses that copy one another: one stream of random numbers for all of a group",
    ("agreement.copies",),
    recorded("agreement.copies"),
)
