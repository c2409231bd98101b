"""What the models package takes from the inside of other libraries, each with a fallback."""

from __future__ import annotations

from transformers import PreTrainedModel


def uses_flash_attention(model: PreTrainedModel) -> bool:
    """Tell whether a model was loaded with a flash attention, which needs no padding.

    transformers 5.4 to 5.23 keep the name of the implementation in `config._attn_implementation`.
    If a version does not, texts are padded: slower, with the same embeddings.
    """
    return "flash" in (getattr(model.config, "_attn_implementation", None) or "")
