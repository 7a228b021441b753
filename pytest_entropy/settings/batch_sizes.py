"""The sizes of both batches, and of what is read beside them, as probe and experiments have them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pytest_entropy.settings.companions import DEFAULT_READS, FEWEST_READS
from pytest_entropy.settings.fields import LARGEST, SettingsSection, Size, number_or_auto


class BatchSizes(SettingsSection):
    """Prompts of the update batch, and responses per prompt of both batches.

    If prompts differ more than responses to one prompt do, fewer responses to more prompts give a smaller error in the
    same time (docs/variance-reduction.md).
    """

    B_U: Size = 32
    """Prompts of the update batch."""
    G: Size = 8
    """Responses per prompt, at least 2."""
    G_E: Size | None = None
    """Responses per prompt of the entropy batch; left out, G ([variance reduction](variance-reduction.md))."""
    reads: Annotated[int | Literal["auto"], BeforeValidator(number_or_auto(0))] = DEFAULT_READS
    """Companions of each prompt of the entropy batch, which are read and not answered, so that what prompts alone fix
    of s_n averages out; 0 for none, `auto` for as many as each update batch shows to pay
    ([variance reduction](variance-reduction.md#companion-reads)). No effect in mode
    `u_statistic`, with `entropy_unit: token`, or with an estimator that learns nothing from U; fewer, or none, where
    they would be more than a tenth of the prompts."""
    most_reads: Annotated[int, Field(ge=FEWEST_READS, le=LARGEST)] = 16
    """The most companions that `reads: auto` chooses; above 64 it tries none."""
