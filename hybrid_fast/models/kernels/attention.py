"""Attention on the CPU by the C++ core, as an attention of transformers.

torch's fused attention of the CPU takes no dropout: it falls to products of whole score matrices, a
mask for each, and keeps both for the backward pass. The core's kernel holds the scores of a few
queries at a time and keeps one number a row. The softmax is not renormalised after dropout, as in
torch. Without dropout the faster of the two is measured for a class of shapes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from hybrid_fast import _core
from hybrid_fast.cpu import fastest, products
from hybrid_fast.cpu.arrays import array_of
from hybrid_fast.models.compat import register_attention, torch_attention
from hybrid_fast.models.kernels.dropout import draw_seed, takes

NAME = "hybrid_fast"
# Options of transformers that change what is computed, and that are left to its own attention.
_LEFT_TO_TORCH = ("position_bias", "softcap", "s_aux", "cache", "output_attentions")
_LONGEST = 256  # texts of so many tokens and more are of one class
_MEASURED_TOKENS, _MEASURED_WIDTH = 768, 384  # of texts together; of heads together


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend as transformers' "sdpa" does, by our kernel where it takes the call and is faster.

    Args:
        module: the attention module, in training mode or not.
        query: (n, heads, queries, D), float32 or bfloat16 for the kernel, or what autocast makes
            of it.
        key: (n, heads or a divisor, keys, D).
        value: likewise.
        attention_mask: bool (n or 1, heads or 1, queries or 1, keys), True where a query sees a
            key; a mask of numbers is left to torch.
        dropout: probability.
        scaling: of the scores; default D ** -0.5.
        is_causal: whether query i sees keys 0 to i alone, unless there is a mask; default the
            module's.
        options: others of transformers.

    Returns:
        (n, queries, heads, D), and None for the probabilities.
    """
    query, key, value = autocast(query, key, value)
    if not (
        takes_attention(query, key, value, attention_mask, options)
        and (dropout > 0 or _is_faster(query, key, module.training))
    ):
        out, _ = torch_attention()(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            **options,
        )
        return out, None
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    out = drop_attention(
        query,
        key,
        value,
        attention_mask,
        rate=dropout,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        causal=is_causal and attention_mask is None and query.shape[2] > 1,
    )
    return out, None


def drop_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor | None,
    *,
    rate: float,
    scale: float,
    causal: bool,
    offsets: Tensor | None = None,
    window: int = 0,
) -> Tensor:
    """Return drop(softmax(scale Q K^T)) V by the kernel, (n, queries, heads, D); see `attend`.

    A query that sees no key gets zeros. It cannot be differentiated twice. torch's random state is
    used only if the rate is not 0.

    Args:
        query: (n, heads, queries, D).
        key: (n, heads or a divisor, keys, D).
        value: likewise.
        seen: see `attention_mask` of `attend`.
        rate: of dropout.
        scale: of the scores.
        causal: whether query i sees keys 0 to i alone.
        offsets: int (m + 1,), where each of m texts starts and the last one ends, if they lie one
            after another in states of n = 1; each is computed by itself, and there is no `seen`.
        window: query i sees keys less than this away from i alone; 0: any.
    """
    if seen is not None:
        # A mask of padding is the same for all queries, and need not be written out for each.
        seen = seen[tuple(slice(None, None if step else 1) for step in seen.stride()[:3])]
        seen = seen.contiguous()
    query, key, value = (x.transpose(1, 2).contiguous() for x in (query, key, value))
    seed = draw_seed() if rate else 0
    law = {"scale": scale, "causal": causal, "window": window, "rate": rate, "seed": seed}
    begins = None if offsets is None else offsets.long().contiguous()
    if not torch.is_grad_enabled() or not any(x.requires_grad for x in (query, key, value)):
        return _attend(query, key, value, seen, begins, law, log_sums=None)
    out: Tensor = _Attention.apply(query, key, value, seen, begins, law)
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        seen: Tensor | None,
        offsets: Tensor | None,
        law: dict[str, Any],
    ) -> Tensor:
        num_texts, num_queries, num_heads, _ = queries.shape
        log_sums = queries.new_empty(num_texts, num_heads, num_queries, dtype=torch.float32)
        ctx.law = law
        out = _attend(queries, keys, values, seen, offsets, law, log_sums=log_sums)
        ctx.save_for_backward(queries, keys, values, seen, offsets, log_sums)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, seen, offsets, log_sums = ctx.saved_tensors
        gradients = [torch.empty_like(x) for x in (queries, keys, values)]
        of_queries, of_keys, of_values = map(array_of, gradients)
        _core.attend_backward(
            **_arrays(queries, keys, values, seen, offsets),
            **ctx.law,
            log_sums=array_of(log_sums),
            out_gradient=array_of(gradient.contiguous()),
            query_gradient=of_queries,
            key_gradient=of_keys,
            value_gradient=of_values,
            num_threads=torch.get_num_threads(),
        )
        return *gradients, None, None, None


