"""The chunked loss as operators of torch, which torch.compile takes whole.

`losses` gives l_i of each row; its backward pass computes the gradient, with one more product.
`loss_and_gradients` gives sum a_i l_i and, at once, all of its gradients, of which the backward
pass takes multiples. Operators take tensors and plain values alone, so kernels are made inside and
a process group comes by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.distributed_c10d import _resolve_process_group

from hybrid_fast.ops import cpu, gpu
from hybrid_fast.ops.chunked import Problem, Rules, compute_gradients, compute_losses
from hybrid_fast.ops.distributed import Ranks, SharedColumns
from hybrid_fast.ops.inputs import InfoNCEInputs

_NUM_TENSORS = 7  # of `Settings`, at its beginning
_MAKE_KERNELS = {"cpu": cpu.make_kernels, "triton": gpu.make_kernels}


class Settings(NamedTuple):
    """What both operators are told beside embeddings; the end of their schemas."""

    positives: Tensor
    row_groups: Tensor | None
    column_groups: Tensor | None
    row_ids: Tensor | None
    column_ids: Tensor | None
    mask: Tensor | None
    left_out_columns: Tensor | None
    margin: float | None
    symmetric: bool
    backend: str
    product_dtype: torch.dtype
    max_scratch_bytes: int | None
    group_name: str | None

    def problem(self, passages: Tensor, dtype: torch.dtype, *, one_pass: bool) -> Problem:
        """Return the problem, with kernels for passages (N, D) and sums of `dtype`.

        With `one_pass` the losses and the gradients come of the same scores.
        """
        make_kernels = _MAKE_KERNELS[self.backend]
        group: Any = self.group_name  # a type of its own to torch
        return Problem(
            make_kernels(
                passages.contiguous(),
                dtype,
                self.product_dtype,
                self.max_scratch_bytes,
                one_pass=one_pass,
            ),
            self.positives,
            Rules(*self[1:8]),
            self.symmetric,
            None if group is None else SharedColumns(_resolve_process_group(group)),
        )


def info_nce_chunked(
    backend: str, inputs: InfoNCEInputs, coefficients: Tensor, ranks: Ranks | None
) -> Tensor:
    """Compute coefficient_i * l_i for each row, or their sum; see `info_nce_reference`.

    Args:
        backend: "cpu" or "triton".
        inputs: checked.
        coefficients: (B,), from `row_coefficients`.
        ranks: for `symmetric`, those whose rows share the columns.
    """
    dtype, queries, passages = inputs.compute_dtype, inputs.queries, inputs.passages
    # Autocast would compute norms in half precision.
    with torch.autocast(queries.device.type, enabled=False):
        if inputs.normalize:
            queries = F.normalize(queries.to(dtype), dim=1)
            passages = F.normalize(passages.to(dtype), dim=1)
        temperature = inputs.temperature
        if not isinstance(temperature, Tensor):
            temperature = coefficients.new_full((), temperature)
        embeddings = queries, passages, temperature.to(dtype)
        settings = _settings(backend, inputs, ranks)
        needs = [tensor.requires_grad and torch.is_grad_enabled() for tensor in embeddings]
        if inputs.reduction != "none" and not inputs.recompute and any(needs):
            return loss_and_gradients(*embeddings, coefficients, needs[:2], None, *settings)[0]
        weighted = coefficients * losses(*embeddings, *settings)
        return weighted if inputs.reduction == "none" else weighted.sum()


def _settings(backend: str, inputs: InfoNCEInputs, ranks: Ranks | None) -> Settings:
    row_ids = inputs.query_passage_ids
    if inputs.passage_ids is not None and row_ids is None:
        row_ids = inputs.passage_ids[inputs.positives]
    left_out = None
    if inputs.negatives == "hard_only":
        left_out = torch.zeros(len(inputs.passages), dtype=torch.bool, device=inputs.queries.device)
        left_out = left_out.index_fill(0, inputs.all_positives, True)
    return Settings(
        inputs.positives, inputs.query_groups, inputs.passage_groups, row_ids, inputs.passage_ids,
        inputs.mask, left_out, inputs.margin, inputs.symmetric, backend, _product_dtype(inputs),
        inputs.max_scratch_bytes, None if ranks is None else ranks.group.group_name,
    )  # fmt: skip


def _product_dtype(inputs: InfoNCEInputs) -> torch.dtype:
    if inputs.precision == "bf16":
        return torch.bfloat16
    # Normalised embeddings are no longer of half precision: only who asks for it has them rounded.
    return inputs.compute_dtype if inputs.normalize else inputs.queries.dtype


def _losses(queries: Tensor, passages: Tensor, temperature: Tensor, *settings: Any) -> Tensor:
    with torch.autocast(queries.device.type, enabled=False):
        problem = Settings(*settings).problem(passages, temperature.dtype, one_pass=False)
        queries = queries.to(problem.kernels.dtype).contiguous()
        return compute_losses(problem, queries, len(passages), 1 / temperature)


def _fake_losses(queries: Tensor, passages: Tensor, temperature: Tensor, *settings: Any) -> Tensor:
    return temperature.new_empty(queries.shape[0])


def _loss_and_gradients(
    queries: Tensor,
    passages: Tensor,
    temperature: Tensor,
    coefficients: Tensor,
    needs: Sequence[bool],
    known_losses: Tensor | None,
    *settings: Any,
) -> tuple[Tensor, ...]:
    with torch.autocast(queries.device.type, enabled=False):
        told = Settings(*settings)
        one_pass = known_losses is None and not told.symmetric
        problem = told.problem(passages, temperature.dtype, one_pass=one_pass)
        of_rows, gradients = compute_gradients(
            problem,
            queries.to(problem.kernels.dtype).contiguous(),
            len(passages),
            1 / temperature,
            coefficients.contiguous(),
            (needs[0], needs[1]),
            known_losses,
        )
        loss = (coefficients * of_rows).sum()
        of_queries, of_passages = (
            temperature.new_empty(0) if gradient is None else gradient
            for gradient in (gradients.queries, gradients.passages)
        )
        return loss, of_rows, of_queries, of_passages, gradients.temperature


def _fake_loss_and_gradients(
    queries: Tensor,
    passages: Tensor,
    temperature: Tensor,
    coefficients: Tensor,
    needs: Sequence[bool],
    *others: Any,
) -> tuple[Tensor, ...]:
    return (
        temperature.new_empty(()),
        temperature.new_empty(queries.shape[0]),
        temperature.new_empty(queries.shape if needs[0] else 0),
        temperature.new_empty(passages.shape if needs[1] else 0),
        temperature.new_empty(()),
    )


class _Losses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            of_rows = losses(*arguments)
        tensors = arguments[: 3 + _NUM_TENSORS]
        ctx.save_for_backward(of_rows, *tensors)
        ctx.plain_settings = arguments[len(tensors) :]
        return of_rows

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:
        _refuse_a_graph()
        of_rows, *embeddings = ctx.saved_tensors[:4]
        settings = Settings(*ctx.saved_tensors[4:], *ctx.plain_settings)
        needs = ctx.needs_input_grad[:3]
        # Symmetric losses are those of both directions together.
        known = None if settings.symmetric else of_rows
        _, _, *gradients = loss_and_gradients(*embeddings, upstream, needs[:2], known, *settings)
        of_embeddings = [
            gradient.to(tensor.dtype) if needed else None
            for gradient, tensor, needed in zip(gradients, embeddings, needs, strict=True)
        ]
        return *of_embeddings, *[None] * len(settings)


class _LossAndGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        with torch._C._AutoDispatchBelowAutograd():
            loss, *saved = loss_and_gradients(*arguments)
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
            return (None,) * ctx.num_arguments
        of_rows, *gradients = ctx.saved_tensors
        needs = ctx.needs_input_grad
        # Out of place: a second pass over a retained graph finds what the first one found.
        of_embeddings = [
            (gradient * upstream).to(dtype) if needed else None
            for gradient, dtype, needed in zip(gradients, ctx.dtypes, needs[:3], strict=True)
        ]
        of_coefficients = of_rows * upstream if needs[3] else None
        return *of_embeddings, of_coefficients, *[None] * (ctx.num_arguments - 4)


def _refuse_a_graph() -> None:
    """Raise if a graph of the gradient is asked for: it would be silently cut."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "create_graph=True needs a second derivative, which this backend of info_nce does "
            "not have; use backend='reference'"
        )


