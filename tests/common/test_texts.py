"""Texts are valid Unicode; ids of any type are the same text."""

from uuid import UUID

import numpy as np
import pytest

from hybrid_fast.common.texts import check_unicode, id_text


@pytest.mark.parametrize("text", ["", "naïve", "日本", "😀", "\x00", "\uffff", "e\u0301"])
def test_valid_texts(text):
    check_unicode(text, "text")


@pytest.mark.parametrize("text", ["ab\ud83d", "ab\udc80 c", "ab\ud83d\ude00"])
def test_half_of_a_surrogate_pair(text):
    with pytest.raises(ValueError, match=r"query 3 is no valid Unicode: its character 2") as caught:
        check_unicode(text, "query 3")
    # The remedy of the message is true.
    expression = str(caught.value).partition("with ")[2]
    repaired = eval(expression, {"text": text})
    check_unicode(repaired, "repaired")
    assert repaired == ("ab😀" if len(text) == 4 else text.replace(text[2], "\ufffd"))


@pytest.mark.parametrize(
    "value",
    [7, "7", np.int64(7), np.uint8(7), np.str_("7"), b"7", np.bytes_(b"7"), np.array(7)],
)
def test_ids_of_any_type(value):
    assert id_text(value, "the id of query 0") == "7"
    assert type(id_text(value, "query 0")) is str


def test_an_id_with_a_text_of_its_own():
    text = "12345678-1234-5678-1234-567812345678"
    assert id_text(UUID(text), "query 0") == text


@pytest.mark.parametrize("value", [None, float("nan"), np.float32("nan")])
def test_a_missing_id(value):
    with pytest.raises(TypeError, match="the id of query 3 is missing: it is"):
        id_text(value, "the id of query 3")


@pytest.mark.parametrize(
    "value", [1.0, np.float32(1), True, [1], (1, 2), {}, np.array([1]), object(), 1j]
)
def test_what_is_no_id(value):
    with pytest.raises(
        TypeError, match=r"the id of query 3 is .*; ids are text or whole numbers, or"
    ):
        id_text(value, "the id of query 3")


@pytest.mark.parametrize("value", ["a\ud800", b"a\xff"])
def test_an_id_that_is_no_unicode(value):
    with pytest.raises(ValueError, match=r"the id of query 3 is no valid Unicode"):
        id_text(value, "the id of query 3")
