"""BM25 equals its formula, language by language, over words in any script; ties as in tasks."""

import math
import sys
from collections import Counter

import bm25s
import numpy as np
import pytest

from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.results import RunInfo
from hybrid_fast.retrieval.bm25 import BM25, K1, B, split_words

QUERIES = [
    Query("q0", "en", "cat cat dog"),
    Query("q1", "en", "nothing of all this"),
    Query("q2", "en", "?!"),
    Query("q3", "en", "dog"),
    Query("q0", "th", "สกุลเงิน 42"),
]
CANDIDATES = [
    Candidate("a", "en", "The cat sat; the CAT slept.", ("q0",)),
    Candidate("b", "en", "A dog", ("q1",)),
    Candidate("c", "en", "dog dog cat 42", ("q2",)),
    Candidate("d", "en", "..."),
    Candidate("e", "en", "A dog", ("q0", "q3")),
    Candidate("f", "th", "สกุลเงินไทย", ("q0",)),
    Candidate("g", "th", "42 cat"),
]


def make_task(candidates=CANDIDATES):
    return RetrievalTask("hand-made", QUERIES, candidates)


def bm25_of(task):
    return BM25(task.queries, task.candidates)


def all_scores(task, bm25):
    scores = np.full((len(task.queries), len(task.candidates)), np.nan, dtype=np.float32)
    bm25(np.arange(len(task.queries)), scores)
    return scores


def slow_scores(task, k1, b):
    """Lucene's BM25 as in Kamphuis et al. 2020, with the statistics of the candidate's language."""
    languages = [task.languages[code] for code in task.candidates.language_codes]
    words = [Counter(split_words(*each)) for each in zip(task.candidates, languages, strict=True)]
    scores = np.zeros((len(task.queries), len(words)))
    for row, (text, code) in enumerate(zip(task.queries, task.queries.language_codes, strict=True)):
        for column, (own, language) in enumerate(zip(words, languages, strict=True)):
            pool = [w for w, other in zip(words, languages, strict=True) if other == language]
            mean_length = sum(w.total() for w in pool) / len(pool)
            for word in split_words(text, task.languages[code]):
                df = sum(word in other for other in pool)
                idf = math.log(1 + (len(pool) - df + 0.5) / (df + 0.5))
                saturated = own[word] + k1 * (1 - b + b * own.total() / mean_length)
                scores[row, column] += idf * own[word] / saturated if own[word] else 0
    return scores


@pytest.mark.parametrize(("k1", "b"), [(K1, B), (1.5, 0.75), (0.5, 0.0), (1.2, 1.0)])
def test_equals_the_formula(k1, b):
    task = make_task()
    expected = slow_scores(task, k1, b)
    np.testing.assert_allclose(
        all_scores(task, BM25(task.queries, task.candidates, k1, b)), expected, rtol=1e-5, atol=1e-7
    )
    assert np.count_nonzero(expected, axis=1).tolist() == [5, 0, 0, 3, 3]


def test_equals_the_scores_of_the_library():
    task = make_task()
    scores = all_scores(task, bm25_of(task))
    index = bm25s.BM25(method="lucene", k1=K1, b=B)
    index.index([split_words(each.text, "en") for each in CANDIDATES[:5]], show_progress=False)
    for row, query in enumerate(QUERIES[:2]):
        expected = index.get_scores(split_words(query.text, "en"))
        np.testing.assert_allclose(scores[row, :5], expected, rtol=1e-6)


def test_rows_of_queries_are_scored_in_their_order():
    task = make_task()
    bm25 = bm25_of(task)
    some = np.empty((3, len(CANDIDATES)), dtype=np.float32)
    bm25(np.array([3, 0, 3]), some)
    np.testing.assert_array_equal(some, all_scores(task, bm25)[[3, 0, 3]])


def test_another_language_changes_nothing_within_a_language():
    english = [each for each in CANDIDATES if each.lang == "en"]
    alone = make_task(english)
    np.testing.assert_array_equal(
        all_scores(alone, bm25_of(alone))[:3], all_scores(make_task(), bm25_of(make_task()))[:3, :5]
    )


def test_a_language_without_a_word_scores_zero():
    task = make_task([*CANDIDATES, Candidate("h", "de", "!"), Candidate("i", "de", "??")])
    scores = all_scores(task, bm25_of(task))
    assert task.candidates.language_starts.tolist() == [0, 2, 7, 9]
    assert not scores[:, :2].any()
    np.testing.assert_array_equal(scores[:, 2:], all_scores(make_task(), bm25_of(make_task())))


def test_a_task_ranks_by_it_and_equal_scores_stand_in_the_order_of_candidates():
    task = make_task()
    results = task.score_by(bm25_of(task), info=RunInfo("bm25"))
    reciprocal = results.per_query.scores["mrr@10"]
    # First relevants: a after c; b and c where nothing has a word; e after c and b, its equal.
    assert reciprocal[:4, 0].tolist() == [1 / 2, 1 / 2, 1 / 3, 1 / 3]
    assert reciprocal[:4, 2].tolist() == [1 / 2, 1 / 2, 1 / 3, 1 / 3]
    # In Thai: f is first; in the pool of all, too.
    assert reciprocal[4].tolist() == [1 / 2, 1, 1]
    assert np.isnan(reciprocal[1:4, 1]).all()
    assert results.info.model == "bm25"
    assert results.metrics["mono"]["map"] is not None


@pytest.mark.parametrize("name", ["bm25s", "icu4py.breakers"])
def test_what_is_not_installed_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    message = rf"BM25 needs {name.partition('.')[0]}, .* pip install 'hybrid_fast\[baselines\]'"
    with pytest.raises(ImportError, match=message):
        bm25_of(make_task())


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("Die Größe-Frage: 3.5 KM!", "de", ["die", "grösse", "frage", "3.5", "km"]),
        ("ประเทศไทยใช้สกุลเงินอะไร", "th", ["ประเทศไทย", "ใช้", "สกุล", "เงิน", "อะไร"]),
        ("日本の首都は東京です。", "ja", ["日本", "の", "首都", "は", "東京", "です"]),
        ("中国的首都是北京市。", "zh", ["中国", "的", "首都", "是", "北京市"]),
        ("대한민국의 수도는?", "ko", ["대한민국의", "수도는"]),
        ("भारत की राजधानी", "hi", ["भारत", "की", "राजधानी"]),
        ("ＡＢＣ ﬁn", "en", ["abc", "fin"]),
        ("a b", "no-such-language", ["a", "b"]),
        ("IĞDIR İzmir", "tr", ["ığdır", "izmir"]),
        ("IĞDIR İzmir", "TR_tr", ["ığdır", "izmir"]),
        ("İsmayıl IRAQ", "aze", ["ismayıl", "ıraq"]),
        ("ΝΌΜΟΣ νόμος", "el", ["νόμοσ", "νόμοσ"]),
        ("STRASSE Straße", "de-AT", ["strasse", "strasse"]),
        ("สกุลเงินไทย", "tha", ["สกุล", "เงิน", "ไทย"]),
        ("?! ...", "en", []),
        ("", "th", []),
    ],
)
def test_words(text, language, words):
    assert split_words(text, language) == words


def test_a_text_that_is_no_unicode():
    with pytest.raises(ValueError, match=r"the text 'a\\ud83d' is no valid Unicode"):
        split_words("a\ud83d", "en")


def test_words_need_icu4py(monkeypatch):
    monkeypatch.setitem(sys.modules, "icu4py.breakers", None)
    with pytest.raises(ImportError, match=r"needs icu4py.*pip install 'hybrid_fast\[baselines\]'"):
        split_words("a", "en")
