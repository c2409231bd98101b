"""The command that mines hard negatives. Heavy imports happen inside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from hybrid_fast.cli.commands import options
from hybrid_fast.cli.commands.options import AS_PATH, Debug, split_commas
from hybrid_fast.cli.folders import claim_new
from hybrid_fast.cli.messages import quiet_libraries
from hybrid_fast.cli.paths import check_source
from hybrid_fast.common.hub import local_folder


@options.takes_encoder
def mine(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name.")],
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="File, pattern with {lang}, hub name or saved table of the items; a recipe "
            "(.yaml) for those it trains on.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="New folder for the table with its hard negatives.", **AS_PATH)
    ],
    lang: Annotated[str | None, typer.Option(help="Language of all rows of TABLE.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="Columns of TABLE that have other names: 'query=question,passage=answer'."
        ),
    ] = None,
    languages: Annotated[
        str,
        typer.Option(
            help="Of the negatives of an item: 'own', 'other', 'pool' (all together), or codes, "
            "comma-separated."
        ),
    ] = "own",
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Each of several languages gives as many.")
    ] = False,
    num_negatives: Annotated[int, typer.Option("--num-negatives", "-n", help="Of an item.")] = 4,
    ranks: Annotated[
        str, typer.Option(help="First and last rank, counted without answers.")
    ] = "1-100",
    margin: Annotated[
        float | None, typer.Option(help="A negative scores below the positive by this at least.")
    ] = None,
    relative_margin: Annotated[
        str,
        typer.Option(help="Share of the positive's score that a negative may reach, or 'none'."),
    ] = "0.95",
    max_score: Annotated[float | None, typer.Option(help="Of a negative.")] = None,
    min_score: Annotated[float | None, typer.Option(help="Of a negative.")] = None,
    sampling: Annotated[str, typer.Option(help="'top', or 'random' ones of the ranks.")] = "top",
    seed: Annotated[int, typer.Option(help="Of random sampling.")] = 0,
    positive: Annotated[
        str,
        typer.Option(
            help="What margins refer to: the 'lowest' score of an item's positives, or its 'own'."
        ),
    ] = "lowest",
    existing: Annotated[
        str, typer.Option(help="Negatives that items have: 'replace', 'keep' or 'extend' them.")
    ] = "replace",
    store: Annotated[
        str | None,
        typer.Option(help="Address of a store whose passages become negatives, not the table's."),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(help="The corpus that was encoded, for texts that the store does not keep."),
    ] = None,
    reranker: Annotated[
        str | None, typer.Option(help="Folder or hub name of a cross-encoder that gives scores.")
    ] = None,
    index: Annotated[
        str, typer.Option(help="What the table's passages are searched by, see index --help.")
    ] = "auto",
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for vectors, which are not encoded again by the next call (default: a "
            "temporary one beside --out).",
            **AS_PATH,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="New JSON file for what was found.", **AS_PATH)
    ] = None,
    batch_size: options.BatchSize = None,
    *,
    encoder_options: dict[str, Any],
    debug: Debug = False,
) -> None:
    """Give each item of TABLE the passages that MODEL takes for its answer, and are none."""
    claim_new(context, out)
    for option, path in (("--work-dir", work_dir), ("--report", report)):
        if path is not None and path.absolute().is_relative_to(out.absolute()):
            raise ValueError(f"{option} {path} is in {out}, the new folder of --out; move it")
    if report is not None:
        claim_new(context, report, "file for --report")
    for each in (model, reranker):
        if each is not None:
            local_folder(each)
    for place in (table, texts):
        if place is not None:
            check_source(place)
    if texts is not None and store is None:
        raise ValueError("--texts are those of a store; give it with --store, or leave out --texts")

    from hybrid_fast.cli.mining import Mining, print_report, read_table, run_mining
    from hybrid_fast.common.files import complete_file
    from hybrid_fast.retrieval.mining import MiningOptions
    from hybrid_fast.retrieval.mining.options import SCOPES

    if not debug:
        quiet_libraries()
    scope = languages.strip()
    asked = MiningOptions(
        languages=scope if scope in SCOPES else split_commas("--languages", languages) or [],
        balanced=balanced,
        num_negatives=num_negatives,
        ranks=_parse_ranks(ranks),
        margin=margin,
        relative_margin=_parse_share(relative_margin),
        max_score=max_score,
        min_score=min_score,
        sampling=cast(Any, sampling),
        seed=seed,
        positive=cast(Any, positive),
        existing=cast(Any, existing),
    )
    items = read_table(table, lang, options.named_columns("--columns", columns))
    mining = Mining(model, encoder_options, store, texts, reranker, index, work_dir, batch_size)
    found = run_mining(mining, items, asked, out)
    if report is not None:
        with complete_file(report) as file:
            file.write(json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n")
    print_report(found, Console())
    print(f"table: {out}")


def _parse_ranks(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    if not (first.strip().isdecimal() and last.strip().isdecimal()):
        raise ValueError(f"--ranks is {text!r}; the first and the last are needed, such as 1-100")
    return int(first), int(last)


def _parse_share(text: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--relative-margin is {text!r}; a number such as 0.95, or none, is needed"
        ) from None
