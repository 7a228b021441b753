"""Check before loading that the installed transformers has the model's architecture; it is not imported for it.

Importing its tables imports torch, so that their source is searched.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.model_class import TABLES
from pytest_entropy.checkpoints.preflight.model_files import quoted
from pytest_entropy.checkpoints.whole_model import model_config, model_directory
from pytest_entropy.errors import UsageError

_AUTO = "transformers.models.auto.configuration_auto"


def require_known_architecture(files: CheckpointFiles) -> None:
    """Reject a model whose ``model_type`` the installed transformers does not have, or not as a language model.

    Args:
        files: paths of the checkpoint.

    Raises:
        UsageError: names the type and the installed version.
    """
    directory, config = model_directory(files), model_config(files)
    kind = config.get("model_type")
    if directory is None or not isinstance(kind, str) or _registered(kind):
        return
    where = directory / "config.json"
    if not _is_known(kind):
        needs = config.get("transformers_version")
        newer = f" (it was saved by {str(needs)[:20]})" if needs else ""
        raise UsageError(
            f"{where}: transformers {version('transformers')}, which is installed, has no architecture "
            f"{quoted(kind)}{newer}; install a version that has it built in, or correct model_type"
        )
    if not _is_causal(kind, config):
        raise UsageError(
            f"{where}: {quoted(kind)} is no causal language model in transformers {version('transformers')}; the probe "
            "samples responses token by token: give a checkpoint of a model that does"
        )


def _registered(kind: str) -> bool:
    """Whether this process has registered the type with transformers itself."""
    auto: Any = sys.modules.get(_AUTO)
    return auto is not None and kind in getattr(auto.CONFIG_MAPPING, "_extra_content", ())


def _is_known(kind: str) -> bool:
    home = _home()
    if home is None or (home / kind.replace("-", "_") / "__init__.py").is_file():
        return True
    tables = [home / "auto" / name for name in ("configuration_auto.py", "auto_mappings.py")]
    return any(f'"{kind}"' in _source(table) for table in tables if table.is_file())


def _is_causal(kind: str, config: dict[str, Any]) -> bool:
    """Whether the type is in one of the tables of models that give next-token logits."""
    named = config.get("architectures")
    first = named[0] if isinstance(named, list) and named else ""
    if str(first).endswith(("ForCausalLM", "LMHeadModel")):
        return True
    home = _home()
    table = home / "auto" / "modeling_auto.py" if home else None
    source = _source(table) if table is not None and table.is_file() else ""
    starts = [f"{table} = OrderedDict(" for table in TABLES]
    found = [source.partition(start)[2].partition("\n)")[0] for start in starts if start in source]
    return not found or any(f'("{kind}",' in table for table in found)


def _home() -> Path | None:
    spec = find_spec("transformers")
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]) / "models" if places else None


@cache
def _source(file: Path) -> str:
    return file.read_text(encoding="utf-8")
