"""Items of SQuAD-shaped files: a question and its paragraph, or the part that answers it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow as pa

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.files import SourceFile
from hybrid_fast.data.formats.items import Item, OnEmpty, report_skipped
from hybrid_fast.data.formats.squad import OnBadAnswer, Paragraph, Question, iter_paragraphs
from hybrid_fast.data.formats.window import window_around
from hybrid_fast.data.text_ids import passage_text_ids

PassageKind = Literal["context", "sentence", "window"]
GroupBy = Literal["id", "position"]


def read_squad(
    files: Sequence[SourceFile],
    *,
    passage: PassageKind = "context",
    window: int = 270,
    group_by: GroupBy = "id",
    parallel_paragraphs: bool = False,
    on_bad_answer: OnBadAnswer = "error",
    on_empty: OnEmpty = "error",
) -> Iterator[Item]:
    """Yield one item per question; questions marked as unanswerable are left out.

    Args:
        files: JSON or JSONL files with their languages.
        passage: "context": the paragraph; "sentence": the sentence in which the first answer
            starts; "window": a window around the first answer.
        window: length of the window in characters, cut at word boundaries.
        group_by: "id": questions with the same id are translations of each other; "position": no
            question is a translation, and ids are ignored (TyDi GoldP train repeats them).
        parallel_paragraphs: paragraph i of every file is a translation of paragraph i of the
            others, and the passages of all their questions share one id.
        on_bad_answer: as in `iter_paragraphs`. Only passage="context" has an item for a question
            without an answer; otherwise it is an error, or left out unless this is "error".
        on_empty: what to do with a blank question: "error" or "skip".

    The passage id is that of the paragraph, or for passage="sentence" that of the sentence.

    Raises:
        ValueError: for bad input, with file, paragraph or question, and field.
    """
    check_choice("passage", passage, ("context", "sentence", "window"))
    check_choice("group_by", group_by, ("id", "position"))
    if type(window) is not int or window < 1:
        raise ValueError(f"window must be a whole number of characters, at least 1, got {window!r}")
    first_ids: dict[str, tuple[SourceFile, list[str]]] = {}
    for file in files:
        paragraphs = list(
            iter_paragraphs(file.path, on_bad_answer=on_bad_answer, on_empty=on_empty)
        )
        contexts = pa.array([paragraph.context for paragraph in paragraphs], pa.string())
        ids = passage_text_ids(contexts).to_pylist()
        if parallel_paragraphs:
            first, parallel_ids = first_ids.setdefault(file.label, (file, ids))
            _check_parallel(first, parallel_ids, file, ids)
            passage_ids: Sequence[str | None] = parallel_ids
        else:
            passage_ids = [None] * len(ids) if passage == "sentence" else ids
        rows = [
            (paragraph, passage_id, question)
            for paragraph, passage_id in zip(paragraphs, passage_ids, strict=True)
            for question in paragraph.questions
        ]
        yield from _items(file, rows, group_by, passage, window, on_bad_answer)


def _items(
    file: SourceFile,
    rows: Sequence[tuple[Paragraph, str | None, Question]],
    group_by: GroupBy,
    passage: PassageKind,
    window: int,
    on_bad_answer: OnBadAnswer,
) -> Iterator[Item]:
    """Yield the items of one file, from its questions with their paragraphs and passage ids."""
    if file.lang is None:
        raise ValueError(
            f"{file.path}: the language is unknown; give lang= or {{lang}} in the path"
        )
    group_ids = _group_ids(file, [question.id for _, _, question in rows], group_by)
    num_skipped = 0
    for group_id, (paragraph, passage_id, question) in zip(group_ids, rows, strict=True):
        where = f"{file.path}, question {question.id!r}"
        if question.is_impossible:
            continue
        text = _passage(paragraph, question, passage, window, where)
        if text is not None:
            yield Item(group_id, file.lang, question.text, text, passage_id)
        elif on_bad_answer == "error":
            raise ValueError(
                f"{where}, field 'answers': passage={passage!r} needs an answer; use "
                "passage='context' or on_bad_answer='skip'"
            )
        else:
            num_skipped += 1
    report_skipped(file.path, num_skipped, "questions without an answer")


def _passage(
    paragraph: Paragraph, question: Question, passage: PassageKind, window: int, where: str
) -> str | None:
    """Return the text to retrieve, or None if it needs an answer and there is none."""
    if passage == "context":
        return paragraph.context
    if not question.answers:
        return None
    start, answer = question.answers[0]
    if passage == "window":
        return window_around(paragraph.context, start, start + len(answer), window)
    if not paragraph.sentences:
        raise ValueError(f"{where}: its paragraph has no sentences; use passage='window'")
    try:
        return paragraph.sentences[paragraph.sentence_at(start)]
    except ValueError as error:
        raise ValueError(f"{where}, field 'answer_start': {error}") from error


def _group_ids(file: SourceFile, question_ids: Sequence[str], group_by: GroupBy) -> list[str]:
    if group_by == "position":
        return [file.row_id(number) for number in range(1, len(question_ids) + 1)]
    repeated = [name for name, count in Counter(question_ids).items() if count > 1]
    if repeated:
        raise ValueError(
            f"{file.path}, question {repeated[0]!r}, field 'id': {len(repeated)} ids belong to "
            "several questions each; group_by='position' numbers the questions instead"
        )
    return list(question_ids)


def _check_parallel(
    first: SourceFile, first_ids: Sequence[str], file: SourceFile, ids: Sequence[str]
) -> None:
    if len(ids) != len(first_ids):
        raise ValueError(
            f"{file.path} has {len(ids)} paragraphs, {first.path} has {len(first_ids)}: they are "
            "not parallel; leave out parallel_paragraphs"
        )
