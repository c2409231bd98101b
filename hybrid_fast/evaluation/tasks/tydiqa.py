"""TyDi QA GoldP (Clark et al. 2020) as passage retrieval: find the passage of a question.

The candidates of a language are the gold passages of its questions, equal passages being one. Each
question should find its own passage in its own language (mono) and among all languages (multi).
Passages in other languages are not translations, so there is no cross-lingual setting. Exact match
and F1 of a reader are in `hybrid_fast.qa`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.records import read_hub_records
from hybrid_fast.data.formats.squad import iter_paragraphs
from hybrid_fast.evaluation.tasks.files import find, only, task_folders
from hybrid_fast.evaluation.tasks.published import compare_sizes
from hybrid_fast.evaluation.tasks.queries import Candidate, Query, check_languages
from hybrid_fast.evaluation.tasks.task import RetrievalTask

HUB = "google-research-datasets/tydiqa"
METRICS = ("mrr@100", "recall@100")
# Number of questions of v1.1 by language, counted in the data set on the hub.
SIZES = {
    "dev": {
        "ar": (921,),
        "bn": (113,),
        "en": (440,),
        "fi": (782,),
        "id": (565,),
        "ko": (276,),
        "ru": (812,),
        "sw": (499,),
        "te": (669,),
    },
    "train": {
        "ar": (14805,),
        "bn": (2390,),
        "en": (3696,),
        "fi": (6855,),
        "id": (5702,),
        "ko": (1625,),
        "ru": (6490,),
        "sw": (2755,),
        "te": (5563,),
    },
}
NAMES = {
    "arabic": "ar",
    "bengali": "bn",
    "english": "en",
    "finnish": "fi",
    "indonesian": "id",
    "korean": "ko",
    "russian": "ru",
    "swahili": "sw",
    "telugu": "te",
}
Pairs = dict[str, list[tuple[str, str]]]  # by language, question and passage


def load_tydiqa(
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    split: str | None = None,
) -> RetrievalTask:
    """Load TyDi QA GoldP as passage retrieval; warn if its size is not the published one.

    Args:
        data: a folder with tydiqa-goldp-v1.1-<split>.json as published, or a file
            <split>/<language>.json or tydiqa-goldp-<split>-<language>.json for each language; or
            "google-research-datasets/tydiqa" to load it from the hub.
        languages: codes of the languages to load; default all of which there are questions.
        split: "dev" (default) or "train".

    Raises:
        FileNotFoundError: if the folder or a file in it does not exist, or the hub cannot be
            reached.
        ValueError: if a language or split is unknown, or a file is malformed.
    """
    split = split or "dev"
    check_choice("split", split, tuple(SIZES))
    chosen = check_languages(languages, SIZES[split], "tydiqa-goldp")
    if str(data) == HUB and not Path(HUB).is_dir():
        pairs = _hub_pairs(split)
    else:
        expected = f"tydiqa-goldp-v1.1-{split}.json or {split}/<language>.json"
        pairs = _file_pairs(task_folders("tydiqa-goldp", data, expected, (HUB,)), split)
    missing = [language for language in chosen if not pairs.get(language)]
    if len(missing) == len(chosen) or (missing and languages is not None):
        raise FileNotFoundError(
            f"the {split} split of TyDi QA GoldP in {', '.join(missing)} not found in {str(data)!r}"
        )
    pairs = {language: pairs[language] for language in chosen if language not in missing}
    task = RetrievalTask(
        "tydiqa-goldp",
        [
            Query(f"{lang}-{number}", lang, question)
            for lang, some in pairs.items()
            for number, (question, _) in enumerate(some)
        ],
        _passages(pairs),
        {"candidate_text": "context", "split": split},
        more_metrics=METRICS,
    )
    found = {language: (len(some),) for language, some in pairs.items()}
    compare_sizes(
        "tydiqa-goldp", ("questions",), found, SIZES[split], whole=languages is None, stacklevel=3
    )
    return task


def _passages(pairs: Pairs) -> Iterable[Candidate]:
    for lang, some in pairs.items():
        questions: dict[str, list[str]] = defaultdict(list)
        for number, (_, context) in enumerate(some):
            questions[context].append(f"{lang}-{number}")
        for number, (context, query_ids) in enumerate(questions.items()):
            yield Candidate(f"{lang}_{number}", lang, context, tuple(query_ids))


def _file_pairs(folders: Sequence[Path], split: str) -> Pairs:
    """Return the pairs of one file for all languages, which ids name, or of one file for each."""
    whole = find(folders, [f"tydiqa-goldp-v1.1-{split}.json"])
    if whole:
        path = only(whole)
        pairs: Pairs = defaultdict(list)
        for paragraph in iter_paragraphs(path, on_bad_answer="skip"):
            for question in paragraph.questions:
                pairs[_language(question.id, f"{path}")].append((question.text, paragraph.context))
        return pairs
    by_language = {
        lang: find(
            folders,
            [
                f"{split}/{lang}.json",
                f"tydiqa-goldp-{split}-{name}.json",
                f"tydiqa-goldp-v1.1-{split}/tydiqa-goldp-{split}-{name}.json",
            ],
        )
        for name, lang in NAMES.items()
    }
    return {
        lang: [
            (question.text, paragraph.context)
            for paragraph in iter_paragraphs(only(paths), on_bad_answer="skip")
            for question in paragraph.questions
        ]
        for lang, paths in by_language.items()
        if paths
    }


def _hub_pairs(split: str) -> Pairs:
    pairs: Pairs = defaultdict(list)
    hub_split = {"dev": "validation"}.get(split, split)
    instead = f"a folder with tydiqa-goldp-v1.1-{split}.json"
    records = read_hub_records(HUB, "secondary_task", hub_split, instead)
    for row, record in records:
        fields = cast(dict[str, Any], record)
        language = _language(str(fields["id"]), f"{HUB}, row {row}")
        pairs[language].append((fields["question"], fields["context"]))
    return pairs


def _language(question_id: str, where: str) -> str:
    name = re.split("[-_]", question_id)[0]
    if name not in NAMES:
        raise ValueError(
            f"{where}: question id {question_id!r} does not start with a language of TyDi QA, as "
            "'finnish-123' does"
        )
    return NAMES[name]
