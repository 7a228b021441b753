"""What differs between a baseline and now besides the measured numbers: the likely causes of a change, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from pytest_entropy.records.baseline import SharedUpdate, Snapshot

NOT_RECORDED = "not recorded"
# More settings than these would hide the ones that a reader can check.
MOST_SETTINGS = 6


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """The differences in checkpoint, settings and data, in words, the likeliest cause first.

    Args:
        before, after: the snapshots of the baseline and of now.
    """
    found = []
    if before.checkpoint_digest != after.checkpoint_digest:
        sides = (f"{side.checkpoint or '?'}, digest {side.checkpoint_digest[:8]}" for side in (before, after))
        found.append(f"another checkpoint ({' → '.join(sides)})")
    settings = _changed(before.objective, after.objective) + _changed(before.settings, after.settings)
    found += settings[:MOST_SETTINGS]
    if len(settings) > MOST_SETTINGS:
        found.append(f"{len(settings) - MOST_SETTINGS} more settings")
    found += _other_step(before, after) + _other_update(before.update, after.update)
    # The digest also holds the checkpoint's path as configured, which says nothing where it differs.
    digests = (before.config_digest, after.config_digest)
    if not found and all(digests) and digests[0] != digests[1] and before.checkpoint == after.checkpoint:
        found.append(f"a setting, or the content of a prompt or reward file (digest {' → '.join(digests)})")
    return found


def package_differences(before: Snapshot, after: Snapshot) -> list[str]:
    """The packages whose version differs, such as ``torch 2.12 → 2.13``.

    Args:
        before, after: the snapshots of the baseline and of now.
    """
    old, new = before.environment, after.environment
    # A baseline without a record of its packages says nothing on them.
    names = sorted(set(old) | set(new)) if old and new else []
    return [
        f"{name} {old.get(name, NOT_RECORDED)} → {new.get(name, NOT_RECORDED)}"
        for name in names
        if old.get(name) != new.get(name)
    ]


def _changed(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """The keys with two values; an older baseline without any key says nothing on them."""
    keys = sorted(set(before) | set(after)) if before and after else []
    return [
        f"{key} {_shown(before.get(key))} → {_shown(after.get(key))}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _shown(value: object) -> str:
    return "unset" if value is None else str(value)


def _other_step(before: Snapshot, after: Snapshot) -> list[str]:
    rates = [sorted({run.eta for run in side.runs}) for side in (before, after)]
    if rates[0] == rates[1]:
        return []
    old, new = (", ".join(f"{rate:g}" for rate in side) for side in rates)
    return [f"learning rate η {old} → {new}"]


def _other_update(before: SharedUpdate, after: SharedUpdate) -> list[str]:
    if before.prompts is None or after.prompts is None or before == after:
        return []
    if before.prompts != after.prompts:
        pairs = zip(before.prompts, after.prompts, strict=False)
        others = sum(one != other for one, other in pairs) + abs(len(before.prompts) - len(after.prompts))
        return [f"{others} of {len(after.prompts)} prompts of the update batch are other ones"]
    old, new = (_mean_reward(side.rewards) for side in (before, after))
    return [f"rewards of the update batch (mean {old} → {new})"]


def _mean_reward(rewards: Sequence[Sequence[float]] | None) -> str:
    values = [reward for group in rewards or [] for reward in group]
    return f"{fmean(values):.3g}" if values else NOT_RECORDED
