"""The prompts at both ends of s_n, and their record."""

from __future__ import annotations

import pytest

from pytest_entropy.records.rollouts import ExtremeRollouts, PromptRollouts, Response, extremes
from pytest_entropy.records.serialization import RecordError

ROLLOUTS = ExtremeRollouts(
    B_E=8, run=1, eta=2e-4, unit="nats per response",
    prompts=[PromptRollouts("a question", -174.0, "lowest", [Response("an answer", 1.0), Response("none")])],
)  # fmt: skip


def test_a_record_is_read_as_it_was_written() -> None:
    assert ExtremeRollouts.from_dict(ROLLOUTS.to_dict()) == ROLLOUTS


def test_another_end_is_refused() -> None:
    prompt = {"prompt": "a", "s_n": 1.0, "extreme": "middle", "responses": []}
    with pytest.raises(RecordError, match="extreme"):
        ExtremeRollouts.from_dict({**ROLLOUTS.to_dict(), "prompts": [prompt]})


@pytest.mark.parametrize("size", [2, 3, 5, 7, 40])
def test_no_prompt_is_at_both_ends(size: int) -> None:
    s = [float((7 * n) % size) for n in range(size)]
    found = extremes(s)
    assert len({n for n, _ in found}) == len(found) == 2 * min(3, size // 2)
    lowest = [s[n] for n, extreme in found if extreme == "lowest"]
    highest = [s[n] for n, extreme in found if extreme == "highest"]
    assert lowest == sorted(s)[: len(lowest)]
    assert highest == sorted(s, reverse=True)[: len(highest)]
