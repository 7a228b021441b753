"""The names under which libraries expect the tensors of a checkpoint whose keys have prefixes or an adapter's name.

torch.compile, DDP, FSDP and activation checkpointing put parts into names; a module that holds a policy puts its own
name in front; a text model's adapter lacks the ``language_model`` of the same model with images.  Only names are looked
at here: nothing is renamed unless every tensor gets a name of its own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_entropy.checkpoints.files import CheckpointFiles, read_object
from pytest_entropy.checkpoints.formats.weights_file import WeightsFile
from pytest_entropy.checkpoints.states.parameter_order import WRAPPERS
from pytest_entropy.errors import UsageError

PEFT = "base_model.model."
# Parts with which a causal model's own names begin, by architecture.
_OUTERMOST = frozenset({"model", "transformer", "gpt_neox", "lm_head", "embed_out"})
_COMPOSITE = ("text_config", "vision_config")
_SENSES = re.compile(r"(?:^|[._])(?:vision|visual|image|audio|speech|video)")
# Parts of a name that one prefix may have.
_LONGEST = 4


@dataclass(frozen=True)
class Renaming:
    """Tensors that libraries expect under other names than the file has.

    Attributes:
        directory: of the file.
        names: the expected name of every tensor, by its key in the file.
    """

    directory: Path
    names: Mapping[str, str]

    def __str__(self) -> str:
        changed = {key: name for key, name in self.names.items() if key != name}
        key = min(changed, key=len)
        return (
            f"{len(changed)} of {len(self.names)} tensors of {self.directory.name} are read under other names, such as "
            f"{_shown(key)} as {_shown(changed[key])}"
        )

    @property
    def stored(self) -> dict[str, str]:
        """Keys in the file by expected name."""
        return {name: key for key, name in self.names.items()}


def model_renaming(directory: Path) -> Renaming | None:
    """The names of a whole model's tensors without prefixes; None where they have none.

    Raises:
        UsageError: two tensors would get the same name, or only some tensors have a prefix.
    """
    keys = list(WeightsFile(directory))
    plain = [without_wrappers(key) for key in keys]
    config = read_object(directory / "config.json")
    composite = any(key in config for key in _COMPOSITE)
    while (owner := _owner(plain)) is not None and not (composite and owner == "language_model."):
        plain = [name.removeprefix(owner) for name in plain]
    plain = plain if composite else _without_language_model(plain)
    _require_one_model(directory, keys, plain, composite=composite)
    return _renaming(directory, keys, plain)


def adapter_renaming(
    directory: Path, modules: Collection[str], fits: Callable[[str, str], bool] | None = None
) -> Renaming | None:
    """The names of an adapter's tensors as peft saves them; None where they have these.

    Args:
        directory: the adapter's.
        modules: names in the base model; the modules that the adapter's tensors belong to are compared with them.
        fits: whether the tensor of a key in the file fits a module of the base model.

    Raises:
        UsageError: two tensors would get the same name, as those of two adapters.
    """
    keys = list(WeightsFile(directory))
    split = [_module_and_rest(without_wrappers(key)) for key in keys]
    known = frozenset(modules)
    stems = {module for module, _ in split}

    def all_fit(table: Mapping[str, str]) -> bool:
        pairs = zip(keys, split, strict=True)
        return fits is None or all(fits(key, table[module]) for key, (module, _) in pairs)

    found = {} if stems <= known else replaced_prefix(sorted(stems), known, all_fit) or {}
    plain = [PEFT + ".".join(part for part in (found.get(m, m), rest) if part) for m, rest in split]
    return _renaming(directory, keys, plain)


def replaced_prefix(
    names: Sequence[str], wanted: Collection[str], fits: Callable[[Mapping[str, str]], bool] | None = None
) -> dict[str, str] | None:
    """The one replacement of one prefix that makes every name a wanted one, as a table; None if there is none, or two.

    A text model's names become those of the part of a larger model that reads text, not of one that sees or hears.

    Args:
        names: as stored.
        wanted: names of which each may be given once.
        fits: whether a table may be used.
    """
    anchor = max(names, key=lambda name: name.count("."), default="").split(".")
    common = {target: _common_end(anchor, target.split(".")) for target in wanted}
    longest = max(common.values(), default=0)
    found: list[dict[str, str]] = []
    for target in (target for target, length in common.items() if length == longest > 0):
        old, new = (_first_parts(parts, len(parts) - longest) for parts in (anchor, target.split(".")))
        if max(old.count("."), new.count(".")) > _LONGEST:
            continue
        table = {name: new + name.removeprefix(old) if name.startswith(old) else name for name in names}
        one_to_one = set(table.values()) <= set(wanted) and len(set(table.values())) == len(table)
        if one_to_one and table not in found and (fits is None or fits(table)):
            found.append(table)
    if len(found) > 1:
        found = [table for table in found if not any(_SENSES.search(name) for name in set(table.values()) - set(names))]
    return found[0] if len(found) == 1 else None


def without_wrappers(name: str) -> str:
    """A name without the parts that torch.compile, FSDP and the like put in, and without DDP's in front."""
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    while parts[:1] == ["module"] and len(parts) > 1:
        parts = parts[1:]
    return ".".join(parts)


