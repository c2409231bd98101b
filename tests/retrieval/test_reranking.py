"""Rerankers of every kind score pairs; what gives no number for each is refused."""

import numpy as np
import pytest
import torch
from model_folders import bert_folder  # noqa: F401
from pair_models import as_cross_encoder

from hybrid_fast.retrieval import load_reranker, reranking
from hybrid_fast.retrieval.reranking import score_pairs

QUERIES, TEXTS = ["a", "bb", "a", "ccc"], ["dd", "e", "", "ffff"]
LENGTHS = [3, 3, 1, 7]


def lengths(queries, texts):
    return [len(query) + len(text) for query, text in zip(queries, texts, strict=True)]


class Model(torch.nn.Module):
    """As a CrossEncoder it can be called with something else."""

    sizes: list

    def forward(self, features):
        raise AssertionError

    def predict(self, sentences, batch_size=32, show_progress_bar=None):
        self.sizes = [len(sentences), batch_size, show_progress_bar]
        return np.array([len(a) + len(b) for a, b in sentences], np.float64)


@pytest.mark.parametrize(
    "reranker",
    [
        lengths,
        Model(),
        lambda queries, texts: torch.tensor(lengths(queries, texts), dtype=torch.bfloat16),
        lambda queries, texts: np.array(lengths(queries, texts))[:, None],
        lambda queries, texts: [np.float16(each) for each in lengths(queries, texts)],
    ],
)
@pytest.mark.parametrize("per_call", [1, 3, 100])
def test_scores(monkeypatch, reranker, per_call):
    monkeypatch.setattr(reranking, "PAIRS_PER_CALL", per_call)
    scores = score_pairs(reranker, QUERIES, TEXTS)
    assert scores.dtype == np.float32
    assert scores.tolist() == LENGTHS
    assert score_pairs(reranker, [], []).shape == (0,)


def test_a_batch_size_reaches_what_takes_one():
    model = Model()
    score_pairs(model, QUERIES, TEXTS)
    assert model.sizes == [4, 32, False]
    score_pairs(model, QUERIES, TEXTS, 2)
    assert model.sizes == [4, 2, False]
    given = []

    def sized(queries, texts, batch_size=None):
        given.append(batch_size)
        return lengths(queries, texts)

    score_pairs(sized, QUERIES, TEXTS, 7)
    score_pairs(lengths, QUERIES, TEXTS, 7)
    assert given == [7]


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ([1, 2, 3], ValueError, r"scores \(3,\) for 4 pairs"),
        (np.zeros((4, 2)), ValueError, r"scores \(4, 2\) for 4 pairs; .* not one a class"),
        ([1, 2, float("nan"), 3], ValueError, "pair 2 with nan .1 of 4"),
        ([1, 2, 3, float("-inf")], ValueError, "pair 3 with -inf"),
        ([1, 2, 3, 1e39], ValueError, "pair 3 with inf"),
        (list("abcd"), TypeError, "returned <U1"),
        (None, TypeError, "returned object"),
        ([True, False] * 2, TypeError, "returned bool"),
    ],
)
def test_what_are_no_scores(returned, error, message):
    with pytest.raises(error, match=message):
        score_pairs(lambda queries, texts: returned, QUERIES, TEXTS)


@pytest.mark.parametrize("given", ["name", Model, None, 5])
def test_what_is_no_reranker(given):
    with pytest.raises(TypeError, match=r"reranker is .*; give a function of queries and texts"):
        score_pairs(given, QUERIES, TEXTS)


def test_a_cross_encoder_from_its_folder(bert_folder, tmp_path):  # noqa: F811
    from sentence_transformers import CrossEncoder

    folder = as_cross_encoder(bert_folder, tmp_path / "reranker", 1)
    expected = CrossEncoder(str(folder), device="cpu").predict([("a b", "c"), ("d", "e f g")])
    scores = score_pairs(load_reranker(folder, device="cpu"), ["a b", "d"], ["c", "e f g"], 1)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_folders_of_other_models(bert_folder, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match="is no cross-encoder but a BertModel"):
        load_reranker(bert_folder)
    two = as_cross_encoder(bert_folder, tmp_path / "two", 2)
    with pytest.raises(ValueError, match="gives 2 scores a pair"):
        load_reranker(two, device="cpu")
    (two / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no \*\.safetensors"):
        load_reranker(two)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_reranker(tmp_path / "nowhere")
