"""Evaluations by several ranks equal those by one process, and none waits in a collective.

With as many threads: metrics, grid, rank distance, language shares and PEER bitwise; correlations
of rankings, which are sums over tiles, to 1e-12.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist
from model_folders import bert_folder  # noqa: F401, a fixture
from ranks import run_ranks
from sample_tasks import LANGUAGES, random_task

from hybrid_fast.evaluation import ranks as rank_counting
from hybrid_fast.evaluation.baselines import evaluate_with_baselines
from hybrid_fast.evaluation.on_ranks import can_share, evaluate_on_ranks
from hybrid_fast.evaluation.tasks import Candidate, Query, RetrievalTask
from hybrid_fast.evaluation.tasks.bitext import BitextTask
from hybrid_fast.models import BiEncoder

TOLERANCE = 1e-12


class Hashed:
    """A model whose embeddings follow from the text, whatever the batch."""

    def __init__(self) -> None:
        self.num_texts = 0

    def encode(self, texts: list[str]) -> np.ndarray:
        self.num_texts += len(texts)
        seeds = [sum((place + 1) * byte for place, byte in enumerate(t.encode())) for t in texts]
        return np.array([np.random.default_rng(seed).standard_normal(8) for seed in seeds])


def make_task() -> RetrievalTask:
    """Translated queries, and candidates of any length, some of them alike."""
    queries, candidates = random_task(0, num_groups=40)
    return RetrievalTask(
        "random",
        [Query(q.id, q.lang, f"river {q.id} " + "sea " * (len(q.id) % 5)) for q in queries],
        [
            Candidate(c.id, c.lang, "mountain " * (n % 7) + f"{n % 90}", c.query_ids)
            for n, c in enumerate(candidates)
        ],
    )


def make_pairs() -> BitextTask:
    lines = [[f"{lang} line {number}" for number in range(70)] for lang in ("deu", "eng")]
    return BitextTask("bitext", {("deu", "eng"): (lines[0], lines[1])})


def evaluate(
    task_name: str, folder: Path | None, run: Path | None, group: dist.ProcessGroup | None
) -> tuple[list[dict[str, Any]], int]:
    """Return the results of a model and baselines, and how many texts this process encoded."""
    rank_counting.MIN_TILE_ROWS = rank_counting.MAX_TILE_ROWS = 8
    task = {"random": make_task, "pairs": make_pairs}[task_name]()
    if folder is None:
        model = Hashed()
        results = [task.evaluate(model, batch_size=4, run=run, process_group=group)]
        return [each.to_dict() for each in results], model.num_texts
    encoder = BiEncoder.from_pretrained(folder)
    baselines = ["bm25", "untrained", "rrf"] if task.takes_scorers else ["untrained"]
    results = evaluate_with_baselines(
        task, encoder, baselines, batch_size=4, run=run, process_group=group
    )
    return [each.to_dict() for each in results], 0


def evaluate_as_rank(
    rank: int, world_size: int, task_name: str, folder: Path | None, run: Path | None
) -> list[Any]:
    dist.init_process_group("gloo")
    results, num_texts = evaluate(task_name, folder, run, dist.group.WORLD)
    dist.destroy_process_group()
    return [json.dumps(results), num_texts]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """So that every rank has several; `evaluate` sets them in ranks, too."""
    for name in ("MIN_TILE_ROWS", "MAX_TILE_ROWS"):
        monkeypatch.setattr(rank_counting, name, 8)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in items:
            yield from leaves(each, f"{path}/{key}")
    else:
        yield path, value


def assert_equal(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    found_leaves, expected_leaves = dict(leaves(found)), dict(leaves(expected))
    assert found_leaves.keys() == expected_leaves.keys()
    for path, value in expected_leaves.items():
        if "/mrc" in path and isinstance(value, float):
            assert found_leaves[path] == pytest.approx(value, abs=TOLERANCE), path
        else:
            assert found_leaves[path] == value, path


@pytest.mark.parametrize("world_size", [2, 3])
@pytest.mark.parametrize("task_name", ["random", "pairs"])
def test_ranks_share_the_work_and_get_the_results_of_one(tmp_path, task_name, world_size):
    run = tmp_path / "one.run" if task_name == "random" else None
    expected, num_texts = evaluate(task_name, None, run, None)
    shared_run = run and tmp_path / "shared.run"
    records = run_ranks(evaluate_as_rank, world_size, task_name, None, shared_run)
    for results, _ in records:
        assert_equal(json.loads(results), expected)
    shares = [share for _, share in records]
    assert sum(shares) == num_texts
    assert max(shares) - min(shares) <= 2 * 4  # a batch of queries, and one of candidates
    if run is not None:
        assert shared_run.read_text() == run.read_text()


@pytest.mark.parametrize("task_name", ["random", "pairs"])
def test_a_transformer_and_baselines(bert_folder, task_name):  # noqa: F811
    expected, _ = evaluate(task_name, bert_folder, None, None)
    for results, _ in run_ranks(evaluate_as_rank, 2, task_name, bert_folder, None):
        assert_equal(json.loads(results), expected)


def evaluate_stored_as_rank(rank: int, world_size: int, address: str, encoded: Path) -> list[Any]:
    dist.init_process_group("gloo")
    model = Hashed()
    results = make_task().evaluate(
        model, batch_size=4, store=address, encoded=encoded, process_group=dist.group.WORLD
    )
    dist.destroy_process_group()
    return [json.dumps(results.to_dict()), model.num_texts]


def test_ranks_encode_for_one_store_that_the_first_searches(tmp_path):
    task, address = make_task(), f"faiss:{tmp_path / 'store'}"
    records = run_ranks(evaluate_stored_as_rank, 2, address, tmp_path / "encoded")
    (first, first_share), (second, second_share) = records
    assert first == second
    found, expected = json.loads(first), task.evaluate(Hashed()).to_dict()
    for setting, scores in found["metrics"].items():
        assert scores == {**expected["metrics"][setting], "map": None}
    assert found["language_bias"]["peer@20"] == expected["language_bias"]["peer@20"]
    probes = 2 * 2 * 2  # two texts, for the fingerprint of the store and of the vectors
    num_texts = len({*task.candidates}) + len({*task.queries})
    assert first_share + second_share <= num_texts + 2 * probes
    assert task.evaluate(Hashed(), store=address).to_dict()["metrics"] == found["metrics"]


class Failing(Hashed):
    def encode(self, texts: list[str]) -> np.ndarray:
        if dist.get_rank() == 1:
            raise ValueError("this text has no tokens")
        return super().encode(texts)


def evaluate_failing(rank: int, world_size: int) -> str:
    dist.init_process_group("gloo")
    with pytest.raises(ValueError, match="this text has no tokens") as caught:
        make_task().evaluate(Failing(), batch_size=4, process_group=dist.group.WORLD)
    dist.destroy_process_group()
    return str(caught.value)


def test_a_rank_that_fails_ends_the_evaluation_of_all_with_its_reason():
    first, second = run_ranks(evaluate_failing, 2)
    assert second == "this text has no tokens"
    assert first == f"rank 1 of 2: {second}"


class OfAnotherPackage:
    """A task that knows nothing of ranks."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def evaluate(self, model: object) -> str:
        time.sleep(self.seconds)
        return f"evaluated on rank {dist.get_rank()}"


