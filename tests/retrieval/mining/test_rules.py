"""The rules of mining, one by one, on tables that are made for them."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from hybrid_fast import AlignedTable, mine_hard_negatives
from hybrid_fast.retrieval.mining import MiningOptions, mine

pytestmark = pytest.mark.usefixtures("memory_stores")


class Dictionary:
    """Texts have the number within them as their score for every query."""

    similarity_fn_name = "dot"

    def encode_queries(self, texts):
        return np.ones((len(texts), 1), np.float32)

    def encode_passages(self, texts):
        digits = ["".join(filter(lambda c: c in "-.0123456789", text)) for text in texts]
        return np.array([[float(each or 0)] for each in digits], np.float32)


def make_table(*rows, **columns) -> AlignedTable:
    """Rows of group, language, query and passage."""
    names = ("group_id", "lang", "query", "passage")
    return AlignedTable.from_columns(
        dict(zip(names, zip(*rows, strict=True), strict=True)) | columns
    )


def mined(table, row=0, **options):
    options = {"relative_margin": None, **options}
    return mine_hard_negatives(Dictionary(), table, **options).dataset[row]["negatives"]


OTHERS = [("x", "en", None, f"score {n}") for n in range(1, 9)]


def test_what_shares_a_query_in_any_language_is_no_negative():
    table = make_table(
        ("a", "en", "q", "own 5"),
        ("b", "de", " q", "of an equal query 6"),
        ("b", "en", "r", "of its group 7"),
        ("c", "th", "r", "of a query equal to one of that group 8"),
        ("d", "en", "s", "a negative 4"),
        ("d", "de", "t", "another 3"),
    )
    assert mined(table, languages="pool") == ["a negative 4", "another 3"]


def test_what_shares_id_or_text_with_an_answer_or_the_query_is_no_negative():
    table = make_table(
        ("a", "en", "is it 9", "own 5"),
        ("b", "de", None, "own  5"),
        ("c", "de", None, "the same paragraph 6"),
        ("h", "de", None, "the same paragraph 6"),
        ("d", "th", None, "its translation 7"),
        ("e", "en", None, "is it 9"),
        ("f", "de", None, "own ５"),
        ("g", "th", None, "none 4"),
        passage_id=["p", None, "p", "r", "r", None, None, None],
    )
    assert mined(table, languages="pool") == ["none 4"]


def test_equal_texts_are_negatives_once():
    table = make_table(
        ("a", "en", "q", "own 1"),
        ("b", "de", None, "twice 6"),
        ("b", "th", None, "twice 6"),
        ("c", "en", None, "once 5"),
    )
    assert mined(table, languages="pool") == ["twice 6", "once 5"]
    assert mined(table, languages="other", ranks=(1, 4)) == ["twice 6"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [8, 7, 6, 5]),
        ({"ranks": (3, 5), "num_negatives": 2}, [6, 5]),
        ({"ranks": (3, 5), "num_negatives": 3}, [6, 5, 4]),
        ({"margin": 0}, [5, 4, 3, 2]),
        ({"margin": 1.5}, [3, 2, 1]),
        ({"relative_margin": 0.8}, [4, 3, 2, 1]),
        ({"relative_margin": 0.79}, [3, 2, 1]),
        ({"relative_margin": 1}, [5, 4, 3, 2]),
        ({"relative_margin": 0.8, "margin": 3}, [2, 1]),
        ({"relative_margin": 0.8, "ranks": (1, 5)}, [4]),
        ({"max_score": 6, "min_score": 5}, [6, 5]),
        ({"max_score": 0.5}, []),
    ],
    ids=str,
)
def test_margins_and_bounds(options, expected):
    """A margin holds for the passages of the ranks, so that ranks do not depend on it."""
    table = make_table(("a", "en", "q", "own 5"), *OTHERS)
    assert mined(table, **options) == [f"score {n}" for n in expected]


def test_ranks_may_lie_beyond_all_passages():
    table = make_table(("a", "en", "q", "own 5"), *OTHERS)
    assert mined(table, ranks=(7, 10**15)) == ["score 2", "score 1"]
    assert mined(table, ranks=(10**12, 10**15)) == []


def test_the_relative_margin_stays_below_a_negative_positive():
    table = make_table(
        ("a", "en", "q", "own -4"), *[("x", "en", None, f"score -{n}") for n in (3, 4, 4.1, 4.4, 5)]
    )
    assert mined(table, relative_margin=0.9) == ["score -4.4", "score -5"]


def test_the_margin_is_to_the_lowest_of_several_positives_or_to_ones_own():
    table = make_table(
        ("a", "en", "q", "own 6"),
        ("a", "en", "other words", "an alternative 3"),
        ("b", "en", "q", "of an equal query 4"),
        ("a", "de", "f", "a translation 1"),
        *OTHERS,
    )
    of_lowest, of_own = (
        mine_hard_negatives(
            Dictionary(), table, relative_margin=None, margin=0.5, positive=positive
        ).dataset[:4]
        for positive in ("lowest", "own")
    )
    assert of_lowest["negatives"][:3] == [["score 2", "score 1"]] * 3
    assert of_own["negatives"] == [
        [f"score {n}" for n in (5, 4, 3, 2)],
        ["score 2", "score 1"],
        [f"score {n}" for n in (3, 2, 1)],
        [],  # nothing else is in German
    ]
    assert of_own["positive_score"] == of_lowest["positive_score"] == [6.0, 3.0, 4.0, 1.0]


def test_a_query_without_a_passage_is_held_against_those_of_its_group():
    table = make_table(
        ("a", "en", "q", None),
        ("a", "de", None, "answer 3"),
        ("a", "th", None, "answer 6"),
        ("b", "en", "nobody answers", None),
        *OTHERS,
    )
    found = mine(Dictionary(), table, MiningOptions(relative_margin=0.9))
    assert found.table.dataset[0]["negatives"] == ["score 2", "score 1"]
    assert "positive_score" not in found.table.dataset.column_names  # no row has one
    assert found.table.dataset[3]["negatives"] == []
    report = found.report.languages["en"]
    assert (report.items, report.without, report.fewer) == (2, 1, 1)
    assert report.left_out == {"no_positive": 8, "relative_margin": 6}
    assert report.mean_positive == 3.0
    assert mined(table, 3) == [f"score {n}" for n in (8, 7, 6, 5)]


LANGUAGES = [
    ("a", "en", "q", "own 9"),
    *[("x", "en", None, f"en {n}") for n in (8, 7, 6)],
    *[("y", "de", None, f"de {n}") for n in (5, 4)],
    ("z", "th", None, "th 3"),
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"languages": "own"}, ["en 8", "en 7", "en 6"]),
        ({"languages": "other"}, ["de 5", "de 4", "th 3"]),
        ({"languages": "pool"}, ["en 8", "en 7", "en 6", "de 5"]),
        ({"languages": ["deu_Latn", "th"]}, ["de 5", "de 4", "th 3"]),
        ({"languages": "pool", "balanced": True}, ["en 8", "en 7", "de 5", "th 3"]),
        ({"languages": "pool", "balanced": True, "num_negatives": 2}, ["en 8", "de 5"]),
        ({"languages": "pool", "balanced": True, "ranks": (2, 5)}, ["en 7", "en 6", "de 4"]),
    ],
    ids=str,
)
def test_languages_of_negatives(options, expected):
    assert mined(make_table(*LANGUAGES), **options) == expected


def test_balanced_negatives_are_counted_by_their_language():
    options = MiningOptions(relative_margin=None, languages="pool", balanced=True)
    report = mine(Dictionary(), make_table(*LANGUAGES), options).report
    assert report.total.negatives == {"en": 2, "de": 1, "th": 1}
    assert report.total.mean_negative == (8 + 7 + 5 + 3) / 4
    assert report.to_dict()["languages"]["en"]["left_out"] == {"answer": 1}


@pytest.mark.parametrize(
    ("existing", "negatives", "scores"),
    [
        ("replace", [["score 8", "score 7"], ["mine"]], [[8.0, 7.0], None]),
        ("keep", [["score 8", "own words"], ["mine"]], [[0.5, None], None]),
        (
            "extend",
            [["score 8", "own words", "score 7", "score 6"], ["mine"]],
            [[0.5, None, 7.0, 6.0], None],
        ),
    ],
)
def test_negatives_that_are_there(existing, negatives, scores):
    table = make_table(
        ("a", "en", "q", "own 5"), ("b", "en", None, "no query 0"), *OTHERS,
        negatives=[["score 8", "own words"], ["mine"], *[None] * 8],
        negative_scores=[[0.5, None], *[None] * 9],
    )  # fmt: skip
    options = MiningOptions(relative_margin=None, num_negatives=2, existing=existing)
    found = mine(Dictionary(), table, options)
    assert found.table.dataset[:2]["negatives"] == negatives
    assert found.table.dataset[:2]["negative_scores"] == scores
    assert found.report.languages["en"].kept == (existing == "keep")


def test_titles_stand_before_negatives_as_before_positives():
    table = make_table(("a", "en", "q", "own 5"), ("b", "en", None, "text 4"), title=["T", "U"])
    assert mined(table) == ["U text 4"]


def test_a_reranker_gives_all_scores():
    calls = []

    def reranker(queries, texts):
        calls.append((set(queries), list(texts)))
        return [-float(text.split()[1]) for text in texts]

    table = make_table(("a", "en", "q", "own 5"), *OTHERS)
    found = mine_hard_negatives(
        Dictionary(), table, reranker=reranker, relative_margin=0.9, ranks=(2, 7), num_negatives=3
    ).dataset[0]
    assert found["negatives"] == ["score 6", "score 7"]  # at most -5.5; 8 is before the ranks
    assert found["negative_scores"] == [-6.0, -7.0]
    assert found["positive_score"] == -5.0
    assert sorted({text for _, texts in calls for text in texts if text != "own 5"}) == [
        f"score {n}" for n in range(2, 8)
    ]

    class Encoder:
        def predict(self, pairs):
            return np.array([float(text.split()[1]) for _, text in pairs])

    assert mined(table, reranker=Encoder(), margin=2.0) == ["score 3", "score 2", "score 1"]


def test_what_was_found_is_said(caplog):
    with caplog.at_level(logging.INFO, "hybrid_fast"):
        mined(make_table(("a", "en", "q", "own 5"), *OTHERS[:5]), margin=2.5)
    assert caplog.messages[-1] == (
        "2 hard negatives for 1 of 1 items; 1 have fewer than asked for, 0 have none; mean score "
        "1.5000, of positives 5.0000; passages left out: answer 1, margin 3"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"languages": "others"}, ValueError, "languages is 'others'; it must be one of 'own'"),
        ({"languages": "de"}, ValueError, r"give a list of codes, \['de'\]"),
        ({"languages": []}, ValueError, r"languages is \[\]; give one of"),
        ({"languages": ["de", "12"]}, ValueError, "languages: "),
        (
            {"languages": ["de", "fi"]},
            ValueError,
            "no passages in 'de', 'fi'; there are some",
        ),
        ({"num_negatives": 0}, ValueError, "num_negatives is 0; a whole number of at least 1"),
        ({"num_negatives": 2.0}, ValueError, "num_negatives is 2.0; a whole number"),
        ({"num_negatives": 101}, ValueError, "ranks 1 to 100 hold fewer than num_negatives=101"),
        ({"ranks": (0, 9)}, ValueError, "the first of ranks is 0"),
        ({"ranks": (9, 8)}, ValueError, "the last of ranks is 8; a whole number of at least 9"),
        ({"ranks": 9}, ValueError, "ranks is 9; the first and the last"),
        ({"margin": "a"}, ValueError, "margin is 'a'; a number is needed"),
        ({"margin": float("nan")}, ValueError, "margin is nan; a number is needed"),
        ({"relative_margin": 1.5}, ValueError, "relative_margin is 1.5; it is the share"),
        ({"relative_margin": 0}, ValueError, "relative_margin is 0; it is the share"),
        ({"max_score": 1, "min_score": 2}, ValueError, "min_score 2 is above max_score 1"),
        ({"sampling": "best"}, ValueError, "sampling is 'best'; it must be one of 'top', 'random'"),
        ({"positive": "all"}, ValueError, "positive is 'all'; it must be one of"),
        ({"existing": "drop"}, ValueError, "existing is 'drop'; it must be one of"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"balanced": True}, ValueError, "balanced is for negatives of several languages"),
        ({"balanced": True, "languages": ["en"]}, ValueError, "balanced is for negatives of sev"),
        ({"texts": {}}, ValueError, "texts are those of a store"),
        ({"reranker": 3}, TypeError, "reranker is 3; give a function"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        mined(make_table(("a", "en", "q", "own 5"), *OTHERS), **options)


def test_the_relative_margin_of_others_is_named(caplog):
    MiningOptions(relative_margin=0.05)
    assert "What sentence-transformers calls a relative margin of 0.05 is 0.95" in caplog.text


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (make_table(*OTHERS), ValueError, "the table has no queries"),
        (make_table(("a", "en", "q", None)), ValueError, "the table has no passages .*; give a st"),
        ([{"query": "q"}], TypeError, "an AlignedTable is needed, got list"),
    ],
)
def test_tables_that_cannot_be_mined(table, error, message):
    with pytest.raises(error, match=message):
        mined(table)


def test_a_model_that_is_none():
    with pytest.raises(TypeError, match="cannot encode texts"):
        mine_hard_negatives(3, make_table(("a", "en", "q", "own 5")))


def test_one_row_alone_has_no_negative():
    table = make_table(("a", "en", "q", "own 5"))
    found = mine_hard_negatives(Dictionary(), table).dataset[0]
    assert found["negatives"] == []
    assert found["positive_score"] == 5.0
