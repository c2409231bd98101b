"""Queries that are documents: each is left out of its own ranking, as BEIR leaves it out."""

import logging

import numpy as np
import pytest
import pytrec_eval
from task_files import lines, write

from hybrid_fast.data.formats.trec_runs import read_run
from hybrid_fast.evaluation import Candidate, Query, RetrievalTask, evaluate_run, load_task
from hybrid_fast.evaluation.baselines import evaluate_with_baselines
from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval.fusion import fuse_scorers, reciprocal_ranks, weighted_scores

NAMES = {"map": "map", "ndcg@10": "ndcg_cut_10", "recall@10": "recall_10"}


def beir_scores(run, qrels):
    """As BEIR does: a document with the query's id is taken out of the results."""
    results = {q: {d: s for d, s in hits.items() if d != q} for q, hits in run.items()}
    measures = {"map", "ndcg_cut.10", "recall.10"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(results)
    return {our: np.mean([each[name] for each in theirs.values()]) for our, name in NAMES.items()}


@pytest.fixture(params=["judged", "its own relevant"])
def random_task(request):
    """12 documents of which the first 6 are queries; one may be judged relevant to itself."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((12, 4)).astype(np.float32)
    qrels = {
        f"d{n}": {f"d{m}": int(rng.integers(0, 3)) for m in rng.permutation(12)[:4] if m != n}
        for n in range(6)
    }
    if request.param == "its own relevant":
        qrels["d2"]["d2"] = 2
    texts = [f"text {n}" for n in range(12)]
    task = RetrievalTask(
        "own",
        [Query(f"d{n}", "en", texts[n]) for n in range(6)],
        [Candidate(f"d{n}", "en", texts[n]) for n in range(12)],
        qrels=qrels,
        exclude_self=True,
    )
    return task, vectors, qrels


def test_equal_to_beir(random_task, tmp_path):
    task, vectors, qrels = random_task
    results = task.score(vectors[:6], vectors)
    scores = vectors[:6] @ vectors.T
    run = {f"d{n}": {f"d{m}": float(scores[n, m]) for m in range(12)} for n in range(6)}
    wanted = beir_scores(run, qrels)
    assert {name: results.metrics["mono"][name] for name in NAMES} == pytest.approx(wanted)
    assert evaluate_run(run, qrels, NAMES, exclude_self=True).metrics == pytest.approx(wanted)
    assert evaluate_run(run, qrels, NAMES).metrics != pytest.approx(wanted)
    assert results.info.settings["exclude_self"] is True
    path = tmp_path / "run"
    task.write_run(path, vectors[:6], vectors)
    written = read_run(path)
    assert all(query not in hits and len(hits) == 11 for query, hits in written.items())
    assert evaluate_run(path, f"{path}.qrels", NAMES).metrics == pytest.approx(wanted)
    task.write_run(path, vectors[:6], vectors, depth=3)
    assert {len(hits) for hits in read_run(path).values()} == {3}


def test_rank_distance_is_of_what_can_be_found():
    task = RetrievalTask(
        "own",
        [Query("a", "en", "1")],
        [Candidate(name, "en", name) for name in "abcd"],
        qrels={"a": {"a": 1, "b": 1, "d": 1}},
        exclude_self=True,
    )
    results = task.score(np.ones((1, 1)), np.array([[9.0], [3.0], [2.0], [1.0]]))
    assert results.language_bias.rank_distance.mean == 2.0
    assert results.metrics["mono"]["recall@10"] == pytest.approx(2 / 3)
    assert results.metrics["mono"]["mrr@10"] == 1.0


def test_documents_in_segments(tmp_path):
    write(
        tmp_path / "corpus.jsonl", lines({"_id": f"d{n}", "text": f"w{n} " * 9} for n in range(4))
    )
    write(tmp_path / "queries.jsonl", lines([{"_id": "d1", "text": "w1 " * 9}]))
    write(tmp_path / "qrels" / "test.tsv", "d1\td2\t1\n")
    task = load_task("beir", tmp_path, segment_length=9, document_score="mean@2", exclude_self=True)
    assert len(task.candidates) > len(task.pool) == 4
    by_number = np.array([[float(text[1])] for text in task.candidates])
    closest = {1.0: 9.0, 2.0: 8.0, 0.0: 1.0, 3.0: 2.0}
    candidates = np.vectorize(closest.get)(by_number)
    assert task.score(np.ones((1, 1)), candidates).metrics["mono"]["recall@1"] == 1.0
    task.write_run(tmp_path / "run", np.ones((1, 1)), candidates)
    assert list(read_run(tmp_path / "run")["d1"]) == ["d2", "d3", "d0"]


def test_answers_that_candidates_name(caplog):
    caplog.set_level(logging.INFO)
    candidates = [Candidate("a", "en", "1", ("a",)), Candidate("b", "en", "2", ("a",))]
    task = RetrievalTask("t", [Query("a", "en", "1")], candidates, exclude_self=True)
    metrics = task.score(np.ones((1, 1)), np.array([[2.0], [1.0]])).metrics["mono"]
    assert (metrics["mrr@10"], metrics["recall@10"]) == (1.0, 0.5)
    (message,) = caplog.messages
    assert message.startswith("task 't': 1 of 1 queries have the id of a document, which is left")


def arguana(folder):
    texts = ["bridges are old", "bridges are not old", "mills grind corn", "no mill grinds corn"]
    write(
        folder / "corpus.jsonl",
        lines({"_id": f"d{n}", "title": "T", "text": text} for n, text in enumerate(texts)),
    )
    write(folder / "queries.jsonl", lines({"_id": f"d{n}", "text": texts[n]} for n in (0, 2)))
    write(folder / "qrels" / "test.tsv", "d0\td1\t1\nd2\td3\t1\n")
    return folder


@pytest.mark.parametrize("name", ["arguana", "ArguAna", "quora", "Quora_"])
def test_on_by_name(tmp_path, name, caplog):
    caplog.set_level(logging.INFO)
    task = load_task("beir", arguana(tmp_path / name))
    assert task.own_ids.excluded
    assert task.settings["exclude_self"] is True
    assert caplog.messages == [
        "task 'beir': 2 of 2 queries have the id of a document, which is left out of their ranking,"
        " as BEIR does (exclude_self)"
    ]
    assert not load_task("beir", tmp_path / name, exclude_self=False).own_ids.excluded


def test_a_hint_elsewhere(tmp_path, caplog):
    """If a query has the id and the text of a document, and nobody said what is wanted."""
    task = load_task("beir", arguana(tmp_path / "mine"))
    assert not task.own_ids.excluded
    assert "exclude_self" not in task.settings
    assert caplog.messages == [
        "task 'beir': 2 of 2 queries are documents of the corpus, which rank first for themselves; "
        "exclude_self=True leaves them out, as BEIR does"
    ]
    caplog.clear()
    assert load_task("beir", tmp_path / "mine", exclude_self=True).own_ids.excluded
    load_task("beir", tmp_path / "mine", exclude_self=False)
    write(tmp_path / "mine" / "queries.jsonl", lines([{"_id": "d0", "text": "of equal id alone"}]))
    load_task("beir", tmp_path / "mine")
    assert not [message for message in caplog.messages if "documents of the corpus" in message]


@pytest.mark.parametrize("rule", [weighted_scores, reciprocal_ranks])
def test_fused_as_if_it_were_not_there(rule):
    """A document of the query's own text would be first, and set the scale of the fused scores."""
    rng = np.random.default_rng(0)
    sparse, dense = rng.random((2, 1, 6)).astype(np.float32)
    sparse[0, 2] = dense[0, 2] = 100
    own_ids = RetrievalTask(
        "own",
        [Query("c", "en", "x")],
        [Candidate(name, "en", name) for name in "abcdef"],
        qrels={"c": {"a": 1}},
        exclude_self=True,
    ).own_ids

    def fused(sparse, dense, mask=lambda score_rows: score_rows):
        def scorer(matrix):
            return mask(lambda rows, scores: np.copyto(scores, matrix[rows]))

        scores = np.empty_like(sparse)
        fuse_scorers(scorer(sparse), scorer(dense), rule, depth=5)(np.array([0]), scores)
        return scores

    others = [0, 1, 3, 4, 5]
    wanted = fused(sparse[:, others].copy(), dense[:, others].copy())
    assert fused(sparse, dense, own_ids.mask)[:, others] == pytest.approx(wanted)
    assert fused(sparse, dense)[:, others] != pytest.approx(wanted)


def test_baselines(tmp_path):
    task = load_task("beir", arguana(tmp_path / "arguana"))
    model = BiEncoder.static([*task.queries, *task.candidates], dim=8, vocab_size=60)
    results = evaluate_with_baselines(task, model, ["bm25", "fusion"])
    assert results[1].metrics["mono"]["recall@1"] == 1.0
    assert [each.info.settings["exclude_self"] for each in results] == [True] * 3
