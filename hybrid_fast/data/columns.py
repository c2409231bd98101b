"""The columns of the aligned table: their types, their checks and how missing ones are filled.

All work is done on Arrow arrays; Python objects are made for distinct values at most.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_fast.common.choices import nearest
from hybrid_fast.common.texts import check_unicode
from hybrid_fast.data.arrow_scores import as_scores, check_scores, fits_scores, is_score_type
from hybrid_fast.data.arrow_texts import (
    as_flags,
    as_text_lists,
    as_texts,
    is_flag,
    is_integer,
    is_text,
    is_text_list,
    row_of_invalid,
    row_of_item,
)
from hybrid_fast.data.column_values import Values, even_columns
from hybrid_fast.data.languages import LanguageCodes, normalize_language
from hybrid_fast.data.text_ids import passage_text_ids

SCORES = ("negative_scores", "positive_score")
SCHEMA = pa.schema(
    {
        "group_id": pa.string(),
        "lang": pa.string(),
        "query": pa.string(),
        "passage": pa.string(),
        "passage_id": pa.string(),
        "title": pa.string(),
        "negatives": pa.list_(pa.string()),
        "source": pa.string(),
        "kinds": pa.list_(pa.string()),
        "in_batch": pa.bool_(),
        "negative_scores": pa.list_(pa.float32()),
        "positive_score": pa.float32(),
    }
)
# Of these a table has only what says something: its fingerprint is then that of one without them.
_OPTIONAL = ("in_batch", *SCORES)
OnMissingTitle = Literal["error", "allow", "drop"]
ON_MISSING_TITLE: tuple[OnMissingTitle, ...] = ("error", "allow", "drop")
KIND_BITS = {"mono": 1, "cross": 2, "mixed": 4}
_OTHER_DOOR = "load_table takes other names (columns=), one language (lang=), and no group ids"
_ID_COLUMNS = ("group_id", "passage_id")
_LARGE_LIST = pa.large_list(pa.large_string())
_BAD_VALUE = (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError)


def from_mapping(columns: Mapping[str, Any]) -> pa.Table:
    """Make an Arrow table from named columns, which may be anything that `even_columns` takes.

    Raises:
        ValueError: for an unknown column, columns of different lengths, or a text that is no valid
            Unicode, with its row.
        TypeError: for a value of the wrong type, with its row.
    """
    for name in columns:
        if name not in SCHEMA.names:
            raise ValueError(
                f"unknown column {name!r}; the columns are {SCHEMA.names}"
                f"{nearest(name, SCHEMA.names)}; {_OTHER_DOOR}"
            )
    even = even_columns(columns)
    return pa.table({name: _array(name, values) for name, values in even.items()})


def complete(
    table: pa.Table, source: str, keep_variants: bool, on_missing_title: OnMissingTitle
) -> tuple[pa.Table, LanguageCodes]:
    """Return the checked table, with a schema of `schema_of`, and its codes of languages.

    The prefix "<source>:" makes ids unique across sources; those made by `passage_text_ids` depend
    on the text alone and stay as they are.

    Raises:
        TypeError: for a column of the wrong type.
        ValueError: for anything else that makes a row unusable, with that row (counted from 0).
    """
    for name in ("group_id", "lang"):
        if name not in table.column_names:
            raise ValueError(
                f"missing column {name!r}; the columns are {table.column_names}; {_OTHER_DOOR}"
            )
    if not {"query", "passage"} & set(table.column_names):
        raise ValueError(
            f"missing column 'query' or 'passage'; the columns are {table.column_names}; "
            f"{_OTHER_DOOR}"
        )
    if not table.num_rows:
        raise ValueError("the table is empty: it needs at least one row")
    columns = {field.name: _typed(table, field) for field in SCHEMA}
    _check_texts(columns)
    _check_kinds(columns["kinds"])
    check_scores(columns["negative_scores"], columns["negatives"], columns["positive_score"])
    columns["lang"], codes = _normal_languages(columns["lang"], keep_variants)
    columns["source"] = pc.fill_null(columns["source"], source)
    columns["group_id"] = _with_source(columns["group_id"], columns["source"])
    columns["passage_id"] = _passage_ids(columns)
    no_negatives = pa.scalar([], SCHEMA.field("negatives").type)
    columns["negatives"] = pc.fill_null(columns["negatives"], no_negatives)
    columns["title"] = _null_if_blank(columns["title"])
    if on_missing_title == "drop":
        columns["title"] = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    elif on_missing_title == "error":
        _check_titles(columns["title"], columns["negatives"])
    return _without_silent(pa.table(columns, schema=SCHEMA)), codes


def schema_of(names: Collection[str]) -> pa.Schema:
    """Return the schema of a complete table which has, of the optional columns, those named."""
    return pa.schema([each for each in SCHEMA if each.name not in _OPTIONAL or each.name in names])


def join(tables: Iterable[pa.Table]) -> pa.Table:
    """Return the rows of complete tables, of which some may lack optional columns."""
    return _without_silent(pa.concat_tables(tables, promote_options="default"))


def _without_silent(table: pa.Table) -> pa.Table:
    """Return a table without optional columns that say nothing, in the order of the schema.

    `in_batch` says nothing where it is true of all rows, which null means too; scores, where none
    are known.
    """
    names = [name for name in SCHEMA.names if name in table.column_names]
    silent = {name for name in SCORES if name in names and table[name].null_count == len(table)}
    if "in_batch" in names:
        flags = pc.fill_null(table["in_batch"], True)
        table = table.set_column(table.column_names.index("in_batch"), "in_batch", flags)
        silent |= {"in_batch"} if pc.all(flags).as_py() else set()
    return table.select([name for name in names if name not in silent])


def kind_mask(kinds: pa.ChunkedArray) -> np.ndarray:
    """Return which batch kinds may draw each row, as bits, uint8 (n,); null means all."""
    mask = np.where(kinds.is_null().to_numpy(), sum(KIND_BITS.values()), 0).astype(np.uint8)
    if kinds.null_count < len(kinds):
        lengths = pc.fill_null(pc.list_value_length(kinds), 0).to_numpy()
        codes = pc.index_in(pc.list_flatten(kinds), pa.array(list(KIND_BITS))).to_numpy()
        bits = np.array(list(KIND_BITS.values()), dtype=np.uint8)[codes]
        np.bitwise_or.at(mask, np.repeat(np.arange(len(mask)), lengths), bits)
    return mask


def titled_passages(table: pa.Table) -> pa.ChunkedArray:
    """Return passages, each after its title and a space where it has one."""
    title, passage = (table[name].cast(pa.large_string()) for name in ("title", "passage"))
    joined = pc.binary_join_element_wise(title, passage, pa.scalar(" ", pa.large_string()))
    return pc.coalesce(joined, passage)


def _array(name: str, values: Values) -> pa.Array | pa.ChunkedArray:
    """Return values as an Arrow array whose offsets they fit; those of an Arrow array as they are.

    Ids may be integers; NaN, which is how pandas writes a missing text, is null.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    wanted = _made_type(SCHEMA.field(name).type)
    if name in _ID_COLUMNS and all(
        value is None or (isinstance(value, Integral) and not isinstance(value, bool))
        for value in values
    ):
        return pa.array([None if value is None else str(value) for value in values], wanted)
    if isinstance(values, np.ndarray) and (pa.types.is_boolean(wanted) or values.ndim > 1):
        values = values.tolist()  # Arrow takes any number but 0 as true, and no matrix
    try:
        if pa.types.is_large_list(wanted) and any(isinstance(value, str) for value in values):
            raise pa.ArrowTypeError("Arrow would take a text as the list of its characters")
        return pa.array(values, type=wanted, from_pandas=True)
    except _BAD_VALUE:
        row, value = next((r, v) for r, v in enumerate(values) if not _fits(v, wanted))
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str):
                check_unicode(text, f"column {name!r}, row {row}")
        raise TypeError(
            f"column {name!r}, row {row}: needs {_describe(wanted)}, "
            f"got {value!r} ({type(value).__name__})"
        ) from None


