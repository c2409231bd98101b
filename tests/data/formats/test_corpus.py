"""Corpora as streams: equal texts from every format, languages, ids, and what is let pass."""

import gzip
import itertools
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hybrid_fast.data.formats import corpus as corpus_module
from hybrid_fast.data.formats.corpus import open_corpus

ROWS = [
    {"_id": "7#0", "title": "Köln", "text": 'Am "Rhein", 1', "lang": "deu_Latn"},
    {"_id": "8", "title": "", "text": "two\u2028lines", "lang": "en"},
    {"_id": "9", "title": "T", "text": "", "lang": "zh_cn"},
]
TEXTS = [
    ("7#0", "de", 'Köln Am "Rhein", 1'),
    ("8", "en", "two\u2028lines"),
    ("9", "zh", "T"),
]


def as_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_rows(path, rows):
    """Write rows in the format that the name tells."""
    kind = path.name.removesuffix(".gz").rsplit(".")[-1]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
        return path
    quoted = [[f'"{str(v).replace(chr(34), 2 * chr(34))}"' for v in row.values()] for row in rows]
    content = {
        "jsonl": as_lines(rows),
        "json": json.dumps(rows),
        "csv": "\n".join([",".join(rows[0]), *map(",".join, quoted)]) + "\n",
        "tsv": "\n".join("\t".join(each) for each in [rows[0], *(r.values() for r in rows)]),
    }[kind].encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["jsonl", "jsonl.gz", "json", "parquet", "csv", "csv.gz", "tsv"])
def test_every_format_gives_the_same_texts_again_and_again(tmp_path, name):
    path = write_rows(tmp_path / f"wiki.{name}", ROWS)
    corpus = open_corpus(path)
    assert list(corpus) == TEXTS
    assert list(corpus) == TEXTS
    assert corpus.name.endswith("/wiki")
    assert next(iter(open_corpus([path], candidate_text="text"))).text == 'Am "Rhein", 1'


def test_passages_of_dpr_and_of_ms_marco(tmp_path):
    (tmp_path / "dpr.tsv").write_text('id\ttext\ttitle\n1\t"A ""b"""\tT\n2\tc\t\n')
    (tmp_path / "collection.tsv").write_text("0\tone\n1\ttwo\n")
    read = [list(open_corpus(tmp_path / each, lang="en")) for each in ("dpr.tsv", "collection.tsv")]
    assert read[0] == [("1", "en", 'T A "b"'), ("2", "en", "c")]
    assert read[1] == [("0", "en", "one"), ("1", "en", "two")]


def test_documents_of_trec(tmp_path):
    document = "<DOC>\n<DOCNO> LA1 </DOCNO>\n<HEADLINE>A</HEADLINE>\n<TEXT>One.</TEXT>\n</DOC>\n"
    (tmp_path / "la.sgml").write_text(document)
    assert list(open_corpus(tmp_path / "la.sgml", lang="en")) == [("LA1", "en", "A One.")]


def test_sentences_a_line_get_ids_of_file_and_line_without_a_warning(tmp_path, caplog):
    for lang, sentences in (("de", "eins\n\nzwei\n"), ("sw", "moja\n")):
        (tmp_path / f"news.{lang}.txt").write_text(sentences)
    texts = list(open_corpus(str(tmp_path / "news.{lang}.txt")))
    assert [text[1:] for text in texts] == [("de", "eins"), ("de", "zwei"), ("sw", "moja")]
    assert [text.id.split("/")[1] for text in texts] == ["news:de:1", "news:de:3", "news:sw:1"]
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        f"1 empty lines, left out (the first at {tmp_path}/news.de.txt:2)"
    ]


