"""Evaluate the rewards of a batch: call each term once, check its values, form the weighted sum."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import numbers
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pytest_entropy.errors import RunError
from pytest_entropy.prompts import Prompt
from pytest_entropy.rewards.arguments import NOT_COLUMNS, accepted_arguments
from pytest_entropy.rewards.batch import Batch, describe_completion, failing_completion
from pytest_entropy.rewards.builtin.base import PlainReward
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

log = logging.getLogger(__name__)
DEFAULT_TIMEOUT = 600.0  # s


@dataclass(frozen=True)
class RewardTerm:
    """One reward function of a weighted sum.

    Attributes:
        function: in TRL's signature.
        label: what messages call it.
        weight: in the sum.
        notes: what planning says of it and the prompts, :func:`.notes.reward_notes`.
    """

    function: PlainReward
    label: str
    weight: float = 1.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class WeightedRewards:
    """A weighted sum of rewards; each call of a function may take ``timeout`` seconds."""

    terms: tuple[RewardTerm, ...]
    timeout: float = DEFAULT_TIMEOUT


RewardFunction = PlainReward | WeightedRewards
Values = list[list[float | None]]


@dataclass(frozen=True)
class Evaluated:
    """The rewards of a batch.

    Attributes:
        totals: the weighted sums ``[P][G]``.
        terms: each term with its own values ``[P][G]``; None where it does not apply.
    """

    totals: list[list[float]]
    terms: tuple[tuple[RewardTerm, Values], ...]


def evaluate(
    reward: RewardFunction, prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Rewards ``[P][G]`` of G completions to each of P prompts: the totals of :func:`evaluate_terms`.

    Args:
        reward: one function, or a weighted sum of functions.
        prompts: P prompts.
        completions: texts ``[P][G]``.

    Raises:
        RunError: as :func:`evaluate_terms`.
    """
    return evaluate_terms(reward, prompts, completions).totals


def evaluate_terms(
    reward: RewardFunction, prompts: Sequence[Prompt], completions: Sequence[Sequence[str]]
) -> Evaluated:
    """Rewards of G completions to each of P prompts, and the values of each term.

    A function gets flat lists, each prompt repeated G times, and the columns likewise as keyword lists; chat prompts
    have chat completions, as in TRL.  A coroutine function is awaited.  A term that returns None for a completion is
    left out of that completion's sum, as in TRL.

    Args:
        reward: one function, or a weighted sum of functions.
        prompts: P prompts.
        completions: texts ``[P][G]``.

    Raises:
        RunError: a function raised, took too long, returned a wrong number of rewards or one that is not a finite
            number, or no term applies to a completion; shows the prompt and the completion where they are known.
    """
    if not isinstance(reward, WeightedRewards):
        reward = WeightedRewards((RewardTerm(reward, getattr(reward, "__name__", repr(reward))),))
    batch = Batch.of(prompts, completions)
    totals: list[float | None] = [None] * len(batch)
    size = len(completions[0])
    terms = []
    for term in reward.terms:
        values = term_values(term, batch, reward.timeout)
        known = [value for value in values if value is not None]
        if known:
            mean = sum(known) / len(known)
            log.info("reward %s: mean %.4f over %d of %d completions", term.label, mean, len(known), len(values))
        else:
            log.info("reward %s: None for all %d completions", term.label, len(values))
        for n, value in enumerate(values):
            if value is not None:
                totals[n] = (totals[n] or 0.0) + term.weight * value
        terms.append((term, [values[i : i + size] for i in range(0, len(values), size)]))
    for n, total in enumerate(totals):
        if total is None:
            names = ", ".join(term.label for term in reward.terms)
            shown = describe_completion(batch, n)
            raise RunError(f"no reward applies ({names} returned None): a completion without a reward{shown}")
        if not math.isfinite(total):
            raise RunError(f"the weighted sum of rewards is {total}{describe_completion(batch, n)}")
    flat = [total for total in totals if total is not None]
    return Evaluated([flat[i : i + size] for i in range(0, len(flat), size)], tuple(terms))


def term_values(term: RewardTerm, batch: Batch, timeout: float) -> list[float | None]:
    """The term's values, one per completion: finite numbers, or None where it does not apply.

    Args:
        term: the function.
        batch: prompts and completions.
        timeout: seconds that the call may take.

    Raises:
        RunError: as :func:`evaluate_terms`.
    """
    returned = _called(term, batch, timeout)
    if len(returned) != len(batch):
        count = f"more than {len(batch)}" if len(returned) > len(batch) else str(len(returned))
        raise RunError(
            f"reward {term.label} returned {count} rewards for {len(batch)} completions{describe_completion(batch)}"
        )
    values = []
    for n, value in enumerate(returned):
        number = None if value is None else _number(value)
        if value is not None and number is None:
            shown = f"{value!r}"[:200]
            raise RunError(f"reward {term.label} returned {shown}, not a finite number{describe_completion(batch, n)}")
        values.append(number)
    return values


def _called(term: RewardTerm, batch: Batch, timeout: float) -> list[Any]:
    """The values that the function returns, at most one more than the batch has completions."""
    columns = {name: batch.column(name) for name in batch.columns if name not in NOT_COLUMNS}
    texts = batch.completions()
    arguments = accepted_arguments(term.function, {**columns, "prompts": batch.contents(), "completions": texts})

    process = os.getpid()

    def call() -> list[Any]:
        result = term.function(**arguments)
        if inspect.isawaitable(result):
            result = _finished(result)
        if isinstance(result, str | bytes | dict | set | frozenset) or not isinstance(result, Iterable):
            raise TypeError(f"returned {type(result).__name__} {str(result)[:80]}, expected a list of numbers")
        return list(islice(result, len(batch) + 1))

    try:
        return call_within(timeout, call)
    except TimeLimitExceeded as error:
        raise RunError(
            f"reward {term.label} took longer than {timeout:g} s (reward_timeout in the configuration)"
            f"{describe_completion(batch, failing_completion(error, batch, texts))}"
        ) from error
    except KeyboardInterrupt:
        raise
    # Also sys.exit() and pytest.skip(): a reward must not decide the outcome of the test.
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        shown = describe_completion(batch, failing_completion(error, batch, texts))
        raise RunError(f"reward {term.label} raised {reason}{shown}") from error
    finally:
        # A child process that the function forked must not go on as a second session.
        if os.getpid() != process:
            os._exit(1)


def _finished(awaitable: Any) -> Any:
    """The result of an awaitable, whether or not an event loop is running."""

    async def wait() -> Any:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    # Within a running loop, as in a notebook, another thread has to run it.
    with ThreadPoolExecutor(1, thread_name_prefix="reward") as pool:
        return pool.submit(asyncio.run, wait()).result()


def _number(value: Any) -> float | None:
    """A finite number as a float, None for any other value.  Booleans and array scalars are numbers, as in TRL."""
    if not isinstance(value, numbers.Real) and hasattr(value, "item"):
        try:
            value = value.item()
        except (TypeError, ValueError, RuntimeError):
            return None
    if not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
