"""Places where devices meet, and what each would look like with them mixed: faults the device test has to see."""

from __future__ import annotations
import __future__

import ast
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """A function (``module:qualified.name``) and the one text in it that is replaced."""

    name: str
    function: str
    old: str
    new: str
    variant: str = "lora float32"


PLACES = [
    Place("uniform numbers of the sampler", "policy.sampling:sample", "uniforms.to(policy.device)", "uniforms"),
    Place("the sampler's tables",
          "policy.sampling_record:Recorder.__init__", "dtype=dtype, device=device", "dtype=dtype"),
    Place("weights of the loss", "probe.derivatives.gradient:Loss.value", ".to(forced.log_probs.device)", ""),
    Place("gradient of the loss", "probe.parameter_vectors:PlainSum.add", "tensor.double().cpu()", "tensor.double()"),
    Place("lengths of the update batch", "probe.update.batch:UpdateBatch.token_weights", "lengths.cpu()", "lengths",
          "lora bfloat16"),
    Place("parameters for the oracle", "probe.update.batch:take_update", "p.detach().cpu()", "p.detach()"),
    Place("totals to numpy", "probe.diagnostics.importance_sampling:TotalsPiece.compute", ".sum(-1).cpu()", ".sum(-1)"),
    Place("a step along u", "probe.diagnostics.importance_sampling:moved", "device=parameter.device, ", ""),
    Place("rounding of a step", "probe.diagnostics.importance_sampling:step_rounding", "device=parameter.device", ""),
    Place("numbers of the draws' check", "policy.teacher_forcing:draw_discrepancies",
          "uniforms.to(policy.device)", "uniforms"),
    Place("direction of the tangents", "probe.derivatives.tangent:Tangent.__init__", "device=parameter.device, ", ""),
    Place("derivatives to numpy", "probe.derivatives.derivative_piece:_derivative", "grad.cpu()", "grad"),
    Place("scores kept",
          "probe.derivatives.derivative_piece:_detached",
          "forced.entropies.detach().cpu()", "forced.entropies.detach()"),
    Place("tables of action values", "policy.action_values:ControlVariateTables.on", "table.to(device)", "table"),
    Place("tables learnt", "probe.control_variate:_pieces", "double().cpu()", "double()"),
    Place("tokens learnt from", "probe.control_variate:_Choices.of", "table.cpu()", "table"),
    Place("log-probabilities a step away", "probe.squared_scores:LogProbsPiece.compute", "double().cpu()", "double()",
          "a value of prefixes"),
    Place("squared scores", "probe.table_choice:UsesPiece.compute", "self.squared_scores.to(alive)",
          "self.squared_scores", "a value of prefixes"),
    Place("equal responses", "policy.equal_responses:_responses", "rows.to(part.tokens.device)", "rows",
          "a value of prefixes"),
    Place("places of equal responses",
          "policy.equal_responses:_copied", "places.to(forced.log_probs.device)", "places",
          "a value of prefixes"),
    Place("ranks", "policy.teacher_forcing:scores", "ranks.to(policy.device)", "ranks"),
    Place("plain backward of the self-check", "probe.oracles.hooks:plain_backward", "g.double().cpu()", "g.double()"),
    Place("backward of the definition", "probe.oracles.run:by_definition", "grad.double().cpu()", "grad.double()"),
    Place("sampler against scorer", "probe.diagnostics.discrepancies:largest_discrepancy", "a.cpu()", "a"),
    Place("end tokens", "probe.diagnostics.discrepancies:sampler_discrepancies", ", device=rollouts.tokens.device", ""),
    Place("mask of the tokens kept", "probe.diagnostics.token_evidence:token_arrays",
          "rollouts.mask.cpu()", "rollouts.mask"),
    Place("sums of the sampler's evidence", "probe.diagnostics.token_evidence:LogRatiosPiece.compute", ".cpu()", ""),
    Place("tokens of the prompt", "policy.alternatives:_first_occurrences",
          "(filled, device=tokens.device)", "(filled)"),
    Place("parameters of the linearisation", "probe.setup:Setup.linearisation", ".detach().cpu()", ".detach()",
          "lora bfloat16"),
    Place("lengths of a result", "probe.measure.run_record:_means", "double().cpu()", "double()"),
    Place("first surprises",
          "probe.derivatives.derivative_piece:expected_first_surprises", ".sum((1, 2)).cpu()", ".sum((1, 2))"),
    Place("columns of entropy per token",
          "probe.measure.entropy_unit:_columns", "mean(1).cpu()", "mean(1)", "full bfloat16"),
    Place("maps of DoRA",
          "policy.dora:_layer", "(value.detach().double().cpu()", "(value.detach().double()", "dora"),
]  # fmt: skip


@contextmanager
def mixed(place: Place) -> Iterator[None]:
    """Within the block the function is the changed one, for everyone who has imported it."""
    function = _function(place.function)
    before = function.__code__
    function.__code__ = _changed(function, place.old, place.new).__code__
    try:
        yield
    finally:
        function.__code__ = before


def _function(name: str) -> Any:
    module, path = name.split(":")
    found: Any = importlib.import_module(f"pytest_entropy.{module}")
    for part in path.split("."):
        found = getattr(found, part)
    return inspect.unwrap(getattr(found, "__func__", found))


def _changed(function: Any, old: str, new: str) -> Any:
    source = textwrap.dedent(inspect.getsource(function))
    assert old in source, f"{function.__qualname__} has no {old!r} any more"
    tree = ast.parse(source.replace(old, new))
    definition: Any = tree.body[0]
    definition.decorator_list = []
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    flags = __future__.annotations.compiler_flag
    names: dict[str, Any] = dict(function.__globals__)
    exec(compile(tree, function.__code__.co_filename, "exec", flags, True), names)
    return names[function.__name__]
