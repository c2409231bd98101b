"""A stand-in for flash attention, which needs no GPU.

It attends within each text by torch's own attention, told of the texts by the same arguments.
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
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            *(tensor[:, :, begin:end] for tensor in (query, key, value)),
            is_causal=bool(getattr(module, "is_causal", False)),
            scale=scaling,
        )
        for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, flash_attention_mask)


def load(folder, attention=NAME, **options):
    """Load with an attention; transformers itself would look for a stand-in on the hub."""
    model = BiEncoder.from_pretrained(folder, **options)
    model.backbone.model.config._attn_implementation = attention
    return model
