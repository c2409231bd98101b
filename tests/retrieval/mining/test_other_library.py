"""Where its definitions agree with ours, sentence-transformers finds the same hard negatives."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset
from mining_by_hand import HashModel

from hybrid_fast import AlignedTable, mine_hard_negatives


class Similar(HashModel):
    """Has of a SentenceTransformer what its mining calls."""

    device = "cpu"

    def __init__(self):
        super().__init__("cosine", whole=False)

    def encode_query(self, texts, **options):
        return self._unit(self._encode(texts, "query"))

    def encode_document(self, texts, **options):
        return self._unit(self._encode(texts, "passage"))

    def _unit(self, vectors):
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def similarity(self, queries, passages):
        import torch

        return torch.as_tensor(queries) @ torch.as_tensor(passages).T

    def similarity_pairwise(self, queries, passages):
        return self.similarity(queries, passages).diagonal()


@pytest.mark.usefixtures("memory_stores")
@pytest.mark.parametrize("positives", [1, 2])
def test_the_same_negatives_as_sentence_transformers(positives):
    theirs_of = pytest.importorskip("sentence_transformers.util").mine_hard_negatives
    queries = [f"query {n // positives}" for n in range(60)]
    passages = [f"passage {n}" for n in range(60)]
    pairs = Dataset.from_dict({"query": queries, "passage": passages})
    table = AlignedTable.from_columns(
        {"group_id": range(60), "lang": "en", "query": queries, "passage": passages}
    )
    for theirs, ours in (
        ({"range_max": 20}, {"ranks": (1, 20)}),
        ({"range_min": 5, "range_max": 20}, {"ranks": (6, 20)}),
        ({"range_max": 60, "absolute_margin": 0.1}, {"ranks": (1, 60), "margin": 0.1}),
        (
            {"range_max": 60, "relative_margin": 0.3, "max_score": 0.5, "min_score": -0.2},
            {"ranks": (1, 60), "relative_margin": 0.7, "max_score": 0.5, "min_score": -0.2},
        ),
    ):
        expected = {query: {} for query in queries}
        for row in theirs_of(
            pairs, Similar(), num_negatives=4, output_scores=True, verbose=False, **theirs
        ):
            expected[row["query"]][row["negative"]] = row["scores"][1]
        assert sum(map(len, expected.values())) > 20
        found = mine_hard_negatives(Similar(), table, **{"relative_margin": None, **ours})
        for row in found.dataset:
            scores = dict(zip(row["negatives"], row["negative_scores"], strict=True))
            assert scores == pytest.approx(expected[row["query"]], abs=1e-6)
