"""The column in_batch: where it comes from, what carries it, and that a table without it is as one
that never had it."""

from __future__ import annotations

import json
import pickle

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hybrid_fast.data import AlignedTable, load_table, load_tables
from hybrid_fast.data.fingerprint import content_fingerprint

COLUMNS = {
    "group_id": ["a", "a", "b"],
    "lang": ["en", "de", "en"],
    "query": ["one", "eins", "two"],
    "passage": ["1", "eins!", "2"],
    "negatives": [["x"], [], None],
}
# Of a table that knew of no such column: stores and checkpoints are found again by it.
FINGERPRINT = "167c268a76cd0a8d0f72bab48800d33d"


def make_table(in_batch=None) -> AlignedTable:
    return AlignedTable.from_columns(COLUMNS if in_batch is None else COLUMNS | {
        "in_batch": in_batch
    })  # fmt: skip


@pytest.mark.parametrize(
    "given", [None, [True] * 3, [None, True, None], True, np.ones(3, np.bool_), [None] * 3]
)
def test_a_table_whose_rows_all_take_negatives_of_the_batch_has_no_such_column(given, tmp_path):
    table = make_table(given)
    assert table.in_batch.tolist() == [True] * 3
    assert table.fingerprint == FINGERPRINT
    assert "in_batch" not in table.dataset.column_names
    table.save(tmp_path / "t")
    assert AlignedTable.load(tmp_path / "t").in_batch.tolist() == [True] * 3


