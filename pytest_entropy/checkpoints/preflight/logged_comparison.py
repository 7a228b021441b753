"""The prompts, as they are encoded here, against those that the trainer logged: another template would be silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any

from pytest_entropy.checkpoints.files import CheckpointFiles
from pytest_entropy.checkpoints.logged_prompts import Logged, LoggedPrompts, logged_prompts
from pytest_entropy.checkpoints.preflight.planned_tokenizer import PlannedTokenizer, planned_tokenizer
from pytest_entropy.checkpoints.tokenizer_files import chat_templates
from pytest_entropy.prompts import DemoPrompts, Prompt, PromptSet
from pytest_entropy.prompts.messages import parts_of
from pytest_entropy.records.run import OF_THE_LOG
from pytest_entropy.time_limit import TimeLimitExceeded, call_within

# Time limits for the whole comparison and for the search in the set, in s.
SECONDS = 10.0
_SEARCH = 3.0
# Shorter texts are parts of longer ones by chance: they have to be whole words there.
_LONG = 20
# Prompts of the set that are held against one of the log: questions may be parts of others.
_CANDIDATES = 64
_SHOWN = 60


@dataclass(frozen=True)
class LogComparison:
    """What the trainer's log says of the prompts.

    Attributes:
        same: how many of the log's prompts are among the set's.
        total: how many of the log's were compared.
        difference: the first of the log's that the set has in another form, in words; empty where there is none.
        other: how many of the log's the set has in another form.
        log: the file.
        whole: whether the whole set was searched, and all that have a logged question were compared.
    """

    same: int
    total: int
    difference: str
    other: int
    log: LoggedPrompts
    whole: bool

    @property
    def warning(self) -> str:
        """The sentence that a reader has to see; empty where the prompts are the log's."""
        if self.other:
            return (
                f"{self.other} of {self.total} {OF_THE_LOG} {self.log.name} have another form here: "
                f"{self.difference}; the trainer used another chat template, other chat_template_kwargs, messages or "
                "prompts.template"
            )
        if not self.same and self.whole:
            return (
                f"none of {self.total} {OF_THE_LOG} {self.log.name} is among the prompts: is this the "
                "data set and the split that the policy is trained on?"
            )
        return ""

    @property
    def note(self) -> str:
        """The header's line."""
        if self.warning:
            return f"  warning: {self.warning}"
        # Messages in a log do not say how they were rendered.
        what = "prompts as" if any(isinstance(one, str) for one in self.log.prompts) else "the prompts' messages as"
        return f"  {what} in the trainer's log {self.log.name}: {self.same} of {self.total} are among them"


def compare_with_log(files: CheckpointFiles, prompts: PromptSet) -> LogComparison | None:
    """Look some prompts of the trainer's log up among the prompts, in the form in which they are encoded here.

    Args:
        files: paths of the checkpoint, beside which the log is.
        prompts: at least one.

    Returns:
        None where there is no log, where the bundled prompts stand in for the trainer's, or the template is not known.
    """
    log = None if isinstance(prompts, DemoPrompts) else logged_prompts(files)
    if log is None:
        return None
    try:
        return call_within(SECONDS, partial(_compared, files, prompts, log, monotonic() + _SEARCH))
    # The template is a stranger's program; encoding reports what is wrong with it.
    except (TimeLimitExceeded, Exception):
        return None


def _compared(files: CheckpointFiles, prompts: PromptSet, log: LoggedPrompts, end: float) -> LogComparison | None:
    tokenizer = planned_tokenizer(files)
    forms = _Forms(tokenizer, *_special_tokens(tokenizer))
    if not isinstance(prompts[0].content, str) and (tokenizer is None or not chat_templates(tokenizer.place)):
        return None
    found, whole = _candidates(log.prompts, prompts, end)
    same, other, first = 0, 0, ""
    for logged, candidates in zip(log.prompts, found, strict=True):
        differences = [_difference(logged, prompt, forms) for prompt in candidates]
        if "" in differences:
            same += 1
        elif len(candidates) == _CANDIDATES:
            # More may have the question than are compared, and the log's own be among them.
            whole = False
        elif differences:
            other, first = other + 1, first or differences[0]
    return LogComparison(same, len(log.prompts), first, other, log, whole)


