"""Read a checkpoint's files plainly when it is loaded, and compare them with the policy and optimizer state in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_entropy.checkpoints.second_reading.adapter_scaling import scaling_differences
from pytest_entropy.checkpoints.second_reading.elements import Elements, relative
from pytest_entropy.checkpoints.second_reading.end_token_files import NamedEndTokens, read_end_tokens
from pytest_entropy.checkpoints.second_reading.files import (
    StoredOptimizer,
    json_object,
    read_optimizer_file,
    read_weights,
    weights_directory,
)
from pytest_entropy.checkpoints.second_reading.names import (
    by_same_end,
    live_parameters,
    matched_name,
    optimizer_names,
    outside_text,
)
from pytest_entropy.checkpoints.second_reading.second_model import SecondScores, read_scores
from pytest_entropy.records.second_reading import SecondReading

if TYPE_CHECKING:
    from pytest_entropy.optimizers.state import AdamWState
    from pytest_entropy.policy.policy import Policy

T = TypeVar("T")
# Differences of one field that are named.
NAMED = 6
# (differences by what differs, what was not compared and why)
Compared = tuple[dict[str, float], str]


@dataclass
class PlainReading:
    """What a checkpoint's files say, read without the loader.

    Attributes:
        weights: elements of the tensors of the adapter or of the whole model, by key.
        adapter: the adapter's configuration; empty for a whole model.
        optimizer: the optimizer's file.
        end_tokens: the end tokens that the files name.
        scores: of a few tokens, by a model loaded from the same files.
        base: elements of the tensors of an adapter's base, by key; empty for a whole model.
        unread: what could not be read, and why.
    """

    weights: dict[str, Elements] | None
    adapter: dict[str, Any] | None
    optimizer: StoredOptimizer | None
    end_tokens: NamedEndTokens | None
    scores: SecondScores | None = None
    base: dict[str, Elements] | None = None
    unread: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path, base: str | None, *, coarse: bool = False) -> PlainReading:
        """Read the files of a checkpoint that the loader has accepted.

        Args:
            root: the checkpoint's directory.
            base: directory or hub id of an adapter's base; None for a whole model.
            coarse: whether the base is in use in bfloat16.
        """
        unread: dict[str, str] = {}
        place = weights_directory(root)

        def tried(what: str, read: Callable[[], T]) -> T | None:
            # Files of strangers: what a library raises for an odd one is not documented, and ends no run.
            try:
                return read()
            except Exception as error:
                unread[what] = _words(error)
                return None

        return cls(
            tried("weights", lambda: read_weights(place)),
            tried("adapter_scaling", lambda: json_object(place / "adapter_config.json")),
            tried("optimizer", lambda: read_optimizer_file(root)),
            tried("end_tokens", lambda: read_end_tokens(place, base)),
            tried("scores", lambda: read_scores(place, base, coarse=coarse)),
            tried("base", lambda: {} if base is None else read_weights(Path(base))),
            unread,
        )

    def compare(self, policy: Policy, optimizer: AdamWState) -> SecondReading:
        """The discrepancies from a policy and an optimizer state.

        Args:
            policy: the policy in use.
            optimizer: the optimizer's state in use.
        """
        numbers: dict[str, float] = {}
        differing: dict[str, dict[str, float]] = {}
        unread: dict[str, str] = {}
        for name, compare in self._comparisons(policy, optimizer).items():
            try:
                found, unread[name] = compare()
            except Exception as error:
                unread[name] = _words(error)
                continue
            worst = sorted(((what, gap) for what, gap in found.items() if gap), key=lambda item: -item[1])
            if worst:
                differing[name] = dict(worst[:NAMED])
            if found:
                numbers[name] = worst[0][1] if worst else 0.0
        return SecondReading(**numbers, differing=differing, unread={k: why for k, why in unread.items() if why})

    def _comparisons(self, policy: Policy, optimizer: AdamWState) -> Mapping[str, Callable[[], Compared]]:
        return {
            "optimizer_scalars": lambda: self._states(policy, optimizer, moments=False),
            "moments": lambda: self._states(policy, optimizer, moments=True),
            "weights": lambda: self._weights(policy),
            "adapter_scaling": lambda: self._scaling(policy),
            "end_tokens": lambda: self._end_tokens(policy),
            "scores": lambda: self._scores(policy),
            "base_weights": lambda: self._base_weights(policy),
        }

    def _states(self, policy: Policy, optimizer: AdamWState, *, moments: bool) -> Compared:
        if self.optimizer is None:
            return {}, self.unread["optimizer"]
        names = optimizer_names(self.optimizer, policy.model)
        beside = outside_text(policy.model)
        found: dict[str, float] = {}
        for key, stored in self.optimizer.states.items():
            name = names[key]
            if name not in optimizer and name in beside:
                continue
            if name not in optimizer:
                found[f"state of {name}"] = 1.0
                continue
            state = optimizer[name]
            if moments:
                found[f"exp_avg of {name}"] = stored.exp_avg.difference(state.exp_avg)
                found[f"exp_avg_sq of {name}"] = stored.exp_avg_sq.difference(state.exp_avg_sq)
                continue
            live = {"lr": state.lr, "beta1": state.betas[0], "beta2": state.betas[1], "eps": state.eps,
                    "weight_decay": state.weight_decay, "step": float(state.step)}  # fmt: skip
            found |= {f"{what} of {name}": relative(value, live[what]) for what, value in stored.scalars.items()}
        rest = set(optimizer) - {names[key] for key in self.optimizer.states}
        return found, f"no state in the file is that of {len(rest)} parameters" if rest else ""

    def _weights(self, policy: Policy) -> Compared:
        if self.weights is None:
            return {}, self.unread["weights"]
        live = live_parameters(policy.model)
        found: dict[str, float] = {}
        seen = set()
        ends = by_same_end(map(matched_name, self.weights), live)
        for key, stored in self.weights.items():
            name, parameter = live.get(ends.get(matched_name(key), ""), (None, None))
            if parameter is not None:
                found[str(name)] = stored.difference(parameter)
                seen.add(id(parameter))
        rest = [name for name, parameter in policy.trainable.items() if id(parameter) not in seen]
        return found, f"no tensor has the name of {len(rest)} parameters, such as {rest[0]}" if rest else ""

    def _base_weights(self, policy: Policy) -> Compared:
        if not self.base:
            return {}, self.unread.get("base", "a whole model has no base")
        live = live_parameters(policy.model)
        trained = {id(parameter) for parameter in policy.trainable.values()}
        found: dict[str, float] = {}
        ends = by_same_end(map(matched_name, self.base), live)
        for key, stored in self.base.items():
            name, parameter = live.get(ends.get(matched_name(key), ""), (None, None))
            if parameter is not None and id(parameter) not in trained:
                found[str(name)] = stored.difference(parameter)
        return found, "" if found else "no tensor of the base has the name of a live parameter"

    def _scores(self, policy: Policy) -> Compared:
        if self.scores is None:
            return {}, self.unread["scores"]
        return {"log-probabilities of a few tokens": self.scores.difference(policy.model)}, ""

    def _scaling(self, policy: Policy) -> Compared:
        if self.adapter is None or self.weights is None:
            return {}, self.unread.get("adapter_scaling", self.unread.get("weights", ""))
        if not self.adapter:
            return {}, "a whole model has no adapter"
        return scaling_differences(self.adapter, self.weights, policy.model), ""

    def _end_tokens(self, policy: Policy) -> Compared:
        if self.end_tokens is None:
            return {}, self.unread["end_tokens"]
        named, used = self.end_tokens.ids, set(policy.eos_ids)
        found = {f"token {i} ends no response": float(i not in used) for i in sorted(named)}
        more = sorted(used - named)
        if more and self.end_tokens.silent:
            return found, f"{' and '.join(self.end_tokens.silent)} name no end token: {more[0]} is a library's default"
        return found | {f"token {i} is named by no file": 1.0 for i in more}, ""


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:160]}"
