"""XQuAD-R and MLQA-R of LAReQA (Roy et al. 2020): find the sentence that answers the question.

Candidates are all sentences of all paragraphs, each at its own position, duplicates included. The
gold sentences of a question are the first [start, end) that contains the start of its answer, and
every equal sentence of the same paragraph; the gold sentences of its id in any language are
relevant.

Data: https://github.com/google-research-datasets/lareqa, one SQuAD-shaped `<language>.json` with
`sentences` and `sentence_breaks` for each language. (MLQA-R was removed from it in April 2020, but
is in its history: commit 354d67d, folder mlqa-r.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.squad import Paragraph, Question, iter_paragraphs
from hybrid_fast.evaluation.tasks.files import task_folders
from hybrid_fast.evaluation.tasks.published import compare_sizes
from hybrid_fast.evaluation.tasks.queries import Candidate, Query, check_languages
from hybrid_fast.evaluation.tasks.task import RetrievalTask

CANDIDATE_TEXTS = ("sentence+context", "sentence")


class Size(NamedTuple):
    """Published number of questions and candidates in one language."""

    num_queries: int
    num_candidates: int


XQUAD_R = {
    "ar": Size(1190, 1222),
    "de": Size(1190, 1276),
    "el": Size(1190, 1234),
    "en": Size(1190, 1180),
    "es": Size(1190, 1215),
    "hi": Size(1190, 1244),
    "ru": Size(1190, 1219),
    "th": Size(1190, 852),
    "tr": Size(1190, 1167),
    "vi": Size(1190, 1209),
    "zh": Size(1190, 1196),
}
MLQA_R = {
    "ar": Size(517, 2545),
    "de": Size(512, 2362),
    "en": Size(1148, 6264),
    "es": Size(500, 1787),
    "hi": Size(507, 2426),
    "vi": Size(511, 2828),
    "zh": Size(504, 2322),
}
SIZES = {"xquad-r": XQUAD_R, "mlqa-r": MLQA_R}


def load_lareqa(
    name: str,
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    candidate_text: str | None = None,
) -> RetrievalTask:
    """Load XQuAD-R or MLQA-R; warn if its size is not the published one.

    Args:
        name: "xquad-r" or "mlqa-r".
        data: the folder that holds `<language>.json`.
        languages: codes of the languages to load; default all of which there are files.
        candidate_text: "sentence+context" (default: the sentence, immediately followed by its
            paragraph, without newlines, as in XTREME) or "sentence".

    Raises:
        FileNotFoundError: if the folder, or the file of a given language, does not exist.
        ValueError: if a language or `candidate_text` is unknown, or a file is malformed.
    """
    candidate_text = candidate_text or CANDIDATE_TEXTS[0]
    check_choice("candidate_text", candidate_text, CANDIDATE_TEXTS)
    queries: list[Query] = []
    candidates: list[Candidate] = []
    for language, path in _find_files(name, data, languages).items():
        paragraphs = list(iter_paragraphs(path))
        queries += _queries(paragraphs, language, path)
        candidates += _candidates(paragraphs, language, path, candidate_text)
    task = RetrievalTask(name, queries, candidates, {"candidate_text": candidate_text})
    questions, sentences = _count_answerable(task), task.candidates.counts
    found = {
        language: Size(questions.get(language, 0), sentences.get(language, 0))
        for language in task.languages
    }
    units = ("questions with an answer", "sentences")
    compare_sizes(name, units, found, SIZES[name], whole=languages is None, stacklevel=3)
    return task


load_xquad_r = partial(load_lareqa, "xquad-r")
load_mlqa_r = partial(load_lareqa, "mlqa-r")


def _find_files(
    name: str, data: str | Path | None, languages: Sequence[str] | None
) -> dict[str, Path]:
    chosen = check_languages(languages, SIZES[name], name)
    folder = task_folders(name, data, f"the <language>.json files of {name}")[0]
    files = {language: folder / f"{language}.json" for language in chosen}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing and (languages is not None or len(missing) == len(files)):
        raise FileNotFoundError(f"{', '.join(missing)} not found in data folder {str(folder)!r}")
    return {language: path for language, path in files.items() if path.is_file()}


def _queries(paragraphs: Sequence[Paragraph], language: str, path: Path) -> list[Query]:
    questions = {each.id: each.text for paragraph in paragraphs for each in paragraph.questions}
    if len(questions) != sum(len(paragraph.questions) for paragraph in paragraphs):
        counts = Counter(each.id for paragraph in paragraphs for each in paragraph.questions)
        raise ValueError(
            f"{path}: question id {counts.most_common(1)[0][0]!r} occurs more than once; "
            "questions of one id must be translations of one another, one in each language"
        )
    return [Query(question_id, language, text) for question_id, text in questions.items()]


def _candidates(
    paragraphs: Sequence[Paragraph], language: str, path: Path, candidate_text: str
) -> Iterator[Candidate]:
    for number, paragraph in enumerate(paragraphs, 1):
        if not paragraph.sentences:
            raise ValueError(f"{path}, paragraph {number}: has no sentences, so no candidates")
        answered = defaultdict(list)
        for question in paragraph.questions:
            for sentence in _gold_sentences(paragraph, question):
                answered[sentence].append(question.id)
        for position, sentence in enumerate(paragraph.sentences):
            text = sentence
            if candidate_text == "sentence+context":
                text = (sentence + paragraph.context).replace("\n", "")
            candidate_id = f"{language}_{number}_{position}"
            yield Candidate(candidate_id, language, text, tuple(answered[sentence]))


def _gold_sentences(paragraph: Paragraph, question: Question) -> set[str]:
    """Return, for each answer, the text of the first sentence that contains its start."""
    gold: set[str] = set()
    for start, _ in question.answers:
        spans = zip(paragraph.sentences, paragraph.sentence_breaks, strict=True)
        holding = (sentence for sentence, (first, end) in spans if first <= start < end)
        gold.update(islice(holding, 1))
    return gold


def _count_answerable(task: RetrievalTask) -> dict[str, int]:
    """Count, for each language, the questions with a relevant candidate in that language."""
    rows = task.relevants.query_rows
    own = task.queries.language_codes[rows] == task.candidates.language_codes[task.relevants.rows]
    languages = task.queries.language_codes[np.unique(rows[own])]
    return dict(Counter(task.languages[code] for code in languages))
