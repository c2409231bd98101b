"""The format of a file by the end of its name, of .json by its content; lists and wildcards."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_fast.data import load_table
from hybrid_fast.data.loading import load_tables

ROWS = [{"query": f"q{n}", "passage": f"p{n}"} for n in range(3)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
SQUAD = {
    "data": [
        {
            "title": "t",
            "paragraphs": [
                {"context": "p0", "qas": [{"id": "1", "question": "q0", "answers": []}]}
            ],
        }
    ]
}


def texts(table):
    rows = list(range(len(table)))
    return list(zip(table.queries(rows), table.passages(rows), strict=True))


WANTED = [(row["query"], row["passage"]) for row in ROWS]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("wiki.txt.jsonl", LINES),
        ("a.csv.jsonl", LINES),
        ("A.JSONL", LINES),
        ("lines.json", LINES),
        ("array.json", json.dumps(ROWS)),
        ("indented.json", json.dumps(ROWS, indent=1)),
        ("data.json", json.dumps({"data": ROWS}, indent=1)),
        ("array.jsonl", json.dumps(ROWS)),
        ("rows.json.csv", "query,passage\nq0,p0\nq1,p1\nq2,p2\n"),
        ("rows.Tsv", "query\tpassage\r\nq0\tp0\r\nq1\tp1\r\nq2\tp2\r\n"),
    ],
)
def test_text_formats(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, newline="")
    assert texts(load_table(path, lang="en")) == WANTED


def test_parquet_whatever_else_its_name_says(tmp_path):
    path = tmp_path / "squad.json.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    assert texts(load_table(path, lang="en")) == WANTED


def test_json_with_paragraphs_is_squad(tmp_path):
    (tmp_path / "de.json").write_text(json.dumps(SQUAD))
    assert texts(load_table("{lang}.json", root=tmp_path)) == WANTED[:1]
    with pytest.raises(
        TypeError, match="the squad reader has no option 'columns'; it has"
    ) as caught:
        load_table(tmp_path / "de.json", {"query": "q"}, lang="de")
    assert "did you mean" not in str(caught.value)


def test_flat_squad_by_its_format(tmp_path):
    record = {
        "id": "1",
        "question": "q0",
        "context": "p0",
        "answers": {"text": [], "answer_start": []},
    }
    for content in (json.dumps(record), json.dumps([record]), json.dumps([record], indent=1)):
        (tmp_path / "a.json").write_text(content)
        assert texts(load_table(tmp_path / "a.json", format="squad", lang="en")) == WANTED[:1]


def test_shards(tmp_path):
    for n in (0, 1):
        (tmp_path / f"part-{n}.jsonl").write_text(LINES)
    table = load_table("part-*.jsonl", root=tmp_path, lang="en")
    assert texts(table) == 2 * WANTED
    assert len(set(table.dataset["group_id"])) == 6
    paths = [tmp_path / "part-0.jsonl", str(tmp_path / "part-1.jsonl")]
    assert texts(load_table(paths, lang="en")) == 2 * WANTED
    sources = [{"path": ["part-0.jsonl", "part-1.jsonl"], "lang": "en"}]
    assert texts(load_tables(sources, root=tmp_path)) == 2 * WANTED


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ([], ValueError, "the list of paths is empty"),
        (["a.jsonl", "b.csv"], ValueError, "files of several formats are listed together"),
        (["rows"], ValueError, r"cannot tell the format of .* by its name; give format="),
        ("part-*.jsonl", FileNotFoundError, "no file matches"),
        (["a.jsonl", "none.jsonl"], FileNotFoundError, r"no such file: .*none\.jsonl"),
    ],
)
def test_bad_lists(tmp_path, path, error, message):
    (tmp_path / "a.jsonl").write_text(LINES)
    with pytest.raises(error, match=message):
        load_table(path, root=tmp_path, lang="en")


def test_a_list_is_no_hub_name(tmp_path):
    with pytest.raises(ValueError, match="format='hub' takes one name or folder"):
        load_table(["owner/a", "owner/b"], format="hub", lang="en")


def test_strict(tmp_path):
    (tmp_path / "a.csv").write_text("query,passage\n\nq0,p0\n")
    assert texts(load_table(tmp_path / "a.csv", lang="en")) == WANTED[:1]
    with pytest.raises(ValueError, match=r"a\.csv:2: strict=True does not allow empty lines"):
        load_table(tmp_path / "a.csv", lang="en", strict=True)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Return the folder that `~` and `$DATA` stand for."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path))
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "train.jsonl").write_text(LINES)
    return tmp_path


@pytest.mark.parametrize("start", ["~", "$DATA", "${DATA}"])
def test_home_and_variables_in_paths(home, start):
    plain = load_table(home / "rows" / "train.jsonl", lang="en")
    for path, root in ((f"{start}/rows/train.jsonl", None), ("rows/train.jsonl", start)):
        assert texts(load_table(path, root=root, lang="en")) == WANTED
    assert load_table(f"{start}/rows/train.jsonl", lang="en").sources == plain.sources
    short = load_table(f"{start}/rows/train.jsonl", lang="en", source="s")
    assert load_table([f"{start}/rows/train.jsonl"], lang="en", source="s").sources == short.sources
    for format in (None, "hub"):
        assert texts(load_table(f"{start}/rows", format=format, lang="en")) == WANTED
        assert texts(load_table("rows", root=start, format=format, lang="en")) == WANTED


def test_home_in_documents(home):
    (home / "text.txt").write_text("a\nb\nc\n")
    (home / "documents").write_text("1\n1\n2\n")
    options = {"lang": "en", "pair": "next"}
    for documents in ("~/documents", home / "documents"):
        assert texts(load_table("~/text.txt", documents=documents, **options)) == [("a", "b")]
    table = load_table("text.txt", root="~", documents="documents", **options)
    assert texts(table) == [("a", "b")]


def test_names_of_the_hub_stay_as_they_are(home):
    with pytest.raises(FileNotFoundError, match="'owner/name' is not a data file, and a data set"):
        load_table("owner/name", root="~", lang="en")
    with pytest.raises(FileNotFoundError, match=f"no such file or folder: {home}/nowhere"):
        load_table("~/nowhere", lang="en")


@pytest.mark.parametrize("data", [ROWS, "owner/name", "rows.jsonl"])
def test_the_language_is_checked_first(data):
    with pytest.raises(ValueError, match=r"^lang: unknown language 'enen'"):
        load_table(data, lang="enen")
    with pytest.raises(
        TypeError, match=r"^lang must be a language code such as 'en', got \['en'\]"
    ):
        load_table(data, lang=["en"])
