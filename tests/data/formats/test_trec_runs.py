"""Runs and judgements in TREC's format: real files are read whole, bad lines are named."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_fast.data.formats.trec_runs import (
    load_qrels,
    load_run,
    read_qrels,
    read_run,
    strictly_falling,
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


def test_judgements_of_either_form(tmp_path):
    """Of TREC and of BEIR, with a header or without, by tabs or by spaces; ids may hold spaces."""
    for content in (
        "q 0 a 2\nq 0 b 0\n",
        "q\tQ0\ta\t2\r\nq\t0\tb\t0\r\n",
        "query-id\tcorpus-id\tscore\nq\ta\t2\nq\tb\t0\n",
        "q\ta\t2\nq\tb\t0",
        "q a 2\nq  b 0\n",
        " q \t a\t2\nq\tb\t 0 \n",
    ):
        (tmp_path / "qrels").write_text(content)
        assert read_qrels(tmp_path / "qrels", strict=True) == {"q": {"a": 2, "b": 0}}
    (tmp_path / "qrels").write_text("q 1\ta b\t2\n")
    assert read_qrels(tmp_path / "qrels", strict=True) == {"q 1": {"a b": 2}}


@pytest.mark.parametrize(
    ("content", "qrels", "warning"),
    [
        ("q 0 a 1.0\nq 0 b 0.5\n", {"a": 1, "b": 0.5}, "2 grades that are not written as whole"),
        ("q 0 a 1\n\n", {"a": 1}, "1 empty lines, left out (the first at 2)"),
        ("query_id\tdoc_id\trelevance\nq\ta\t1\n", {"a": 1}, "1 header of other words than query"),
        ("qid iter docid rel\nq 0 a 1\n", {"a": 1}, "1 header of other words than query-id"),
        ("q 0 a 1\nq 0 a 1\nq 0 a 1\n", {"a": 1}, "2 judgements that are there twice, read once"),
    ],
)
def test_faults_that_are_counted(tmp_path, caplog, content, qrels, warning):
    path = tmp_path / "qrels"
    path.write_text(content)
    found = read_qrels(path)
    assert found == {"q": qrels}
    assert type(found["q"]["a"]) is int
    (message,) = caplog.messages
    assert message.startswith(f"{path}: {warning}")
    with pytest.raises(ValueError, match=r"qrels:\d.*: strict=True does not allow "):
        read_qrels(path, strict=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q 0 a nan\n", "qrels:1: the grade is 'nan', which is no number"),
        ("q 0 a inf\n", "qrels:1: the grade is 'inf', which is no number"),
        ("q 0 a 1_0\n", "qrels:1: the grade is '1_0', which is no number"),
        ("q 0 a ٣\n", "qrels:1: the grade is '٣', which is no number"),
        ("a\tb\tc\nd\te\tf\n", "qrels:2: the grade is 'f', which is no number"),
        ("q 0 a 1\nq 0 a 2\n", "qrels:2: query 'q' has grades 1 and 2 for document 'a'"),
        ("q\t\t1\n", "qrels:1: the id of the query or of the document is empty"),
        ("q a b 1 x\n", "qrels:1: has 5 fields; a line is 'query 0 document grade'"),
    ],
)
def test_judgements_that_cannot_be_read(tmp_path, content, message):
    (tmp_path / "qrels").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_qrels(tmp_path / "qrels")


def test_ids_of_mappings_become_text():
    numbers = {1: {np.int64(7): 0.5, "x": np.float32(2)}, "2": {}}
    assert load_run(numbers) == {"1": {"7": 0.5, "x": 2.0}, "2": {}}
    for load in (load_run, load_qrels):
        for ids in ({1.0: {"a": 1}}, {"q": {7.0: 1}}, {None: {"a": 1}}, {True: {"a": 1}}):
            with pytest.raises(TypeError, match="ids are text or whole numbers"):
                load(ids)
        with pytest.raises(ValueError, match="query '1' is there twice, as text and as a number"):
            load({1: {"a": 1}, "1": {"a": 1}})
        with pytest.raises(ValueError, match="'7': is there twice, as text and as a number"):
            load({"q": {7: 1, "7": 1}})
        with pytest.raises(
            TypeError, match="query 'q' has a list; give a mapping of document id to"
        ):
            load({"q": ["a", "b"]})
        with pytest.raises(TypeError, match=r"document 'a': the \w+ is '1'; give a number"):
            load({"q": {"a": "1"}})


def test_real_judgements(shared_data):
    qrels = read_qrels(shared_data / "trec" / "qrels.miracl-v1.0-sw-dev.tsv")
    assert len(qrels) == 482
    assert qrels["6"]["32589#0"] == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 d 1 0.5", r"run:2: has 5 fields; a line is 'query Q0 document rank score tag'"),
        ("q Q0 d 1 high t", "run:2: the score is 'high', which is no number"),
        ("q Q0 d 1 1_0 t", "run:2: the score is '1_0', which is no number"),
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
    write_qrels(tmp_path / "qrels", [("q", "a", np.float64(2)), ("q", "c", 0.1), ("q", "d", -1)])
    assert (tmp_path / "qrels").read_text() == "q 0 a 2\nq 0 c 0.1\nq 0 d -1\n"


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


def test_empty_lines_of_a_run_are_counted(tmp_path, caplog):
    path = tmp_path / "run"
    path.write_text("q Q0 a 1 0.5 t\n\nq Q0 b 2 0.25 t\n \n")
    assert read_run(path) == {"q": {"a": 0.5, "b": 0.25}}
    assert caplog.messages == [f"{path}: 2 empty lines, left out (the first at 2)"]
    with pytest.raises(ValueError, match="run:2: strict=True does not allow empty lines"):
        read_run(path, strict=True)


NEAR_ZERO = [0.0, -0.0, 1e-45, -1e-45, 1.0, 1.0000001, -1.0, -1.0000001, 3e38, -3e38]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(NEAR_ZERO), max_size=12))
def test_ties_are_broken_by_the_next_lower_numbers(values):
    scores = -np.sort(-np.array(values, np.float32))
    expected = scores.copy()
    for place in range(1, len(scores)):
        below = np.nextafter(expected[place - 1], np.float32(-np.inf))
        expected[place] = min(expected[place], below)
    fallen = strictly_falling(scores)
    assert fallen.dtype == np.float32
    assert fallen.tolist() == expected.tolist()
    assert (np.diff(fallen) < 0).all()


@pytest.mark.parametrize("bad", ["", " ", "a b", "a\tb", "a ", "a\u00a0b"])
def test_ids_that_cannot_stand_in_a_run(tmp_path, bad):
    scores = np.array([2.0, 1.0], np.float32)
    for query, ids in ((bad, ["x", "y"]), ("q", ["x", bad]), ("q", [bad, "x"])):
        with pytest.raises(ValueError, match="is empty or contains white space"):
            write_run(tmp_path / "run", [("q0", ["a", "b"], scores), (query, ids, scores)])
    assert not list(tmp_path.iterdir())
