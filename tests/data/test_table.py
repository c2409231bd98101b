"""The aligned table: codes equal a slow count, bad rows are named, saving is all or nothing."""

import os
import pickle

import datasets
import numpy as np
import pyarrow as pa
import pytest
from damaged_files import assert_damage_is_noticed
from hypothesis import given, settings
from hypothesis import strategies as st
from passage_ids import passage_text_id

from hybrid_fast.data import arrow_texts, table_file
from hybrid_fast.data.fingerprint import content_fingerprint
from hybrid_fast.data.table import AlignedTable

COLUMNS = {
    "group_id": ["a", "a", "b", "b", "c"],
    "lang": ["en", "de", "en", "zh_cn", "de"],
    "query": ["one", "eins", "two", None, "three"],
    "passage": ["1", "1", None, "2 two", "three"],
    "title": ["T", None, None, "", None],
    "negatives": [None, ["x", "y"], [], ["z"], None],
    "kinds": [None, ["mono"], ["cross", "mixed"], ["mono", "cross"], None],
}


@pytest.fixture
def table():
    return AlignedTable.from_columns(COLUMNS, source="toy")


def test_codes(table):
    assert table.languages == ("de", "en", "zh")
    assert table.sources == ("toy",)
    assert table.group_codes.tolist() == [0, 0, 1, 1, 2]
    assert table.language_codes.tolist() == [1, 0, 1, 2, 0]
    assert table.source_codes.tolist() == [0] * 5
    assert table.passage_codes.tolist() == [0, 0, -1, 1, 2]
    assert table.has_query.tolist() == [True, True, True, False, True]
    assert table.has_passage.tolist() == [True, True, False, True, True]
    assert table.kind_mask.tolist() == [7, 1, 6, 3, 2]  # the last query equals its passage


def test_dtypes(table):
    dtypes = {
        "group_codes": np.int64,
        "language_codes": np.int32,
        "source_codes": np.int32,
        "passage_codes": np.int64,
        "has_query": np.bool_,
        "has_passage": np.bool_,
        "kind_mask": np.uint8,
    }
    for name, dtype in dtypes.items():
        array = getattr(table, name)
        assert array.dtype == dtype
        assert array.shape == (5,)


def test_texts(table):
    assert table.queries([4, 0, 0]) == ["three", "one", "one"]
    assert table.passages(np.array([0, 3])) == ["T 1", "2 two"]
    assert table.negatives([0, 1, 3]) == [[], ["x", "y"], ["z"]]
    assert table.queries([]) == []
    with pytest.raises(ValueError, match="row 3 has no query"):
        table.queries([0, 3])
    with pytest.raises(ValueError, match="row 2 has no passage"):
        table.passages([2])
    with pytest.raises(IndexError, match=r"rows must lie in \[0, 5\), got 0\.\.5"):
        table.queries([0, 5])
    with pytest.raises(IndexError, match="got -1"):
        table.passages([-1])


def test_rows_of_a_table_in_many_chunks(table, monkeypatch):
    monkeypatch.setattr(arrow_texts, "_LARGEST_CHUNK_BYTES", 0)
    many = AlignedTable.concatenate([table] * 7)
    assert many._arrow["query"].num_chunks == 7
    rows = np.random.default_rng(0).choice([0, 1, 4, 5, 6, 9, 34], size=50)
    assert many.queries(rows) == [COLUMNS["query"][row % 5] for row in rows]
    assert many.negatives(rows) == [COLUMNS["negatives"][row % 5] or [] for row in rows]
    assert many.kind_mask.tolist() == [7, 1, 6, 3, 2] * 7


def test_rows_of_a_selected_dataset(table):
    chosen = AlignedTable(table.dataset.select([4, 1]))
    assert chosen.queries([0, 1]) == ["three", "eins"]
    assert chosen.languages == ("de",)
    assert chosen.group_codes.tolist() == [0, 1]


