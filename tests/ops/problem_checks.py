"""Random problems against the definition: the loss and all gradients, within the dtype's reach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from loss_gradients import loss_and_gradients, true_loss_and_gradients
from random_problems import Problem
from torch import Tensor

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.negative_mask import MaskingRule
from hybrid_fast.ops.tensor_fields import per_passage, per_query

# Of a gradient, relative to its terms: bfloat16 rounds W, float16 the gradients themselves.
TOLERANCES = {
    torch.float64: 1e-11,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 1.5e-2,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class NothingLater(MaskingRule):
    """A rule of one's own: no passage of more than some years after the positive."""

    query_years: Tensor = per_query(torch.int64)
    passage_years: Tensor = per_passage(torch.int64)

    def excluded(self, positives: Tensor) -> Tensor:
        latest = self.passage_years[positives] + self.query_years
        return self.passage_years[None, :] > latest[:, None]


def with_rules(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as `info_nce` takes them: the definition has our rule spelt out."""
    names = list(NothingLater.layouts)
    others = {name: value for name, value in arguments.items() if name not in names}
    if len(others) == len(arguments):
        return others
    return others | {"rules": [NothingLater(**{name: arguments[name] for name in names})]}


def check(problem: Problem, backend: str, function=info_nce) -> None:
    """Compare a backend with the definition: the loss and all gradients."""
    arguments = problem.arguments()
    expected = true_loss_and_gradients(arguments)
    ours = with_rules(arguments) | problem.fast_options() | {"backend": backend}
    assert_close(problem, loss_and_gradients(function, ours), expected)


def assert_close(
    problem: Problem, found: dict[str, Tensor], expected: dict[str, Tensor], num_ranks: int = 1
) -> None:
    """Compare values by name with those of the definition, relative to the terms of each."""
    kinds, weights = problem.kinds, problem.tensors.get("weights")
    largest = 1.0 if weights is None else weights.detach().max().item()
    heaviest = 2 * max(1.0 if kinds.reduction == "mean" else largest, 1.0) * num_ranks
    # Terms may cancel: a logit reaches 1 / temperature, as does the gradient of an embedding.
    terms = heaviest / kinds.temperature
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        # What is returned in float32, for an argument that is, is rounded to it.
        rounding = torch.finfo(found[name].dtype).eps
        tolerance, scale = max(TOLERANCES[problem.dtype], rounding), terms
        if name == "loss":
            tolerance = 1e-13 if problem.dtype == torch.float64 else 5e-6
        elif name == "temperature":
            scale = terms / kinds.temperature
        assert found[name].shape == value.shape
        scale = max(scale, value.abs().max().item())
        error = (found[name] - value).abs().max().item()
        assert error <= tolerance * scale, f"{name}: {error:.2e} of {scale:.2e}"
