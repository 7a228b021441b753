"""Store the responses to a run's prompts with the lowest and the highest s_n: a report shows them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_entropy.errors import RunError
from pytest_entropy.records.files import write_json
from pytest_entropy.records.paths import ROLLOUTS
from pytest_entropy.records.rollouts import ExtremeRollouts, PromptRollouts, Response, extremes
from pytest_entropy.records.run import RunRecord
from pytest_entropy.rewards import evaluate
from pytest_entropy.rewards.batch import visible
from pytest_entropy.rewards.equal_rewards import answer_text, prompt_text

if TYPE_CHECKING:
    from pytest_entropy.probe import EntropyProbe

log = logging.getLogger(__name__)
# Responses to each prompt, and characters of each text.
RESPONSES, LONGEST = 2, 600


def write_extreme_rollouts(directory: Path, probe: EntropyProbe, record: RunRecord) -> None:
    """Draw the responses to a few prompts of a run again, from the run's own random numbers, and store them.

    A response does not depend on the rest of its batch, so that they are the run's to rounding, and few of them cost
    little.  Without them the run is as good: an error is logged.

    Args:
        directory: the run's.
        probe: that measured the run.
        record: the run, of mode ``two_batch``.
    """
    try:
        found = _drawn_again(probe, record)
    except (RunError, RuntimeError) as error:
        log.warning("no rollouts for the report: %s", error)
        return
    write_json(directory / ROLLOUTS, {"schema_version": 1, **found.to_dict()})


def _drawn_again(probe: EntropyProbe, record: RunRecord) -> ExtremeRollouts:
    from pytest_entropy.policy.merged_adapter import merged
    from pytest_entropy.probe.batches import SamplePiece

    setup = probe.setup
    # Companions' reads are of other prompts.
    own_scalars = record.entropy_term if record.companions.count else record.per_prompt
    assert own_scalars is not None
    chosen = extremes(own_scalars)
    batch = setup.choose(record.B_E, record.seed, frozenset(record.update.prompts))
    prompts = [batch[n] for n, _ in chosen]
    ids = tuple(tuple(prompt.encoded(setup.policy.encode)) for prompt in prompts)
    group = min(RESPONSES, record.G)
    piece = SamplePiece(tuple(n for n, _ in chosen), ids, record.seed, group, setup.config.max_new_tokens)
    with merged(setup.policy):
        texts = setup.texts(piece.compute(setup.policy))
    rewards = evaluate(setup.reward, prompts, texts)
    shown = [
        PromptRollouts(
            _readable(prompt_text(prompt)),
            float(own_scalars[n]),
            extreme,
            [Response(_readable(text), float(reward)) for text, reward in zip(own, of, strict=True)],
            answer_text(prompt),
        )
        for (n, extreme), prompt, own, of in zip(chosen, prompts, texts, rewards, strict=True)
    ]
    return ExtremeRollouts(B_E=record.B_E, run=record.run, eta=record.eta, unit=record.unit, prompts=shown)


def _readable(text: str) -> str:
    """A text with its lines, unprintable characters escaped; of a long one only its two ends."""
    half = LONGEST // 2
    if len(text) > LONGEST:
        text = f"{text[:half]} … {text[-half:]} ({len(text)} characters)"
    return "\n".join(map(visible, text.split("\n"))).strip()
