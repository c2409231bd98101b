"""TREC runs: written by evaluate, scored by evaluate-run."""

import json
import re

import pytest

from hybrid_fast.cli import main


def test_a_run_is_written_and_evaluated(project, model, capsys):
    """evaluate-run finds the figures of the pool again, in TREC's files."""
    (project / "c").mkdir()
    (project / "c/corpus.tsv").write_text("d1\tde answer 1 of 7\nd2\tde answer 2 of 14\n")
    (project / "c/topics.tsv").write_text("1\tde question 1\n2\tde question 2\n")
    (project / "c/qrels.txt").write_text("1 0 d1 1\n2 0 d2 1\n")
    options = "--task trec --data c --languages de --run new/run.trec --run-depth 5"
    main(f"evaluate m {options} --out e".split())
    assert "run: new/run.trec, its qrels: new/run.trec.qrels\n" in capsys.readouterr().out
    main("evaluate-run new/run.trec new/run.trec.qrels --metrics map,ndcg@10 --out r.json".split())
    figures = json.loads((project / "r.json").read_text())["metrics"]
    pool = json.loads((project / "e/results.json").read_text())["metrics"]["multi"]
    assert figures == pytest.approx({name: pool[name] for name in ("map", "ndcg@10")})
    assert len((project / "new/run.trec").read_text().splitlines()) == 4


def test_a_run_file_that_exists(project, fails):
    (project / "run.qrels").write_text("mine")
    message = fails(*"evaluate m --task xquad-r --data task --run run".split())
    assert "run.qrels exists; choose another file for --run" in message


@pytest.fixture
def trec_files(project):
    (project / "run.txt").write_text("1 Q0 b 1 1.0 t\n1 Q0 a 2 1.0 t\n9 Q0 a 1 1.0 t\n")
    (project / "qrels.txt").write_text("1 0 a 1\n2 0 a 1\n3 0 a 0\n")
    return project


def test_run_is_evaluated(trec_files, capsys):
    main("evaluate-run run.txt qrels.txt --metrics mrr,ndcg@10 --out new/run.json".split())
    out = capsys.readouterr().out
    assert re.search(r"mrr\s+│\s+0\.2500", out)
    assert re.search(r"of them missing in the run\s+│\s+1 ", out)
    written = json.loads((trec_files / "new/run.json").read_text())
    assert written["metrics"]["mrr"] == 0.25
    assert written["per_query"]["2"] == {"mrr": 0.0, "ndcg@10": 0.0}
    main("evaluate-run run.txt qrels.txt --metrics mrr --missing leave-out".split())
    assert re.search(r"mrr\s+│\s+0\.5000", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("run.txt nowhere.txt", "no such file: nowhere.txt"),
        ("qrels.txt qrels.txt", r"qrels.txt:1: has 4 fields; a line is 'query Q0 document rank"),
        ("run.txt qrels.txt --metrics P@5", "there is no metric 'P@5'"),
        ("run.txt qrels.txt --missing never", "missing is 'never'; it is 'zero' or 'leave-out'"),
        ("run.txt qrels.txt --out run.txt", "run.txt exists"),
    ],
)
def test_runs_that_cannot_be_evaluated(trec_files, fails, options, message):
    assert re.search(message, fails("evaluate-run", *options.split()))
