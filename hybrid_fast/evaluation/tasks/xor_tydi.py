"""XOR-TyDi Retrieve (Asai et al. 2021): questions in seven languages, answers in English Wikipedia.

R@2kt and R@5kt: the share of questions of which an answer stands, case and all, within the first
2,000 or 5,000 tokens of the passages ranked first; mean over languages. Tokens are those of
`word_tokenize` of NLTK, joined by spaces. Answers "yes" and "no" do not count, nor do questions
that have no others.

Every question counts here, found or not. The script of the data set (evals/eval_xor_retrieve.py in
AkariAsai/XORQA) leaves out questions without a prediction, and languages without any; its figure
stands beside ours, and differs for predictions that lack questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from hybrid_fast.data.formats.collection import field_of, iter_passages, iter_records
from hybrid_fast.data.formats.items import check_text
from hybrid_fast.evaluation.search import search
from hybrid_fast.evaluation.tasks.files import find, only, task_folders
from hybrid_fast.evaluation.tasks.judged import TextForm
from hybrid_fast.evaluation.tasks.task import RetrievalTask, with_dtype
from hybrid_fast.evaluation.tasks.texts import Candidate, Query, check_languages, store
from hybrid_fast.results import RankingBias, Results
from hybrid_fast.results.run_info import RunInfo

LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
BUDGETS = {"r@2kt": 2000, "r@5kt": 5000}
# Passages have about 100 words; more are taken for queries whose first ones are shorter.
FIRST_DEPTH = 100
TILE_ROWS = 256


class AnswerTask(RetrievalTask):
    """Questions with answers as texts, in place of judged passages.

    Attributes:
        answers: question id to the texts that answer it, at least one.
        passages: texts of the candidates without their titles, where answers are looked for.
        left_out: by language, how many questions have no answer but "yes" and "no".
    """

    takes_scorers = False

    def __init__(
        self,
        name: str,
        questions: Iterable[Query],
        answers: Mapping[str, Sequence[str]],
        candidates: Iterable[Candidate],
        passages: Iterable[str],
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep the questions that have answers, and both texts of each passage.

        Args:
            name: name of the task.
            questions: all questions, whose ids differ.
            answers: question id to its answers.
            candidates: what is searched, all in one language.
            passages: the text of each in which answers are looked for.
            settings: how the texts were made, for the record.

        Raises:
            ValueError: as `RetrievalTask`, or if the id of a question or candidate occurs twice,
                or candidates have several languages or another number than passages.
        """
        self.answers = {
            query_id: [text for text in texts if text not in ("yes", "no", "")]
            for query_id, texts in answers.items()
        }
        asked = list(questions)
        kept = [question for question in asked if self.answers.get(question.id)]
        if len({question.id for question in kept}) < len(kept):
            raise ValueError(f"task {name!r}: a question id occurs more than once")
        self.left_out = {
            lang: sum(question.lang == lang for question in asked)
            - sum(question.lang == lang for question in kept)
            for lang in sorted({question.lang for question in asked})
        }
        super().__init__(name, kept, candidates, settings)
        ids = self.candidates.ids
        if pc.count_distinct(pa.array(ids)).as_py() < len(ids):
            raise ValueError(f"task {name!r}: a candidate id occurs more than once")
        if len(self.candidates.counts) > 1:
            raise ValueError(f"task {name!r}: candidates have several languages; one is searched")
        self.passages = store(Query("", "", text) for text in passages)["text"]
        if len(self.passages) != len(self.candidates):
            raise ValueError(
                f"task {name!r} has {len(self.candidates)} candidates but "
                f"{len(self.passages)} passages"
            )
        self.grid_metrics = (*self.grid_metrics, *BUDGETS)

    def score(
        self,
        query_embeddings: np.ndarray | torch.Tensor,
        candidate_embeddings: np.ndarray | torch.Tensor,
        *,
        info: RunInfo | None = None,
    ) -> Results:
        """Search, and look for answers in what is found first; see `RetrievalTask.score`."""
        queries, candidates = self._check(query_embeddings, candidate_embeddings)
        found = np.concatenate(
            [
                self._find_answers(start, queries[start : start + TILE_ROWS], candidates)
                for start in range(0, len(queries), TILE_ROWS)
            ]
        )
        return self._answer_results(
            found,
            np.ones(len(found), dtype=bool),
            with_dtype(info, query_embeddings),
        )

    def score_passages(
        self, ranked: Mapping[str, Sequence[str]], *, info: RunInfo | None = None
    ) -> Results:
        """Look for answers in passages that another system ranked.

        Args:
            ranked: question id to texts of passages, best first. Questions that it lacks count as
                not answered, and not at all for the official figure.
            info: the system, for the record.

        Raises:
            ValueError: if it names questions that the task lacks.
        """
        unknown = sorted(set(ranked) - set(self.answers))
        if unknown:
            raise ValueError(
                f"task {self.name!r}: {len(unknown)} questions are none of the task's: "
                f"{', '.join(map(repr, unknown[:3]))}"
            )
        found = [
            _answered(ranked.get(each, ()), self.answers[each])[0] for each in self.queries.ids
        ]
        predicted = np.array([each in ranked for each in self.queries.ids])
        return self._answer_results(np.array(found), predicted, info or RunInfo())

    def run_ids(self) -> tuple[list[str], list[str]]:
        """Raise ValueError: there are no judgements of passages that a run could be scored by."""
        raise ValueError(f"task {self.name!r} has answers but no judgements, so no run is written")

    def _find_answers(self, start: int, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Return whether each query is answered within each budget, bool (n, 2)."""
        found = np.zeros((len(queries), len(BUDGETS)), dtype=bool)
        rows, depth = np.arange(len(queries)), min(FIRST_DEPTH, len(candidates))
        while rows.size:
            hits = search(queries[rows], candidates, depth)
            is_short = np.zeros(len(rows), dtype=bool)
            for place, (row, passages) in enumerate(zip(rows, hits.rows, strict=True)):
                texts = (self.passages[int(passage)].as_py() for passage in passages)
                answers = self.answers[self.queries.ids[start + int(row)]]
                found[row], num_tokens = _answered(texts, answers)
                is_short[place] = num_tokens < max(BUDGETS.values())
            rows = rows[is_short] if depth < len(candidates) else rows[:0]
            depth = min(4 * depth, len(candidates))
        return found

    def _answer_results(self, found: np.ndarray, predicted: np.ndarray, info: RunInfo) -> Results:
        """Return results of what was found, bool (num_queries, 2), and which have predictions."""
        by_query = {
            name: np.full((len(found), len(self.languages) + 1), np.nan) for name in self.metrics
        }
        corpus = int(self.candidates.language_codes[0])
        for column, name in enumerate(BUDGETS):
            by_query[name] = np.full((len(found), len(self.languages) + 1), np.nan)
            by_query[name][:, [corpus, -1]] = found[:, [column]]
        results = self._results(by_query, np.full(len(found), np.nan), RankingBias(), info)
        results.counts.other["left_out"] = self.left_out
        results.counts.other["without_prediction"] = int((~predicted).sum())
        languages_of = self.queries.language_codes
        for column, name in enumerate(BUDGETS):
            means = [
                found[predicted & (languages_of == language), column].mean()
                for language in np.unique(languages_of[predicted])
            ]
            results.metrics.setdefault("official", {})[name] = (
                float(np.mean(means)) if means else None
            )
        return results


def load_xor_tydi(
    data: str | Path | None,
    *,
    languages: Sequence[str] | None = None,
    candidate_text: str | None = None,
) -> AnswerTask:
    """Load the development set of XOR-TyDi Retrieve.

    Args:
        data: a folder with xor_dev_retrieve_eng_span_v1_1.jsonl and the passages of English
            Wikipedia, enwiki_20190201_w100.tsv or psgs_w100.tsv (id, text, title).
        languages: languages of questions; default all seven.
        candidate_text: "title+text" (default) or "text". Answers are looked for in the text alone.

    Raises:
        FileNotFoundError: if the folder or a file in it is not there.
        ImportError: if NLTK, or its data of sentence ends, is not installed.
        ValueError: if a language or `candidate_text` is unknown, or a file is malformed.
    """
    form = TextForm(candidate_text).checked()
    chosen = check_languages(languages, LANGUAGES, "xor-tydi")
    _tokenizer()
    patterns = {
        "questions": ["xor_dev_retrieve_eng_span_v1_1.jsonl*", "xor_dev_retrieve_eng_span.jsonl*"],
        "passages": ["enwiki_20190201_w100.tsv*", "psgs_w100.tsv*"],
    }
    expected = "xor_dev_retrieve_eng_span_v1_1.jsonl and enwiki_20190201_w100.tsv"
    folders = task_folders("xor-tydi", data, expected)
    files = {name: find(folders, some) for name, some in patterns.items()}
    for name, found in files.items():
        if not found:
            raise FileNotFoundError(
                f"the {name} of xor-tydi, {' or '.join(patterns[name])}, are not in data folder "
                f"{str(folders[0])!r}"
            )
    questions, answers = _read_questions(only(files["questions"]), chosen)
    missing = sorted(set(chosen) - {question.lang for question in questions})
    if missing and languages is not None:
        raise FileNotFoundError(
            f"no question in {', '.join(missing)} in {only(files['questions'])}"
        )
    paths = [only(files["passages"])]
    return AnswerTask(
        "xor-tydi",
        questions,
        answers,
        (Candidate(each.id, "en", next(form.texts(each))) for each in iter_passages(paths)),
        (each.text for each in iter_passages(paths)),
        {"candidate_text": form.candidate_text, "split": "dev", "tokens": "nltk"},
    )


def _read_questions(
    path: Path, languages: Sequence[str]
) -> tuple[list[Query], dict[str, list[str]]]:
    questions: list[Query] = []
    answers: dict[str, list[str]] = {}
    for where, record in iter_records(path):
        query_id, lang, text = (
            field_of(record, (key,), where) for key in ("id", "lang", "question")
        )
        given = record.get("answers")
        if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
            raise ValueError(f"{where}, field 'answers': must be a list of texts, got {given!r}")
        if lang not in LANGUAGES:
            raise ValueError(
                f"{where}, field 'lang': {lang!r} is none of the languages {', '.join(LANGUAGES)}"
            )
        if query_id in answers:
            raise ValueError(f"{where}: question {query_id!r} occurs a second time; leave one in")
        answers[query_id] = given
        if lang in languages:
            text = check_text(text, where, "question", can_skip=False)
            questions.append(Query(query_id, lang, text))
    return questions, answers


def _answered(texts: Iterable[str], answers: Sequence[str]) -> tuple[list[bool], int]:
    """Return whether an answer is within each budget, and how many tokens were counted."""
    tokenize, most = _tokenizer(), max(BUDGETS.values())
    tokens: list[str] = []
    for text in texts:
        tokens += tokenize(text)
        if len(tokens) >= most:
            break
    joined = (" ".join(tokens[:budget]) for budget in BUDGETS.values())
    return [any(answer in text for answer in answers) for text in joined], len(tokens)


@cache
def _tokenizer() -> Callable[[str], list[str]]:
    """Return NLTK's `word_tokenize`, which needs data to tell where sentences end.

    Raises:
        ImportError: if NLTK or its data is not installed.
    """
    try:
        from nltk.tokenize import word_tokenize

        word_tokenize("A sentence.")
    except ImportError as error:
        raise ImportError(
            "task 'xor-tydi' counts tokens with NLTK; install it: pip install 'hybrid_fast[xor]'"
        ) from error
    except LookupError as error:
        raise ImportError(
            "task 'xor-tydi' counts tokens with NLTK, whose data of sentence ends is not there; "
            "get it with `python -m nltk.downloader punkt_tab`, or copy the folder "
            "tokenizers/punkt_tab into a folder that the environment variable NLTK_DATA names"
        ) from error
    return word_tokenize