def test_records_without_ids_are_numbered_and_it_is_said(tmp_path, caplog):
    (tmp_path / "a.csv").write_text("sentence,lang\none,en\ntwo,en\n")
    assert [text.id.split("/")[1] for text in open_corpus(tmp_path / "a.csv")] == ["a:2", "a:3"]
    assert len(caplog.messages) == 1
    assert "a.csv:2: has no field 'docid' or '_id'" in caplog.messages[0]
    caplog.clear()
    list(open_corpus(tmp_path / "a.csv", columns={"id": None}))
    assert not caplog.messages


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": 1, "text": "x"}, {"text": "y"}], r"a\.jsonl:2: has no field 'docid' or"),
        ([{"id": 1, "text": "x"}, {"id": None, "text": "y"}], r"a\.jsonl:2: field 'id', .* null"),
        ([{"text": "y"}, {"id": 1, "text": "x"}], r"a\.jsonl:2: has an id in 'id', but the first"),
        ([{"id": " ", "text": "x"}], r"a\.jsonl:1: the id is empty"),
        ([{"id": [1], "text": "x"}], r"a\.jsonl:1, field 'id': must be text"),
        (
            [{"id": 1, "txt": "x"}],
            r"a\.jsonl:1: has no field 'text' .*the fields are \['id', 'txt'\]; .*columns={'text'",
        ),
        ([{"id": 1, "text": {"en": "x"}}], r"a\.jsonl:1, field 'text': must be text"),
        ([{"id": 1, "text": "x", "lang": "xqq"}], r"a\.jsonl:1: unknown language 'xqq'"),
        ([{"id": 1, "text": "x", "lang": ["en"]}], r"a\.jsonl:1, field 'lang': must be text"),
        (["x"], r"a\.jsonl:1: must be a JSON object"),
        ([{"id": 1, "text": "\ud83d"}], r"a\.jsonl:1: a text holds half of a surrogate pair"),
    ],
)
def test_bad_records(tmp_path, rows, message):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=message):
        list(open_corpus(tmp_path / "a.jsonl", lang="en"))


def test_a_damaged_line_and_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(as_lines(ROWS) + '{"_id": "10", "te')
    with pytest.raises(ValueError, match=r"a\.jsonl:4: malformed JSON"):
        list(open_corpus(path))
    path.write_bytes(as_lines(ROWS).encode() + b'{"_id": "1", "text": "\xff", "lang": "en"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:4: not UTF-8"):
        list(open_corpus(path))


def test_a_compressed_file_that_is_cut(tmp_path):
    """Asking for the number of rows, which `list` does, leaves the error to reading."""
    path = write_rows(tmp_path / "a.jsonl.gz", ROWS)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"a\.jsonl\.gz: damaged gzip file after line 3"):
        list(open_corpus(path))


def test_language_of_the_record_then_of_the_path_then_of_the_option(tmp_path):
    rows = [{"id": "1", "text": "x", "language": "fr"}, {"id": "2", "text": "y", "language": None}]
    (tmp_path / "c.sw.jsonl").write_text(as_lines(rows))
    by_path = open_corpus(str(tmp_path / "c.{lang}.jsonl"))
    assert [text.language for text in by_path] == ["fr", "sw"]
    by_option = open_corpus(tmp_path / "c.sw.jsonl", lang="yor")
    assert [text.language for text in by_option] == ["fr", "yo"]
    alone = open_corpus(tmp_path / "c.sw.jsonl", lang="yo", columns={"language": None})
    assert [text.language for text in alone] == ["yo", "yo"]
    with pytest.raises(ValueError, match=r"c\.sw\.jsonl:2: the language is unknown; give lang="):
        list(open_corpus(tmp_path / "c.sw.jsonl"))
    with pytest.raises(ValueError, match=r"the path .* gives the language; leave out lang="):
        open_corpus(str(tmp_path / "c.{lang}.jsonl"), lang="sw")
    with pytest.raises(ValueError, match="unknown language 'english'"):
        open_corpus(tmp_path / "c.sw.jsonl", lang="english")


def test_codes_that_become_one_language(tmp_path, caplog):
    rows = [{"id": n, "text": "x", "lang": f"zho_{n}"} for n in ("Hans", "Hant")]
    (tmp_path / "a.jsonl").write_text(as_lines(rows))
    assert {text.language for text in open_corpus(tmp_path / "a.jsonl")} == {"zh"}
    assert "different codes became one language: 'zho_Hans' (1 rows)" in caplog.messages[0]
    caplog.clear()
    kept = open_corpus(tmp_path / "a.jsonl", keep_variants=True)
    assert [text.language for text in kept] == ["zh-Hans", "zh-Hant"]
    assert not caplog.messages


