"""What queries are contrasted with is known before training: rows that have nothing are counted."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from toy_training import make_args, make_model, make_table

from hybrid_fast.data import AlignedTable
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.negatives import check_negatives, describe_negatives
from hybrid_fast.training.steps import make_sampler

LANGUAGES = ("de", "en")


def make_source(
    name: str, negatives, in_batch, num_groups: int = 4, languages=LANGUAGES
) -> AlignedTable:
    """A table of one source; `negatives` and `in_batch` are called with group and language."""
    keys = [(group, lang) for group in range(num_groups) for lang in languages]
    return AlignedTable.from_columns(
        {
            "group_id": [str(group) for group, _ in keys],
            "lang": [lang for _, lang in keys],
            "query": [f"{name} {lang} question {group}" for group, lang in keys],
            "passage": [f"{name} {lang} answer {group}" for group, lang in keys],
            "negatives": [["no"] * negatives(group, lang) for group, lang in keys],
            "in_batch": [in_batch(group, lang) for group, lang in keys],
        },
        source=name,
    )


def always(value):
    return lambda group, lang: value


def plain(num_groups: int = 4) -> AlignedTable:
    return make_source("plain", always(0), always(True), num_groups)


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, "hybrid_fast.training.negatives")
    return lambda: [record.getMessage() for record in caplog.records]


def check(table: AlignedTable, folder, **options) -> None:
    check_negatives(make_args(folder, **options), table)


def test_nothing_is_said_where_every_query_has_negatives(said, tmp_path):
    lone = make_source("lone", always(1), always(False))
    for table in (plain(), lone, AlignedTable.concatenate([plain(), lone])):
        for options in ({}, {"negatives_from": "query"}, {"kind": "mono"}, {"kind": "cross"}):
            check(table, tmp_path, **options)
    assert said() == []


def test_rows_that_teach_nothing_are_counted_by_source(said, tmp_path):
    table = AlignedTable.concatenate(
        [
            plain(),
            make_source("some", lambda group, lang: group % 2, always(False)),
            make_source("none", always(0), always(False)),
        ]
    )
    for negatives_from in ("passage", "query"):
        check(table, tmp_path, negatives_from=negatives_from)
        (line,) = said()[-1:]
        assert line == (
            "in_batch is false, and 12 of 16 rows (8 of 8 of 'none', 4 of 8 of 'some') give no "
            f"hard negatives (negatives_from={negatives_from!r}): the loss of their queries is 0 "
            "and teaches nothing; give them hard negatives, set in_batch to true for them, or "
            "leave them out"
        )
    assert len(said()) == 2


# Hard negatives of the German rows alone, and queries that are alone in German or English.
@pytest.mark.parametrize(
    ("alone", "options", "counted"),
    [
        ("de", {"negatives_from": "query"}, 0),
        ("en", {"negatives_from": "query"}, 4),
        ("de", {"kind": "mono"}, 0),
        ("en", {"kind": "mono"}, 4),
        ("en", {"kind": "mixed"}, 4),
        ("de", {"kind": "cross"}, 4),  # English passages have none
        ("en", {"kind": "cross"}, 0),  # German passages have some
        ("de", {"kind": "hybrid"}, 4),
        ("de", {"kind": "hybrid", "alpha": 1.0}, 0),
        ("en", {"kind": "hybrid", "alpha": 0.0}, 0),
    ],
)
def test_the_row_that_gives_hard_negatives_is_that_of_the_plan(
    said, tmp_path, alone, options, counted
):
    table = make_source("toy", lambda _, lang: lang == "de", lambda _, lang: lang != alone)
    check(table, tmp_path, **options)
    assert len(said()) == (counted > 0)
    assert all(re.match(f"in_batch is false, and {counted} of [48] rows", line) for line in said())


@pytest.mark.parametrize("negatives_from", ["passage", "query"])
@pytest.mark.parametrize("batch_size", [1, 12])
@pytest.mark.parametrize("in_batch", [False, True])
def test_rows_that_no_batch_of_the_kind_draws_are_not_counted(
    said, tmp_path, negatives_from, batch_size, in_batch
):
    table = make_source("toy", always(0), always(in_batch))
    columns = table.dataset.to_dict() | {"kinds": [["cross"]] * len(table)}
    bitext = AlignedTable.from_columns(columns)
    some = make_source("some", always(1), always(True))
    both = AlignedTable.concatenate([some, bitext])
    options = {"negatives_from": negatives_from, "batch_size": batch_size}
    check(both, tmp_path, kind="mono", **options)
    assert said() == []
    if in_batch and batch_size == 1:
        with pytest.raises(ValueError, match="8 of 16 rows have no hard negatives"):
            check(both, tmp_path, kind="cross", **options)
    else:
        check(both, tmp_path, kind="cross", **options)
        assert len(said()) == (not in_batch)


@pytest.mark.parametrize("negatives_from", ["passage", "query"])
def test_a_row_without_the_other_side_gives_none(said, tmp_path, negatives_from):
    """German queries without a passage, English passages without a query: cross batches alone."""
    columns = {
        "group_id": ["1", "1", "2"],
        "lang": ["de", "en", "de"],
        "query": ["eins", None, "zwei"],
        "passage": [None, "one", None],
        "in_batch": False,
    }
    check(
        AlignedTable.concatenate([plain(), AlignedTable.from_columns(columns)]),
        tmp_path,
        negatives_from=negatives_from,
    )
    assert said()[0].startswith("in_batch is false, and 1 of 1 rows ")


def random_table(seed: int) -> AlignedTable:
    """Rows with a query, a passage or both; all are drawn in some kinds of batches alone."""
    random = np.random.default_rng(seed)
    kinds = [None, ["mono"], ["cross"], ["mixed"], ["mono", "cross"]]
    columns = make_source("toy", always(0), always(False), 12, ("de", "en", "fr")).dataset.to_dict()
    for row in range(len(columns["query"])):
        columns["kinds"][row] = kinds[random.integers(len(kinds))]
        columns["negatives"][row] = ["no"] * random.integers(2)
        missing = ("query", "passage", None)[random.choice(3, p=[0.2, 0.2, 0.6])]
        if missing is not None:
            columns[missing][row] = None
    columns["passage_id"] = [None] * len(columns["query"])
    return AlignedTable.from_columns(columns)


@pytest.mark.parametrize("negatives_from", ["passage", "query"])
@pytest.mark.parametrize("kind", ["mono", "cross", "mixed", "hybrid"])
@pytest.mark.parametrize("seed", range(3))
def test_the_rows_that_are_counted_are_those_of_batches(said, tmp_path, negatives_from, kind, seed):
    table = random_table(seed)
    args = make_args(tmp_path, kind=kind, negatives_from=negatives_from, batch_size=2)
    check_negatives(args, table)
    sampler = make_sampler(args, table)
    batches = [sampler.batch(step) for step in range(100)]
    rows = np.unique([getattr(batch, f"{negatives_from}_rows") for batch in batches])
    lacking = sum(not each for each in table.negatives(rows))
    assert f"{lacking} of {len(rows)} rows ({lacking} of {len(rows)} of 'toy')" in said()[0]


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"negatives_from": "query"}])
def test_a_table_where_no_query_can_have_a_negative_is_an_error(tmp_path, options):
    table = make_source("nli", always(0), always(False), 24)
    message = r"48 of 48 of 'nli'\) give no hard .* so that no query has a negative: give them hard"
    with pytest.raises(ValueError, match=message):
        HybridTrainer(make_model(), make_args(tmp_path, **options), table)


def test_a_batch_of_one_blames_its_size_for_queries_that_a_larger_one_would_serve(said, tmp_path):
    lone = make_source("lone", lambda group, lang: group % 2, always(False))
    with pytest.raises(ValueError, match="8 of 8 rows have no hard negatives: "):
        check(AlignedTable.concatenate([plain(), lone]), tmp_path, batch_size=1)
    assert said() == []
    # No size of batches helps the others: they are counted as with any other size.
    check(lone, tmp_path, batch_size=1)
    assert "4 of 8 rows (4 of 8 of 'lone')" in said()[0]


def test_symmetric_is_said_to_add_nothing_where_it_has_no_queries(said, tmp_path):
    lone = make_source("lone", always(1), always(False))
    check(AlignedTable.concatenate([plain(), lone]), tmp_path, symmetric=True)
    check(lone, tmp_path)
    assert said() == []
    check(lone, tmp_path, symmetric=True)
    assert said()[0].startswith("symmetric halves the loss and adds nothing: in_batch is false")


def test_what_queries_are_contrasted_with_is_said_in_words(tmp_path, caplog):
    args = make_args(tmp_path, max_steps=1)
    lone = make_source("lone", always(1), always(False))
    assert describe_negatives(args, plain()) == args.describe_negatives()
    assert describe_negatives(args, lone) == (
        "Each query is contrasted with its own hard negatives alone (in_batch: false)"
    )
    caplog.set_level(logging.INFO, "hybrid_fast.training.trainer")
    HybridTrainer(make_model(), args, AlignedTable.concatenate([make_table(), lone])).train()
    assert (
        "Each query is contrasted with 11 in-batch negatives, but that of 8 of 152 rows (8 of 8 of "
        "'lone') with its own hard negatives alone (in_batch: false); gradient accumulation adds"
    ) in caplog.text
