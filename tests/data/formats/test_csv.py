"""CSV and TSV as programs write them: long cells, empty lines, other separators and quotes."""

import csv

import pytest

from hybrid_fast.data.formats.files import find_files
from hybrid_fast.data.formats.tabular import read_tabular


def write(path, text):
    path.write_text(text, newline="")
    return path


def read(path, lang, **options):
    return list(read_tabular(find_files(path, lang=lang), **options))


def test_cells_of_any_length(tmp_path):
    """The limit of the csv module is that of the process, and stays as it was."""
    limit = csv.field_size_limit()
    text = "x " * 200_000
    path = write(tmp_path / "a.csv", f"query,passage\nq,{text}\nr,p\n")
    items = read(path, "en", format="csv")
    assert [item.passage for item in items] == [text, "p"]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(("format", "part"), [("csv", ","), ("tsv", "\t")])
def test_empty_lines_are_left_out_and_counted(tmp_path, caplog, format, part):
    text = f"\nquery{part}passage\n\r\na{part}b\n\n\nc{part}d\n\n"
    path = write(tmp_path / f"a.{format}", text)
    assert [item.query for item in read(path, "en", format=format)] == ["a", "c"]
    assert caplog.messages == [f"{path}: 5 empty lines, left out (the first at 1)"]
    with pytest.raises(ValueError, match=rf"a\.{format}:1: strict=True does not allow empty lines"):
        read(path, "en", format=format, strict=True)


def test_an_empty_line_of_one_column_is_an_empty_text(tmp_path):
    path = write(tmp_path / "a.tsv", "query\na\n\nb\n")
    with pytest.raises(ValueError, match=r"a\.tsv:3: field 'query' is empty; on_empty='skip'"):
        read(path, "en", format="tsv")
    assert [item.query for item in read(path, "en", format="tsv", on_empty="skip")] == ["a", "b"]


def test_a_carriage_return_within_a_row(tmp_path):
    path = write(tmp_path / "a.csv", "query,passage\na,b\rc,d\n")
    with pytest.raises(
        ValueError, match=r"a\.csv:2: malformed CSV: a carriage return outside quot"
    ):
        read(path, "en", format="csv")


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("a.csv", "query\tpassage", r"a\.csv:1: .* separated by '\\t'; give format='tsv'"),
        ("a.tsv", "query,passage", r"a\.tsv:1: .* separated by ','; give format='csv'"),
        ("a.csv", "query;passage", r"a\.csv:1: .* by ';'; save it with commas or tabs"),
        ("a.tsv", "query;passage", r"a\.tsv:1: .* by ';'; save it with commas or tabs"),
    ],
)
def test_other_separators(tmp_path, name, header, message):
    path = write(tmp_path / name, f"{header}\n{header}\n")
    with pytest.raises(ValueError, match=message):
        read(path, "en", format=name[2:])
    if "format" in message:  # what it says is true
        assert len(read(path, "en", format="tsv" if name == "a.csv" else "csv")) == 1


def test_names_of_a_header_have_no_space_around_them(tmp_path):
    (item,) = read(write(tmp_path / "a.csv", "query, passage \na,b\n"), "en", format="csv")
    assert item[2:4] == ("a", "b")


def test_quoted_cells_of_tab_separated_files(tmp_path, caplog):
    path = write(tmp_path / "a.tsv", 'query\tpassage\n"a ""x"""\t"b"\n')
    (item,) = read(path, "en", format="tsv")
    assert item[2:4] == ('"a ""x"""', '"b"')
    assert "1 cells that look quoted as in CSV, taken as they stand" in caplog.text
