"""MIRACL and Mr. TyDi: questions and the Wikipedia passages that answer them, language by language.

MIRACL (Zhang et al. 2023) judges several passages of each question, relevant and not; its measures
are nDCG@10 and recall@100. Mr. TyDi (Zhang et al. 2021) knows the passages with the answer alone;
its measures are MRR@100 and recall@100 of 100 hits, a question without hits counting 0. Ids repeat
between languages without meaning the same: where several are loaded they become "sw:12".

Each passage is searched in its own language (mono); "multi" searches all that are loaded, where
passages in other languages were not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.formats.trec import read_qrels, read_topics
from hybrid_fast.evaluation.tasks.files import find, only, task_folders
from hybrid_fast.evaluation.tasks.judged import Part, TextForm, judged_task
from hybrid_fast.evaluation.tasks.published import compare_sizes
from hybrid_fast.evaluation.tasks.task import RetrievalTask
from hybrid_fast.evaluation.tasks.texts import check_languages

UNITS = ("queries", "judgements", "passages")


class DataSet(NamedTuple):
    """Names and sizes of a data set.

    Attributes:
        languages: language code to what files call it.
        splits: names of its splits, the one that figures are published of first.
        topics: patterns of names of topic files, with {lang}, {name} and {split}.
        qrels: the same of judgements.
        passages: the same of the files of passages.
        hub: names of the data sets on the hub: topics and judgements, passages.
        metrics: what it is measured by.
        sizes: by language the numbers of queries and judgements of the first split, and passages.
    """

    languages: Mapping[str, str]
    splits: Sequence[str]
    topics: Sequence[str]
    qrels: Sequence[str]
    passages: Sequence[str]
    hub: Sequence[str]
    metrics: Sequence[str]
    sizes: Mapping[str, tuple[int, int, int]]


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
# The test split as ir_datasets counts it, passages as pyserini's indexes do.
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
        ("topics.miracl-v1.0-{lang}-{split}.tsv*",),
        ("qrels.miracl-v1.0-{lang}-{split}.tsv*",),
        ("miracl-corpus-v1.0-{lang}/docs-*.jsonl*",),
        ("miracl/miracl", "miracl/miracl-corpus"),
        ("ndcg@10", "recall@100"),
        MIRACL_SIZES,
    ),
    "mr-tydi": DataSet(
        dict(
            zip(
                MR_TYDI_SIZES,
                "arabic bengali english finnish indonesian japanese korean russian swahili telugu "
                "thai".split(),
                strict=True,
            )
        ),
        ("test", "dev", "train"),
        (
            "topics.mrtydi-v1.1-{lang}.{split}.txt*",
            "mrtydi-v1.1-{name}/ir-format-data/topics.{split}.txt*",
            "mrtydi-v1.1-{name}/topic.{split}.tsv*",
        ),
        (
            "qrels.mrtydi-v1.1-{lang}.{split}.txt*",
            "mrtydi-v1.1-{name}/ir-format-data/qrels.{split}.txt*",
            "mrtydi-v1.1-{name}/qrels.{split}.txt*",
        ),
        ("mrtydi-v1.1-{name}/corpus.jsonl*", "mrtydi-v1.1-{name}/collection/docs.jsonl*"),
        ("castorini/mr-tydi", "castorini/mr-tydi-corpus"),
        ("mrr@100", "recall@100"),
        MR_TYDI_SIZES,
    ),
}


def load_wikipedia(
    name: str,
    data: str | Path | None,
    *,
    languages: Sequence[str] | None = None,
    split: str | None = None,
    candidate_text: str | None = None,
) -> RetrievalTask:
    """Load MIRACL or Mr. TyDi; warn where its size is not the published one.

    Args:
        name: "miracl" or "mr-tydi".
        data: a folder with topics, judgements and passages under their published names, at any
            depth, or "miracl/miracl" or "castorini/mr-tydi" to fetch them from the hub.
        languages: which to load; default all whose topics are there.
        split: default the one that figures are published of, "dev" of MIRACL, "test" of Mr. TyDi.
        candidate_text: "title+text" (default) or "text".

    Raises:
        FileNotFoundError: if the folder, or a file of a language that is loaded, is not there, or
            the hub is out of reach.
        ValueError: if a language, split or `candidate_text` is unknown, or a file is malformed.
    """
    form = TextForm(candidate_text).checked()
    data_set = DATA_SETS[name]
    split = split or data_set.splits[0]
    check_choice("split", split, data_set.splits)
    chosen = check_languages(languages, data_set.languages, name)

    def named(patterns: Sequence[str], lang: str) -> list[str]:
        fields = {"lang": lang, "name": data_set.languages[lang], "split": split}
        return [pattern.format(**fields) for pattern in patterns]

    kinds = (data_set.topics, data_set.qrels, data_set.passages)
    folders = task_folders(
        name,
        data,
        " and ".join(named([kind[0] for kind in kinds], chosen[0])),
        data_set.hub,
        [f"*{pattern}" for kind in kinds for lang in chosen for pattern in named(kind, lang)],
    )
    parts = []
    for lang in chosen:
        files = [find(folders, named(kind, lang)) for kind in kinds]
        if languages is None and not files[0]:
            continue
        for found, patterns in zip(files, kinds, strict=True):
            if not found:
                raise FileNotFoundError(
                    f"{' or '.join(named(patterns, lang))} not found in data folder "
                    f"{', '.join(map(str, folders))}; task {name!r} needs it for {lang}"
                )
        topics, qrels = read_topics(only(files[0])), read_qrels(only(files[1]))
        parts.append(Part(lang, topics, qrels, files[2]))
    if not parts:
        raise FileNotFoundError(
            f"no topics of the {split} split of {name} found in data folder "
            f"{', '.join(map(str, folders))}; they are called "
            f"{' or '.join(named(data_set.topics, chosen[0]))} and so on"
        )
    task = judged_task(name, parts, form, more_metrics=data_set.metrics)
    task.settings["split"] = split
    if split == data_set.splits[0]:
        found_sizes = {
            part.lang: (
                len(part.topics),
                sum(map(len, part.qrels.values())),
                task.candidates.counts.get(part.lang, 0),
            )
            for part in parts
        }
        compare_sizes(
            name, UNITS, found_sizes, data_set.sizes, whole=languages is None, stacklevel=3
        )
    return task
