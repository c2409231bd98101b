"""BEIR folders and collections in TREC's form, in one language and in several, by segments too."""

import pytest
from task_files import OneHot, lines, write

from hybrid_fast.data.formats.trec_runs import read_run
from hybrid_fast.evaluation import evaluate_run, load_task
from hybrid_fast.results import RunInfo


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "scifact"
    records = [
        {"_id": f"d{n}", "title": f"Title {n}", "text": "Text", "metadata": {}} for n in range(4)
    ]
    write(folder / "corpus.jsonl", lines(records))
    write(folder / "queries.jsonl", lines({"_id": f"q{n}", "text": f"query {n}"} for n in range(4)))
    write(
        folder / "qrels" / "test.tsv",
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t{n % 2 + 1}\n" for n in range(3)),
    )
    return folder


@pytest.fixture
def clef(tmp_path):
    """English and German documents, topics in both, judgements for both."""
    for lang, first in (("en", 0), ("de", 3)):
        write(
            tmp_path / f"corpus.{lang}.trec",
            "".join(
                f"<DOC>\n<DOCNO> {lang}-{n} </DOCNO>\n<HEADLINE>Title {n}</HEADLINE>\n<TEXT>\n"
                f"One.\nTwo &amp; three.\n</TEXT>\n</DOC>\n"
                for n in range(first, first + 3)
            ),
        )
        write(
            tmp_path / f"topics.{lang}.xml",
            "<topics>\n"
            + "".join(
                f"<top>\n<num> C{n} </num>\n"
                f"<{lang.upper()}-title> about {n} </{lang.upper()}-title>\n"
                f"<{lang.upper()}-desc> 9 </{lang.upper()}-desc>\n</top>\n"
                for n in range(3)
            )
            + "</topics>\n",
        )
    write(tmp_path / "qrels.en.txt", "".join(f"C{n} 0 en-{n} 1\n" for n in range(3)))
    write(tmp_path / "qrels.de.txt", "C0 0 de-3 1\nC1 0 de-4 0\n")
    return tmp_path


def test_beir(beir):
    task = load_task("beir", beir)
    assert task.languages == ("en",)
    assert task.queries.ids == ["q0", "q1", "q2"]
    assert list(task.candidates)[1] == "Title 1 Text"
    assert task.relevants.grades.tolist() == [1, 2, 1]
    assert task.settings["data"] == "scifact"
    assert task.evaluate(OneHot()).metrics["mono"]["ndcg@10"] == 1.0


def test_beir_in_another_language_and_split(beir):
    with pytest.raises(FileNotFoundError, match=r"qrels/dev\.tsv not found in data folder"):
        load_task("beir", beir, split="dev")
    task = load_task("beir", beir, languages=["de"], candidate_text="text")
    assert task.languages == ("de",)
    assert set(task.candidates) == {"Text"}
    with pytest.raises(ValueError, match=r"task 'beir': file names do not .* is \['de', 'en'\]"):
        load_task("beir", beir, languages=["de", "en"])


def test_a_run_of_the_task_is_scored_alike(beir):
    task = load_task("beir", beir)
    results = task.evaluate(OneHot(), run=beir / "out" / "run.trec", info=RunInfo("one hot"))
    run = read_run(beir / "out" / "run.trec")
    assert {query: next(iter(hits)) for query, hits in run.items()} == {
        f"q{n}": f"d{n}" for n in range(3)
    }
    scores = evaluate_run(beir / "out" / "run.trec", beir / "out" / "run.trec.qrels", task.metrics)
    assert scores.metrics == pytest.approx(results.metrics["multi"])


def test_clef_has_translated_topics(clef):
    task = load_task("trec", clef)
    assert task.languages == ("de", "en")
    assert task.queries.ids == ["C0", "C1", "C2"] * 2
    assert task.queries[0] == "about 0"
    assert task.candidates[0] == "Title 3 One.\nTwo & three."
    results = task.evaluate(OneHot())
    assert results.grid["ndcg@10"]["de"]["en"] == results.grid["ndcg@10"]["en"]["en"] == 1.0
    assert results.counts.dropped["en"] == {"de": 2, "en": 0}
    assert results.language_bias.rankings.mrc.score == 1.0


def test_clef_by_segments(clef):
    task = load_task("trec", clef, segment_length=8, document_score="mean@2")
    assert len(task.pool) == 6
    assert len(task.candidates) > len(task.pool)
    assert task.settings["segment_length"] == 8
    assert all(text.startswith("Title") and len(text) <= 8 + 8 for text in task.candidates)
    assert task.evaluate(OneHot()).grid["ndcg@10"]["en"]["en"] == 1.0