def test_ids_carry_their_source(table):
    assert table.dataset["group_id"][:3] == ["toy:a", "toy:a", "toy:b"]
    given_ids = AlignedTable.from_columns(
        {"group_id": [1, 2], "lang": ["en"] * 2, "passage": ["p", "p"], "passage_id": [7, None]},
        source="toy",
    )
    assert given_ids.dataset["passage_id"][:] == ["toy:7", passage_text_id("p")]


def test_default_passage_id_ignores_spaces_and_compatibility_forms():
    assert passage_text_id("ﬁne  \u00a0day\n") == passage_text_id("fine day")
    assert passage_text_id("fine day") != passage_text_id("Fine day")


def test_concatenate_keeps_sources_apart_and_joins_equal_ones(table):
    other = AlignedTable.from_columns(COLUMNS, source="other")
    both = AlignedTable.concatenate([table, other, table])
    assert len(both) == 15
    assert both.sources == ("other", "toy")
    assert both.group_codes.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 0, 0, 1, 1, 2]
    assert both.passage_codes.tolist() == [0, 0, -1, 1, 2] * 3  # equal texts, any source
    with pytest.raises(ValueError, match="at least one table"):
        AlignedTable.concatenate([])


def test_source_column_wins_over_argument():
    columns = {
        "group_id": ["1", "1"],
        "lang": ["en"] * 2,
        "query": ["q"] * 2,
        "source": ["s", None],
    }
    table = AlignedTable.from_columns(columns, source="rest")
    assert table.sources == ("rest", "s")
    assert table.group_codes.tolist() == [0, 1]


def test_from_dataset_drops_other_columns_and_casts():
    dataset = datasets.Dataset.from_dict(
        {"group_id": [3, 4], "lang": ["en", "en"], "query": ["q", "r"], "score": [0.1, 0.2]}
    )
    table = AlignedTable.from_dataset(dataset.select([1]), source="hub")
    assert table.dataset[0]["group_id"] == "hub:4"
    assert "score" not in table.dataset.column_names
    with pytest.raises(TypeError, match=r"needs a datasets\.Dataset, got DatasetDict"):
        AlignedTable.from_dataset(datasets.DatasetDict({"train": dataset}))
    numeric = dataset.remove_columns("query").rename_column("score", "query")
    with pytest.raises(TypeError, match=r"'query' needs text, holds double; row 0 is 0\.1"):
        AlignedTable.from_dataset(numeric)


def test_keep_variants():
    columns = {"group_id": ["1"] * 2, "lang": ["zh_cn", "zh-tw"], "query": ["q", "r"]}
    assert AlignedTable.from_columns(columns).languages == ("zh",)
    kept = AlignedTable.from_columns(columns, keep_variants=True)
    assert kept.languages == ("zh-CN", "zh-TW")


def changed(**columns):
    return {name: values for name, values in (COLUMNS | columns).items() if values is not None}


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        (changed(group_id=None), ValueError, "missing column 'group_id'"),
        (changed(lang=None), ValueError, "missing column 'lang'"),
        (changed(query=None, passage=None), ValueError, "missing column 'query' or 'passage'"),
        (changed(qurey=["x"] * 5), ValueError, "unknown column 'qurey'.*did you mean 'query'"),
        (changed(query=["x"]), ValueError, "columns must have equal lengths, got .*'query': 1"),
        (changed(query=["a", "b", 3, "d", "e"]), TypeError, r"'query', row 2: needs text, got 3"),
        (changed(group_id=["a", 1, "b", "c", "d"]), TypeError, "'group_id', row 1: needs text"),
        (changed(group_id=["a", None, "b", "c", "d"]), ValueError, "'group_id', row 1: is missing"),
        (changed(group_id=["a", "b", " ", "c", "d"]), ValueError, "'group_id', row 2: is empty"),
        (changed(lang=["en", None, "en", "en", "en"]), ValueError, "'lang', row 1: is missing"),
        (
            changed(lang=["en", "klingonese"] + ["en"] * 3),
            ValueError,
            "column 'lang', row 1: unknown language 'klingone",
        ),
        (changed(query=["a", "b", " \u3000", "d", "e"]), ValueError, "'query', row 2: is empty"),
        (changed(passage=["a", "b", "c", "d", ""]), ValueError, "'passage', row 4: is empty"),
        (changed(passage=["a", "b", "c", None, "d"]), ValueError, "row 3 has neither a query nor"),
        (changed(query=["a", "b", "\ud800", "d", "e"]), ValueError, "'query', row 2 is no valid U"),
        (
            changed(negatives=[[], ["a", ""], [], [], []]),
            ValueError,
            "'negatives', row 1: holds an",
        ),
        (changed(negatives=[None, "a", [], [], []]), TypeError, "'negatives', row 1: needs a list"),
        (changed(negatives=[[], [], [None], [], []]), ValueError, "'negatives', row 2: holds an"),
        (
            changed(kinds=[None, None, ["corss"], None, None]),
            ValueError,
            "row 2: unknown .*'corss'",
        ),
        (
            changed(kinds=[None, [], None, None, None]),
            ValueError,
            "'kinds', row 1: is an empty list",
        ),
        ({name: [] for name in COLUMNS}, ValueError, "the table is empty"),
    ],
)
def test_bad_columns(columns, error, message):
    with pytest.raises(error, match=message):
        AlignedTable.from_columns(columns)


