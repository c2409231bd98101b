"""Columns in any form that Python has for them, and the doors that `AlignedTable` names."""

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hybrid_fast.data import AlignedTable
from hybrid_fast.data.column_values import even_columns

COLUMNS = {"group_id": [1, 2], "lang": ["de", "en"], "query": ["a", "b"], "passage": ["c", "d"]}
TABLE = AlignedTable.from_columns(COLUMNS)


@pytest.mark.parametrize(
    "make",
    [
        tuple,
        iter,
        lambda values: (value for value in values),
        np.array,
        pd.Series,
        lambda values: pd.Series(values, dtype="category", index=[7, 5]),
        pd.Index,
        pa.array,
        lambda values: pa.chunked_array([values]),
        lambda values: dict.fromkeys(values).keys(),
    ],
)
@pytest.mark.parametrize("name", COLUMNS)
def test_sequences_of_any_library(make, name):
    given = COLUMNS | {name: make(COLUMNS[name])}
    assert AlignedTable.from_columns(given).fingerprint == TABLE.fingerprint


def test_one_value_stands_for_all_rows():
    table = AlignedTable.from_columns(COLUMNS | {"lang": "en", "group_id": 3, "title": None})
    assert table.languages == ("en",)
    assert table.group_codes.tolist() == [0, 0]
    assert even_columns({"a": [1, 2], "b": np.array("x"), "c": 2.5})["c"] == [2.5, 2.5]
    with pytest.raises(ValueError, match="column 'lang', row 0: unknown language 'enen'"):
        AlignedTable.from_columns(COLUMNS | {"lang": "enen"})
    with pytest.raises(ValueError, match="no column says how many rows there are: each of"):
        AlignedTable.from_columns({"group_id": 1, "lang": "en", "query": "a"})


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_text_may_be_written_as_in_pandas(missing):
    table = AlignedTable.from_columns(COLUMNS | {"passage": ["c", missing]})
    assert table.has_passage.tolist() == [True, False]


@pytest.mark.parametrize(
    ("column", "values", "error", "message"),
    [
        ("query", {"a", "b"}, TypeError, "column 'query': needs a sequence .*, got set"),
        ("query", {"en": ["a"]}, TypeError, "column 'query': needs a sequence .*, got dict"),
        ("query", 7, TypeError, r"column 'query', row 0: needs text, got 7 \(int\)"),
        ("query", (x for x in "abc"), ValueError, "columns must have equal lengths, .*'query': 3"),
        ("query", pd.Series(["a", 3]), TypeError, "column 'query', row 1: needs text, got 3"),
        ("group_id", pd.Series([1, None]), TypeError, "column 'group_id' needs text, holds double"),
        ("key", ["a", "b"], ValueError, "unknown column 'key'; .*; load_table takes other names"),
    ],
)
def test_a_bad_column_is_named(column, values, error, message):
    with pytest.raises(error, match=message):
        AlignedTable.from_columns(COLUMNS | {column: values})


@pytest.mark.parametrize(
    ("door", "value", "message"),
    [
        ("from_columns", [{"query": "a"}], r"mapping of columns, got list; load_table\(data\)"),
        ("from_columns", "a.csv", r"mapping of columns, got str; load_table\('a\.csv'\) makes one"),
        (
            "from_dataset",
            datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset(),
            r"needs a datasets\.Dataset, got IterableDataset; load_table\(stream, max_rows=",
        ),
        (
            "from_dataset",
            datasets.DatasetDict(all=datasets.Dataset.from_dict(COLUMNS)),
            r"got DatasetDict; load_table\(splits, split='all'\) makes one",
        ),
        ("from_dataset", pd.DataFrame(COLUMNS), r"got DataFrame; load_table\(data\) makes one"),
        ("from_columns", pd.Series(["a"]), r"got Series; load_table\(data\) makes one"),
        ("from_arrow", pd.Series(["a"]), r"got Series; load_table\(data\) makes one"),
        ("from_arrow", COLUMNS, r"needs a pyarrow\.Table, got dict; load_table\(columns\) makes"),
        ("from_arrow", pa.array(["a"]), r"got StringArray; load_table\(data\) makes one"),
    ],
)
def test_each_door_names_the_right_one(door, value, message):
    with pytest.raises(TypeError, match=message):
        getattr(AlignedTable, door)(value)


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pa.table, lambda given: pa.table(given).to_reader(), pa.record_batch]
)
def test_whatever_has_the_interface_of_arrow_streams(make):
    assert AlignedTable.from_arrow(make(COLUMNS)).fingerprint == TABLE.fingerprint
