"""The public InfoNCE function: checks once, then one of several backends computes.

All backends compute what `reference.py` defines; they differ in speed, memory and in the devices
and precisions they know.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Unpack

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_fast.common.choices import check_choice
from hybrid_fast.ops import cpu, gpu
from hybrid_fast.ops.distributed import (
    Compute,
    Ranks,
    gather_passages,
    meet,
    share_of_global_loss,
)
from hybrid_fast.ops.inputs import (
    InfoNCEInputs,
    InfoNCEOptions,
    InfoNCETensors,
    check_embeddings,
    check_hard_negatives,
    check_mask_width,
    check_options,
    check_values,
)
from hybrid_fast.ops.operators import info_nce_chunked
from hybrid_fast.ops.reference import info_nce_reference, row_coefficients, row_weights

_BACKEND_NAMES = ("auto", "reference", "cpu", "triton")


@dataclass(frozen=True)
class _Backend:
    compute: Compute
    device_types: tuple[str, ...] | None  # None: any
    is_built: bool
    shares_columns: bool  # see `share_of_global_loss`
    precisions: tuple[str | None, ...]


def _reference(inputs: InfoNCEInputs, coefficients: Tensor, ranks: Ranks | None) -> Tensor:
    return info_nce_reference(inputs, coefficients)


# The fastest first.
_BACKENDS = {
    "triton": _Backend(
        partial(info_nce_chunked, "triton"), ("cuda",), gpu.IS_BUILT, True, (None, "bf16")
    ),
    "cpu": _Backend(partial(info_nce_chunked, "cpu"), ("cpu",), cpu.IS_BUILT, True, (None, "bf16")),
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
    """Compute the InfoNCE loss: each query's positive against the other passages.

    l_i = log sum_{j in A_i} exp(s_ij) - s_{i,c(i)}, with s = queries @ passages.T / temperature,
    c(i) the positive column of row i, and A_i all columns that no argument below leaves out.
    The positive always stays. Twice the same call gives the same bits.

    Args:
        queries: (B, D) float16, bfloat16, float32 or float64.
        passages: (N, D), N >= B, same dtype: positives and, if any, hard negatives.
        temperature: a number or a 0-dim tensor, which then has a gradient. Scores are divided
            by it.
        positives: int64 (B,), c(i). Default: 0, 1, .., B - 1.
        query_groups: int64 (B,). With `passage_groups`: columns of i's group are left out.
            In groups and ids, -1 matches nothing.
        passage_groups: int64 (N,).
        query_passage_ids: int64 (B,), passage id of i's positive. Default:
            `passage_ids[positives]`.
        passage_ids: int64 (N,). Columns with the id of i's positive are left out.
        mask: bool (B, N), True = left out. With `process_group` N counts the passages of all
            ranks, in rank order.
        margin: columns that score more than this above the positive are left out. Compares
            scores before temperature, after `normalize`, with no gradient.
        weights: (B,) floating, at least 0, w_i.
        symmetric: half the sum of this loss and that of each positive against the queries
            k != i that do not leave it out of their row and have another positive column.
        reduction: "none" gives w_i l_i, "sum" their sum, "mean" sum / sum of w (0 with zero
            gradients if all weights are 0).
        normalize: divide queries and passages by their Euclidean norm first.
        negatives: "all", or "hard_only": only columns that are no row's positive.
        backend: "auto" takes the fastest that applies.
        precision: None multiplies embeddings as they are, with sums at least in float32 (TF32 only
            where torch's own setting allows it). "bf16" rounds float32 or float16 embeddings to
            bfloat16 first (gradients then differ by some thousandths), with logits and sums in
            float32 all the same; `backend="reference"` has no such thing. No global setting of
            torch is touched.
        check: check values on a GPU too, which waits for the device; on the CPU values are
            always checked. Under torch.compile values are not checked.
        recompute: the fast backends compute the gradient with the loss, so that a loss whose
            gradient is never asked for costs three times what it must; True computes it in the
            backward pass, with one more matrix product. (Reduction "none" always does.)
        max_scratch_bytes: bounds what the fast backends hold beside gradients: scores of a chunk
            of rows and, on a GPU, their gradient. A chunk has 128 rows or more all the same.
            Default: 2 GiB on a GPU, 16 MiB on the CPU.
        process_group: takes the passages of all its ranks as negatives (for `symmetric` the
            queries too); all ranks call together with the same options, batches may be uneven.
            Rank r returns W * sum_local(w l) / sum_all(w), so that the mean over the W ranks is
            the loss, and the mean of their gradients the gradient, of the global batch ("sum":
            W * sum_local(w l); "none": its own w_i l_i). Other arguments are this rank's;
            `positives` counts within its own passages.

    Returns:
        0-dim, for reduction "none" (B,). float64 for float64 embeddings, else float32.

    Raises:
        TypeError: if an argument has the wrong type or dtype.
        ValueError: if shapes, devices, options or values do not fit; for values the first bad
            row is named.
    """
    check_embeddings(queries, passages)
    rows = torch.arange(len(queries), device=queries.device)
    inputs = InfoNCEInputs(
        queries=queries,
        passages=passages,
        positives=rows if positives is None else positives,
        all_positives=rows if positives is None else positives,
        temperature=temperature,
        query_groups=query_groups,
        passage_groups=passage_groups,
        query_passage_ids=query_passage_ids,
        passage_ids=passage_ids,
        mask=mask,
        margin=margin,
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
    chosen = _select_backend(backend, precision, queries.device.type)
    check = (check or queries.device.type == "cpu") and not torch.compiler.is_compiling()
    if check:
        check_values(inputs)
    if process_group is not None:
        ranks = meet(inputs, process_group)
        inputs = gather_passages(inputs, ranks)
    elif mask is not None:
        check_mask_width(mask.shape[1], len(passages))
    # The default positives are known without reading them, so the answer needs no permission.
    if negatives == "hard_only" and (check or positives is None):
        check_hard_negatives(inputs)
    if process_group is not None:
        return share_of_global_loss(chosen.compute, chosen.shares_columns, inputs, ranks)
    weights_of_rows = row_weights(inputs)
    coefficients = row_coefficients(weights_of_rows, weights_of_rows.sum(), reduction)
    return chosen.compute(inputs, coefficients, None)


class InfoNCEArguments(InfoNCEOptions, InfoNCETensors, total=False):
    """The arguments of `info_nce` but the embeddings and the temperature."""


class InfoNCEGradients(NamedTuple):
    """Gradients of a loss; None for a temperature that is no tensor."""

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
    """Compute the loss and its gradients at once, for callers that back-propagate by themselves.

    Args:
        queries: (B, D); whether it requires a gradient does not matter.
        passages: (N, D), likewise.
        temperature: a number or a 0-dim tensor.
        **options: those of `info_nce`.

    Returns:
        The loss, 0-dim and detached, and gradients of the dtypes of the arguments.

    Raises:
        TypeError: as `info_nce` raises.
        ValueError: likewise, and for reduction "none", which has no single gradient.
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
    of_temperature = None if learned is None else gradients[2]
    return loss.detach(), InfoNCEGradients(gradients[0], gradients[1], of_temperature)


def _select_backend(name: str, precision: str | None, device_type: str) -> _Backend:
    check_choice("backend", name, _BACKEND_NAMES)
    usable = {
        known: backend
        for known, backend in _BACKENDS.items()
        if backend.device_types is None or device_type in backend.device_types
    }
    built = {known: backend for known, backend in usable.items() if backend.is_built}
    if name != "auto":
        if name not in built:
            available = ", ".join(map(repr, ("auto", *built)))
            why = f"not for tensors on {device_type!r}" if name in _BACKENDS else "not built here"
            if name in usable:
                why = "not built here"
            raise ValueError(f"backend {name!r} is {why}; available: {available}")
        built = {name: built[name]}
    for backend in built.values():
        if precision in backend.precisions:
            return backend
    known = sorted({str(p) for backend in built.values() for p in backend.precisions})
    raise ValueError(f"backend {name!r} has no precision {precision!r}; it has: {', '.join(known)}")
