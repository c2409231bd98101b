"""The public InfoNCE function: one problem is made of its arguments, for one of several backends.

All backends compute what `reference.py` defines; they differ in speed, memory, and in the devices
and precisions that they support.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, NamedTuple, Unpack

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_fast.ops.agreement import Call
from hybrid_fast.ops.backends.registry import BACKENDS, select_backend
from hybrid_fast.ops.checks import (
    check_device,
    check_embeddings,
    check_flag,
    check_hard_negatives,
    check_positives,
    check_problem,
    check_temperature,
    check_values,
    check_width,
    plain,
    widths,
)
from hybrid_fast.ops.distributed import Ranks, gather_passages, share_of_global_loss
from hybrid_fast.ops.negative_mask import NOTHING_EXCLUDED, MaskingRule, NegativeMask
from hybrid_fast.ops.operators import info_nce_chunked
from hybrid_fast.ops.problem import (
    InfoNCEOptions,
    InfoNCETensors,
    Problem,
    cast,
    compute_dtype,
    number_tensor,
)
from hybrid_fast.ops.reference import info_nce_reference, local_coefficients


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
    owners: Tensor | None = None,
    in_batch: Tensor | None = None,
    rules: Sequence[MaskingRule] = (),
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
        margin: excludes columns that score more than this above the positive, but for the row's own
            (see `owners`), which were chosen. Compares scores before temperature, after
            `normalize`, without gradient.
        owners: int64 (N,), the row that brought a hard negative, -1 for what is none. Needed where
            `margin` is to spare a row's own hard negatives, and by `in_batch`.
        in_batch: bool (B,). Where False, all columns but the row's own hard negatives are excluded,
            by `symmetric` the row is no query against which other rows contrast their positive, and
            its own loss of that direction is 0. A row without hard negatives then has loss 0, and
            counts in the mean.
        rules: further masking rules, see `MaskingRule`.
        weights: (B,) floating, at least 0, w_i; their sum must be finite.
        symmetric: half the sum of this loss and that of each positive against the queries
            k != i that do not exclude it from their row and have another positive column.
        reduction: "none" returns w_i l_i, "sum" their sum, "mean" sum / sum of w (0 with zero
            gradients if all weights are 0).
        normalize: divide queries and passages by their Euclidean norm first.
        negatives: "all", or "hard_only": only columns that are no row's positive.
        backend: "auto" takes the fastest one that supports the call, or that which the environment
            variable HYBRID_FAST_LOSS_BACKEND names, if it does.
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
            chunk of rows and, on a GPU, their gradient and what `rules` exclude. A chunk has at
            least 128 rows. Default: 2 GiB on a GPU; on the CPU 8 MiB, 16 MiB for products of
            bfloat16.
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
        check_embeddings("queries", queries)
        temperature, num_queries = plain(temperature), queries.shape[0]
        check_temperature(temperature, compute_dtype(queries))
        problem = Problem(
            queries=queries,
            passages=passages,
            temperature=_as_tensor(temperature, queries),
            positives=positives,
            weights=weights,
            negative_mask=_negative_mask(
                query_groups=query_groups,
                passage_groups=passage_groups,
                query_passage_ids=query_passage_ids,
                passage_ids=passage_ids,
                mask=mask,
                owners=owners,
                in_batch=in_batch,
                margin=plain(margin),
                rules=rules,
            ),
            symmetric=symmetric,
            reduction=reduction,
            normalize=normalize,
            negatives=negatives,
            precision=precision,
            recompute=recompute,
            max_scratch_bytes=max_scratch_bytes,
            backend=select_backend(backend, precision, queries.device.type),
        )
        check_problem(problem)
        if isinstance(temperature, Tensor):
            check_device("temperature", temperature, problem)
        check_flag("check", check)
        check = (check or queries.is_cpu) and not torch.compiler.is_compiling()
        if check:
            check_values(problem)
            if isinstance(temperature, Tensor):
                check_temperature(float(temperature.detach()), problem.compute_dtype)
            if positives is not None:
                check_positives(positives, passages.shape[0])
        # The default positives are known without reading them, so they may be checked on a GPU.
        checks_columns = negatives == "hard_only" and (check or positives is None)
        if call is not None:
            checks_columns = call.exchange_sizes(problem, temperature, checks_columns)
    ranks = None if call is None else call.ranks
    if ranks is None:
        for name, width in widths(problem).items():
            check_width(name, width, passages.shape[0])
    problem = settled(problem, ranks)
    if checks_columns:
        check_hard_negatives(problem, num_queries if ranks is None else sum(ranks.num_queries))
    is_definition = BACKENDS[problem.backend].make_kernels is None
    compute = info_nce_reference if is_definition else info_nce_chunked
    if ranks is None:
        return compute(problem, local_coefficients(problem))
    return share_of_global_loss(compute, not is_definition, problem, ranks)


def _as_tensor(temperature: float | Tensor, queries: Tensor) -> Tensor:
    """Return the temperature as a 0-dim tensor of the compute dtype."""
    if isinstance(temperature, Tensor):
        return cast(temperature, compute_dtype(queries))
    return number_tensor(temperature, queries)


def _negative_mask(rules: Sequence[MaskingRule], **parts: Any) -> NegativeMask:
    if not isinstance(rules, Sequence):
        raise TypeError(f"rules must be a sequence of MaskingRule, got {type(rules).__name__}")
    if not rules and all(part is None for part in parts.values()):
        return NOTHING_EXCLUDED  # made once
    return NegativeMask(rules=tuple(rules), **parts)


def settled(problem: Problem, ranks: Ranks | None) -> Problem:
    """Return a problem as it was given and checked in the form in which backends take it.

    Args:
        problem: as it was given.
        ranks: whose passages are its columns.
    """
    if ranks is not None:
        problem = gather_passages(problem, ranks)
    mask = problem.negative_mask
    settled_parts: dict[str, Any] = {}
    if mask.passage_ids is not None and mask.query_passage_ids is None:
        settled_parts["query_passage_ids"] = mask.passage_ids[problem.positive_columns()]
    if problem.negatives == "hard_only":
        settled_parts["excluded_columns"] = _positive_columns(problem, ranks)
    if mask.owners is not None and mask.margin is None and mask.in_batch is None:
        settled_parts["owners"] = None  # which change nothing
    if not settled_parts:
        return problem
    return replace(problem, negative_mask=replace(mask, **settled_parts))


def _positive_columns(problem: Problem, ranks: Ranks | None) -> Tensor:
    """Return bool (N,), True for columns that are the positive of a row of any rank."""
    positives = problem.positive_columns()
    if ranks is not None:
        positives = ranks.gather_queries(positives)
    columns = torch.zeros(len(problem.passages), dtype=torch.bool, device=positives.device)
    return columns.index_fill(0, positives, True)


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
