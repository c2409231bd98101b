"""The first batches of a run in readable form, to check before paying for it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hybrid_fast.cli.checks import make_arguments
from hybrid_fast.cli.recipe import Recipe
from hybrid_fast.cli.runs import load_items
from hybrid_fast.data import AlignedTable, Batch
from hybrid_fast.training.negatives import describe_negatives
from hybrid_fast.training.steps import make_sampler

MOST_CHARACTERS = 60


def show_plan(recipe: Recipe, training: dict[str, Any], steps: int, console: Console) -> None:
    """Print the first steps of a recipe's plan, its sampling weights, and what is left out.

    Args:
        recipe: see `load_recipe`.
        training: fields of HybridTrainingArguments.
        steps: number of steps to show.
        console: where to print.

    Raises:
        ValueError: unreadable items, or a batch size that the items cannot fill.
    """
    args = make_arguments(training, Path())
    table = load_items(recipe)
    sampler = make_sampler(args, table)
    batches = [sampler.batch(step) for step in range(steps)]
    console.print(_steps(batches, table))
    console.print(_counts(batches, table))
    first = batches[0]
    giving = first.passage_rows if args.negatives_from == "passage" else first.query_rows
    hard = sum(len(texts) for texts in table.negatives(giving))
    console.print(
        describe_negatives(args, table)
        + (f"; the first batch has {hard} hard negatives" if hard else "")
        + f"; an epoch has {len(sampler)} steps; gradient accumulation adds no negatives."
    )
    console.print(sampler.report(steps))


def _steps(batches: list[Batch], table: AlignedTable) -> Table:
    shown = Table(title="first batches")
    for heading in ("step", "kind", "languages", "first query", "its passage"):
        shown.add_column(heading, justify="right" if heading == "step" else "left")
    for batch in batches:
        pairs = _pairs(batch, table)
        names = next(iter(pairs)) if len(pairs) == 1 else f"{len(pairs)} pairs"
        first = [
            Text(_short(texts[0]))
            for texts in (
                table.queries(batch.query_rows[:1]),
                table.passages(batch.passage_rows[:1]),
            )
        ]
        shown.add_row(str(batch.step), batch.kind, names, *first)
    return shown


def _counts(batches: list[Batch], table: AlignedTable) -> Table:
    total: Counter[str] = Counter()
    for batch in batches:
        total.update(_pairs(batch, table))
    shown = Table(title=f"examples of {len(batches)} steps by query language and passage language")
    shown.add_column("")
    for language in table.languages:
        shown.add_column(language, justify="right")
    for x in table.languages:
        row = [total[x if x == y else f"{x}-{y}"] for y in table.languages]
        shown.add_row(x, *(f"{count:,}" if count else "" for count in row))
    return shown


def _pairs(batch: Batch, table: AlignedTable) -> Counter[str]:
    languages, codes = table.languages, table.language_codes
    pairs = zip(codes[batch.query_rows], codes[batch.passage_rows], strict=True)
    return Counter(languages[x] if x == y else f"{languages[x]}-{languages[y]}" for x, y in pairs)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
