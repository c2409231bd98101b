"""The chunked loss as operators of torch, which torch.compile captures without graph breaks.

`losses` returns l_i of each row; its backward pass computes the gradient, with one more product.
`loss_and_gradients` returns sum a_i l_i together with all of its gradients, which the backward pass
multiplies by the upstream gradient. Operators take only tensors and plain values, so a problem
reaches them field by field, and kernels are made inside. Where nothing looks at operators a call
takes what they consist of: dispatching takes a sixth of the time of a small one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops import compat
from hybrid_fast.ops.backends.registry import BACKENDS
from hybrid_fast.ops.chunked import compute_gradients, compute_losses
from hybrid_fast.ops.flat_problem import SCHEMA, flatten, put_together, take_apart, unflatten
from hybrid_fast.ops.kernels import Kernels
from hybrid_fast.ops.negative_mask import NOTHING_EXCLUDED
from hybrid_fast.ops.problem import Problem, cast
from hybrid_fast.ops.reference import without_autocast

# A loss, l_i of each row, and the gradients of queries, passages and temperature.
Results = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


def info_nce_chunked(problem: Problem, coefficients: Tensor) -> Tensor:
    """Compute coefficient_i * l_i for each row, or their sum; see `info_nce_reference`.

    Args:
        problem: settled.
        coefficients: (B,), from `row_coefficients`, or 0-dim on the CPU: of each row.
    """
    # Autocast would compute norms in half precision.
    with without_autocast(problem.queries):
        if problem.normalize or problem.weights is not None:
            problem = _prepared(problem)
        needs_grad = [
            torch.is_grad_enabled() and tensor.requires_grad for tensor in problem.differentiable
        ]
        if problem.reduction != "none" and not problem.recompute and any(needs_grad):
            return loss(problem, coefficients, needs_grad)
        if problem.reduction != "none":
            return _reduced(problem, coefficients, losses(problem))
        return coefficients * losses(problem)


def _prepared(problem: Problem) -> Problem:
    """Return the problem of normalised embeddings, without weights: coefficients stand for them."""
    queries, passages, dtype = problem.queries, problem.passages, problem.compute_dtype
    if problem.normalize:
        # No longer in half precision: they are rounded only on request.
        queries = F.normalize(queries.to(dtype), dim=1)
        passages = F.normalize(passages.to(dtype), dim=1)
    return replace(problem, queries=queries, passages=passages, normalize=False, weights=None)


def losses(problem: Problem) -> Tensor:
    """Return l_i of each row, (B,); differentiable."""
    if _is_watched(problem):
        result: Tensor = _LOSSES(*flatten(problem))
        return result
    return _Losses.of(_losses, problem)


def loss(problem: Problem, coefficients: Tensor, needs_grad: Sequence[bool]) -> Tensor:
    """Return sum a_i l_i, which is differentiable; arguments as those of `gradients`."""
    if _is_watched(problem, coefficients):
        result: Tensor = _LOSS_AND_GRADIENTS(coefficients, needs_grad, None, *flatten(problem))[0]
        return result
    compute = partial(_loss_and_gradients, problem, coefficients, needs_grad, None)
    return _Loss.of(compute, problem, coefficients)


def gradients(
    problem: Problem,
    coefficients: Tensor,
    needs_grad: Sequence[bool],
    known_losses: Tensor | None,
) -> Sequence[Tensor | None]:
    """Return the gradients of sum a_i l_i, None or empty where they are not needed.

    Args:
        problem: see `compute_gradients`.
        coefficients: (B,), a_i.
        needs_grad: whether queries, passages and temperature need their gradient.
        known_losses: (B,), l_i, if known.
    """
    arguments = coefficients, needs_grad, known_losses
    if _is_watched(problem, coefficients):
        results: Results = _LOSS_AND_GRADIENTS(*arguments, *flatten(problem))
        return results[2:]
    with without_autocast(problem.queries):
        return _gradients(problem, *arguments)[1:]


def _is_watched(problem: Problem, *more: Tensor) -> bool:
    """Tell whether anything looks at operators, or may, as a tensor of a class of its own."""
    if torch.compiler.is_compiling():
        return True
    tensors = [*problem.differentiable, *more]
    if problem.positives is not None:
        tensors.append(problem.positives)
    mask = problem.negative_mask
    if mask is not NOTHING_EXCLUDED:
        tensors += [tensor for part in (mask, *mask.rules) for _, tensor, _ in part.tensors()]
    return compat.is_watched(tensors)


def _make_kernels(problem: Problem, *, one_pass: bool) -> Kernels:
    make_kernels = BACKENDS[problem.backend].make_kernels
    assert make_kernels is not None
    return make_kernels(problem, one_pass)


def _losses(problem: Problem) -> Tensor:
    return compute_losses(problem, _make_kernels(problem, one_pass=False))


def _gradients(
    problem: Problem,
    coefficients: Tensor,
    needs_grad: Sequence[bool],
    known_losses: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Return l_i of each row and the gradients of queries, passages and temperature."""
    kernels = _make_kernels(problem, one_pass=known_losses is None and not problem.symmetric)
    row_losses, found = compute_gradients(
        problem, kernels, coefficients.contiguous(), needs_grad, known_losses
    )
    return row_losses, found.queries, found.passages, found.temperature


