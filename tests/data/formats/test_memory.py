"""Data in memory: every kind gives the table of the same rows in a file, or an error that helps."""

import collections
import dataclasses
import io
import itertools
import json
import sqlite3

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from hybrid_fast.data import AlignedTable
from hybrid_fast.data.loading import load_table, load_tables

VALUES = {
    "key": [1, 1, 2, 2],
    "code": ["de", "en"] * 2,
    "q": list("abcd"),
    "p": list("efgh"),
    "n": ["x", None, "y", "z"],
}
COLUMNS = {"group_id": "key", "lang": "code", "query": "q", "passage": "p", "negatives": ["n"]}
FRAME, ARROW = pd.DataFrame(VALUES), pa.table(VALUES)
RECORDS, DATASET = ARROW.to_pylist(), datasets.Dataset.from_dict(VALUES)
STREAM = DATASET.to_iterable_dataset()
Named = collections.namedtuple("Named", list(VALUES))
Data = dataclasses.make_dataclass("Data", list(VALUES))


class OfAnyLibrary:
    """A data frame of which nothing is known but the Arrow stream interface."""

    def __arrow_c_stream__(self, requested_schema=None):
        return ARROW.__arrow_c_stream__(requested_schema)


class NotYetRun:
    """As a lazy frame of polars."""

    def __getitem__(self, key):
        raise TypeError("not subscriptable")

    def collect(self):
        return FRAME


def database_rows():
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    FRAME.to_sql("rows", database, index=False)
    return database.execute("select * from rows")


FORMS = {
    "pandas": lambda: FRAME,
    "pandas, ids in the index": lambda: FRAME.set_index("key"),
    "pandas, categories": lambda: FRAME.astype("category"),
    "pandas, Arrow types": lambda: FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "pandas, a column of mixed types": lambda: FRAME.assign(more=[1, "a", None, {}]),
    "pandas, pieces": lambda: iter([FRAME[:2], FRAME[2:]]),
    "pandas, rows": lambda: FRAME.itertuples(),
    "another library": OfAnyLibrary,
    "table": lambda: ARROW,
    "batch": lambda: ARROW.to_batches()[0],
    "batches": lambda: ARROW.to_batches(1),
    "reader": ARROW.to_reader,
    "Arrow data set": lambda: pa.dataset.dataset(ARROW),
    "scanner": lambda: pa.dataset.dataset(ARROW).scanner(),
    "Dataset": lambda: DATASET.with_format("numpy"),
    "DatasetDict": lambda: datasets.DatasetDict(only=DATASET),
    "mapping of splits": lambda: {"only": DATASET},
    "records": lambda: RECORDS,
    "records with NaN": lambda: FRAME.to_dict("records"),
    "records of NumPy": lambda: [{**each, "key": np.int64(each["key"])} for each in RECORDS],
    "generator": lambda: (each for each in RECORDS),
    "named tuples": lambda: [Named(**each) for each in RECORDS],
    "dataclasses": lambda: [Data(**each) for each in RECORDS],
    "database": database_rows,
    "columns": lambda: VALUES,
    "columns of lists with NaN": lambda: FRAME.to_dict("list"),
    "columns of NumPy": lambda: {name: np.array(v, object) for name, v in VALUES.items()},
    "columns of series": lambda: dict(FRAME.items()),
    "columns of Arrow": lambda: dict(zip(VALUES, ARROW.columns, strict=True)),
    "columns, one a generator": lambda: VALUES | {"q": (text for text in "abcd")},
}


@pytest.fixture(scope="module")
def of_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in RECORDS))
    return load_table(path, COLUMNS, source="dataset")


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_equals_the_file(form, of_file):
    table = load_table(FORMS[form](), COLUMNS)
    assert table.fingerprint == of_file.fingerprint
    assert table.negatives([0, 1]) == [["x"], []]


@pytest.mark.parametrize("name", ["polars", "pandas"])
def test_frames_of_libraries(name, of_file):
    frame = pytest.importorskip(name).DataFrame(VALUES)
    assert load_table(frame, COLUMNS).fingerprint == of_file.fingerprint
    plain = {"key": "group_id", "code": "lang", "q": "query", "p": "passage"}
    series = {ours: frame[theirs] for theirs, ours in plain.items()}
    assert AlignedTable.from_columns(series).passages([3]) == ["h"]
    mapping = {theirs: ours for theirs, ours in plain.items()}
    renamed = frame.rename(columns=mapping) if name == "pandas" else frame.rename(mapping)
    renamed = renamed[[*plain.values()]]
    assert AlignedTable.from_columns(renamed).passages([3]) == ["h"]
    assert AlignedTable.from_arrow(renamed).passages([3]) == ["h"]


