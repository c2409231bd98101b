"""Retrieval: encoding, stores and search in them, mining, exact search, BM25, and fusion."""

from hybrid_fast.retrieval.bm25 import BM25
from hybrid_fast.retrieval.bm25_index import BM25Index
from hybrid_fast.retrieval.corpora.encode import encode_corpus
from hybrid_fast.retrieval.corpora.encoded import EncodedCorpus
from hybrid_fast.retrieval.encoding import encode, encode_both
from hybrid_fast.retrieval.exact_search import Hits, search
from hybrid_fast.retrieval.fusion import (
    fuse_runs,
    fuse_scorers,
    reciprocal_ranks,
    weighted_scores,
)
from hybrid_fast.retrieval.indexing import IndexReport, index_corpus
from hybrid_fast.retrieval.mining import mine_hard_negatives
from hybrid_fast.retrieval.reranking import load_reranker
from hybrid_fast.retrieval.retriever import Hit, Retriever
from hybrid_fast.retrieval.texts import TextCollection, store_texts
from hybrid_fast.retrieval.texts_by_id import TextsById

__all__ = [
    "BM25",
    "BM25Index",
    "EncodedCorpus",
    "Hit",
    "Hits",
    "IndexReport",
    "Retriever",
    "TextCollection",
    "TextsById",
    "encode",
    "encode_both",
    "encode_corpus",
    "fuse_runs",
    "fuse_scorers",
    "index_corpus",
    "load_reranker",
    "mine_hard_negatives",
    "reciprocal_ranks",
    "search",
    "store_texts",
    "weighted_scores",
]
