"""Evaluation through an exact store gives the scores of counting, each cell of each metric."""

from __future__ import annotations

import dataclasses
import json
import sys
from types import ModuleType

import numpy as np
import pytest
from memory_store import MemoryStore
from sample_tasks import LANGUAGES, random_task

from hybrid_fast.data.formats.trec_runs import read_run
from hybrid_fast.evaluation import Candidate, Query, RetrievalTask, load_task
from hybrid_fast.evaluation.metrics import cutoff_of
from hybrid_fast.evaluation.tasks.bitext import BitextTask
from hybrid_fast.evaluation.tasks.by_store import search_depth
from hybrid_fast.models import BiEncoder
from hybrid_fast.results import Results
from hybrid_fast.retrieval.stores import addresses

MORE = ["recall@1", "recall@100", "ndcg@3", "mrr@100", "map_cut@7", "success@5", "ndcg"]


class Numbers:
    """A model of small whole numbers, whose products are exact and often equal."""

    def __init__(self, levels: int = 3, dimension: int = 3) -> None:
        self.levels, self.dimension, self.num_texts = levels, dimension, 0

    def encode(self, texts: list[str]) -> np.ndarray:
        self.num_texts += len(texts)
        seeds = [sum((place + 1) * byte for place, byte in enumerate(t.encode())) for t in texts]
        highest = self.levels + 1
        drawn = [np.random.default_rng(s).integers(1, highest, self.dimension) for s in seeds]
        return np.array(drawn, np.float32)


@pytest.fixture
def memory_kind(monkeypatch):
    """A kind of store, "memory:NAME", and what was made: name to store."""
    made: dict[str, MemoryStore] = {}
    module = ModuleType("memory_kind")

    def create(place, info, *, index="auto"):
        made[place] = MemoryStore(info, f"memory:{place}")
        made[place].index, made[place].exact = f"sorted, {index}", True
        return made[place]

    def open_made(place, *, patience=1):
        if place not in made:
            raise FileNotFoundError(place)
        made[place].patience = patience
        return made[place]

    module.create, module.open = create, open_made
    monkeypatch.setitem(sys.modules, "memory_kind", module)
    monkeypatch.setitem(addresses.OWN_STORES, "memory", "memory_kind")
    return made


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRID_FAST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def texts_that_differ(seed: int, **options) -> RetrievalTask:
    """A random task with gaps; ids repeat over languages, one of twenty texts repeats."""
    queries, candidates = random_task(seed, num_groups=40)
    return RetrievalTask(
        f"random {seed}",
        [Query(q.id, q.lang, f"{q.lang} asks {q.id}") for q in queries],
        [
            Candidate(f"c{n // 2}", c.lang, f"text {n % 115}", c.query_ids)
            for n, c in enumerate(candidates)
        ],
        more_metrics=MORE,
        **options,
    )


def judged(seed: int, exclude_self: bool, languages=LANGUAGES) -> RetrievalTask:
    """Queries that are documents, judged by grades, some of documents that are not there."""
    rng = np.random.default_rng(seed)
    qrels = {
        f"d{n}": {f"d{m}": int(rng.integers(0, 4)) for m in rng.permutation(153)[:12]}
        for n in range(40)
    }
    languages = rng.choice(languages, 150).tolist()
    return RetrievalTask(
        "judged",
        [Query(f"d{n}", languages[n], f"text {n}") for n in range(40)],
        [Candidate(f"d{n}", languages[n], f"text {n}") for n in range(150)],
        qrels=qrels,
        more_metrics=MORE,
        exclude_self=exclude_self,
    )


def segmented(rule: str = "max") -> RetrievalTask:
    rng = np.random.default_rng(3)
    candidates = [
        Candidate(f"d{n}", "de" if n % 3 else "en", f"d{n} part {part}")
        for n in range(60)
        for part in range(int(rng.integers(1, 40)))
    ]
    qrels = {f"q{n}": {f"d{m}": 1 for m in rng.permutation(60)[:5]} for n in range(20)}
    qrels["q3"] = {"d7": 2}
    queries = [*(Query(f"q{n}", "de", f"q {n}") for n in range(20)), Query("d7", "en", "d7 part 0")]
    qrels["d7"] = {"d7": 1, "d8": 1}
    return RetrievalTask(
        "segments",
        queries,
        candidates,
        qrels=qrels,
        document_score=rule,
        exclude_self=True,
    )