def test_options_are_those_of_files():
    table = load_table(FRAME, {"query": "q", "passage": "p"}, lang="en", source="s", limit=2)
    assert table.languages == ("en",)
    assert table.queries([0, 1]) == ["a", "b"]
    assert table.group_codes.tolist() == [0, 1]
    wide = pd.DataFrame({"english": ["a", "b"], "german": ["A", None]})
    names = {"en": "english", "de": "german"}
    table = load_table(wide, {"query": names, "passage": names}, kinds=["cross"])
    assert table.queries([0, 1, 2]) == ["a", "A", "b"]
    assert table.group_codes.tolist() == [0, 0, 1]
    blank = [{"query": "a", "passage": ""}, {"query": "b", "passage": "c"}]
    assert load_table(blank, lang="en", on_empty="skip").queries([0]) == ["b"]
    several = [{"query": "a", "pos": ("b", "c"), "neg": [{"text": "d", "title": "t"}]}]
    columns = {"query": "query", "passage": "pos", "negatives": "neg"}
    table = load_table(several, columns, lang="en")
    assert table.passages([0, 1]) == ["b", "c"]
    assert table.negatives([1]) == [["d"]]


@pytest.mark.parametrize(
    "pairs",
    [
        [("a", "b"), ("c", "d")],
        [["a", "b"], ["c", "d"]],
        np.array([["a", "b"], ["c", "d"]]),
        pd.DataFrame([["a", "b"], ["c", "d"]]),
    ],
    ids=["tuples", "lists", "array", "frame without names"],
)
def test_pairs_by_position(pairs):
    table = load_table(pairs, {"query": 0, "passage": 1}, lang="en")
    assert table.queries([0, 1]) == ["a", "c"]
    assert table.passages([0, 1]) == ["b", "d"]


def test_one_value_stands_for_all_rows():
    table = load_table({"query": ["a", "b"], "passage": iter("cd"), "lang": "en"})
    assert table.languages == ("en",)
    assert table.passages([0, 1]) == ["c", "d"]


def test_a_stream_is_read_up_to_a_number_of_rows():
    assert load_table(STREAM, COLUMNS, max_rows=3).queries([0, 1, 2]) == ["a", "b", "c"]
    assert len(load_table(STREAM.with_format("torch"), COLUMNS, max_rows=9)) == 4
    assert len(load_table(itertools.cycle(RECORDS), COLUMNS, max_rows=6)) == 6
    splits = datasets.IterableDatasetDict(train=STREAM, test=STREAM)
    assert len(load_table(splits, COLUMNS, split="test", max_rows=2)) == 2


def test_rows_without_group_ids_stay_apart_when_tables_are_put_together():
    columns = {"query": "q", "passage": "p"}
    one = load_table(FRAME[:2], columns, lang="en")
    two = load_table(iter(RECORDS[2:]), columns, lang="en")
    assert AlignedTable.concatenate([one, two]).group_codes.tolist() == [0, 1, 2, 3]
    again = load_table([*RECORDS[:2]], columns, lang="en")
    assert again.fingerprint == one.fingerprint
    assert AlignedTable.concatenate([one, again]).group_codes.tolist() == [0, 1, 0, 1]


def test_splits():
    splits = datasets.DatasetDict(train=DATASET, test=DATASET.select([2]))
    assert load_table(splits, COLUMNS, split="test").queries([0]) == ["c"]
    assert load_table(splits, COLUMNS, split="train[:1]+test").queries([0, 1]) == ["a", "c"]


