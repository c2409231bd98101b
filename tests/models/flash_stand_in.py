"""A stand-in for flash attention, which needs no GPU.

It attends within each text in plain torch, told of the texts by the same arguments.
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import flash_attention_mask

from hybrid_fast.models import BiEncoder

NAME = "flash_stand_in"
seen: list[dict] = []


def attend(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """Return (1, T, heads, d) of query (1, heads, T, d) and key and value (1, kv heads, T, d)."""
    seen.append(kwargs)
    assert attention_mask is None
    begins = kwargs["cu_seq_lens_q"]
    assert begins.dtype == torch.int32
    assert kwargs["max_length_q"] >= int(begins.diff().max())
    repeats = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if kwargs.get("softcap"):
        scores = kwargs["softcap"] * torch.tanh(scores / kwargs["softcap"])
    scores = scores.masked_fill(~visible(module, begins, kwargs), -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2), None


def visible(module, begins, kwargs) -> torch.Tensor:
    """Return which token sees which, (T, T): windows as those of flash attention."""
    texts = torch.repeat_interleave(torch.arange(len(begins) - 1), begins.diff())
    mask = texts[:, None] == texts
    places = torch.arange(len(texts))
    distance = places[:, None] - places
    is_causal = kwargs.get("is_causal")
    if getattr(module, "is_causal", False) if is_causal is None else is_causal:
        mask &= distance >= 0
    if kwargs.get("sliding_window"):
        mask &= distance.abs() < kwargs["sliding_window"]
    return mask


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, flash_attention_mask)


def load(folder, attention=NAME, **options):
    """Load with an attention; transformers itself would look for a stand-in on the hub."""
    model = BiEncoder.from_pretrained(folder, **options)
    model.backbone.model.config._attn_implementation = attention
    return model
