"""Invert the cumulative distribution of a large vocabulary in float64 without a float64 table of its size.

Probabilities are summed in float64 by blocks, a few thousand tokens at a time.  The block of a random number is found
among the cumulative sums of the blocks, and the token among the cumulative probabilities within that block.
"""

from __future__ import annotations

import torch

# Tokens of a block.
BLOCK = 128
# Tokens whose probabilities are held in float64 at once; a multiple of BLOCK.
SPAN = 2**14


def invert(log_probs: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The first token whose cumulative probability exceeds u times the total, ``[rows]`` int64.

    Sums are grouped otherwise than in one cumulative sum, which moves the ends of a token's interval by about 1e-16.
    A token of probability zero is never the result.

    Args:
        log_probs: ``[rows, V]`` nats.
        uniform: ``[rows]`` random numbers in [0, 1).
    """
    size = log_probs.shape[-1]
    ends = torch.cat([_block_sums(span) for span in log_probs.split(SPAN, dim=-1)], dim=-1).cumsum(-1)
    target = (uniform.double() * ends[:, -1]).unsqueeze(-1)
    block = torch.searchsorted(ends, target, right=True).clamp_(max=ends.shape[-1] - 1)
    before = torch.where(block > 0, ends.gather(-1, (block - 1).clamp(min=0)), 0.0)
    tokens = block * BLOCK + torch.arange(BLOCK, device=log_probs.device)
    log_p = log_probs.gather(-1, tokens.clamp(max=size - 1)).double()
    p = torch.where(tokens < size, log_p.exp(), 0.0)
    cumulative = p.cumsum(-1)
    place = torch.searchsorted(before + cumulative, target, right=True)
    # The block's two sums are rounded differently: if only the other one exceeds the target, its last token does.
    last = (cumulative < cumulative[:, -1:]).sum(-1, keepdim=True)
    place = torch.minimum(place, last)
    return (block * BLOCK + place).squeeze(-1)


def _block_sums(log_probs: torch.Tensor) -> torch.Tensor:
    """Probabilities of the blocks of some tokens, ``[rows, blocks]`` float64; the last block may be shorter."""
    p = log_probs.double().exp_()
    p = torch.nn.functional.pad(p, (0, -p.shape[-1] % BLOCK))
    return p.reshape(len(p), -1, BLOCK).sum(-1)
