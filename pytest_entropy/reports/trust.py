"""The conclusion from the sanity check's checks: whether the probe can be trusted on this checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_entropy.stats import CheckOutcome


def trust_in_words(checks: Mapping[str, CheckOutcome], failed: bool) -> str:
    """Whether the probe can be trusted, in a sentence; empty where nothing was checked.

    Args:
        checks: outcomes by name.
        failed: whether a run gave no result.
    """
    red = [name for name, check in checks.items() if check.verdict == "fail"]
    undecided = [name for name, check in checks.items() if check.verdict == "inconclusive"]
    if red:
        return f"the probe cannot be trusted here: {len(red)} of {len(checks)} checks failed ({', '.join(red)})"
    if failed:
        return "whether the probe can be trusted here is not known: runs gave no result"
    if not checks:
        return ""
    passed = len(checks) - len(undecided)
    open_ = f", {len(undecided)} could not decide ({', '.join(undecided)})" if undecided else ""
    if not any(check.p_value is not None and check.verdict == "pass" for check in checks.values()):
        return f"whether the probe can be trusted here is not known: {passed} exact checks passed{open_}"
    return f"the probe can be trusted here: {passed} checks passed{open_}"
