"""Data: the aligned table and its readers, the built-in corpus, the batch sampler, tokens."""

from hybrid_fast.data.builtin import load_builtin
from hybrid_fast.data.formats.corpus import open_corpus
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
    "open_corpus",
    "open_token_store",
]
