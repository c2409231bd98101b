"""Scores of queries with passages: of the model's vectors, or of a reranker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hybrid_fast.models.similarity import Similarity
from hybrid_fast.retrieval.embeddings import normalize_rows
from hybrid_fast.retrieval.encoders import Encoder
from hybrid_fast.retrieval.encoding import encode
from hybrid_fast.retrieval.mining.candidates import Candidates, Queries
from hybrid_fast.retrieval.mining.passages import PassageVectors, TablePassages
from hybrid_fast.retrieval.mining.selection import RankedPassages
from hybrid_fast.retrieval.reranking import Reranker, score_pairs


@dataclass(frozen=True)
class Scorer:
    """Scores passages for queries.

    Attributes:
        encoder: of queries.
        similarity: of their vectors to those of passages.
        batch_size: texts that the models take at a time; None leaves it to them.
        passages: those of the table.
        vectors: of these.
        reranker: gives the scores in place of the vectors, if there is one.
    """

    encoder: Encoder
    similarity: Similarity
    batch_size: int | None
    passages: TablePassages
    vectors: PassageVectors
    reranker: Reranker | None = None

    def encode(self, texts: list[str]) -> Queries:
        """Return the vectors of queries."""
        raw = encode(self.encoder, texts, self.batch_size, "queries")
        scaled = normalize_rows(raw) if self.similarity == "cosine" else raw
        return Queries(texts, raw, scaled)

    def score(self, queries: Queries, places: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Return the scores of pairs of a query and a passage of the table, float32 (p,).

        Args:
            queries: n queries.
            places: of the queries, (p,).
            numbers: of the passages, (p,).
        """
        if self.reranker is None:
            return self.vectors.score(queries.scaled, places, numbers)
        return self._rerank(self.reranker, queries, places, self.passages.texts(numbers))

    def rescore(self, found: RankedPassages, queries: Queries, candidates: Candidates) -> None:
        """Give all that was found the scores of the reranker, if there is one."""
        if self.reranker is None:
            return
        where = np.nonzero(found.filled)
        texts = candidates.texts(found.numbers[where])
        found.scores[where] = self._rerank(self.reranker, queries, where[0], texts)

    def _rerank(
        self, reranker: Reranker, queries: Queries, places: np.ndarray, texts: list[str]
    ) -> np.ndarray:
        asked = [queries.texts[place] for place in places]
        return score_pairs(reranker, asked, texts, self.batch_size)
