"""Tabular files: equal rows from every format; bad input is named by file, line and field."""

import gzip
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_fast.data.formats import records
from hybrid_fast.data.formats.files import find_files
from hybrid_fast.data.formats.tabular import read_hub, read_tabular

ROWS = [
    {"group_id": "g1", "lang": "en", "query": 'say "hi"', "passage": "a, b"},
    {"group_id": "g2", "lang": "de", "query": "ä ö", "passage": "ü 'ß'"},
]


def write(path, text):
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def as_jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(path, lang=None, root=None, **options):
    options.setdefault("format", "jsonl")
    return list(read_tabular(find_files(path, root, lang), **options))


def write_rows(folder, format):
    path = folder / f"rows.{format}"
    names = list(ROWS[0])
    if format == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    if format.startswith("jsonl"):
        return write(path, as_jsonl(ROWS))
    if format.startswith("tsv"):
        return write(path, "\r\n".join("\t".join(row) for row in [names, *map(dict.values, ROWS)]))
    return write(path, ",".join(names) + '\ng1,en,"say ""hi""","a, b"\ng2,de,ä ö,ü \'ß\'\n')


@pytest.mark.parametrize(
    "format", ["jsonl", "jsonl.gz", "csv", "csv.gz", "tsv", "tsv.gz", "parquet"]
)
def test_every_format_gives_the_same_items(tmp_path, format):
    items = read(write_rows(tmp_path, format), format=format.removesuffix(".gz"))
    assert [{name: getattr(item, name) for name in ROWS[0]} for item in items] == ROWS


def test_csv_field_of_two_lines(tmp_path):
    path = write(tmp_path / "a.csv", 'query,lang\n"one\ntwo",en\nthree,en\n')
    assert [item.query for item in read(path, format="csv")] == ["one\ntwo", "three"]
    write(path, 'query,lang\n"one\ntwo",en\nthree\n')
    with pytest.raises(ValueError, match=r"a\.csv:4: has 1 fields, the first line has 2"):
        read(path, format="csv")
    write(path, 'query,lang\n"one,en\n')
    with pytest.raises(ValueError, match=r"a\.csv:2: malformed CSV"):
        read(path, format="csv")


def test_nested_columns_and_all_kinds_of_values(tmp_path):
    record = {
        "key": 12,
        "q": {"text": "query"},
        "answers": {"text": ["first", "second"]},
        "hard": ["n1", "n2"],
        "doc": 5,
        "title": "",
        "a.b": "de",
        "kinds": ["mono"],
        "alone": False,
    }
    path = write(tmp_path / "a.jsonl", as_jsonl([record]) + "\n  \n")
    (item,) = read(
        path,
        columns={
            "group_id": "key",
            "lang": "a.b",
            "query": "q.text",
            "passage": "answers.text.1",
            "passage_id": "doc",
            "title": "title",
            "negatives": "hard",
            "kinds": "kinds",
            "in_batch": "alone",
        },
    )
    assert item == (
        "12", "de", "query", "second", "5", None, ["n1", "n2"], None, ["mono"], False, None, None
    )  # fmt: skip


def test_optional_columns_of_our_names_may_be_absent_in_some_rows(tmp_path):
    rows = [{"lang": "en", "query": "q"}, {"lang": "en", "passage": "p", "negatives": ["n"]}]
    first, second = read(write(tmp_path / "a.jsonl", as_jsonl(rows)))
    assert (first.query, first.passage, first.negatives) == ("q", None, None)
    assert (second.query, second.passage, second.negatives) == (None, "p", ["n"])
    assert first.group_id != second.group_id


def test_line_aligned_files_without_header(tmp_path):
    write(tmp_path / "dev.en.tsv", "p1\tq1\tl\np2\tq2\tl\n")
    write(tmp_path / "dev.de.tsv", "P1\tQ1\tl\nP2\tQ2\tl\n")
    columns = {"group_id": "@line", "query": 1, "passage": 0}
    items = read("dev.{lang}.tsv", root=tmp_path, format="tsv", columns=columns)
    assert [(item.lang, item.query, item.passage) for item in items] == [
        ("de", "Q1", "P1"),
        ("de", "Q2", "P2"),
        ("en", "q1", "p1"),
        ("en", "q2", "p2"),
    ]
    assert items[0].group_id == items[2].group_id != items[1].group_id == items[3].group_id
    rows = read(
        "dev.{lang}.tsv", root=tmp_path, format="tsv", columns=columns | {"group_id": "@row"}
    )
    assert len({item.group_id for item in rows}) == 4
    write(tmp_path / "dev.de.tsv", "P1\tQ1\tl\n")
    with pytest.raises(ValueError, match=r"not aligned; their numbers of rows differ.*de.tsv': 1"):
        read("dev.{lang}.tsv", root=tmp_path, format="tsv", columns=columns)


