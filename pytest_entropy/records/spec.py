"""The specification of a run: everything its result depends on, so that any process can compute it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored


@dataclass(frozen=True)
class RunSpec(Stored):
    """The inputs of one run; its result is a pure function of them.

    Attributes:
        experiment: name of the experiment.
        checkpoint: the checkpoint's directory, or ``demo``.
        checkpoint_digest: digest of the checkpoint's content; a process that finds other content in the directory must
            not compute the run.
        settings: the resolved configuration, as :class:`~pytest_entropy.settings.model.ExperimentConfig` dumps it.
        B_E: prompts of the entropy batch.
        run: number of the run at this B_E.
        seed: the experiment's seed, from which the run's is derived with B_E and run.
        update_seed: the seed of the update batch, which all runs of an experiment share.
    """

    experiment: str
    checkpoint: str
    checkpoint_digest: str
    settings: dict[str, object]
    B_E: int
    run: int
    seed: int
    update_seed: int

    __pydantic_config__: ClassVar[object] = STRICT

    def digest(self) -> str:
        """16 hexadecimal digits that identify the specification."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