def test_bad_source():
    with pytest.raises(ValueError, match="source must be a name, got ''"):
        AlignedTable.from_columns(COLUMNS, source="")


def test_titles_of_passages_alone_are_an_error_unless_allowed():
    columns = changed(negatives=[["x"], None, None, None, None])
    with pytest.raises(
        ValueError, match="'title', row 0: 1 passages with hard negatives have a ti"
    ):
        AlignedTable.from_columns(columns)
    allowed = AlignedTable.from_columns(columns, on_missing_title="allow")
    assert allowed.passages([0, 1]) == ["T 1", "1"]
    assert AlignedTable.from_columns(columns, on_missing_title="drop").passages([0]) == ["1"]
    assert AlignedTable.from_columns(changed(negatives=None)).passages([0]) == ["T 1"]
    with pytest.raises(ValueError, match="did you mean 'drop'"):
        AlignedTable.from_columns(columns, on_missing_title="drops")


def test_fingerprint_follows_from_content_alone(table):
    chunked = pa.concat_tables([table._arrow.slice(0, 2), table._arrow.slice(2)])
    assert content_fingerprint(chunked) == table.fingerprint
    assert AlignedTable.from_columns(COLUMNS, source="toy").fingerprint == table.fingerprint
    for name, values in {
        "query": ["on", "eeins", "two", None, "three"],
        "negatives": [None, ["x"], ["y"], ["z"], None],
        "kinds": [None, ["mono"], ["cross", "mixed"], ["mono", "cross"], ["cross"]],
    }.items():
        other = AlignedTable.from_columns(COLUMNS | {name: values}, source="toy")
        assert other.fingerprint != table.fingerprint


def test_save_and_load(table, tmp_path):
    folder = tmp_path / "deep" / "table"
    table.save(folder)
    assert [path.name for path in folder.parent.iterdir()] == ["table"]
    loaded = AlignedTable.load(folder)
    assert loaded.dataset[:] == table.dataset[:]
    assert loaded.fingerprint == table.fingerprint
    assert loaded.passages([0, 3]) == ["T 1", "2 two"]
    with pytest.raises(FileExistsError, match="exists; remove it"):
        table.save(folder)


def test_save_leaves_nothing_behind_when_it_fails(table, tmp_path, monkeypatch):
    def fail(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        table.save(tmp_path / "table")
    assert list(tmp_path.iterdir()) == []


def test_load_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"was not written by AlignedTable\.save"):
        AlignedTable.load(tmp_path)
    path = tmp_path / "table.arrow"
    path.write_bytes(b"not an arrow file at all")
    with pytest.raises(ValueError, match=r"table\.arrow is not a saved table, or damaged: "):
        AlignedTable.load(tmp_path)
    with pa.ipc.new_stream(path, pa.schema({"x": pa.int64()})) as stream:
        stream.write_table(pa.table({"x": [1]}))
    with pytest.raises(ValueError, match=r"has the columns \['x'\]"):
        AlignedTable.load(tmp_path)