class OwnScores(RetrievalTask):
    def score(self, *embeddings: np.ndarray, info: object = None) -> str:
        return "own"


class OwnScorer(RetrievalTask):
    """Baselines call `score_by` too."""

    def score_by(self, score_rows: object, *, info: object = None) -> str:
        return "own"


def test_which_tasks_can_be_shared():
    assert can_share(make_task())
    assert can_share(make_pairs())
    assert not can_share(OfAnotherPackage())
    queries, candidates = [Query("q", LANGUAGES[0], "q")], [Candidate("c", LANGUAGES[0], "p")]
    assert not can_share(OwnScores("own", queries, candidates))
    assert not can_share(OwnScorer("own", queries, candidates))


def evaluate_slowly(rank: int, world_size: int, seconds: float, timeout: float) -> list[str | None]:
    dist.init_process_group("gloo", timeout=timedelta(seconds=timeout))
    task, began = OfAnotherPackage(seconds), time.monotonic()
    found = evaluate_on_ranks(task, lambda: task.evaluate(None), dist.group.WORLD)
    waited = time.monotonic() - began
    dist.barrier()  # collectives still work
    dist.destroy_process_group()
    return [found, str(waited >= seconds)]


def test_the_first_rank_evaluates_what_cannot_be_shared():
    assert run_ranks(evaluate_slowly, 2, 0.2, 60) == [
        ["evaluated on rank 0", "True"],
        [None, "True"],
    ]


@pytest.mark.slow
def test_a_task_that_takes_longer_than_a_collective_may():
    first, second = run_ranks(evaluate_slowly, 2, 14, 10)
    assert first == ["evaluated on rank 0", "True"]
    assert second == [None, "True"]


def test_one_process_evaluates_as_ever():
    assert evaluate_on_ranks(OfAnotherPackage(), lambda: "evaluated", None) == "evaluated"
