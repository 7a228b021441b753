"""Faults of which prompts are drawn, of the prompts' text and tokens, and of the text that rewards are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pytest_entropy.policy.policy import Policy
from pytest_entropy.probe import setup
from pytest_entropy.probe.setup import Setup
from pytest_entropy.probe.update import source
from pytest_entropy.prompts import prompt as prompt_module
from pytest_entropy.prompts import rows
from pytest_entropy.prompts.prompt import DemoPrompts, Prompt, PromptSet
from pytest_entropy.rewards.batch import Batch
from tests.statistical.planted.planted_fault import Plant, PlantedFault, after_rewards, wrap

KIND = "prompts_and_text"


# ---------------------------------------------------------------------- which prompts


def _drawn(choose: Callable[[Callable[..., list[int]], PromptSet, int, dict[str, Any]], list[int]]) -> Plant:
    """Prompts are drawn by ``choose`` of the real draw, the set, the number and the draw's other arguments."""

    def changed(real: Callable[..., list[int]]) -> Callable[..., list[int]]:
        def draw(prompts: PromptSet, count: int, seed: int, **named: Any) -> list[int]:
            return choose(lambda wanted, found=prompts: real(found, wanted, seed, **named), prompts, count, named)

        return draw

    return lambda patch: wrap(patch, setup, "draw_prompts", changed)


class FirstPart:
    """The first ``size`` prompts of a set."""

    def __init__(self, prompts: PromptSet, size: int) -> None:
        self.prompts, self.size = prompts, size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Prompt:
        return self.prompts[index]