def _loss_and_gradients(
    problem: Problem,
    coefficients: Tensor,
    needs_grad: Sequence[bool],
    known_losses: Tensor | None,
) -> Results:
    found = _gradients(problem, coefficients, needs_grad, known_losses)
    return _reduced(problem, coefficients, found[0]), *found


def _reduced(problem: Problem, coefficients: Tensor, row_losses: Tensor) -> Tensor:
    """Return sum a_i l_i in as few operations as there are."""
    if coefficients.ndim == 1:
        return (coefficients * row_losses).sum()
    # Of each row the same, by `local_coefficients`.
    return row_losses.mean() if problem.reduction == "mean" else row_losses.sum()


class _Losses(torch.autograd.Function):
    @classmethod
    def of(cls, compute: Callable[[Problem], Tensor], problem: Problem) -> Tensor:
        result: Tensor = cls.apply(compute, problem, *problem.differentiable)
        return result

    @staticmethod
    def forward(
        ctx: Any, compute: Callable[[Problem], Tensor], problem: Problem, *embeddings: Tensor
    ) -> Tensor:
        row_losses = compute(problem)
        tensors, ctx.rest = take_apart(flatten(problem))
        ctx.save_for_backward(row_losses, *tensors)
        return row_losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        _refuse_a_graph()
        row_losses, *tensors = ctx.saved_tensors
        problem = unflatten(put_together(tensors, ctx.rest))
        needs = ctx.needs_input_grad[2:]
        # A symmetric loss is the mean of both directions, which the gradient needs apart.
        known = None if problem.symmetric else row_losses
        found = gradients(problem, upstream, needs, known)
        grads = [
            gradient.to(tensor.dtype) if needed and gradient is not None else None
            for gradient, tensor, needed in zip(found, problem.differentiable, needs, strict=True)
        ]
        return None, None, *grads


class _Loss(torch.autograd.Function):
    """A loss whose gradients are computed with it."""

    @classmethod
    def of(cls, compute: Callable[[], Results], problem: Problem, coefficients: Tensor) -> Tensor:
        result: Tensor = cls.apply(compute, coefficients, *problem.differentiable)
        return result

    @staticmethod
    def forward(
        ctx: Any, compute: Callable[[], Results], coefficients: Tensor, *embeddings: Tensor
    ) -> Tensor:
        loss, *rest = compute()
        ctx.save_for_backward(*rest)
        ctx.dtypes = [tensor.dtype for tensor in embeddings]
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        return None, *_times_upstream(ctx, upstream, ctx.needs_input_grad[1:])


def _times_upstream(ctx: Any, upstream: Tensor, needs_grad: Sequence[bool]) -> list[Tensor | None]:
    """Return the gradients of coefficients and embeddings, from those that were saved."""
    _refuse_a_graph()
    row_losses, *saved = ctx.saved_tensors
    needs_coefficients, *needs = needs_grad
    multiply = _multiplier(upstream)
    grads: list[Tensor | None] = [row_losses * upstream if needs_coefficients else None]
    for gradient, dtype, needed in zip(saved, ctx.dtypes, needs, strict=True):
        grads.append(multiply(gradient, dtype) if needed else None)
    return grads