def test_group_pattern(tmp_path):
    path = write(tmp_path / "a.jsonl", as_jsonl([{"id": "-12_zh_cn", "question": "q"}]))
    columns = {"group_id": "id", "query": "question"}
    (item,) = read(path, "zh_cn", columns=columns, group_pattern=r"^(-?\d+)_")
    assert item[:3] == ("-12", "zh", "q")
    with pytest.raises(ValueError, match=r"a\.jsonl:1: field 'id': '-12_zh_cn' does not match"):
        read(path, "zh", columns=columns, group_pattern=r"^(\d+)_")
    with pytest.raises(ValueError, match="is not a regular expression"):
        read(path, "zh", columns=columns, group_pattern="(")
    with pytest.raises(ValueError, match="needs the id in parentheses"):
        read(path, "zh", columns=columns, group_pattern=r"\d+")


def test_empty_texts_are_left_out_on_request(tmp_path, caplog):
    rows = [{"query": "q", "passage": " "}, {"query": "q", "passage": "p"}]
    path = write(tmp_path / "a.jsonl", as_jsonl(rows))
    with pytest.raises(ValueError, match=r"a\.jsonl:1: field 'passage' is empty; on_empty='skip'"):
        read(path, "en")
    (item,) = read(path, "en", on_empty="skip")
    assert item.passage == "p"
    assert "a.jsonl: left out 1 rows with an empty text" in caplog.text


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('{"query": "q"}\n{"query"\n', {}, r"a\.jsonl:2: malformed JSON"),
        ('{"query": "q"}\n[1]\n', {}, r"a\.jsonl:2: must be a JSON object, got '\[1\]'"),
        ('{"query": "q"}\n\n{"query": 3}\n', {}, r"a\.jsonl:3: field 'query' must be text, got 3"),
        ('{"query": true}\n', {}, r"a\.jsonl:1: field 'query' must be text, got True \(bool\)"),
        ('{"question": "q"}\n', {}, r"missing column 'query' or 'passage'.*\['question'\]"),
        (
            '{"q": "a"}\n{"Q": "b"}\n',
            {"columns": {"query": "q"}},
            r"a\.jsonl:2: field 'q' is missing",
        ),
        ('{"q": {}}\n', {"columns": {"query": "q.text"}}, r"field 'q\.text' is missing"),
        (
            '{"q": "a"}\n',
            {"columns": {"qury": "q"}},
            "'qury' is not one of ours, .*did you mean 'query'",
        ),
        ('{"q": "a"}\n', {"columns": {"query": 0}}, "fields have names here, 0 is a position"),
        ('{"q": "a"}\n', {"columns": {"query": "q", "title": 1}}, "all names or all positions"),
        ('{"query": "a", "negatives": 3}\n', {}, "field 'negatives' must be text, got 3"),
        ('{"query": "a", "negatives": ["n", ""]}\n', {}, "field 'negatives' is empty"),
        ('{"query": "a", "passage_id": 1.5}\n', {}, "field 'passage_id' must be text, got 1.5"),
        ('{"query": null}\n', {}, r"a\.jsonl:1: has neither a query nor a passage"),
        ('{"query": "a", "group_id": null}\n', {}, "field 'group_id' must be text, got None"),
        (
            '{"query": "a"}\n',
            {"on_empty": "ignore"},
            "is 'ignore'; it must be one of 'error', 'skip'",
        ),
    ],
)
def test_bad_records(tmp_path, content, options, message):
    path = write(tmp_path / "a.jsonl", content)
    with pytest.raises(ValueError, match=message):
        read(path, "en", **options)


