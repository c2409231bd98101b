"""One function for all data: files, a data set of the hub, or what is in memory become a table."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_fast.common.choices import check_choice, nearest
from hybrid_fast.common.hub import is_hub_name
from hybrid_fast.common.paths import expanded
from hybrid_fast.data.columns import KIND_BITS, SCHEMA
from hybrid_fast.data.formats.bitext import read_bitext
from hybrid_fast.data.formats.fields import Columns
from hybrid_fast.data.formats.files import Paths, find_files, format_of, short_name
from hybrid_fast.data.formats.items import Item, check_count, limit_groups, shared_passage_ids
from hybrid_fast.data.formats.json_text import is_squad_shaped
from hybrid_fast.data.formats.lines import plain_suffix
from hybrid_fast.data.formats.memory import MEMORY_NAME, is_path_like
from hybrid_fast.data.formats.questions import read_squad
from hybrid_fast.data.formats.tabular import read_hub, read_memory, read_tabular
from hybrid_fast.data.languages import normalize_language
from hybrid_fast.data.saved_tables import check_none_given, find_saved_table
from hybrid_fast.data.table import AlignedTable

READERS: dict[str, Callable[..., Iterator[Item]]] = {
    "jsonl": partial(read_tabular, format="jsonl"),
    "json": partial(read_tabular, format="json"),
    "csv": partial(read_tabular, format="csv"),
    "tsv": partial(read_tabular, format="tsv"),
    "parquet": partial(read_tabular, format="parquet"),
    "squad": read_squad,
    "bitext": read_bitext,
    "hub": read_hub,
}
_ROWS_PER_CHUNK = 10_000


def load_table(
    path_or_data: Any,
    columns: Columns | None = None,
    *,
    format: str | None = None,
    lang: str | None = None,
    languages: Sequence[str] | Mapping[str, str] | None = None,
    source: str | None = None,
    kinds: Sequence[str] | None = None,
    in_batch: bool | None = None,
    root: str | Path | None = None,
    limit: int | None = None,
    parallel_passages: bool = False,
    keep_variants: bool = False,
    **options: object,
) -> AlignedTable:
    """Read files, a hub data set or data in memory into an aligned table.

    Data in memory is read as a tabular file is: with the same `columns`, checks and options.

    Args:
        path_or_data: where the data is, or the data.
            Files: one; a pattern with "{lang}" in it ("ntrex.{lang}.txt"), one file per language,
            or with wildcards ("part-*.jsonl"); a list of these. Files may be compressed: .gz, .bz2,
            .xz, .zst.
            A folder that `AlignedTable.save` wrote, which takes no options.
            A hub name, or a folder for the `datasets` library, which may be one of its
            `save_to_disk`.
            Data in memory: a data frame (pandas, polars, whatever has the interface of Arrow
            streams), an Arrow table or record batches, a `datasets.Dataset`, a DatasetDict with
            split=, an IterableDataset with max_rows=, a list or iterator of records (mappings by
            name, tuples by position), or a mapping of columns, where one value stands for all rows.
        columns: {our column: theirs}, but for "squad" and "bitext"; see `read_tabular`.
        format: "json", "jsonl", "csv", "tsv", "parquet", "squad", "bitext" or "hub"; default by the
            last suffix of the file name (before that of a compression): .txt is bitext, .json is
            squad if it holds "paragraphs".
        lang: the language of all rows, if neither a column nor the path gives it.
        languages: the languages that "{lang}" stands for, or a mapping from the text in file names
            to codes: {"en-bbe": "en"}; default all files that match.
        source: name of the data set; rows of equal source and group id belong together. Default:
            folder and file name without suffixes, "dataset" for data in memory.
        kinds: batch kinds that may draw the rows, out of "mono", "cross", "mixed"; default all.
        in_batch: whether a query takes the passages of other examples as negatives, or, if False,
            the hard negatives of its own example alone: where those passages may well be right too,
            as in classification, where all examples of a class have one passage. Default: the
            column "in_batch" of the data, else True.
        root: the folder that a relative path starts from; in it, as in all paths, `~` and `$NAME`
            are replaced.
        limit: keep only the first `limit` groups.
        parallel_passages: the passages of a group are translations of each other, so two groups
            whose passages are equal in one language share their passage id in all (XNLI).
        keep_variants: keep script, region and variants of language codes, and varieties with a
            code of their own: zh-Hans and zh-Hant, prs and pes.
        **options: those of the reader: `read_tabular`, `read_squad`, `read_bitext`, `read_hub`;
            of data in memory `read_memory`, with `split` and `max_rows`.

    Raises:
        FileNotFoundError: if there is no such file or data set.
        ValueError: for bad input, with file, line and field (in memory: the row from 0), or options
            that contradict each other.
        TypeError: for data of another kind, or an option that the reader does not have.
    """
    saved = find_saved_table(path_or_data, root)
    if saved is not None:
        check_none_given(
            saved,
            columns=columns,
            format=format,
            lang=lang,
            languages=languages,
            source=source,
            kinds=kinds,
            in_batch=in_batch,
            limit=limit,
            parallel_passages=parallel_passages or None,
            keep_variants=keep_variants or None,
            **options,
        )
        return AlignedTable.load(saved)
    check_count("limit", limit, "groups")
    _check_lang(lang)
    _check_in_batch(in_batch)
    if columns is not None:
        options["columns"] = columns
    if isinstance(options.get("documents"), str | Path):
        options["documents"] = _place(str(options["documents"]), root)
    if is_path_like(path_or_data):
        name = _source_name(path_or_data)
        items = _items(path_or_data, format, lang, languages, root, options)
    else:
        name = MEMORY_NAME
        items = _memory_items(path_or_data, format, lang, languages, options)
    if limit is not None:
        items = limit_groups(items, int(limit))
    rows = _arrow_table(items, path_or_data if is_path_like(path_or_data) else name)
    if parallel_passages:
        rows = _with_shared_passage_ids(rows)
    if kinds is not None:
        rows = _with_kinds(rows, kinds)
    if in_batch is not None:
        rows = _with_value(rows, "in_batch", bool(in_batch))
    return AlignedTable.from_arrow(
        rows,
        source=source or name,
        keep_variants=keep_variants,
        on_missing_title="allow",  # readers know which hard negatives have titles
    )


def _check_lang(lang: object) -> None:
    """Raise TypeError or ValueError unless a language is None or a known code."""
    if lang is None:
        return
    if not isinstance(lang, str):
        raise TypeError(f"lang must be a language code such as 'en', got {lang!r}")
    try:
        normalize_language(lang)
    except ValueError as error:
        raise ValueError(f"lang: {error}") from error


def _check_in_batch(in_batch: object) -> None:
    """Raise TypeError unless the option is None or a boolean, Python's or NumPy's."""
    if not (in_batch is None or isinstance(in_batch, bool | np.bool_)):
        raise TypeError(
            f"in_batch must be True or False, got {in_batch!r} ({type(in_batch).__name__})"
        )


def _source_name(path: Paths) -> str:
    """Return the name of the source that paths give, the same with `~` as without."""
    if isinstance(path, str | Path):
        return short_name(expanded(path))
    return short_name([expanded(each) for each in path])


def _place(path: str | Path, root: str | Path | None) -> Path:
    return Path(expanded(root or "."), expanded(path))


def _memory_items(
    data: Any,
    format: str | None,
    lang: str | None,
    languages: object,
    options: Mapping[str, Any],
) -> Iterator[Item]:
    if isinstance(data, AlignedTable):
        raise TypeError("an AlignedTable needs no loading; AlignedTable.concatenate joins several")
    if isinstance(data, list | tuple) and not data:
        raise ValueError(
            "the list of paths is empty, and holds no records either; name at least one"
        )
    if format is not None or languages is not None:
        raise ValueError(
            "format= and languages= are for files; data in memory takes columns= and lang="
        )
    _check_options(type(data).__name__, read_memory, options)
    return read_memory(data, lang, **options)


def _items(
    path: Paths,
    format: str | None,
    lang: str | None,
    languages: Sequence[str] | Mapping[str, str] | None,
    root: str | Path | None,
    options: dict[str, Any],
) -> Iterator[Item]:
    """Return the items of files, or of a data set of the hub or of a folder."""
    given, format = format, format or _guess_format(path, root)
    check_choice("format", format, list(READERS))
    if format == "hub":
        if languages is not None:
            raise ValueError("languages= is for paths with {lang}; a hub data set takes lang=")
        _check_options(format, READERS[format], options)
        return READERS[format](_hub_name(path, root), lang, **options)
    files = find_files(path, root, lang, languages)
    if given is None and format == "json" and is_squad_shaped(files[0].path):
        format = "squad"
    _check_options(format, READERS[format], options)
    is_tsv = plain_suffix(files[0].path) == ".tsv"
    if format == "bitext" and "fields" not in options and is_tsv:
        options["fields"] = ("id", "text")
    # Codes as they were given, so that those that become one language can be named.
    return READERS[format]([file._replace(lang=file.code) for file in files], **options)


def load_tables(specs: Sequence[Mapping[str, Any]], root: str | Path | None = None) -> AlignedTable:
    """Load the sources of a recipe into one table.

    Args:
        specs: keyword arguments of `load_table` for each source, with "path" for the path or name.
        root: the folder that relative paths start from, unless a source gives its own.

    Raises:
        FileNotFoundError, TypeError, ValueError: as `load_table`, with the number of the source.
    """
    if not specs:
        raise ValueError("a table needs at least one source; none is given")
    tables = []
    for number, spec in enumerate(specs, 1):
        if not isinstance(spec, Mapping) or "path" not in spec:
            raise ValueError(f"source {number}: needs a 'path', got {spec!r}")
        arguments = {"root": root, **spec}
        path = arguments.pop("path")
        try:
            tables.append(load_table(path, **arguments))
        except (FileNotFoundError, TypeError, ValueError) as error:
            kind = next(
                k for k in (FileNotFoundError, TypeError, ValueError) if isinstance(error, k)
            )
            shown = path if is_path_like(path) else type(path).__name__
            raise kind(f"source {number} ({shown}): {error}") from error
    return AlignedTable.concatenate(tables)


def _guess_format(path: Paths, root: str | Path | None) -> str:
    """Return the format by the file name; folders and names of no file are for `datasets`."""
    place = _place(path, root) if isinstance(path, str | Path) else None
    if place is not None and place.is_dir():
        return "hub"
    found = format_of(path)
    if found is not None:
        return found
    if place is None or "{lang}" in str(path) or place.exists():
        raise ValueError(
            f"cannot tell the format of {str(path)!r} by its name; give format=, "
            f"one of {', '.join(map(repr, READERS))}"
        )
    if isinstance(path, Path) or not is_hub_name(str(path)):
        raise FileNotFoundError(f"no such file or folder: {place}")
    return "hub"


def _hub_name(name: Paths, root: str | Path | None) -> str:
    if not isinstance(name, str | Path):
        raise ValueError(f"format='hub' takes one name or folder, got {name!r}")
    folder = _place(name, root)
    return str(folder) if folder.is_dir() else str(name)


def _check_options(
    format: str, reader: Callable[..., Iterator[Item]], options: Mapping[str, object]
) -> None:
    """Raise TypeError for an option that neither the reader nor load_table has."""
    parameters = inspect.signature(reader).parameters.values()
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"format"}
    general = set(inspect.signature(load_table).parameters) - {"options"}
    for name in options:
        if name not in known:
            raise TypeError(
                f"the {format} reader has no option {name!r}; it has {sorted(known)}"
                f"{nearest(name, (known | general) - {name})}"
            )


def _arrow_table(items: Iterator[Item], origin: Paths) -> pa.Table:
    """Collect items in Arrow memory, some thousands at a time."""
    chunks = []
    while rows := list(islice(items, _ROWS_PER_CHUNK)):
        values = zip(*rows, strict=True)
        arrays = [pa.array(v, kind) for v, kind in zip(values, SCHEMA.types, strict=True)]
        chunks.append(pa.table(arrays, schema=SCHEMA))
    if not chunks:
        raise ValueError(f"{origin}: holds no usable row")
    return pa.concat_tables(chunks)


def _with_shared_passage_ids(rows: pa.Table) -> pa.Table:
    """Give one passage id to groups that equal passages connect, in any language."""
    if rows["passage_id"].null_count < len(rows):
        raise ValueError("parallel_passages makes passage ids, but the rows already have some")
    valid = rows["passage"].is_valid()
    found = rows.filter(valid)
    shared = pa.array(
        shared_passage_ids(found["group_id"].combine_chunks(), found["passage"].to_pylist())
    )
    ids = pc.replace_with_mask(rows["passage_id"].combine_chunks(), valid.combine_chunks(), shared)
    return rows.set_column(rows.schema.get_field_index("passage_id"), "passage_id", ids)


def _with_kinds(rows: pa.Table, kinds: Sequence[str]) -> pa.Table:
    if isinstance(kinds, str) or not kinds or not set(kinds) <= set(KIND_BITS):
        raise ValueError(f"kinds must be a list of some of {list(KIND_BITS)}, got {kinds!r}")
    return _with_value(rows, "kinds", list(kinds))


def _with_value(rows: pa.Table, name: str, value: object) -> pa.Table:
    """Put one value into a column of all rows."""
    column = pa.array([value] * len(rows), SCHEMA.field(name).type)
    return rows.set_column(rows.schema.get_field_index(name), name, column)
