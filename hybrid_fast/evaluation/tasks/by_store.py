"""Evaluation through a store: candidates are found by search in place of counted ranks.

No embeddings of all candidates are held, and no score of most of them is known: what depends on
whole rankings is not computed.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch.distributed import ProcessGroup

from hybrid_fast.common.paths import expanded
from hybrid_fast.evaluation.language_bias import (
    CUTOFF,
    LanguageBiasAccumulator,
    summarise_first,
)
from hybrid_fast.evaluation.metrics import cutoff_of, score_queries
from hybrid_fast.evaluation.tasks.candidate_store import CandidateStore, CandidateTexts
from hybrid_fast.evaluation.tasks.outcome import make_results
from hybrid_fast.evaluation.tasks.pool_ids import PoolIds
from hybrid_fast.evaluation.tasks.queries import number_ids
from hybrid_fast.evaluation.tasks.query_scores import QueryScores
from hybrid_fast.evaluation.tasks.run_files import write_run_and_qrels
from hybrid_fast.evaluation.tasks.store_ranking import Found, PoolSearch, RankFinder, Ranking
from hybrid_fast.evaluation.tasks.task_texts import TaskTexts
from hybrid_fast.results import Results, RunInfo
from hybrid_fast.retrieval.corpora.encode import encode_corpus
from hybrid_fast.retrieval.encoding import describe_model, encode_queries
from hybrid_fast.retrieval.shared_work import SharedWork, shared_work
from hybrid_fast.retrieval.stores import Store

# Scores of `results.json` that need whole rankings, beside the metrics without a cutoff.
NOT_COMPUTED = ("rank_distance", "query_language_preference", "mrc", "mrc@20")
_T = TypeVar("_T")


def evaluate_by_store(
    task: TaskTexts,
    model: object,
    given: str | Store,
    *,
    options: Mapping[str, Any] | None = None,
    encoded: str | Path | None = None,
    batch_size: int | None = None,
    info: RunInfo | None = None,
    run: str | Path | None = None,
    run_depth: int = 0,
    process_group: ProcessGroup | None = None,
) -> Results:
    """Evaluate a model by searches in a store; see `RetrievalTask.evaluate`."""
    _check_searchable(task)
    ids = PoolIds(task.candidates, task.pool)
    texts = CandidateTexts(task, ids)
    wanted = CandidateStore(given, options or {}, texts, texts.info(model))
    with shared_work(process_group) as shared:
        lacks_vectors = _alone(shared, wanted.lacks_vectors)
    if lacks_vectors:
        _fill(wanted, model, encoded, batch_size, process_group)
    with shared_work(process_group) as shared:
        queries, settings = encode_queries(
            model, task.queries, batch_size, passages_name="candidates", shared=shared
        )
        name, described = describe_model(model)
        info = (info or RunInfo()).with_defaults(name, **described, **settings)
        write = None if run is None else partial(_write_run, task, run, run_depth, str(info.model))
        found, ranked_by = _alone(
            shared, lambda: _search(task, wanted, queries, ids, write, run_depth)
        )
    return _summarise(task, found, replace(info, settings={**info.settings, **ranked_by}))


def _check_searchable(task: TaskTexts) -> None:
    """Raise a ValueError if searches do not give the scores of a task."""
    if not task.takes_scorers:
        raise ValueError(
            f"task {task.name!r} needs the embeddings of all candidates; evaluate it without store"
        )
    rule = task.document_scores and task.document_scores.rule
    if rule not in (None, "max"):
        raise ValueError(
            f"task {task.name!r} scores a document by several of its segments ({rule}), which no "
            "search of a store does; use document_score='max', or evaluate without store"
        )


def _alone(shared: SharedWork | None, compute: Callable[[], _T]) -> _T:
    return compute() if shared is None else shared.first_alone(compute)


def _fill(
    wanted: CandidateStore,
    model: object,
    encoded: str | Path | None,
    batch_size: int | None,
    process_group: ProcessGroup | None,
) -> None:
    """Encode the candidates into a folder, and add them to the store."""
    folder = expanded(encoded) if encoded is not None else wanted.folder_of_vectors()
    vectors = encode_corpus(
        model, wanted.texts, folder, batch_size=batch_size, process_group=process_group
    )
    with shared_work(process_group) as shared:
        _alone(shared, lambda: wanted.fill(vectors))
        if encoded is None:
            _alone(shared, lambda: shutil.rmtree(folder))


def search_depth(metrics: Iterable[str]) -> int:
    """Return how many members of the pool each query has to find for metrics with a cutoff."""
    cutoffs = map(cutoff_of, metrics)
    return int(max(CUTOFF, *(each for each in cutoffs if np.isfinite(each))))


def _search(
    task: TaskTexts,
    wanted: CandidateStore,
    queries: np.ndarray,
    ids: PoolIds,
    write: Callable[[Iterable[Ranking]], None] | None,
    run_depth: int,
) -> tuple[Found, dict[str, Any]]:
    """Return the ranks of relevants, and the settings that say what ranked."""
    depth = search_depth(task.metrics)
    pool_depth = depth if write is None else max(depth, run_depth)
    finder = RankFinder(task.relevants, task.pool, ids.members)
    with wanted.opened() as store:
        search = PoolSearch(store, queries, ids, task.own_ids)
        rankings = finder.rank_in_pool(search(np.arange(len(queries)), pool_depth))
        if write is None:
            deque(rankings, maxlen=0)
        else:
            write(rankings)
        finder.rank_in_languages(search, depth)
        ranked_by = {
            "address": store.address,
            "index": store.index,
            "exact": store.exact,
            "depth": depth,
        }
    return finder.found, {"store": ranked_by}


def _write_run(
    task: TaskTexts, path: str | Path, depth: int, tag: str, rankings: Iterable[Ranking]
) -> None:
    lines = ((each.row, each.members[:depth], each.scores[:depth]) for each in rankings)
    write_run_and_qrels(path, *task.run_ids(), lines, task.judged, tag)


def _summarise(task: TaskTexts, found: Found, info: RunInfo) -> Results:
    """Return the results by ranks that are infinite beyond the depth of the search."""
    whole = [name for name in task.metrics if np.isinf(cutoff_of(name))]
    scores = QueryScores.empty(task.queries, task.metrics)
    by_metric = score_queries(
        task.relevants,
        found.ranks,
        task.pool.language_codes,
        len(task.languages),
        [name for name in task.metrics if name not in whole],
        task.judged.unfound,
    )
    scores.by_metric.update(by_metric)
    bias = LanguageBiasAccumulator(
        number_ids(task.queries.ids),
        task.queries.language_codes,
        task.pool.language_codes,
        len(task.languages),
        task.relevants,
    )
    bias.add_first(np.arange(len(task.queries)), found.languages, found.are_relevant)
    rankings = summarise_first(bias, found.ranks.in_pool, task.languages)
    settings = {**info.settings, "not_computed": [*whole, *NOT_COMPUTED]}
    return make_results(task, scores, replace(info, settings=settings), rankings)