TASKS = {
    "random": lambda: texts_that_differ(0),
    "random, other": lambda: texts_that_differ(1),
    "own ids": lambda: judged(2, exclude_self=True),
    "own ids ranked": lambda: judged(3, exclude_self=False),
    "one language": lambda: judged(4, exclude_self=True, languages=("fi",)),
    "segments": segmented,
    "one candidate": lambda: RetrievalTask(
        "one", [Query("q", "de", "a")], [Candidate("", "en", "b", ("q",))]
    ),
}


def assert_same_scores(found: Results, exact: Results) -> None:
    """Every cell of every metric with a cutoff, of every query, and what the first 20 show."""
    for name, scores in exact.per_query.scores.items():
        if name == "rank_distance" or np.isinf(cutoff_of(name)):
            assert np.isnan(found.per_query.scores[name]).all()
            continue
        np.testing.assert_array_equal(found.per_query.scores[name], scores, name)
        for setting, metrics in exact.metrics.items():
            assert found.metrics[setting][name] == metrics[name]
    cut = {name: grid for name, grid in exact.grid.items() if np.isfinite(cutoff_of(name))}
    assert cut
    assert {name: found.grid[name] for name in cut} == cut
    assert found.counts == exact.counts
    ours, theirs = found.language_bias.rankings, exact.language_bias.rankings
    assert ours.language_share == theirs.language_share
    assert ours.language_share_gap == theirs.language_share_gap
    assert ours.peer == theirs.peer


@pytest.mark.parametrize("levels", [1, 3, 1000])
@pytest.mark.parametrize("name", TASKS)
def test_equal_to_counting(name, levels, memory_kind):
    """With one level all scores of a query are equal; with three, many."""
    task, model = TASKS[name](), Numbers(levels)
    found = task.evaluate(model, store="memory:m", store_options={"index": "heap"})
    assert_same_scores(found, task.evaluate(model))
    assert found.info.settings["store"]["index"] == "sorted, heap"
    assert memory_kind["m"].count() == len(task.candidates)
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", TASKS)
def test_flat_index_of_faiss(name, tmp_path):
    task, model = TASKS[name](), Numbers()
    address = f"faiss:{tmp_path / 'store'}"
    found = task.evaluate(model, store=address, store_options={"index": "flat"})
    assert_same_scores(found, task.evaluate(model))
    assert found.info.settings["store"]["exact"]
    again = task.evaluate(model, store=address)
    assert again.to_dict() == found.to_dict()


def test_a_store_that_was_never_filled_to_the_end(tmp_path):
    task, model = TASKS["one candidate"](), Numbers()
    (tmp_path / "store" / "build-0123abcd").mkdir(parents=True)  # of a process that was killed
    found = task.evaluate(model, store=f"faiss:{tmp_path / 'store'}")
    assert_same_scores(found, task.evaluate(model))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").touch()
    with pytest.raises(ValueError, match=r"holds 'mine\.txt': it is no store"):
        task.evaluate(model, store=f"faiss:{tmp_path / 'notes'}")


def test_builtin_task(memory_kind, tmp_path):
    """Cosines of a static model: real texts, and scores that are no whole numbers."""
    task = load_task("builtin", languages=["de", "th", "en"])
    model = BiEncoder.static([*task.queries, *task.candidates], dim=16, vocab_size=300)
    found, exact = task.evaluate(model, store="memory:m"), task.evaluate(model)
    assert_same_scores(found, exact)
    assert_same_scores(task.evaluate(model, store=f"faiss:{tmp_path / 'store'}"), exact)
    settings = found.info.settings
    assert settings == {
        **exact.info.settings,
        "store": {"address": "memory:m", "index": "sorted, auto", "exact": True, "depth": 20},
        "not_computed": ["map", "rank_distance", "query_language_preference", "mrc", "mrc@20"],
    }
    assert found.info.model == exact.info.model
    content = found.to_dict()
    assert content["metrics"]["multi"]["map"] is None
    assert content["language_bias"]["rank_distance"] is None
    assert not {"mrc", "mrc@20", "query_language_preference"} & content["language_bias"].keys()
    assert Results.from_dict(content).to_dict() == content


