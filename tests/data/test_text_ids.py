"""Ids of texts by their content: which texts share one, and that they are the same everywhere."""

import unicodedata

import pyarrow as pa
import pytest
from passage_ids import passage_text_id

from hybrid_fast.data.text_ids import passage_text_ids, query_text_ids, text_ids


def test_ids_are_the_same_bits_everywhere():
    """A change here changes the ids of every user's passages: say so in the changelog."""
    assert text_ids(pa.array(["", "a", "eight by", "nine byte", "ไทย"])).tolist() == [
        8147104208329303767,
        2245105075474771320,
        5352828162018143183,
        7445819375077256543,
        6825847328861900788,
    ]
    assert passage_text_id("The cat is black.") == "text:99e1b59dec669747"


def test_texts_that_differ_in_white_space_or_form_share_their_id():
    variants = [
        "a ﬁle  of\ttext ",
        "a file of text",
        " a ﬁle of\u00a0text\n",
        "a\u2003file of text",
    ]
    ids = passage_text_ids(pa.chunked_array([variants[:1], variants[1:]])).to_pylist()
    assert len(set(ids)) == 1
    assert ids[0].startswith("text:")
    assert len(ids[0]) == 21
    assert passage_text_id("A file of text") != ids[0]


def test_white_space_is_pythons():
    points = [chr(c) for c in range(0x3100) if unicodedata.normalize("NFKC", chr(c)).isspace()]
    assert len(points) > 20
    assert {passage_text_id(f"a{point}b") for point in points} == {passage_text_id("a b")}


def test_different_texts_have_different_ids():
    texts = [f"{'long ' * (number % 7)}passage {number}" for number in range(20000)]
    assert len(set(text_ids(pa.array(texts)).tolist())) == len(texts)
    assert min(text_ids(pa.array(texts))) >= 0


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_slices_chunks_and_missing_texts(kind):
    texts = ["one", None, "three", "four"]
    array = pa.array(texts, kind)
    whole = text_ids(array).tolist()
    assert whole[1] == -1
    assert text_ids(array[2:]).tolist() == whole[2:]
    assert text_ids(pa.chunked_array([array[:1], array[1:]])).tolist() == whole
    assert passage_text_ids(array)[1].as_py() is None
    assert text_ids(pa.array([], kind)).tolist() == []


def test_queries_that_passages_would_be_one_with_are_one():
    texts = ["a ﬁle  of\ttext ", "A file of text", " a ﬁle of\u00a0text\n", None, "a file of text"]
    ids = query_text_ids(pa.chunked_array([texts[:2], texts[2:]]))
    assert ids[0] == ids[2] == ids[4]
    assert len(set(ids.tolist())) == 3
    assert ids[3] == -1
    assert query_text_ids(pa.chunked_array([], pa.string())).tolist() == []