@pytest.mark.parametrize(
    ("data", "options", "error", "message"),
    [
        (7, {}, TypeError, "reads a path, .* or data in memory .*, got int"),
        (None, {}, TypeError, "got NoneType"),
        (b"x", {}, TypeError, "got bytes"),
        (dict, {}, TypeError, "got type"),
        (NotYetRun(), {}, TypeError, r"got NotYetRun; give what its collect\(\) returns"),
        (io.StringIO("a"), {}, TypeError, "got StringIO; give its path"),
        (["a.jsonl", 7], {}, TypeError, "row 0: a record is a mapping by names, or a list .*'a.js"),
        ((x for x in ["a"]), {}, TypeError, "got 'a' .*files are given as a list of paths"),
        ([RECORDS[0], 1], {}, TypeError, r"row 1: a record is a mapping .*, got 1 \(int\)"),
        (FRAME["q"], {}, TypeError, "row 0: a record is a mapping .*, got 'a'"),
        ([], {}, ValueError, "the list of paths is empty, and holds no records either"),
        ({}, {}, ValueError, "dataset: holds no usable row"),
        (FRAME[:0], {}, ValueError, "holds no usable row"),
        (RECORDS[0], {}, ValueError, r"no column says how many rows .*load_table\(\[record\]\)"),
        (VALUES | {"q": {"a"}}, {}, TypeError, "column 'q': needs a sequence of values"),
        (VALUES | {"q": ["a"]}, {}, ValueError, "columns must have equal lengths, .*'q': 1"),
        (FRAME.assign(q=["a", "b", " ", "d"]), {}, ValueError, "DataFrame, row 2: field 'q' is em"),
        (FRAME.assign(q=["a", 3, "b", "c"]), {}, ValueError, "DataFrame, row 1: field 'q' must be"),
        ([RECORDS[0], {}], {}, ValueError, "list, row 1: field 'q' is missing"),
        (STREAM, {}, ValueError, r"a stream may have no end; give max_rows=.*Dataset\.from_list"),
        (STREAM, {"limit": 2}, ValueError, "limit= counts groups"),
        (STREAM, {"max_rows": 0}, ValueError, "max_rows must be a whole number of rows"),
        (
            datasets.DatasetDict(train=DATASET, test=DATASET),
            {},
            ValueError,
            "the data has 2 splits: train, test; give split='train'",
        ),
        (datasets.DatasetDict(), {}, ValueError, "the data has no split at all"),
        (
            datasets.DatasetDict(train=DATASET),
            {"split": "trian"},
            ValueError,
            "the data has no split 'trian'; it has train; did you mean 'train'",
        ),
        (
            datasets.IterableDatasetDict(train=STREAM),
            {"split": "train[:5]", "max_rows": 1},
            ValueError,
            "streams have no slices",
        ),
        (FRAME, {"split": "x"}, ValueError, "split='x' is for a DatasetDict; a DataFrame has no"),
        (FRAME, {"languages": ["de"]}, ValueError, "format= and languages= are for files; data in"),
        (FRAME, {"max_row": 3}, TypeError, "no option 'max_row'; .*did you mean 'max_rows'"),
        (
            pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["q", "q"]),
            {},
            ValueError,
            r"names a column twice: \['q'\]",
        ),
    ],
)
def test_what_cannot_be_read_is_named(data, options, error, message):
    with pytest.raises(error, match=message):
        load_table(data, COLUMNS, **options)


def test_columns_of_other_names_are_listed():
    with pytest.raises(ValueError, match=r"DataFrame: missing column .* map it with columns=.*'q'"):
        load_table(FRAME)
    with pytest.raises(ValueError, match="list: the language is unknown; give lang="):
        load_table([{"query": "a"}])
    with pytest.raises(TypeError, match=r"an AlignedTable needs no loading"):
        load_table(load_table(FRAME, COLUMNS))


def test_sources_in_memory():
    specs = [{"path": FRAME, "columns": COLUMNS, "source": name} for name in ("one", "two")]
    assert load_tables(specs).sources == ("one", "two")
    with pytest.raises(ValueError, match=r"source 1 \(DataFrame\): DataFrame: missing column"):
        load_tables([{"path": FRAME}])


LONG = [{"q": f"q{n}", "p": f"p{n}"} for n in range(3000)]
LONG_FORMS = {
    "records": lambda rows: rows,
    "tuple": tuple,
    "iterator": iter,
    "pandas": pd.DataFrame,
    "table": pa.Table.from_pylist,
    "reader": lambda rows: pa.Table.from_pylist(rows).to_reader(),
    "pieces": lambda rows: [pd.DataFrame(rows[:2000]), pd.DataFrame(rows[2000:])],
    "Dataset": datasets.Dataset.from_list,
    "columns": lambda rows: {name: [row[name] for row in rows] for name in ("q", "p")},
    "columns, one a generator": lambda rows: {
        "q": [row["q"] for row in rows],
        "p": (row["p"] for row in rows),
    },
}


@pytest.mark.parametrize("form", LONG_FORMS)
def test_long_data_is_named_by_both_ends_and_its_length(form):
    """Equal data has equal ids in every form; data of an equal head has ids of its own."""
    columns, make = {"query": "q", "passage": "p"}, LONG_FORMS[form]
    table = load_table(make(LONG), columns, lang="en")
    assert table.fingerprint == load_table(LONG, columns, lang="en").fingerprint
    assert table.queries([0, 1500, 2999]) == ["q0", "q1500", "q2999"]
    for rows in (LONG[:-1], [*LONG[:-1], {"q": "another", "p": "end"}]):
        other = load_table(make(rows), columns, lang="en")
        both = AlignedTable.concatenate([table, other])
        assert len(set(both.group_codes.tolist())) == len(LONG) + len(rows)


def test_languages_of_long_data_that_are_read_one_by_one_are_parallel():
    frame = pd.DataFrame([{"de": f"d{n}", "en": f"e{n}"} for n in range(1500)])
    parts = [
        load_table(frame, {"query": lang, "passage": lang}, lang=lang) for lang in ("de", "en")
    ]
    codes = AlignedTable.concatenate(parts).group_codes.tolist()
    assert codes[:1500] == codes[1500:]


def test_a_bad_record_at_the_end_of_long_data_is_named_by_its_row():
    with pytest.raises(TypeError, match="row 3000: a record is a mapping"):
        load_table([*LONG, 7], {"query": "q", "passage": "p"}, lang="en")
