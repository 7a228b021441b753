"""The policy: a causal language model with its temperature, and the one place that calls its forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pytest_entropy.errors import RunError
from pytest_entropy.policy import sampling, teacher_forcing
from pytest_entropy.policy.chat_template import encode_chat
from pytest_entropy.policy.logits import TeacherForced
from pytest_entropy.policy.rollouts import Rollouts

__all__ = ["Policy", "TeacherForced"]


@dataclass
class Policy:
    """A causal language model with its tokenizer and its sampling temperature.

    ``trainable`` maps the live parameter names (as ``named_parameters`` gives them) to the parameters the
    optimizer updates.  ``model`` may be a plain transformers model or one with PEFT adapters inside.
    ``static_cache`` lets the sampler write its cache in place.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    trainable: dict[str, torch.nn.Parameter]
    eos_ids: tuple[int, ...]
    temperature: float = 1.0
    share_prompt: bool = True
    static_cache: bool = False

    @property
    def device(self) -> torch.device:
        """Where the inputs go."""
        return next(self.model.get_input_embeddings().parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the numbers the policy reports: float64 for a float64 model, else float32."""
        return torch.float64 if self.model.dtype == torch.float64 else torch.float32

    @property
    def positions(self) -> int | None:
        """The model's context in tokens, prompt and response together; None if it sets no bound."""
        bound = getattr(self.model.config, "max_position_embeddings", None)
        return None if bound is None else int(bound)

    @property
    def rounding(self) -> float:
        """Unit roundoff of the model's coarsest floating-point weights."""
        return max(torch.finfo(p.dtype).eps for p in self.model.parameters() if p.is_floating_point())

    def encode(self, text: str | Sequence[dict[str, str]], told: Mapping[str, object] | None = None) -> tuple[int, ...]:
        """Token ids of a prompt: a string as the tokenizer takes it, chat messages by the template, which is ``told``.

        Raises:
            RunError: no token comes of it, or there is no chat template, or it fails or has no end.
        """
        ids = self.tokenizer(text)["input_ids"] if isinstance(text, str) else encode_chat(self.tokenizer, text, told)
        if not ids:
            raise RunError(f"the tokenizer makes no token of the prompt {text!r}; remove it from the prompts")
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a response, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    @torch.no_grad()
    def sample(self, prompt_ids: Sequence[Sequence[int]], uniforms: torch.Tensor) -> Rollouts:
        """Draw G responses to each of P prompts.

        Args:
            prompt_ids: P sequences of token ids.
            uniforms: ``[P, G, max_new_tokens]`` in [0, 1): the randomness, one number per possible token.

        Raises:
            RunError: the prompt and response do not fit the model's context, or the logits are not finite.
        """
        return sampling.sample(self, prompt_ids, uniforms)

    def teacher_force(self, rollouts: Rollouts, ranks: torch.Tensor | None = None) -> TeacherForced:
        """Token log-probabilities and exact entropies of given responses, at the policy's temperature.

        ``ranks`` is an optional ``[P, G, L]`` tensor of uniform numbers; with it the result carries the
        randomised surprisal ranks (no gradient).  Differentiable in activations, and in the parameters that
        require a gradient.
        """
        return teacher_forcing.teacher_force(self, rollouts, ranks)

    @torch.no_grad()
    def sampler_log_ratios(self, rollouts: Rollouts) -> torch.Tensor:
        """``[J, 2]`` evidence that the tokens came from another sampler: see :func:`alternatives.log_ratios`."""
        return teacher_forcing.sampler_log_ratios(self, rollouts)

    @torch.no_grad()
    def draw_discrepancies(self, rollouts: Rollouts, uniforms: torch.Tensor) -> torch.Tensor:
        """``[P, G, L]``: by how much probability each token misses its number of ``uniforms``."""
        return teacher_forcing.draw_discrepancies(self, rollouts, uniforms)

    @cached_property
    def plain_head(self) -> bool:
        """Whether the model's logits are what its output layer makes of the last hidden states, and nothing else.

        Some models scale or bound their logits afterwards; those are asked for the whole table.
        """
        head, body = self.model.get_output_embeddings(), self.model.base_model
        if head is None or body is self.model:
            return False
        ids = torch.zeros(1, 2, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            made = head(body(input_ids=ids, use_cache=False).last_hidden_state)
            return torch.equal(made, self.model(input_ids=ids, use_cache=False).logits)

    def forward(
        self,
        ids: torch.Tensor,
        kept: torch.Tensor,
        positions: torch.Tensor,
        cache: DynamicCache | None,
        keep: int = 0,
        model: torch.nn.Module | None = None,
    ) -> torch.Tensor:
        """Logits of the last ``keep`` positions (0: all), or all last hidden states if ``model`` is the body."""
        model = self.model if model is None else model
        more = {"logits_to_keep": keep} if model is self.model else {}
        out = model(
            input_ids=ids,
            # Without padding no mask is needed, and attention takes its fast path.
            attention_mask=None if bool(kept.all()) else kept,
            position_ids=positions,
            use_cache=cache is not None,
            **{self.cache_argument: cache},
            **more,
        )
        found: torch.Tensor = out.logits if model is self.model else out.last_hidden_state
        return found

    @cached_property
    def cache_argument(self) -> str:
        """What the model's forward calls its key/value cache: transformers 5.24 renamed it."""
        return "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"

    def require_eval(self) -> None:
        """Reject a model any part of which is in training mode.

        Raises:
            RunError: names the first such module.
        """
        live = [name for name, module in self.model.named_modules() if module.training]
        if live:
            raise RunError(
                f"{len(live)} modules are in training mode (first: {live[0] or 'the model itself'}): dropout "
                "would be live while sampling or scoring; call policy.model.eval()"
            )

    def require_room(self, tokens: int) -> None:
        """Reject prompt and response that need more ``tokens`` than the model has positions.

        Raises:
            RunError: says by how much, and the remedy.
        """
        if self.positions is not None and tokens > self.positions:
            raise RunError(
                f"prompt and response need {tokens} tokens, the model has {self.positions} positions; "
                "lower max_new_tokens or leave out the longest prompts"
            )
