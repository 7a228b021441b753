"""Learning rates, betas, eps, weight decay and step count are those in the optimizer's file."""

from __future__ import annotations

from pytest_entropy.checks.bookkeeping.base import read_again

CHECK = read_again(
    "optimizer_scalars_are_stored",
    "learning rate, betas, eps, weight decay and step of every parameter are those in the optimizer's file",
    "settings or a step count that the optimizer's file does not hold: of another group, step or default",
    "optimizer_scalars",
)
