"""BEIR folders, and any collection with topics and judgements in TREC's formats.

A BEIR folder holds corpus.jsonl, queries.jsonl and qrels/<split>.tsv. A TREC folder holds
`corpus.<language>.*`, one or several files per language, `topics.<language>.*` and `qrels*`, whose
judgements hold for all languages: topics of one id are translations of one another (CLEF). Names
may omit the language if there is only one, which `languages` then gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hybrid_fast.data.formats.collection import language_in_name
from hybrid_fast.data.formats.topics import read_topics
from hybrid_fast.data.formats.trec_runs import read_qrels
from hybrid_fast.data.languages import normalize_language, warn_of_merged_files
from hybrid_fast.evaluation.tasks.files import find, only, task_folders
from hybrid_fast.evaluation.tasks.judged import Part, TextForm, judged_task, merge_qrels
from hybrid_fast.evaluation.tasks.queries import check_languages
from hybrid_fast.evaluation.tasks.task import RetrievalTask

QUERIES_ARE_DOCUMENTS = ("arguana", "quora")  # of BEIR
BEIR_METRICS = ("ndcg@10", "recall@100")
TREC_METRICS = ("ndcg@10", "recall@100", "recall@1000")


def load_beir(
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    split: str | None = None,
    candidate_text: str | None = None,
    segment_length: int | None = None,
    document_score: str | None = None,
    exclude_self: bool | None = None,
    strict: bool = False,
) -> RetrievalTask:
    """Load a BEIR folder.

    Queries of other splits, which have no judgements in this one, are left out. What published data
    sets have of faults is let pass, with one warning a kind that counts it: documents without text
    are left out, judged documents that are missing count as never found, judged queries that are
    missing are left out.

    Args:
        data: the folder.
        languages: a list of its one language; default English.
        split: the split of the judgements; default "test".
        candidate_text: "title+text" (default) or "text".
        segment_length: rank documents by windows of this many characters.
        document_score: how windows score their document: "max" (default) or "mean@k".
        exclude_self: leave the document with the id of a query out of its ranking; default True if
            the folder is called arguana or quora.
        strict: what is otherwise let pass is an error.

    Raises:
        FileNotFoundError: if the folder or a file in it does not exist.
        ValueError: if an option is unknown or a file is malformed.
    """
    form = TextForm(candidate_text, segment_length, document_score).checked()
    split = split or "test"
    lang = _one_language("beir", ["en"] if languages is None else languages)
    folders = task_folders("beir", data, f"corpus.jsonl, queries.jsonl and qrels/{split}.tsv")
    corpus, queries, judgements = (
        only(_existing(folders, pattern))
        for pattern in ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv")
    )
    name = folders[0].resolve().name
    if exclude_self is None and re.sub(r"[\W_]", "", name.lower()) in QUERIES_ARE_DOCUMENTS:
        exclude_self = True
    qrels = read_qrels(judgements, strict=strict)
    known = read_topics(queries, strict=strict)
    topics = {key: text for key, text in known.items() if key in qrels}
    if not topics:
        raise ValueError(
            f"{judgements} judges none of the queries of {queries}: its ids are like "
            f"{', '.join(map(repr, sorted(qrels)[:3]))}, theirs like "
            f"{', '.join(map(repr, sorted(known)[:3]))}"
        )
    task = judged_task(
        "beir",
        [Part(lang, topics, qrels, [corpus])],
        form,
        more_metrics=BEIR_METRICS,
        exclude_self=exclude_self,
        strict=strict,
    )
    task.settings |= {"split": split, "data": name}
    return task


def load_trec(
    data: str | Path | None = None,
    *,
    languages: Sequence[str] | None = None,
    candidate_text: str | None = None,
    segment_length: int | None = None,
    document_score: str | None = None,
    exclude_self: bool | None = None,
    strict: bool = False,
) -> RetrievalTask:
    """Load a collection with topics and judgements in TREC's formats, in one language or several.

    Args:
        data: the folder.
        languages: codes of the languages to load; default all that occur in file names. If names
            have none, a list of the one language of all files.
        candidate_text: "title+text" (default) or "text".
        segment_length: rank documents by windows of this many characters.
        document_score: how windows score their document: "max" (default) or "mean@k".
        exclude_self: leave the document with the id of a query out of its ranking; default False.
        strict: what is otherwise let pass, with one warning a kind that counts it, is an error:
            documents and topics without text, which are left out, and judgements of topics or
            documents that are missing. Such documents count as never found if all languages are
            loaded and documents have one; otherwise they are left out.

    Raises:
        FileNotFoundError: if the folder or a file in it does not exist.
        ValueError: if a language or option is unknown, or a file is malformed.
    """
    form = TextForm(candidate_text, segment_length, document_score).checked()
    expected = "corpus.<language>.jsonl, topics.<language>.tsv and qrels.txt"
    folders = task_folders("trec", data, expected)
    given = {
        kind: [(_code_of(path, languages), path) for path in _existing(folders, f"{kind}*")]
        for kind in ("corpus", "topics")
    }
    codes = [code for some in given.values() for code, _ in some]
    warn_of_merged_files(str(folders[0]), codes, alike=True)
    corpora, topics = _by_language(given["corpus"]), _by_language(given["topics"])
    chosen = check_languages(languages, sorted({*corpora, *topics}), "trec")
    qrels = merge_qrels(
        (str(path), read_qrels(path, strict=strict)) for path in _existing(folders, "qrels*")
    )
    parts = [
        Part(
            lang,
            read_topics(only(topics[lang]), strict=strict) if lang in topics else {},
            {},
            corpora.get(lang, []),
        )
        for lang in sorted(chosen)
    ]
    parts[0] = parts[0]._replace(qrels=qrels)
    task = judged_task(
        "trec",
        parts,
        form,
        more_metrics=TREC_METRICS,
        translated=True,
        exclude_self=exclude_self,
        # The documents of a language that is not loaded are missing on purpose.
        missing="zero" if {*corpora} <= {*chosen} else "leave-out",
        strict=strict,
    )
    task.settings["data"] = folders[0].resolve().name
    return task


def _existing(folders: Sequence[Path], pattern: str) -> list[Path]:
    found = find(folders, [pattern])
    if not found:
        raise FileNotFoundError(f"{pattern} not found in data folder {str(folders[0])!r}")
    return found


def _code_of(path: Path, languages: Sequence[str] | None) -> str:
    """Return the language of a file, as its name says, or else `languages`, which is one."""
    return language_in_name(path) or _one_language("trec", languages)


def _by_language(files: Iterable[tuple[str, Path]]) -> Mapping[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for code, path in files:
        found.setdefault(normalize_language(code), []).append(path)
    return found


def _one_language(task: str, languages: Sequence[str] | None) -> str:
    if languages is None or isinstance(languages, str) or len(languages) != 1:
        raise ValueError(
            f"task {task!r}: file names do not name a language; give the one of all files, as in "
            f"languages=['en']; languages is {languages!r}"
        )
    return normalize_language(languages[0])
