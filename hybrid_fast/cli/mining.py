"""Mining from the command line: models, items and the report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from hybrid_fast.cli.progress import stage
from hybrid_fast.cli.recipe import load_recipe
from hybrid_fast.cli.runs import load_items
from hybrid_fast.data import AlignedTable, load_table
from hybrid_fast.data.formats.corpus import open_corpus
from hybrid_fast.models.evaluable import load_evaluable
from hybrid_fast.results.names import language_name
from hybrid_fast.retrieval.mining import MiningOptions, MiningReport, mine
from hybrid_fast.retrieval.mining.report import LanguageReport
from hybrid_fast.retrieval.reranking import load_reranker
from hybrid_fast.retrieval.texts_by_id import TextsById

_RECIPES = (".yaml", ".yml")


class Mining(NamedTuple):
    """What mines, and where.

    Attributes:
        model: folder or hub name.
        model_options: keyword arguments of `load_evaluable`.
        store: address of a store whose passages become negatives.
        texts: the corpus that was encoded into it.
        reranker: folder or hub name.
        index_kind: what the table's passages are searched by.
        work_dir: folder for vectors.
        batch_size: texts that models take at a time.
    """

    model: str
    model_options: Mapping[str, Any]
    store: str | None
    texts: str | None
    reranker: str | None
    index_kind: str
    work_dir: Path | None
    batch_size: int | None


def read_table(path: str, lang: str | None, columns: Mapping[str, str] | None) -> AlignedTable:
    """Read the items of files, a saved table, or a recipe.

    Raises:
        FileNotFoundError, TypeError, ValueError: as `load_table` and `load_recipe`; or options are
            given with a recipe.
    """
    stage("reading texts")
    if path.endswith(_RECIPES):
        if lang is not None or columns is not None:
            raise ValueError(f"{path} says how its data is read; leave out --lang and --columns")
        return load_items(load_recipe(Path(path))[0])
    return load_table(path, columns, lang=lang)


def run_mining(
    mining: Mining, table: AlignedTable, options: MiningOptions, out: Path
) -> MiningReport:
    """Load the models, mine, and save the table.

    Args:
        mining: what mines.
        table: the items.
        options: what is asked for.
        out: a new folder.
    """
    stage("loading the model")
    model = load_evaluable(mining.model, **mining.model_options)
    reranker = None if mining.reranker is None else load_reranker(mining.reranker)
    texts = None if mining.texts is None else TextsById(open_corpus(mining.texts))
    stage("mining")
    with _work_folder(mining.work_dir, out) as folder:
        mined = mine(
            model,
            table,
            options,
            store=mining.store,
            texts=texts,
            reranker=reranker,
            batch_size=mining.batch_size,
            index=mining.index_kind,
            work_dir=folder,
        )
        mined.table.save(out)
    return mined.report


@contextmanager
def _work_folder(given: Path | None, out: Path) -> Iterator[Path]:
    """Yield the folder that was given, or a temporary one beside a new folder."""
    if given is not None:
        yield given
        return
    place = next(parent for parent in out.absolute().parents if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.mining-", dir=place) as made:
        yield Path(made)


def print_report(report: MiningReport, console: Console) -> None:
    """Print what was found for the items of each language."""
    languages = {name: each for name, each in report.languages.items() if each.items or each.kept}
    rules = sorted(report.total.left_out)
    has_kept = bool(report.total.kept)
    table = Table(title="Hard negatives", caption="passages left out by each rule on the right")
    for heading in ("language", "items", *(["kept as they are"] if has_kept else [])):
        table.add_column(heading, justify="left" if heading == "language" else "right")
    for heading in (*_HEADINGS, *(rule.replace("_", " ") for rule in rules)):
        table.add_column(heading, justify="right")
    for name, each in languages.items():
        table.add_row(language_name(name), *_cells(each, rules, has_kept))
    if len(languages) > 1:
        table.add_section()
        table.add_row("all", *_cells(report.total, rules, has_kept))
    console.print(table)
    if any(set(each.negatives) - {name} for name, each in languages.items()):
        console.print(_language_table(languages))


_HEADINGS = ("negatives", "fewer", "none", "positive", "negative")


def _cells(report: LanguageReport, rules: list[str], has_kept: bool) -> list[str]:
    counts = [report.items, *([report.kept] if has_kept else [])]
    counts += [report.num_negatives, report.fewer, report.without]
    means = [report.mean_positive, report.mean_negative]
    return [
        *(f"{count:,}" for count in counts),
        *("" if mean is None else f"{mean:.4f}" for mean in means),
        *(f"{report.left_out[rule]:,}" for rule in rules),
    ]


def _language_table(languages: Mapping[str, LanguageReport]) -> Table:
    """Return the number of negatives of each language, by that of their items."""
    found = sorted({name for each in languages.values() for name in each.negatives})
    table = Table(title="Languages of negatives")
    table.add_column("items in")
    for name in found:
        table.add_column(name, justify="right")
    for name, each in languages.items():
        table.add_row(language_name(name), *(f"{each.negatives[other]:,}" for other in found))
    return table
