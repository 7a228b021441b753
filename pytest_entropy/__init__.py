"""Entropy-probe experiments on RL-finetuned language models, run as tests.

The names below are the public API. They are resolved on first use, so that importing the package (which
pytest does at start-up for the plugin) imports neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# What a type checker sees of the public names.
if TYPE_CHECKING:
    from pytest_entropy.checkpoints import Checkpoint as Checkpoint
    from pytest_entropy.checkpoints import MappingProof as MappingProof
    from pytest_entropy.checkpoints import load_checkpoint as load_checkpoint
    from pytest_entropy.checkpoints import verify_optimizer_mapping as verify_optimizer_mapping
    from pytest_entropy.errors import UsageError as UsageError
    from pytest_entropy.policy.policy import Policy as Policy
    from pytest_entropy.probe import EntropyProbe as EntropyProbe
    from pytest_entropy.probe import ProbeConfig as ProbeConfig
    from pytest_entropy.records.diagnostics import Diagnostics as Diagnostics
    from pytest_entropy.records.run import RunRecord as RunRecord

__version__ = "0.1.0"

_PUBLIC = {
    "Checkpoint": "pytest_entropy.checkpoints",
    "load_checkpoint": "pytest_entropy.checkpoints",
    "verify_optimizer_mapping": "pytest_entropy.checkpoints",
    "MappingProof": "pytest_entropy.checkpoints",
    "EntropyProbe": "pytest_entropy.probe",
    "ProbeConfig": "pytest_entropy.probe",
    "RunRecord": "pytest_entropy.records.run",
    "Diagnostics": "pytest_entropy.records.diagnostics",
    "Policy": "pytest_entropy.policy.policy",
    "UsageError": "pytest_entropy.errors",
}

# Names of earlier versions.
_RENAMED = {"ProbeResult": "RunRecord"}

__all__ = [*_PUBLIC, "__version__"]


def __getattr__(name: str) -> Any:
    name = _RENAMED.get(name, name)
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
