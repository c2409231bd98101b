"""Runs are evaluated as trec_eval does, ties included; what is left out is counted or refused."""

import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_fast.data.formats.trec_runs import read_qrels
from hybrid_fast.evaluation import evaluate_run

TREC_NAMES = {
    "map": "map",
    "map_cut@3": "map_cut_3",
    "map_cut@100": "map_cut_100",
    "ndcg": "ndcg",
    "ndcg@1": "ndcg_cut_1",
    "ndcg@10": "ndcg_cut_10",
    "mrr": "recip_rank",
    "recall@1": "recall_1",
    "recall@10": "recall_10",
    "success@1": "success_1",
    "success@5": "success_5",
}
QRELS_FILES = [f"qrels.miracl-v1.0-{code}-dev.tsv" for code in ("bn", "fi", "sw", "te", "th", "yo")]
QRELS_FILES += [f"qrels.mrtydi-v1.1-{code}.test.txt" for code in ("bn", "fi", "sw", "te", "th")]


def check_against_trec_eval(run, qrels):
    """Compare every query that trec_eval evaluates and that has a relevant."""
    measures = {"map", "map_cut.3,100", "ndcg", "ndcg_cut.1,10", "recip_rank"}
    measures |= {"recall.1,10", "success.1,5"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    theirs = {query: each for query, each in theirs.items() if max(qrels[query].values()) > 0}
    ours = evaluate_run(run, qrels, TREC_NAMES, missing="leave-out")
    assert ours.per_query.keys() == theirs.keys()
    for query, found in theirs.items():
        expected = {name: found[trec_name] for name, trec_name in TREC_NAMES.items()}
        assert ours.per_query[query] == pytest.approx(expected, abs=1e-6)
    for name, trec_name in TREC_NAMES.items():
        mean = np.mean([found[trec_name] for found in theirs.values()])
        assert ours.metrics[name] == pytest.approx(mean, abs=1e-6)


# Ids whose order as texts, as bytes and as numbers differ.
IDS = ["1", "10", "2", "a", "B", "é", "z", "中", "𝔸", "\uffee", "a b", ""]
scores = st.one_of(
    st.integers(-2, 2).map(float),
    st.sampled_from([1 + 1e-9, 1 - 1e-9, 1 + 1e-6, -0.0, 1e39, -1e39, 1e-46, math.inf]),
    st.floats(-10, 10),
)


@settings(max_examples=3 * settings.default.max_examples)
@given(
    run=st.dictionaries(
        st.sampled_from("pqrs"),
        st.dictionaries(st.sampled_from(IDS), scores, min_size=1),
        min_size=1,
    ),
    qrels=st.dictionaries(
        st.sampled_from("pqrt"),
        # trec_eval does not end on some judgements below 0.
        st.dictionaries(st.sampled_from(IDS), st.integers(0, 3), min_size=1),
        min_size=1,
    ),
)
def test_random_runs_equal_trec_eval(run, qrels):
    if any(max(grades.values()) > 0 for query, grades in qrels.items() if query in run):
        check_against_trec_eval(run, qrels)
    else:
        with pytest.raises(ValueError, match="no query can be evaluated"):
            evaluate_run(run, qrels, missing="leave-out")


def test_judgements_below_0_are_not_relevant():
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    below, zero = ({"q": {"a": grade, "b": 2, "c": 1}} for grade in (-1, 0))
    assert evaluate_run(run, below).per_query == evaluate_run(run, zero).per_query


@pytest.mark.parametrize("name", QRELS_FILES)
def test_real_judgements_equal_trec_eval(shared_data, name):
    """Runs that hold some relevants and many other documents, with ties."""
    qrels = read_qrels(shared_data / "trec" / name)
    documents = sorted({document for grades in qrels.values() for document in grades})
    rng = np.random.default_rng(0)
    run = {}
    for query, grades in qrels.items():
        drawn = [documents[row] for row in rng.integers(0, len(documents), 150)]
        hits = list(dict.fromkeys([*list(grades)[: rng.integers(0, len(grades) + 1)], *drawn]))
        run[query] = dict(zip(hits, (rng.integers(0, 60, len(hits)) / 7).tolist(), strict=True))
    check_against_trec_eval(run, qrels)


def test_ties_go_to_the_document_id_that_is_last():
    found = evaluate_run({"q": {"b": 1.0, "a": 1.0, "c": 0.5}}, {"q": {"a": 1}}, ["mrr"])
    assert found.metrics == {"mrr": 0.5}


def test_cutoffs_of_map():
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    qrels = {"q": {"a": 1, "c": 1, "d": 1}}
    found = evaluate_run(run, qrels, ["map@2", "map_cut@2", "mrr@1", "map"]).metrics
    assert found == pytest.approx({"map@2": 1 / 2, "map_cut@2": 1 / 3, "mrr@1": 1, "map": 5 / 9})


RUN = {"1": {"a": 2.0, "b": 1.0}, "4": {"a": 1.0}}
QRELS = {"1": {"b": 1}, "2": {"c": 1}, "3": {"a": 0}}


def test_what_is_missing_counts_as_zero_or_is_left_out_and_counted():
    counts = {"judged": 3, "missing": 1, "without_relevants": 1, "unjudged": 1}
    zero = evaluate_run(RUN, QRELS, ["mrr"])
    assert zero.metrics == {"mrr": 0.25}
    assert zero.per_query == {"1": {"mrr": 0.5}, "2": {"mrr": 0.0}}
    assert zero.counts == {**counts, "evaluated": 2}
    left_out = evaluate_run(RUN, QRELS, ["mrr"], missing="leave-out")
    assert left_out.metrics == {"mrr": 0.5}
    assert left_out.counts == {**counts, "evaluated": 1}


def test_query_with_an_empty_list_of_hits_is_evaluated():
    assert evaluate_run({"1": {}}, {"1": {"b": 1}}, ["map"], missing="leave-out").metrics == {
        "map": 0.0
    }


def test_files(tmp_path):
    (tmp_path / "run").write_text("1 Q0 a 1 2.0 t\n1 Q0 b 2 1.0 t\n4 Q0 a 1 1 t\n")
    (tmp_path / "qrels").write_text("1 0 b 1\n2 0 c 1\n3 0 a 0\n")
    from_files = evaluate_run(tmp_path / "run", str(tmp_path / "qrels"))
    assert from_files == evaluate_run(RUN, QRELS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"run": {}}, ValueError, "run is empty; it needs at least one query"),
        ({"qrels": {}}, ValueError, "qrels is empty"),
        ({"run": [("1", "a", 2.0)]}, TypeError, "run is a list; give a file or a mapping"),
        ({"run": {"1": {"a": math.nan}}}, ValueError, "run: query '1', document 'a': NaN"),
        ({"missing": "skip"}, ValueError, "missing is 'skip'; .* one of 'zero', 'leave-out'"),
        ({"metrics": ["P@5"]}, ValueError, "there is no metric 'P@5'"),
        (
            {"corpus": ["a", "b"]},
            ValueError,
            "qrels: 1 documents are not among the 2 of the corpus",
        ),
        ({"corpus": "bc"}, ValueError, r"run: 1 documents are not among the 2 of the corpus: 'a'"),
        ({"qrels": {"3": {"a": 0}}}, ValueError, "of 1 queries with judgements 0 have a relevant"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        evaluate_run(**{"run": RUN, "qrels": QRELS, **arguments})


def test_ids_of_different_types_are_joined_as_text():
    """Whole numbers, of NumPy too, are the text of their digits; what is else is told apart."""
    run = {1: {7: 2.0, np.int64(8): 1.0}, "2": {"7": 1.0}}
    qrels = {"1": {"8": 1}, np.int32(2): {7: 0.5}}
    found = evaluate_run(run, qrels, ["mrr"], corpus=[7, "8"])
    assert found.per_query == {"1": {"mrr": 0.5}, "2": {"mrr": 1.0}}
    with pytest.raises(TypeError, match=r"run: the id of a query is 1\.0 .float.; ids are text or"):
        evaluate_run({1.0: {"7": 1.0}}, qrels)
    for ids in (("01", "2"), ("1 ", " 2"), ("1.0", "2.0")):
        other = {query: {"7": 1.0} for query in ids}
        if "2" in ids:  # leading zeros and the like are other ids
            assert evaluate_run(other, qrels, ["mrr"]).counts["missing"] == 1
            continue
        with pytest.raises(
            ValueError, match=r"no query can be .* has '.*', the qrels have '1', '2'"
        ):
            evaluate_run(other, qrels)


def test_documents_of_other_ids_are_named(caplog):
    found = evaluate_run({"q": {"7": 1.0}}, {"q": {"d7": 1}}, ["mrr"])
    assert found.metrics == {"mrr": 0.0}
    assert caplog.messages == [
        "no document of the run is judged: the run has '7', the qrels have 'd7'"
    ]


def test_the_document_with_the_id_of_its_query():
    run = {"a": {"a": 3.0, "b": 2.0}, "b": {"c": 1.0, "a": 0.5}}
    qrels = {"a": {"b": 1}, "b": {"a": 1}}
    assert evaluate_run(run, qrels, ["mrr"]).metrics == {"mrr": 0.5}
    assert evaluate_run(run, qrels, ["mrr"], exclude_self=True).metrics == {"mrr": 0.75}
    assert run["a"] == {"a": 3.0, "b": 2.0}
