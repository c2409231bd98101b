"""A retrieval task in several languages: queries, candidates, their relevance, its evaluation.

Every query is evaluated three ways: against the candidates of its own language (mono), of each
other language (cross), and of all languages in one pool (multi). The scores are defined in
`metrics` and `language_bias`; how ranks are counted is described in `ranks`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch.distributed import ProcessGroup

from hybrid_fast.evaluation.tasks.by_store import evaluate_by_store
from hybrid_fast.evaluation.tasks.candidate_store import CandidateTexts
from hybrid_fast.evaluation.tasks.embeddings import Embeddings, checked_embeddings, with_dtype
from hybrid_fast.evaluation.tasks.outcome import make_results
from hybrid_fast.evaluation.tasks.pool_ids import PoolIds
from hybrid_fast.evaluation.tasks.query_scores import rank_queries
from hybrid_fast.evaluation.tasks.run_files import RUN_DEPTH, write_run_and_qrels
from hybrid_fast.evaluation.tasks.task_texts import TaskTexts
from hybrid_fast.results import Results, RunInfo
from hybrid_fast.results.plain import plain
from hybrid_fast.retrieval.encoding import describe_model, encode_both
from hybrid_fast.retrieval.scores import ScoreRows, dot_products, refuse_nan
from hybrid_fast.retrieval.shared_work import SharedWork, shared_work
from hybrid_fast.retrieval.stores import Store
from hybrid_fast.retrieval.vector_info import VectorInfo


class RetrievalTask(TaskTexts):
    """A task, evaluated with a model, embeddings or other scores."""

    def evaluate(
        self,
        model: object,
        *,
        batch_size: int | None = None,
        info: RunInfo | None = None,
        run: str | Path | None = None,
        run_depth: int = RUN_DEPTH,
        store: str | Store | None = None,
        store_options: Mapping[str, Any] | None = None,
        encoded: str | Path | None = None,
        process_group: ProcessGroup | None = None,
    ) -> Results:
        """Encode all texts with a model; score by dot products, or cosines if the model says so.

        With a store only metrics with a cutoff, language shares and PEER are computed, by searching
        in place of counting: for collections whose embeddings do not fit in memory. Scores are
        those without a store if its search is exact.

        Args:
            model: has methods that encode queries and passages under a usual name (see
                `retrieval.encoders`), such as a BiEncoder, a SentenceTransformer or a model of
                BEIR, or `encode` for both.
            batch_size: texts the model takes at a time; default its own.
            info: describes the model in the results; its name, maximum length, prompts and dtype
                are added where `info` lacks them.
            run: a file for the ranking, see `write_run`.
            run_depth: number of candidates per query in that file.
            store: address of a store for the candidates, such as "faiss:FOLDER", which is made if
                there is none; or a store that was made with `store_info`.
            store_options: for the kind of store, when it is made or opened by its address.
            encoded: folder for the vectors of the candidates, where an interrupted encoding goes
                on; default one in the cache, until the store has them.
            process_group: all its ranks call this together and share the work; the first one
                writes the run and searches the store, and all return the results.

        Raises:
            TypeError: if the model cannot encode texts, or a setting cannot be recorded.
            ValueError: if it returns embeddings of a wrong shape, NaN or infinity; the store holds
                other vectors; or no search gives the task's scores.
        """
        plain(self.settings, f"task {self.name!r}: settings")  # they may have been added to
        if run is not None:
            self.run_ids()
        if store is not None:
            return evaluate_by_store(
                self,
                model,
                store,
                options=store_options,
                encoded=encoded,
                batch_size=batch_size,
                info=info,
                run=run,
                run_depth=run_depth,
                process_group=process_group,
            )
        with shared_work(process_group) as shared:
            sharing: dict[str, Any] = {} if shared is None else {"shared": shared}
            queries, candidates, settings = self.encode(model, batch_size=batch_size, **sharing)
            info = (info or RunInfo()).with_defaults(describe_model(model)[0], **settings)
            if run is not None and (shared is None or shared.rank == 0):
                self.write_run(run, queries, candidates, depth=run_depth, tag=str(info.model))
            return self.score(queries, candidates, info=info, **sharing)

    def store_info(self, model: object) -> VectorInfo:
        """Return what `create_store` needs for a store of the candidates that `evaluate` fills.

        Raises:
            TypeError: if the model cannot encode texts.
        """
        return CandidateTexts(self, PoolIds(self.candidates, self.pool)).info(model)

    def encode(
        self,
        model: object,
        *,
        batch_size: int | None = None,
        shared: SharedWork | None = None,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
        """Return what `score` takes: embeddings of queries and of candidates, and settings.

        Embeddings have norm 1 if the model asks for cosines.

        Args:
            model: see `evaluate`.
            batch_size: texts the model takes at a time; default its own.
            shared: ranks that each encode a part of the texts.

        Raises:
            TypeError: if the model cannot encode texts.
            ValueError: if it returns embeddings of a wrong shape, NaN or infinity.
        """
        queries, candidates, made_by = encode_both(
            model,
            self.queries,
            self.candidates,
            batch_size,
            passages_name="candidates",
            shared=shared,
        )
        _, settings = describe_model(model)
        return queries, candidates, {**settings, **made_by}

    def score(
        self,
        query_embeddings: Embeddings,
        candidate_embeddings: Embeddings,
        *,
        info: RunInfo | None = None,
        shared: SharedWork | None = None,
    ) -> Results:
        """Rank candidates by dot product and compute all scores.

        Args:
            query_embeddings: numpy array or torch tensor (len(queries), D) of floats, in the order
                of `queries`; normalise rows to norm 1 for cosine. Scores are float32.
            candidate_embeddings: (len(candidates), D), in the order of `candidates`.
            info: describes the model in the results; the dtype of the embeddings is added.
            shared: ranks that each rank candidates for a part of the queries.

        Raises:
            TypeError: if embeddings are not arrays or tensors of floats.
            ValueError: if shapes do not fit the task or each other, or a row holds NaN or infinity.
        """
        queries, candidates = self._checked(query_embeddings, candidate_embeddings)
        info = with_dtype(info, query_embeddings)
        return self._rank(dot_products(queries, candidates), info, shared)

    def score_by(
        self,
        score_rows: ScoreRows,
        *,
        info: RunInfo | None = None,
        shared: SharedWork | None = None,
    ) -> Results:
        """Rank candidates by any scores and compute all metrics.

        Args:
            score_rows: called with rows of `queries`, int64 (n,), and a float32 array
                (n, len(candidates)), into which it writes the scores of these queries.
            info: describes the scorer in the results.
            shared: as in `score`.

        Raises:
            ValueError: if a score is NaN, or the task can be evaluated with embeddings only.
        """
        self.check_scorers()
        return self._rank(refuse_nan(score_rows), info or RunInfo(), shared)

    def check_scorers(self) -> None:
        """Raise a ValueError if the task can be evaluated with embeddings only."""
        if not self.takes_scorers:
            raise ValueError(
                f"task {self.name!r} is evaluated with embeddings alone; leave out the baselines "
                "bm25, fusion and rrf"
            )

    def write_run(
        self,
        path: str | Path,
        query_embeddings: Embeddings,
        candidate_embeddings: Embeddings,
        *,
        depth: int = RUN_DEPTH,
        tag: str = "hybrid_fast",
    ) -> None:
        """Write the ranking of the union pool as a TREC run, and the qrels that belong to it.

        The qrels go to `path` + ".qrels". If several queries (translations) or several candidates
        share an id, ids are written as "language:id" in both files.

        Args:
            path: the file, compressed as its suffix says (".gz", ".zst").
            query_embeddings: as in `score`.
            candidate_embeddings: as in `score`.
            depth: number of candidates per query.
            tag: the last field of each line; white space in it becomes "_".

        Raises:
            TypeError, ValueError: as `score`, or if depth is not positive or an id contains white
                space.
        """
        queries, candidates = self._checked(query_embeddings, candidate_embeddings)
        query_ids, pool_ids = self.run_ids()
        first = self.own_ids.first(queries, candidates, depth, self.document_scores)
        ranking = ((row, [pool_ids[each] for each in rows], scores) for row, rows, scores in first)
        write_run_and_qrels(path, query_ids, pool_ids, ranking, self.judged, tag)

    def _checked(
        self, query_embeddings: Embeddings, candidate_embeddings: Embeddings
    ) -> tuple[np.ndarray, np.ndarray]:
        return checked_embeddings(
            self.name, self.queries, self.candidates, query_embeddings, candidate_embeddings
        )

    def _rank(self, score_rows: ScoreRows, info: RunInfo, shared: SharedWork | None) -> Results:
        scores, rankings = rank_queries(
            self.own_ids.mask(score_rows),
            self.queries,
            self.pool,
            self.relevants,
            self.metrics,
            unfound=self.judged.unfound,
            document_scores=self.document_scores,
            shared=shared,
        )
        return make_results(self, scores, info, rankings)
