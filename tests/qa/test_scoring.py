"""Evaluation by hand: gold passage, retrieve-then-read, answer recall, and the means."""

import json
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np
import pytest

from hybrid_fast.qa import Span, evaluate_reader, load_questions, print_reading
from hybrid_fast.qa.scoring import macro_means
from hybrid_fast.qa.windows import WindowSizes


@dataclass
class FirstWords:
    """A reader whose answer is the first word of a passage, the better the longer the passage."""

    name_or_path = "first words"
    sizes = WindowSizes(30, 10, 10)
    max_answer_length = 3

    def read_pairs(self, questions, passages, batch_size, show_progress):
        words = [passage.split()[0] for passage in passages]
        return [
            [Span(word, len(passage), 0, len(word))]
            for word, passage in zip(words, passages, strict=True)
        ]


class ByWord:
    """A retriever: cosine of the vectors of the words that occur."""

    words = ("paris", "rome", "meer", "berg")
    name_or_path = "by word"

    def encode_queries(self, texts):
        return np.array([[word in text.lower() for word in self.words] for text in texts], float)

    encode_passages = encode_queries


@pytest.fixture
def data(write, tmp_path):
    write(
        "dev/en.json",
        ("Paris is large", {"a": ("Is it Paris?", ["Paris"]), "b": ("Rome?", ["large"])}),
        ("Rome and Paris are old", {"c": ("Which is Rome?", ["Paris", "Rome"])}),
    )
    write("dev/de.json", ("Das Meer", {"a": ("Meer?", ["Meer"]), "b": ("Was?", [""])}))
    return load_questions([tmp_path / "dev"])


def test_gold_passages(data):
    """Read: "Das" for Meer; "Paris" for Paris, "Paris" for large, "Rome" for Paris or Rome."""
    results = evaluate_reader(FirstWords(), data)
    assert results.scores["gold"]["exact_match"] == pytest.approx(
        {"de": 0, "en": 200 / 3, "mean": 100 / 3, "mean_without_en": 0}
    )
    assert set(results.scores) == {"gold"}
    assert results.retriever is None
    assert results.counts == {
        "questions": {"de": 1, "en": 3},
        "passages": {"de": 1, "en": 2},
        "left_out": {"de": 1, "en": 0},
    }


def test_retrieve_then_read(data):
    """Scores of the passages (Das Meer, Paris .., Rome and Paris ..) for each question in order:
    Meer? (1, 0, 0); Is it Paris? (0, 1, 1); Rome? and Which is Rome? (0, 0, 1)."""
    results = evaluate_reader(FirstWords(), data, retriever=ByWord(), top_k=[2, 1])
    top1, top2 = results.scores["retrieved@1"], results.scores["retrieved@2"]
    # First: Das Meer; Paris is large; Rome and Paris are old, twice.
    answers = [line["predictions"]["retrieved@1"] for line in results.predictions]
    assert answers == ["Das", "Paris", "Rome", "Rome"]
    assert top1["exact_match"]["en"] == pytest.approx(200 / 3)
    assert top1["answer_recall"] == pytest.approx(
        {"de": 100, "en": 200 / 3, "mean": 250 / 3, "mean_without_en": 100}
    )
    # Of two passages the longer is read: of Meer? the second is the first of equal score.
    answers = [line["predictions"]["retrieved@2"] for line in results.predictions]
    assert answers == ["Paris", "Rome", "Rome", "Rome"]
    assert top2["exact_match"]["en"] == pytest.approx(100 / 3)
    assert top2["answer_recall"]["en"] == pytest.approx(200 / 3)
    assert results.settings["top_k"] == [1, 2]
    assert results.retriever == "by word"


