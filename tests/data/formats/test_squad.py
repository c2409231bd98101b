"""SQuAD-shaped data: paragraphs and their checks, the three kinds of passage, ids, and windows."""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from passage_ids import passage_text_id

from hybrid_fast.data.formats.files import find_files
from hybrid_fast.data.formats.questions import read_squad
from hybrid_fast.data.formats.squad import Paragraph, Question, iter_paragraphs
from hybrid_fast.data.formats.window import window_around

CONTEXT = "Anna has a cat. The cat is black. Anna likes it."
SENTENCES = ["Anna has a cat.", "The cat is black.", "Anna likes it."]
BREAKS = [[0, 15], [16, 33], [34, 48]]


def question(id, start=None, text=None, ask="Who?"):
    answers = [] if start is None else [{"answer_start": start, "text": text}]
    return {"id": id, "question": ask, "answers": answers}


def paragraph(*questions, context=CONTEXT, **fields):
    return {"context": context, "qas": list(questions), **fields}


def write(path, *paragraphs):
    path.write_text(json.dumps({"data": [{"paragraphs": list(paragraphs)}]}), encoding="utf-8")
    return path


def read(path, lang="en", root=None, **options):
    return list(read_squad(find_files(path, root, lang), **options))


def with_sentences(*questions):
    return paragraph(*questions, sentences=SENTENCES, sentence_breaks=BREAKS)


def test_paragraphs(tmp_path):
    path = write(tmp_path / "a.json", with_sentences(question("q1", 27, "black"), question(2)))
    assert list(iter_paragraphs(path)) == [
        Paragraph(
            context=CONTEXT,
            sentences=SENTENCES,
            questions=[Question("q1", "Who?", [(27, "black")]), Question("2", "Who?", [])],
            sentence_breaks=[(0, 15), (16, 33), (34, 48)],
        )
    ]


def test_sentence_at(tmp_path):
    (first,) = iter_paragraphs(write(tmp_path / "a.json", with_sentences()))
    assert [first.sentence_at(offset) for offset in (0, 14, 16, 32, 34)] == [0, 0, 1, 1, 2]
    with pytest.raises(ValueError, match="offset 15 is in no sentence"):
        first.sentence_at(15)


def test_flat_lines_of_one_context_are_one_paragraph(tmp_path):
    lines = [
        {"context": "a b", "question": "x", "question_id": "1"}
        | {"answers": {"text": ["b", "a"], "answer_start": [2, 0], "answer_end": [3, 1]}},
        {"context": "a b", "question": "y", "id": 2, "answers": {"text": [], "answer_start": []}},
        {"context": "c", "question": "z", "id": "3", "answers": [{"text": "c", "answer_start": 0}]},
    ]
    path = tmp_path / "flat.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    first, second = iter_paragraphs(path)
    assert first.questions == [Question("1", "x", [(2, "b"), (0, "a")]), Question("2", "y", [])]
    assert (second.context, second.questions) == ("c", [Question("3", "z", [(0, "c")])])


@pytest.mark.parametrize(
    ("passage", "text", "passage_id"),
    [
        ("context", CONTEXT, passage_text_id(CONTEXT)),
        ("sentence", "The cat is black.", None),
        ("window", "cat is black. Anna", passage_text_id(CONTEXT)),
    ],
)
def test_passages(tmp_path, passage, text, passage_id):
    path = write(tmp_path / "a.json", with_sentences(question("q1", 27, "black")))
    (item,) = read(path, passage=passage, window=20)
    assert item[:5] == ("q1", "en", "Who?", text, passage_id)


def test_impossible_questions_are_left_out_and_unanswered_ones_serve_the_context(tmp_path, caplog):
    impossible = question("q1") | {"is_impossible": True}
    tydi = question("q2", 0, "")
    path = write(tmp_path / "a.json", paragraph(impossible, tydi, question("q3", 27, "black")))
    assert [item.group_id for item in read(path)] == ["q2", "q3"]
    with pytest.raises(ValueError, match=r"a\.json, question 'q2', field 'answers': .*'window'"):
        read(path, passage="window")
    items = read(path, passage="window", on_bad_answer="skip")
    assert [item.group_id for item in items] == ["q3"]
    assert "left out 1 questions without an answer" in caplog.text


