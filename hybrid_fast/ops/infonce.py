"""The public InfoNCE function: checks its arguments once, then calls one of several backends.

All backends compute what `reference.py` defines; they differ in speed, memory, and in the devices
and precisions that they support.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Unpack

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_fast.common.choices import check_choice
from hybrid_fast.ops.agreement import Call
from hybrid_fast.ops.backends import gpu
from hybrid_fast.ops.distributed import Compute, Ranks, gather_passages, share_of_global_loss
from hybrid_fast.ops.inputs import (
    BACKENDS,
    InfoNCEInputs,
    InfoNCEOptions,
    InfoNCETensors,
    check_embeddings,
    check_flag,
    check_hard_negatives,
    check_mask_width,
    check_options,
    check_positives,
    check_values,
    plain,
)
from hybrid_fast.ops.operators import info_nce_chunked
from hybrid_fast.ops.reference import info_nce_reference, row_coefficients, row_weights


@dataclass(frozen=True)
class _Backend:
    compute: Compute
    device_types: tuple[str, ...] | None  # None: any
    is_installed: bool
    shares_columns: bool  # see `share_of_global_loss`
    precisions: tuple[str | None, ...]

    def runs_on(self, device_type: str) -> bool:
        """Tell whether it is installed and computes on a kind of device."""
        return self.is_installed and (self.device_types is None or device_type in self.device_types)


def _reference(inputs: InfoNCEInputs, coefficients: Tensor, ranks: Ranks | None) -> Tensor:
    return info_nce_reference(inputs, coefficients)


_BACKENDS = {
    "triton": _Backend(
        partial(info_nce_chunked, "triton"), ("cuda",), gpu.HAS_TRITON, True, (None, "bf16")
    ),
    "cpu": _Backend(partial(info_nce_chunked, "cpu"), ("cpu",), True, True, (None, "bf16")),
    "reference": _Backend(_reference, None, True, False, (None,)),
}


def info_nce(
    queries: Tensor,
    passages: Tensor,
    *,
    temperature: float | Tensor = 0.05,
    positives: Tensor | None = None,
    query_groups: Tensor | None = None,
    passage_groups: Tensor | None = None,
    query_passage_ids: Tensor | None = None,
    passage_ids: Tensor | None = None,
    mask: Tensor | None = None,
    margin: float | None = None,
    weights: Tensor | None = None,
    symmetric: bool = False,
    reduction: str = "mean",
    normalize: bool = False,
    negatives: str = "all",
    backend: str = "auto",
    precision: str | None = None,
    check: bool = False,
    recompute: bool = False,
    max_scratch_bytes: int | None = None,
    process_group: dist.ProcessGroup | None = None,
) -> Tensor:
    """Compute the InfoNCE loss: each query's positive is contrasted with the other passages.

    l_i = log sum_{j in A_i} exp(s_ij) - s_{i,c(i)}, with s = queries @ passages.T / temperature,
    c(i) the positive column of row i, and A_i all columns that no argument below excludes. The
    positive is never excluded. Deterministic: equal calls give bitwise identical results.

    Args:
        queries: (B, D) float16, bfloat16, float32 or float64.
        passages: (N, D), N >= B, same dtype: positives and, if any, hard negatives.
        temperature: a number or a 0-dim tensor, which then gets a gradient. Scores are divided
            by it.
        positives: int64 (B,), c(i). Default: 0, 1, .., B - 1.
        query_groups: int64 (B,). With `passage_groups`: excludes the columns of i's group. In
            groups and ids, -1 matches nothing.
        passage_groups: int64 (N,).
        query_passage_ids: int64 (B,), passage id of i's positive. Default:
            `passage_ids[positives]`.
        passage_ids: int64 (N,). Excludes columns with the passage id of i's positive.
        mask: bool (B, N), True = excluded. With `process_group` N counts the passages of all
            ranks, in rank order.
        margin: excludes columns that score more than this above the positive. Compares scores
            before temperature, after `normalize`, without gradient.
        weights: (B,) floating, at least 0, w_i; their sum must be finite.
        symmetric: half the sum of this loss and that of each positive against the queries
            k != i that do not exclude it from their row and have another positive column.
        reduction: "none" returns w_i l_i, "sum" their sum, "mean" sum / sum of w (0 with zero
            gradients if all weights are 0).
        normalize: divide queries and passages by their Euclidean norm first.
        negatives: "all", or "hard_only": only columns that are no row's positive.
        backend: "auto" takes the fastest one that supports the call.
        precision: None multiplies embeddings in their dtype, with sums at least in float32 (TF32
            only where torch's own setting allows it). "bf16" rounds float32 or float16 embeddings
            to bfloat16 first, which changes gradients by some thousandths; logits and sums remain
            float32. `backend="reference"` does not support it. No global setting of torch is
            touched.
        check: check values on a GPU too, which synchronises with it; on the CPU values are always
            checked. Under torch.compile values are not checked.
        recompute: by default the fast backends compute the gradient with the loss, so a loss that
            is never back-propagated costs three times what it must. True computes the gradient in
            the backward pass, with one more matrix product. (Reduction "none" always does.)
        max_scratch_bytes: limits what the fast backends hold besides gradients: the scores of a
            chunk of rows and, on a GPU, their gradient. A chunk has at least 128 rows.
            Default: 2 GiB on a GPU; on the CPU 8 MiB, 16 MiB for products of bfloat16.
        process_group: takes the passages of all its ranks as negatives (for `symmetric` also the
            queries); all ranks call together with the same options, their batches may differ in
            size. Rank r returns W * sum_local(w l) / sum_all(w), so that the mean over the W ranks
            is the loss, and the mean of their gradients the gradient, of the global batch ("sum":
            W * sum_local(w l); "none": w_i l_i of this rank). Other arguments are those of this
            rank; `positives` counts within its passages.

    Returns:
        0-dim, for reduction "none" (B,). float64 for float64 embeddings, else float32.

    Raises:
        TypeError: if an argument has the wrong type or dtype.
        ValueError: if shapes, devices, options or values do not fit; for values the message names
            the first bad row.
    """
    call = None if process_group is None else Call(process_group)
    with nullcontext() if call is None else call.refused_together():
        check_embeddings(queries, passages)
        columns = positives
        if columns is None:
            columns = torch.arange(queries.shape[0], device=queries.device)
        inputs = InfoNCEInputs(
            queries=queries,
            passages=passages,
            positives=columns,
            all_positives=columns,
            temperature=plain(temperature),
            query_groups=query_groups,
            passage_groups=passage_groups,
            query_passage_ids=query_passage_ids,
            passage_ids=passage_ids,
            mask=mask,
            margin=plain(margin),
            weights=weights,
            symmetric=symmetric,
            reduction=reduction,
            normalize=normalize,
            negatives=negatives,
            recompute=recompute,
            precision=precision,
            max_scratch_bytes=max_scratch_bytes,
        )
        check_options(inputs)
        check_flag("check", check)
        chosen = _select_backend(backend, precision, queries.device.type)
        check = (check or queries.device.type == "cpu") and not torch.compiler.is_compiling()
        if check:
            check_values(inputs)
            if positives is not None:
                check_positives(positives, passages.shape[0])
        # The default positives are known without reading them, so they may be checked on a GPU.
        checks_columns = negatives == "hard_only" and (check or positives is None)
        if call is not None:
            checks_columns = call.exchange_sizes(inputs, chosen, checks_columns)
    if call is not None and call.ranks is not None:
        inputs = gather_passages(inputs, call.ranks)
    elif mask is not None:
        check_mask_width(mask.shape[1], passages.shape[0])
    if checks_columns:
        check_hard_negatives(inputs)
    computed_by = _BACKENDS[chosen]
    if call is not None and call.ranks is not None:
        return share_of_global_loss(
            computed_by.compute, computed_by.shares_columns, inputs, call.ranks
        )
    return _local_loss(computed_by.compute, inputs)


def _local_loss(compute: Compute, inputs: InfoNCEInputs) -> Tensor:
    if inputs.weights is None:
        num_rows = inputs.queries.shape[0]
        each = 1 / num_rows if inputs.reduction == "mean" else 1.0
        coefficients = inputs.queries.new_full((num_rows,), each, dtype=inputs.compute_dtype)
    else:
        weights = row_weights(inputs)
        coefficients = row_coefficients(weights, weights.sum(), inputs.reduction)
    return compute(inputs, coefficients, None)


class InfoNCEArguments(InfoNCEOptions, InfoNCETensors, total=False):
    """The arguments of `info_nce` except embeddings and temperature."""


class InfoNCEGradients(NamedTuple):
    """Gradients of a loss; that of the temperature is None if it is a number."""

    queries: Tensor
    passages: Tensor
    temperature: Tensor | None


def value_and_grad(
    queries: Tensor,
    passages: Tensor,
    *,
    temperature: float | Tensor = 0.05,
    **options: Unpack[InfoNCEArguments],
) -> tuple[Tensor, InfoNCEGradients]:
    """Compute the loss and its gradients, for callers that back-propagate by themselves.

    Args:
        queries: (B, D); need not require a gradient.
        passages: (N, D), likewise.
        temperature: a number or a 0-dim tensor.
        **options: of `info_nce`.

    Returns:
        The loss, 0-dim and detached, and the gradients, with the dtypes of the arguments.

    Raises:
        TypeError: as `info_nce`.
        ValueError: as `info_nce`, and for reduction "none", which has no single gradient.
    """
    if options.get("reduction") == "none":
        raise ValueError("value_and_grad needs reduction 'mean' or 'sum'; got 'none'")
    learned = temperature.detach().requires_grad_() if isinstance(temperature, Tensor) else None
    leaves = [queries.detach().requires_grad_(), passages.detach().requires_grad_()]
    with torch.enable_grad():
        loss = info_nce(
            leaves[0], leaves[1], temperature=temperature if learned is None else learned, **options
        )
        gradients = torch.autograd.grad(loss, leaves if learned is None else [*leaves, learned])
    grad_temperature = None if learned is None else gradients[2]
    return loss.detach(), InfoNCEGradients(gradients[0], gradients[1], grad_temperature)


def _select_backend(name: str, precision: str | None, device_type: str) -> str:
    """Return the name of the backend to use: "auto" takes the first that supports the call."""
    check_choice("backend", name, ("auto", *BACKENDS))
    usable = [known for known, backend in _BACKENDS.items() if backend.runs_on(device_type)]
    if name != "auto":
        if name not in usable:
            why = f"not for tensors on {device_type!r}"
            if not _BACKENDS[name].is_installed:
                why = "not installed"
            available = ", ".join(map(repr, ("auto", *usable)))
            raise ValueError(f"backend {name!r} is {why}; available: {available}")
        usable = [name]
    for known in usable:
        if precision in _BACKENDS[known].precisions:
            return known
    supported = sorted({str(p) for known in usable for p in _BACKENDS[known].precisions})
    raise ValueError(
        f"backend {name!r} does not support precision {precision!r} for tensors on "
        f"{device_type!r}; it supports: {', '.join(supported)}"
    )
