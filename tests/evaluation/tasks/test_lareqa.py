"""XQuAD-R and MLQA-R: real counts are exact, gold follows the rules, bad data is named."""

import json
import warnings

import numpy as np
import pytest

from hybrid_fast.evaluation import load_task

CONTEXT = "It rains.\nIt pours. It rains. So it goes."
SENTENCES = ["It rains.", "It pours.", "It rains.", "So it goes."]
BREAKS = [[0, 9], [10, 19], [20, 29], [30, 41]]


def question(question_id, start, text):
    answers = [{"answer_start": start, "text": text}]
    return {"id": question_id, "question": f"Where is {text}?", "answers": answers}


def paragraph(questions, **changes):
    fields = {"context": CONTEXT, "sentences": SENTENCES, "sentence_breaks": BREAKS}
    return {**fields, "qas": questions, **changes}


def write(folder, **paragraphs):
    for language, some in paragraphs.items():
        content = {"version": "1", "data": [{"title": "t", "paragraphs": some}]}
        (folder / f"{language}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def load(folder, name="xquad-r", **options):
    """Load a data set of hand-made files, which never has the published size."""
    with pytest.warns(UserWarning, match="as published"):
        return load_task(name, folder, **options)


def relevant_ids(task, row):
    begin, end = task.relevants.offsets[row : row + 2]
    return [task.candidates.ids[candidate] for candidate in task.relevants.rows[begin:end]]


@pytest.fixture
def two_languages(tmp_path):
    german = [paragraph([question("q2", 10, "It")]), paragraph([question("q1", 33, "it goes")])]
    english = [paragraph([question("q1", 3, "rains"), question("q3", 36, "goes")])]
    return write(tmp_path, en=english, de=german)


def test_sentences_are_candidates_by_position(two_languages):
    task = load(two_languages, candidate_text="sentence")
    assert task.languages == ("de", "en")
    assert list(task.candidates) == SENTENCES * 3
    assert task.candidates.ids[3:6] == ["de_1_3", "de_2_0", "de_2_1"]
    assert task.candidates.counts == {"de": 8, "en": 4}
    assert task.queries.ids == ["q2", "q1", "q1", "q3"]
    assert task.queries[0] == "Where is It?"
    assert task.settings == {"candidate_text": "sentence"}


def test_gold_is_the_sentence_of_the_answer_and_its_equals_in_the_paragraph(two_languages):
    task = load(two_languages)
    gold_of_q1 = ["de_2_3", "en_1_0", "en_1_2"]
    assert relevant_ids(task, 0) == ["de_1_1"]
    assert relevant_ids(task, 1) == relevant_ids(task, 2) == gold_of_q1
    assert relevant_ids(task, 3) == ["en_1_3"]


def test_sentence_with_context_has_no_newline_and_no_separator(two_languages):
    task = load(two_languages)
    assert task.candidates[1] == "It pours.It rains.It pours. It rains. So it goes."
    assert task.settings == {"candidate_text": "sentence+context"}


def test_first_sentence_wins_where_spans_overlap(tmp_path):
    overlapping = [[0, 9], [0, 19], [20, 29], [30, 41]]
    write(tmp_path, en=[paragraph([question("q", 10, "It")], sentence_breaks=overlapping)])
    assert relevant_ids(load(tmp_path), 0) == ["en_1_1"]


def test_answer_between_sentences_has_no_gold_and_is_counted(tmp_path):
    write(
        tmp_path,
        en=[paragraph([question("q", 9, "\nIt"), question("p", 0, "It")])],
        de=[paragraph([question("q", 10, "It")])],
    )
    with pytest.warns(UserWarning, match="en has 1 questions with an answer and 4 sentences"):
        task = load_task("xquad-r", tmp_path, languages=["en", "de"])
    embeddings = np.ones((3, 2)), np.ones((8, 2))
    assert task.score(*embeddings).counts["dropped"] == {
        "de": {"de": 0, "en": 1},
        "en": {"de": 1, "en": 1},
    }


def test_several_answers(tmp_path):
    both = question("q", 0, "It")
    both["answers"] += [{"answer_start": 33, "text": "it"}, {"answer_start": 33, "text": "it goes"}]
    write(tmp_path, en=[paragraph([both])])
    assert relevant_ids(load(tmp_path), 0) == ["en_1_0", "en_1_2", "en_1_3"]


def test_xquad_r_has_exactly_the_published_counts(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = load_task("xquad-r", data=shared_data / "xquad-r", candidate_text="sentence")
    assert task.queries.counts == dict.fromkeys(task.languages, 1190)
    assert task.candidates.counts == {
        "ar": 1222,
        "de": 1276,
        "el": 1234,
        "en": 1180,
        "es": 1215,
        "hi": 1244,
        "ru": 1219,
        "th": 852,
        "tr": 1167,
        "vi": 1209,
        "zh": 1196,
    }
    assert (len(task.queries), len(task.candidates)) == (13_090, 13_014)
    assert set(task.relevants.counts) == {11}
    gold_languages = task.candidates.language_codes[task.relevants.rows].reshape(-1, 11)
    np.testing.assert_array_equal(gold_languages, np.tile(np.arange(11), (13_090, 1)))


def test_some_languages_of_xquad_r_are_compared_one_by_one(shared_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = load_task("xquad-r", str(shared_data / "xquad-r"), languages=["th", "de"])
    assert task.languages == ("de", "th")
    assert task.candidates.counts == {"de": 1276, "th": 852}


def test_excerpt_of_mlqa_r_loads_with_a_warning(shared_data):
    message = r"ar is missing; de has 40 questions with an answer and 242 sentences, not 512 and"
    with pytest.warns(UserWarning, match=message):
        task = load_task("mlqa-r", shared_data / "nc" / "mlqa-r-sample")
    assert task.queries.counts == {"de": 40, "en": 40}
    assert task.candidates.counts == {"de": 242, "en": 266}
    assert set(task.relevants.counts) == {2}
    dim = 4
    results = task.score(np.ones((80, dim)), np.ones((508, dim)))
    assert results.counts["dropped"] == {x: {"de": 0, "en": 0} for x in ("de", "en")}


def test_warning_points_at_the_caller(two_languages):
    with pytest.warns(UserWarning, match="not xquad-r as published") as caught:
        load_task("xquad-r", two_languages)
    assert [warning.filename for warning in caught] == [__file__]


def test_missing_folder_and_files(tmp_path, two_languages):
    with pytest.raises(FileNotFoundError, match=r"data folder '.*nowhere' not found"):
        load_task("xquad-r", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"th\.json not found in data folder"):
        load_task("xquad-r", two_languages, languages=["de", "th"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"ar\.json, de\.json, en\.json, .* not found"):
        load_task("mlqa-r", tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentences": [], "sentence_breaks": []}, "en.json, paragraph 1: has no sentences"),
        (
            {"qas": [question("q", 0, "It"), question("q", 10, "It")]},
            "id 'q' occurs more than once",
        ),
        ({"qas": [question("q", 99, "It")]}, "99 lies outside the context of 41 characters"),
    ],
)
def test_malformed_data(tmp_path, change, message):
    write(tmp_path, en=[{**paragraph([]), **change}])
    with pytest.raises(ValueError, match=message):
        load_task("xquad-r", tmp_path)


def test_bad_options(two_languages):
    with pytest.raises(ValueError, match=r"'xquad-r' has no fr, ja; its languages are ar, de,"):
        load_task("xquad-r", two_languages, languages=["ja", "de", "fr"])
    with pytest.raises(ValueError, match="needs at least one language"):
        load_task("xquad-r", two_languages, languages=[])
    with pytest.raises(TypeError, match="languages is the text 'de'; give a list"):
        load_task("xquad-r", two_languages, languages="de")
    with pytest.raises(ValueError, match=r"candidate_text is 'context'; it is one of"):
        load_task("xquad-r", two_languages, candidate_text="context")