def test_depth_follows_the_metrics():
    assert search_depth(["map", "recall@1"]) == 20
    assert search_depth(["ndcg@10", "recall@100", "mrr"]) == 100
    assert search_depth(["recall@1000", "recall@100"]) == 1000


def test_options_are_of_making_or_of_opening(memory_kind):
    task, model = TASKS["one candidate"](), Numbers()
    for patience in (2, 3):  # a command that is given again works again
        options = {"index": "heap", "patience": patience}
        task.evaluate(model, store="memory:m", store_options=options)
        assert memory_kind["m"].patience == patience
    with pytest.raises(ValueError, match=r"no option 'patent'.*did you mean 'patience'"):
        task.evaluate(model, store="memory:m", store_options={"patent": 1})


def test_a_store_is_used_again_for_the_same_candidates_and_model_alone(memory_kind, cache):
    task, model = texts_that_differ(0), Numbers()
    first = task.evaluate(model, store="memory:m")
    assert not [*cache.rglob("*.parquet")]
    num_texts = model.num_texts
    again = task.evaluate(model, store="memory:m")
    assert again.to_dict() == first.to_dict()
    assert model.num_texts - num_texts < len(task.queries) + len(task.candidates)
    for other in (texts_that_differ(1), judged(2, exclude_self=False)):
        with pytest.raises(ValueError, match="memory:m was not made of the candidates of task"):
            other.evaluate(model, store="memory:m")
    with pytest.raises(ValueError, match="another model"):
        task.evaluate(Numbers(levels=50), store="memory:m")
    model.max_length = 7
    with pytest.raises(ValueError, match="was encoded with max_length None, and the model has 7"):
        task.evaluate(model, store="memory:m")
    del model.max_length
    memory_kind["m"].delete(["de:c1", "c1"])
    memory_kind["m"].delete([next(iter(memory_kind["m"].rows))])
    with pytest.raises(ValueError, match=r"has \d+ vectors, and there are 120 candidates of task"):
        task.evaluate(model, store="memory:m")


def test_a_store_that_is_given(tmp_path):
    task, model = judged(5, exclude_self=True), Numbers()
    store = MemoryStore(task.store_info(model))
    found = task.evaluate(model, store=store, encoded=tmp_path / "vectors")
    assert_same_scores(found, task.evaluate(model))
    assert (tmp_path / "vectors" / "manifest.json").is_file()
    assert store.texts(["d0"]) == [None]
    assert task.evaluate(model, store=store).to_dict() == found.to_dict()
    strange = MemoryStore(dataclasses.replace(store.info, settings={}))
    with pytest.raises(ValueError, match="was not made of the candidates of task 'judged'"):
        task.evaluate(model, store=strange)


@pytest.mark.parametrize("depth", [5, 140])
def test_a_run_of_what_was_found(tmp_path, memory_kind, depth):
    task, model = judged(6, exclude_self=True), Numbers(1000, 8)
    task.evaluate(model, store="memory:m", run=tmp_path / "found", run_depth=depth)
    task.evaluate(model, run=tmp_path / "exact", run_depth=depth)
    assert read_run(tmp_path / "found") == read_run(tmp_path / "exact")
    assert (tmp_path / "found.qrels").read_text() == (tmp_path / "exact.qrels").read_text()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (lambda: segmented("mean@2"), "scores a document by several of its segments"),
        (lambda: BitextTask("b", {("de", "en"): (["a"], ["b"])}), "needs the embeddings of all"),
    ],
)
def test_what_no_search_gives(memory_kind, task, message):
    with pytest.raises(ValueError, match=message):
        task().evaluate(Numbers(), store="memory:m")
    assert not memory_kind
