"""A run as data: everything it is a function of, so that any process with the checkpoint can compute it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar

from pytest_entropy.records.serialization import STRICT, Stored


@dataclass(frozen=True)
class RunSpec(Stored):
    """What one run is a pure function of.

    Attributes:
        experiment: name of the experiment.
        checkpoint: the checkpoint's directory, or ``demo``.
        checkpoint_digest: of the checkpoint's content: a process that finds another one under that name must not
            compute the run.
        settings: the resolved configuration, as :class:`~pytest_entropy.settings.model.ExperimentConfig` dumps it.
        B_E: prompts of the entropy batch.
        run: number of the run at this B_E.
        seed: the experiment's; the run's own is derived from (seed, B_E, run).
        update_seed: of the update batch, which all runs of an experiment share.
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
        """16 hex digits over all of it."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
