"""Baselines of a retriever: BM25, the retriever untrained, and its fusion with BM25."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch.distributed import ProcessGroup

from hybrid_fast.common.choices import check_choice
from hybrid_fast.evaluation.tasks.run_files import RUN_DEPTH
from hybrid_fast.evaluation.tasks.task import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.results import Results, RunInfo
from hybrid_fast.retrieval.bm25 import BM25
from hybrid_fast.retrieval.encoding import describe_model
from hybrid_fast.retrieval.fusion import (
    DEPTH,
    RRF_K,
    FusionRule,
    fuse_scorers,
    reciprocal_ranks,
    weighted_scores,
)
from hybrid_fast.retrieval.scores import ScoreRows, dot_products
from hybrid_fast.retrieval.shared_work import shared_work

BASELINES = ("bm25", "untrained", "fusion", "rrf")
FUSIONS: dict[str, tuple[FusionRule, dict[str, float]]] = {
    "fusion": (weighted_scores, {"alpha": 1.0, "depth": DEPTH}),
    "rrf": (reciprocal_ranks, {"k": RRF_K, "depth": DEPTH}),
}


def evaluate_with_baselines(
    task: RetrievalTask,
    model: object,
    baselines: Sequence[str],
    *,
    batch_size: int | None = None,
    info: RunInfo | None = None,
    run: str | Path | None = None,
    run_depth: int = RUN_DEPTH,
    process_group: ProcessGroup | None = None,
) -> list[Results]:
    """Evaluate a model and baselines beside it.

    Args:
        task: what to evaluate on.
        model: the retriever, see `RetrievalTask.evaluate`; it encodes the texts once.
        baselines: names from `BASELINES`: "bm25"; "untrained", the same architecture with fresh
            weights; "fusion", BM25 and the model by the rule of Mr. TyDi; "rrf", the two by
            reciprocal ranks.
        batch_size: texts the model takes at a time; default its own.
        info: describes the model in its results; see `RetrievalTask.evaluate`.
        run: a file for the model's ranking, see `RetrievalTask.write_run`.
        run_depth: number of candidates per query in that file.
        process_group: as in `RetrievalTask.evaluate`.

    Returns:
        The results of the model, then those of the baselines in their order.

    Raises:
        ImportError: a package that BM25 needs is not installed.
        ValueError: an unknown baseline, one that the task or the model does not support, or
            embeddings that cannot be ranked.
    """
    check_baselines(baselines)
    if "untrained" in baselines and not isinstance(model, BiEncoder):
        raise ValueError(
            f"the model is a {type(model).__name__}, which cannot be made anew without training; "
            "leave out the baseline 'untrained'"
        )
    if run is not None:
        task.run_ids()
    if {*baselines} - {"untrained"}:
        task.check_scorers()
    with shared_work(process_group) as shared:
        sharing: dict[str, Any] = {} if shared is None else {"shared": shared}
        queries, candidates, settings = task.encode(model, batch_size=batch_size, **sharing)
        info = (info or RunInfo()).with_defaults(describe_model(model)[0], **settings)
        if run is not None and (shared is None or shared.rank == 0):
            task.write_run(run, queries, candidates, depth=run_depth, tag=str(info.model))
        results = [task.score(queries, candidates, info=info, **sharing)]
        scorers = {}
        if {*baselines} - {"untrained"}:
            scorers = _make_scorers(task, dot_products(queries, candidates), settings)
        for baseline in baselines:
            own = RunInfo(baseline)
            if baseline in scorers:
                score_rows, own_settings = scorers[baseline]
                own = RunInfo(baseline, settings=own_settings)
                results.append(task.score_by(score_rows, info=own, **sharing))
            else:
                fresh = task.encode(
                    cast(BiEncoder, model).untrained(), batch_size=batch_size, **sharing
                )
                own = own.with_defaults("untrained", **fresh[2])
                results.append(task.score(*fresh[:2], info=own, **sharing))
    return results


def _make_scorers(
    task: RetrievalTask, dense: ScoreRows, settings: Mapping[str, Any]
) -> dict[str, tuple[ScoreRows, dict[str, Any]]]:
    """Return BM25 and its fusions with the scores of a model, each with its settings."""
    bm25 = BM25(task.queries, task.candidates)
    # Own ids are left out before fusion, where they would set the scale of the scores.
    sparse, dense = task.own_ids.mask(bm25), task.own_ids.mask(dense)
    scorers = {"bm25": (sparse, bm25.settings)}
    for fusion, (rule, options) in FUSIONS.items():
        own = {**settings, **bm25.settings, "fusion": options}
        scorers[fusion] = fuse_scorers(sparse, dense, rule), own
    return scorers


def check_baselines(names: Sequence[str]) -> None:
    """Raise a ValueError unless all names are of baselines and none occurs twice."""
    for name in names:
        check_choice("baseline", name, BASELINES)
    if len(set(names)) < len(names):
        raise ValueError(f"baselines are {', '.join(names)}; name each once")