def found_renamings(files: CheckpointFiles) -> list[Renaming]:
    """What is read under other names in a checkpoint and its base, as far as the files show it.

    Raises:
        UsageError: keys have prefixes that cannot be taken away consistently, or no tensor of an adapter belongs to a
            module of its base; names a key and the remedy.
    """
    base = Path(files.base) if files.base is not None else None
    if not files.is_adapter or base is None:
        return [renaming for renaming in [model_renaming(files.weights)] if renaming is not None]
    found = [model_renaming(base)] if base.is_dir() else []
    modules = _modules_on_disk(base, found[0]) if base.is_dir() else set()
    composite = bool(modules) and any(key in read_object(base / "config.json") for key in _COMPOSITE)
    # A multimodal model has other names on disk than live, by transformers' version: loading tells.
    renaming = adapter_renaming(files.weights, set() if composite else modules)
    if modules and not composite:
        _require_common_modules(files.weights, base, renaming, modules)
    return [one for one in (*found, renaming) if one is not None]


def rename_command(directory: Path, key: str) -> str:
    """A command that renames the tensors of a file, for the reader to adapt: it takes a first part away."""
    first = f"{key.split('.')[0][:40]}."
    return (
        f"rename its tensors, for instance with: from safetensors.torch import load_file, save_file; "
        f"t = load_file(FILE); save_file({{k.removeprefix({first!r}): v for k, v in t.items()}}, FILE, "
        f"{{'format': 'pt'}}), FILE being in {directory}"
    )


def _modules_on_disk(base: Path, renaming: Renaming | None) -> set[str]:
    """Modules with a tensor, and the modules around them: transformers may put those of experts together."""
    names = list(renaming.names.values() if renaming is not None else WeightsFile(base))
    parts = {tuple(name.split(".")[:-1]) for name in names}
    return {".".join(module[:end]) for module in parts for end in range(1, len(module) + 1)}


def _require_common_modules(adapter: Path, base: Path, renaming: Renaming | None, modules: set[str]) -> None:
    """Reject an adapter of which no tensor belongs to a module of the base, with or without a first part."""
    names = list(renaming.names.values() if renaming is not None else WeightsFile(adapter))
    stems = {_module_and_rest(name)[0] for name in names}
    shorter = {stem.partition(".")[2] for stem in stems}
    if not (stems | shorter) & (modules | {module.partition(".")[2] for module in modules}):
        key = min(WeightsFile(adapter), key=len)
        raise UsageError(
            f"adapter {adapter} holds {_shown(key)} and other tensors, none of which belongs to a module of its base "
            f"model {base}, such as {_shown(min(modules, key=lambda m: (-m.count('.'), m)))}: "
            f"{rename_command(adapter, key)}"
        )


