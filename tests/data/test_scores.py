"""The columns negative_scores and positive_score: where they come from, and what carries them."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hybrid_fast.data import AlignedTable, load_table
from hybrid_fast.data.fingerprint import content_fingerprint

COLUMNS = {
    "group_id": ["a", "a", "b"],
    "lang": ["en", "de", "en"],
    "query": ["one", "eins", "two"],
    "passage": ["1", "eins!", "2"],
    "negatives": [["x", "y"], [], None],
}
SCORES = [[0.5, None], None, []]
POSITIVE = [0.75, None, -2.0]
READ = [[0.5, None], None, []]


def make_table(scores=SCORES, positive=POSITIVE) -> AlignedTable:
    return AlignedTable.from_columns(
        COLUMNS | {"negative_scores": scores, "positive_score": positive}
    )


def check(table: AlignedTable, scores=READ, positive=POSITIVE) -> None:
    assert table.dataset["negative_scores"][:] == scores
    assert table.dataset["positive_score"][:] == positive


def test_a_table_without_scores_has_no_such_columns():
    """What was made of such tables is found again by their fingerprint, which stays as it was."""
    plain = AlignedTable.from_columns(COLUMNS)
    assert plain.fingerprint == "d08617061fcd0b8b8f09f8d125e17911"
    for table in (plain, make_table([None] * 3, [None] * 3)):
        assert table.fingerprint == plain.fingerprint
        assert not {"negative_scores", "positive_score"} & set(table.dataset.column_names)


@pytest.mark.parametrize(
    "scores",
    [
        SCORES,
        pa.array(SCORES, pa.large_list(pa.float64())),
        pa.array(SCORES, pa.list_view(pa.float64())),
        pa.chunked_array([SCORES[:1], SCORES[1:]], pa.list_(pa.float16())),
        pd.Series(SCORES),
        [np.array([0.5, np.nan]), None, np.array([])],
    ],
    ids=lambda value: type(value).__name__,
)
def test_lists_come_in_any_form(scores):
    check(make_table(scores))


def test_matrices_and_whole_numbers_are_taken():
    columns = {**COLUMNS, "negatives": [["x", "y"]] * 3}
    for scores in (np.arange(6.0).reshape(3, 2), [[0, 1], [2, 3], [4, 5]]):
        table = AlignedTable.from_columns(
            {**columns, "negative_scores": scores, "positive_score": np.arange(3)}
        )
        check(table, [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], [0.0, 1.0, 2.0])
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(6.0)), 2)
    check(
        AlignedTable.from_columns(
            {**columns, "negative_scores": fixed, "positive_score": POSITIVE}
        ),
        [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]],
    )


@pytest.mark.parametrize(
    ("scores", "positive", "error", "message"),
    [
        ([[0.5], None, None], POSITIVE, ValueError, "'negative_scores', row 0: has 1 scores for 2"),
        ([None, [1.0], None], POSITIVE, ValueError, "'negative_scores', row 1: has 1 scores for 0"),
        ([[0.5, -np.inf], None, None], POSITIVE, ValueError, "'negative_scores', row 0: .*NaN"),
        ([[0.5, 1e300], None, None], POSITIVE, ValueError, "'negative_scores', row 0: .*float32"),
        (SCORES, [0.0, np.inf, 1.0], ValueError, "'positive_score', row 1: .*infinity"),
        (["ab", None, None], POSITIVE, TypeError, "'negative_scores', row 0: needs a list of numb"),
        (SCORES, ["x", None, None], TypeError, "'positive_score', row 0: needs a number"),
        (pa.array([0.5] * 3), POSITIVE, TypeError, "'negative_scores' needs a list of numbers"),
        (SCORES, pa.array(["a"] * 3), TypeError, "'positive_score' needs a number, holds string"),
    ],
)
def test_other_values_are_named(scores, positive, error, message):
    with pytest.raises(error, match=message):
        make_table(scores, positive)


def test_they_are_saved_loaded_and_taken_from_a_dataset(tmp_path):
    table = make_table()
    table.save(tmp_path / "t")
    loaded = AlignedTable.load(tmp_path / "t", verify=True)
    again = AlignedTable.from_dataset(datasets.Dataset.from_dict(COLUMNS | {
        "negative_scores": SCORES, "positive_score": POSITIVE
    }))  # fmt: skip
    for copy in (loaded, again):
        check(copy)
        assert copy.fingerprint == table.fingerprint
    assert loaded.dataset[:] == table.dataset[:]


def test_the_fingerprint_follows_each_score_and_no_chunk():
    tables = [
        make_table(),
        make_table([[0.5, 0.25], None, []]),
        make_table([[0.5, None], [], []]),
        make_table(positive=[0.75, 0.0, -2.0]),
    ]
    assert len({table.fingerprint for table in tables}) == 4
    chunks = pa.concat_tables([tables[0]._arrow.slice(0, 1), tables[0]._arrow.slice(1)])
    assert content_fingerprint(chunks) == tables[0].fingerprint


def test_tables_with_and_without_them_are_joined_in_either_order():
    plain = AlignedTable.from_columns({**COLUMNS, "in_batch": [False, True, True]}, source="plain")
    scored = make_table()
    joined = AlignedTable.concatenate([plain, scored])
    check(joined, [None] * 3 + READ, [None] * 3 + POSITIVE)
    assert joined.in_batch.tolist() == [False] + [True] * 5
    turned = AlignedTable.concatenate([scored, plain])
    check(turned, READ + [None] * 3, POSITIVE + [None] * 3)
    assert turned.dataset.column_names == joined.dataset.column_names


def test_records_and_files_hold_them(tmp_path):
    rows = [
        {"query": f"q{n}", "passage": f"p{n}", "negatives": negatives, "lang": "en"}
        for n, negatives in enumerate([["x", "y"], [], ["z"]])
    ]
    extras = [
        {"negative_scores": [0.5, None], "positive_score": 1},
        {"negative_scores": [], "positive_score": None},
        {},
    ]
    records = [row | extra for row, extra in zip(rows, extras, strict=True)]
    expected = [[0.5, None], [], None], [1.0, None, None]
    columns = {name: name for name in records[0]}
    check(load_table(records[:2], columns), expected[0][:2], expected[1][:2])
    path = tmp_path / "a.parquet"
    AlignedTable.from_columns(
        COLUMNS | {"negative_scores": SCORES, "positive_score": POSITIVE}
    ).dataset.to_parquet(path)
    check(load_table(path))
    frame = pd.DataFrame(records[:1]).assign(
        negatives='["x", "y"]', negative_scores="[0.5, null]", positive_score="1"
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    check(load_table(tmp_path / "a.csv"), [[0.5, None]], [1.0])
    for name, value in (("negative_scores", ["a", 1.0]), ("positive_score", True)):
        with pytest.raises(ValueError, match=f"{name}' must be a number, got"):
            load_table([records[0] | {name: value}])
