"""Questions with gold answers, and the pool of passages in which to look for them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.common.paths import expanded
from hybrid_fast.common.texts import check_unicode, id_text
from hybrid_fast.data.formats.files import SourceFile, find_files
from hybrid_fast.data.formats.items import OnEmpty
from hybrid_fast.data.formats.lines import COMPRESSIONS
from hybrid_fast.data.formats.squad import OnBadAnswer, Question, iter_paragraphs
from hybrid_fast.data.languages import codes_meant, normalize_language, warn_of_merged_files

logger = logging.getLogger(__name__)

_ENDINGS = [suffix + ending for suffix in (".json", ".jsonl") for ending in ("", *COMPRESSIONS)]


class ReadingQuestion(NamedTuple):
    """A question, its gold answers as (start in the passage, text), and the row of its passage."""

    id: str
    lang: str
    text: str
    answers: tuple[tuple[int, str], ...]
    passage_row: int

    @property
    def answer_texts(self) -> list[str]:
        """Texts of the gold answers."""
        return [text for _, text in self.answers]


class Passage(NamedTuple):
    """A paragraph of the pool."""

    lang: str
    text: str


@dataclass(frozen=True)
class ReadingData:
    """Questions, sorted by language, file and paragraph, and the pool.

    Ids of any type become text, and codes of languages are normalised.

    Attributes:
        questions: those with a gold answer.
        passages: the distinct paragraphs of each language, including those whose questions are
            left out.
        left_out: language to the number of its questions that have no gold answer or are marked as
            impossible to answer.
    """

    questions: list[ReadingQuestion]
    passages: list[Passage]
    left_out: dict[str, int]

    def __post_init__(self) -> None:
        """Check all texts, which are read and written hours later.

        Raises:
            TypeError: a text or a code is none, or an id is missing.
            ValueError: a language is unknown, or a text no valid Unicode.
        """
        questions = []
        for number, question in enumerate(self.questions):
            question_id = id_text(question.id, f"the id of question {number}")
            for text in (question.text, *question.answer_texts):
                _check_text(text, f"question {question_id!r}")
            lang = normalize_language(question.lang)
            questions.append(question._replace(id=question_id, lang=lang))
        passages = []
        for number, passage in enumerate(self.passages):
            _check_text(passage.text, f"passage {number}")
            passages.append(passage._replace(lang=normalize_language(passage.lang)))
        object.__setattr__(self, "questions", questions)
        object.__setattr__(self, "passages", passages)

    @property
    def languages(self) -> list[str]:
        """Languages of the questions, sorted."""
        return sorted({question.lang for question in self.questions})


def _check_text(text: object, where: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{where}: a text is {text!r} ({type(text).__name__}); give a string")
    check_unicode(text, where)


def load_questions(
    paths: Sequence[str | Path],
    *,
    lang: str | None = None,
    languages: Sequence[str] | None = None,
    on_bad_answer: OnBadAnswer = "error",
    on_empty: OnEmpty = "error",
) -> ReadingData:
    """Read SQuAD-shaped files.

    Args:
        paths: files; patterns with "{lang}" in them; folders with a `<language>.json` (or .jsonl,
            or compressed) for each language.
        lang: the language of files without one in their path.
        languages: codes of the languages to load; default all.
        on_bad_answer: as for `iter_paragraphs`.
        on_empty: what to do with a blank question: "error" or "skip".

    Raises:
        FileNotFoundError: if there is no such file, or a folder has none.
        TypeError: if `paths` or `languages` is one string.
        ValueError: for bad input, with file, paragraph or question, and field; for a question that
            occurs twice; for a language that is unknown, missing, or without a single gold answer.
    """
    for name, value in (("paths", paths), ("languages", languages)):
        if isinstance(value, str):
            raise TypeError(f"{name} is the text {value!r}; give a list")
    files = _choose([file for path in paths for file in _files(path, lang)], languages)
    warn_of_merged_files(", ".join(map(str, paths)), [str(file.code) for file in files])
    questions: list[ReadingQuestion] = []
    rows: dict[Passage, int] = {}
    asked: Counter[str] = Counter()
    for file in files:
        language = str(file.lang)
        for paragraph in iter_paragraphs(file.path, on_bad_answer=on_bad_answer, on_empty=on_empty):
            row = rows.setdefault(Passage(language, paragraph.context), len(rows))
            asked[language] += len(paragraph.questions)
            questions += _answered(paragraph.questions, language, row)
    _check_once(questions)
    answered = Counter(question.lang for question in questions)
    left_out = {code: asked[code] - answered[code] for code in sorted(asked)}
    _report(left_out, asked)
    return ReadingData(questions, list(rows), left_out)


def _files(path: str | Path, lang: str | None) -> list[SourceFile]:
    """Return the files of a path, each with its language."""
    folder = expanded(path)
    if folder.is_dir():
        return _folder_files(folder)
    files = find_files(path, lang=None if "{lang}" in str(path) else lang)
    if files[0].lang is None:
        raise ValueError(f"{path}: the language is unknown; give lang= or {{lang}} in the path")
    return files


def _folder_files(folder: Path) -> list[SourceFile]:
    files: list[SourceFile] = []
    for ending in _ENDINGS:
        with suppress(FileNotFoundError):  # none has this ending
            files += find_files(folder / f"{{lang}}{ending}")
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no <language>.json; give its files, such as {folder}/dev.{{lang}}.json"
        )
    return files


def _choose(files: list[SourceFile], languages: Iterable[str] | None) -> list[SourceFile]:
    """Return the files of these languages, sorted by language; all if None."""
    if languages is not None:
        found = {str(file.lang) for file in files}
        wanted = {each for code in languages for each in codes_meant(code, found) or [code]}
        if wanted - found or not wanted:
            missing = ", ".join(sorted(wanted - found))
            problem = f"the data has no {missing}" if wanted else "the list is empty"
            raise ValueError(
                f"languages: {problem}; the languages of the data are {', '.join(sorted(found))}"
            )
        files = [file for file in files if file.lang in wanted]
    return sorted(files, key=lambda file: str(file.lang))


def _answered(
    questions: Iterable[Question], language: str, passage_row: int
) -> Iterable[ReadingQuestion]:
    for question in questions:
        if question.answers and not question.is_impossible:
            answers = tuple(question.answers)
            yield ReadingQuestion(question.id, language, question.text, answers, passage_row)


def _check_once(questions: Iterable[ReadingQuestion]) -> None:
    """Raise a ValueError if a question occurs twice; in TyDi GoldP's files ids alone repeat."""
    seen: set[ReadingQuestion] = set()
    for question in questions:
        if question in seen:
            raise ValueError(
                f"question {question.id!r} occurs twice in {question.lang}, with the same passage "
                "and answers; give each file once, and keep each question once"
            )
        seen.add(question)


def _report(left_out: dict[str, int], asked: Counter[str]) -> None:
    """Log how many questions are left out; ValueError if they are all those of a language."""
    without = [code for code, number in left_out.items() if number == asked[code]]
    if without or not asked:
        whose = f"question in {', '.join(without)}" if without else "question"
        raise ValueError(
            f"no {whose} has a gold answer, so there is nothing to compare predictions with; "
            "choose other files or languages (TyDi GoldP dev has empty answers in some copies)"
        )
    some = {code: number for code, number in left_out.items() if number}
    if some:
        counts = ", ".join(f"{code} {number} of {asked[code]}" for code, number in some.items())
        logger.warning("questions without a gold answer are left out: %s", counts)
