"""Commands that search a store and delete from one. Heavy imports happen inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hybrid_fast.cli.commands import options
from hybrid_fast.cli.commands.options import (
    AS_PATH,
    Debug,
    StoreOptions,
    parse_store_options,
    split_commas,
)
from hybrid_fast.cli.folders import claim_new
from hybrid_fast.cli.messages import quiet_libraries
from hybrid_fast.cli.paths import check_file, check_source
from hybrid_fast.common.hub import local_folder

# As they were given to `encode`.
OF_TEXTS: dict[str, Any] = {"rich_help_panel": "Corpus of --texts"}
StoreAddress = Annotated[
    str,
    typer.Argument(
        metavar="STORE",
        help="Address of a store: faiss:FOLDER, milvus:FILE.db or milvus:http://HOST.",
    ),
]


@options.takes_encoder
def search(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder or hub name of what encoded the texts.")
    ],
    store: StoreAddress,
    query: Annotated[
        str | None,
        typer.Argument(
            metavar="[QUERY]", help="What to search for (default: the lines of standard input)."
        ),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="File of queries with ids: query<TAB>text, JSON Lines, or TREC topics.", **AS_PATH
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", "-k", help="Hits of a query (default: 10; for --run 1000).", min=1),
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Languages of the hits, comma-separated (default: all).")
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(help="The corpus that was encoded, for texts that the store does not keep."),
    ] = None,
    lang: Annotated[
        str | None, typer.Option(help="Language of --texts that do not say theirs.", **OF_TEXTS)
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Format of the files (default: by their names).", **OF_TEXTS)
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Fields with other names: 'id=docid,text=body'.", **OF_TEXTS),
    ] = None,
    candidate_text: Annotated[
        str | None, typer.Option(help="'title+text' (default) or 'text'.", **OF_TEXTS)
    ] = None,
    language_in_ids: Annotated[
        bool | None,
        typer.Option(
            "--language-in-ids/--ids-alone",
            help="Make ids such as 'sw:12' (default: for MIRACL and Mr. TyDi).",
            **OF_TEXTS,
        ),
    ] = None,
    bm25: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Fuse the hits with those of BM25 over --texts, indexed in memory: 'rrf' or "
            "'weighted'.",
        ),
    ] = None,
    fusion_depth: Annotated[
        int, typer.Option(help="First hits of each that --bm25 fuses.", min=1)
    ] = 1000,
    reranker: Annotated[
        str | None,
        typer.Option(
            help="Folder or hub name of a cross-encoder, or of a reader, that orders the first "
            "hits anew."
        ),
    ] = None,
    rerank_depth: Annotated[
        int, typer.Option(help="First hits that --reranker orders.", min=1)
    ] = 100,
    reader: Annotated[
        str | None,
        typer.Option(help="Folder or hub name of a reader, which finds answers in the hits."),
    ] = None,
    answers: Annotated[int, typer.Option(help="Answers of --reader to a query.", min=1)] = 1,
    run: Annotated[
        Path | None, typer.Option(help="New file for a TREC run of the hits.", **AS_PATH)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object a query, one a line.")
    ] = False,
    store_option: StoreOptions = None,
    batch_size: options.BatchSize = None,
    *,
    encoder_options: dict[str, Any],
    debug: Debug = False,
) -> None:
    """Search STORE by MODEL for what answers QUERY, in any of its languages."""
    if run is not None:
        claim_new(context, run, "file for --run")
    if run is not None and reader is not None and not as_json:
        raise ValueError("--reader finds answers, which a run has no place for; add --json")
    if bm25 is not None and texts is None:
        raise ValueError("--bm25 needs the texts that it indexes; give the corpus with --texts")
    of_texts = ["lang", "format", "columns", "candidate_text", "language_in_ids"]
    for needed, value, names in (
        ("--texts", texts, of_texts),
        ("--bm25", bm25, ["fusion_depth"]),
        ("--reranker", reranker, ["rerank_depth"]),
        ("--reader", reader, ["answers"]),
    ):
        if value is None:
            options.check_not_given(context, names, needed)
    for each in (model, reranker, reader):
        if each is not None:
            local_folder(each)
    if texts is not None:
        check_source(texts)
    if queries is not None:
        check_file(queries)

    from hybrid_fast.cli.searching import Output, Search, read_queries, run_search

    if not debug:
        quiet_libraries()
    asked = read_queries(query, queries)
    corpus_options = {
        "lang": lang,
        "format": format,
        "columns": options.named_columns("--columns", columns),
        "candidate_text": candidate_text,
        "language_in_ids": language_in_ids,
    }
    run_search(
        Search(
            model,
            encoder_options,
            store,
            store_options=parse_store_options(store_option),
            texts=texts,
            corpus_options=corpus_options,
            bm25=bm25,
            fusion_depth=fusion_depth,
            reranker=reranker,
            rerank_depth=rerank_depth,
            batch_size=batch_size,
        ),
        asked,
        top_k or (10 if run is None else 1000),
        split_commas("--languages", languages),
        Output(run, as_json, reader, answers),
    )
    if run is not None and not as_json:
        print(f"run: {run}")


def delete(
    store: StoreAddress,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of what is to be deleted.")
    ] = None,
    ids_file: Annotated[
        Path | None, typer.Option("--ids", help="File of more ids, one a line.", **AS_PATH)
    ] = None,
    store_option: StoreOptions = None,
    debug: Debug = False,
) -> None:
    """Delete vectors and their texts from STORE, by their ids."""
    if ids_file is not None:
        check_file(ids_file)

    from hybrid_fast.cli.searching import read_ids
    from hybrid_fast.retrieval.stores import open_store

    listed = list(dict.fromkeys([*(ids or []), *(read_ids(ids_file) if ids_file else [])]))
    if not listed:
        raise ValueError("there are no ids to delete; give some, or a file of them with --ids")
    with open_store(store, **parse_store_options(store_option)) as opened:
        num_deleted, num_left = opened.delete(listed), opened.count()
    print(f"deleted: {num_deleted:,} of {len(listed):,} ids; vectors left in {store}: {num_left:,}")
