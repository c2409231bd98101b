"""Commands that evaluate retrievers and rankings. Heavy imports happen inside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from hybrid_fast.cli.commands import options
from hybrid_fast.cli.commands.options import AS_PATH, Debug, split_commas, user_path
from hybrid_fast.cli.folders import claim_new
from hybrid_fast.cli.messages import quiet_libraries
from hybrid_fast.cli.paths import check_data, check_file
from hybrid_fast.common.hub import local_folder


@options.takes_encoder
def evaluate(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub name.")],
    task: Annotated[str, typer.Option(help="Name of a task, such as builtin, xquad-r or miracl.")],
    data: Annotated[
        str | None,
        typer.Option(help="Folder or hub name of the task's files; builtin needs none."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder for results.json and report.html.", **AS_PATH)
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Language codes, comma-separated (default: all).")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the data set (default: the published one).")
    ] = None,
    candidate_text: Annotated[
        str | None,
        typer.Option(
            help="'sentence+context' or 'sentence'; for collections 'title+text' or 'text'."
        ),
    ] = None,
    segment_length: Annotated[
        int | None, typer.Option(help="Rank documents by windows of this many characters.")
    ] = None,
    document_score: Annotated[
        str | None, typer.Option(help="Document score from its windows: 'max' or 'mean@k'.")
    ] = None,
    exclude_self: Annotated[
        bool | None,
        typer.Option(
            "--exclude-self/--include-self",
            help="Leave the document with the id of a query out of its ranking, as BEIR does "
            "(default: for ArguAna and Quora).",
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Faults of published data are errors, not warnings."),
    ] = False,
    match: Annotated[
        str | None,
        typer.Option(help="Translations of repeated sentences, by 'line' (default) or 'text'."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            help="New file for the TREC run; its qrels go beside it, with .qrels added.", **AS_PATH
        ),
    ] = None,
    run_depth: Annotated[int, typer.Option(help="Candidates per query in --run.", min=1)] = 1000,
    batch_size: options.BatchSize = None,
    baselines: Annotated[
        str | None,
        typer.Option(help="Baselines, comma-separated, from bm25,untrained,fusion,rrf."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Rank by searching a store, such as faiss:FOLDER, which is made if there is none: "
            "for large collections and metrics with a cutoff."
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="What --store searches by, when it is made (see index)."),
    ] = None,
    store_option: options.StoreOptions = None,
    encoded: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the vectors that go into --store; goes on where it ended.", **AS_PATH
        ),
    ] = None,
    *,
    encoder_options: dict[str, Any],
    debug: Debug = False,
) -> None:
    """Evaluate MODEL on monolingual, cross-lingual and multilingual retrieval.

    What the folder of MODEL does not say (E5's prompts, the pooling of a decoder) is given here.
    """
    if out is not None:
        claim_new(context, out)
    if run is not None:
        for path in (run, Path(f"{run}.qrels")):
            claim_new(context, path, "file for --run")
    local_folder(model)
    if data is not None:
        check_data(data)

    from hybrid_fast.cli.comparison import compare_queries
    from hybrid_fast.common.files import complete_folder
    from hybrid_fast.evaluation import load_task
    from hybrid_fast.evaluation.baselines import check_baselines, evaluate_with_baselines
    from hybrid_fast.evaluation.on_ranks import evaluate_on_ranks
    from hybrid_fast.models.evaluable import load_evaluable
    from hybrid_fast.reporting import print_results, write_report
    from hybrid_fast.results import Results, RunInfo
    from hybrid_fast.training.collectives import all_ranks
    from hybrid_fast.training.devices import join_ranks
    from hybrid_fast.training.termination import leave_process_group

    names = split_commas("--baselines", baselines) or []
    check_baselines(names)
    if store is None:
        options.check_not_given(context, ["index", "store_option", "encoded"], "--store")
    through_store = _store_keywords(store, index, store_option, encoded, names)
    if not debug:
        quiet_libraries()
    join_ranks(on_cpu=True)
    loaded = load_task(
        task,
        data=data,
        languages=split_commas("--languages", languages),
        candidate_text=candidate_text,
        split=split,
        segment_length=segment_length,
        document_score=document_score,
        exclude_self=exclude_self,
        strict=strict or None,
        match=match,
    )
    encoder = load_evaluable(model, **encoder_options)
    keywords = {
        "batch_size": batch_size,
        "info": RunInfo(model),
        "run": run,
        "run_depth": run_depth,
        **through_store,
    }

    def evaluate_all(**sharing: Any) -> list[Results]:
        if store is not None:
            return [loaded.evaluate(encoder, **keywords, **sharing)]
        return evaluate_with_baselines(loaded, encoder, names, **keywords, **sharing)

    results = evaluate_on_ranks(loaded, evaluate_all, all_ranks())
    leave_process_group()
    if results is None:  # what is shared is written by the first process
        return
    scores = [each.per_query for each in results if each.per_query is not None]
    comparison = compare_queries(results, scores) if names else None
    if out is not None:
        with complete_folder(out.resolve()) as folder:
            for name, each in zip(["model", *names], results, strict=True):
                each.save(folder / name if names else folder)
            write_report(results, folder, comparison=comparison)
    print_results(results, Console(), comparison)
    if out is not None:
        print(f"report: {out / 'report.html'}")
    if run is not None:
        print(f"run: {run}, its qrels: {run}.qrels")


def _store_keywords(
    store: str | None,
    index: str | None,
    store_option: list[str] | None,
    encoded: Path | None,
    baselines: Sequence[str],
) -> dict[str, Any]:
    """Return what `RetrievalTask.evaluate` takes for an evaluation through a store.

    Raises:
        ValueError: baselines are given with a store, or the address names none.
    """
    if store is None:
        return {}
    from hybrid_fast.retrieval.stores.addresses import check_address

    if baselines:
        raise ValueError(
            "--baselines need the scores of all candidates, which --store does not give; leave "
            "out one of them"
        )
    check_address(store)
    named = options.parse_store_options(store_option) | ({"index": index} if index else {})
    return {"store": store, "store_options": named, "encoded": encoded}


def evaluate_run(
    context: typer.Context,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", parser=user_path, help="TREC run, plain or compressed.")
    ],
    qrels: Annotated[
        Path,
        typer.Argument(
            metavar="QRELS", parser=user_path, help="TREC or BEIR qrels, plain or compressed."
        ),
    ],
    metrics: Annotated[
        str | None,
        typer.Option(help="Metrics, comma-separated (default: map,ndcg@10,mrr@100,...)."),
    ] = None,
    missing: Annotated[
        str, typer.Option(help="Score of judged queries that RUN lacks: 'zero' or 'leave-out'.")
    ] = "zero",
    exclude_self: Annotated[
        bool,
        typer.Option(
            "--exclude-self",
            help="Leave the document with the id of a query out of its ranking, as BEIR does.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="New JSON file for the metrics, overall and per query.", **AS_PATH),
    ] = None,
    debug: Debug = False,
) -> None:
    """Evaluate a TREC RUN against QRELS as trec_eval does, ties included."""
    if out is not None:
        claim_new(context, out, "file for --out")
    for path in (run, qrels):
        check_file(path)

    from hybrid_fast.common.files import complete_file
    from hybrid_fast.evaluation import trec_run
    from hybrid_fast.reporting.terminal import print_run_scores

    names = split_commas("--metrics", metrics) or trec_run.RUN_METRICS
    scores = trec_run.evaluate_run(
        run,
        qrels,
        names,
        missing=cast(trec_run.Missing, missing),
        exclude_self=exclude_self,
    )
    if out is not None:
        with complete_file(out) as file:
            file.write(json.dumps(scores.to_dict(), indent=2) + "\n")
    print_run_scores(scores, Console())


def report(
    context: typer.Context,
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULTS",
            parser=user_path,
            help="results.json files of one task, or their folders.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for report.html.", **AS_PATH)],
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    debug: Debug = False,
) -> None:
    """Compare evaluated runs side by side."""
    claim_new(context, out)
    for path in results:
        check_file(path, "a results.json")

    from hybrid_fast.cli.comparison import compare_folders, read_runs
    from hybrid_fast.reporting import print_results, write_report
    from hybrid_fast.results.runs import check_runs

    runs = [run for path in results for run in read_runs(path)]
    check_runs(runs)
    folders = [path if path.is_dir() else path.parent for path in results]
    comparison = compare_folders(runs, folders) if len(runs) > 1 else None
    page = write_report(runs, out, title=title, comparison=comparison)
    print_results(runs, Console(), comparison)
    print(f"report: {page}")
