"""A task takes ids of any type, codes in any spelling, and names what it cannot use by its id."""

import json
import math
from fractions import Fraction
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import torch

from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.evaluation.trec_run import evaluate_run

FIRST, SECOND = UUID(int=1), UUID(int=2)


class Constant:
    """Ranks the candidates in the order in which they are given."""

    def encode_queries(self, texts):
        return np.ones((len(texts), 1), np.float32)

    def encode_passages(self, texts):
        return np.array([[9.0 - int(text)] for text in texts], np.float32)


def make_task(queries=None, candidates=None, **options):
    return RetrievalTask(
        "t",
        queries or [Query("q", "en", "x")],
        candidates or [Candidate(f"d{n}", "en", str(n)) for n in range(3)],
        **options,
    )


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        ([7, 8], ["7", "8"]),
        (list(np.arange(7, 9)), ["7", "8"]),
        ([np.str_("a"), b"b"], ["a", "b"]),
        ([FIRST, SECOND], [str(FIRST), str(SECOND)]),
    ],
)
@pytest.mark.parametrize("judged_by_text", [False, True])
def test_ids_of_any_type(tmp_path, ids, texts, judged_by_text):
    judged = texts if judged_by_text else ids
    queries = [Query(each, "en", f"query {n}") for n, each in enumerate(ids)]
    candidates = [Candidate(each, "en", str(n)) for n, each in enumerate(ids)]
    by_qrels = make_task(queries, candidates, qrels={each: {each: np.int64(1)} for each in judged})
    named = [
        Candidate(each, "en", str(n), [judged[n]] if n else np.array([judged[n]]))
        for n, each in enumerate(ids)
    ]
    for task in (by_qrels, make_task(queries, named)):
        assert task.queries.ids == task.candidates.ids == texts
        results = task.evaluate(Constant(), run=tmp_path / f"{task is by_qrels}.run")
        assert results.per_query.scores["mrr@10"][:, 0].tolist() == [1, 1 / 2]
        results.save(tmp_path / f"{task is by_qrels}")
    assert np.load(tmp_path / "True" / "per_query.npz")["ids"].tolist() == texts


@pytest.mark.parametrize(
    "grades",
    [
        {"d0": 1, "d1": 2},
        {"d0": 0.5, "d1": 2.0},
        {"d0": 1.2, "d1": 1.9},
        {"d0": 0.5, "d1": 0.2},
        {"d0": Fraction(1, 2), "d1": Fraction(2)},
        {"d0": np.float32(0.5), "d2": np.int8(1), "d1": -0.5},
    ],
)
def test_grades_may_be_fractions(tmp_path, grades):
    positive = [(int(each[1]), float(grade)) for each, grade in grades.items() if grade > 0]
    gain = sum(grade / math.log2(place + 2) for place, grade in positive)
    ordered = sorted((grade for _, grade in positive), reverse=True)
    best = sum(grade / math.log2(place + 2) for place, grade in enumerate(ordered))
    candidates = [
        Candidate(f"d{n}", "en", str(n), {"q": grades[f"d{n}"]} if f"d{n}" in grades else ())
        for n in range(3)
    ]
    by_qrels = make_task(qrels={"q": grades})
    for task in (by_qrels, make_task(candidates=candidates)):
        found = task.evaluate(Constant()).metrics["mono"]["ndcg@10"]
        assert found == pytest.approx(gain / best)
        # The run that it writes is scored alike.
        path = tmp_path / f"{task is by_qrels}.run"
        task.evaluate(Constant(), run=path)
        again = evaluate_run(path, f"{path}.qrels", ["ndcg@10"]).metrics["ndcg@10"]
        assert again == pytest.approx(found)


def test_grades_of_runs_are_written_whole_where_they_are(tmp_path):
    task = make_task(qrels={"q": {"d0": 2.0, "d1": 0.5, "d2": np.float64(1)}})
    task.evaluate(Constant(), run=tmp_path / "run")
    assert (tmp_path / "run.qrels").read_text() == "q 0 d0 2\nq 0 d1 0.5\nq 0 d2 1\n"


def test_levels_of_language_bias_are_named_by_their_grade():
    peer = make_task(qrels={"q": {"d0": 2.0, "d1": 0.5}}).evaluate(Constant())
    assert list(peer.language_bias.rankings.peer) == ["non-relevant", "grade 0.5", "grade 2"]
    candidates = [Candidate(f"d{n}", "en", str(n)) for n in range(20)]
    scale = make_task(candidates=candidates, qrels={"q": {f"d{n}": n / 7 for n in range(20)}})
    peer = scale.score(np.ones((1, 2)), np.ones((20, 2))).language_bias.rankings.peer
    assert list(peer) == ["non-relevant", "relevant"]


