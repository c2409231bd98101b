"""The reader's n best spans are those of a slow definition, window by window, span by span."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from hybrid_fast.qa import Reader
from hybrid_fast.qa.reader import best_spans
from hybrid_fast.qa.windows import WindowSizes, make_windows

QUESTIONS = ["Where does the river begin?", "Wo beginnt der Fluss?"]
PASSAGES = [
    "The river begins in the mountains and ends in the sea. " * 5 + "Sea.",
    "Sea.",
    "Der Fluss beginnt in den Bergen\u00a0und endet 1250 km weiter im Meer.\n\n这条河发源于山区。",
]
FOLDERS = ["bert_reader_folder", "xlm_roberta_reader_folder"]


@pytest.fixture(params=FOLDERS)
def folder(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def reader(bert_reader_folder):
    return Reader.from_pretrained(bert_reader_folder, max_length=32)


def slow_spans(folder, question, passage, sizes, max_answer_length):
    """Return {(start, end): score} of all spans, from windows put together token by token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    middle = [last, last] if tokenizer.cls_token == "<s>" else [last]
    asked = tokenizer(question, add_special_tokens=False)["input_ids"]
    encoded = tokenizer(passage, add_special_tokens=False, return_offsets_mapping=True)
    tokens, offsets = encoded["input_ids"], encoded["offset_mapping"]
    head = [first, *asked, *middle]
    room = sizes.max_length - len(head) - 1
    scores = {}
    begin = 0
    while True:
        part = tokens[begin : begin + room]
        ids = torch.tensor([[*head, *part, last]])
        types = torch.tensor([[0] * len(head) + [1] * (len(part) + 1)])
        options = {"token_type_ids": types} if middle == [last] else {}
        with torch.no_grad():
            output = model(input_ids=ids, **options)
        start_logits = output.start_logits[0, len(head) : -1].tolist()
        end_logits = output.end_logits[0, len(head) : -1].tolist()
        for i in range(len(part)):
            for j in range(i, min(i + max_answer_length, len(part))):
                span = (offsets[begin + i][0], offsets[begin + j][1])
                score = start_logits[i] + end_logits[j]
                scores[span] = max(score, scores.get(span, score))
        if begin + room >= len(tokens):
            return scores
        begin += room - sizes.doc_stride


@pytest.mark.parametrize(
    ("max_length", "doc_stride", "max_answer_length"),
    [(44, 5, 3), (37, 0, 9), (61, 7, 1), (99, 40, 30)],
)
def test_n_best_spans_against_the_slow_definition(
    folder, max_length, doc_stride, max_answer_length
):
    reader = Reader.from_pretrained(
        folder, max_length=max_length, doc_stride=doc_stride, max_answer_length=max_answer_length
    )
    sizes = WindowSizes(max_length, doc_stride, max_question_length=100)
    reader.sizes = sizes  # these questions are whole
    pairs = [(question, passage) for question in QUESTIONS for passage in PASSAGES]
    found = reader.read_pairs(*zip(*pairs, strict=True), n_best=7, batch_size=4)
    for (question, passage), spans in zip(pairs, found, strict=True):
        scores = slow_spans(folder, question, passage, sizes, max_answer_length)
        expected = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:7]
        assert [(span.start, span.end) for span in spans] == [span for span, _ in expected]
        assert [span.score for span in spans] == pytest.approx([s for _, s in expected], abs=1e-4)
        assert all(span.text == passage[span.start : span.end] for span in spans)
        assert all(span.text == span.text.strip() != "" for span in spans)


def test_the_best_of_several_passages(reader):
    question = QUESTIONS[0]
    alone = [reader.read([question], [[passage]], n_best=50)[0] for passage in PASSAGES]
    together = reader.read([question, question], [PASSAGES, PASSAGES[1:]], n_best=50)
    for spans, offset in zip(together, (0, 1), strict=True):
        of_alone = [
            (span.score, number, span.start, span.end)
            for number, some in enumerate(alone[offset:])
            for span in some
        ]
        expected = sorted(of_alone, key=lambda each: (-each[0], *each[1:]))[:50]
        assert [(s.passage, s.start, s.end) for s in spans] == [each[1:] for each in expected]
    assert len({span.passage for span in together[0]}) > 1


def test_reading_is_deterministic_and_batches_change_nothing(reader):
    pairs = [(question, passage) for question in QUESTIONS for passage in PASSAGES] * 3
    questions, passages = zip(*pairs, strict=True)
    once = reader.read_pairs(questions, passages, batch_size=5)
    assert once == reader.read_pairs(questions, passages, batch_size=5)
    one_by_one = reader.read_pairs(questions, passages, batch_size=1)
    for spans, others in zip(once, one_by_one, strict=True):
        assert [span.text for span in spans] == [span.text for span in others]
        assert spans[0].score == pytest.approx(others[0].score, abs=1e-5)


