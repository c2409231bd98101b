"""Hard negatives for a table: encode its passages, search them or a store, choose, write."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from hybrid_fast.common.files import check_folder
from hybrid_fast.common.paths import expanded
from hybrid_fast.data import AlignedTable
from hybrid_fast.data.table import check_table
from hybrid_fast.retrieval.corpora.encode import encode_corpus
from hybrid_fast.retrieval.encoders import find_encoders
from hybrid_fast.retrieval.encoding import encode
from hybrid_fast.retrieval.mining.answers import Answers, KnownPassages
from hybrid_fast.retrieval.mining.candidates import Candidates, StoreCandidates, TableCandidates
from hybrid_fast.retrieval.mining.miner import Miner
from hybrid_fast.retrieval.mining.options import MiningOptions
from hybrid_fast.retrieval.mining.output import TableWriter
from hybrid_fast.retrieval.mining.passages import PassageVectors, TablePassages
from hybrid_fast.retrieval.mining.report import MiningReport
from hybrid_fast.retrieval.mining.scoring import Scorer
from hybrid_fast.retrieval.mining.search_plan import SearchPlan
from hybrid_fast.retrieval.reranking import Reranker, check_reranker
from hybrid_fast.retrieval.retriever_inputs import check_fits
from hybrid_fast.retrieval.stores import Rows, Store, create_store, open_store
from hybrid_fast.retrieval.stores.recall import RECALL_QUERIES
from hybrid_fast.retrieval.text_sources import HitTexts, TextSource
from hybrid_fast.retrieval.vector_info import VectorInfo

logger = logging.getLogger(__name__)


class Mined(NamedTuple):
    """A table with hard negatives, and what was found."""

    table: AlignedTable
    report: MiningReport


def mine_hard_negatives(
    model: object,
    table: AlignedTable,
    *,
    languages: str | Sequence[str] = "own",
    balanced: bool = False,
    num_negatives: int = 4,
    ranks: tuple[int, int] = (1, 100),
    margin: float | None = None,
    relative_margin: float | None = 0.95,
    max_score: float | None = None,
    min_score: float | None = None,
    sampling: Literal["top", "random"] = "top",
    seed: int = 0,
    positive: Literal["lowest", "own"] = "lowest",
    existing: Literal["replace", "keep", "extend"] = "replace",
    store: Store | str | None = None,
    texts: Mapping[str, str] | TextSource | None = None,
    reranker: Reranker | None = None,
    batch_size: int | None = None,
    index: str = "auto",
    work_dir: str | Path | None = None,
) -> AlignedTable:
    """Give each item with a query the passages that a model takes for answers, and are none.

    No negative of an item is a passage of its group, or of a group with an equal query in common,
    in any language; nor what has the passage id or the text of such a passage, or of the query.
    Texts are equal that differ in white space or Unicode compatibility forms alone.

    Args:
        model: a BiEncoder, a SentenceTransformer or what else has methods that encode queries and
            passages.
        table: the items. Its own passages become negatives, unless there is a `store`.
        languages: of the negatives: "own", that of the item; "other", all but that; "pool", all
            together; or a list of codes.
        balanced: of several languages, each gives as many negatives as another, as far as it has
            some; otherwise those with the highest scores are taken, whatever their language.
        num_negatives: of an item, at most; it gets fewer where no more are left.
        ranks: the first and the last rank that become negatives, from 1 and counted among the
            passages that are no answers, in all `languages` together (with `balanced`: in each).
        margin: a negative's score is at most the positive's less this.
        relative_margin: a negative's score is at most this share of the positive's (.95 of it:
            TopK-PercPos). Where the positive's is negative it is at most that less the rest of its
            size: -1.05 of -1. None for no such limit.
        max_score: a negative's score is at most this.
        min_score: a negative's score is at least this.
        sampling: "top", those with the highest scores, or "random" ones of the ranks.
        seed: of "random".
        positive: what the margins refer to: the "lowest" score of the passages that answer the
            item's question in the item's language (in any language, if there are none), or that of
            its "own" passage, if it has one.
        existing: hard negatives that an item has are "replace"d; the item is "keep"t as it is; or
            they are "extend"ed by new ones.
        store: takes the place of the table's passages: a store of vectors of this model, or its
            address. What answers an item is known there by its text, or by an id that is the
            table's `passage_id`. Its scores are taken as they are.
        texts: those of a store that keeps none: a mapping of ids to texts, or what has
            `texts(ids)`.
        reranker: gives the scores of positives and of the passages of all `ranks`, which are found
            by the model: a function of queries and texts, or a CrossEncoder.
        batch_size: texts that the models take at a time; None leaves it to them.
        index: what the table's passages are searched by: that of a FAISS store, see `create_store`.
        work_dir: a folder for vectors and the index, several times the size of the vectors; encoded
            passages stay there and are not encoded again by the next call. Default: a temporary
            one.

    Returns:
        The table with the columns `negatives`, highest scores first; `negative_scores`, of these;
        and `positive_score`, that of the row's own passage. Rows without a query stay as they are.
        One that is large lies in a file, which is mapped and vanishes with it.

    Raises:
        TypeError: the model cannot encode texts, `table` is no AlignedTable, or store, texts or
            reranker are none.
        ValueError: an option is wrong, there is no query or no passage, the store holds vectors of
            another model, a text is missing, or there is nothing in a language that is asked for.
    """
    options = MiningOptions(
        languages=languages,
        balanced=balanced,
        num_negatives=num_negatives,
        ranks=ranks,
        margin=margin,
        relative_margin=relative_margin,
        max_score=max_score,
        min_score=min_score,
        sampling=sampling,
        seed=seed,
        positive=positive,
        existing=existing,
    )
    return mine(
        model,
        table,
        options,
        store=store,
        texts=texts,
        reranker=reranker,
        batch_size=batch_size,
        index=index,
        work_dir=work_dir,
    ).table


def mine(
    model: object,
    table: AlignedTable,
    options: MiningOptions,
    *,
    store: Store | str | None = None,
    texts: Mapping[str, str] | TextSource | None = None,
    reranker: Reranker | None = None,
    batch_size: int | None = None,
    index: str = "auto",
    work_dir: str | Path | None = None,
) -> Mined:
    """Mine hard negatives and tell what was found; see `mine_hard_negatives`."""
    _check_given(table, store, texts, reranker, index)
    encoder, _ = find_encoders(model)
    info, answers = VectorInfo.of(model), Answers.of_table(table)
    passages = TablePassages(table, answers)
    with _work_folders(work_dir) as (lasting, fleeting), ExitStack() as stack:
        # Texts are encoded as they are read from here, when what else is given was found good.
        encoded = _encoded(model, passages, lasting / "passages", batch_size)
        vectors = PassageVectors(len(passages), info, fleeting / "vectors")
        candidates: Candidates
        if store is not None:
            opened = stack.enter_context(_opened(store, model))
            known = KnownPassages.of_table(table, answers)
            candidates = StoreCandidates(opened, HitTexts(opened, texts), known)
            plan = SearchPlan(options, table.languages, opened.languages())
            vectors.read(encoded)
        else:
            plan = SearchPlan(options, table.languages, passages.languages())
            address = f"faiss:{fleeting / 'index'}"
            with create_store(address, info, index=index) as new:
                vectors.read(_added(encoded, new))
                new.tune(_drawn_queries(encoder, table, batch_size))
            own = stack.enter_context(closing(open_store(address)))
            candidates = TableCandidates(passages, answers, vectors, own)
        scorer = Scorer(encoder, info.similarity, batch_size, passages, vectors, reranker)
        miner = Miner(table, options, answers, candidates, plan, scorer)
        return _mine(miner, table, fleeting)


def _check_given(
    table: AlignedTable,
    store: Store | str | None,
    texts: object,
    reranker: Reranker | None,
    index: str,
) -> None:
    """Check what is given beside the options, as far as nothing is opened for it."""
    check_table(table)
    if reranker is not None:
        check_reranker(reranker)
    if not table.has_query.any():
        raise ValueError("the table has no queries, and negatives are mined for these")
    if store is None and not table.has_passage.any():
        raise ValueError("the table has no passages to become negatives; give a store of some")
    if store is not None and index != "auto":
        raise ValueError(f"index={index!r} is for the table's passages; leave it out with a store")
    if store is None and texts is not None:
        raise ValueError("texts are those of a store; give it too, or leave them out")


def _mine(miner: Miner, table: AlignedTable, folder: Path) -> Mined:
    writer = TableWriter(table, folder)
    for part, mined in miner.mine():
        writer.write(part, mined)
    made = writer.finish()
    logger.info("%s", miner.report.describe())
    return Mined(made, miner.report)


@contextmanager
def _work_folders(work_dir: str | Path | None) -> Iterator[tuple[Path, Path]]:
    """Yield a folder for what serves the next call too, and one that is removed at the end."""
    place = None if work_dir is None else expanded(work_dir)
    if place is not None:
        check_folder(place)
        place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hybrid-fast-mining-", dir=place) as made:
        fleeting = Path(made)
        yield fleeting if place is None else place, fleeting


@contextmanager
def _opened(store: Store | str, model: object) -> Iterator[Store]:
    """Open a store by its address, and check that it holds vectors of a model."""
    opened = open_store(store) if isinstance(store, str) else store
    if not isinstance(opened, Store):
        raise TypeError(f"store is {store!r}; give a store, or the address of one")
    try:
        check_fits(model, opened)
        yield opened
    finally:
        if isinstance(store, str):
            opened.close()


def _encoded(
    model: object, passages: TablePassages, folder: Path, batch_size: int | None
) -> Iterator[Rows]:
    """Encode the passages of a table, unless that was done before, and yield them."""
    if len(passages):
        yield from encode_corpus(model, passages, folder, batch_size=batch_size)


def _drawn_queries(
    encoder: Callable[..., Any], table: AlignedTable, batch_size: int | None
) -> np.ndarray:
    """Return the vectors of some queries of a table, for which searches of its index are tuned."""
    rows = np.random.default_rng(0).permutation(np.flatnonzero(table.has_query))
    texts = table.queries(np.sort(rows[:RECALL_QUERIES]))
    return encode(encoder, texts, batch_size, "queries", show_progress=False)


def _added(encoded: Iterable[Rows], store: Store) -> Iterator[Rows]:
    """Add vectors to a store as they are read."""
    for rows in encoded:
        store.add(rows)
        yield rows
