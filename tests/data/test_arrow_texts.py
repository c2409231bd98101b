"""Texts and lists of texts in every type that Arrow has for them are read alike."""

import numpy as np
import pyarrow as pa
import pytest

from hybrid_fast.data import AlignedTable, arrow_texts
from hybrid_fast.data.arrow_texts import as_text_lists, as_texts, row_of_item

ITEMS = ["a", "bb", "c", "d", "ä", None]
LISTS = [["a", "bb"], None, ["c", "d"], ["ä", None]]
MASK = pa.array([False, True, False, False])
TEXT_TYPES = {
    "string": pa.array(ITEMS, pa.string()),
    "large_string": pa.array(ITEMS, pa.large_string()),
    "string_view": pa.array(ITEMS, pa.string_view()),
    "dictionary": pa.array(ITEMS).dictionary_encode(),
    "large dictionary": pa.array(ITEMS, pa.large_string()).dictionary_encode(),
}


def lists_of(kind, items):
    """Return LISTS in an Arrow type; the items of a view stand in another order."""
    match kind:
        case "list":
            return pa.ListArray.from_arrays(pa.array([0, 2, 2, 4, 6], pa.int32()), items, mask=MASK)
        case "large_list":
            return pa.LargeListArray.from_arrays(pa.array([0, 2, 2, 4, 6]), items, mask=MASK)
        case "fixed_size_list":
            padded = pa.concat_arrays([items.slice(0, 2), items.slice(0, 2), items.slice(2)])
            return pa.FixedSizeListArray.from_arrays(padded, 2, mask=MASK)
        case "list_view":
            moved = pa.concat_arrays([items.slice(4), items.slice(0, 4)])
            starts, sizes = ([2, 0, 4, 0], [2, 0, 2, 2])
            integers = [pa.array(each, pa.int32()) for each in (starts, sizes)]
            return pa.ListViewArray.from_arrays(*integers, moved, mask=MASK)
        case "large_list_view":
            starts, sizes = (pa.array(each, pa.int64()) for each in ([0, 0, 2, 4], [2, 0, 2, 2]))
            return pa.LargeListViewArray.from_arrays(starts, sizes, items, mask=MASK)


LIST_TYPES = ["list", "large_list", "fixed_size_list", "list_view", "large_list_view"]


@pytest.mark.parametrize("text", TEXT_TYPES)
def test_texts(text):
    array = TEXT_TYPES[text]
    column = as_texts(pa.chunked_array([array, array.slice(2, 2), array.slice(0, 0)]))
    assert column.type == pa.string()
    assert column.to_pylist() == ITEMS + ITEMS[2:4]


@pytest.mark.parametrize("text", TEXT_TYPES)
@pytest.mark.parametrize("kind", LIST_TYPES)
def test_lists(kind, text):
    array = lists_of(kind, TEXT_TYPES[text])
    column = as_text_lists(pa.chunked_array([array, array.slice(1, 2), array.slice(0, 0)]))
    assert column.type == pa.list_(pa.string())
    assert column.to_pylist() == LISTS + LISTS[1:3]
    column.validate(full=True)


def test_encoded_lists_and_missing_ones():
    encoded = pa.DictionaryArray.from_arrays([1, 0, None], pa.array([["a"], ["b", "c"]]))
    assert as_text_lists(pa.chunked_array([encoded])).to_pylist() == [["b", "c"], ["a"], None]
    runs = pa.RunEndEncodedArray.from_arrays([2, 3], pa.array(["x", "y"]))
    assert as_texts(pa.chunked_array([runs])).to_pylist() == ["x", "x", "y"]
    assert as_text_lists(pa.chunked_array([pa.nulls(2)])).to_pylist() == [None, None]
    assert as_texts(pa.chunked_array([pa.nulls(2)])).to_pylist() == [None, None]


