"""The command that puts encoded texts into a store. Heavy imports happen inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hybrid_fast.cli.commands import options
from hybrid_fast.cli.commands.options import (
    AS_PATH,
    Debug,
    StoreOptions,
    parse_store_options,
    user_path,
)
from hybrid_fast.cli.messages import quiet_libraries
from hybrid_fast.cli.paths import check_file
from hybrid_fast.common.hub import local_folder

if TYPE_CHECKING:
    from hybrid_fast.retrieval.indexing import IndexReport


@options.takes_encoder
def index(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", parser=user_path, help="Folder that encode has written."),
    ],
    store: Annotated[
        str,
        typer.Option(help="faiss:FOLDER, milvus:FILE.db or milvus:http://HOST:19530."),
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--index",
            metavar="KIND",
            help="What searches are done by. FAISS: flat (exact), hnsw, ivf-sq8, ivf-pq, sq8, or a "
            "factory string. Milvus: a kind with parameters, such as HNSW,M=32. auto chooses by "
            "size and memory, and leaves it to a server.",
        ),
    ] = "auto",
    add: Annotated[
        bool,
        typer.Option("--add", help="Add to a store that is there; equal ids are replaced."),
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make a store that is there anew, then swap.")
    ] = False,
    texts: Annotated[
        bool | None,
        typer.Option("--texts/--no-texts", help="Store texts too (default: if DIR has them)."),
    ] = None,
    store_option: StoreOptions = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="File of queries such as will be asked, by which the effort of searches is chosen "
            "and recall measured (default: by vectors of DIR, of whose neighbours more is found).",
            **AS_PATH,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Folder or hub name of what encodes --queries.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sample that recall is measured on.")] = 0,
    *,
    encoder_options: dict[str, Any],
    debug: Debug = False,
) -> None:
    """Put the vectors in DIR into a store, and say what its searches find."""
    if model is None:
        options.check_no_encoder_options(context, "--model")
    if (queries is None) != (model is None):
        given, needed = ("--model", "--queries") if queries is None else ("--queries", "--model")
        raise ValueError(f"{given} is given without {needed}; give both, or leave both out")
    if queries is not None:
        check_file(queries)
    if model is not None:
        local_folder(model)

    from hybrid_fast.cli.searching import encode_queries
    from hybrid_fast.retrieval.corpora.encoded import EncodedCorpus
    from hybrid_fast.retrieval.indexing import index_corpus

    if not debug:
        quiet_libraries()
    corpus = EncodedCorpus(folder)
    asked = None
    if queries is not None and model is not None:
        asked = encode_queries(queries, model, encoder_options, corpus)
    report = index_corpus(
        corpus,
        store,
        index=kind,
        store_texts=texts,
        replace=replace,
        add=add,
        queries=asked,
        seed=seed,
        **parse_store_options(store_option),
    )
    _show(report, "vectors as" if asked is None else "other")


def _show(report: IndexReport, kind: str) -> None:
    print(f"store: {report.address}")
    print(f"index: {report.index}")
    num_languages = len(report.languages)
    print(
        f"vectors: {report.rows:,} in {num_languages} language{'s' if num_languages != 1 else ''}"
    )
    if report.size is not None:
        print(f"size: {report.size / 2**20:,.1f} MiB")
    if report.recall is not None:
        print(f"recall@10: {report.recall:.3f} of exact search, {report.queries} {kind} queries")
    print(f"time: {report.seconds:,.1f} s")
