"""Tasks made of a collection, topics and judgements, as MIRACL, Mr. TyDi, BEIR and TREC are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hybrid_fast.data.formats.collection import iter_passages
from hybrid_fast.data.formats.passages import Passage, check_candidate_text, join_title
from hybrid_fast.data.formats.trec_runs import Qrels
from hybrid_fast.data.formats.window import split_windows
from hybrid_fast.evaluation.tasks.judgements import Missing
from hybrid_fast.evaluation.tasks.queries import Candidate, Query
from hybrid_fast.evaluation.tasks.task import RetrievalTask


class TextForm(NamedTuple):
    """How passages become candidates.

    Attributes:
        candidate_text: "title+text", joined by a space, or "text"; a passage without a text is
            represented by its title either way.
        segment_length: split texts into windows of at most this many characters, half of each
            shared with the next; None: leave them whole.
        document_score: how windows score their document: "max" or "mean@k".
    """

    candidate_text: str | None = None
    segment_length: int | None = None
    document_score: str | None = None

    def checked(self) -> TextForm:
        """Return the form with defaults filled in.

        Raises:
            ValueError: if a value is unknown, or `document_score` comes without `segment_length`.
        """
        candidate_text = check_candidate_text(self.candidate_text)
        if self.segment_length is None and self.document_score is not None:
            raise ValueError(
                f"document_score={self.document_score!r} is for documents in segments; give "
                "segment_length too, in characters"
            )
        if self.segment_length is not None and self.segment_length < 2:
            raise ValueError(
                f"segment_length is {self.segment_length} characters; it must be at least 2"
            )
        score = (self.document_score or "max") if self.segment_length else None
        return TextForm(candidate_text, self.segment_length, score)

    def texts(self, passage: Passage) -> Iterator[str]:
        """Yield the text of a passage, or its windows with the title before each."""
        candidate_text = check_candidate_text(self.candidate_text)
        title, text = passage.title.strip(), passage.text.strip()
        parts = [text] if self.segment_length is None else split_windows(text, self.segment_length)
        for part in parts:
            yield join_title(title, part, candidate_text)


class Part(NamedTuple):
    """Topics, judgements and files of passages in one language; each may be empty."""

    lang: str
    topics: Mapping[str, str]
    qrels: Qrels
    passages: Sequence[Path]


def judged_task(
    name: str,
    parts: Sequence[Part],
    form: TextForm,
    *,
    more_metrics: Sequence[str],
    translated: bool = False,
    exclude_self: bool | None = None,
    missing: Missing = "zero",
    strict: bool = False,
) -> RetrievalTask:
    """Make a task of its parts; passages are read once, and kept in a mapped file if they are many.

    Args:
        name: name of the task.
        parts: one per language.
        form: how passages become candidates.
        more_metrics: as for `RetrievalTask`.
        translated: topics of one id are translations of each other, and judgements name passages
            of all parts. Otherwise ids belong to one part alone, and if there are several parts
            they are prefixed with its language: "sw:12".
        exclude_self: as for `RetrievalTask`.
        missing: as for `RetrievalTask`.
        strict: passages without a text, and judgements of ids that are missing, are errors; by
            default they are left out, with a warning that counts them.

    Raises:
        ValueError: as `RetrievalTask`, or with file and line, if a collection is malformed.
    """
    form = form.checked()
    settings = {"candidate_text": form.candidate_text, "segment_length": form.segment_length}
    prefixes = [f"{part.lang}:" if len(parts) > 1 and not translated else "" for part in parts]
    qrels = merge_qrels(
        (f"task {name!r}", _with_prefix(prefix, part.qrels))
        for prefix, part in zip(prefixes, parts, strict=True)
    )
    return RetrievalTask(
        name,
        (
            Query(prefix + query_id, part.lang, text)
            for prefix, part in zip(prefixes, parts, strict=True)
            for query_id, text in part.topics.items()
        ),
        (
            Candidate(prefix + passage.id, part.lang, text)
            for prefix, part in zip(prefixes, parts, strict=True)
            for passage in _passages(part, strict)
            for text in form.texts(passage)
        ),
        {key: value for key, value in settings.items() if value is not None},
        qrels=qrels,
        more_metrics=more_metrics,
        document_score=form.document_score,
        exclude_self=exclude_self,
        missing=missing,
        strict=strict,
    )


def merge_qrels(sources: Iterable[tuple[str, Qrels]]) -> Qrels:
    """Return judgements of several sources, each with its name for errors, as one.

    Raises:
        ValueError: if two sources give a passage different grades for the same query.
    """
    merged: Qrels = {}
    for source, qrels in sources:
        for query_id, grades in qrels.items():
            known = merged.setdefault(query_id, {})
            for passage_id, grade in grades.items():
                if known.setdefault(passage_id, grade) != grade:
                    raise ValueError(
                        f"{source}: query {query_id!r} has grades {known[passage_id]:g} and "
                        f"{grade:g} for {passage_id!r}; keep one of them"
                    )
    return merged


def _with_prefix(prefix: str, qrels: Qrels) -> Qrels:
    if not prefix:
        return qrels
    return {
        prefix + query_id: {prefix + passage_id: grade for passage_id, grade in grades.items()}
        for query_id, grades in qrels.items()
    }


def _passages(part: Part, strict: bool) -> Iterator[Passage]:
    """Yield the passages of a part.

    The task finds ids that repeat, but would take neighbours of one id for segments of a document.

    Raises:
        ValueError: with file and line, if a passage has the same id as the one before.
    """
    previous = None
    for passage in iter_passages(part.passages, strict=strict):
        if passage.id == previous:
            raise ValueError(f"{passage.where}: id {passage.id!r} occurs a second time")
        previous = passage.id
        yield passage
