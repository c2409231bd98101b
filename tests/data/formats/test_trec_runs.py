"""Runs and judgements in TREC's format: real files are read whole, bad lines are named."""

import gzip

import numpy as np
import pytest

from hybrid_fast.data.formats.trec_runs import (
    load_qrels,
    load_run,
    read_qrels,
    read_run,
    write_qrels,
    write_run,
)


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
    path.write_text("q 0 c high\n")
    with pytest.raises(ValueError, match=r"qrels:1: the grade is 'high', which is no number"):
        read_qrels(path)
    path.write_text("\n\n")
    with pytest.raises(ValueError, match="qrels: has no line of the form 'query 0 document grade'"):
        read_qrels(path)
    with pytest.raises(FileNotFoundError, match=r"no such file: .*nowhere"):
        read_qrels(tmp_path / "nowhere")


def test_what_is_written_is_read_back(tmp_path):
    ranking = [("q", ["b", "a", "c"], np.array([2, 1, 1], np.float32)), ("p", ["a"], np.ones(1))]
    write_run(tmp_path / "run", ((*row[:2], row[2].astype(np.float32)) for row in ranking))
    run = load_run(tmp_path / "run")
    assert {query: list(scores) for query, scores in run.items()} == {
        "q": ["b", "a", "c"],
        "p": ["a"],
    }
    assert run["q"]["a"] == 1 > run["q"]["c"] > 1 - 1e-6
    write_qrels(tmp_path / "qrels.gz", [("q", "a", 2), ("q", "c", 0)])
    assert load_qrels(tmp_path / "qrels.gz") == {"q": {"a": 2, "c": 0}}


def test_a_run_that_fails_leaves_no_file(tmp_path):
    def failing():
        yield "q", ["c"], np.ones(1, np.float32)
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_run(tmp_path / "run.gz", failing())
    assert not list(tmp_path.iterdir())


def test_gzip_by_name(tmp_path):
    write_run(tmp_path / "run.gz", [("q", ["c"], np.ones(1, np.float32))])
    assert gzip.decompress((tmp_path / "run.gz").read_bytes()) == b"q Q0 c 1 1.0 hybrid_fast\n"