def _made_type(given: pa.DataType) -> pa.DataType:
    """Return the type of a column, with offsets that the values of any number of rows fit."""
    if pa.types.is_boolean(given) or is_score_type(given):
        return given
    return _LARGE_LIST if pa.types.is_list(given) else pa.large_string()


def _fits(value: object, wanted: pa.DataType) -> bool:
    if pa.types.is_large_list(wanted) and isinstance(value, str):
        return False
    try:
        pa.array([value], type=wanted, from_pandas=True)
    except _BAD_VALUE:
        return False
    return True


def _describe(wanted: pa.DataType) -> str:
    if pa.types.is_boolean(wanted):
        return "True or False"
    is_list = pa.types.is_list(wanted) or pa.types.is_large_list(wanted)
    if is_score_type(wanted):
        return "a list of numbers" if is_list else "a number"
    return "a list of texts" if is_list else "text"


def _typed(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    """Return a column in its type, all null where the table lacks it."""
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, field.type)])
    column = table.column(field.name)
    if not _castable(column.type, field):
        raise TypeError(
            f"column {field.name!r} needs {_describe(field.type)}, holds {column.type}; "
            f"row 0 is {column[0].as_py()!r}"
        )
    if pa.types.is_boolean(field.type):
        return as_flags(column)
    if field.name in SCORES:
        return as_scores(column, field.type)
    column = as_text_lists(column) if pa.types.is_list(field.type) else as_texts(column)
    invalid = row_of_invalid(column)
    if invalid is not None:
        raise ValueError(
            f"column {field.name!r}, row {invalid}: is no valid Unicode, its bytes are not UTF-8; "
            "decode it by the encoding it has"
        )
    if field.name in ("group_id", "lang") and column.null_count:
        raise ValueError(f"column {field.name!r}, row {_first(column.is_null())}: is missing")
    return column


