"""Runs and judgements in TREC's forms: real files are read whole, bad lines are named."""

import gzip

import pytest

from hybrid_fast.data.formats.trec import read_qrels, read_run, read_topics


def test_fields_are_parted_by_any_white_space(tmp_path):
    path = tmp_path / "run.gz"
    path.write_bytes(gzip.compress("1 Q0 d#1 1 2.5 tag\r\n\n1\tQ0\tdé\t9  -1e3 tag\n".encode()))
    assert read_run(path) == {"1": {"d#1": 2.5, "dé": -1000.0}}


def test_grades_may_be_negative(tmp_path):
    path = tmp_path / "qrels"
    path.write_text("q 0 a 2\nq 0 b -1\np 0 a 0\n")
    assert read_qrels(path) == {"q": {"a": 2, "b": -1}, "p": {"a": 0}}


def test_real_judgements(shared_data):
    qrels = read_qrels(shared_data / "trec" / "qrels.miracl-v1.0-sw-dev.tsv")
    assert len(qrels) == 482
    assert qrels["6"]["32589#0"] == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 d 1 0.5", r"run:2: has 5 fields; a line is 'query Q0 document rank score tag'"),
        ("q Q0 d 1 high t", "run:2: the score is 'high', which is no number"),
        ("q Q0 d 1 nan t", "run:2: the score is 'nan', which is no number"),
        ("q Q0 c 1 0.5 t", "run:2: query 'q' has document 'c' a second time"),
    ],
)
def test_bad_run(tmp_path, line, message):
    path = tmp_path / "run"
    path.write_text(f"q Q0 c 1 0.5 t\n{line}\n")
    with pytest.raises(ValueError, match=message):
        read_run(path)


def test_bad_qrels(tmp_path):
    path = tmp_path / "qrels"
    path.write_text("q 0 c 0.5\n")
    with pytest.raises(ValueError, match=r"qrels:1: the grade is '0\.5', which is no whole number"):
        read_qrels(path)
    path.write_text("\n\n")
    with pytest.raises(ValueError, match="qrels: has no line of the form 'query 0 document grade'"):
        read_qrels(path)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere"):
        read_qrels(tmp_path / "nowhere")


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
        ("1\t \n", "topics:1: field 'text' is empty"),
        ("\ta\n", "topics:1: field 'id' is empty"),
        ("", "topics: the file is empty"),
        ("<topics>\n</topics>\n", "topics: has no topic"),
    ],
)
def test_bad_topics(tmp_path, content, message):
    path = tmp_path / "topics"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_topics(path)


def test_real_topics(shared_data):
    """Counts as SOURCES.md of the data has them."""
    folder = shared_data / "trec"
    assert len(read_topics(folder / "topics.miracl-v1.0-yo-dev.tsv")) == 119
    assert len(read_topics(folder / "topics.mrtydi-v1.1-te.train.txt.gz")) == 3880
