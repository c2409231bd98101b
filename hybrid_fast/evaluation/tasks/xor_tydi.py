"""XOR-TyDi Retrieve (Asai et al. 2021): questions in seven languages, answers in English Wikipedia.

R@2kt and R@5kt: the share of questions with an answer, in the same case, within the first 2,000 or
5,000 tokens of the top-ranked passages; mean over languages. Tokens are those of NLTK's
`word_tokenize`, joined by spaces. The answers "yes" and "no" do not count, nor do questions without
any other.

Every question counts here, found or not. The script of the data set (evals/eval_xor_retrieve.py in
AkariAsai/XORQA) leaves out questions without a prediction, and languages without any; its score is
reported beside ours, and differs if predictions lack questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hybrid_fast.common.texts import id_text
from hybrid_fast.data.formats.collection import iter_passages, iter_records
from hybrid_fast.data.formats.fields import field_of
from hybrid_fast.data.formats.items import check_text
from hybrid_fast.evaluation.tasks.embeddings import Embeddings, with_dtype
from hybrid_fast.evaluation.tasks.files import find, only, task_folders
from hybrid_fast.evaluation.tasks.inputs import TextChecks
from hybrid_fast.evaluation.tasks.judged import TextForm
from hybrid_fast.evaluation.tasks.outcome import make_results
from hybrid_fast.evaluation.tasks.queries import Candidate, Query, check_languages
from hybrid_fast.evaluation.tasks.query_scores import QueryScores
from hybrid_fast.evaluation.tasks.task import RetrievalTask
from hybrid_fast.results import Results, RunInfo
from hybrid_fast.retrieval.exact_search import search
from hybrid_fast.retrieval.shared_work import SharedWork, own_parts
from hybrid_fast.retrieval.texts import store_texts

LANGUAGES = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
BUDGETS = {"r@2kt": 2000, "r@5kt": 5000}
# Passages have about 100 words; queries whose first passages are shorter get more of them.
FIRST_DEPTH = 100
TILE_ROWS = 256


class AnswerTask(RetrievalTask):
    """Questions whose answers are texts to be found, in place of judged passages.

    Attributes:
        answers: question id to the texts that answer it, at least one.
        passages: texts of the candidates without titles, in which answers are looked for.
        left_out: language to its number of questions without an answer other than "yes" and "no".
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
            questions: all questions, with distinct ids.
            answers: question id to the texts that answer it.
            candidates: texts to search, all in one language.
            passages: the text of each candidate in which answers are looked for.
            settings: how the texts were made, recorded in results.

        Raises:
            ValueError: as `RetrievalTask`, or if the id of a question or candidate occurs twice,
                in `answers` too, candidates have several languages, or there are not as many
                passages.
        """
        self.answers = {
            query_id: [text for text in texts if text not in ("yes", "no", "")]
            for query_id, texts in _with_text_ids(answers, f"task {name!r}: answers").items()
        }
        checks = TextChecks(name, self._language_code, keep_variants=False)
        asked = list(starmap(Query, checks.texts("query", questions)))
        checks.warn_of_merged()
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
            raise ValueError(f"task {name!r}: candidates have several languages; give those of one")
        numbered = ((row, "en", text) for row, text in enumerate(passages))
        self.passages = store_texts(checks.texts("passage", numbered, can_be_blank=True))["text"]
        if len(self.passages) != len(self.candidates):
            raise ValueError(
                f"task {name!r} has {len(self.candidates)} candidates but "
                f"{len(self.passages)} passages"
            )
        self.grid_metrics = (*self.grid_metrics, *BUDGETS)

    def score(
        self,
        query_embeddings: Embeddings,
        candidate_embeddings: Embeddings,
        *,
        info: RunInfo | None = None,
        shared: SharedWork | None = None,
    ) -> Results:
        """Search, and look for answers in the first passages; see `RetrievalTask.score`."""
        queries, candidates = self._checked(query_embeddings, candidate_embeddings)
        rows = np.arange(len(queries))
        tiles = [rows[start : start + TILE_ROWS] for start in range(0, len(rows), TILE_ROWS)]
        found = np.zeros((len(queries), len(BUDGETS)), dtype=bool)
        for tile in own_parts(tiles, shared):
            found[tile] = self._find_answers(int(tile[0]), queries[tile], candidates)
        if shared is not None:
            shared.fill_in(found, shared.rows_of_ranks(tiles))
        everything = np.ones(len(found), dtype=bool)
        return self._answer_results(found, everything, with_dtype(info, query_embeddings))

    def score_passages(
        self, ranked: Mapping[Any, Sequence[str]], *, info: RunInfo | None = None
    ) -> Results:
        """Look for answers in passages that another system ranked.

        Args:
            ranked: question id to texts of passages, best first. Missing questions count as not
                answered; in the official score they do not count at all.
            info: describes the system in the results.

        Raises:
            TypeError: if an id is missing or a fraction.
            ValueError: if it has questions that the task lacks, or one twice, as text and as a
                number.
        """
        ranked = _with_text_ids(ranked, f"task {self.name!r}: ranked passages")
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
        """Raise ValueError: there are no judgements of passages to score a TREC run by."""
        raise ValueError(
            f"task {self.name!r} has answers but no judgements, so no TREC run is written"
        )

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
        """Return the results for what was found.

        Args:
            found: whether each query is answered within each budget, bool (num_queries, 2).
            predicted: whether there is a prediction for it, bool (num_queries,).
            info: describes what was evaluated.
        """
        scores = QueryScores.empty(self.queries, (*self.metrics, *BUDGETS))
        corpus = int(self.candidates.language_codes[0])
        for column, name in enumerate(BUDGETS):
            scores.by_metric[name][:, [corpus, -1]] = found[:, [column]]
        results = make_results(self, scores, info)
        results.counts.other["left_out"] = self.left_out
        results.counts.other["without_prediction"] = int((~predicted).sum())
        results.metrics["official"] = self._official_scores(found, predicted)
        return results

    def _official_scores(self, found: np.ndarray, predicted: np.ndarray) -> dict[str, float | None]:
        """Return the scores of the data set's script; None without any prediction."""
        codes = self.queries.language_codes
        masks = [predicted & (codes == code) for code in np.unique(codes[predicted])]
        return {
            name: float(np.mean([found[mask, column].mean() for mask in masks])) if masks else None
            for column, name in enumerate(BUDGETS)
        }