@dataclass(frozen=True)
class _Forms:
    """The forms that a prompt's text may have in a log.

    Attributes:
        tokenizer: the checkpoint's; None where its files are not on this machine.
        special: the tokens that decoding may leave out, the longest first.
        around: those of them that stand before and after a text: padding, its beginning and its end.
    """

    tokenizer: PlannedTokenizer | None
    special: Sequence[str]
    around: Sequence[str]

    def text(self, prompt: Prompt) -> str:
        """The prompt as it is encoded here.

        Raises:
            ValueError: its template writes tokens that the files do not name.
        """
        if isinstance(prompt.content, str) or self.tokenizer is None:
            return str(prompt.content)
        text = self.tokenizer.rendered(prompt.content, prompt.template_arguments)
        if text is None:
            raise ValueError("the template's text is not known")
        return text

    def without_special(self, text: str) -> str:
        """The text as decoding without special tokens leaves it."""
        for token in self.special:
            text = text.replace(token, "")
        return text

    def alone(self, text: str) -> str:
        """The text without white space and padding around it."""
        while (shorter := self._shorter(text.strip())) != text:
            text = shorter
        return text

    def _shorter(self, text: str) -> str:
        for token in self.around:
            text = text.removeprefix(token)
        return text


def _special_tokens(tokenizer: PlannedTokenizer | None) -> tuple[list[str], list[str]]:
    """The tokenizer's special tokens, the longest first, and those that stand around a text."""
    if tokenizer is None:
        return [], []
    around = [tokenizer.named[name] for name in ("pad_token", "bos_token") if name in tokenizer.named]
    return sorted((text for text in tokenizer.special if text.strip()), key=len, reverse=True), around


def _candidates(logged: Sequence[Logged], prompts: PromptSet, end: float) -> tuple[list[list[Prompt]], bool]:
    """For each of the log's prompts those of the set whose question it has, and whether the whole set was searched."""
    texts = [_on_one_line(one if isinstance(one, str) else _question_of(one)) for one in logged]
    found: list[list[tuple[int, int]]] = [[] for _ in texts]
    for n in range(len(prompts)):
        if n % 1000 == 999 and monotonic() > end:
            return [[prompts[n] for _, n in sorted(kept)[:_CANDIDATES]] for kept in found], False
        question = _on_one_line(_question(prompts[n]))
        for text, kept in zip(texts, found, strict=True):
            if _is_part(question, text) or _is_part(text, question):
                kept.append((-len(question), n))
    return [[prompts[n] for _, n in sorted(kept)[:_CANDIDATES]] for kept in found], True


def _is_part(text: str, whole: str) -> bool:
    """Whether a text is part of another: as whole words, if it is short."""
    at = whole.find(text) if text else -1
    if at < 0 or len(text) >= _LONG or text == whole:
        return at >= 0
    return not whole[at - 1 : at].isalnum() and not whole[at + len(text) : at + len(text) + 1].isalnum()


def _question(prompt: Prompt) -> str:
    """What the set calls a question: of the template, the user's last message, or the whole text."""
    if prompt.made_of is not None:
        return prompt.made_of[1]
    return prompt.content if isinstance(prompt.content, str) else _question_of(prompt.content)


def _question_of(messages: Sequence[Mapping[str, Any]]) -> str:
    users = [message for message in messages if message.get("role") == "user"]
    return "".join(parts_of((users or list(messages))[-1]))


def _difference(logged: Logged, prompt: Prompt, forms: _Forms) -> str:
    """Where the log's prompt and the set's differ, in words; empty where they do not."""
    if not isinstance(logged, str):
        return _of_messages(logged, prompt)
    ours = forms.text(prompt)
    # A log without special tokens is one that was decoded without them.
    if not any(token in logged for token in forms.special):
        ours = forms.without_special(ours)
    logged, ours = forms.alone(logged), forms.alone(ours)
    if logged == ours:
        return ""
    at = _first_difference(logged, ours)
    where = "only white space differs, " if logged.split() == ours.split() else ""
    start = max(at - _SHOWN // 3, 0)
    return (
        f"{where}at character {at + 1} the log has {logged[start : start + _SHOWN]!r} and the prompt "
        f"{ours[start : start + _SHOWN]!r}"
    )


def _of_messages(logged: Sequence[Mapping[str, Any]], prompt: Prompt) -> str:
    if isinstance(prompt.content, str):
        return "the log has chat messages, and the prompt is text"
    # The log does not say how the messages were rendered.
    theirs, own = ([*map(_role_and_text, messages)] for messages in (logged, prompt.content))
    if theirs == own:
        return ""
    n = _first_difference(theirs, own)
    (role, text), (own_role, own_text) = (one[n] if n < len(one) else ("none", "") for one in (theirs, own))
    start = max(_first_difference(text, own_text) - _SHOWN // 3, 0) if role == own_role else 0
    shown = [f"{one}: {other[start : start + _SHOWN]!r}" for one, other in ((role, text), (own_role, own_text))]
    return f"as message {n + 1} the log has {shown[0]} and the prompt {shown[1]}"


def _first_difference(one: Sequence[object], other: Sequence[object]) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def _role_and_text(message: Mapping[str, Any]) -> tuple[str, str]:
    return str(message.get("role")), _on_one_line("".join(parts_of(message)))


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
