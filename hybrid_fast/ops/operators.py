"""The chunked loss as operators of torch, which torch.compile captures without graph breaks.

`losses` returns l_i of each row; its backward pass computes the gradient, with one more product.
`loss_and_gradients` returns sum a_i l_i together with all of its gradients, which the backward pass
multiplies by the upstream gradient. Operators take only tensors and plain values, so the kernels
are made inside, and a process group is passed by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops import compat
from hybrid_fast.ops.backends import cpu, gpu
from hybrid_fast.ops.chunked import NegativeMask, Problem, compute_gradients, compute_losses
from hybrid_fast.ops.distributed import Ranks, SharedColumns
from hybrid_fast.ops.inputs import InfoNCEInputs
from hybrid_fast.ops.reference import without_autocast

_NUM_TENSORS = 7  # the first fields of `Settings`
_MAKE_KERNELS = {"cpu": cpu.make_kernels, "triton": gpu.make_kernels}


class Settings(NamedTuple):
    """The arguments of both operators after those of their own; the end of their schemas."""

    positives: Tensor
    row_groups: Tensor | None
    column_groups: Tensor | None
    row_ids: Tensor | None
    column_ids: Tensor | None
    mask: Tensor | None
    excluded_columns: Tensor | None
    margin: float | None
    symmetric: bool
    backend: str
    product_dtype: torch.dtype
    max_scratch_bytes: int | None
    group_name: str | None

    def problem(self, passages: Tensor, dtype: torch.dtype, *, one_pass: bool) -> Problem:
        """Return the problem, with kernels for passages (N, D) and sums of `dtype`.

        With `one_pass` losses and gradients come from the same scores.
        """
        make_kernels = _MAKE_KERNELS[self.backend]
        name = self.group_name
        return Problem(
            make_kernels(
                passages.contiguous(),
                dtype,
                self.product_dtype,
                self.max_scratch_bytes,
                one_pass=one_pass,
            ),
            self.positives,
            NegativeMask(*self[1:8]),
            self.symmetric,
            None if name is None else SharedColumns(compat.process_group(name)),
        )


def info_nce_chunked(
    backend: str, inputs: InfoNCEInputs, coefficients: Tensor, ranks: Ranks | None
) -> Tensor:
    """Compute coefficient_i * l_i for each row, or their sum; see `info_nce_reference`.

    Args:
        backend: "cpu" or "triton".
        inputs: checked.
        coefficients: (B,), from `row_coefficients`.
        ranks: for `symmetric`, the ranks that hold other rows of the same columns.
    """
    dtype, queries, passages = inputs.compute_dtype, inputs.queries, inputs.passages
    # Autocast would compute norms in half precision.
    with without_autocast(queries):
        if inputs.normalize:
            queries = F.normalize(queries.to(dtype), dim=1)
            passages = F.normalize(passages.to(dtype), dim=1)
        temperature = inputs.temperature
        if isinstance(temperature, Tensor):
            temperature = temperature.to(dtype)
        else:
            temperature = coefficients.new_full((), temperature)
        embeddings = queries, passages, temperature
        settings = _settings(backend, inputs, ranks)
        needs_grad = [tensor.requires_grad and torch.is_grad_enabled() for tensor in embeddings]
        if inputs.reduction != "none" and not inputs.recompute and any(needs_grad):
            return loss_and_gradients(*embeddings, coefficients, needs_grad, None, *settings)[0]
        weighted = coefficients * losses(*embeddings, *settings)
        return weighted if inputs.reduction == "none" else weighted.sum()


def _settings(backend: str, inputs: InfoNCEInputs, ranks: Ranks | None) -> Settings:
    row_ids = inputs.query_passage_ids
    if inputs.passage_ids is not None and row_ids is None:
        row_ids = inputs.passage_ids[inputs.positives]
    excluded = None
    if inputs.negatives == "hard_only":
        excluded = torch.zeros(len(inputs.passages), dtype=torch.bool, device=inputs.queries.device)
        excluded = excluded.index_fill(0, inputs.all_positives, True)
    return Settings(
        inputs.positives, inputs.query_groups, inputs.passage_groups, row_ids, inputs.passage_ids,
        inputs.mask, excluded, inputs.margin, inputs.symmetric, backend, _product_dtype(inputs),
        inputs.max_scratch_bytes, None if ranks is None else ranks.group.group_name,
    )  # fmt: skip


def _product_dtype(inputs: InfoNCEInputs) -> torch.dtype:
    if inputs.precision == "bf16":
        return torch.bfloat16
    # Normalised embeddings are no longer in half precision; they are rounded only on request.
    return inputs.compute_dtype if inputs.normalize else inputs.queries.dtype


def _losses(queries: Tensor, passages: Tensor, temperature: Tensor, *settings: Any) -> Tensor:
    with without_autocast(queries):
        call = Settings(*settings)
        problem = call.problem(passages, temperature.dtype, one_pass=False)
        queries = queries.to(call.product_dtype).to(problem.kernels.dtype).contiguous()
        return compute_losses(problem, queries, len(passages), temperature.reciprocal())


def _fake_losses(queries: Tensor, passages: Tensor, temperature: Tensor, *settings: Any) -> Tensor:
    return temperature.new_empty(queries.shape[0])


def _loss_and_gradients(
    queries: Tensor,
    passages: Tensor,
    temperature: Tensor,
    coefficients: Tensor,
    needs_grad: Sequence[bool],
    known_losses: Tensor | None,
    *settings: Any,
) -> tuple[Tensor, ...]:
    with without_autocast(queries):
        call = Settings(*settings)
        one_pass = known_losses is None and not call.symmetric
        problem = call.problem(passages, temperature.dtype, one_pass=one_pass)
        row_losses, gradients = compute_gradients(
            problem,
            queries.to(call.product_dtype).to(problem.kernels.dtype).contiguous(),
            len(passages),
            temperature.reciprocal(),
            coefficients.contiguous(),
            needs_grad,
            known_losses,
        )
        loss = (coefficients * row_losses).sum()
        grads = [
            temperature.new_empty(0) if gradient is None else gradient
            for gradient in (gradients.queries, gradients.passages, gradients.temperature)
        ]
        return loss, row_losses, *grads


def _fake_loss_and_gradients(
    queries: Tensor,
    passages: Tensor,
    temperature: Tensor,
    coefficients: Tensor,
    needs_grad: Sequence[bool],
    *others: Any,
) -> tuple[Tensor, ...]:
    return (
        temperature.new_empty(()),
        temperature.new_empty(queries.shape[0]),
        temperature.new_empty(queries.shape if needs_grad[0] else 0),
        temperature.new_empty(passages.shape if needs_grad[1] else 0),
        temperature.new_empty(() if needs_grad[2] else 0),
    )


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Callable[..., Any], *arguments: Any) -> Tensor:
        row_losses: Tensor = compute(*arguments)
        tensors = arguments[: 3 + _NUM_TENSORS]
        ctx.save_for_backward(row_losses, *tensors)
        ctx.plain_settings = arguments[len(tensors) :]
        return row_losses

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        _refuse_a_graph()
        row_losses, *embeddings = ctx.saved_tensors[:4]
        settings = Settings(*ctx.saved_tensors[4:], *ctx.plain_settings)
        needs = ctx.needs_input_grad[1:4]
        # A symmetric loss is the mean of both directions, which the gradient needs apart.
        known = None if settings.symmetric else row_losses
        _, _, *gradients = loss_and_gradients(*embeddings, upstream, needs, known, *settings)
        grads = [
            gradient.to(tensor.dtype) if needed else None
            for gradient, tensor, needed in zip(gradients, embeddings, needs, strict=True)
        ]
        return None, *grads, *[None] * len(settings)


class _LossAndGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, compute: Callable[..., Any], *arguments: Any) -> tuple[Tensor, ...]:
        loss, *saved = compute(*arguments)
        ctx.save_for_backward(*saved)
        ctx.mark_non_differentiable(*saved)
        ctx.set_materialize_grads(False)
        ctx.dtypes = [tensor.dtype for tensor in arguments[:3]]
        ctx.num_arguments = len(arguments)
        return loss, *saved

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None, *_: None) -> tuple[Any, ...]:
        _refuse_a_graph()
        if upstream is None:
            return (None,) * (1 + ctx.num_arguments)
        row_losses, *gradients = ctx.saved_tensors
        needs = ctx.needs_input_grad[1:5]
        multiply = _multiplier(upstream)
        grads = [
            multiply(gradient).to(dtype) if needed else None
            for gradient, dtype, needed in zip(gradients, ctx.dtypes, needs[:3], strict=True)
        ]
        grad_coefficients = row_losses * upstream if needs[3] else None
        return None, *grads, grad_coefficients, *[None] * (ctx.num_arguments - 4)


def _multiplier(upstream: Tensor) -> Callable[[Tensor], Tensor]:
    """Return what multiplies a saved gradient, in place unless it may be read again.

    A retained graph reads it again, and so does a trace of torch.compile, which has tensors of
    another class.
    """
    if compat.keeps_graph() or type(upstream) is not Tensor:
        return upstream.mul
    # Most often it is 1. A GPU would be waited for.
    if upstream.is_cpu and float(upstream) == 1:
        return lambda gradient: gradient
    return lambda gradient: gradient.mul_(upstream)


def _refuse_a_graph() -> None:
    """Raise if a second derivative is asked for, which would be silently wrong."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "create_graph=True needs a second derivative, which this backend of info_nce does not "
            "have; use backend='reference'"
        )


