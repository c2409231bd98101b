"""Baselines beside a model: the same task, one result each, each what it says."""

import numpy as np
import pytest

from hybrid_fast.evaluation.baselines import (
    BASELINES,
    evaluate_with_baselines,
)
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.evaluation.tasks.bitext import BitextTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.results import RunInfo
from hybrid_fast.retrieval import BM25, fuse_scorers, reciprocal_ranks, weighted_scores
from hybrid_fast.retrieval.scores import dot_products

LANGUAGES = ("de", "en")


@pytest.fixture
def task():
    """A rare word decides within a language; no word is shared with the other."""
    names = {"de": "zahl", "en": "number"}
    return RetrievalTask(
        "numbers",
        [
            Query(f"q{n}", each, f"{names[each]} {each}{n}?")
            for each in LANGUAGES
            for n in range(12)
        ],
        [
            Candidate(f"{each}{n}", each, f"{each}{n + 100}, {names[each]} {each}{n}.", (f"q{n}",))
            for each in LANGUAGES
            for n in range(12)
        ],
    )


@pytest.fixture
def model(task):
    return BiEncoder.static([*task.queries, *task.candidates], dim=8, vocab_size=200)


def test_every_baseline_is_a_result_of_its_own(task, model):
    names = ["rrf", "bm25", "untrained", "fusion"]
    results = evaluate_with_baselines(task, model, names, info=RunInfo("mine"))
    assert [each.info.model for each in results] == ["mine", *names]
    whole = task.evaluate(model, info=RunInfo("mine")).to_dict()
    assert results[0].to_dict() == whole
    by_name = {each.info.model: each for each in results}
    assert by_name["bm25"].info.settings["k1"] == 0.9
    assert by_name["fusion"].info.settings["fusion"] == {"alpha": 1.0, "depth": 1000}
    untrained = task.evaluate(model.untrained(), info=RunInfo("untrained"))
    assert by_name["untrained"].metrics == untrained.metrics
    assert by_name["bm25"].metrics == task.score_by(BM25(task.queries, task.candidates)).metrics
    assert by_name["bm25"].metrics["mono"]["map"] == 1
    dense = dot_products(*task.encode(model)[:2])
    for name, rule in (("fusion", weighted_scores), ("rrf", reciprocal_ranks)):
        fused = task.score_by(fuse_scorers(BM25(task.queries, task.candidates), dense, rule))
        assert by_name[name].grid == fused.grid
        assert by_name[name].grid not in (results[0].grid, by_name["bm25"].grid)


def test_no_baseline_is_the_model_alone(task, model):
    (results,) = evaluate_with_baselines(task, model, [])
    assert results.to_dict() == task.evaluate(model).to_dict()


@pytest.mark.parametrize(
    ("names", "message"),
    [(["bm52"], "baseline is 'bm52'; .*did you mean 'bm25'"), (["rrf", "rrf"], "name each once")],
)
def test_wrong_names(task, model, names, message):
    assert set(BASELINES) == {"bm25", "untrained", "fusion", "rrf"}
    with pytest.raises(ValueError, match=message):
        evaluate_with_baselines(task, model, names)


def test_any_scorer_ranks_as_embeddings_do(task, model):
    queries, candidates, settings = task.encode(model)
    by_scores = task.score_by(dot_products(queries, candidates), info=RunInfo(settings=settings))
    assert (
        by_scores.to_dict()
        == task.score(queries, candidates, info=RunInfo(settings=settings)).to_dict()
    )


def test_a_score_that_is_nan_is_named(task):
    def score_rows(rows, scores):
        scores[:] = 0
        scores[rows == 5, 3] = np.nan

    with pytest.raises(ValueError, match="query row 5 and candidate row 3 is NaN"):
        task.score_by(score_rows)


def test_a_task_of_embeddings_alone_refuses_at_once(model):
    task = BitextTask("pairs", {("de", "en"): (["ja", "nein"], ["yes", "no"])})
    with pytest.raises(ValueError, match="embeddings alone; leave out the baselines bm25"):
        evaluate_with_baselines(task, model, ["rrf"])
    with pytest.raises(ValueError, match="embeddings alone"):
        task.score_by(lambda rows, scores: None)
    results = evaluate_with_baselines(task, model, ["untrained"])
    assert [each.info.model for each in results] == ["static", "untrained"]
