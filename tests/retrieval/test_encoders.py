"""Models of other libraries are used by the methods of their sides, in the form that they take."""

from collections.abc import Iterable, Mapping
from typing import Dict, List, Union  # noqa: UP035

import numpy as np
import pytest
import torch

from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval.encoders import find_encoders, similarity_of
from hybrid_fast.retrieval.encoding import encode_both, encode_queries

TEXTS = ["a", "bb", "ccc", "bb"]


def letters(texts):
    return np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)


def of_dicts(documents):
    return letters([(doc["title"] + " " + doc["text"]).strip() for doc in documents])


class Sides:
    """A model whose bare `encode` must not be used."""

    def encode(self, texts):
        raise AssertionError("the bare encode was used")

    def encode_queries(self, queries):
        return letters(queries)


class BeirAnnotated(Sides):
    def encode_corpus(self, corpus: Union[List[Dict[str, str]], Dict[str, List]], **options):  # noqa: UP006, UP007
        return of_dicts(corpus)


class BeirModern(Sides):
    def encode_corpus(self, corpus: "list[dict[str, str]]", batch_size: int = 8):
        return of_dicts(corpus)


class BeirBare(Sides):
    def encode_corpus(self, corpus, batch_size=8, **options):
        return of_dicts(corpus)


class BeirWithGet(Sides):
    def encode_documents(self, documents: Iterable[Mapping]):
        return letters([doc.get("text", "") for doc in documents])


@pytest.mark.parametrize("kind", [BeirAnnotated, BeirModern, BeirBare, BeirWithGet])
@pytest.mark.parametrize("batch_size", [None, 2])
def test_documents_as_beir_passes_them(kind, batch_size, caplog):
    with caplog.at_level("INFO", logger="hybrid_fast"):
        _, passages, settings = encode_both(kind(), ["q"], TEXTS, batch_size)
    np.testing.assert_array_equal(passages, letters(TEXTS))
    method = "encode_documents" if kind is BeirWithGet else "encode_corpus"
    assert settings == {
        "similarity": "dot",
        "encoded_by": {
            "queries": "encode_queries",
            "passages": f"{method} with dicts of title and text",
        },
    }
    [record] = caplog.records
    assert record.getMessage() == (
        f"{kind.__name__}: queries are encoded by encode_queries, passages by {method} with dicts "
        "of title and text; dot similarity."
    )
    assert encode_queries(kind(), ["q"], batch_size)[1] == settings  # passages are elsewhere


class Strings(Sides):
    def __init__(self):
        self.calls = []

    def encode_corpus(self, corpus):
        self.calls.append(list(corpus))
        return letters(corpus)


class AnnotatedStrings(Strings):
    def encode_corpus(self, corpus: list[str] | list[dict[str, str]]):
        return super().encode_corpus(corpus)


@pytest.mark.parametrize("kind", [Strings, AnnotatedStrings])
def test_an_encode_corpus_of_strings_gets_each_text_once(kind):
    model = kind()
    _, passages, settings = encode_both(model, ["q"], TEXTS)
    np.testing.assert_array_equal(passages, letters(TEXTS))
    assert model.calls == [["ccc", "bb", "a"]]
    assert settings["encoded_by"]["passages"] == "encode_corpus"


class LangChain:
    def embed_query(self, text: str) -> list[float]:
        assert isinstance(text, str)
        return letters([text])[0].tolist()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return letters(texts).tolist()


class OneAtATime:
    def encode_query(self, query):
        return torch.from_numpy(letters([query.strip()]))  # (1, D) of a single text

    def encode_passage(self, passage):
        return letters([passage.strip()])[0]


@pytest.mark.parametrize("kind", [LangChain, OneAtATime])
def test_methods_that_take_one_text(kind):
    queries, passages, settings = encode_both(kind(), TEXTS, ["q", "rr"])
    np.testing.assert_array_equal(queries, letters(TEXTS))
    np.testing.assert_array_equal(passages, letters(["q", "rr"]))
    assert settings["encoded_by"]["queries"].endswith("_query with one text")


class AnyFailure:
    def __init__(self, error):
        self.error = error

    def encode_queries(self, queries):
        if "bad" in queries:
            raise self.error
        return letters(queries)

    encode_corpus = encode_queries


