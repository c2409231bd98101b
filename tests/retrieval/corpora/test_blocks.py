"""Texts that callers give, and the blocks that a corpus is cut into."""

from __future__ import annotations

import numpy as np
import pytest
from hashed_corpora import CORPUS

from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.retrieval.corpora.blocks import Block, GivenTexts, cut


@pytest.mark.parametrize("size", [1, 4, 5, 24, 25, 26])
@pytest.mark.parametrize("wanted", [{}, {0, 2}, {1, 5, 6}])
def test_blocks_are_cut_or_skipped(size, wanted):
    asked = []

    def is_wanted(number: int) -> bool:
        asked.append(number)
        return number in wanted

    parts = list(cut(CORPUS, size, is_wanted))
    expected = [CORPUS[start : start + size] for start in range(0, 25, size)]
    assert len(parts) == len(expected)
    assert asked == list(range(len(parts) + 1))
    for number, (part, rows) in enumerate(zip(parts, expected, strict=True)):
        if number in wanted:
            assert part == Block(number, number * size, rows)
        else:
            assert part == len(rows)


def test_no_text_gives_no_block():
    assert list(cut([], 3, lambda number: True)) == []


def test_the_digest_of_a_block_tells_where_each_value_ends():
    rows = [("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""), ("a", "b", "c1:d")]
    blocks = [[row] for row in rows] + [[("a", "b", "c"), ("d", "", "")]]
    digests = {Block(0, 0, [CorpusText(*row) for row in block]).digest for block in blocks}
    assert len(digests) == len(blocks)
    one = [CorpusText(*rows[0])]
    assert Block(0, 0, one).digest == Block(5, 9, one).digest


def test_given_texts_are_checked_and_read_again():
    given = GivenTexts([(7, "DE", "a"), ["x", "zh_hant", "b"], (np.int64(8), " en ", "a")])
    texts = [("7", "de", "a"), ("x", "zh-Hant", "b"), ("8", "en", "a")]
    assert list(given) == list(given) == texts
    assert given.name == "list"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((text for text in CORPUS), "corpus is a generator, and texts are needed that can be read"),
        (7, "corpus is a int"),
        (["text"], r"text 0 of list is 'text'; \(id, language, text\) is needed"),
        ([("a", "de")], "text 0 of list is"),
        ([("a", "de", None)], r"the text of text 0 of list \(id 'a'\) is None, no string"),
        ([("a", None, "b")], "the language of text 0"),
        ([(None, "de", "b")], "the id of text 0 of list is missing"),
        ([(1.0, "de", "b")], "ids are text or whole numbers"),
    ],
    ids=range(8),
)
def test_what_is_no_text(given, message):
    with pytest.raises(TypeError, match=message):
        list(GivenTexts(given))


def test_ids_that_differ_in_type_alone_are_one():
    with pytest.raises(ValueError, match="texts 0 and 2 of list have one id, '7'"):
        list(GivenTexts([(7, "de", "a"), (8, "de", "b"), ("7", "de", "c")]))


@pytest.mark.parametrize("place", [1, 1023, 1024, 2500])
def test_an_id_that_comes_twice_is_found_across_batches(place):
    texts = [(str(n), "de", "a") for n in range(2600)]
    texts[place] = ("0", "de", "b")
    with pytest.raises(ValueError, match=f"texts 0 and {place} of list"):
        list(GivenTexts(texts))
