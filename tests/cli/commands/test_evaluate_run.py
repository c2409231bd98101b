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
        ("run.txt qrels.txt --missing never", "missing is 'never'; it must be one of 'zero'"),
        ("run.txt qrels.txt --out run.txt", "run.txt exists"),
    ],
)
def test_runs_that_cannot_be_evaluated(trec_files, fails, options, message):
    assert re.search(message, fails("evaluate-run", *options.split()))


def test_documents_that_are_queries(project, model, capsys):
    """--exclude-self leaves them out, of a task and of a run alike."""
    (project / "b/qrels").mkdir(parents=True)
    texts = ["de answer 1 of 7", "de answer 2 of 14", "de question 1"]
    rows = [json.dumps({"_id": f"d{n}", "text": text}) for n, text in enumerate(texts)]
    (project / "b/corpus.jsonl").write_text("\n".join(rows))
    (project / "b/queries.jsonl").write_text(rows[0] + "\n")
    (project / "b/qrels/test.tsv").write_text("d0\td1\t1.0\nd0\td2\t0.5\n\n")
    main("evaluate m --task beir --data b --exclude-self --run run --out e".split())
    out = capsys.readouterr()
    assert "1 of 1 queries have the id of a document, which is left out" in out.err
    assert "b/qrels/test.tsv: 1 empty lines, left out (the first at 3)" in out.err
    results = json.loads((project / "e/results.json").read_text())
    assert results["settings"]["exclude_self"] is True
    assert results["metrics"]["mono"]["recall@10"] == 1.0
    (project / "full").write_text("d0 Q0 d0 1 9 t\nd0 Q0 d1 2 8 t\nd0 Q0 d2 3 7 t\n")
    main("evaluate-run full b/qrels/test.tsv --metrics ndcg@10 --exclude-self --out r".split())
    assert json.loads((project / "r").read_text())["metrics"]["ndcg@10"] == 1.0


def test_strict(project, model, fails):
    (project / "b/qrels").mkdir(parents=True)
    (project / "b/corpus.jsonl").write_text('{"_id": "d", "text": ""}\n{"_id": "e", "text": "x"}\n')
    (project / "b/queries.jsonl").write_text('{"_id": "q", "text": "x"}\n')
    (project / "b/qrels/test.tsv").write_text("q\te\t1\n")
    message = fails(*"evaluate m --task beir --data b --strict".split())
    assert "corpus.jsonl:1: passage 'd' has no text: strict=True does not allow passages" in message
