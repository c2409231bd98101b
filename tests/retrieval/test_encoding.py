"""Any model that encodes serves; texts go in batches, equal ones once and longest first."""

import numpy as np
import pytest
import torch

from hybrid_fast.retrieval.encoders import find_encoders, similarity_of
from hybrid_fast.retrieval.encoding import describe_model, encode, encode_both


def letters(texts, batch_size=None):
    """Embed a text by its length and its first letter."""
    return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float64)


def test_texts_keep_their_order_over_several_calls():
    texts = [chr(97 + row % 26) * (1 + row * 7 % 41) for row in range(200)]
    calls = []

    def encoder(some, batch_size):
        calls.append((len(some), [len(text) for text in some]))
        assert batch_size == 2
        return letters(some)

    embeddings = encode(encoder, texts, 2, "queries")
    np.testing.assert_array_equal(embeddings, letters(texts))
    assert embeddings.dtype == np.float32
    assert [size for size, _ in calls] == [128, 72]
    lengths = [length for _, some in calls for length in some]
    assert lengths == sorted(lengths, reverse=True)


def test_equal_texts_are_encoded_once():
    calls = []
    embeddings = encode(
        lambda texts: calls.extend(texts) or letters(texts), ["b", "aa", "b", "aa", "b"], 8, "texts"
    )
    assert sorted(calls) == ["aa", "b"]
    np.testing.assert_array_equal(embeddings[:, 0], [1, 2, 1, 2, 1])


def test_repeated_texts_are_encoded_once_longest_first():
    calls = []

    def encoder(chunk):
        calls.append(chunk)
        return np.array([[len(text), hash(text) % 1000] for text in chunk], dtype=np.float32)

    given = ["bb", "a", "cccc", "bb", "\ud800", "a", "dd", "bb"]
    found = encode(encoder, given, None, "texts")
    assert calls == [["cccc", "bb", "dd", "a", "\ud800"]]
    np.testing.assert_array_equal(found, encoder(given))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_with_gradient(dtype):
    def encoder(texts, **options):
        assert options == {"batch_size": 3}
        return torch.from_numpy(letters(texts)).to(dtype).requires_grad_()

    np.testing.assert_array_equal(encode(encoder, ["ab", "c"], 3, "texts"), letters(["ab", "c"]))


@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        (lambda texts: letters(texts)[:1], ValueError, r"returned embeddings \(1, 2\) for 2 texts"),
        (lambda texts: letters(texts)[0], ValueError, r"embeddings of texts: got shape \(2,\)"),
        (lambda texts: dict.fromkeys(texts, 1.0), TypeError, "got a dict of a, b"),
        (lambda texts: None, TypeError, "got a NoneType"),
        (lambda texts: [[1.0], [1.0, 2.0]], ValueError, "2 rows of different shapes"),
        (lambda texts: [[1, 2], [3, 4]], TypeError, "got dtype int64"),
        (lambda texts: letters(texts).astype(int), TypeError, "got dtype int64"),
    ],
)
def test_encoder_that_returns_something_else(encoder, error, message):
    with pytest.raises(error, match=message):
        encode(encoder, ["a", "b"], 2, "texts")


def test_size_that_changes_between_calls():
    sizes = iter([3, 4])
    with pytest.raises(ValueError, match=r"\(36, 4\) for 36 texts; \(36, 3\) is needed"):
        encode(
            lambda texts: np.zeros((len(texts), next(sizes))),
            [str(n) for n in range(100)],
            1,
            "texts",
        )


def test_batch_size_is_left_to_the_encoder():
    def encoder(texts, **options):
        assert options == {}
        return letters(texts)

    assert encode(encoder, ["a", "b"], None, "texts").shape == (2, 2)


def test_nothing_to_do():
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        encode(letters, ["a"], 0, "texts")
    with pytest.raises(ValueError, match="there are no texts to encode"):
        encode(letters, [], 1, "texts")


class Letters:
    """Embeds texts, to be compared by a similarity."""

    def __init__(self, similarity):
        self.similarity_fn_name = similarity

    def encode(self, texts):
        return letters(texts)


def test_products_of_both_sides_are_the_similarities_of_the_model():
    queries, passages = ["a", "bb"], ["ccc"]
    products = letters(queries) @ letters(passages).T
    norms = [np.linalg.norm(letters(some), axis=1) for some in (queries, passages)]
    for similarity, expected in (("dot", products), ("cosine", products / np.outer(*norms))):
        found = encode_both(Letters(similarity), queries, passages)
        np.testing.assert_allclose(found[0] @ found[1].T, expected, rtol=1e-6)


class WithMethods:
    def __init__(self, *names):
        for name in names:
            setattr(self, name, lambda texts, name=name: name)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("encode_queries", "encode_passages"), ("encode_queries", "encode_passages")),
        (("encode", "encode_query", "encode_document"), ("encode_query", "encode_document")),
        (("encode", "encode_query"), ("encode_query", "encode")),
        (("encode", "encode_corpus"), ("encode", "encode_corpus")),
        (("encode", "encode_queries", "encode_corpus"), ("encode_queries", "encode_corpus")),
        (
            ("encode", "encode_questions", "encode_contexts"),
            ("encode_questions", "encode_contexts"),
        ),
        (("embed_query", "embed_documents"), ("embed_query", "embed_documents")),
        (("encode",), ("encode", "encode")),
    ],
)
def test_methods_by_name(names, expected):
    encoders = find_encoders(WithMethods(*names))
    assert tuple(encoder.name for encoder in encoders) == expected
    assert tuple(encoder.method(["a"]) for encoder in encoders) == expected


def test_model_that_cannot_encode():
    with pytest.raises(TypeError, match=r"model is a dict.* it needs encode_queries and"):
        find_encoders({})


def test_description_of_a_module():
    model = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    assert describe_model(model) == (
        "Linear",
        {"max_length": None, "prompts": None, "dtype": "bfloat16"},
    )


def test_similarity_is_the_models():
    model = WithMethods("encode")
    assert similarity_of(model) == "dot"
    model.similarity_fn_name = "cosine"
    assert similarity_of(model) == "cosine"
    model.similarity_fn_name = "manhattan"
    with pytest.raises(ValueError, match="similarity_fn_name is 'manhattan'; it must be one of"):
        similarity_of(model)
