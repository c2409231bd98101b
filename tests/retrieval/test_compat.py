"""What is read from the inside of bm25s is checked, and known versions are named."""

import bm25s
import pytest

from hybrid_fast.retrieval.compat import bm25_weights


def test_weights_by_word_and_text():
    vocabulary, weights = bm25_weights([["a", "b"], ["b"], []], k1=0.9, b=0.4)
    assert weights.shape[1] == 3
    assert (weights.toarray()[vocabulary["a"]] > 0).tolist() == [True, False, False]
    assert (weights.toarray()[vocabulary["b"]] > 0).tolist() == [True, True, False]


@pytest.mark.parametrize(
    "change",
    [lambda index: delattr(index, "vocab_dict"), lambda index: index.scores.pop("indptr")],
)
def test_another_form_of_the_index(monkeypatch, change):
    class Changed(bm25s.BM25):
        def index(self, *texts, **options):
            super().index(*texts, **options)
            change(self)

    monkeypatch.setattr(bm25s, "BM25", Changed)
    with pytest.raises(ImportError, match=r"bm25s .* unknown form .* version 0\.3 is supported"):
        bm25_weights([["a"]], k1=0.9, b=0.4)