def test_language_must_be_known(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"query": "a"}\n')
    with pytest.raises(ValueError, match="the language is unknown; give lang='en'"):
        read(path)
    write(path, '{"query": "a", "lang": "en"}\n{"query": "a", "lang": "english"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: field 'lang': unknown language.*mean 'en'"):
        read(path)
    write(path, '{"query": "a", "lang": null}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:1: field 'lang' is missing or null"):
        read(path)


def test_several_files_need_a_group(tmp_path):
    for lang in ("en", "de"):
        write(tmp_path / f"{lang}.jsonl", '{"query": "a"}\n')
    with pytest.raises(ValueError, match=r"needs a group id: .*'@line'.*'@row'"):
        read("{lang}.jsonl", root=tmp_path)


def test_positions_and_widths(tmp_path):
    path = write(tmp_path / "a.tsv", "q\tp\nq\n")
    columns = {"query": 0, "passage": 1}
    with pytest.raises(ValueError, match=r"a\.tsv:2: has 1 fields, the first line has 2"):
        read(path, "en", format="tsv", columns=columns)
    write(path, "q\tp\n")
    with pytest.raises(ValueError, match=r"a\.tsv:1: has no field 2, only 0 to 1"):
        read(path, "en", format="tsv", columns={"query": 2})
    with pytest.raises(TypeError, match=r"columns\['query'\] must be a name or a position"):
        read(path, "en", format="tsv", columns={"query": 1.5})
    write(path, "query\tquery\nq\tp\n")
    with pytest.raises(ValueError, match="the header names a column twice"):
        read(path, "en", format="tsv")


def test_damaged_parquet(tmp_path):
    path = write(tmp_path / "a.parquet", "no parquet at all")
    with pytest.raises(ValueError, match=r"a\.parquet: damaged Parquet file"):
        read(path, "en", format="parquet")


def test_hub_data_set_is_read_by_datasets(monkeypatch):
    calls = []

    def load_dataset(name, config, *, split):
        calls.append((name, config, split))
        return datasets.Dataset.from_list([{"q": "a", "a": {"text": ["x"]}}, {"q": " ", "a": None}])

    monkeypatch.setattr(records, "load_dataset", load_dataset)
    columns = {"query": "q", "passage": "a.text.0"}
    options = {"columns": columns, "config": "c", "split": "dev", "on_empty": "skip"}
    (item,) = read_hub("owner/name", "en", **options)
    assert item[1:4] == ("en", "a", "x")
    assert calls == [("owner/name", "c", "dev")]
    with pytest.raises(ValueError, match="owner/name:2: field 'q' is empty"):
        list(read_hub("owner/name", "en", columns=columns))
    with pytest.raises(ValueError, match="has named columns"):
        list(read_hub("owner/name", "en", columns={"query": 0}))


def test_hub_out_of_reach_names_local_alternatives(monkeypatch):
    def load_dataset(name, config, *, split):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(records, "load_dataset", load_dataset)
    with pytest.raises(FileNotFoundError, match=r"'owner/name' .*no route.*local file \(\.jsonl"):
        list(read_hub("owner/name", "en"))


def test_shards_keep_rows_apart(tmp_path):
    for n in (1, 2):
        write(tmp_path / f"part-{n}.jsonl", '{"query": "q", "passage": "p"}\n')
    items = read("part-*.jsonl", "en", tmp_path)
    assert len({item.group_id for item in items}) == 2
    for lang in ("de", "en"):
        for n in (1, 2):
            write(tmp_path / f"{n}.{lang}.tsv", f"{lang} {n}\tp\n" * n)
    columns = {"group_id": "@line", "query": 0, "passage": 1}
    items = read("*.{lang}.tsv", root=tmp_path, format="tsv", columns=columns)
    groups = {}
    for item in items:
        groups.setdefault(item.group_id, []).append(item.query)
    assert sorted(groups.values()) == [["de 1", "en 1"], ["de 2", "en 2"], ["de 2", "en 2"]]


def test_records_that_begin_on_one_line_are_rows_of_their_own(tmp_path):
    rows = [{"query": text, "lang": "en"} for text in "abc"]
    for name, content in {"array": rows, "data": {"data": rows}}.items():
        path = write(tmp_path / f"{name}.json", json.dumps(content))
        items = read(path, format="json")
        assert [item.query for item in items] == ["a", "b", "c"]
        assert len({item.group_id for item in items}) == 3


def test_group_ids_that_the_first_row_lacks(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"query": "a"}\n{"query": "b", "group_id": "g"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: has a group_id, which the first row lacks"):
        read(path, "en")
    write(path, '{"query": "b", "group_id": "g"}\n{"query": "a"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2: field 'group_id' is missing"):
        read(path, "en")


def test_a_data_set_that_cannot_be_read(tmp_path):
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "train.jsonl", '{"query": "a"}\n{"query"')
    with pytest.raises(ValueError, match=r"data set '.*set' cannot be read: "):
        list(read_hub(str(tmp_path / "set"), "en"))
    write(tmp_path / "set" / "train.jsonl", '{"query": "a"}\n')
    with pytest.raises(ValueError, match=r"data set '.*set' cannot be read: Unknown split"):
        list(read_hub(str(tmp_path / "set"), "en", split="nowhere"))
