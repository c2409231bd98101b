"""Queries and passages of length 1, and a run of the loss on them with all of its gradients."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from hybrid_fast.ops import info_nce

TEMPERATURE = 0.07


def poisoned(allocate):
    """Return what allocates memory full of NaN, if it is of floating point."""

    def allocate_and_fill(*args, **kwargs):
        tensor = allocate(*args, **kwargs)
        return tensor.fill_(math.nan) if tensor.is_floating_point() else tensor

    return allocate_and_fill


def problem(num_queries, num_passages, dim, dtype=torch.float32, seed=0):
    """Unit vectors, every third query close to its passage."""
    generator = torch.Generator().manual_seed(seed)
    passages = torch.randn(num_passages, dim, generator=generator)
    queries = torch.randn(num_queries, dim, generator=generator)
    queries[::3] += 3 * passages[:num_queries:3]
    return F.normalize(queries, dim=1).to(dtype), F.normalize(passages, dim=1).to(dtype)


def run(
    queries,
    passages,
    backend,
    *,
    dtype=None,
    temperature=TEMPERATURE,
    weights=None,
    loss_function=info_nce,
    **options,
):
    """Return the loss and the gradients of queries, passages, temperature and weights."""
    dtype = dtype or queries.dtype
    generator = torch.Generator().manual_seed(1)
    if weights is None:
        weights = torch.rand(len(queries), generator=generator, dtype=torch.float64) + 0.1
    leaves = [
        queries.to(dtype),
        passages.to(dtype),
        torch.tensor(temperature, dtype=torch.float64),
        weights,
    ]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    loss = loss_function(
        *leaves[:2], temperature=leaves[2], weights=leaves[3], backend=backend, **options
    )
    upstream = torch.linspace(-1, 2, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    if loss.ndim == 0:
        upstream = torch.tensor(1.7, dtype=loss.dtype)
    return [loss.detach(), *torch.autograd.grad(loss, leaves, upstream)]