def test_an_id_that_occurs_twice_is_an_error_with_both_places(tmp_path):
    for name, ids in (("a", range(5)), ("b", [7, 3])):
        rows = [{"id": n, "text": f"t{n}", "lang": "en"} for n in ids]
        (tmp_path / f"{name}.jsonl").write_text(as_lines(rows))
    with pytest.raises(ValueError, match=r"b\.jsonl:2: id '3' is also that of .*a\.jsonl:4; ids m"):
        list(open_corpus(str(tmp_path / "*.jsonl")))
    unchecked = open_corpus(str(tmp_path / "*.jsonl"), check_ids=False)
    assert [text.id for text in unchecked] == [*"01234", "7", "3"]


def test_ids_that_each_language_counts_anew(tmp_path):
    for lang in ("de", "en"):
        (tmp_path / f"w.{lang}.jsonl").write_text(as_lines([{"id": 0, "text": lang}]))
    pattern = str(tmp_path / "w.{lang}.jsonl")
    with pytest.raises(ValueError, match=r"language_in_ids=True makes ids such as 'en:0'"):
        list(open_corpus(pattern))
    assert [text.id for text in open_corpus(pattern, language_in_ids=True)] == ["de:0", "en:0"]
    assert [text.language for text in open_corpus(pattern, languages=["en"])] == ["en"]


@pytest.mark.parametrize("first", [0, 511, 512, 1023, 1024, 3583, 3584, 3999])
def test_equal_ids_anywhere_in_the_blocks_that_are_checked_together(tmp_path, first):
    ids = [*map(str, range(4000)), str(first)]
    (tmp_path / "a.tsv").write_text("".join(f"{each}\tx\n" for each in ids))
    with pytest.raises(ValueError, match=rf"a\.tsv:4001: id '{first}' .*a\.tsv:{first + 1};"):
        list(open_corpus(tmp_path / "a.tsv", lang="en"))


def test_ids_whose_digests_are_equal_by_chance_may_differ(tmp_path, monkeypatch):
    class AllAlike:
        def add(self, ids):
            return list(range(len(ids)))

    (tmp_path / "a.tsv").write_text("".join(f"{n}\tx\n" for n in range(30)))
    monkeypatch.setattr(corpus_module, "SeenIds", AllAlike)
    assert len(list(open_corpus(tmp_path / "a.tsv", lang="en"))) == 30


def test_passages_without_text_are_left_out_with_one_warning(tmp_path, caplog):
    blank = [{"id": n, "title": "", "text": " "} for n in range(3)]
    for name in "ab":
        rows = [{**row, "id": f"{name}{row['id']}"} for row in blank]
        (tmp_path / f"{name}.jsonl").write_text(as_lines([*rows, {"id": name, "text": "x"}]))
    corpus = open_corpus(str(tmp_path / "*.jsonl"), lang="en")
    assert [text.id for text in corpus] == ["a", "b"]
    assert len(caplog.messages) == 1
    assert "6 passages without title and text, left out (the first at" in caplog.messages[0]
    assert "a.jsonl:1: passage 'a0' has no text)" in caplog.messages[0]
    with pytest.raises(ValueError, match=r"a\.jsonl:1: passage 'a0' has no text: strict=True"):
        list(open_corpus(str(tmp_path / "*.jsonl"), lang="en", strict=True))


def test_columns_by_name_path_and_position(tmp_path):
    rows = [{"key": 5, "meta": {"head": "T"}, "body": {"en": "x"}, "tongue": "en"}]
    (tmp_path / "a.jsonl").write_text(as_lines(rows))
    columns = {"id": "key", "title": "meta.head", "text": "body.en", "language": "tongue"}
    assert list(open_corpus(tmp_path / "a.jsonl", columns=columns)) == [("5", "en", "T x")]
    (tmp_path / "a.csv").write_text("x,17\ny,18\n")
    by_position = open_corpus(tmp_path / "a.csv", lang="fi", columns={"text": 0, "id": 1})
    assert list(by_position) == [("17", "fi", "x"), ("18", "fi", "y")]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"columns": {"passage": "x"}}, ValueError, "'passage' is none of id, title, text, lang"),
        ({"columns": {"text": 0, "id": "x"}}, ValueError, "all names or all positions"),
        ({"columns": {"text": None}}, TypeError, r"columns\['text'\] must be a name or a position"),
        ({"columns": {"id": ["x"]}}, TypeError, "a position, or None for no such field"),
        ({"columns": {"text": 0}}, ValueError, "fields have names here"),
        ({"columns": {"title": "head"}}, ValueError, "field 'head' is missing; the row has"),
        ({"format": "jsn"}, ValueError, "format is 'jsn'.* did you mean 'json'"),
        ({"candidate_text": "titel"}, ValueError, "candidate_text is 'titel'"),
        ({"split": "train"}, ValueError, "config= and split= are for data sets"),
        ({"languages": ["en"]}, ValueError, "languages= needs {lang} in the path"),
        ({"languages": "en"}, ValueError, "languages must be a list of codes, got 'en'"),
    ],
)
def test_bad_options(tmp_path, options, error, message):
    (tmp_path / "a.jsonl").write_text(as_lines([{"id": 1, "text": "x"}]))
    with pytest.raises(error, match=message):
        list(open_corpus(tmp_path / "a.jsonl", lang="en", **options))


