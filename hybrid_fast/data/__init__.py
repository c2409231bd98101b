"""Data: the aligned table and its readers, the built-in corpus, the batch sampler."""

from __future__ import annotations

from typing import Literal

from hybrid_fast.data.builtin import builtin_items
from hybrid_fast.data.loading import load_table, load_tables
from hybrid_fast.data.plan_index import PlanIndex
from hybrid_fast.data.sampler import Batch, HybridBatchSampler
from hybrid_fast.data.table import AlignedTable

__all__ = [
    "AlignedTable",
    "Batch",
    "HybridBatchSampler",
    "PlanIndex",
    "load_builtin",
    "load_table",
    "load_tables",
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
