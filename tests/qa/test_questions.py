"""Questions are found with their language; those without a gold answer are counted, never lost."""

import logging

import numpy as np
import pytest

from hybrid_fast.qa.questions import Passage, ReadingData, ReadingQuestion, load_questions

CONTEXT = "The river begins in the mountains and ends in the sea."
WHERE = ("Where does it begin?", ["the mountains"])


def test_files_patterns_and_folders(write, tmp_path, monkeypatch):
    write("dev/en.json", (CONTEXT, {"a": WHERE, "b": ("And end?", ["the sea"])}))
    write("dev/de.json", ("Am Meer.", {"a": ("Wo?", ["Meer", "Am Meer"])}))
    by_folder = load_questions([tmp_path / "dev"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert by_folder == load_questions(["~/dev"])
    assert by_folder == load_questions([tmp_path / "dev" / "{lang}.json"])
    assert by_folder.languages == ["de", "en"]
    assert by_folder.passages == [Passage("de", "Am Meer."), Passage("en", CONTEXT)]
    assert [question.passage_row for question in by_folder.questions] == [0, 1, 1]
    assert by_folder.questions[0].answers == ((3, "Meer"), (0, "Am Meer"))
    assert by_folder.questions[2].answer_texts == ["the sea"]
    alone = load_questions([tmp_path / "dev" / "en.json"], lang="eng")
    assert [question.id for question in alone.questions] == ["a", "b"]
    assert load_questions([tmp_path / "dev"], languages=["en"]) == alone


def test_equal_paragraphs_of_one_language_are_one_passage(write):
    first = write("one.json", (CONTEXT, {"a": WHERE}), ("Am Meer.", {"b": ("Wo?", ["Meer"])}))
    second = write("two.json", (CONTEXT, {"c": WHERE}))
    data = load_questions([first, second], lang="en")
    assert [question.passage_row for question in data.questions] == [0, 1, 0]
    assert len(data.passages) == 2


def test_questions_without_an_answer_are_counted_and_their_passages_stay(write, caplog):
    path = write(
        "en.json", (CONTEXT, {"a": WHERE, "b": ("Who?", [])}), ("Sea.", {"c": ("?", [""])})
    )
    with caplog.at_level(logging.WARNING):
        data = load_questions([path], lang="en")
    assert [question.id for question in data.questions] == ["a"]
    assert data.left_out == {"en": 2}
    assert len(data.passages) == 2
    assert "questions without a gold answer are left out: en 2 of 3" in caplog.text


def test_a_language_without_any_answer_is_an_error(write, tmp_path):
    write("dev/en.json", (CONTEXT, {"a": WHERE}))
    write("dev/fi.json", (CONTEXT, {"a": ("Missä?", [""])}))
    with pytest.raises(ValueError, match="no question in fi has a gold answer"):
        load_questions([tmp_path / "dev"])
    assert load_questions([tmp_path / "dev"], languages=["en"]).languages == ["en"]


def test_questions_that_are_made_in_memory():
    """Ids and codes become what those of files are; a text that is none is named."""
    question = ReadingQuestion(np.int64(7), "DE_de", "Wo?", ((7, "Meer"),), 0)
    data = ReadingData([question], [Passage("deu", "Das Meer.")], {})
    assert data.questions == [question._replace(id="7", lang="de")]
    assert data.passages == [Passage("de", "Das Meer.")]
    assert data.languages == ["de"]
    for changes, error, message in (
        ({"id": None}, TypeError, "the id of question 0 is missing"),
        ({"lang": "deutsch"}, ValueError, "unknown language 'deutsch'"),
        ({"text": None}, TypeError, "question '7': a text is None"),
        ({"text": "Wo\ud83d"}, ValueError, "question '7' is no valid Unicode"),
        ({"answers": ((0, "\udc00"),)}, ValueError, "question '7' is no valid Unicode"),
    ):
        with pytest.raises(error, match=message):
            ReadingData([question._replace(**changes)], data.passages, {})
    with pytest.raises(ValueError, match="passage 0 is no valid Unicode"):
        ReadingData([question], [Passage("de", "Meer\udfff")], {})


def test_bad_input_is_named(write, tmp_path):
    path = write("dev/en.json", (CONTEXT, {"a": WHERE}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"the data has no sw, xh; the languages of the data are en"
    ):
        load_questions([tmp_path / "dev"], languages=["xh", "en", "sw"])
    assert load_questions([tmp_path / "dev"], languages=["eng_Latn"]).languages == ["en"]
    with pytest.raises(ValueError, match="the list is empty"):
        load_questions([tmp_path / "dev"], languages=[])
    with pytest.raises(ValueError, match="the language is unknown; give lang="):
        load_questions([path])
    with pytest.raises(FileNotFoundError, match=r"holds no <language>\.json"):
        load_questions([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_questions([tmp_path / "no.json"], lang="en")
    with pytest.raises(TypeError, match="give a list"):
        load_questions(str(path))
    write("bad.json", ("A sea.", {"a": ("Where?", ["ocean"])}))
    with pytest.raises(ValueError, match=r"bad.json.*question 'a'.*'answer_start'"):
        load_questions([tmp_path / "bad.json"], lang="en")
    with pytest.raises(ValueError, match="no question in en has a gold answer"):
        load_questions([tmp_path / "bad.json"], lang="en", on_bad_answer="skip")


def test_a_question_that_is_there_twice(write, tmp_path):
    path = write("en.json", (CONTEXT, {"a": WHERE}))
    with pytest.raises(ValueError, match="question 'a' occurs twice in en"):
        load_questions([tmp_path / "en.json", tmp_path / "{lang}.json"], lang="en")
    assert len(load_questions([path], lang="en").questions) == 1


def test_an_answer_of_white_space_is_none(write, tmp_path):
    write("en.json", (CONTEXT, {"a": WHERE, "b": ("What?", [" "])}))
    assert load_questions([tmp_path / "en.json"], lang="en").left_out == {"en": 1}


def test_tydiqa_goldp(shared_data):
    folder = shared_data / "tydiqa-goldp"
    data = load_questions([folder / "train"])
    counts = {code: 0 for code in data.languages}
    for question in data.questions:
        counts[question.lang] += 1
        start, text = question.answers[0]
        assert data.passages[question.passage_row].text.startswith(text, start)
    assert counts == {"en": 3696, "ko": 1625, "sw": 2755}
    assert data.left_out == {"en": 0, "ko": 0, "sw": 0}
    # These copies of dev have empty answers.
    with pytest.raises(ValueError, match="no question in bn, fi, ko, sw, te has a gold answer"):
        load_questions([folder / "dev"])


def test_xquad(shared_data):
    data = load_questions([shared_data / "xquad-r"])
    assert len(data.questions) == 11 * 1190
    assert len(data.passages) == 11 * 240
