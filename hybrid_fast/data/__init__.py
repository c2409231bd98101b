"""Data: the aligned table and its readers, the built-in corpus, the batch sampler, tokens."""

from __future__ import annotations

from typing import Literal

from hybrid_fast.data.builtin import builtin_items
from hybrid_fast.data.loading import load_table, load_tables
from hybrid_fast.data.plan_index import PlanIndex
from hybrid_fast.data.sampler import Batch, HybridBatchSampler
from hybrid_fast.data.table import AlignedTable
from hybrid_fast.data.token_store import TokenStore, open_token_store
from hybrid_fast.data.tokens import Tokens

__all__ = [
    "AlignedTable",
    "Batch",
    "HybridBatchSampler",
    "PlanIndex",
    "TokenStore",
    "Tokens",
    "load_builtin",
    "load_table",
    "load_tables",
    "open_token_store",
]


def load_builtin(split: Literal["train", "test"] = "train") -> AlignedTable:
    """Make the built-in corpus: parallel questions and answers from Unicode CLDR facts.

    Args:
        split: "train", or "test" for unseen questions about entities that "train" knows by other
            facts.

    Raises:
        ValueError: another split.
    """
    return AlignedTable.from_columns(builtin_items(split))
