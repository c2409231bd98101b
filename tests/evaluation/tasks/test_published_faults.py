"""Faults of published collections are let pass and counted, with the figures of trec_eval."""

import numpy as np
import pytest
import pytrec_eval
from task_files import OneHot, lines, write

from hybrid_fast.data.formats.trec_runs import read_run
from hybrid_fast.evaluation import Candidate, Query, RetrievalTask, evaluate_run, load_task

HEADER = "query-id\tcorpus-id\tscore\n"
CORPUS = [{"_id": f"d{n}", "title": "", "text": f"document {n}"} for n in range(5)]
QUERIES = [{"_id": f"q{n}", "text": f"query {n}", "metadata": {}} for n in range(3)]
JUDGED = [("q0", "d0", 1), ("q1", "d1", 2), ("q1", "d3", 1), ("q2", "d2", 1)]


def beir(folder, corpus=CORPUS, queries=QUERIES, judged=JUDGED, header=HEADER, end=""):
    write(folder / "corpus.jsonl", lines(corpus))
    write(folder / "queries.jsonl", lines(queries))
    rows = "".join("\t".join(map(str, row)) + "\n" for row in judged)
    write(folder / "qrels" / "test.tsv", header + rows + end)
    return folder


def figures(task, qrels):
    """Return ours, and those of trec_eval for the run that the task writes."""
    model = OneHot()
    queries, candidates, _ = task.encode(model)
    path = write(task.path / "run", "")
    task.write_run(path, queries, candidates)
    ours = task.score(queries, candidates).metrics["mono"]
    measures = {"map", "ndcg_cut.10", "recall.10"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(read_run(path))
    names = {"map": "map", "ndcg@10": "ndcg_cut_10", "recall@10": "recall_10"}
    means = {our: np.mean([each[name] for each in theirs.values()]) for our, name in names.items()}
    again = evaluate_run(path, f"{path}.qrels", names).metrics
    return {name: ours[name] for name in names}, means, again


FAULTS = {
    "an empty document": (
        {"corpus": [*CORPUS, {"_id": "d9", "title": "", "text": ""}]},
        "1 passages without title and text, left out",
    ),
    "an empty document that is relevant": (
        {
            "corpus": [*CORPUS, {"_id": "d9", "title": None, "text": " "}],
            "judged": [*JUDGED, ("q0", "d9", 2)],
        },
        "1 judged candidates that the task lacks, counted as never found (the first at 'd9')",
    ),
    "a judged document that is missing": (
        {"judged": [*JUDGED, ("q0", "gone", 1), ("q2", "gone", 0), ("q2", "lost", 0)]},
        "2 judged candidates that the task lacks, counted as never found (the first at 'gone')",
    ),
    "all relevants of a query are missing": (
        {"judged": [*JUDGED[:3], ("q2", "gone", 1)]},
        "1 judged candidates that the task lacks, counted as never found",
    ),
    "an empty line": ({"end": "\n \n"}, "2 empty lines, left out (the first at 6)"),
    "a judgement twice": ({"judged": [*JUDGED, JUDGED[0]]}, "1 judgements that are there twice"),
    "another header": (
        {"header": "query_id\tdoc_id\trelevance\n"},
        "1 header of other words than query-id corpus-id score, left out (the first at 1: ",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_beir_with_a_fault(tmp_path, caplog, fault):
    changes, warning = FAULTS[fault]
    folder = beir(tmp_path / "scifact", **changes)
    task = load_task("beir", folder)
    assert warning in caplog.text
    qrels = {}
    for query, document, grade in changes.get("judged", JUDGED):
        qrels.setdefault(query, {})[document] = grade
    task.path = tmp_path
    ours, theirs, again = figures(task, qrels)
    assert ours == pytest.approx(theirs)
    assert again == pytest.approx(theirs)
    with pytest.raises(ValueError, match=r"strict=True does not allow|qrels name \d+ candidates"):
        load_task("beir", folder, strict=True)


def test_a_judged_query_that_is_missing(tmp_path, caplog):
    """Left out, as BEIR's loader leaves it out: nothing can be searched with it."""
    task = load_task("beir", beir(tmp_path, judged=[*JUDGED, ("q9", "d0", 1)]))
    assert "1 judged queries that the task lacks, left out (the first at 'q9')" in caplog.text
    assert task.evaluate(OneHot()).metrics["mono"]["recall@10"] == 1.0
    with pytest.raises(ValueError, match="qrels name 1 queries that the task lacks: 'q9'"):
        load_task("beir", tmp_path, strict=True)


def test_faults_are_said_once_a_kind(tmp_path, caplog):
    judged = [(f"q{n % 3}", f"gone {n}", 0.5) for n in range(90)]
    load_task("beir", beir(tmp_path, judged=[*JUDGED, *judged], end="\n\n\n"))
    assert len(caplog.messages) == 3
    assert "90 grades that are not written as whole numbers (the first at 6)" in caplog.text


def test_fractional_grades_are_gains(tmp_path):
    grades = [("q0", "d0", 0.5), ("q0", "d1", "1.5"), ("q1", "d1", "1.0"), ("q2", "d2", "2.")]
    task = load_task("beir", beir(tmp_path, judged=grades))
    assert task.relevants.grades.tolist() == [0.5, 1.5, 1.0, 2.0]
    qrels = {"q0": {"d0": 0.5, "d1": 1.5}, "q1": {"d1": 1}, "q2": {"d2": 2}}
    candidates, queries = np.eye(5), np.array([[3, 2, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]])
    run = {f"q{n}": {f"d{m}": float(row[m]) for m in range(5)} for n, row in enumerate(queries)}
    wanted = evaluate_run(run, qrels, ["ndcg@10"]).metrics["ndcg@10"]
    found = task.score(queries.astype(float), candidates)
    assert found.metrics["mono"]["ndcg@10"] == pytest.approx(wanted)
    first = (0.5 + 1.5 / np.log2(3)) / (1.5 + 0.5 / np.log2(3))
    assert wanted == pytest.approx((first + 1 + 1) / 3)
    assert set(found.language_bias.rankings.peer) > {"grade 0.5", "grade 1", "grade 1.5"}


def test_none_of_the_ids_match(tmp_path):
    """Ids of another kind are shown beside ours."""
    other = [{**each, "_id": each["_id"].removeprefix("q")} for each in QUERIES]
    with pytest.raises(ValueError, match=r"are like 'q0', 'q1', 'q2', theirs like '0', '1'"):
        load_task("beir", beir(tmp_path, queries=other))
    other = [{**each, "_id": each["_id"].removeprefix("d")} for each in CORPUS]
    with pytest.raises(ValueError, match=r"has none of the 4 candidates .* like '0', .* like 'd0'"):
        load_task("beir", beir(tmp_path, corpus=other))


def test_whole_numbers_as_ids_are_text(tmp_path):
    corpus = [{"_id": n, "text": f"document {n}"} for n in range(3)]
    queries = [{"_id": f" {n} ", "text": f"query {n}"} for n in range(3)]
    task = load_task("beir", beir(tmp_path, corpus, queries, [(0, 0, 1), (" 1", "1 ", 1)]))
    assert task.evaluate(OneHot()).metrics["mono"]["recall@1"] == 1.0
    made = RetrievalTask(
        "t",
        [Query(np.int64(n), "en", f"query {n}") for n in range(3)],
        [Candidate(n, "en", f"document {n}") for n in range(3)],
        qrels={n: {str(n): 1} for n in range(3)},
    )
    assert made.queries.ids == made.candidates.ids == ["0", "1", "2"]
    assert made.evaluate(OneHot()).metrics["mono"]["recall@1"] == 1.0
    answered = [Candidate(n, "en", f"document {n}", (n,)) for n in range(3)]
    made = RetrievalTask("t", [Query(str(n), "en", f"query {n}") for n in range(3)], answered)
    assert made.evaluate(OneHot()).metrics["mono"]["recall@1"] == 1.0
    with pytest.raises(TypeError, match=r"the id of query 0 is 1\.0 \(float\); ids are text"):
        RetrievalTask("t", [Query(1.0, "en", "a")], answered)


def test_missing_relevants_of_several_languages():
    """They count where judgements are all within a language, and else to no language."""
    queries = [Query(f"{lang}{n}", lang, str(n)) for lang in ("de", "en") for n in range(2)]
    candidates = [Candidate(f"d-{each.id}", each.lang, each.text) for each in queries]
    within = {each.id: {f"d-{each.id}": 1} for each in queries}
    within["de0"]["gone"] = 1
    scores = RetrievalTask("t", queries, candidates, qrels=within).evaluate(OneHot())
    assert scores.grid["recall@1"]["de"] == {"de": 0.75, "en": None, "all": 0.75 / 1}
    across = {**within, "en1": {"d-en1": 1, "d-de1": 1}}
    scores = RetrievalTask("t", queries, candidates, qrels=across).evaluate(OneHot())
    assert scores.grid["recall@1"]["de"]["de"] == 1.0
    left_out = RetrievalTask("t", queries, candidates, qrels=within, missing="leave-out")
    assert left_out.evaluate(OneHot()).grid["recall@1"]["de"]["de"] == 1.0


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_that_are_found(tmp_path, suffix):
    """Compressed ones are; a copy under another name is not."""
    beir(tmp_path)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        content = (tmp_path / name).read_text()
        (tmp_path / name).unlink()
        write(tmp_path / (name + suffix), content)
        write(tmp_path / f"{name}.bak", "no JSON")
    assert len(load_task("beir", tmp_path).candidates) == 5
