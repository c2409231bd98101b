"""The file of a saved table: an Arrow stream whose schema holds its number of rows and fingerprint.

Opening a file checks its structure, which takes a twentieth of the time of reading it. Whether
texts are those that were written is known from the fingerprint alone, for which all are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from hybrid_fast.data.columns import schema_of
from hybrid_fast.data.fingerprint import content_fingerprint

_FINGERPRINT, _NUM_ROWS = b"hybrid_fast_fingerprint", b"hybrid_fast_rows"
_END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
_CHEAP_BYTES = 2**28  # read in a fraction of a second


def write_table(path: Path, table: pa.Table, fingerprint: str) -> None:
    """Write a complete table.

    Raises:
        OSError: the file cannot be written.
    """
    metadata = {_FINGERPRINT: fingerprint.encode(), _NUM_ROWS: str(len(table)).encode()}
    schema = schema_of(table.column_names).with_metadata(metadata)
    with pa.ipc.new_stream(path, schema) as stream:
        stream.write_table(table)


def open_table(path: Path, verify: bool | None) -> tuple[Dataset, str, bool]:
    """Map a table that `write_table` wrote; return its fingerprint, and whether it was verified.

    Args:
        path: the file.
        verify: as `verify_table` does; None: if the file is small.

    Raises:
        ValueError: it is damaged, or no such file.
    """
    with _damage_named(path):
        with pa.memory_map(str(path)) as file:
            table = pa.ipc.open_stream(file).read_all()
        metadata = table.schema.metadata or {}
        schema = schema_of(table.column_names)
        # Serialised, for the names of a list's items too.
        if table.schema.remove_metadata().serialize() != schema.serialize():
            raise ValueError(f"has the columns {table.column_names}, not {schema.names}")
        _check_whole(path, len(table), metadata)
        table.cast(_as_bytes(schema)).validate(full=True)
        fingerprint = metadata[_FINGERPRINT].decode()
        dataset = Dataset.from_file(str(path))
    if verify is None:
        verify = path.stat().st_size <= _CHEAP_BYTES
    if verify:
        verify_table(path, table, fingerprint)
    return dataset, fingerprint, verify


def verify_table(path: Path, table: pa.Table, fingerprint: str) -> None:
    """Compare all texts of a table with its fingerprint, a second for some hundred MB.

    Raises:
        ValueError: they are not those that were written.
    """
    with _damage_named(path):
        table.validate(full=True)
        if content_fingerprint(table) != fingerprint:
            raise ValueError("its content is not that of its fingerprint")


def _as_bytes(schema: pa.Schema) -> pa.Schema:
    """Return a schema whose texts are bytes: their validation is that of offsets alone."""
    bytes_of = {pa.string(): pa.binary(), pa.list_(pa.string()): pa.list_(pa.binary())}
    return pa.schema([(field.name, bytes_of.get(field.type, field.type)) for field in schema])


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError) as error:
        raise ValueError(
            f"{path} is not a saved table, or damaged: {error}; remove {path.parent} and save the "
            "table again"
        ) from error


def _check_whole(path: Path, num_rows: int, metadata: dict[bytes, bytes]) -> None:
    """Raise ValueError if something is missing at the end, which Arrow takes for the end."""
    with path.open("rb") as file:
        file.seek(-len(_END_OF_STREAM), 2)
        is_whole = file.read() == _END_OF_STREAM
    expected = int(metadata[_NUM_ROWS])
    if not is_whole or num_rows != expected:
        raise ValueError(f"holds {num_rows} whole rows of {expected}")
