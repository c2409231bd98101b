"""MIRACL and Mr. TyDi: questions and the Wikipedia passages that answer them, language by language.

MIRACL (Zhang et al. 2023) judges several passages per question, relevant or not; its metrics are
nDCG@10 and recall@100. Mr. TyDi (Zhang et al. 2021) has only the passages with the answer; its
metrics are MRR@100 and recall@100 of 100 hits, a question without hits scoring 0. Ids repeat across
languages with different meanings: if several languages are loaded, ids become "sw:12".

Each question is searched in its own language (mono); "multi" searches all languages that are
loaded, although passages in other languages were not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.corpus_files import MIRACL_PASSAGES, MR_TYDI_NAMES, MR_TYDI_PASSAGES
from hybrid_fast.data.formats.topics import read_topics
from hybrid_fast.data.formats.trec_runs import read_qrels
from hybrid_fast.evaluation.tasks.files import find, only, task_folders
from hybrid_fast.evaluation.tasks.judged import Part, TextForm, judged_task
from hybrid_fast.evaluation.tasks.published import compare_sizes
from hybrid_fast.evaluation.tasks.queries import check_languages
from hybrid_fast.evaluation.tasks.task import RetrievalTask

UNITS = ("queries", "judgements", "passages")


class Patterns(NamedTuple):
    """Patterns of file names, each kind by preference."""

    topics: Sequence[str]
    qrels: Sequence[str]
    passages: Sequence[str]


class DataSet(NamedTuple):
    """Names and sizes of a data set.

    Attributes:
        languages: language code to its name in file names.
        splits: names of its splits; published scores are for the first.
        topics: patterns of names of topic files, with {lang}, {name} and {split}.
        qrels: the same for judgements.
        passages: the same for passages.
        hub: names of the data sets on the hub: topics and judgements, then passages.
        metrics: its official metrics.
        sizes: language to the numbers of queries and judgements in the first split, and of
            passages.
    """

    languages: Mapping[str, str]
    splits: Sequence[str]
    topics: Sequence[str]
    qrels: Sequence[str]
    passages: Sequence[str]
    hub: Sequence[str]
    metrics: Sequence[str]
    sizes: Mapping[str, tuple[int, int, int]]

    def patterns(self, lang: str, split: str) -> Patterns:
        """Return the patterns of one language and split."""
        fields = {"lang": lang, "name": self.languages[lang], "split": split}
        kinds = (self.topics, self.qrels, self.passages)
        return Patterns(*([pattern.format(**fields) for pattern in kind] for kind in kinds))


# Table 1 of the paper and the README of project-miracl/miracl; de and yo, the surprise languages,
# have no published number of passages there.
MIRACL_SIZES = {
    "ar": (2896, 29197, 2061414),
    "bn": (411, 4206, 297265),
    "en": (799, 8350, 32893221),
    "es": (648, 6443, 10373953),
    "fa": (632, 6571, 2207172),
    "fi": (1271, 12008, 1883509),
    "fr": (343, 3429, 14636953),
    "hi": (350, 3494, 506264),
    "id": (960, 9668, 1446315),
    "ja": (860, 8354, 6953614),
    "ko": (213, 3057, 1486752),
    "ru": (1252, 13100, 9543918),
    "sw": (482, 5092, 131924),
    "te": (828, 1606, 518079),
    "th": (733, 7573, 542166),
    "zh": (393, 3928, 4934368),
}
# Counts of the test split by ir_datasets, of passages by pyserini's indexes.
MR_TYDI_SIZES = {
    "ar": (1081, 1257, 2106586),
    "bn": (111, 130, 304059),
    "en": (744, 935, 32907100),
    "fi": (1254, 1451, 1908757),
    "id": (829, 961, 1469399),
    "ja": (720, 923, 7000027),
    "ko": (421, 492, 1496126),
    "ru": (995, 1168, 9597504),
    "sw": (670, 743, 136689),
    "te": (646, 677, 548224),
    "th": (1190, 1368, 568855),
}
DATA_SETS = {
    "miracl": DataSet(
        {language: language for language in (*MIRACL_SIZES, "de", "yo")},
        ("dev", "train"),
        ("topics.miracl-v1.0-{lang}-{split}.tsv",),
        ("qrels.miracl-v1.0-{lang}-{split}.tsv",),
        MIRACL_PASSAGES,
        ("miracl/miracl", "miracl/miracl-corpus"),
        ("ndcg@10", "recall@100"),
        MIRACL_SIZES,
    ),
    "mr-tydi": DataSet(
        MR_TYDI_NAMES,
        ("test", "dev", "train"),
        (
            "topics.mrtydi-v1.1-{lang}.{split}.txt",
            "mrtydi-v1.1-{name}/ir-format-data/topics.{split}.txt",
            "mrtydi-v1.1-{name}/topic.{split}.tsv",
        ),
        (
            "qrels.mrtydi-v1.1-{lang}.{split}.txt",
            "mrtydi-v1.1-{name}/ir-format-data/qrels.{split}.txt",
            "mrtydi-v1.1-{name}/qrels.{split}.txt",
        ),
        MR_TYDI_PASSAGES,
        ("castorini/mr-tydi", "castorini/mr-tydi-corpus"),
        ("mrr@100", "recall@100"),
        MR_TYDI_SIZES,
    ),
}


def load_wikipedia(
    name: str,
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    split: str | None = None,
    candidate_text: str | None = None,
    strict: bool = False,
) -> RetrievalTask:
    """Load MIRACL or Mr. TyDi; warn if its size is not the published one.

    Args:
        name: "miracl" or "mr-tydi".
        data: a folder with topics, judgements and passages under their published names, at any
            depth, or "miracl/miracl" or "castorini/mr-tydi" to fetch them from the hub.
        languages: codes of the languages to load; default all of which there are topics.
        split: default the one that published scores are for: "dev" of MIRACL, "test" of Mr. TyDi.
        candidate_text: "title+text" (default) or "text".
        strict: what is let pass with a warning that counts it is an error, see docs/evaluation.md.

    Raises:
        FileNotFoundError: if the folder, or a file of a language that is loaded, does not exist, or
            the hub cannot be reached.
        ValueError: if a language, split or `candidate_text` is unknown, or a file is malformed.
    """
    form = TextForm(candidate_text).checked()
    data_set = DATA_SETS[name]
    split = split or data_set.splits[0]
    check_choice("split", split, data_set.splits)
    chosen = check_languages(languages, data_set.languages, name)
    patterns = {lang: data_set.patterns(lang, split) for lang in chosen}
    first = patterns[chosen[0]]
    folders = task_folders(
        name,
        data,
        " and ".join(kind[0] for kind in first),
        data_set.hub,
        [f"*{each}*" for lang in chosen for kind in patterns[lang] for each in kind],
    )
    parts = [
        _read_part(name, lang, patterns[lang], folders, strict)
        for lang in chosen
        if languages is not None or find(folders, patterns[lang].topics)
    ]
    if not parts:
        raise FileNotFoundError(
            f"no topics of the {split} split of {name} found in data folder "
            f"{', '.join(map(str, folders))}; their files are named {' or '.join(first.topics)}"
        )
    task = judged_task(name, parts, form, more_metrics=data_set.metrics, strict=strict)
    task.settings["split"] = split
    if split == data_set.splits[0]:
        sizes = _count(parts, task.candidates.counts)
        compare_sizes(name, UNITS, sizes, data_set.sizes, whole=languages is None, stacklevel=3)
    return task


load_miracl = partial(load_wikipedia, "miracl")
load_mr_tydi = partial(load_wikipedia, "mr-tydi")


def _read_part(
    name: str, lang: str, patterns: Patterns, folders: Sequence[Path], strict: bool
) -> Part:
    found = [find(folders, names) for names in patterns]
    for paths, names in zip(found, patterns, strict=True):
        if not paths:
            raise FileNotFoundError(
                f"{' or '.join(names)} not found in data folder {', '.join(map(str, folders))}; "
                f"task {name!r} needs it for {lang}"
            )
    topics, qrels, passages = found
    return Part(
        lang,
        read_topics(only(topics), strict=strict),
        read_qrels(only(qrels), strict=strict),
        passages,
    )


def _count(parts: Sequence[Part], num_passages: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the numbers of `UNITS` by language."""
    return {
        part.lang: (
            len(part.topics),
            sum(map(len, part.qrels.values())),
            num_passages.get(part.lang, 0),
        )
        for part in parts
    }
