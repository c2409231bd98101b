"""Embeddings truncated to their first dimensions: in encoding, saving and evaluation."""

import numpy as np
import pytest

from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval import encode_both


@pytest.fixture(params=["static", "bert"])
def model(request, texts):
    if request.param == "static":
        return BiEncoder.static(texts, dim=16, vocab_size=200)
    return BiEncoder.from_pretrained(request.getfixturevalue("bert_folder"))


def test_all_that_encodes_truncates(model, texts):
    whole = model.encode_queries(texts)
    assert model.has_unit_norm
    model.truncate_dim = 5
    assert (model.get_embedding_dimension(), model.embedding_dim) == (5, whole.shape[1])
    assert not model.has_unit_norm
    for embeddings in (
        model.encode_queries(texts),
        model.encode_passages(texts),
        model.encode(texts),
        model.encode_query(texts),
        model.encode_document(texts),
    ):
        np.testing.assert_array_equal(embeddings, whole[:, :5])
    assert model.encode_queries([]).shape == (0, 5)
    assert model.encode(texts, truncate_dim=7).shape == (len(texts), 7)
    assert model(model.tokenize(texts, "query")).shape == whole.shape  # training sees all of them


def test_for_a_while(model, texts):
    with model.truncate_embeddings(3):
        assert model.encode(texts).shape == (len(texts), 3)
        with model.truncate_embeddings(None):
            assert model.get_embedding_dimension() == model.embedding_dim
        assert model.truncate_dim == 3
    assert model.truncate_dim is None
    with pytest.raises(KeyError), model.truncate_embeddings(3):
        raise KeyError
    assert model.truncate_dim is None
    with pytest.raises(ValueError, match="truncate_dim is 99"), model.truncate_embeddings(99):
        pass
    assert model.truncate_dim is None


def test_saved_and_loaded(model, texts, tmp_path):
    model.truncate_dim = 5
    model.save_pretrained(tmp_path / "m")
    loaded = BiEncoder.from_pretrained(tmp_path / "m")
    assert loaded.truncate_dim == loaded.untrained().truncate_dim == 5
    np.testing.assert_array_equal(loaded.encode_queries(texts), model.encode_queries(texts))
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer(
        str(tmp_path / "m"), device="cpu"
    )
    np.testing.assert_allclose(theirs.encode_query(texts), model.encode_queries(texts), atol=1e-5)
    assert BiEncoder.from_pretrained(tmp_path / "m", truncate_dim=7).truncate_dim == 7


def test_cosines_are_of_what_is_left(model, texts):
    model.truncate_dim = 5
    encoded = encode_both(model, texts[:3], texts)
    np.testing.assert_allclose(np.linalg.norm(encoded.passages, axis=1), 1, atol=1e-6)
    assert encoded.settings == {"similarity": "cosine", "truncate_dim": 5}
    kept = model.encode_passages(texts)
    expected = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    np.testing.assert_allclose(encoded.passages, expected, atol=1e-6)


@pytest.mark.parametrize("dim", [0, -1, 17, 2.0, True, "8"])
def test_dimensions_that_there_are_not(texts, dim):
    message = "truncate_dim is .*; embeddings of this model have 16 dimensions, .* from 1 to 16"
    with pytest.raises(ValueError, match=message):
        BiEncoder.static(texts, dim=16, vocab_size=200).truncate_dim = dim