@pytest.mark.parametrize("text", TEXT_TYPES)
@pytest.mark.parametrize("kind", LIST_TYPES)
def test_a_table_of_any_types_is_the_same_table(kind, text):
    texts, lists = TEXT_TYPES[text].slice(0, 4), lists_of(kind, TEXT_TYPES[text]).slice(0, 3)
    columns = {
        "group_id": pa.array([7, 7, 8], pa.uint16()).dictionary_encode(),
        "lang": pa.array(["de", "en", "en"]).cast(pa.string_view()).dictionary_encode(),
        "query": texts.slice(1, 3),
        "passage": texts.slice(0, 3),
        "negatives": lists,
    }
    expected = {
        "group_id": [7, 7, 8],
        "lang": ["de", "en", "en"],
        "query": ITEMS[1:4],
        "passage": ITEMS[:3],
        "negatives": LISTS[:3],
    }
    table = AlignedTable.from_arrow(pa.table(columns))
    assert table.fingerprint == AlignedTable.from_columns(expected).fingerprint
    assert table.fingerprint == AlignedTable.from_columns(columns).fingerprint


def test_long_columns_are_cut_into_chunks_that_32_bits_can_count(monkeypatch):
    monkeypatch.setattr(arrow_texts, "_LARGEST_CHUNK_BYTES", 3)
    column = as_texts(pa.chunked_array([TEXT_TYPES["large_string"]]))
    assert column.to_pylist() == ITEMS
    assert [len(chunk) for chunk in column.chunks] == [1, 2, 3]
    lists = as_text_lists(pa.chunked_array([lists_of("large_list", TEXT_TYPES["string_view"])]))
    assert lists.to_pylist() == LISTS
    assert lists.num_chunks == 3
    views = as_texts(pa.chunked_array([TEXT_TYPES["string_view"].slice(1)]))
    assert views.to_pylist() == ITEMS[1:]


def test_the_row_of_an_item_is_found_in_any_chunk():
    lists = pa.chunked_array([[["a"], None, []], [], [["b", "c"], ["d"]]], pa.list_(pa.string()))
    assert [row_of_item(lists, position) for position in range(4)] == [0, 3, 3, 4]
    with pytest.raises(IndexError):
        row_of_item(lists, 4)


@pytest.mark.parametrize("chunks", [1, 2])
def test_a_bad_list_names_its_row_in_any_chunk(chunks):
    half = {"group_id": ["1", "2"], "lang": ["en", "en"], "query": ["q", "r"]}
    good = pa.table(half | {"negatives": [["x"], []]})
    bad = pa.table(half | {"negatives": [["x", "y"], ["z", ""]]})
    with pytest.raises(ValueError, match=f"column 'negatives', row {2 * chunks - 1}: holds an emp"):
        AlignedTable.from_arrow(pa.concat_tables([good] * (chunks - 1) + [bad]))


def test_numpy_values_are_taken_as_python_ones_are():
    columns = {
        "group_id": [np.int64(1), 2, np.uint8(3), np.int32(4)],
        "lang": np.array(["en", "de", "en", "de"]),
        "query": [np.str_("a"), "b", None, "d"],
        "passage": np.array(["e", "f", "g", None], object),
        "negatives": [np.array(["x", "y"]), (np.str_("z"),), None, []],
    }
    plain = {
        "group_id": [1, 2, 3, 4],
        "lang": ["en", "de", "en", "de"],
        "query": ["a", "b", None, "d"],
        "passage": ["e", "f", "g", None],
        "negatives": [["x", "y"], ["z"], None, []],
    }
    table = AlignedTable.from_columns(columns)
    assert table.fingerprint == AlignedTable.from_columns(plain).fingerprint
    assert (
        table.fingerprint
        == AlignedTable.from_columns(columns | {"group_id": np.arange(1, 5)}).fingerprint
    )
    with pytest.raises(TypeError, match=r"'group_id', row 1: needs text, got True \(bool\)"):
        AlignedTable.from_columns(
            {"group_id": ["a", True], "lang": ["en"] * 2, "query": ["q", "r"]}
        )


def test_hard_negatives_of_all_rows_have_64_bit_offsets():
    columns = {"group_id": ["1", "2"], "lang": ["en"] * 2, "query": ["q", "r"]}
    table = AlignedTable.from_columns(columns | {"negatives": [["x", "y"], None]})
    assert table.negative_column().type == pa.large_list(pa.large_string())
    assert table.negative_column().to_pylist() == [["x", "y"], []]
    assert table.text_column("passage", slice(0, 2)).type == pa.large_string()
