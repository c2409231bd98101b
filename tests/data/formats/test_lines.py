"""Text files as they are stored: every compression, and a name for what is no UTF-8 text."""

import bz2
import gzip
import lzma

import pyarrow as pa
import pytest

from hybrid_fast.data.formats.lines import iter_lines, plain_name, plain_suffix


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".zst": zstd}
CONTENT = "\ufeffeins\r\nzwei ä\n".encode()


@pytest.mark.parametrize("suffix", [*COMPRESS, ".GZ", ".Zst"])
def test_compressed_lines(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix.lower()](CONTENT))
    assert list(iter_lines(path)) == [(1, "eins"), (2, "zwei ä")]


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_parts_that_were_compressed_one_by_one(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(COMPRESS[suffix](b"eins\n") + COMPRESS[suffix](b"zwei\n"))
    assert [line for _, line in iter_lines(path)] == ["eins", "zwei"]


@pytest.mark.parametrize("suffix", COMPRESS)
def test_damage_is_named_with_the_compression(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    whole = COMPRESS[suffix](b"line\n" * 5000)
    for content in (whole[:-5], whole[: len(whole) // 2], b"plain text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.txt\.\w+: damaged \w+ file after line \d+"):
            list(iter_lines(path))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_name_that_does_not_tell_the_compression(tmp_path, suffix):
    path = tmp_path / "a.txt"
    path.write_bytes(COMPRESS[suffix](CONTENT))
    with pytest.raises(ValueError, match=rf"a\.txt: is compressed .* its name end in \{suffix}"):
        list(iter_lines(path))
    renamed = path.rename(f"{path}{suffix}")  # what the message says helps
    assert len(list(iter_lines(renamed))) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tä\r\n".encode("utf-16"), "a.txt: is UTF-16 text; convert it to UTF-8"),
        ("\ufeffa\tä\n".encode("utf-16-be"), "is UTF-16 text"),
        ("ein Text\n".encode("utf-16-le"), "is UTF-16 text"),
        ("ein Text\n".encode("utf-16-be"), "is UTF-16 text"),
        ("ein Text\n".encode("utf-32"), "is UTF-32 text"),
        ("ein Text\n".encode("utf-32-le"), "is UTF-32 text"),
        ("na\xefve\n".encode("latin-1"), "a.txt:1: not UTF-8 .* 0xef, 'ï' in Windows-1252 and Lat"),
        (b"\x81\n", r"a.txt:1: not UTF-8 \(byte 0 of the line is 0x81\)"),
        (b"PK\x03\x04rest", "is compressed with zip"),
        (b"PAR1rest", "is a file of Parquet, not of text"),
        (b"ARROW1rest", "is a file of Arrow, not of text"),
    ],
)
def test_what_is_no_text_in_utf8(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(iter_lines(tmp_path / "a.txt"))


def test_carriage_returns_alone(tmp_path):
    """They end lines where nothing else does; elsewhere they are text."""
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffeins\rzwei ä\r".encode())
    assert list(iter_lines(path)) == [(1, "eins"), (2, "zwei ä")]
    path.write_bytes(b"eins\rzwei\ndrei\rvier")
    assert list(iter_lines(path)) == [(1, "eins\rzwei"), (2, "drei\rvier")]


def test_the_last_suffix_tells_the_format():
    assert plain_suffix("wiki.txt.jsonl") == ".jsonl"
    assert plain_suffix("squad.json.parquet") == ".parquet"
    assert plain_suffix("A.CSV.GZ") == ".csv"
    assert plain_suffix("jsonl") == plain_suffix("a.b/jsonl.gz") == ""
    assert plain_name("a.b.tsv.zst") == "a.b.tsv"
