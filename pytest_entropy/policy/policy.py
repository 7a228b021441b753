"""The policy: a causal language model with its tokenizer and temperature; it alone calls the model's forward pass."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pytest_entropy.errors import RunError
from pytest_entropy.policy import attention_mask as masks
from pytest_entropy.policy import sampling, teacher_forcing
from pytest_entropy.policy.chat_template import encode_chat
from pytest_entropy.policy.logits import TeacherForced
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.text_part import text_config
from pytest_entropy.prompts.embedded_tokens import require_embedded

__all__ = ["Policy", "TeacherForced"]


# What is found out of a model once.
OF_THE_MODEL = ("plain_head", "keeps_last_logits", "cache_argument")


@dataclass
class Policy:
    """A causal language model with its tokenizer and its sampling temperature.

    Attributes:
        model: a transformers model, with or without PEFT adapters.
        tokenizer: the model's.
        trainable: the parameters that the optimizer updates, by their names in ``model.named_parameters()``.
        eos_ids: the tokens that end a response.
        temperature: T of the sampled and scored distribution softmax(logits / T).
        share_prompt: whether scoring computes a prompt once for all its responses; needs a cache whose rows can be
            repeated.
        pads: whether prompts of different lengths may share a pass, padded on the left; layers that carry a state from
            token to token carry it through the padding.
        static_cache: whether the sampler uses a preallocated cache that is written in place.
        recompute: whether scoring passes keep each layer's input only (:mod:`.recomputation`).
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    trainable: dict[str, torch.nn.Parameter]
    eos_ids: tuple[int, ...]
    temperature: float = 1.0
    share_prompt: bool = True
    pads: bool = True
    static_cache: bool = False
    recompute: bool = False

    @property
    def device(self) -> torch.device:
        """The device of the model's inputs."""
        return next(self.model.get_input_embeddings().parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of log-probabilities and entropies: float64 for a float64 model, else float32."""
        return torch.float64 if self.model.dtype == torch.float64 else torch.float32

    @property
    def positions(self) -> int | None:
        """The model's context length in tokens, prompt and response together; None if it is not bounded."""
        bound = getattr(text_config(self.model), "max_position_embeddings", None)
        return None if bound is None else int(bound)

    @property
    def rounding(self) -> float:
        """Unit roundoff of the model's coarsest floating-point weights."""
        return max(torch.finfo(p.dtype).eps for p in self.model.parameters() if p.is_floating_point())

    def encode(
        self, prompt: str | Sequence[Mapping[str, object]], template_arguments: Mapping[str, object] | None = None
    ) -> tuple[int, ...]:
        """The token ids of a prompt.

        Args:
            prompt: a text, or chat messages, to which the tokenizer's chat template is applied.
            template_arguments: further arguments of the chat template by name, ``tools`` among them.

        Raises:
            RunError: the prompt has no tokens or one that the embedding has no row for, or the tokenizer has no chat
                template, or the template fails or exceeds its time limit.
        """
        if isinstance(prompt, str):
            ids = self.tokenizer(prompt)["input_ids"]
        else:
            ids = encode_chat(self.tokenizer, prompt, template_arguments)
        if not ids:
            raise RunError(f"the tokenizer returns no tokens for the prompt {prompt!r}; remove it from the prompts")
        rows = next(self.model.get_input_embeddings().parameters()).shape[0]
        require_embedded(
            ids, rows, lambda n: self.tokenizer.convert_ids_to_tokens(n), f"the prompt {str(prompt)[:120]!r}"
        )
        return tuple(ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a response, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    @torch.no_grad()
    def sample(self, prompt_ids: Sequence[Sequence[int]], uniforms: torch.Tensor) -> Rollouts:
        """Sample G responses to each of P prompts.

        Args:
            prompt_ids: the token ids of the P prompts.
            uniforms: ``[P, G, max_new_tokens]`` random numbers in [0, 1), one per possible token.

        Raises:
            RunError: the model is in training mode, a prompt with its response exceeds the context, or the logits are
                not finite.
        """
        return sampling.sample(self, prompt_ids, uniforms)

    def teacher_force(self, rollouts: Rollouts, ranks: torch.Tensor | None = None) -> TeacherForced:
        """Token log-probabilities and exact next-token entropies of given responses, at the policy's temperature.

        They are differentiable in the parameters that require a gradient.

        Args:
            rollouts: the responses, ``[P, G, L]``.
            ranks: ``[P, G, L]`` uniform random numbers in [0, 1) for the randomised surprisal ranks; None for no ranks.

        Raises:
            RunError: the model is in training mode.
        """
        return teacher_forcing.teacher_force(self, rollouts, ranks)

    @torch.no_grad()
    def sampler_log_ratios(self, rollouts: Rollouts) -> torch.Tensor:
        """The responses' log likelihood ratios under J wrong samplers, ``[J, 2]``: :func:`alternatives.log_ratios`."""
        return teacher_forcing.sampler_log_ratios(self, rollouts)

    @torch.no_grad()
    def draw_discrepancies(self, rollouts: Rollouts, uniforms: torch.Tensor) -> torch.Tensor:
        """How far each random number lies outside its token's interval of cumulative probability, ``[P, G, L]``.

        Args:
            rollouts: the responses, ``[P, G, L]``.
            uniforms: ``[P, G, L]`` or longer, the random numbers that they were sampled with.

        Raises:
            RunError: the model is in training mode.
        """
        return teacher_forcing.draw_discrepancies(self, rollouts, uniforms)

    def computing(self, **settings: bool) -> Policy:
        """The same policy with other passes, which need not find out again what is known of the model.

        Args:
            settings: values of ``share_prompt``, ``pads``, ``static_cache`` or ``recompute``.
        """
        other = replace(self, **settings)  # type: ignore[arg-type]
        vars(other).update({name: known for name, known in vars(self).items() if name in OF_THE_MODEL})
        return other

    @cached_property
    def plain_head(self) -> bool:
        """Whether the logits are the output layer applied to the last hidden states, without scaling or bounding.

        Only then can they be computed for a few positions at a time.
        """
        head, body = self.model.get_output_embeddings(), self.model.base_model
        if head is None or body is self.model:
            return False
        # Of several tokens: a padding token's logits may be 0, which bounding leaves as they are.
        rows = next(self.model.get_input_embeddings().parameters()).shape[0]
        ids = torch.arange(min(rows, 16), device=self.device).unsqueeze(0)
        with torch.no_grad():
            made = head(body(input_ids=ids, use_cache=False).last_hidden_state)
            return torch.equal(made.to(self.device), self.model(input_ids=ids, use_cache=False).logits)

    def forward(
        self,
        ids: torch.Tensor,
        attention_mask: torch.Tensor | None,
        positions: torch.Tensor,
        cache: DynamicCache | None,
        keep: int = 0,
        model: torch.nn.Module | None = None,
    ) -> torch.Tensor:
        """Run the model, and return logits ``[rows, positions, V]`` or hidden states ``[rows, positions, H]``.

        Args:
            ids: ``[rows, positions]`` int64, the input tokens.
            attention_mask: ``[rows, cached + positions]``, 0 for padding, 1 else, or the mask of a decoding step
                (:mod:`.attention_mask`); None without padding, since attention then has its fast kernel.
            positions: ``[rows, positions]`` int64, each token's position in its row, padding not counted.
            cache: the keys and values of earlier positions, to which these are added; None to cache nothing.
            keep: return the logits of the last ``keep`` positions only, where the model can; 0 for all.
            model: the model's body, to get its last hidden states at all positions; None for logits.
        """
        model = self.model if model is None else model
        more = {"logits_to_keep": keep} if model is self.model and self.keeps_last_logits else {}
        out = model(
            input_ids=ids,
            attention_mask=attention_mask,
            position_ids=positions,
            use_cache=cache is not None,
            **{self.cache_argument: cache},
            **more,
        )
        found: torch.Tensor = out.logits if model is self.model else out.last_hidden_state
        # Of a model across several devices, the last layer's may be another than the inputs'.
        return found.to(self.device)

    @cached_property
    def takes_prepared_mask(self) -> bool:
        """Whether the model takes a decoding step's mask as it is: :func:`attention_mask.takes_prepared_mask`."""
        return masks.takes_prepared_mask(self)

    @cached_property
    def keeps_last_logits(self) -> bool:
        """Whether the model's forward can return the last logits alone; else it returns those of all positions."""
        return "logits_to_keep" in inspect.signature(self.model.forward).parameters

    @cached_property
    def cache_argument(self) -> str:
        """The name of the key/value cache among the arguments of the model's forward; transformers 5.24 renamed it."""
        return "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"

    def require_eval(self) -> None:
        """Reject a model with a module in training mode.

        Raises:
            RunError: a module is in training mode; the message names the first one.
        """
        training = [name for name, module in self.model.named_modules() if module.training]
        if training:
            raise RunError(
                f"{len(training)} modules are in training mode (first: {training[0] or 'the model itself'}): dropout "
                "would be active while sampling or scoring; call policy.model.eval()"
            )

    def require_room(self, tokens: int) -> None:
        """Reject a prompt with its response that is longer than the model's context.

        Raises:
            RunError: ``tokens`` exceeds the model's context length; the message states both.
        """
        if self.positions is not None and tokens > self.positions:
            raise RunError(
                f"prompt and response need {tokens} tokens, the model has {self.positions} positions; "
                "lower max_new_tokens or leave out the longest prompts"
            )
