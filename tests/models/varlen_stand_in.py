"""A stand-in for torch's flash attention, which needs no GPU: a loop over texts in plain torch.

It is an operator of torch, as the real one is, so that a compiler leaves it as it is. Masks of
dropout follow torch's generator, and are drawn again in the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.models.kernels import flash

calls: list[dict[str, Any]] = []


def use_stand_in(monkeypatch) -> None:
    """Let the CPU pass for a GPU, as far as attention without padding goes."""
    calls.clear()
    monkeypatch.setattr(flash, "DEVICES", ("cpu",))
    monkeypatch.setattr(flash, "has_varlen", lambda: True)
    monkeypatch.setattr(flash, "varlen_attention", varlen_attention)


def varlen_attention(query, key, value, begins, longest, *, scale, window, rate=0.0) -> Tensor:
    """As `compat.varlen_attention`."""
    assert query.dtype in flash.DTYPES
    assert all(x.is_contiguous() for x in (query, key, value))
    seed = torch.randint(2**62, ()) if rate else torch.zeros((), dtype=torch.int64)
    return torch.ops.hybrid_fast_tests.varlen(
        query, key, value, begins, longest, scale, list(window), rate, seed
    )


def weigh(q, k, scale, window, rate, generator) -> tuple[Tensor, Tensor]:
    """Return the softmax of a text, (heads, length, length), and what dropout multiplies it by."""
    scores = (q @ k.mT * scale).masked_fill(~seen(q.shape[1], window), -torch.inf)
    weights = scores.softmax(-1)
    kept = torch.rand(weights.shape, generator=generator) >= rate if rate else 1.0
    return weights, torch.as_tensor(kept) / (1 - rate)


def split(begins: Tensor, q: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the states of each text, float32 (heads of q, length, D)."""
    for of_text in zip(*(x.split(begins.diff().tolist()) for x in (q, *others)), strict=True):
        yield tuple(
            x.transpose(0, 1).float().repeat_interleave(q.shape[1] // x.shape[1], dim=0)
            for x in of_text
        )


def seen(length: int, window) -> Tensor:
    """Which query sees which key: so many to the left and to the right, -1 all."""
    left, right = (length if side < 0 else side for side in window)
    places = torch.arange(length)
    distance = places - places[:, None]
    return (-left <= distance) & (distance <= right)


@torch.library.custom_op("hybrid_fast_tests::varlen", mutates_args=())
def _varlen(
    q: Tensor, k: Tensor, v: Tensor, begins: Tensor, longest: int, scale: float,
    window: list[int], rate: float, seed: Tensor,
) -> Tensor:  # fmt: skip
    assert begins.dtype == torch.int32
    assert int(begins.diff().max()) <= longest
    calls.append({"longest": longest, "window": tuple(window), "rate": rate, "texts": len(begins)})
    generator = torch.Generator().manual_seed(int(seed))
    outs = []
    for query, key, value in split(begins, q, k, v):
        weights, kept = weigh(query, key, scale, window, rate, generator)
        outs.append((weights * kept @ value).transpose(0, 1))
    return torch.cat(outs).to(q.dtype)


@torch.library.custom_op("hybrid_fast_tests::varlen_backward", mutates_args=())
def _backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, begins: Tensor, scale: float,
    window: list[int], rate: float, seed: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    generator = torch.Generator().manual_seed(int(seed))
    found = []
    for query, key, value, towards in split(begins, q, k, v, gradient):
        weights, kept = weigh(query, key, scale, window, rate, generator)
        of_weights = weights * kept * (towards @ value.mT)
        of_scores = scale * (of_weights - weights * of_weights.sum(-1, keepdim=True))
        found.append((of_scores @ key, of_scores.mT @ query, (weights * kept).mT @ towards))
    of_states = [torch.cat(each, dim=1).transpose(0, 1) for each in zip(*found, strict=True)]
    groups = [x.unflatten(1, (k.shape[1], -1)).sum(2) for x in of_states[1:]]
    of_q, of_k, of_v = (x.to(q.dtype).contiguous() for x in (of_states[0], *groups))
    return of_q, of_k, of_v


@_varlen.register_fake
def _(q, k, v, begins, longest, scale, window, rate, seed):
    return torch.empty_like(q)


@_backward.register_fake
def _(gradient, q, k, v, begins, scale, window, rate, seed):
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _keep(ctx, inputs, output) -> None:
    q, k, v, begins, _, ctx.scale, ctx.window, ctx.rate, seed = inputs
    ctx.save_for_backward(q, k, v, begins, seed)


def _differentiate(ctx, gradient):
    q, k, v, begins, seed = ctx.saved_tensors
    law = (ctx.scale, ctx.window, ctx.rate)
    of_states = torch.ops.hybrid_fast_tests.varlen_backward(gradient, q, k, v, begins, *law, seed)
    return *of_states, None, None, None, None, None, None


_varlen.register_autograd(_differentiate, setup_context=_keep)
