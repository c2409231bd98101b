"""Searches from the command line: the queries, the retriever, and how hits are shown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid_fast.common.json_files import read_optional
from hybrid_fast.data.formats.corpus import open_corpus
from hybrid_fast.data.formats.lines import iter_lines
from hybrid_fast.data.formats.topics import read_topics
from hybrid_fast.data.formats.trec_runs import check_run_ids, write_run
from hybrid_fast.models.evaluable import load_evaluable
from hybrid_fast.models.folders.finding import find_folder
from hybrid_fast.qa import Reader
from hybrid_fast.retrieval import BM25Index, Hit, Retriever, load_reranker
from hybrid_fast.retrieval.corpora.encoded import EncodedCorpus
from hybrid_fast.retrieval.encoders import find_encoders
from hybrid_fast.retrieval.encoding import encode
from hybrid_fast.retrieval.reranking import Reranker
from hybrid_fast.retrieval.retriever_inputs import checked_queries
from hybrid_fast.retrieval.stores import Store, open_store
from hybrid_fast.retrieval.texts_by_id import TextsById
from hybrid_fast.retrieval.vector_info import VectorInfo

TUNED_QUERIES = 1024  # that searches are tuned to and measured by, at most


class Output(NamedTuple):
    """What becomes of hits.

    Attributes:
        run: a file for a TREC run.
        as_json: print JSON; otherwise tables, unless there is a run.
        reader: finds answers in them; a folder or hub name.
        num_answers: of the reader to a query.
    """

    run: Path | None = None
    as_json: bool = False
    reader: str | None = None
    num_answers: int = 1

    @property
    def prints(self) -> bool:
        """Whether hits are printed."""
        return self.as_json or self.run is None


@dataclass(frozen=True)
class Search:
    """What is searched, and how; see `Retriever`.

    Attributes:
        model: folder or hub name.
        encoder_options: keyword arguments of `load_evaluable`.
        store: address.
        store_options: keyword arguments of `open_store`.
        texts: the corpus that was encoded.
        corpus_options: keyword arguments of `open_corpus`.
        bm25: rule of fusion with BM25 over these texts.
        fusion_depth: first hits that are fused.
        reranker: folder or hub name of a cross-encoder or a reader.
        rerank_depth: first hits that it scores.
        batch_size: texts and pairs that models take at a time.
    """

    model: str
    encoder_options: Mapping[str, Any]
    store: str
    store_options: Mapping[str, Any]
    texts: str | None
    corpus_options: Mapping[str, Any]
    bm25: str | None
    fusion_depth: int
    reranker: str | None
    rerank_depth: int
    batch_size: int | None

    def retriever(self, store: Store, needs_texts: bool) -> Retriever:
        """Load the models; read the texts where hits need them, or BM25 does."""
        corpus = None if self.texts is None else open_corpus(self.texts, **self.corpus_options)
        needs_texts = needs_texts or self.reranker is not None
        return Retriever(
            load_evaluable(self.model, **self.encoder_options),
            store,
            texts=None if corpus is None or not needs_texts else TextsById(corpus),
            sparse=None if self.bm25 is None or corpus is None else BM25Index(corpus),
            fusion=self.bm25 or "rrf",
            fusion_depth=self.fusion_depth,
            reranker=None if self.reranker is None else _load_reranker(self.reranker),
            rerank_depth=self.rerank_depth,
            batch_size=self.batch_size,
        )


def read_queries(query: str | None, file: Path | None) -> dict[str, str]:
    """Return queries by id: one, those of a file, or the lines of standard input by number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: both are given or nothing is, the query is empty, or the file cannot be read.
    """
    if query is not None and file is not None:
        raise ValueError("QUERY and --queries are both given; leave one out")
    if file is not None:
        return read_topics(file)
    if query is not None:
        if not query.strip():
            raise ValueError("QUERY is empty; give it a text")
        return {"1": query}
    if sys.stdin is None or sys.stdin.isatty():
        raise ValueError("there is no query; give QUERY, --queries FILE, or lines by a pipe")
    lines = {str(number): line.strip() for number, line in enumerate(sys.stdin, 1)}
    asked = {number: line for number, line in lines.items() if line}
    if not asked:
        raise ValueError("standard input has no line with a query; give QUERY or --queries FILE")
    return asked


def encode_queries(
    file: Path, model: str, encoder_options: Mapping[str, Any], corpus: EncodedCorpus
) -> np.ndarray:
    """Return the vectors of the queries of a file, float32 (n, D), some of them if there are many.

    Raises:
        OSError, ValueError: as `read_topics` and `load_evaluable`; the corpus was encoded by
            another model, or the file has no queries.
    """
    texts = list(checked_queries((asked := read_topics(file)).values(), asked))
    if not texts:
        raise ValueError(f"{file} has no queries; give one that has some")
    encoder = load_evaluable(model, **encoder_options)
    corpus.info.check_model(VectorInfo.of(encoder), str(corpus.folder))
    rows = np.random.default_rng(0).permutation(len(texts))[:TUNED_QUERIES]
    return encode(find_encoders(encoder)[0], [texts[row] for row in rows], None, "queries")


def read_ids(file: Path) -> list[str]:
    """Return the ids of a file, one a line; empty lines are left out.

    Raises:
        ValueError: the file is empty, damaged, or not UTF-8.
    """
    return [line.strip() for _, line in iter_lines(file) if line.strip()]


def run_search(
    search: Search,
    queries: Mapping[str, str],
    k: int,
    languages: Sequence[str] | None,
    output: Output,
) -> None:
    """Search and show what was found, query by query.

    Raises:
        OSError, ValueError: as `open_store`, `load_evaluable`, `open_corpus` and `Retriever`.
    """
    if output.run is not None:
        check_run_ids(queries)
    with closing(open_store(search.store, **search.store_options)) as store:
        reader = None if output.reader is None else Reader.from_pretrained(output.reader)
        retriever = search.retriever(store, output.prints)
        texts = list(checked_queries(queries.values(), queries))
        found = retriever.search_each(texts, k, languages, with_texts=output.prints)
        shown = _shown(zip(queries.items(), found, strict=True), reader, output)
        if output.run is not None:
            write_run(output.run, map(_run_lines, shown), store.info.model)
            return
        for _ in shown:
            pass


Found = tuple[tuple[str, str], list[Hit]]  # id and text of a query, and its hits


def _shown(found: Iterable[Found], reader: Reader | None, output: Output) -> Iterator[Found]:
    """Yield what was found, each query printed when it is done.

    When whoever reads the output has enough of it, as `head` does, only a run is gone on with.
    """
    console = Console()
    prints = output.prints
    for (name, query), hits in found:
        if prints:
            answers = _answers(reader, query, hits, output.num_answers)
            try:
                if output.as_json:
                    of_hits = [hit._asdict() for hit in hits]
                    _print_json({"id": name, "query": query, "hits": of_hits} | answers)
                else:
                    _print_table(console, query, hits, answers)
            except BrokenPipeError:
                # What is left in the buffer goes nowhere, or closing it would fail again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                prints = False
        if not prints and output.run is None:
            return
        yield (name, query), hits


def _run_lines(found: Found) -> tuple[str, list[str], np.ndarray]:
    (name, _), hits = found
    return name, [hit.id for hit in hits], np.array([hit.score for hit in hits], np.float32)


def _answers(
    reader: Reader | None, query: str, hits: Sequence[Hit], num_answers: int
) -> dict[str, list[dict[str, Any]]]:
    """Return "answers", the best spans of all hits; nothing without a reader."""
    if reader is None:
        return {}
    read = [hit for hit in hits if hit.text]
    if len(read) < len(hits):
        raise ValueError(
            f"--reader needs the texts of hits, and {len(hits) - len(read)} of {len(hits)} have "
            "none; encode with --store-texts, or give the corpus with --texts"
        )
    (spans,) = reader.read([query], [[hit.text or "" for hit in read]], num_answers)
    return {
        "answers": [
            {
                "text": span.text,
                "score": span.score,
                "id": read[span.passage].id,
                "start": span.start,
                "end": span.end,
            }
            for span in spans
        ]
    }


def _print_json(content: object) -> None:
    # Escapes where the terminal or pipe takes no other letters, so that no letter becomes "?".
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    print(json.dumps(content, ensure_ascii=not is_unicode), flush=True)


def _print_table(
    console: Console,
    query: str,
    hits: Sequence[Hit],
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    table = Table(title=Text(query), title_justify="left")
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("language")
    table.add_column("id")
    if any(hit.text is not None for hit in hits):
        table.add_column("text")
    for rank, hit in enumerate(hits, 1):
        text = [] if hit.text is None else [Text(" ".join(hit.text.split()))]
        table.add_row(str(rank), f"{hit.score:.4g}", Text(hit.language), Text(hit.id), *text)
    with console.capture() as printed:  # by itself it ends the process where a pipe is closed
        console.print(table)
        for answer in answers.get("answers", []):
            console.print(Text(f"answer: {answer['text']} ({answer['score']:.4g}, {answer['id']})"))
    print(printed.get(), end="", flush=True)


def _load_reranker(path_or_hub_name: str) -> Reranker:
    """Load a reader as what scores by its best span, anything else as a cross-encoder."""
    folder = find_folder(path_or_hub_name, None)
    names = read_optional(folder / "config.json").get("architectures") or []
    if any("QuestionAnswering" in str(name) for name in names):
        return Reader.from_pretrained(folder).score_pairs
    return load_reranker(folder)
