"""A real encoder, its real tokenizer and real texts: what sentence-transformers makes of them.

The folder, one of the shape and size of multilingual-e5-small, is named by the environment variable
HYBRID_FAST_REAL_ENCODER.
"""

import numpy as np
import pytest
import torch
from real_texts import draw_tydi
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize

from hybrid_fast.models import BiEncoder

pytestmark = pytest.mark.slow

SCRIPTS = [
    "Where does the river rise?",
    "Wo entspringt der Fluss? Größe, Straße, ﬁ, e\u0301",
    "Откуда берёт начало река?",
    "Πού πηγάζει το ποτάμι;",
    "أين ينبع النهر؟",
    "नदी कहाँ से निकलती है?",
    "แม่น้ำเกิดที่ไหน",
    "河流发源于哪里？",
    "강은 어디에서 시작되나요?",
    "მდინარე სად იღებს სათავეს?",
    "🌊 → 🏔️  ?",
    "a",
    " leading, trailing and\tother\nblanks ",
]
LENGTHS = [" ".join(["Wasser", "water", "水"] * count) for count in (1, 7, 40, 120)]
TOO_LONG = ["the river and the sea " * 400, "河" * 2000]
SHORT = SCRIPTS + LENGTHS
TEXTS = SHORT + TOO_LONG


@pytest.fixture(scope="module")
def theirs(real_encoder):
    return SentenceTransformer(real_encoder, device="cpu")


@pytest.fixture(scope="module")
def ours(real_encoder):
    return BiEncoder.from_pretrained(real_encoder)


@pytest.fixture(scope="module")
def tydi(shared_data):
    """Questions in English, Korean and Swahili and their passages; no text comes twice."""
    return draw_tydi(shared_data, 24)


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=tolerance)


def test_queries_passages_and_bare_texts_have_the_same_vectors(ours, theirs):
    close(ours.encode_queries(TEXTS), theirs.encode_query(TEXTS))
    close(ours.encode_passages(TEXTS), theirs.encode_document(TEXTS))
    close(ours.encode_query(SHORT), theirs.encode_query(SHORT))
    close(ours.encode_document(SHORT), theirs.encode_document(SHORT))
    close(ours.encode(SHORT), theirs.encode(SHORT))


def test_prompts_change_vectors_and_long_texts_are_cut(ours):
    queries, bare = ours.encode_queries(SHORT), ours.encode(SHORT)
    assert np.abs(queries - bare).max(axis=1).min() > 1e-3
    cut = ours.encode_queries([TOO_LONG[0], TOO_LONG[0] * 2])
    close(cut[0], cut[1])


@pytest.mark.parametrize("batch_size", [1, 5])
def test_vectors_do_not_depend_on_the_texts_of_a_batch(ours, batch_size):
    close(ours.encode_queries(SHORT, batch_size=batch_size), ours.encode_queries(SHORT))


def test_real_questions_and_passages(ours, theirs, tydi):
    queries, passages = tydi
    vectors = ours.encode_queries(queries), ours.encode_passages(passages)
    close(vectors[0], theirs.encode_query(queries))
    close(vectors[1], theirs.encode_document(passages))
    assert ((vectors[0] @ vectors[1].T).argmax(axis=1) == np.arange(24)).mean() > 0.8


def test_half_precision(real_encoder, ours):
    half = BiEncoder.from_pretrained(real_encoder, dtype="bf16")
    options = {"torch_dtype": torch.bfloat16}
    theirs = SentenceTransformer(real_encoder, device="cpu", model_kwargs=options)
    whole = ours.encode_passages(SCRIPTS)
    found = half.encode_passages(SCRIPTS)
    expected = theirs.encode_document(SCRIPTS, convert_to_tensor=True).float().numpy()
    assert found.dtype == np.float32
    errors = [np.abs(vectors - whole).max() for vectors in (found, expected)]
    assert 1e-5 < errors[0] <= 1.5 * errors[1]
    close(found, expected, 0.01)


def test_a_saved_folder_is_the_same_model_there(ours, theirs, tmp_path):
    ours.save_pretrained(tmp_path / "saved")
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert again.prompts["query"] == theirs.prompts["query"]
    assert again.max_seq_length == theirs.max_seq_length
    close(again.encode_query(SHORT), theirs.encode_query(SHORT), 1e-6)
    close(again.encode_document(SHORT), theirs.encode_document(SHORT), 1e-6)


def test_a_dense_layer_after_pooling(real_encoder, theirs, tmp_path):
    torch.manual_seed(0)
    chain = [theirs[0], theirs[1], Dense(384, 96, activation_function=torch.nn.Tanh()), Normalize()]
    headed = SentenceTransformer(modules=chain, device="cpu", prompts=theirs.prompts)
    headed.save_pretrained(str(tmp_path / "headed"))
    ours = BiEncoder.from_pretrained(tmp_path / "headed")
    assert ours.embedding_dim == 96
    close(ours.encode_queries(SHORT), headed.encode_query(SHORT))
    close(ours.encode_passages(SHORT), headed.encode_document(SHORT))