@pytest.mark.parametrize(
    "given",
    [
        [True, False, None],
        np.array([True, False, True]),
        [np.True_, np.False_, float("nan")],
        pa.array([True, False, None]),
        pa.chunked_array([[True], [False, True]]).dictionary_encode(),
        pd.Series([True, False, None], dtype="boolean"),
        iter([True, False, True]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_flags_come_in_any_form_and_missing_ones_are_true(given):
    table = make_table(given)
    assert table.in_batch.dtype == np.bool_
    assert table.in_batch.tolist() == [True, False, True]
    assert table.dataset["in_batch"][:] == [True, False, True]


@pytest.mark.parametrize("value", [False, np.False_])
def test_one_value_stands_for_all_rows(value):
    assert make_table(value).in_batch.tolist() == [False] * 3
    records = [{"query": "q", "passage": "p", "lang": "en"}]
    assert load_table(records, in_batch=value).in_batch.tolist() == [False]


def test_the_fingerprint_follows_each_flag():
    flags = [[False, True, True], [True, False, True], [False, False, True], [False] * 3]
    tables = [make_table(each) for each in flags]
    assert len({FINGERPRINT, *(table.fingerprint for table in tables)}) == 5
    chunks = pa.concat_tables([tables[0]._arrow.slice(0, 1), tables[0]._arrow.slice(1)])
    assert content_fingerprint(chunks) == tables[0].fingerprint
    assert make_table([False, None, True]).fingerprint == tables[0].fingerprint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["no", True, True], "column 'in_batch', row 0: needs True or False, got 'no' "),
        ([True, 1, True], "column 'in_batch', row 1: needs True or False, got 1 "),
        (np.array([1, 0, 2]), "column 'in_batch', row 0: needs True or False, got 1 "),
        (np.array(["no"] * 3), "column 'in_batch', row 0: needs True or False, got 'no' "),
        (pa.array([1, 0, 1]), "column 'in_batch' needs True or False, holds int64; row 0 is 1"),
        ([[True], True, True], "column 'in_batch', row 0: needs True or False"),
        ("false", "column 'in_batch', row 0: needs True or False, got 'false'"),
    ],
)
def test_other_values_are_named(given, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        make_table(given)


def test_it_is_saved_loaded_pickled_and_taken_from_a_dataset(tmp_path):
    table = make_table([False, True, True])
    table.save(tmp_path / "t")
    loaded = AlignedTable.load(tmp_path / "t", verify=True)
    for copy in (
        loaded,
        pickle.loads(pickle.dumps(table)),
        AlignedTable.from_arrow(table._arrow.rename_columns(table._arrow.column_names)),
        AlignedTable.from_dataset(datasets.Dataset.from_dict(COLUMNS | {
            "in_batch": [False, True, True]
        })),
    ):  # fmt: skip
        assert copy.in_batch.tolist() == [False, True, True]
    assert loaded.fingerprint == table.fingerprint
    assert loaded.dataset[:] == table.dataset[:]


def test_a_flag_that_was_changed_in_the_file_is_noticed(tmp_path):
    make_table([False, True, True]).save(tmp_path / "t")
    path = tmp_path / "t" / "table.arrow"
    table, metadata = make_table([True, False, True])._arrow, None
    with pa.ipc.open_stream(path) as stream:
        metadata = stream.schema.metadata
    with pa.ipc.new_stream(path, table.schema.remove_metadata().with_metadata(metadata)) as stream:
        stream.write_table(table)
    with pytest.raises(ValueError, match="its content is not that of its fingerprint"):
        AlignedTable.load(tmp_path / "t")


def test_tables_with_and_without_it_are_joined_in_either_order():
    plain = AlignedTable.from_columns(COLUMNS, source="plain")
    alone = AlignedTable.from_columns(COLUMNS | {"in_batch": False}, source="alone")
    for tables, expected in (
        ([plain, alone], [True] * 3 + [False] * 3),
        ([alone, plain], [False] * 3 + [True] * 3),
        ([alone, plain, alone], [False] * 3 + [True] * 3 + [False] * 3),
        ([plain, plain], [True] * 6),
    ):
        joined = AlignedTable.concatenate(tables)
        assert joined.in_batch.tolist() == expected
        assert ("in_batch" in joined.dataset.column_names) == (False in expected)
        again = AlignedTable.concatenate([AlignedTable.concatenate(tables[:1]), *tables[1:]])
        assert again.fingerprint == joined.fingerprint


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_source_of_a_recipe_says_it_for_all_its_rows(tmp_path):
    write(tmp_path / "a.jsonl", [{"query": "q", "passage": "p"}] * 2)
    (tmp_path / "b.en.txt").write_text("one\ntwo\n")
    (tmp_path / "b.de.txt").write_text("eins\nzwei\n")
    specs = [
        {"path": "a.jsonl", "lang": "en"},
        {"path": "a.jsonl", "lang": "en", "source": "alone", "in_batch": False},
        {"path": "b.{lang}.txt", "in_batch": False, "kinds": ["cross"]},
        {"path": "b.{lang}.txt", "in_batch": True, "source": "said"},
    ]
    table = load_tables(specs, tmp_path)
    assert table.in_batch.tolist() == [True] * 2 + [False] * 6 + [True] * 4
    assert load_tables(specs[:1], tmp_path).in_batch.all()


def test_records_say_it_by_a_column_of_ours_or_theirs(tmp_path):
    rows = [{"query": f"q{n}", "passage": f"p{n}"} for n in range(4)]
    flags = [{"in_batch": False}, {"in_batch": True}, {"in_batch": None}, {}]
    said = [row | flag for row, flag in zip(rows, flags, strict=True)]
    path = write(tmp_path / "a.jsonl", said)
    assert load_table(path, lang="en").in_batch.tolist() == [False, True, True, True]
    assert load_table(path, lang="en", in_batch=True).in_batch.all()
    assert not load_table(path, lang="en", in_batch=False).in_batch.any()
    theirs = {"query": "query", "passage": "passage", "in_batch": "pool"}
    renamed = [{**row, "pool": n != 2} for n, row in enumerate(rows)]
    assert load_table(renamed, theirs, lang="en").in_batch.tolist() == [True, True, False, True]
    some_lack_it = [row | ({"pool": False} if n == 2 else {}) for n, row in enumerate(rows)]
    found = load_table(some_lack_it, theirs, lang="en").in_batch
    assert found.tolist() == [True, True, False, True]
    with pytest.raises(ValueError, match=r"field 'pool' is missing.*no row has it"):
        load_table(rows, theirs, lang="en")
    frame = pd.DataFrame(rows).assign(pool=np.array([True, False, True, True]))
    assert load_table(frame, theirs, lang="en").in_batch.tolist() == [True, False, True, True]


def test_alternatives_of_a_record_share_its_flag():
    record = {"query": "q", "passage": ["p1", "p2"], "in_batch": False, "lang": "en"}
    assert load_table([record]).in_batch.tolist() == [False, False]


def test_csv_files_hold_it_as_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("query,passage,in_batch\nq1,p1,False\nq2,p2,true\nq3,p3,\n")
    assert load_table(path, lang="en").in_batch.tolist() == [False, True, True]
    path.write_text("query,passage,in_batch\nq1,p1,True\nq2,p2,no\n")
    with pytest.raises(ValueError, match=r"a\.csv.*3.*'in_batch' must be true or false, got 'no'"):
        load_table(path, lang="en")


@pytest.mark.parametrize("value", ["no", 0, 1.0, [False]])
def test_a_source_that_says_something_else_is_told_before_it_is_read(tmp_path, value):
    path = tmp_path / "a.jsonl"
    path.write_text("not read")
    with pytest.raises(TypeError, match=r"source 1 .*: in_batch must be True or False, got "):
        load_tables([{"path": str(path), "lang": "en", "in_batch": value}])
