"""What a retriever is given: checked where it comes in, with messages that name it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import count
from operator import index as as_whole_number

from hybrid_fast.common.texts import check_unicode, id_text
from hybrid_fast.data.formats.corpus import CorpusText
from hybrid_fast.data.languages import normalize_language
from hybrid_fast.retrieval.stores.store import Store
from hybrid_fast.retrieval.vector_info import VectorInfo

logger = logging.getLogger(__name__)


def check_fits(model: object, store: Store) -> None:
    """Check that a store keeps vectors of a model; warn if queries have another prompt now.

    Raises:
        TypeError: the model cannot encode texts, or the store is none.
        ValueError: the store keeps vectors of another model.
    """
    if not isinstance(store, Store):
        raise TypeError(
            f"store is a {type(store).__name__}; give a store or its address, such as faiss:FOLDER"
        )
    own, kept = VectorInfo.of(model), store.info
    kept.check_model(own, store.address)
    before, now = _query_prompt(kept), _query_prompt(own)
    if before and before != now:
        logger.warning(
            "%s was made by a model that puts %r before queries, and this one puts %r: hits may be "
            "worse; give it the same prompt.",
            store.address,
            before,
            now,
        )


def _query_prompt(info: VectorInfo) -> str:
    prompts = info.settings.get("prompts")
    return str(prompts.get("query") or "") if isinstance(prompts, Mapping) else ""


def at_least_one(name: str, value: int) -> int:
    """Return a whole number from 1, of any type of numbers.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is below 1.
    """
    try:
        number = as_whole_number(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; a whole number from 1 is needed") from None
    if number < 1:
        raise ValueError(f"{name} is {number}; it must be at least 1")
    return number


def checked_queries(queries: Iterable[str], names: Iterable[str] | None = None) -> Iterator[str]:
    """Yield queries, each a text that is not empty; messages name them, by number by default.

    Raises:
        TypeError: one is no text.
        ValueError: one is empty, or no valid Unicode.
    """
    for name, query in zip(count() if names is None else names, queries, strict=False):
        _check_text(query, f"query {name}" if names is None else f"query {name!r}")
        yield query


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} is a {type(text).__name__}; it must be text")
    if not text.strip():
        raise ValueError(f"{what} is empty; give it a text, or leave it out")
    check_unicode(text, what)


def checked_passage(
    passage: CorpusText | tuple[str, str, str],
    known: Collection[str],
    seen: set[str],
    keep_variants: bool,
) -> CorpusText:
    """Return a passage with its language as the store calls it; its id joins those seen.

    Raises:
        TypeError: it is nothing of the kind, or a part of it is no text.
        ValueError: the id is empty or was seen, the language is unknown, or the text is empty.
    """
    try:
        given, language, text = passage
    except (TypeError, ValueError):
        raise TypeError(f"a passage is {passage!r}; give its id, language and text") from None
    each = id_text(given, "the id of a passage")
    if not each or each in seen:
        raise ValueError(f"the id {each!r} is {'given twice' if each else 'empty'}; ids are unique")
    _check_text(text, f"the text of {each!r}")
    seen.add(each)
    if language not in known:
        language = normalize_language(language, keep_variants)
    return CorpusText(each, language, text)
