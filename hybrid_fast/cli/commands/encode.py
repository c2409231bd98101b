"""The command that encodes a corpus. Heavy imports happen inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from hybrid_fast.cli.commands import options
from hybrid_fast.cli.commands.options import AS_PATH, Debug, split_commas
from hybrid_fast.cli.messages import quiet_libraries
from hybrid_fast.cli.paths import check_source
from hybrid_fast.common.files import check_writable
from hybrid_fast.common.hub import local_folder


@options.takes_encoder
def encode(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name.")],
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS",
            help="File, folder, pattern with {lang}, or hub name of the texts.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for shards and manifest; one that was begun is gone on with.", **AS_PATH
        ),
    ],
    lang: Annotated[
        str | None, typer.Option(help="Language of texts that do not say theirs.")
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Language codes, comma-separated, of the files to read.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="Format of the files, or 'hub' (default: by their names)."),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Configuration of a data set on the hub.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of a data set on the hub (default: the only one).")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Fields of id, title, text and language where they have other names: "
            "'id=docid,text=body'."
        ),
    ] = None,
    candidate_text: Annotated[
        str | None, typer.Option(help="'title+text' (default) or 'text'.")
    ] = None,
    language_in_ids: Annotated[
        bool | None,
        typer.Option(
            "--language-in-ids/--ids-alone",
            help="Make ids such as 'sw:12', unique where each language numbers its own texts "
            "(default: for MIRACL and Mr. TyDi).",
        ),
    ] = None,
    check_ids: Annotated[
        bool,
        typer.Option(
            "--check-ids/--no-check-ids",
            help="Find ids that occur twice, with 8 bytes of memory a text in each process.",
        ),
    ] = True,
    keep_variants: Annotated[
        bool,
        typer.Option("--keep-variants", help="Keep script and region of language codes."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Faults of the files are errors, not warnings.")
    ] = False,
    batch_size: options.BatchSize = None,
    vector_dtype: Annotated[
        str, typer.Option(help="What vectors are kept in: 'float32' or 'float16'.")
    ] = "float32",
    store_texts: Annotated[
        bool, typer.Option("--store-texts", help="Keep the texts beside their vectors.")
    ] = False,
    shard_rows: Annotated[
        int | None, typer.Option(help="Texts of a shard (default: 32768).", min=1)
    ] = None,
    *,
    encoder_options: dict[str, Any],
    debug: Debug = False,
) -> None:
    """Encode CORPUS with MODEL into a folder of vectors, which `index` makes a store of.

    The same command goes on where it was interrupted or killed. torchrun shares the work over
    processes and machines.
    """
    check_writable(out)
    local_folder(model)
    check_source(corpus)

    from hybrid_fast.data.formats.corpus import open_corpus
    from hybrid_fast.models.evaluable import load_evaluable
    from hybrid_fast.retrieval import encode_corpus
    from hybrid_fast.retrieval.corpora.encoded import VectorDtype
    from hybrid_fast.training.collectives import all_ranks
    from hybrid_fast.training.devices import join_ranks
    from hybrid_fast.training.termination import leave_process_group

    if not debug:
        quiet_libraries()
    join_ranks(on_cpu=True)
    texts = open_corpus(
        corpus,
        lang=lang,
        languages=split_commas("--languages", languages),
        format=format,
        config=config,
        split=split,
        columns=options.named_columns("--columns", columns),
        candidate_text=candidate_text,
        language_in_ids=language_in_ids,
        check_ids=check_ids,
        keep_variants=keep_variants,
        strict=strict,
    )
    group = all_ranks()
    encoded = encode_corpus(
        load_evaluable(model, **encoder_options),
        texts,
        out,
        batch_size=batch_size,
        vector_dtype=cast(VectorDtype, vector_dtype),
        store_texts=store_texts,
        shard_rows=shard_rows,
        process_group=group,
    )
    is_first = group is None or group.rank() == 0
    leave_process_group()
    if is_first:
        num_shards = len(encoded.manifest.shards)
        print(
            f"vectors: {out}, {len(encoded):,} of {encoded.info.dimension} dimensions in "
            f"{num_shards:,} shard{'s' if num_shards != 1 else ''}"
        )
