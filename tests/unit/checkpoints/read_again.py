"""What every checkpoint that is loaded rightly must give: a second reading without a difference."""

from __future__ import annotations

from pytest_entropy.checkpoints.load import Checkpoint

FIELDS = ("optimizer_scalars", "moments", "weights", "end_tokens", "scores")
OF_ADAPTERS = ("adapter_scaling", "base_weights")


def expect_read_again(checkpoint: Checkpoint, *, unread: tuple[str, ...] = ()) -> None:
    """Nothing differs, and nothing but ``unread`` is left out; only an adapter has a scaling and a base."""
    reading = checkpoint.read_again(checkpoint.policy, checkpoint.optimizer)
    assert reading.differing == {}
    fields = (*FIELDS, *OF_ADAPTERS) if checkpoint.files.is_adapter else FIELDS
    assert set(reading.unread) == set(unread) | (set(OF_ADAPTERS) - set(fields))
    assert all(getattr(reading, field) == 0.0 for field in set(fields) - set(unread))
