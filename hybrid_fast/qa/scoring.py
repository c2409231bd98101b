"""Evaluation of a reader: on the gold passages, and on those that a retriever finds.

Gold passages give the ceiling: how well the reader does on the right text. Retrieve-then-read shows
how much of it remains with a retriever, and answer recall what a perfect reader could reach on the
retrieved passages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.files import complete_folder
from hybrid_fast.common.paths import expanded
from hybrid_fast.qa.answers import (
    MLQA_LANGUAGES,
    RULES,
    Rules,
    contains_answer,
    score_answer,
)
from hybrid_fast.qa.questions import ReadingData
from hybrid_fast.qa.reader import Reader, Span, merge_spans
from hybrid_fast.qa.retrieval import check_top_k, retrieve
from hybrid_fast.results.plain import plain, printed
from hybrid_fast.results.results import library_versions
from hybrid_fast.retrieval.case_folding import WITH_OWN_RULES
from hybrid_fast.retrieval.encoding import describe_model

FILE_NAME = "reading.json"
PREDICTIONS_FILE = "predictions.jsonl"
GOLD = "gold"

# Metric to language, "mean" or "mean_without_en", to the score in percent.
ReadingScores = dict[str, dict[str, float | None]]


@dataclass(frozen=True)
class ReadingResults:
    """Scores of one reader, in percent.

    Attributes:
        reader: its name.
        retriever: name of the model that found the passages, None without one.
        rules: "squad" or "mlqa".
        versions: version of Python and of each library that scores depend on.
        settings: sizes of the windows, "top_k", "languages_beyond_rules": those that MLQA's rules
            do not cover, and "case_by_language": those whose case is folded by their own rules.
        scores: "gold", "retrieved@1", ... to "exact_match", "f1" and, for retrieved passages,
            "answer_recall", to language, "mean" (of all languages) and "mean_without_en", to the
            score; None if there is nothing to average.
        counts: "questions" and "passages" by language, "left_out": questions without a gold answer.
        predictions: the id, language, text, answers and predicted answers of each question.
    """

    reader: str
    retriever: str | None
    rules: str
    versions: dict[str, str]
    settings: dict[str, Any]
    scores: dict[str, ReadingScores]
    counts: dict[str, dict[str, int]]
    predictions: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of `reading.json`, in plain types."""
        content = asdict(replace(self, predictions=[]))
        del content["predictions"]
        return {"figures" if key == "scores" else key: value for key, value in content.items()}

    def save(self, folder: str | Path) -> Path:
        """Write `reading.json` and `predictions.jsonl` into a folder, which is made if need be.

        Returns:
            The path of `reading.json`.

        Raises:
            NotADirectoryError: `folder` is a file.
        """
        folder = expanded(folder)
        content = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        lines = [json.dumps(each, ensure_ascii=False) for each in self.predictions]
        # Predictions are never beside the scores of another run: they go first and come last.
        files = {"stale": [PREDICTIONS_FILE], "order": [FILE_NAME, PREDICTIONS_FILE]}
        with complete_folder(folder, **files) as staged:
            (staged / PREDICTIONS_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
            (staged / FILE_NAME).write_text(content + "\n", encoding="utf-8")
        return folder / FILE_NAME


def evaluate_reader(
    reader: Reader,
    data: ReadingData,
    *,
    retriever: object | None = None,
    top_k: Sequence[int] = (1, 5, 10),
    rules: Rules = "squad",
    batch_size: int = 32,
    retriever_name: str | Path | None = None,
) -> ReadingResults:
    """Read the gold passage of every question and, with a retriever, the passages that it finds.

    Args:
        reader: answers the questions.
        data: see `load_questions`.
        retriever: any model that `RetrievalTask.evaluate` accepts; it searches the pool of all
            languages.
        top_k: numbers of passages to read, best first; the scores of each are reported.
        rules: how exact match and F1 compare answers, "squad" or "mlqa".
        batch_size: windows that the reader takes at a time.
        retriever_name: name of the retriever in results, or its path; default its own.

    Raises:
        TypeError: the retriever cannot encode texts.
        ValueError: unknown rules, `top_k` beyond the pool, or embeddings that cannot be used.
    """
    check_choice("rules", rules, RULES)
    found = np.empty((len(data.questions), 0), dtype=np.int64)
    depths: list[int] = []
    if retriever is not None:
        depths = check_top_k(top_k, len(data.passages))
        found = retrieve(retriever, data, depths[-1])
        retriever_name = retriever_name or describe_model(retriever)[0]
    spans = _read(reader, data, found, batch_size)
    settings = {GOLD: [each[:1] for each in spans]}
    settings |= {f"retrieved@{k}": [each[1 : k + 1] for each in spans] for k in depths}
    answers = {name: [_best_text(some) for some in each] for name, each in settings.items()}
    scores = {name: _score(data, texts, rules) for name, texts in answers.items()}
    for k in depths:
        scores[f"retrieved@{k}"]["answer_recall"] = _answer_recall(data, found[:, :k])
    beyond = [code for code in data.languages if rules == "mlqa" and code not in MLQA_LANGUAGES]
    return ReadingResults(
        reader=printed(str(reader.name_or_path)),
        retriever=plain(retriever_name, "retriever_name") if retriever is not None else None,
        rules=rules,
        versions=library_versions(),
        settings=plain(
            {
                **asdict(reader.sizes),
                "max_answer_length": reader.max_answer_length,
                "top_k": depths,
                "languages_beyond_rules": beyond,
                "case_by_language": sorted(WITH_OWN_RULES.intersection(data.languages)),
            },
            "settings",
        ),
        scores=scores,
        counts=_count(data),
        predictions=_predictions(data, answers),
    )


def _read(
    reader: Reader, data: ReadingData, found: np.ndarray, batch_size: int
) -> list[list[list[Span]]]:
    """Return, for each question, the best span of its gold passage and of each passage found."""
    rows = [
        [question.passage_row, *some]
        for question, some in zip(data.questions, found.tolist(), strict=True)
    ]
    # A gold passage that is also found is read once.
    pairs = list(dict.fromkeys((number, row) for number, some in enumerate(rows) for row in some))
    spans = reader.read_pairs(
        [data.questions[number].text for number, _ in pairs],
        [data.passages[row].text for _, row in pairs],
        batch_size=batch_size,
        show_progress=True,
    )
    by_pair = dict(zip(pairs, spans, strict=True))
    return [[by_pair[number, row] for row in some] for number, some in enumerate(rows)]


def _count(data: ReadingData) -> dict[str, dict[str, int]]:
    """Return the numbers of questions and passages by language, and of questions left out."""
    questions = [question.lang for question in data.questions]
    passages = [passage.lang for passage in data.passages]
    return {
        "questions": {code: questions.count(code) for code in data.languages},
        "passages": {code: passages.count(code) for code in sorted(set(passages))},
        "left_out": data.left_out,
    }


def _best_text(lists: list[list[Span]]) -> str:
    best = merge_spans(lists, 1)
    return best[0].text if best else ""


def _predictions(data: ReadingData, answers: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    return [
        {
            "id": question.id,
            "lang": question.lang,
            "question": question.text,
            "answers": question.answer_texts,
            "predictions": {name: texts[row] for name, texts in answers.items()},
        }
        for row, question in enumerate(data.questions)
    ]


def _score(data: ReadingData, predictions: Sequence[str], rules: Rules) -> ReadingScores:
    scores = [
        score_answer(prediction, question.answer_texts, question.lang, rules)
        for prediction, question in zip(predictions, data.questions, strict=True)
    ]
    return {
        "exact_match": summarise(data, [score.exact_match for score in scores]),
        "f1": summarise(data, [score.f1 for score in scores]),
    }


def _answer_recall(data: ReadingData, found: np.ndarray) -> dict[str, float | None]:
    values = [
        float(
            any(
                contains_answer(data.passages[row].text, question.answer_texts, question.lang)
                for row in rows
            )
        )
        for question, rows in zip(data.questions, found.tolist(), strict=True)
    ]
    return summarise(data, values)


def summarise(data: ReadingData, values: Sequence[float]) -> dict[str, float | None]:
    """Return the mean of each language in percent, and the means over languages.

    Args:
        data: the questions.
        values: one per question, from 0 to 1.

    Returns:
        Language, "mean" or "mean_without_en" to the mean.
    """
    by_language: dict[str, list[float]] = {code: [] for code in data.languages}
    for question, value in zip(data.questions, values, strict=True):
        by_language[question.lang].append(value)
    means = {code: 100 * fmean(some) for code, some in by_language.items()}
    return {**means, **macro_means(means)}


def macro_means(means: Mapping[str, float]) -> dict[str, float | None]:
    """Return the mean over languages with English, as in XTREME, and without, as in TyDi QA."""
    others = [mean for code, mean in means.items() if code != "en"]
    return {
        "mean": fmean(means.values()),
        "mean_without_en": fmean(others) if others else None,
    }
