"""BiEncoder: one encoder for queries and passages, static or transformer."""

from hybrid_fast.models.bi_encoder import BiEncoder

__all__ = ["BiEncoder"]