def test_best_spans_by_hand():
    start = torch.tensor([[9.0, 1, 2, 0, 2.5]])
    end = torch.tensor([[9.0, 0, 1, 5, 0]])
    allowed = torch.tensor([[False, True, True, True, True]])
    scores, first, last = best_spans(start, end, allowed, 2, 3)
    assert scores.tolist() == [[7, 5, 3]]
    assert first.tolist() == [[2, 3, 2]]
    assert last.tolist() == [[3, 3, 2]]
    scores, first, last = best_spans(start, end, allowed, 3, 1)
    assert (scores.item(), first.item(), last.item()) == (7, 2, 3)
    none, _, _ = best_spans(start, end, torch.zeros_like(allowed), 2, 3)
    assert none.tolist() == [[-torch.inf] * 3]


def test_long_questions_are_cut_at_a_token(bert_reader_folder):
    tokenizer = AutoTokenizer.from_pretrained(bert_reader_folder)
    sizes = WindowSizes(max_length=16, doc_stride=2, max_question_length=4)
    windows = make_windows(tokenizer, [QUESTIONS[0]], [PASSAGES[0]], sizes)
    ids = tokenizer("Where does the river", add_special_tokens=False)["input_ids"]
    assert len(windows) > 2
    for window in windows:
        assert window.features["input_ids"][1:5].tolist() == ids
        assert len(window) <= 16


def test_windows_cover_the_passage_and_share_the_stride(bert_reader_folder):
    tokenizer = AutoTokenizer.from_pretrained(bert_reader_folder)
    sizes = WindowSizes(max_length=20, doc_stride=4, max_question_length=10)
    windows = make_windows(tokenizer, QUESTIONS[:1], PASSAGES[:1], sizes)
    spans = [
        [tuple(offset) for offset in window.offsets.tolist() if offset[0] >= 0]
        for window in windows
    ]
    encoding = tokenizer(PASSAGES[0], add_special_tokens=False, return_offsets_mapping=True)
    assert set(encoding["offset_mapping"]) == {span for some in spans for span in some}
    assert all(a[-4:] == b[:4] for a, b in pairwise(spans))


def test_default_sizes_fit_the_model(bert_reader_folder, xlm_roberta_reader_folder):
    assert Reader.from_pretrained(bert_reader_folder).sizes == WindowSizes(300, 100, 64)
    assert Reader.from_pretrained(xlm_roberta_reader_folder).sizes == WindowSizes(128, 42, 42)


def test_a_passage_of_no_token_has_no_span(reader):
    assert reader.read(["Where?"], [[" \n"]]) == [[]]
    assert reader.read(["Where?", "Wo?"], [[], ["Sea."]])[0] == []
    assert reader.read([], []) == []


def test_bad_input_is_named(reader, bert_folder, bert_reader_folder, tmp_path):
    with pytest.raises(
        ValueError, match=r"is not a reader but a BertModel; train a reader from it with"
    ):
        Reader.from_pretrained(bert_folder)
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        Reader.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("[1", encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read"):
        Reader.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": None}), encoding="utf-8")
    with pytest.raises(ValueError, match="a model without a name"):
        Reader.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="max_length is 301; the model takes from 1 to 300"):
        Reader.from_pretrained(bert_reader_folder, max_length=301)
    with pytest.raises(ValueError, match="doc_stride is 90 and max_length 100"):
        Reader.from_pretrained(bert_reader_folder, max_length=100, doc_stride=90)
    with pytest.raises(ValueError, match="max_answer_length is 0"):
        Reader.from_pretrained(bert_reader_folder, max_answer_length=0)
    with pytest.raises(ValueError, match="2 questions but 1 lists"):
        reader.read(QUESTIONS, [PASSAGES])
    with pytest.raises(TypeError, match="single text"):
        reader.read(QUESTIONS[:1], [PASSAGES[0]])
    for questions, passages in ((["a\ud800"], [PASSAGES]), (["a"], [["b\udc00"]])):
        with pytest.raises(ValueError, match="text 0 is no valid Unicode"):
            reader.read(questions, passages)
        with pytest.raises(ValueError, match="text 0 is no valid Unicode"):
            reader.read_pairs(questions, passages[0][:1])
    with pytest.raises(ValueError, match="question 1 is empty"):
        reader.read(["Wo?", " "], [PASSAGES, PASSAGES])
    reader.model.qa_outputs.bias.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="logits that are NaN or infinite"):
        reader.read(QUESTIONS[:1], [PASSAGES])
    with pytest.raises(ValueError, match="n_best is 0"):
        reader.read(QUESTIONS[:1], [PASSAGES], n_best=0)


def test_pairs_are_scored_by_their_best_span(reader):
    passages = [*PASSAGES, " "]
    questions = [QUESTIONS[number % 2] for number in range(4)]
    scores = reader.score_pairs(questions, passages, batch_size=3)
    best = [spans[0].score for spans in reader.read_pairs(questions[:3], PASSAGES)]
    assert scores.dtype == np.float32
    assert scores.tolist() == [*map(np.float32, best), np.finfo(np.float32).min]
