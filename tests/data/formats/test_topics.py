"""Topics in lines and in SGML: real files are read whole, bad lines are named."""

import pytest

from hybrid_fast.data.formats.topics import read_topics


def test_topics_in_lines(tmp_path):
    path = tmp_path / "topics.tsv"
    path.write_text("1\tfirst query\n\n10020#0\tsecond\twith a tab \n")
    assert read_topics(path) == {"1": "first query", "10020#0": "second\twith a tab"}


@pytest.mark.parametrize(
    "content",
    [
        "<top>\n<num> Number: 301\n<title> Topic: Crime &amp; law\n<desc> x\n</top>\n",
        "<?xml version='1.0'?>\n<topics>\n<top lang='en'>\n<num>301</num>\n"
        "<EN-title>Crime &amp; law</EN-title>\n</top>\n</topics>\n",
        "<top> <num>301</num> <title>Crime &amp; law</title> </top>\n",
    ],
)
def test_topics_in_sgml(tmp_path, content):
    path = tmp_path / "topics"
    path.write_text(content)
    assert read_topics(path) == {"301": "Crime & law"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 no tab\n", "topics:1: has no tab"),
        ("1\ta\n1\tb\n", "topics:2: query '1' occurs a second time"),
        ("1\t \n", "topics:1: the text of query '1' is empty"),
        ("\ta\n", "topics:1: field 'id' is empty"),
        ("", "topics: the file is empty"),
        ("<topics>\n</topics>\n", "topics: has no topic"),
    ],
)
def test_bad_topics(tmp_path, content, message):
    path = tmp_path / "topics"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_topics(path, strict=True)


def test_real_topics(shared_data):
    """Counts as SOURCES.md of the data has them."""
    folder = shared_data / "trec"
    assert len(read_topics(folder / "topics.miracl-v1.0-yo-dev.tsv")) == 119
    assert len(read_topics(folder / "topics.mrtydi-v1.1-te.train.txt.gz")) == 3880


def test_queries_without_a_text_are_left_out(tmp_path, caplog):
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "1", "text": " "}\n{"_id": 2, "text": "b"}\n')
    assert read_topics(path) == {"2": "b"}
    assert "1 queries without a text, left out (the first at 1: " in caplog.text
    with pytest.raises(ValueError, match=r"jsonl:1: the text of query '1' is empty: strict=True"):
        read_topics(path, strict=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.jsonl", '{"_id": " 1 ", "text": "a", "metadata": {}}\n'),
        ("q.json", '[{"query_id": 1, "query": "a"}]'),
        ("q.json", '{"data": [{"qid": "1", "text": "a"}]}'),
        ("q.tsv", "1\ta\n"),
    ],
)
def test_topics_of_other_forms(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_topics(tmp_path / name) == {"1": "a"}


def test_queries_whose_text_is_null_have_none(tmp_path, caplog):
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "1", "text": null}\n{"_id": "2", "text": "b"}\n')
    assert read_topics(path) == {"2": "b"}
    assert "1 queries without a text, left out" in caplog.text
    with pytest.raises(ValueError, match=r"jsonl:1: the text of query '1' is empty: strict=True"):
        read_topics(path, strict=True)
    path.write_text('{"_id": "1", "body": "a"}\n')
    with pytest.raises(ValueError, match=r"jsonl:1: has no field 'text' or 'query'"):
        read_topics(path)


def test_empty_lines_are_counted(tmp_path, caplog):
    path = tmp_path / "topics.tsv"
    path.write_text("1\ta\n\n \n2\tb\n")
    assert read_topics(path) == {"1": "a", "2": "b"}
    assert "2 empty lines, left out (the first at 2)" in caplog.text
    with pytest.raises(ValueError, match=r"tsv:2: strict=True does not allow empty lines"):
        read_topics(path, strict=True)