@pytest.mark.parametrize(
    ("member", "error", "message"),
    [
        ((None, "en", "x"), TypeError, "task 't': the id of NAME 1 is missing: it is None"),
        ((math.nan, "en", "x"), TypeError, "task 't': the id of NAME 1 is missing"),
        ((["a"], "en", "x"), TypeError, r"task 't': the id of NAME 1 is \['a'\]"),
        (("a\ud800", "en", "x"), ValueError, r"NAME 'a\\ud800' is no valid Unicode"),
        (("b", "en", None), ValueError, "task 't': NAME 'b' has no text: it is None"),
        ((5, "en", math.nan), ValueError, "task 't': NAME '5' has no text: it is nan"),
        ((5, "en", ""), ValueError, "task 't': NAME '5' has a blank text, ''; leave it out"),
        (("b", "en", " \n"), ValueError, r"task 't': NAME 'b' has a blank text, ' \\n'; leave"),
        (("b", "en", "a\udfff"), ValueError, "task 't': NAME 'b' is no valid Unicode"),
        (("b", None, "x"), ValueError, "task 't': NAME 'b' has no language: it is None"),
        (("b", "", "x"), ValueError, "task 't': NAME 'b' has no language: it is ''"),
        (("b", "englisch", "x"), ValueError, "task 't': NAME 'b': unknown language 'englisch'"),
        (("b", "ALL", "x"), ValueError, "no language can be called 'all'"),
        ({"id": "b"}, TypeError, r"task 't': NAME 1 is a dict; give a TITLE\(id, lang, text\)"),
        ("text", TypeError, r"task 't': NAME 1 is a str; give a TITLE\(id, lang, text\)"),
    ],
)
@pytest.mark.parametrize(("name", "kind"), [("query", Query), ("candidate", Candidate)])
def test_what_is_missing_or_cannot_be_used_is_named(member, error, message, name, kind):
    bad = kind(*member) if isinstance(member, tuple) else member
    given = {"queries" if name == "query" else "candidates": [kind("a", "en", "0"), bad]}
    with pytest.raises(error, match=message.replace("NAME", name).replace("TITLE", kind.__name__)):
        make_task(**given)


@pytest.mark.parametrize("none", [None, (), [], {}, np.array([])])
def test_candidates_that_answer_nothing(none):
    candidates = [Candidate("d0", "en", "0", none), Candidate("d1", "en", "1", ["q"])]
    assert make_task(candidates=candidates).relevants.rows.tolist() == [1]


@pytest.mark.parametrize(
    ("query_ids", "error", "message"),
    [
        ("q", TypeError, r"query_ids of candidate 'd': got the text 'q'; give a list of ids"),
        ([None], TypeError, "query_ids of candidate 'd': an id is missing"),
        ({"q": "1"}, TypeError, "query_ids of candidate 'd': the grade of 'q' is '1'; give a num"),
        ({"q": True}, TypeError, "the grade of 'q' is True; give a number"),
        ({"q": math.nan}, ValueError, "the grade of 'q' is nan; give a finite number"),
        ({7: 1, "7": 2}, ValueError, "'7' has two grades, 1 and 2; keep one"),
    ],
)
def test_answers_that_cannot_be_used(query_ids, error, message):
    with pytest.raises(error, match=message):
        make_task(candidates=[Candidate("d", "en", "0", query_ids)])


@pytest.mark.parametrize(
    ("qrels", "error", "message"),
    [
        ({"q": {"d0": math.inf}}, ValueError, "the grade is infinite"),
        ({"q": {"d0": math.nan}}, ValueError, "NaN; give a number"),
        ({"q": {"d0": True}}, TypeError, "the grade is True; give a number"),
        ({"q": {"d0": 1j}}, TypeError, "the grade is 1j; give a number"),
        ({"q": {"d0": "1"}}, TypeError, "the grade is '1'; give a number"),
        ({"q": ["d0"]}, TypeError, "query 'q' has a list; give a mapping"),
        ([("q", "d0", 1)], TypeError, "qrels is a list"),
    ],
)
def test_judgements_that_cannot_be_used(qrels, error, message):
    with pytest.raises(error, match=message):
        make_task(qrels=qrels)


def test_languages_in_any_spelling_are_one(caplog):
    queries = [Query("q", code, "x") for code in ("en", "EN", "eng", "en-Latn")]
    candidates = [Candidate("d", "en_Latn", "1", ["q"]), Candidate("e", "ZH_hans", "2", ["q"])]
    task = make_task(queries, candidates)
    assert task.languages == ("en", "zh")
    assert task.queries.counts == {"en": 4}
    results = task.evaluate(Constant())
    assert set(results.grid["map"]) == {"en"}
    assert results.per_query.query_languages.tolist() == ["en"] * 4
    assert "different codes" not in caplog.text


def test_languages_that_are_merged_are_named(caplog):
    queries = [Query(code, code, "x") for code in ("zh-Hans", "zh_TW", "zh-Hans")]
    candidates = [Candidate("d", "de", "1"), Candidate("e", "deu", "1")]
    task = make_task(queries, candidates)
    assert task.languages == ("de", "zh")
    (message,) = caplog.messages
    assert "'zh-Hans' (2 texts) and 'zh_TW' (1 texts) are now 'zh'; keep_variants=True" in message
    assert make_task(queries, keep_variants=True).languages == ("en", "zh-Hans", "zh-TW")


def test_settings_of_any_type_are_recorded(tmp_path):
    settings = {
        "seed": np.int64(3),
        "storage": torch.float16,
        "file": Path("a"),
        "rate": np.ones(2),
    }
    task = make_task(settings=settings, qrels={"q": {"d0": 1}})
    task.settings["later"] = np.float32(0.5)
    path = task.evaluate(Constant()).save(tmp_path)
    found = json.loads(path.read_text())["settings"]
    assert found["seed"] == 3
    assert found["storage"] == "float16"
    assert found["file"] == "a"
    assert found["rate"] == [1, 1]
    assert found["later"] == 0.5


def test_settings_that_cannot_be_recorded_are_refused_before_anything_is_encoded():
    with pytest.raises(TypeError, match=r"task 't': settings\.model is .*, which no file"):
        make_task(settings={"model": Constant()})
    task = make_task()
    task.settings["model"] = Constant()
    with pytest.raises(TypeError, match=r"task 't': settings\.model is"):
        task.evaluate(None)
    with pytest.raises(TypeError, match="the name of the task is 3; give a text"):
        RetrievalTask(3, [Query("q", "en", "x")], [Candidate("d", "en", "1")])
