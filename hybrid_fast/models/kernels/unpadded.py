"""Attention of texts that lie one after another, without padding: ours on the CPU, torch's on GPUs.

transformers hands a flash attention the places of the texts by keywords, all other layers compute
on tokens as they come, and so they do here: the name of this attention has "flash" in it, by which
transformers knows one that takes texts so.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hybrid_fast.models.compat import (
    OUR_FLASH_ATTENTION,
    register_attention,
    sdpa_mask,
    torch_attention,
)
from hybrid_fast.models.kernels import flash
from hybrid_fast.models.kernels.attention import attend, autocast, drop_attention, takes_attention

NAME = OUR_FLASH_ATTENTION


def attend_unpadded(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend within each text, on the CPU by our kernel where it takes the call, else by torch's.

    Args:
        module: the attention module.
        query: (1, heads, T, D), the tokens of all texts.
        key: (1, heads or a divisor, T, D).
        value: likewise.
        attention_mask: None; texts with a mask are padded, and go to `attend`.
        dropout: probability.
        scaling: of the scores; default D ** -0.5.
        is_causal: whether a query sees keys before it alone; default the module's.
        sliding_window: a query sees keys less than this away alone; None: any.
        cu_seq_lens_q: int32 (n + 1,), where each text starts and the last one ends; None: each row
            of the states, of which there may be several then, is a text.
        max_length_q: no text has more tokens; default T.
        options: others of transformers.

    Returns:
        (1, T, heads, D), and None for the probabilities.

    Raises:
        NotImplementedError: on a GPU, see `flash.attend_flash`.
    """
    if is_causal is None:
        is_causal = getattr(module, "is_causal", True)
    of_torch: dict[str, Any] = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
    if attention_mask is not None or query.shape[2] != key.shape[2]:
        return attend(module, query, key, value, attention_mask, **of_torch, **options)
    query, key, value = autocast(query, key, value)
    law: dict[str, Any] = {
        "offsets": cu_seq_lens_q,
        "rate": dropout,
        "scale": query.shape[-1] ** -0.5 if scaling is None else scaling,
        "causal": is_causal,
        "window": sliding_window or 0,
    }
    if cu_seq_lens_q is not None and query.device.type in flash.DEVICES:
        longest = query.shape[2] if max_length_q is None else max_length_q
        return flash.attend_flash(query, key, value, options, longest=longest, **law), None
    if takes_attention(query, key, value, None, options):
        return drop_attention(query, key, value, None, **law), None
    states = (query, key, value)
    return _attend_each(module, states, cu_seq_lens_q, sliding_window, **of_torch, **options), None


def _attend_each(
    module: nn.Module,
    states: tuple[Tensor, ...],
    cu_seq_lens: Tensor | None,
    window: int | None,
    *,
    is_causal: bool,
    **options: Any,
) -> Tensor:
    """Attend as `attend_unpadded` by torch's attention, text by text."""
    length = states[0].shape[2]
    lengths = [length] if cu_seq_lens is None else cu_seq_lens.diff().tolist()
    outputs = []
    for of_text in zip(*(x.split(lengths, dim=2) for x in states), strict=True):
        places = torch.arange(of_text[0].shape[2], device=of_text[0].device)
        distances = places[:, None] - places
        seen = torch.ones_like(distances, dtype=torch.bool)
        if window:
            seen &= distances.abs() < window
        if is_causal:
            seen &= distances >= 0
        mask = None if seen.all() else seen[None, None]
        outputs.append(torch_attention()(module, *of_text, mask, is_causal=False, **options)[0])
    return torch.cat(outputs, dim=1)


def _mask(*args: Any, attention_mask: Tensor | None = None, **options: Any) -> Tensor | None:
    """Return the mask of padded texts, as of transformers' "sdpa"; without padding, none."""
    if attention_mask is None:
        return None
    mask: Tensor | None = sdpa_mask()(*args, attention_mask=attention_mask, **options)
    return mask


register_attention(NAME, attend_unpadded, _mask)