def _define(
    name: str, schema: str, compute: Callable[..., Any], fake: Callable[..., Any], autograd: Any
) -> Callable[..., Any]:
    """Define an operator of torch with its fake and its autograd implementation.

    Returns:
        What calls it or, where nothing looks at operators, what it consists of: dispatching takes
        a sixth of the time of a small call.
    """
    _LIBRARY.define(f"{name}{schema}")
    operator = getattr(torch.ops.hybrid_fast, name).default

    def below_autograd(*arguments: Any) -> Any:
        with compat.BelowAutograd():
            return operator(*arguments)

    def call(*arguments: Any) -> Any:
        if torch.compiler.is_compiling() or compat.is_watched(arguments):
            return operator(*arguments)
        return autograd.apply(compute, *arguments)

    _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, partial(autograd.apply, below_autograd), "Autograd")
    torch.library.register_fake(f"hybrid_fast::{name}", fake, lib=_LIBRARY)
    return call


_LIBRARY = torch.library.Library("hybrid_fast", "DEF")
_EMBEDDINGS = "Tensor queries, Tensor passages, Tensor temperature"
_SETTINGS = (
    "Tensor positives, Tensor? row_groups, Tensor? column_groups, Tensor? row_ids, "
    "Tensor? column_ids, Tensor? mask, Tensor? excluded_columns, float? margin, bool symmetric, "
    "str backend, ScalarType product_dtype, int? max_scratch_bytes, str? group_name"
)
losses = _define(
    "info_nce_losses",
    f"({_EMBEDDINGS}, {_SETTINGS}) -> Tensor",
    _losses,
    _fake_losses,
    _Losses,
)
# Returns the loss, l_i of each row, and the gradients of queries, passages and temperature, empty
# where not needed.
loss_and_gradients = _define(
    "info_nce_loss_and_gradients",
    f"({_EMBEDDINGS}, Tensor coefficients, bool[] needs_grad, Tensor? known_losses, {_SETTINGS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _loss_and_gradients,
    _fake_loss_and_gradients,
    _LossAndGradients,
)
