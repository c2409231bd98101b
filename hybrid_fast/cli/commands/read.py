"""Commands that train and evaluate readers. Heavy imports happen inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from hybrid_fast.cli.commands import options
from hybrid_fast.cli.commands.options import AS_PATH, Debug, split_commas, whole_numbers
from hybrid_fast.cli.folders import claim_new
from hybrid_fast.cli.messages import quiet_libraries
from hybrid_fast.cli.paths import check_source
from hybrid_fast.common.hub import local_folder
from hybrid_fast.common.launch import find_launch

OnBadAnswer = Annotated[
    str,
    typer.Option(help="For answers not at their offset: 'error', 'relocate' or 'skip'."),
]
Lang = Annotated[str | None, typer.Option(help="Language of files given without {lang}.")]
MaxLength = Annotated[
    int | None, typer.Option(help="Tokens per window (default: 384, or the model's limit).")
]
DocStride = Annotated[
    int | None,
    typer.Option(help="Tokens that consecutive windows share (default: a third, at most 128)."),
]


def train_reader(
    context: typer.Context,
    encoder: Annotated[
        str, typer.Argument(metavar="ENCODER", help="Folder or hub name of a transformer.")
    ],
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA", help="SQuAD-shaped files, patterns with {lang}, or folders of them."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the reader.", **AS_PATH)],
    lang: Lang = None,
    languages: Annotated[
        str | None, typer.Option(help="Languages to train on, comma-separated (default: all).")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the data.")] = 2.0,
    max_steps: Annotated[int | None, typer.Option(help="Steps, instead of --epochs.")] = None,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 3e-5,
    batch_size: Annotated[int, typer.Option(help="Windows per step.")] = 16,
    max_length: MaxLength = None,
    doc_stride: DocStride = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, dropout and order.", min=0)] = 0,
    on_bad_answer: OnBadAnswer = "error",
    debug: Debug = False,
) -> None:
    """Train an extractive reader from ENCODER on questions with answers."""
    claim_new(context, out)
    local_folder(encoder)
    for path in data:
        check_source(path)

    from hybrid_fast.cli.reading import run_training
    from hybrid_fast.qa import ReaderTraining

    if not debug:
        quiet_libraries()
    training = ReaderTraining(
        epochs=epochs,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        max_length=max_length,
        doc_stride=doc_stride,
        seed=seed,
    )
    sources = {
        "lang": lang,
        "languages": split_commas("--languages", languages),
        "on_bad_answer": on_bad_answer,
    }
    run_training(encoder, data, sources, out, training)
    if find_launch().rank == 0:
        print(f"trained reader: {out}")


@options.takes_encoder
def evaluate_reader(
    context: typer.Context,
    reader: Annotated[str, typer.Argument(metavar="READER", help="Folder or hub name.")],
    data: Annotated[
        list[str],
        typer.Option(help="SQuAD-shaped file, pattern with {lang}, or folder; repeatable."),
    ],
    retriever: Annotated[
        str | None, typer.Option(help="Folder or hub name of an encoder that retrieves passages.")
    ] = None,
    top_k: Annotated[
        str, typer.Option(help="Numbers of retrieved passages to read, comma-separated.")
    ] = "1,5,10",
    rules: Annotated[
        str, typer.Option(help="Normalisation for EM and F1: 'squad' or 'mlqa'.")
    ] = "squad",
    lang: Lang = None,
    languages: Annotated[
        str | None, typer.Option(help="Languages to evaluate, comma-separated (default: all).")
    ] = None,
    max_length: MaxLength = None,
    doc_stride: DocStride = None,
    batch_size: Annotated[int, typer.Option(help="Windows read at a time.", min=1)] = 32,
    on_bad_answer: OnBadAnswer = "error",
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for reading.json and predictions.jsonl.", **AS_PATH),
    ] = None,
    *,
    encoder_options: dict[str, Any],
    debug: Debug = False,
) -> None:
    """Evaluate the answers of READER: exact match and F1 by language.

    Prompts, pooling, lengths and what follows them are those of the retriever.
    """
    if out is not None:
        claim_new(context, out)
    depths = whole_numbers("--top-k", top_k)
    if retriever is None:
        options.check_no_encoder_options(context, "--retriever")
    for model in (reader, *([] if retriever is None else [retriever])):
        local_folder(model)
    for path in data:
        check_source(path)

    from hybrid_fast.cli.reading import run_evaluation
    from hybrid_fast.qa import print_reading

    if not debug:
        quiet_libraries()
    sources = {
        "lang": lang,
        "languages": split_commas("--languages", languages),
        "on_bad_answer": on_bad_answer,
    }
    sizes = {"max_length": max_length, "doc_stride": doc_stride}
    results = run_evaluation(
        reader,
        data,
        sources,
        sizes,
        retriever,
        encoder_options,
        top_k=depths,
        rules=rules,
        batch_size=batch_size,
    )
    if out is not None:
        from hybrid_fast.common.files import complete_folder

        with complete_folder(out.resolve()) as folder:
            results.save(folder)
    print_reading(results, Console())
    if out is not None:
        print(f"results: {out / 'reading.json'}")