def _multiplier(upstream: Tensor) -> Callable[[Tensor, torch.dtype], Tensor]:
    """Return what multiplies a saved gradient, and gives it a dtype, in one operation.

    In place unless the gradient may be read again: a retained graph does so, and a trace of
    torch.compile, which has tensors of another class.
    """
    if type(upstream) is not Tensor:
        return lambda gradient, dtype: (gradient * upstream).to(dtype)
    is_kept = compat.keeps_graph()
    # Most often it is 1. A GPU would be waited for.
    if upstream.is_cpu and not is_kept and float(upstream) == 1:
        return cast

    def multiply(gradient: Tensor, dtype: torch.dtype) -> Tensor:
        in_place = gradient.dtype == dtype and not is_kept
        out = gradient if in_place else torch.empty_like(gradient, dtype=dtype)
        return torch.mul(gradient, upstream, out=out)

    return multiply


def _refuse_a_graph() -> None:
    """Raise if a second derivative is asked for, which would be silently wrong."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "create_graph=True needs a second derivative, which this backend of info_nce does not "
            "have; use backend='reference'"
        )


_LIBRARY = torch.library.Library("hybrid_fast", "DEF")


def _define_losses() -> Callable[..., Tensor]:
    """Define `losses` as an operator and return it."""
    name = "info_nce_losses"
    _LIBRARY.define(f"{name}({SCHEMA}) -> Tensor")
    operator: Callable[..., Tensor] = getattr(torch.ops.hybrid_fast, name).default

    def below_autograd(problem: Problem) -> Tensor:
        with compat.BelowAutograd():
            return operator(*flatten(problem))

    def compute(*values: Any) -> Tensor:
        problem = unflatten(values)
        with without_autocast(problem.queries):
            return _losses(problem)

    def fake(*values: Any) -> Tensor:
        problem = unflatten(values)
        return problem.queries.new_empty(problem.queries.shape[0], dtype=problem.compute_dtype)

    _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, lambda *values: _Losses.of(below_autograd, unflatten(values)), "Autograd")
    torch.library.register_fake(f"hybrid_fast::{name}", fake, lib=_LIBRARY)
    return operator


def _define_loss_and_gradients() -> Callable[..., Results]:
    """Define `loss_and_gradients` as an operator and return it."""
    name, num_own = "info_nce_loss_and_gradients", 3
    own = "Tensor coefficients, bool[] needs_grad, Tensor? known_losses"
    _LIBRARY.define(f"{name}({own}, {SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)")
    operator: Callable[..., Results] = getattr(torch.ops.hybrid_fast, name).default

    def below_autograd(*values: Any) -> Results:
        with compat.BelowAutograd():
            return operator(*values)

    def compute(*values: Any) -> list[Tensor]:
        problem = unflatten(values[num_own:])
        with without_autocast(problem.queries):
            results = _loss_and_gradients(problem, *values[:num_own])
        return [values[0].new_empty(0) if tensor is None else tensor for tensor in results]

    def differentiable(*values: Any) -> Results:
        computed: list[Results] = []

        def compute_once() -> Results:
            computed.append(below_autograd(*values))
            return computed[0]

        loss = _Loss.of(compute_once, unflatten(values[num_own:]), values[0])
        return loss, *computed[0][1:]

    def fake(*values: Any) -> list[Tensor]:
        problem, needs_grad = unflatten(values[num_own:]), values[1]
        new_empty = partial(problem.queries.new_empty, dtype=problem.compute_dtype)
        shapes = [tensor.shape for tensor in problem.differentiable]
        grads = [
            new_empty(shape if needed else 0)
            for shape, needed in zip(shapes, needs_grad, strict=True)
        ]
        return [new_empty(()), new_empty(problem.queries.shape[0]), *grads]

    _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, differentiable, "Autograd")
    torch.library.register_fake(f"hybrid_fast::{name}", fake, lib=_LIBRARY)
    return operator


_LOSSES = _define_losses()
_LOSS_AND_GRADIENTS = _define_loss_and_gradients()
