"""The policy: sample() and score(), the only place that touches the model's forward pass.

Sampling is our own loop and not ``generate``, so that no generation default can enter: the one distribution
is softmax(logits / T).  Each response's randomness is keyed by what it is (:mod:`pytest_entropy.records.seeds`).
A prompt is computed once for the G responses of its group, when sampling and when scoring; gradients flow
through the shared key/value cache.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pytest_entropy.errors import RunError
from pytest_entropy.policy import alternatives
from pytest_entropy.policy.chat_template import encode_chat
from pytest_entropy.policy.distribution import (
    draw_gap,
    draw_tokens,
    log_distribution,
    surprisal_rank,
    token_statistics,
    token_statistics_and_values,
)
from pytest_entropy.policy.kv_cache import decoding_cache
from pytest_entropy.policy.logits import TABLE_ENTRIES, Piecewise, Predictions, Scores, Whole
from pytest_entropy.policy.rollouts import Rollouts
from pytest_entropy.policy.row_map import row_groups
from pytest_entropy.policy.sampling_tables import Recorder

# A row is dropped from the decoding batch only when enough have ended: copying the cache costs as well.
COMPACT_BELOW = 0.75

__all__ = ["Policy", "Scores"]


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

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def sample(self, prompt_ids: Sequence[Sequence[int]], uniforms: torch.Tensor) -> Rollouts:
        """Draw G responses to each of P prompts.

        Args:
            prompt_ids: P sequences of token ids.
            uniforms: ``[P, G, max_new_tokens]`` in [0, 1): the randomness, one number per possible token.

        Raises:
            RunError: the prompt and response do not fit the model's context, or the logits are not finite.
        """
        self._require_eval()
        prompts, group, limit = len(prompt_ids), uniforms.shape[1], uniforms.shape[2]
        self._require_room(max(map(len, prompt_ids)) + limit)
        uniforms = uniforms.to(self.device)
        last_logits, cache, kept = self._prefill(prompt_ids, room=limit if self.static_cache else 0)
        cache.batch_repeat_interleave(group)
        rows = prompts * group
        logits = last_logits.repeat_interleave(group, dim=0)
        kept = kept.repeat_interleave(group, dim=0)
        start = kept.sum(-1, keepdim=True)
        uniforms = uniforms.reshape(rows, limit)
        record = Recorder(rows, limit, self.device, self.dtype)
        alive = torch.arange(rows, device=self.device)
        running = torch.ones(rows, dtype=torch.bool, device=self.device)
        eos = torch.tensor(self.eos_ids, dtype=torch.int64, device=self.device)
        for k in range(limit):
            drawn = draw_tokens(logits, self.temperature, uniforms[alive, k])
            tokens = drawn.tokens
            record.write(alive[running], k, drawn.select(running))
            running = running & ~torch.isin(tokens, eos)
            record.end(alive[~running], k)
            remaining = int(running.sum())
            if remaining == 0 or k + 1 == limit:
                break
            if remaining < COMPACT_BELOW * len(alive):
                index = running.nonzero().squeeze(-1)
                cache.batch_select_indices(index)
                alive, tokens, kept, start = alive[index], tokens[index], kept[index], start[index]
                running = running[index]
            kept = torch.cat([kept, kept.new_ones(len(alive), 1)], dim=1)
            logits = self._forward(tokens.unsqueeze(1), kept, start + k, cache)[:, -1]
        return record.rollouts(prompt_ids, group, eos)

    # ------------------------------------------------------------------ scoring

    def score(self, rollouts: Rollouts, ranks: torch.Tensor | None = None) -> Scores:
        """Token log-probabilities and exact entropies of given responses, at the policy's temperature.

        ``ranks`` is an optional ``[P, G, L]`` tensor of uniform numbers; with it the result carries the
        randomised surprisal ranks (no gradient).  Differentiable in activations, and in the parameters that
        require a gradient.
        """
        self._require_eval()
        tokens = self._padded_tokens(rollouts)
        predictions = self._predictions(rollouts, tokens)
        mask = rollouts.mask.to(self.device)
        learnt = rollouts.action_values
        extra: dict[str, torch.Tensor] = {}
        if learnt is None:
            log_probs, nats, likeliest = predictions.statistics(
                lambda logits, own: token_statistics(logits, own, self.temperature), tokens
            )
        else:
            values = learnt.token.to(self.device).expand(len(rollouts), -1)
            log_probs, nats, expected, likeliest = predictions.statistics(
                lambda logits, own: token_statistics_and_values(logits, own, self.temperature, values), tokens
            )
            extra["expected_values"] = torch.where(mask, expected, 0.0)
        if ranks is not None:
            with torch.no_grad():
                rank, spread = predictions.statistics(self._ranks, tokens, ranks.to(self.device))
                extra |= {"ranks": rank * mask, "surprisal_sd": spread * mask}
        log_probs, nats, extra["likeliest"] = (torch.where(mask, x, 0.0) for x in (log_probs, nats, likeliest))
        return Scores(log_probs, nats, **extra)

    def _ranks(self, logits: torch.Tensor, *tables: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return surprisal_rank(log_distribution(logits.detach(), self.temperature), *tables)

    @torch.no_grad()
    def sampler_evidence(self, rollouts: Rollouts) -> torch.Tensor:
        """``[J, 2]`` evidence that the tokens came from another sampler: see :func:`alternatives.evidence`."""
        self._require_eval()
        tokens = self._padded_tokens(rollouts)
        mask = rollouts.mask.to(self.device)
        parts = [
            alternatives.of_responses(
                logits, tokens, mask, rollouts.prompt_ids, first, temperature=self.temperature, end_ids=self.eos_ids
            )
            for first, logits in self._predictions(rollouts, tokens).pieces()
        ]
        return torch.stack(parts).sum(0)

    @torch.no_grad()
    def draw_gaps(self, rollouts: Rollouts, uniforms: torch.Tensor) -> torch.Tensor:
        """``[P, G, L]``: by how much probability each token misses its number of ``uniforms``."""
        self._require_eval()
        tokens, uniforms = self._padded_tokens(rollouts), uniforms.to(self.device)
        parts = []
        for first, logits in self._predictions(rollouts, tokens).pieces():
            span = slice(first, first + logits.shape[2])
            parts.append(draw_gap(log_distribution(logits, self.temperature), tokens[:, :, span], uniforms[:, :, span]))
        return torch.cat(parts, dim=2) * rollouts.mask.to(self.device)

    def _padded_tokens(self, rollouts: Rollouts) -> torch.Tensor:
        """``[P, G, L]`` on the device, with a real token id wherever nothing counts."""
        tokens, mask = rollouts.tokens.to(self.device), rollouts.mask.to(self.device)
        return torch.where(mask, tokens, tokens.new_full((), self.eos_ids[0] if self.eos_ids else 0))

    def _predictions(self, rollouts: Rollouts, tokens: torch.Tensor) -> Predictions:
        """What the model says of each response token, whole or, where that table would be large, in pieces."""
        rows, length = tokens.shape[0] * tokens.shape[1], tokens.shape[2]
        positions = max(1, TABLE_ENTRIES // (rows * int(self.model.config.vocab_size)))
        if not self.share_prompt:
            return Whole(self._logits(rollouts, tokens))
        if positions >= length or not self._plain_head:
            return Whole(self._logits_shared(rollouts, tokens))
        hidden = self._shared(rollouts, tokens, self.model.base_model)
        return Piecewise(hidden, self.model.get_output_embeddings(), tokens.shape[1], positions)

    @cached_property
    def _plain_head(self) -> bool:
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

    def _logits_shared(self, rollouts: Rollouts, tokens: torch.Tensor) -> torch.Tensor:
        """``[P, G, L, V]`` logits that predict each response token; the prompt is computed once per group."""
        return self._shared(rollouts, tokens, self.model).reshape(*tokens.shape, -1)

    def _shared(self, rollouts: Rollouts, tokens: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
        """``[P * G, L, V or H]``: the model's logits, or its body's last hidden states."""
        group, length = tokens.shape[1:]
        with row_groups(1):
            last, cache, kept = self._prefill(rollouts.prompt_ids, model)
        first = last.repeat_interleave(group, dim=0).unsqueeze(1)
        if length > 1:
            cache.batch_repeat_interleave(group)
            kept = kept.repeat_interleave(group, dim=0)
            start = kept.sum(-1, keepdim=True)
            steps = torch.arange(length - 1, device=self.device)
            kept = torch.cat([kept, kept.new_ones(len(kept), length - 1)], dim=1)
            inputs = tokens.reshape(-1, length)[:, :-1]
            with row_groups(group):
                rest = self._forward(inputs, kept, start + steps, cache, model=model)
            first = torch.cat([first, rest], dim=1)
        return first

    def _logits(self, rollouts: Rollouts, tokens: torch.Tensor) -> torch.Tensor:
        """The same by one plain forward over prompt + response, for models whose cache cannot be shared."""
        prompts, group, length = tokens.shape
        ids, kept = self._left_padded(rollouts.prompt_ids)
        ids = torch.cat([ids.repeat_interleave(group, dim=0), tokens.reshape(-1, length)], dim=1)
        kept = kept.repeat_interleave(group, dim=0)
        kept = torch.cat([kept, kept.new_ones(len(kept), length)], dim=1)
        positions = (kept.cumsum(-1) - 1).clamp(min=0)
        with row_groups(group):
            logits = self._forward(ids, kept, positions, None, keep=length + 1)
        return logits[:, :-1].reshape(prompts, group, length, -1)

    # ------------------------------------------------------------------ the forward pass

    def _left_padded(self, prompt_ids: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """``[P, T]`` ids padded on the left and the mask of what is real."""
        longest = max(map(len, prompt_ids))
        filler = self.eos_ids[0] if self.eos_ids else 0
        ids = [[filler] * (longest - len(row)) + list(row) for row in prompt_ids]
        kept = [[0] * (longest - len(row)) + [1] * len(row) for row in prompt_ids]
        return torch.tensor(ids, device=self.device), torch.tensor(kept, device=self.device)

    def _prefill(
        self, prompt_ids: Sequence[Sequence[int]], model: torch.nn.Module | None = None, *, room: int = 0
    ) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
        """Run the prompts: logits of the first response token ``[P, V]`` (or what ``model`` gives), cache, mask.

        With ``room`` the cache is one for decoding that many tokens, without gradients.
        """
        ids, kept = self._left_padded(prompt_ids)
        positions = (kept.cumsum(-1) - 1).clamp(min=0)
        config = self.model.config
        cache = decoding_cache(config, room) if room else DynamicCache(config=config)
        logits = self._forward(ids, kept, positions, cache, keep=1, model=model)
        return logits[:, -1], cache, kept

    def _forward(
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
            **{self._cache_argument: cache},
            **more,
        )
        return out.logits if model is self.model else out.last_hidden_state

    @cached_property
    def _cache_argument(self) -> str:
        """What the model's forward calls its key/value cache: transformers 5.24 renamed it."""
        return "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"

    def _require_eval(self) -> None:
        live = [name for name, module in self.model.named_modules() if module.training]
        if live:
            raise RunError(
                f"{len(live)} modules are in training mode (first: {live[0] or 'the model itself'}): dropout "
                "would be live while sampling or scoring; call policy.model.eval()"
            )

    def _require_room(self, tokens: int) -> None:
        if self.positions is not None and tokens > self.positions:
            raise RunError(
                f"prompt and response need {tokens} tokens, the model has {self.positions} positions; "
                "lower max_new_tokens or leave out the longest prompts"
            )