def test_parallel_questions_and_paragraphs(tmp_path):
    other = paragraph(question("q3", 0, "x"), context="x y")
    write(tmp_path / "en.json", paragraph(question("q1", 0, "Anna"), question("q2")), other)
    german = paragraph(question("q1", 0, "Anna"), question("q2"), context="Anna hat was")
    write(tmp_path / "de.json", german, other)
    items = read("{lang}.json", None, tmp_path)
    assert [item.group_id for item in items] == ["q1", "q2", "q3"] * 2
    assert len({item.passage_id for item in items}) == 3
    parallel = read("{lang}.json", None, tmp_path, parallel_paragraphs=True)
    ids = [item.passage_id for item in parallel]
    assert ids[0] == ids[1] == ids[3] == ids[4] == passage_text_id("Anna hat was")
    assert ids[2] == ids[5] == passage_text_id("x y")
    write(tmp_path / "de.json", german)
    with pytest.raises(ValueError, match=r"en\.json has 2 paragraphs, .*de\.json has 1"):
        read("{lang}.json", None, tmp_path, parallel_paragraphs=True)


def test_repeated_ids(tmp_path):
    path = write(tmp_path / "a.json", paragraph(question("7"), question("7")))
    with pytest.raises(ValueError, match=r"question '7', field 'id': .*group_by='position'"):
        read(path)
    items = read(path, group_by="position")
    assert len({item.group_id for item in items}) == 2


def test_bad_answers(tmp_path, caplog):
    questions = [question("far", 99, "cat"), question("near", 10, "cat"), question("no", -1, "dog")]
    path = write(tmp_path / "a.json", paragraph(*questions))
    where = r"a\.json, paragraph 1, question 'far', answers\[0\], field 'answer_start': "
    with pytest.raises(ValueError, match=where + "99 lies outside the context of 48 characters"):
        list(iter_paragraphs(path))
    (relocated,) = iter_paragraphs(path, on_bad_answer="relocate")
    assert [each.answers for each in relocated.questions] == [[(20, "cat")], [(11, "cat")], []]
    assert "a.json: left out 1 of 3 answers" in caplog.text
    (skipped,) = iter_paragraphs(path, on_bad_answer="skip")
    assert [each.answers for each in skipped.questions] == [[], [], []]
    path = write(tmp_path / "b.json", paragraph(questions[1]))
    with pytest.raises(ValueError, match="the context has ' ca' at 10, not the answer 'cat'"):
        list(iter_paragraphs(path))


def test_blank_question(tmp_path, caplog):
    path = write(tmp_path / "a.json", paragraph(question("q1", ask=" "), question("q2")))
    with pytest.raises(ValueError, match=r"question 'q1': field 'question' is empty"):
        read(path)
    assert [item.group_id for item in read(path, on_empty="skip")] == ["q2"]
    assert "left out 1 empty questions" in caplog.text


