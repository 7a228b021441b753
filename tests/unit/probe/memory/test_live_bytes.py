"""The count of live tensors is exact: what is made, kept by autograd and dropped, and nothing from before."""

from __future__ import annotations

import torch

from pytest_entropy import EntropyProbe, ProbeConfig, load_checkpoint
from pytest_entropy.probe.memory.live_bytes import MIB, LiveBytes, counted_run

CPU = torch.device("cpu")


def test_tensors_count_from_when_they_are_made_until_they_are_dropped() -> None:
    with LiveBytes() as live:
        a = torch.zeros(1000)
        assert live.now == 4000
        b = a + 1
        view = b[10:].reshape(-1, 2)
        assert live.now == 8000
        del b
        assert live.now == 8000, "the view holds it"
        del view
        a.mul_(2)
        assert (live.now, live.peak) == (4000, 8000)


def test_what_was_there_before_counts_nothing_whatever_its_view() -> None:
    weight = torch.randn(30, 20)
    with LiveBytes() as live:
        turned = weight.t()
        assert live.now == 0
        product = turned @ weight
        assert live.now == product.numel() * 4


def test_what_autograd_keeps_counts_until_the_graph_is_gone() -> None:
    x = torch.randn(50, requires_grad=True)
    with LiveBytes() as live:
        y = x.exp().exp()
        kept = live.now
        assert kept == 2 * 200, "the inner result is saved for the backward"
        y.sum().backward()
        del y
        assert x.grad is not None
        assert live.now == 200, "the gradient alone"


def test_a_counted_run_has_the_numbers_of_any_other_and_the_same_bytes_again() -> None:
    probe = EntropyProbe(load_checkpoint("demo"), ProbeConfig(B_U=2, G=2, max_new_tokens=4))
    update = probe.update(1)
    plain = probe.run(2, 0, update=update)
    first, peak = counted_run(lambda: probe.run(2, 0, update=update), CPU)
    second, again = counted_run(lambda: probe.run(2, 0, update=update), CPU)
    assert plain.per_prompt == first.per_prompt == second.per_prompt
    assert peak == again
    # A piece holds at least the logits of its tokens.
    assert peak * MIB > 2 * 2 * probe.policy.model.config.vocab_size * 4
