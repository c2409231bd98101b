"""Passages in JSON Lines, TSV and SGML; BEIR's queries and judgements; windows of a text."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_fast.data.formats.collection import iter_passages
from hybrid_fast.data.formats.sgml import field_texts, iter_elements
from hybrid_fast.data.formats.topics import read_topics
from hybrid_fast.data.formats.trec_runs import read_qrels
from hybrid_fast.data.formats.window import split_windows


def read(path):
    return [passage[:3] for passage in iter_passages([path], strict=True)]


def write(folder, name, content):
    data = content.encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder / name


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_json_lines_by_the_names_of_each_data_set(tmp_path, name):
    records = [
        {"docid": "7#0", "title": "T", "text": "miracl"},
        {"_id": "8", "title": "", "text": "beir", "metadata": {}},
        {"id": 9, "contents": "anserini"},
    ]
    path = write(tmp_path, name, "\n".join(map(json.dumps, records)) + "\n")
    assert read(path) == [("7#0", "T", "miracl"), ("8", "", "beir"), ("9", "", "anserini")]


def test_tab_separated(tmp_path):
    content = 'id\ttext\ttitle\n1\t"A ""quoted"" text"\tT\n2\ta "word"\n'
    path = write(tmp_path, "a.tsv", content)
    assert read(path) == [("1", "T", 'A "quoted" text'), ("2", "", 'a "word"')]


def test_documents_of_trec_and_clef(tmp_path):
    content = """<DOC>
<DOCNO> LA1 </DOCNO>
<HEADLINE>
<P>
A &amp; B
</P>
</HEADLINE>
<TEXT>
<P>One.</P>
3 < 4
</TEXT>
</DOC>

