"""Parquet files: damage within a page is named by row group and column."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_fast.data.formats.parquet import iter_parquet_rows

ROWS = [{"n": n, "text": f"ein Satz {n} ä", "list": [f"a{n}", None]} for n in range(30)]


def write(path, **options):
    options = {"row_group_size": 10, "compression": "none", "use_dictionary": False, **options}
    pq.write_table(pa.Table.from_pylist(ROWS), path, **options)
    return path


def test_rows(tmp_path):
    assert list(iter_parquet_rows(write(tmp_path / "a.parquet"))) == ROWS


def test_columns_that_are_chosen(tmp_path):
    path = write(tmp_path / "a.parquet")
    rows = iter_parquet_rows(path, lambda names: [name for name in names if name != "list"])
    assert list(rows) == [{"n": row["n"], "text": row["text"]} for row in ROWS]


def test_a_row_group_is_read_a_piece_at_a_time(tmp_path):
    """One row group of 20 MB, of which Arrow never holds the half."""
    texts = pa.array(np.random.default_rng(0).bytes(1000).hex() for _ in range(10_000))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts}), path, use_dictionary=False, compression="none")
    del texts
    before, most = pa.total_allocated_bytes(), 0
    for row in iter_parquet_rows(path):
        assert len(row["text"]) == 2000
        most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 10e6


def test_a_file_that_is_compressed_as_a_whole(tmp_path):
    path = tmp_path / "a.parquet.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "a.parquet").read_bytes()))
    assert list(iter_parquet_rows(path)) == ROWS
    path.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match=r"a\.parquet\.gz: damaged"):
        list(iter_parquet_rows(path))


def test_bytes_that_are_no_text(tmp_path):
    """Whole to Arrow: the fault shows as a text is made of them."""
    path = write(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes().replace(b"ein Satz 17", b"ein \xffatz 17"))
    rows = iter_parquet_rows(path)
    assert [next(rows)["n"] for _ in range(10)] == list(range(10))
    with pytest.raises(
        ValueError, match=r"a\.parquet: .* row group 1, column 'text': 'utf-8' codec"
    ):
        next(rows)


@pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip"])
def test_pages_that_cannot_be_decompressed(tmp_path, compression):
    path = write(tmp_path / "a.parquet", compression=compression)
    column = pq.ParquetFile(path).metadata.row_group(2).column(1)
    content = bytearray(path.read_bytes())
    start = column.data_page_offset
    content[start + 30 : start + column.total_compressed_size] = b"\xff" * (
        column.total_compressed_size - 30
    )
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.parquet: damaged .* row group 2, column 'text': "):
        list(iter_parquet_rows(path))


def test_files_that_are_none(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(FileNotFoundError, match=r"no such file: .*a\.parquet"):
        list(iter_parquet_rows(path))
    content = write(path).read_bytes()
    for damaged in (b"", b"PAR1", content[:-9], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.parquet: damaged Parquet file"):
            list(iter_parquet_rows(path))