def first_half(real: Any, prompts: PromptSet, count: int, named: dict[str, Any]) -> list[int]:
    """The second half of the set is never drawn."""
    return list(real(count, FirstPart(prompts, len(prompts) // 2)))


def first_of_a_buffer(real: Any, prompts: PromptSet, count: int, named: dict[str, Any]) -> list[int]:
    """A shuffle buffer of 256 rows: no others are drawn."""
    return list(real(count, FirstPart(prompts, 256)))


def shortest(real: Any, prompts: PromptSet, count: int, named: dict[str, Any]) -> list[int]:
    """Of four times as many drawn the shortest are taken: batches sorted by length and cut."""
    return sorted(real(4 * count), key=lambda index: len(str(prompts[index].content)))[:count]


def without_subtractions(real: Any, prompts: PromptSet, count: int, named: dict[str, Any]) -> list[int]:
    """Prompts above a length are filtered out, and with them a kind of question."""
    kept = [index for index in real(6 * count) if "gets" in str(prompts[index].content)]
    return kept[:count]


def heavier_on_some(real: Any, prompts: PromptSet, count: int, named: dict[str, Any]) -> list[int]:
    """A weighted sampler: prompts about one name are far more likely than the others."""
    found = real(8 * count)
    return sorted(found, key=lambda index: not str(prompts[index].content).startswith(("Tom", "Zoe")))[:count]


# ---------------------------------------------------------------------- their tokens


def _encoded(change: Callable[[Policy, tuple[int, ...]], Sequence[int]]) -> Plant:
    def changed(real: Callable[..., tuple[int, ...]]) -> Callable[..., tuple[int, ...]]:
        return lambda self, *arguments: tuple(change(self, real(self, *arguments)))

    return lambda patch: wrap(patch, Policy, "encode", changed)


def _text(change: Callable[[str], str]) -> Plant:
    """Prompts' texts pass through ``change`` before they are encoded."""

    def changed(real: Callable[..., tuple[int, ...]]) -> Callable[..., tuple[int, ...]]:
        return lambda self, prompt, *more: real(self, change(prompt) if isinstance(prompt, str) else prompt, *more)

    return lambda patch: wrap(patch, Policy, "encode", changed)


def lines() -> list[Prompt]:
    """The demo's first problems as rows of a file, made prompts by a template."""
    problems = [DemoPrompts()[index] for index in range(400)]
    read = [
        (f"line {n}", {"prompt": str(one.content), "answer": one.columns["answer"]})
        for n, one in enumerate(problems, start=1)
    ]
    return rows.prompts_from_rows(read, source="problems", template="Now {question}\n")


def template_twice(patch: pytest.MonkeyPatch) -> None:
    def changed(real: Callable[[str, str], str]) -> Callable[[str, str], str]:
        return lambda text, question: real(text, real(text, question))

    wrap(patch, rows, "apply_template", changed)


def template_not_applied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rows, "apply_template", lambda text, question: question)


# ---------------------------------------------------------------------- the text of rewards


def _texts(change: Callable[[Policy, list[int]], str]) -> Plant:
    """The text of a response is ``change`` of its policy and tokens, for whoever asks."""
    return lambda patch: patch.setattr(Policy, "decode", lambda self, ids: change(self, list(ids)))


def _plain(policy: Policy, ids: list[int]) -> str:
    return str(policy.tokenizer.decode(ids, skip_special_tokens=True))


def _repeats_once(policy: Policy, ids: list[int]) -> str:
    """Tokens equal to the one before are decoded once."""
    return _plain(policy, [one for n, one in enumerate(ids) if n == 0 or one != ids[n - 1]])


def answers_of_the_next_row(patch: pytest.MonkeyPatch) -> None:
    """The column of answers is shifted by a row against the prompts."""
    size = len(DemoPrompts())

    def changed(real: Callable[[Any, int], Prompt]) -> Callable[[Any, int], Prompt]:
        def item(self: DemoPrompts, index: int) -> Prompt:
            return Prompt(real(self, index).content, real(self, (index + 1) % size).columns)

        return item

    wrap(patch, prompt_module.DemoPrompts, "__getitem__", changed)


def answers_without_their_last_digit(patch: pytest.MonkeyPatch) -> None:
    """Answers were stored in a column of one character."""

    def changed(real: Callable[[Any, int], Prompt]) -> Callable[[Any, int], Prompt]:
        def item(self: DemoPrompts, index: int) -> Prompt:
            found = real(self, index)
            return Prompt(found.content, {"answer": str(found.columns["answer"])[:1]})

        return item

    wrap(patch, prompt_module.DemoPrompts, "__getitem__", changed)


def columns_tiled(patch: pytest.MonkeyPatch) -> None:
    """Columns are repeated as a whole, where prompts are repeated one by one."""

    def changed(real: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def column(self: Batch, name: str) -> list[Any]:
            found = real(self, name)
            size = next((n for n, prompt in enumerate(self.prompts) if prompt is not self.prompts[0]), len(found))
            return [found[(n * size) % len(found)] for n in range(len(found))]

        return column

    wrap(patch, Batch, "column", changed)


def texts_of_the_longest_response(patch: pytest.MonkeyPatch) -> None:
    """Responses are cut at half of the longest one before they are decoded."""

    def changed(real: Callable[..., Any]) -> Callable[..., Any]:
        def texts(self: Setup, rollouts: Any) -> list[list[str]]:
            longest = int(rollouts.lengths.max()) * 5 // 8
            return [[self.policy.decode(ids[:longest]) for ids in rollouts.responses(n)] for n in range(len(rollouts))]

        return texts

    wrap(patch, Setup, "texts", changed)


def rewards_clipped(patch: pytest.MonkeyPatch) -> None:
    """Rewards go through a sigmoid that a reward model's wrapper adds."""
    after_rewards(patch, source, lambda found: (1 / (1 + np.exp(-np.asarray(found)))).tolist())


def rewards_normalised(patch: pytest.MonkeyPatch) -> None:
    """Rewards are whitened over the batch before they are recorded."""

    def white(found: list[list[float]]) -> list[list[float]]:
        table = np.asarray(found)
        return ((table - table.mean()) / (table.std() + 1e-8)).tolist()  # type: ignore[no-any-return]

    after_rewards(patch, source, white)


def _fault(name: str, plant: Plant, *causes: str, **more: Any) -> PlantedFault:
    return PlantedFault(name, KIND, plant, causes, **more)


DRAW = ("prompts drawn", "draw of prompts", "uniform", "subset", "which prompts", "share of the set")
TOKENS = ("prompt's token", "tokenizer", "prompt", "encod")
TEXT = ("text", "decod", "reward", "completion")
GOLD = ("answer", "gold", "column", "row", "reward")
FAULTS = [
    _fault("only the first half drawn", _drawn(first_half), *DRAW),
    _fault("only a shuffle buffer drawn", _drawn(first_of_a_buffer), *DRAW, "buffer"),
    _fault("the shortest prompts drawn", _drawn(shortest), *DRAW, "length"),
    _fault("one kind of question drawn", _drawn(without_subtractions), *DRAW, "filter"),
    _fault("some prompts drawn far more often", _drawn(heavier_on_some), *DRAW, "weight"),
    _fault("last token of prompts lost", _encoded(lambda policy, ids: ids[:-1]), *TOKENS, "last token"),
    _fault("first token of prompts lost", _encoded(lambda policy, ids: ids[1:]), *TOKENS, "first token"),
    _fault("prompts truncated on the left", _encoded(lambda policy, ids: ids[-12:]), *TOKENS, "truncat"),
    _fault("prompts truncated on the right", _encoded(lambda policy, ids: ids[:12]), *TOKENS, "truncat"),
    _fault("start token added", _encoded(lambda policy, ids: (policy.eos_ids[0], *ids)), *TOKENS, "bos", "start"),
    _fault("prompts stripped", _text(str.strip), *TOKENS, "strip", "white space"),
    _fault("prompts in lower case", _text(str.lower), *TOKENS, "case"),
    _fault("template twice", template_twice, "template", "twice", prompts=lines),
    _fault("template not applied", template_not_applied, "template", prompts=lines),
    _fault("rewards see 18 tokens", _texts(lambda policy, ids: _plain(policy, ids[:18])), *TEXT, "truncat"),
    _fault("rewards lose the last two tokens", _texts(lambda policy, ids: _plain(policy, ids[:-2])), *TEXT),
    _fault("rewards see repeated tokens once", _texts(_repeats_once), *TEXT, "repeat"),
    _fault("rewards see cut responses", texts_of_the_longest_response, *TEXT, "truncat"),
    _fault("answers of the next row", answers_of_the_next_row, *GOLD),
    _fault("answers cut to a character", answers_without_their_last_digit, *GOLD),
    _fault("columns tiled against prompts", columns_tiled, *GOLD, "another prompt"),
    _fault("rewards through a sigmoid", rewards_clipped, "reward"),
    _fault("rewards whitened", rewards_normalised, "reward"),
]  # fmt: skip