<DOC>
<DOCNO>FR2</DOCNO><TI>Titre</TI>
<DATE>1994</DATE>
<TX>Un.</TX>
<TX>Deux.</TX>
</DOC>
"""
    path = write(tmp_path, "a.sgml.gz", content)
    assert read(path) == [("LA1", "A & B", "One. \n3 < 4"), ("FR2", "Titre", "Un.\nDeux.")]


def test_files_one_after_another(tmp_path):
    paths = [write(tmp_path, f"{n}.tsv", f"{n}\ttext\n") for n in range(2)]
    assert [passage.id for passage in iter_passages(paths)] == ["0", "1"]
    assert next(iter_passages(paths)).where == f"{paths[0]}:1"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "a.jsonl: the file is empty"),
        ("a.jsonl", "{}\n", r"a.jsonl:1: has no field 'docid' or '_id' or 'id'"),
        ("a.jsonl", '{"id": "1"}\n', r"a.jsonl:1: has no field 'text' or 'contents'"),
        ("a.jsonl", '{"id": "1", "text": ["x"]}\n', r"a.jsonl:1, field 'text': must be text"),
        ("a.jsonl", '{"id": " ", "text": "x"}\n', "a.jsonl:1: the id is empty"),
        ("a.jsonl", '{"id": "1", "text": "x"}\n{"id"', "a.jsonl:2: malformed JSON"),
        ("a.tsv", "1\tx\ty\tz\n", "a.tsv:1: has 4 tab-separated fields"),
        ("a.tsv", "1\t \t\n", "a.tsv:1: passage '1' has no text"),
        ("a.trec", "<DOC>\n<DOC>\n</DOC>\n", "a.trec:2: <doc> within that of line 1"),
        ("a.trec", "x\n</DOC>\n", "a.trec:2: </doc> without <doc>"),
        ("a.doc", "1,x\n", r"a.doc: a collection is a file of .jsonl, .tsv"),
    ],
)
def test_bad_collections(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, name, content))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*a\.tsv"):
        read(tmp_path / "a.tsv")


def test_sgml_fields_without_an_end(tmp_path):
    path = write(tmp_path, "a", "<top>\n<num> Number: 301\n<title> Crime\n\n<desc> D:\nx\n</top>\n")
    ((line, element),) = iter_elements(path, "top")
    assert line == 1
    assert field_texts(element, "title") == ["Crime"]
    assert field_texts(element, "num") == ["Number: 301"]
    assert field_texts(element, "narr") == []


def test_beir_files(tmp_path):
    queries = write(tmp_path, "q.jsonl", '{"_id": "1", "text": "a"}\n{"_id": 2, "text": "b"}\n')
    assert read_topics(queries) == {"1": "a", "2": "b"}
    header = "query-id\tcorpus-id\tscore\n"
    assert read_qrels(write(tmp_path, "a.tsv", f"{header}1\td1\t2\n1\td2\t0\n")) == {
        "1": {"d1": 2, "d2": 0}
    }
    for content, message in (
        (header, "a.tsv: has no line of the form"),
        ("1 d1\n", "a.tsv:1: has 2 fields"),
        (f"{header}1\td1\tgood\n", "a.tsv:2: the grade is 'good'"),
        (
            f"{header}1\td1\t2\n1\td1\t1\n",
            "a.tsv:3: query '1' has grades 2 and 1 for document 'd1'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            read_qrels(write(tmp_path, "a.tsv", content))
    with pytest.raises(ValueError, match=r"q.jsonl:3: query '1' occurs a second time"):
        read_topics(write(tmp_path, "q.jsonl", queries.read_text() + '{"_id": "1", "text": "a"}\n'))


@given(st.lists(st.booleans(), max_size=200), st.integers(2, 60))
def test_windows_cover_the_text(is_letter, size):
    """No longer than asked, in order, and nothing but white space is lost; letters all differ."""
    text = "".join(chr(0x4E00 + n) if letter else " " for n, letter in enumerate(is_letter))
    windows = list(split_windows(text, size))
    assert windows == [""] if not text.strip() else all(windows)
    assert all(len(window) <= size for window in windows)
    end = 0
    for window in windows:
        start = text.find(window)
        assert not text[end:start].strip()
        end = max(end, start + len(window))
    assert not text[end:].strip()


def test_windows_overlap_by_half():
    text = " ".join(f"w{n:02}" for n in range(30))  # words of 3 characters and a space
    windows = list(split_windows(text, 40))
    assert windows[0] == text[:39]
    assert windows[1].startswith("w05")
    assert list(split_windows("short", 40)) == ["short"]
    assert list(split_windows("", 40)) == [""]


def test_passages_without_a_text_are_left_out_and_counted(tmp_path, caplog):
    rows = [
        {"_id": "1", "title": "", "text": "", "metadata": {}},
        {"_id": "2", "title": None, "text": None},
        {"_id": " 3 ", "title": "T", "text": ""},
        {"doc_id": 4, "title": None, "body": "b"},
    ]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert [each[:3] for each in iter_passages([path])] == [("3", "T", ""), ("4", "", "b")]
    assert caplog.messages == [
        f"{path}: 2 passages without title and text, left out "
        "(the first at 1: passage '1' has no text)"
    ]
    with pytest.raises(ValueError, match=r"a\.jsonl:1: passage '1' has no text: strict=True"):
        read(path)


def test_empty_lines_of_tab_separated_passages(tmp_path, caplog):
    path = write(tmp_path, "a.tsv", "1\tx\n\n2\ty\n\n")
    assert [each.id for each in iter_passages([path])] == ["1", "2"]
    assert caplog.messages == [f"{path}: 2 empty lines, left out (the first at 2)"]


@pytest.mark.parametrize("name", ["a.json", "a.parquet", "A.JSONL"])
def test_records_of_other_forms(tmp_path, name):
    rows = [{"_id": "1", "title": "T", "text": "x"}, {"_id": "2", "title": "", "text": "y"}]
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)) if "L" in name else json.dumps(rows))
    assert read(path) == [("1", "T", "x"), ("2", "", "y")]