def _attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    seen: Tensor | None,
    offsets: Tensor | None,
    law: dict[str, Any],
    *,
    log_sums: Tensor | None,
) -> Tensor:
    out = torch.empty_like(queries)
    _core.attend(
        **_arrays(queries, keys, values, seen, offsets),
        **law,
        out=array_of(out),
        log_sums=None if log_sums is None else array_of(log_sums),
        num_threads=torch.get_num_threads(),
    )
    return out


def _arrays(
    queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, offsets: Tensor | None
) -> dict[str, Any]:
    given = {"queries": queries, "keys": keys, "values": values, "seen": seen, "offsets": offsets}
    return {name: None if x is None else array_of(x) for name, x in given.items()}


def autocast(*states: Tensor) -> list[Tensor]:
    """Return what torch's attention would compute with in this context."""
    kind = states[0].device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return list(states)
    dtype = torch.get_autocast_dtype(kind)
    return [x.to(dtype) if x.dtype != torch.float64 else x for x in states]


def takes_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> bool:
    """Tell whether the kernel computes exactly what is asked for."""
    return (
        takes(query, key, value)
        and query.ndim == 4
        and key.shape == value.shape
        and (query.shape[0], query.shape[3]) == (key.shape[0], key.shape[3])
        and (mask is None or (mask.dtype == torch.bool and mask.ndim == 4))
        and is_plain(options)
    )


def is_plain(options: dict[str, Any]) -> bool:
    """Tell whether none of the options of transformers changes what is computed."""
    return all(options.get(name) is None or options[name] is False for name in _LEFT_TO_TORCH)


def _is_faster(query: Tensor, key: Tensor, training: bool) -> bool:
    """Tell whether the kernel beats torch's fused attention without dropout, at such shapes.

    In training it is asked for both passes together, also where the first one keeps no graph: the
    second must repeat it to the bit.
    """
    dtype, dim = query.dtype, query.shape[3]
    bits = [min(x.shape[2], _LONGEST).bit_length() for x in (query, key)]
    use = "training" if training else "encoding"
    case = f"{str(dtype).removeprefix('torch.')} {bits[0]} {bits[1]} {dim} {use}"
    ways = partial(_to_measure, bits, dim, dtype, training)
    return fastest("attention", case, products.setting(), ways) == "core"


def _to_measure(
    bits: list[int], dim: int, dtype: torch.dtype, training: bool
) -> dict[str, Callable[[], object]]:
    """Return both ways to attend at a shape in the middle of a class, for `fastest`."""
    num_queries, num_keys = (max(3 * 2**bit // 4, 1) for bit in bits)
    num_texts = max(_MEASURED_TOKENS // max(num_queries, num_keys), 1)
    heads = max(_MEASURED_WIDTH // dim, 1)

    @cache
    def states() -> list[Tensor]:
        return [
            torch.ones(num_texts, length, heads, dim, dtype=dtype, requires_grad=training)
            for length in (num_queries, num_keys, num_keys)
        ]

    core = partial(drop_attention, seen=None, rate=0, scale=dim**-0.5, causal=False)
    ways: dict[str, Callable[..., Tensor]] = {"torch": scaled_dot_product_attention, "core": core}
    return {way: partial(_attend_once, attend, states) for way, attend in ways.items()}


def _attend_once(attend: Callable[..., Tensor], make_states: Callable[[], list[Tensor]]) -> None:
    """Attend, and go backward if states have gradients, whatever surrounds the measurement."""
    states = make_states()
    own_hooks = torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x)
    with torch.enable_grad(), torch.autocast("cpu", enabled=False), own_hooks:
        out = attend(*(x.transpose(1, 2) for x in states))
        if out.requires_grad:
            torch.autograd.grad(out, states, torch.ones_like(out))


register_attention(NAME, attend)