def test_judgements_of_a_language_that_is_left_out(clef, caplog):
    """They are missing on purpose, so they count neither as found nor as never found."""
    task = load_task("trec", clef, languages=["en"])
    assert "2 judged candidates that the task lacks, left out (the first at 'de-3')" in caplog.text
    assert task.evaluate(OneHot()).metrics["mono"]["recall@10"] == 1.0
    with pytest.raises(ValueError, match="qrels name 2 candidates that the task lacks: 'de-3'"):
        load_task("trec", clef, languages=["en"], strict=True)


def test_one_language_that_names_do_not_tell(tmp_path):
    write(tmp_path / "corpus.tsv", "d1\tText 1\tTitle\nd2\tText 2\tTitle\n")
    write(tmp_path / "topics.txt", "t1\tabout 1\n")
    write(tmp_path / "qrels.txt", "t1 0 d1 3\n")
    with pytest.raises(
        ValueError, match="task 'trec': file names do not name a language; give the one"
    ):
        load_task("trec", tmp_path)
    task = load_task("trec", tmp_path, languages=["sw"])
    assert task.languages == ("sw",)
    assert task.evaluate(OneHot()).metrics["mono"]["map"] == 1.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.en.trec", None, r"corpus\* not found"),
        ("topics.en.xml", "", "topics.en.xml: the file is empty"),
        ("topics.en.xml", "<top>\n<num> 1 </num>\n</top>\n", "topics.en.xml:1: has no <title>"),
        ("topics.en.xml", "<top>\n<num> 1\n", "topics.en.xml:1: <top> has no </top>"),
        ("corpus.en.trec", "<DOC>\n<DOCNO>x</DOCNO>\n</DOC>\n", "passage 'x' has no text"),
        ("corpus.en.trec", "<DOC>\n<TEXT>x</TEXT>\n</DOC>\n", "corpus.en.trec:1: has no <DOCNO>"),
        ("qrels.en.txt", "C0 0 de-3 0\n", "query 'C0' has grades 1 and 0 for 'de-3'"),
        ("qrels.en.txt", f"C0 0 en-1 {2**31}\n", "grade is '2147483648', which is no number"),
        ("qrels.en.txt", "C7 0 en-1 1\n", "qrels name 1 queries that the task lacks: 'C7'"),
        ("topics.en.txt", "C1\tx\n", "both match"),
    ],
)
def test_bad_files(clef, name, content, message):
    for path in clef.glob("corpus.de*") if content is None else ():
        path.unlink()
    if content is None:
        (clef / name).unlink()
    else:
        write(clef / name, content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_task("trec", clef, strict=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"document_score": "max"}, "give segment_length too"),
        ({"segment_length": 1}, "segment_length is 1 characters"),
        ({"segment_length": 9, "document_score": "best"}, "it must be 'max' or 'mean@k'"),
    ],
)
def test_bad_options(clef, options, message):
    with pytest.raises(ValueError, match=message):
        load_task("trec", clef, **options)


def test_languages_of_a_collection(clef):
    with pytest.raises(ValueError, match="task 'trec' has no fi; its languages are de, en"):
        load_task("trec", clef, languages=["de", "fi"])
    assert load_task("trec", clef, languages=["DE", "eng"]).languages == ("de", "en")


@pytest.mark.parametrize(
    ("corpus", "topics", "wanted"),
    [
        ("zh-Hans", "zh-Hant", "'zh-Hans' (1 files) and 'zh-Hant' (1 files) are now 'zh'"),
        ("de", "deu_Latn", None),
    ],
)
def test_languages_that_corpus_and_topics_name_differently(
    tmp_path, caplog, corpus, topics, wanted
):
    write(tmp_path / f"corpus.{corpus}.tsv", "d1\tText\tTitle\n")
    write(tmp_path / f"topics.{topics}.tsv", "1\tabout\n")
    write(tmp_path / "qrels.txt", "1 0 d1 1\n")
    assert load_task("trec", tmp_path, languages=[topics]).queries.ids == ["1"]
    found = [message for message in caplog.messages if "different codes" in message]
    assert [wanted in message for message in found] == ([True] if wanted else [])


@pytest.mark.parametrize("options", [{}, {"segment_length": 50}])
@pytest.mark.parametrize("ids", ["aab", "aba"])
def test_a_document_that_is_there_twice(tmp_path, options, ids):
    """Also by segments, which share the id of their document."""
    rows = "".join(f"{each}\tText {n}\n" for n, each in enumerate(ids))
    write(tmp_path / "corpus.en.tsv", rows)
    write(tmp_path / "topics.en.tsv", "1\tabout 1\n")
    write(tmp_path / "qrels.en.txt", "1 0 a 1\n")
    with pytest.raises(ValueError, match=r"id 'a' occurs (a second time|more than once)"):
        load_task("trec", tmp_path, **options)