def load_xor_tydi(
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    candidate_text: str | None = None,
) -> AnswerTask:
    """Load the development set of XOR-TyDi Retrieve.

    Args:
        data: a folder with xor_dev_retrieve_eng_span_v1_1.jsonl and the passages of English
            Wikipedia, enwiki_20190201_w100.tsv or psgs_w100.tsv (id, text, title).
        languages: codes of the languages of the questions; default all seven.
        candidate_text: "title+text" (default) or "text". Answers are looked for in the text alone.

    Raises:
        FileNotFoundError: if the folder or a file in it does not exist.
        ImportError: if NLTK, or its data on sentence ends, is not installed.
        ValueError: if a language or `candidate_text` is unknown, or a file is malformed.
    """
    form = TextForm(candidate_text).checked()
    chosen = check_languages(languages, LANGUAGES, "xor-tydi")
    _tokenizer()
    patterns = {
        "questions": ["xor_dev_retrieve_eng_span_v1_1.jsonl", "xor_dev_retrieve_eng_span.jsonl"],
        "passages": ["enwiki_20190201_w100.tsv", "psgs_w100.tsv"],
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
            raise ValueError(
                f"{where}: question {query_id!r} occurs a second time; remove one of them"
            )
        answers[query_id] = given
        if lang in languages:
            text = check_text(text, where, "question", can_skip=False)
            questions.append(Query(query_id, lang, text))
    return questions, answers


def _with_text_ids(given: Mapping[Any, Sequence[str]], where: str) -> dict[str, Sequence[str]]:
    """Return texts by the id of their question, as text; ValueError if one is there twice."""
    checked: dict[str, Sequence[str]] = {}
    for question, texts in given.items():
        question_id = id_text(question, f"{where}: the id of a question")
        if question_id in checked:
            raise ValueError(
                f"{where}: question {question_id!r} is there twice, as text and as a number"
            )
        checked[question_id] = texts
    return checked


def _answered(texts: Iterable[str], answers: Sequence[str]) -> tuple[list[bool], int]:
    """Return whether an answer is within each budget, and the number of tokens counted."""
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
    """Return NLTK's `word_tokenize`, which needs data to find the ends of sentences.

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
            "task 'xor-tydi' counts tokens with NLTK, whose data on sentence ends is missing; "
            "get it with `python -m nltk.downloader punkt_tab`, or copy the folder "
            "tokenizers/punkt_tab into a folder named by the environment variable NLTK_DATA"
        ) from error
    return word_tokenize