def test_an_error_about_some_texts_is_the_models_own():
    with pytest.raises(ValueError, match="a text is bad"):
        encode_both(AnyFailure(ValueError("a text is bad")), ["longest", "bad"], TEXTS)


def test_a_method_that_takes_nothing_of_ours_says_what_was_tried():
    class Nothing(Sides):
        def encode_corpus(self, corpus):
            raise KeyError("body")

    with pytest.raises(TypeError, match=r"encode_corpus .* neither texts nor dicts.*'body'"):
        encode_both(Nothing(), ["q"], TEXTS)


def test_an_encode_for_both_is_told_the_side():
    class Late:
        def encode(self, texts, is_query=False):
            return letters(texts) + (100 if is_query else 0)

    class Prompted:
        def __init__(self):
            self.prompts = {"query": "q: ", "passage": "p: ", "document": None}

        def encode(self, texts, prompt_name=None):
            return letters([self.prompts[prompt_name] + text for text in texts])

    queries, passages, settings = encode_both(Late(), TEXTS, TEXTS)
    np.testing.assert_array_equal(queries, passages + 100)
    assert settings["encoded_by"]["queries"] == "encode, is_query=True"
    queries, passages, settings = encode_both(Prompted(), ["a"], ["a"])
    np.testing.assert_array_equal(queries, letters(["q: a"]))
    np.testing.assert_array_equal(passages, letters(["p: a"]))
    assert settings["encoded_by"]["passages"] == "encode, prompt_name='passage'"


@pytest.mark.parametrize(
    "convert",
    [
        list,
        tuple,
        iter,
        torch.from_numpy,
        lambda rows: torch.from_numpy(rows).to(torch.bfloat16),
        lambda rows: torch.from_numpy(rows).to_sparse(),
        lambda rows: [torch.from_numpy(row).to(torch.bfloat16) for row in rows],
        lambda rows: rows.tolist(),
        lambda rows: {"dense_vecs": rows, "lexical_weights": [{}] * len(rows)},
        np.float16,
    ],
)
def test_outputs_of_all_kinds(convert):
    class Model:
        def encode_queries(self, texts):
            return convert(letters(texts))

        encode_passages = encode_queries

    queries, *_ = encode_both(Model(), TEXTS, TEXTS)
    assert queries.dtype == np.float32
    np.testing.assert_array_equal(queries, letters(TEXTS))


def test_a_wrong_number_of_rows_names_the_method():
    class Short(Sides):
        def encode_corpus(self, corpus: list[str]):
            return letters(corpus)[1:]

    with pytest.raises(ValueError, match=r"encode_corpus returned embeddings \(2, 2\) for 3 pass"):
        encode_both(Short(), ["q"], TEXTS)


@pytest.mark.parametrize("model", ["intfloat/multilingual-e5-small", BiEncoder])
def test_a_name_or_a_class_is_no_model(model):
    with pytest.raises(TypeError, match=r"load it first: BiEncoder\.from_pretrained"):
        find_encoders(model)


def test_a_bi_encoder_is_used_by_its_own_methods_before_those_of_a_sentence_transformer():
    model = BiEncoder.static(TEXTS, dim=8, vocab_size=99)
    assert [encoder.name for encoder in find_encoders(model)] == [
        "encode_queries",
        "encode_passages",
    ]
    assert "encoded_by" not in encode_both(model, TEXTS, TEXTS).settings


def test_similarity_of_models_of_others():
    class Mteb:
        class mteb_model_meta:
            similarity_fn_name = "cosine"

    class OldSentenceTransformer:
        """As sentence-transformers before 3.0: it names no similarity and compares by cosine."""

    OldSentenceTransformer.__module__ = "sentence_transformers.SentenceTransformer"
    assert similarity_of(Mteb()) == "cosine"
    assert similarity_of(OldSentenceTransformer()) == "cosine"
    assert similarity_of(Sides()) == "dot"


@pytest.mark.parametrize(("similarity", "norm_is_one"), [("cosine", True), ("dot", False)])
def test_a_bi_encoder_that_does_not_normalise_is_compared_as_it_says(similarity, norm_is_one):
    texts = ["one river", "two rivers and a sea", "sea"]
    model = BiEncoder.static(texts, 8, 50, normalize=False, similarity=similarity)
    queries, passages, settings = encode_both(model, texts, texts)
    assert settings == {"similarity": similarity}
    for matrix in (queries, passages):
        assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6) == norm_is_one