def _castable(given: pa.DataType, field: pa.Field) -> bool:
    """Tell whether the cast keeps the meaning: texts to text, integers to ids."""
    if pa.types.is_boolean(field.type):
        return is_flag(given)
    if field.name in SCORES:
        return fits_scores(given, field.type)
    if pa.types.is_list(field.type):
        return is_text_list(given)
    return is_text(given) or (field.name in _ID_COLUMNS and is_integer(given))


def _check_texts(columns: Mapping[str, pa.ChunkedArray]) -> None:
    for name in ("group_id", "query", "passage"):
        blank = _is_blank(columns[name])
        if pc.any(blank).as_py():
            raise ValueError(f"column {name!r}, row {_first(blank)}: is empty; leave the row out")
    neither = pc.and_(columns["query"].is_null(), columns["passage"].is_null())
    if pc.any(neither).as_py():
        raise ValueError(f"row {_first(neither)} has neither a query nor a passage")
    negatives = columns["negatives"]
    texts = pc.list_flatten(negatives)
    bad = pc.or_(texts.is_null(), _is_blank(texts))
    if pc.any(bad).as_py():
        row = row_of_item(negatives, _first(bad))
        raise ValueError(f"column 'negatives', row {row}: holds an empty text; leave it out")


def _check_titles(titles: pa.ChunkedArray, negatives: pa.ChunkedArray) -> None:
    """Raise ValueError if a passage has a title, which its hard negatives cannot have."""
    one_sided = pc.and_(titles.is_valid(), pc.greater(pc.list_value_length(negatives), 0))
    count = pc.sum(one_sided).as_py()
    if count:
        raise ValueError(
            f"column 'title', row {_first(one_sided)}: {count:,} passages with hard negatives have "
            "a title, which the hard negatives have not, and that gives the answer away; put "
            "titles in front of the negatives and give on_missing_title='allow', or 'drop' to "
            "leave out all titles"
        )


def _check_kinds(kinds: pa.ChunkedArray) -> None:
    if kinds.null_count == len(kinds):
        return
    lengths = pc.fill_null(pc.list_value_length(kinds), -1)
    if pc.any(pc.equal(lengths, 0)).as_py():
        row = _first(pc.equal(lengths, 0))
        raise ValueError(f"column 'kinds', row {row}: is an empty list; leave it null for all")
    names = pc.list_flatten(kinds)
    unknown = pc.invert(pc.is_in(names, pa.array(list(KIND_BITS))))
    if pc.any(unknown).as_py():
        position = _first(unknown)
        row = row_of_item(kinds, position)
        raise ValueError(
            f"column 'kinds', row {row}: unknown batch kind {names[position].as_py()!r}; "
            f"needs some of {list(KIND_BITS)}"
        )


def _passage_ids(columns: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
    """Return the given ids with their source, else ids of the text; null without a passage."""
    given, passage = columns["passage_id"], columns["passage"]
    of_text = pc.fill_null(pc.starts_with(given, "text:"), True)
    prefixed = pc.if_else(of_text, given, _with_source(given, columns["source"]))
    nameless = pc.and_(given.is_null(), passage.is_valid())
    texts = pc.if_else(nameless, passage, pa.scalar(None, pa.string()))
    hashed = passage_text_ids(texts).cast(pa.string())
    return pc.if_else(passage.is_valid(), pc.coalesce(prefixed, hashed), None)


def _with_source(ids: pa.ChunkedArray, sources: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(sources, ids, ":")


def _normal_languages(
    column: pa.ChunkedArray, keep_variants: bool
) -> tuple[pa.ChunkedArray, LanguageCodes]:
    """Return the normal forms of a column of codes, and which codes became each."""
    given = {each["values"]: each["counts"] for each in pc.value_counts(column).to_pylist()}
    normal: dict[str, str] = {}
    codes: dict[str, dict[str, int]] = {}
    for code, count in given.items():
        try:
            normal[code] = normalize_language(code, keep_variants)
        except ValueError as error:
            row = pc.index(column, pa.scalar(code, column.type)).as_py()
            raise ValueError(f"column 'lang', row {row}: {error}") from error
        codes.setdefault(normal[code], {})[code] = count
    positions = pc.index_in(column, pa.array(list(normal), column.type))
    return pc.take(pa.chunked_array([list(normal.values())], column.type), positions), codes


def _is_blank(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), False)


def _null_if_blank(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(_is_blank(column), pa.scalar(None, pa.string()), column)


def _first(mask: pa.ChunkedArray) -> int:
    return pc.index(mask, True).as_py()