def test_files_and_table(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    results = evaluate_reader(FirstWords(), data, retriever=ByWord(), top_k=[1], rules="mlqa")
    path = results.save(f"~/{tmp_path.name}")
    assert json.loads(path.read_text(encoding="utf-8")) == results.to_dict()
    lines = (tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "id": "a",
        "lang": "de",
        "question": "Meer?",
        "answers": ["Meer"],
        "predictions": {"gold": "Das", "retrieved@1": "Das"},
    }
    assert len(lines) == 4
    print_reading(results)
    out = capsys.readouterr().out
    for text in ("rules of MLQA", "mean without en", "66.7", "top 1", "recall"):
        assert text in out


def test_saving_that_fails_leaves_nothing_and_changes_nothing(data, tmp_path):
    results = evaluate_reader(FirstWords(), data)
    bad = replace(results, predictions=[{"answer": "\ud800"}])
    with pytest.raises(UnicodeEncodeError):
        bad.save(tmp_path / "out" / "run")
    assert not (tmp_path / "out").exists()
    results.save(tmp_path / "out" / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out" / "run").iterdir()}
    with pytest.raises(UnicodeEncodeError):
        bad.save(tmp_path / "out" / "run")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out" / "run").iterdir()}
    assert sorted(before) == ["predictions.jsonl", "reading.json"]


def test_languages_without_mlqa_rules_are_named(write, capsys):
    data = load_questions([write("fi.json", ("Meri", {"a": ("Missä?", ["Meri"])}))], lang="fi")
    results = evaluate_reader(FirstWords(), data, rules="mlqa")
    assert results.settings["languages_beyond_rules"] == ["fi"]
    print_reading(results)
    assert "none for fi" in " ".join(capsys.readouterr().out.split())
    assert evaluate_reader(FirstWords(), data).settings["languages_beyond_rules"] == []


def test_languages_whose_case_is_their_own_are_named_and_scored(write):
    files = {"tr": ("IĞDIR güzel", "Iğdır"), "fi": ("MERI", "meri"), "de": ("STRASSE", "Straße")}
    for code, (passage, answer) in files.items():
        path = write(f"{code}.json", (passage, {"a": ("?", [passage[:4]])}))
        data = load_questions([path], lang=code)
        question = data.questions[0]._replace(answers=((0, answer),))
        results = evaluate_reader(
            FirstWords(), replace(data, questions=[question]), retriever=ByWord(), top_k=[1]
        )
        assert results.settings["case_by_language"] == ([] if code == "fi" else [code])
        assert results.scores["gold"]["exact_match"]["mean"] == 100
        assert results.scores["retrieved@1"]["answer_recall"]["mean"] == 100


def test_means_with_and_without_english():
    assert macro_means({"en": 90.0, "fi": 30.0, "ko": 60.0}) == {"mean": 60, "mean_without_en": 45}
    assert macro_means({"en": 90.0}) == {"mean": 90, "mean_without_en": None}
    assert macro_means({"fi": 30.0}) == {"mean": 30, "mean_without_en": 30}


class Broken(ByWord):
    def encode_passages(self, texts):
        return np.full((len(texts), 4), np.nan)


def test_results_of_data_in_memory_can_be_saved(data, tmp_path):
    """Ids, names and sizes of other types would fail when all is read."""
    ids = [UUID(int=number) for number in range(len(data.questions))]
    questions = [
        question._replace(id=each) for question, each in zip(data.questions, ids, strict=True)
    ]
    reader = FirstWords()
    reader.max_answer_length = np.int64(3)
    results = evaluate_reader(
        reader,
        replace(data, questions=questions),
        retriever=ByWord(),
        top_k=np.array([1]).tolist(),
        retriever_name=tmp_path / "model",
    )
    content = json.loads(results.save(tmp_path / "out").read_text(encoding="utf-8"))
    assert content["retriever"] == str(tmp_path / "model")
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(map(str, ids))


def test_bad_input_is_named(data):
    def evaluate(**options):
        evaluate_reader(FirstWords(), data, **{"retriever": ByWord(), "top_k": [1], **options})

    for numbers in ([0, 1], [4], []):
        with pytest.raises(ValueError, match="whole numbers from 1 to 3, the size of the pool"):
            evaluate(top_k=numbers)
    with pytest.raises(ValueError, match=r"rules is .*; it must be one of"):
        evaluate(rules="squad2")
    with pytest.raises(TypeError, match="cannot encode texts"):
        evaluate(retriever=object())
    with pytest.raises(ValueError, match=r"embeddings of passages: row 0 holds NaN"):
        evaluate(retriever=Broken())
