"""What the queries of a table are contrasted with, known before any batch is made.

A query whose `in_batch` is false has the hard negatives of its own example alone; an example
without any has a loss of 0.
"""

from __future__ import annotations

import logging

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from hybrid_fast.data import AlignedTable
from hybrid_fast.data.columns import KIND_BITS
from hybrid_fast.training.arguments import HybridTrainingArguments

logger = logging.getLogger(__name__)

Flags = npt.NDArray[np.bool_]


def check_negatives(args: HybridTrainingArguments, table: AlignedTable) -> None:
    """Check that the loss has negatives to contrast a query with; warn of rows that have none.

    Raises:
        ValueError: it has none, so that it would be 0 at every step.
    """
    if args.negatives == "hard_only":
        if args.symmetric:
            raise ValueError(
                "symmetric is not defined with negatives='hard_only', since hard negatives are no "
                "answers to other queries; leave out one of them"
            )
        if not table.has_negatives:
            raise ValueError("negatives='hard_only' needs hard negatives, and the table has none")
    if not args.num_in_batch_negatives:
        _check_lone_queries(args, table)
    if not table.in_batch[table.has_query].all():
        _check_hard_negatives(args, table)


def _check_lone_queries(args: HybridTrainingArguments, table: AlignedTable) -> None:
    """Raise a ValueError if a query of the batch, which is alone in it, may have no negative."""
    giving = _giving_rows(args, table, table.has_query & table.in_batch)
    without = int((giving & ~_has_negatives(table)).sum())
    if without:
        raise ValueError(
            f"batch_size is {args.batch_size}, so that a query has no in-batch negative, and "
            f"{without} of {int(giving.sum())} rows have no hard negatives: the loss of their "
            "queries is always 0; use a larger batch_size"
        )


def _check_hard_negatives(args: HybridTrainingArguments, table: AlignedTable) -> None:
    """Check that queries which have hard negatives alone have some, and a use for `symmetric`."""
    alone = table.has_query & ~table.in_batch
    all_alone = alone.sum() == table.has_query.sum()
    giving = _giving_rows(args, table, alone)
    lacking = giving & ~_has_negatives(table)
    if lacking.any():
        found = (
            f"in_batch is false, and {_by_source(table, lacking, giving)} give no hard negatives "
            f"(negatives_from={args.negatives_from!r})"
        )
        remedy = "give them hard negatives, set in_batch to true for them, or leave them out"
        if all_alone and lacking.sum() == giving.sum():
            raise ValueError(f"{found}, so that no query has a negative: {remedy}")
        logger.warning("%s: the loss of their queries is 0 and teaches nothing; %s", found, remedy)
    if args.symmetric and all_alone:
        logger.warning(
            "symmetric halves the loss and adds nothing: in_batch is false for all queries, so "
            "that no passage is contrasted with them; leave symmetric out"
        )


def describe_negatives(args: HybridTrainingArguments, table: AlignedTable) -> str:
    """Say in words what each query of a table is contrasted with, hard negatives aside."""
    alone = table.has_query & ~table.in_batch
    if not alone.any():
        return args.describe_negatives()
    if alone.sum() == table.has_query.sum():
        return "Each query is contrasted with its own hard negatives alone (in_batch: false)"
    return (
        f"{args.describe_negatives()}, but that of {_by_source(table, alone, table.has_query)} "
        "with its own hard negatives alone (in_batch: false)"
    )


def _has_negatives(table: AlignedTable) -> Flags:
    return np.asarray(pc.fill_null(pc.list_value_length(table.negative_column()), 0)) > 0


def _giving_rows(args: HybridTrainingArguments, table: AlignedTable, queries: Flags) -> Flags:
    """Return the rows whose hard negatives may become those of some queries, bool (n,).

    Args:
        args: of the run; its kind of batches decides which rows make an example.
        table: the items.
        queries: rows of the queries, bool (n,).
    """
    sides = queries, table.has_passage
    giving, others = sides if args.negatives_from == "query" else reversed(sides)
    drawn = _kinds_drawn(args)
    alike = sum(KIND_BITS[kind] for kind in drawn & {"mono", "mixed"})
    found: Flags = giving & others & (table.kind_mask & alike > 0)
    if "cross" in drawn:
        crosses = table.kind_mask & KIND_BITS["cross"] > 0
        found |= giving & crosses & _have_others(table, others & crosses)
    return found


def _kinds_drawn(args: HybridTrainingArguments) -> set[str]:
    if args.kind != "hybrid":
        return {args.kind}
    never = {0: "mono", 1: "cross"}
    return {"mono", "cross"} - {kind for alpha, kind in never.items() if alpha == args.alpha}


def _have_others(table: AlignedTable, rows: Flags) -> Flags:
    """Return which rows have some others of their group in another language, bool (n,)."""
    groups, languages = table.group_codes, len(table.languages)
    places = np.unique(groups * languages + table.language_codes, return_inverse=True)[1]
    in_group, in_language = (np.bincount(each, rows)[each] for each in (groups, places))
    found: Flags = in_group > in_language
    return found


def _by_source(table: AlignedTable, rows: Flags, among: Flags) -> str:
    """Return how many rows there are among others, and by source."""
    counts, totals = (
        np.bincount(table.source_codes[each], minlength=len(table.sources))
        for each in (rows, among)
    )
    listed = ", ".join(
        f"{counts[code]:,} of {totals[code]:,} of {source!r}"
        for code, source in enumerate(table.sources)
        if counts[code]
    )
    return f"{counts.sum():,} of {totals.sum():,} rows ({listed})"
