"""SQuAD-shaped paragraphs: SQuAD, XQuAD(-R), MLQA(-R), TyDi GoldP, ARCD, DRCD, CMRC, iApp.

Either the nested JSON of the original (data / paragraphs / qas, with `sentences` and
`sentence_breaks` in the LAReQA sets) or flat, with one question per record, as in `datasets`.
Offsets count code points of the context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Literal, TypeVar

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.items import (
    OnEmpty,
    check_text,
    is_blank,
    report_skipped,
)
from hybrid_fast.data.formats.json_text import Json, JsonObject, iter_json_objects
from hybrid_fast.data.formats.lines import check_file

Field = TypeVar("Field", str, int, list)
OnBadAnswer = Literal["error", "relocate", "skip"]
Located = tuple[str, JsonObject]  # the place of a JSON object, for messages, and the object


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a paragraph, with its answers as (start in the context, text).

    It has no answers if the file has none or only empty ones (TyDi GoldP dev), if all of them were
    bad and left out, or if it is marked as unanswerable (SQuAD 2).
    """

    id: str
    text: str
    answers: list[tuple[int, str]]
    is_impossible: bool = False


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A context with its questions, and its sentences if the file has them.

    Sentence i spans [start, end) = sentence_breaks[i] of the context. Its text is in `sentences`:
    the two differ in two places of XQuAD-R.
    """

    context: str
    sentences: list[str]
    questions: list[Question]
    sentence_breaks: list[tuple[int, int]] = field(default_factory=list)

    def sentence_at(self, offset: int) -> int:
        """Return the index of the first sentence with start <= offset < end.

        Raises:
            ValueError: if there is none.
        """
        for number, (start, end) in enumerate(self.sentence_breaks):
            if start <= offset < end:
                return number
        raise ValueError(f"offset {offset} is in no sentence; breaks: {self.sentence_breaks}")


def iter_paragraphs(
    path: str | Path, *, on_bad_answer: OnBadAnswer = "error", on_empty: OnEmpty = "error"
) -> Iterator[Paragraph]:
    """Yield the paragraphs of a SQuAD-shaped file in order.

    Args:
        path: a JSON file of articles, or one of questions (JSONL, or an array), of which those
            that follow one another with the same context make one paragraph.
        on_bad_answer: what to do with an answer whose text is not at its offset in the context:
            "error"; "relocate", move it to the nearest occurrence, or leave it out if there is
            none; or "skip", leave it out.
        on_empty: what to do with a blank question: "error" or "skip".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for bad input, with file, paragraph or question, and field.
    """
    check_choice("on_bad_answer", on_bad_answer, ("error", "relocate", "skip"))
    check_choice("on_empty", on_empty, ("error", "skip"))
    path = check_file(path)
    parser = _Parser(on_bad_answer, on_empty)
    for where, record in _located_paragraphs(path):
        yield parser.paragraph(where, record)
    counts = parser.counts
    report_skipped(path, counts["empty"], "empty questions")
    report_skipped(path, counts["bad"], f"of {counts['all']} answers that do not match the context")


class _Parser:
    """Checks JSON objects and makes paragraphs of them."""

    def __init__(self, on_bad_answer: OnBadAnswer, on_empty: OnEmpty) -> None:
        self.on_bad_answer, self.on_empty = on_bad_answer, on_empty
        self.counts: Counter[str] = Counter()

    def paragraph(self, where: str, record: JsonObject) -> Paragraph:
        context = check_text(_get(record, "context", str, where), where, "context", can_skip=False)
        sentences, breaks = _sentences(record, context, where)
        questions = []
        for number, qa in enumerate(_get(record, "qas", list, where)):
            _check_object(qa, f"{where}, qas[{number}]")
            question_id = qa.get("id", qa.get("question_id"))
            if type(question_id) not in (str, int):
                raise ValueError(f"{where}, qas[{number}], field 'id': is missing or not text")
            question_id = check_text(str(question_id), f"{where}, qas[{number}]", "id", False)
            question = self._question(context, question_id, qa, where)
            if question is not None:
                questions.append(question)
        return Paragraph(context, sentences, questions, breaks)

    def _question(
        self, context: str, question_id: str, qa: JsonObject, where: str
    ) -> Question | None:
        where = f"{where}, question {question_id!r}"
        text = _get(qa, "question", str, where)
        if is_blank(text) and self.on_empty == "skip":
            self.counts["empty"] += 1
            return None
        check_text(text, where, "question")
        answers = [
            self._answer(context, answer, f"{where}, answers[{number}]")
            for number, answer in enumerate(_answer_list(qa, where))
        ]
        kept = [answer for answer in answers if answer is not None]
        return Question(question_id, text, kept, bool(qa.get("is_impossible", False)))

    def _answer(self, context: str, answer: Json, where: str) -> tuple[int, str] | None:
        """Return a checked answer, or None if it is empty or left out."""
        _check_object(answer, where)
        start = _get(answer, "answer_start", int, where)
        text = _get(answer, "text", str, where)
        self.counts["all"] += 1
        if is_blank(text):
            return None
        if start >= 0 and context.startswith(text, start):
            return start, text
        if self.on_bad_answer == "error":
            raise ValueError(
                f"{where}, field 'answer_start': {_mismatch(context, start, text)}; "
                "on_bad_answer='relocate' or 'skip' lets such answers pass"
            )
        nearest = _nearest(context, text, start) if self.on_bad_answer == "relocate" else None
        if nearest is None:
            self.counts["bad"] += 1
            return None
        return nearest, text


def _located_paragraphs(path: Path) -> Iterator[Located]:
    """Yield the paragraphs of either shape; ValueError if there is none."""
    records = iter_json_objects(path)
    first = next(records, None)
    if first is None:
        raise ValueError(f"{path}: holds no paragraph")
    is_flat = "context" in first[1] or "question" in first[1]
    yield from (_flat if is_flat else _nested)(path, chain([first], records))


def _nested(path: Path, records: Iterable[tuple[int, JsonObject]]) -> Iterator[Located]:
    """Yield the paragraphs of articles, the records of the original shape."""
    number = 0
    for where, article in _articles(path, records):
        _check_object(article, where)
        for paragraph in _get(article, "paragraphs", list, where):
            number += 1
            _check_object(paragraph, f"{path}, paragraph {number}")
            yield f"{path}, paragraph {number}", paragraph


def _articles(path: Path, records: Iterable[tuple[int, JsonObject]]) -> Iterator[tuple[str, Json]]:
    for number, (_, record) in enumerate(records):
        if "paragraphs" in record:
            yield f"{path}, data[{number}]", record
        else:
            articles = _get(record, "data", list, str(path))
            yield from ((f"{path}, data[{i}]", article) for i, article in enumerate(articles))


def _flat(path: Path, records: Iterable[tuple[int, JsonObject]]) -> Iterator[Located]:
    """Yield a paragraph for each run of questions that have one context."""
    located = ((f"{path}:{number}", record) for number, record in records)

    def context(one: Located) -> str:
        where, record = one
        return _get(record, "context", str, where)

    for text, questions in groupby(located, key=context):
        run = list(questions)
        yield run[0][0], {"context": text, "qas": [record for _, record in run]}


def _sentences(
    record: JsonObject, context: str, where: str
) -> tuple[list[str], list[tuple[int, int]]]:
    sentences = _get(record, "sentences", list, where, default=[])
    breaks = _get(record, "sentence_breaks", list, where, default=[])
    if len(sentences) != len(breaks):
        raise ValueError(
            f"{where}, field 'sentence_breaks': has {len(breaks)} entries for "
            f"{len(sentences)} sentences"
        )
    for number, (sentence, span) in enumerate(zip(sentences, breaks, strict=True)):
        check_text(sentence, where, f"sentences[{number}]", can_skip=False)
        is_span = isinstance(span, list) and [type(end) for end in span] == [int, int]
        if not is_span or not 0 <= span[0] <= span[1] <= len(context):
            raise ValueError(
                f"{where}, field 'sentence_breaks[{number}]': {span!r} is not a [start, end) "
                f"within the context of {len(context)} characters"
            )
    return sentences, [(start, end) for start, end in breaks]


def _answer_list(qa: JsonObject, where: str) -> list[Json]:
    """Return answers as a list of objects; `datasets` keeps an object of lists instead."""
    if not isinstance(qa.get("answers"), dict):
        return _get(qa, "answers", list, where, default=[])
    answers = qa["answers"]
    starts = _get(answers, "answer_start", list, f"{where}, answers")
    texts = _get(answers, "text", list, f"{where}, answers")
    if len(starts) != len(texts):
        raise ValueError(
            f"{where}, field 'answers': {len(texts)} texts but {len(starts)} answer_start"
        )
    return [{"answer_start": s, "text": t} for s, t in zip(starts, texts, strict=True)]


def _mismatch(context: str, start: int, text: str) -> str:
    if not 0 <= start < len(context):
        return f"{start} lies outside the context of {len(context)} characters"
    found = context[start : start + len(text)]
    return f"the context has {found!r} at {start}, not the answer {text!r}"


def _nearest(context: str, text: str, start: int) -> int | None:
    """Return the start of the nearest occurrence of a text; of two equally near, the earlier."""
    before = context.rfind(text, 0, max(start, 0) + len(text))
    after = context.find(text, max(start, 0))
    found = [position for position in (before, after) if position >= 0]
    return min(found, key=lambda position: abs(position - start), default=None)


def _check_object(value: Json, where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: must be a JSON object, got {str(value)[:60]!r}")


def _get(
    record: JsonObject, key: str, kind: type[Field], where: str, default: Field | None = None
) -> Field:
    """Return a field, which must have a type; a bool is not an int."""
    value = record.get(key, default)
    if value is None:
        raise ValueError(f"{where}, field {key!r}: is missing; the fields are {list(record)}")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(
            f"{where}, field {key!r}: must be {_JSON_NAMES[kind]}, got {str(value)[:60]!r}"
        )
    return value


_JSON_NAMES = {str: "text", int: "a whole number", list: "a list"}
