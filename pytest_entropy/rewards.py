"""Reward functions, in TRL's signature: ``f(prompts, completions, **columns) -> list[float | None]``."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import math
import numbers
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_entropy.errors import RunError, UsageError
from pytest_entropy.prompts import Prompt

RewardFunction = Callable[..., Any]

_ANSWER_BLOCK = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def exact_answer(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], **columns: Any
) -> list[float]:
    """1.0 where the completion holds exactly one ``<answer>`` block and its text is the expected answer.

    Surrounding white space is ignored; no block or more than one scores 0.0.
    """
    rewards = []
    for completion, expected in zip(completions, answer, strict=True):
        blocks = _ANSWER_BLOCK.findall(completion if isinstance(completion, str) else completion[-1]["content"])
        rewards.append(float(len(blocks) == 1 and blocks[0].strip() == str(expected).strip()))
    return rewards


def evaluate(
    reward: RewardFunction, prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Rewards ``[P][G]`` of G completions to each of P prompts.

    The function sees flat lists, each prompt repeated G times, its columns likewise as keyword lists; chat
    prompts get chat completions, as TRL passes them.  A coroutine function is awaited.

    Raises:
        RunError: the function raised, returned a wrong number of rewards, or one that is not a finite number;
            with the prompt and completion that did it.  Never a silent zero.
    """
    flat = [(prompt, text) for prompt, group in zip(prompts, completions, strict=True) for text in group]
    given = [prompt.content for prompt, _ in flat]
    texts: list[Any] = [
        text if isinstance(prompt.content, str) else [{"role": "assistant", "content": text}] for prompt, text in flat
    ]
    names = sorted({name for prompt in prompts for name in prompt.columns})
    columns = {name: [prompt.columns.get(name) for prompt, _ in flat] for name in names}
    label = getattr(reward, "__name__", repr(reward))
    try:
        values = reward(prompts=given, completions=texts, **columns)
        if inspect.isawaitable(values):
            values = asyncio.run(_awaited(values))
        values = list(values)
    except Exception as error:
        raise RunError(
            f"reward {label} raised {type(error).__name__}: {error}\nfirst prompt: {given[0]!r}\n"
            f"first completion: {texts[0]!r}\ncolumns: {', '.join(names) or 'none'}"
        ) from error
    if len(values) != len(flat):
        raise RunError(f"reward {label} returned {len(values)} rewards for {len(flat)} completions")
    for value, prompt, text in zip(values, given, texts, strict=True):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(value):
            raise RunError(
                f"reward {label} returned {value!r}, not a finite number\nprompt: {prompt!r}\ncompletion: {text!r}"
            )
    size = len(completions[0])
    return [[float(v) for v in values[i : i + size]] for i in range(0, len(values), size)]


async def _awaited(value: Any) -> Any:
    return await value


def resolve_reward(name: str) -> RewardFunction:
    """A reward by its built-in name, ``package.module:function`` or ``file.py:function``.

    Raises:
        UsageError: no such built-in, module, file or function.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    where, colon, function = name.rpartition(":")
    if not colon or not where or not function:
        raise UsageError(
            f"reward {name!r} is neither built in ({', '.join(BUILT_IN)}) nor of the form module:function or "
            "file.py:function"
        )
    try:
        module = _load_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"reward {name!r}: importing {where} raised {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise UsageError(f"reward {name!r}: {where} has no function {function!r}")
    return found


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"reward file {path} does not exist")
    spec = importlib.util.spec_from_file_location(f"pytest_entropy_reward_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"reward file {path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BUILT_IN: dict[str, RewardFunction] = {"exact_answer": exact_answer}
