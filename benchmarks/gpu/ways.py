"""The loss, forward and backward, as a `Step`: ours, as users write it, as others compute it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from cuda_timing import Step
from loss_ways import NO_ENCODER, TEMPERATURE, cross_entropy
from torch import Tensor

from gpu.settings import Case, Settings
from hybrid_fast.ops import info_nce, value_and_grad

LossFunction = Callable[[Tensor, Tensor], Tensor]
SIZES_OF_CACHED = {32: 2**14, 256: 2**16}  # rows at a time, and up to which size they are timed
LARGEST_PEER = 2**16  # beyond it B x N scores do not fit


def ours(kind: str, backend: str, **options: Any) -> Step:
    """Return the library's step by autograd, as users and the trainer run it."""
    options = {"temperature": TEMPERATURE} | options

    def loss(queries: Tensor, passages: Tensor) -> Tensor:
        return info_nce(
            queries,
            passages,
            symmetric=kind == "symmetric",
            reduction="none" if kind == "none" else "mean",
            backend=backend,
            **options,
        )

    return step_of(loss)


def ours_by_hand(kind: str, backend: str) -> Step:
    """Return the step of `value_and_grad`, which has no graph; for "none" as `ours`."""
    if kind == "none":
        return ours(kind, backend)

    def step(queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loss, gradients = value_and_grad(
            queries,
            passages,
            temperature=TEMPERATURE,
            symmetric=kind == "symmetric",
            backend=backend,
        )
        return loss, gradients.queries, gradients.passages

    return step


def step_of(loss_function: LossFunction) -> Step:
    """Return loss and gradients; rows of a loss have upstream gradients of their own."""

    def step(queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        leaves = [t.detach().requires_grad_() for t in (queries, passages)]
        loss = loss_function(*leaves)
        upstream = None
        if loss.ndim == 1:
            upstream = torch.linspace(0.5, 1.5, len(loss), dtype=loss.dtype, device=loss.device)
            upstream /= len(loss)
        query_gradient, passage_gradient = torch.autograd.grad(loss, leaves, upstream)
        return loss.detach(), query_gradient, passage_gradient

    return step


class Float32Scores(torch.autograd.Function):
    """Q P^T of half-precision embeddings, which is not rounded to half precision."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, passages: Tensor) -> Tensor:
        ctx.save_for_backward(queries, passages)
        if queries.device.type == "cuda":
            return torch.mm(queries, passages.T, out_dtype=torch.float32)
        return queries.float() @ passages.float().T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        queries, passages = ctx.saved_tensors
        gradient = gradient.to(queries.dtype)
        return gradient @ passages, gradient.T @ queries


def cross_entropy_of_float32(kind: str) -> LossFunction:
    """Return cross-entropy whose scores and logits are float32."""

    def loss(queries: Tensor, passages: Tensor) -> Tensor:
        logits = Float32Scores.apply(queries, passages) / TEMPERATURE
        labels = torch.arange(len(queries), device=queries.device)
        if kind == "symmetric":
            return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        return F.cross_entropy(logits, labels, reduction=kind)

    return loss


def peers(case: Case, settings: Settings) -> dict[str, Step]:
    """Return what a case is compared with, none where their scores do not fit."""
    if case.size > settings.scaled(Case(LARGEST_PEER, case.dim, "mean")).size:
        return {}
    naive, exact = cross_entropy(case.kind), cross_entropy_of_float32(case.kind)
    # All cases are calls of one function, of which few codes are kept; then it runs uncompiled.
    torch.compiler.reset()
    steps = {
        "naive": step_of(naive),
        "compiled_bf16": step_of(torch.compile(naive, dynamic=False)),
        "compiled_float32": step_of(torch.compile(exact, dynamic=False)),
    }
    if case.kind == "mean":
        for rows, largest in SIZES_OF_CACHED.items():
            if case.size <= settings.scaled(Case(largest, case.dim, "mean")).size:
                name, step = cached_loss(rows)
                steps[name] = step
    return steps


def cached_loss(rows: int) -> tuple[str, Step]:
    """Return the loss stage of sentence-transformers' cached loss, some rows at a time.

    By `dot_score`, since `cos_sim`, its default, normalises all passages again for each part. What
    it does is emulated, and named so, where that is not installed.
    """
    try:
        from sentence_transformers.sentence_transformer.losses import (
            CachedMultipleNegativesRankingLoss,
        )
        from sentence_transformers.util import dot_score
    except ImportError:
        name = f"cached_{rows}_emulated"

        def loss_function(queries: Tensor, passages: Tensor) -> Tensor:
            return cached_rows(queries, passages, rows)
    else:
        loss = CachedMultipleNegativesRankingLoss(
            NO_ENCODER, scale=1 / TEMPERATURE, similarity_fct=dot_score, mini_batch_size=rows
        )
        name = f"cached_{rows}"

        def loss_function(queries: Tensor, passages: Tensor) -> Tensor:
            return loss.calculate_loss([[queries], [passages]], None, with_backward=True)

    def step(queries: Tensor, passages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        leaves = [t.detach().requires_grad_() for t in (queries, passages)]
        value = loss_function(*leaves)  # goes backward by itself
        return value.detach(), leaves[0].grad, leaves[1].grad

    return name, step


def cached_rows(queries: Tensor, passages: Tensor, rows: int) -> Tensor:
    """What that loss does: rows at a time, each going backward at once."""
    total = torch.zeros((), device=queries.device)
    for first in range(0, len(queries), rows):
        part = queries[first : first + rows]
        labels = torch.arange(first, first + len(part), device=queries.device)
        loss = F.cross_entropy(part @ passages.T / TEMPERATURE, labels) * len(part) / len(queries)
        loss.backward()
        total += loss.detach()
    return total


def relative_errors(values: Sequence[Tensor], truth: Sequence[Tensor]) -> dict[str, float]:
    """Return the errors of loss, query and passage gradient, relative to the truth's norm."""
    return {
        name: ((value.double() - expected).norm() / expected.norm()).item()
        for name, value, expected in zip(
            ("loss", "queries", "passages"), values, truth, strict=True
        )
    }