def _define(
    name: str, schema: str, compute: Callable[..., Any], fake: Callable[..., Any], autograd: Any
) -> torch._ops.OpOverload:
    """Define an operator; `torch.library.custom_op` would cost 70 microseconds more a call."""
    _LIBRARY.define(f"{name}{schema}")
    _LIBRARY.impl(name, compute, "CompositeExplicitAutograd")
    _LIBRARY.impl(name, autograd.apply, "Autograd")
    torch.library.register_fake(f"hybrid_fast::{name}", fake, lib=_LIBRARY)
    return getattr(torch.ops.hybrid_fast, name).default


_LIBRARY = torch.library.Library("hybrid_fast", "DEF")
_EMBEDDINGS = "Tensor queries, Tensor passages, Tensor temperature"
_SETTINGS = (
    "Tensor positives, Tensor? row_groups, Tensor? column_groups, Tensor? row_ids, "
    "Tensor? column_ids, Tensor? mask, Tensor? left_out_columns, float? margin, bool symmetric, "
    "str backend, ScalarType product_dtype, int? max_scratch_bytes, str? group_name"
)
losses = _define(
    "info_nce_losses",
    f"({_EMBEDDINGS}, {_SETTINGS}) -> Tensor",
    _losses,
    _fake_losses,
    _Losses,
)
# The loss, l_i of each row, and gradients of queries, passages and temperature; empty where not
# needed.
loss_and_gradients = _define(
    "info_nce_loss_and_gradients",
    f"({_EMBEDDINGS}, Tensor coefficients, bool[] needs, Tensor? known_losses, {_SETTINGS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _loss_and_gradients,
    _fake_loss_and_gradients,
    _LossAndGradients,
)