def test_a_title_that_some_records_lack_is_counted_where_it_was_named(tmp_path, caplog):
    rows = [{"id": 1, "head": "T", "text": "x"}, {"id": 2, "text": "y"}, {"id": 3, "text": "z"}]
    (tmp_path / "a.jsonl").write_text(as_lines(rows))
    corpus = open_corpus(tmp_path / "a.jsonl", lang="en", columns={"title": "head"})
    assert [text.text for text in corpus] == ["T x", "y", "z"]
    assert "2 records without the field 'head', read as without title" in caplog.messages[0]


def test_files_that_are_not_there_or_tell_no_format(tmp_path):
    (tmp_path / "a.doc").write_text("x")
    with pytest.raises(ValueError, match=r"cannot tell the format of .*a\.doc .*'jsonl'"):
        open_corpus(tmp_path / "a.doc")
    for missing in (tmp_path / "b.jsonl", str(tmp_path / "*.parquet"), [tmp_path / "c.csv"]):
        with pytest.raises(FileNotFoundError, match=r"no such file|no file matches"):
            open_corpus(missing)
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(FileNotFoundError, match=r"pipe.jsonl can be read only once; write what it"):
        list(open_corpus(tmp_path / "pipe.jsonl", lang="en"))
    with pytest.raises(ValueError, match="the list of paths is empty"):
        open_corpus([])
    for given in (None, 5, [{"id": 1, "text": "x"}]):
        with pytest.raises(TypeError, match="a corpus is a path, a list of paths or a hub name"):
            open_corpus(given)


def test_records_of_one_line_have_ids_of_their_own(tmp_path, caplog):
    (tmp_path / "a.json").write_text('[{"text": "x"}, {"text": "y"},\n{"text": "z"}]')
    texts = open_corpus(tmp_path / "a.json", lang="en")
    assert [text.id.split("/")[1] for text in texts] == ["a:1", "a:1.2", "a:2"]
    (tmp_path / "b.json").write_text('[{"id": 1, "text": "x"}, {"id": 1, "text": "y"}]')
    with pytest.raises(ValueError, match=r"b\.json:1: id '1' is also that of .*b\.json:1;"):
        list(open_corpus(tmp_path / "b.json", lang="en"))


def test_a_file_is_read_as_it_is_iterated_over(tmp_path):
    """The damage lies beyond what the first texts need, and is met only there."""
    rows = "".join(f'{{"id": {n}, "text": "t{n}"}}\n' for n in range(5000))
    (tmp_path / "a.jsonl").write_text(rows + "{")
    texts = iter(open_corpus(tmp_path / "a.jsonl", lang="en"))
    assert [text.id for text in itertools.islice(texts, 3)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match=r"a\.jsonl:5001: malformed JSON"):
        list(texts)


def test_long_texts_are_held_a_few_at_a_time(monkeypatch):
    """Blocks end at 512 texts, or by their length."""
    monkeypatch.setattr(corpus_module, "_CHARACTERS", 10)
    rows = [("", corpus_module.CorpusText(str(n), "en", "x" * n)) for n in (4, 5, 6, 30, 1)]
    blocks = corpus_module._together(iter(rows))
    assert [[len(text.text) for _, text in block] for block in blocks] == [[4, 5, 6], [30], [1]]
    many = [("", corpus_module.CorpusText("", "en", ""))] * 1025
    assert [len(block) for block in corpus_module._together(iter(many))] == [512, 512, 1]