def _owner(names: Sequence[str]) -> str | None:
    """The first parts of all names, where what follows begins like a whole causal model of its own."""
    split = [name.split(".") for name in names]
    for count in range(1, _LONGEST + 1):
        if len({tuple(parts[:count]) for parts in split}) != 1 or any(len(parts) <= count + 1 for parts in split):
            return None
        if {parts[count] for parts in split} & _OUTERMOST:
            return _first_parts(split[0], count)
    return None


def _require_one_model(directory: Path, keys: Sequence[str], names: Sequence[str], *, composite: bool) -> None:
    """Reject a whole model's file that holds an adapter not merged into it, or several models side by side.

    transformers would leave their tensors out without a word.
    """
    adapters = [key for key in keys if ".lora_" in key or ".base_layer." in key]
    if adapters:
        raise UsageError(
            f"model {directory} holds {_shown(adapters[0])}, a tensor of an adapter that is not merged into it, which "
            "would be left out: merge it with model.merge_and_unload() before save_pretrained(DIR), or save the "
            "adapter by itself with the PeftModel's save_pretrained(DIR)"
        )
    # A model with images has several parts, of which one is like a whole model.
    if composite or {name.partition(".")[0] for name in names} & _OUTERMOST:
        return
    inside = {name.partition(".")[0] for name in names if {*name.split(".")[1:2]} & _OUTERMOST}
    other = next((key for key, name in zip(keys, names, strict=True) if name.partition(".")[0] not in inside), None)
    if inside and (len(inside) > 1 or other is not None):
        own = min(inside)
        first = next(key for key, name in zip(keys, names, strict=True) if name.startswith(f"{own}."))
        second = other or next(key for key, name in zip(keys, names, strict=True) if not name.startswith(f"{own}."))
        raise UsageError(
            f"model {directory} holds {_shown(first)} and {_shown(second)}, a model's tensors beside others: keep "
            f"those of the policy alone, and {rename_command(directory, first)}"
        )


def _without_language_model(names: list[str]) -> list[str]:
    """Names of a text model's tensors without the part that only a model with images has."""
    for whole, text in (("model.language_model.", "model."), ("language_model.", "")):
        own = [name for name in names if name.startswith(whole)]
        rest = {name.partition(".")[0] for name in names if not name.startswith(whole)}
        if own and rest <= {"lm_head"}:
            return [text + name.removeprefix(whole) if name.startswith(whole) else name for name in names]
    return names


def _module_and_rest(name: str) -> tuple[str, str]:
    """The module in the base model that an adapter's tensor belongs to, and the rest of its name as peft saves it."""
    while name.startswith(PEFT):
        name = name.removeprefix(PEFT)
    parts = name.split(".")
    at = next((i for i, part in enumerate(parts) if part.startswith("lora_")), None)
    if at is None:
        if "modules_to_save" in parts[:-2]:
            place = parts.index("modules_to_save")
            parts = parts[:place] + parts[place + 2 :]
        return ".".join(parts[:-1]), parts[-1]
    rest = parts[at:]
    # The adapter's name, which peft takes away when it saves.
    if len(rest) > 1 and rest[1] not in ("weight", "bias"):
        rest = rest[:1] + rest[2:]
    inner = at
    while inner and parts[inner - 1] == "base_layer":
        inner -= 1
    return ".".join(parts[:inner]), ".".join(parts[inner:at] + rest)


def _first_parts(parts: Sequence[str], count: int) -> str:
    return "".join(f"{part}." for part in parts[:count])


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of last parts that two names share."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


def _shown(key: str) -> str:
    """A stranger's key as a message may show it."""
    return (key if key.isprintable() else repr(key))[:160]


def _renaming(directory: Path, keys: Sequence[str], names: Sequence[str]) -> Renaming | None:
    table = dict(zip(keys, names, strict=True))
    if all(key == name for key, name in table.items()):
        return None
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        both = [key for key in keys if table[key] == twice]
        raise UsageError(
            f"{directory} holds {_shown(both[0])} and {_shown(both[1])}, which are the same tensor without wrappers' "
            f"prefixes and adapters' names: keep those of one model or adapter ({rename_command(directory, both[0])})"
        )
    return Renaming(directory, table)
