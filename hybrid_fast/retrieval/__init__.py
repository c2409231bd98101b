"""Retrieval: encoding, stores, exact search, BM25, and fusion of rankings."""

from hybrid_fast.retrieval.bm25 import BM25
from hybrid_fast.retrieval.encoding import encode, encode_both
from hybrid_fast.retrieval.exact_search import Hits, search
from hybrid_fast.retrieval.fusion import (
    fuse_runs,
    fuse_scorers,
    reciprocal_ranks,
    weighted_scores,
)
from hybrid_fast.retrieval.indexing import IndexReport, index_corpus
from hybrid_fast.retrieval.texts import TextCollection, store_texts

__all__ = [
    "BM25",
    "Hits",
    "IndexReport",
    "TextCollection",
    "encode",
    "encode_both",
    "fuse_runs",
    "fuse_scorers",
    "index_corpus",
    "reciprocal_ranks",
    "search",
    "store_texts",
    "weighted_scores",
]