def test_damage_of_a_saved_table_is_noticed(table, tmp_path):
    def load():
        loaded = AlignedTable.load(tmp_path / "t")
        return loaded.dataset[:], loaded.fingerprint

    table.save(tmp_path / "t")
    assert_damage_is_noticed(tmp_path / "t" / "table.arrow", load)


def test_a_large_table_is_verified_on_request(table, tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "_CHEAP_BYTES", 0)
    table.save(tmp_path / "t")
    path = tmp_path / "t" / "table.arrow"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"2 two", b"2 tow"))
    assert AlignedTable.load(tmp_path / "t").passages([3]) == ["2 tow"]
    with pytest.raises(ValueError, match=r"table\.arrow .* its content is not that of its finger"):
        AlignedTable.load(tmp_path / "t", verify=True)
    with pytest.raises(ValueError, match="not that of its fingerprint"):
        AlignedTable.load(tmp_path / "t").verify()
    path.write_bytes(content)
    assert AlignedTable.load(tmp_path / "t", verify=True).passages([3]) == ["2 two"]
    AlignedTable.load(tmp_path / "t").verify()
    table.verify()


def test_damage_of_the_structure_of_a_large_table_is_noticed(table, tmp_path, monkeypatch):
    """Arrow would read past the end of its memory, or take a part for the whole."""
    monkeypatch.setattr(table_file, "_CHEAP_BYTES", 0)
    table.save(tmp_path / "t")
    path = tmp_path / "t" / "table.arrow"
    content = path.read_bytes()
    offsets = np.array([0, 3, 7, 10], "<i4").tobytes()  # of the queries one, eins, two
    assert content.count(offsets) == 1
    for wrong in ([0, 3, 1 << 30, 10], [0, -7, 7, 10]):
        path.write_bytes(content.replace(offsets, np.array(wrong, "<i4").tobytes()))
        with pytest.raises(ValueError, match="damaged"):
            AlignedTable.load(tmp_path / "t")
    for length in (len(content) - 8, len(content) - 1, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged"):
            AlignedTable.load(tmp_path / "t")


def test_pickle_and_repr(table):
    copy = pickle.loads(pickle.dumps(table))
    assert copy.fingerprint == table.fingerprint
    assert repr(copy) == "AlignedTable(5 rows, languages: de en zh, sources: toy)"


item = st.tuples(
    st.sampled_from("abc"),
    st.sampled_from(["en", "de", "sw"]),
    st.sampled_from(["q", "p", None]),
    st.sampled_from(["p", " p", "r"]),
    st.sampled_from([None, ("mono",), ("cross", "mixed")]),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(item, min_size=1, max_size=12))
def test_codes_equal_a_slow_count(items):
    groups, langs, queries, passages, kinds = map(list, zip(*items, strict=True))
    columns = {"group_id": groups, "lang": langs, "query": queries, "passage": passages}
    table = AlignedTable.from_columns(columns | {"kinds": kinds})

    def first_seen(values):
        order = list(dict.fromkeys(values))
        return [order.index(value) for value in values]

    bits = {"mono": 1, "cross": 2, "mixed": 4}
    masks = [7 if kind is None else sum(bits[k] for k in kind) for kind in kinds]
    same = [query == passage for query, passage in zip(queries, passages, strict=True)]
    expected = [mask & 2 if equal else mask for mask, equal in zip(masks, same, strict=True)]
    assert table.group_codes.tolist() == first_seen(groups)
    assert table.passage_codes.tolist() == first_seen([text.strip() for text in passages])
    assert [table.languages[code] for code in table.language_codes] == langs
    assert table.languages == tuple(sorted(set(langs)))
    assert table.kind_mask.tolist() == expected
