"""A run that a task writes is read back with the same scores, ties included."""

import numpy as np
import pytest

from hybrid_fast.data.formats.trec_runs import read_run
from hybrid_fast.evaluation import evaluate_run
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask


def make_task(num_queries=30, num_candidates=80, prefix=""):
    rng = np.random.default_rng(1)
    candidates = [
        Candidate(f"{prefix}{n}", "en" if n % 2 else "de", "text") for n in range(num_candidates)
    ]
    qrels = {
        f"q{n}": {f"{prefix}{j}": int(rng.integers(0, 4)) for j in rng.choice(num_candidates, 5)}
        for n in range(num_queries)
    }
    queries = [Query(f"q{n}", "de", "text") for n in range(num_queries)]
    return RetrievalTask("t", queries, candidates, qrels=qrels, more_metrics=["recall@100"])


@pytest.mark.parametrize("levels", [1, 2, 1000])
@pytest.mark.parametrize("name", ["run.trec", "run.trec.gz"])
def test_evaluate_run_finds_the_same_scores(tmp_path, levels, name):
    """Whole numbers, whose products are exact; one level makes all scores of a query equal."""
    task = make_task()
    rng = np.random.default_rng(2)
    queries = rng.integers(1, levels + 1, (30, 3)).astype(np.float32)
    candidates = rng.integers(1, levels + 1, (80, 3)).astype(np.float32)
    task.write_run(tmp_path / name, queries, candidates, tag="my model")
    scores = evaluate_run(tmp_path / name, f"{tmp_path / name}.qrels", task.metrics)
    expected = task.score(queries, candidates).metrics["multi"]
    for metric in task.metrics:
        assert scores.metrics[metric] == pytest.approx(expected[metric], abs=1e-9), metric
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.qrels"]


def test_depth_and_form(tmp_path):
    task = make_task(num_queries=1)
    task.write_run(tmp_path / "run", np.ones((1, 1)), np.ones((80, 1)), depth=3, tag="my model")
    lines = (tmp_path / "run").read_text().splitlines()
    assert lines[0] == "q0 Q0 0 1 1.0 my_model"
    assert [line.split()[2:4] for line in lines] == [["0", "1"], ["2", "2"], ["4", "3"]]
    scores = list(read_run(tmp_path / "run")["q0"].values())
    assert scores == sorted(set(scores), reverse=True)
    assert min(scores) > 1 - 1e-6


def test_ids_that_repeat_get_their_language(tmp_path):
    task = RetrievalTask(
        "t",
        [Query("q", "de", "?"), Query("q", "en", "?")],
        [Candidate("c", "en", "x", ("q",)), Candidate("c", "de", "x", ("q",))],
    )
    task.write_run(tmp_path / "run", np.eye(2), np.eye(2))
    assert set(read_run(tmp_path / "run")) == {"de:q", "en:q"}
    assert set(read_run(tmp_path / "run")["de:q"]) == {"de:c", "en:c"}
    assert evaluate_run(tmp_path / "run", tmp_path / "run.qrels").metrics["map"] == 1.0


def test_ids_that_a_run_cannot_hold(tmp_path):
    for first, second, message in (
        ("a b", "c", "contains white space"),
        ("c", "c", "more than once"),
    ):
        task = RetrievalTask(
            "t",
            [Query("q", "de", "?")],
            [Candidate(each, "de", "x", ("q",)) for each in (first, second)],
        )
        with pytest.raises(ValueError, match=message):
            task.write_run(tmp_path / "run", np.ones((1, 1)), np.ones((2, 1)))
        assert not list(tmp_path.iterdir())