def sentence_fields(sentences, breaks):
    return paragraph(sentences=sentences, sentence_breaks=breaks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"a\.json: holds no paragraph"),
        ({"version": 1}, r"field 'data': is missing; the fields are \['version'\]"),
        ({"data": {}}, "field 'data': must be a list, got '{}'"),
        ({"data": [[]]}, r"a\.json, data\[0\]: must be a JSON object"),
        ({"data": [{}]}, r"data\[0\], field 'paragraphs': is missing"),
        (paragraph(context=3), r"paragraph 1, field 'context': must be text, got '3'"),
        (paragraph(context=" "), r"paragraph 1: field 'context' is empty"),
        ({"context": "c"}, "paragraph 1, field 'qas': is missing"),
        (paragraph({"question": "x"}), r"paragraph 1, qas\[0\], field 'id'"),
        (paragraph({"id": "q"}), "question 'q', field 'question': is missing"),
        (
            paragraph(question("q", "3", "x")),
            r"answers\[0\], field 'answer_start': must be a whole",
        ),
        (paragraph(question("q", True, "x")), "field 'answer_start': must be a whole number"),
        (paragraph(question("q", 0, None)), r"answers\[0\], field 'text': is missing"),
        (
            paragraph(question("q") | {"answers": 1}),
            "question 'q', field 'answers': must be a list",
        ),
        (
            paragraph(question("q") | {"answers": {"text": ["x"], "answer_start": []}}),
            "question 'q', field 'answers': 1 texts but 0 answer_start",
        ),
        (sentence_fields(["a"], []), "'sentence_breaks': has 0 entries for 1 sentences"),
        (
            sentence_fields(["a"], [[0, 99]]),
            r"'sentence_breaks\[0\]': \[0, 99\] is not a \[start, end",
        ),
        (sentence_fields(["a"], [[0, 1.5]]), r"'sentence_breaks\[0\]'"),
        (sentence_fields([""], [[0, 1]]), r"field 'sentences\[0\]' is empty"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "a.json"
    if isinstance(content, dict) and "context" in content:
        write(path, content)
    else:
        path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        list(iter_paragraphs(path))


def test_bad_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"context": "c", "question": "x", "id": 1}\n{"question": "y"}\n')
    with pytest.raises(ValueError, match=r"a\.jsonl:2, field 'context': is missing"):
        list(iter_paragraphs(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"passage": "paragraph"},
            "it must be one of 'context', 'sentence', 'window'",
        ),
        ({"group_by": "text"}, "group_by is 'text'; it must be one of"),
        ({"window": "270"}, "at least 1, got '270'"),
        ({"window": 0}, "window must be a whole number of characters, at least 1, got 0"),
        ({"on_bad_answer": "fix"}, "on_bad_answer is 'fix'; it must be one of"),
        ({"passage": "sentence"}, "question 'q': its paragraph has no sentences"),
        ({"lang": None}, "the language is unknown"),
    ],
)
def test_bad_options(tmp_path, options, message):
    path = write(tmp_path / "a.json", paragraph(question("q", 0, "Anna")))
    with pytest.raises(ValueError, match=message):
        read(path, **options)


def test_answer_between_sentences(tmp_path):
    path = write(tmp_path / "a.json", with_sentences(question("q", 15, " The")))
    with pytest.raises(ValueError, match=r"question 'q', field 'answer_start': offset 15 is in no"):
        read(path, passage="sentence")


@pytest.mark.parametrize(
    ("text", "answer", "size", "expected"),
    [
        ("short text", "text", 99, "short text"),
        ("one two three four five", "three", 13, "two three"),
        ("one two three four five", "one", 9, "one two"),
        ("one two three four five", "five", 10, "four five"),
        ("an answer longer than the window", "answer longer than", 5, "answer longer than"),
        ("小明有一只黑色的猫在家", "黑色", 6, "一只黑色的猫"),
        ("xe\u0301ye\u0301z", "y", 2, "y"),
        ("กำกำกำ", "กำ", 3, "กำ"),
        ("ab👩‍🔬cd👩‍🔬ef", "cd", 5, "cd"),  # no cut within the joined sequences
        ("กไก", "ก", 2, "ก"),
    ],
)
def test_window(text, answer, size, expected):
    start = text.index(answer)
    assert window_around(text, start, start + len(answer), size) == expected


@settings(max_examples=2 * settings.default.max_examples)
@given(
    text=st.lists(st.sampled_from(["a", "b ", "e\u0301", "กำ", "เก", "你", "क्ष"])).map("".join),
    size=st.integers(1, 60),
    data=st.data(),
)
def test_window_holds_the_answer_and_cuts_no_character(text, size, data):
    text = f"a{text}a"
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    window = window_around(text, start, end, size)
    answer = text[start:end].strip()
    assert answer in window
    assert window in text
    assert len(window) <= max(size, end - start)
    if window and not window.startswith(answer):
        assert window[0] not in "\u0301ำ์"
        assert not unicodedata.category(window[0]).startswith("M")
    if window and not window.endswith(answer):
        assert window[-1] not in "เ्"
