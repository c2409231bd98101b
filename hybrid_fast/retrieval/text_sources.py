"""Where the texts of hits come from: what holds them by id, and the store itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hybrid_fast.retrieval.stores.store import Store


class TextSource(Protocol):
    """Texts by id; a store is one, and so is what reads them from a file."""

    def texts(self, ids: Sequence[str], /) -> list[str | None]:
        """Return the texts of ids; None where there is none."""


class HitTexts:
    """Texts of a source before a store, and those of the store where the source has none.

    Args:
        store: may keep texts.
        source: a mapping of ids to texts, an object with `texts(ids)`, or None.

    Raises:
        TypeError: the source is nothing of that.
    """

    def __init__(self, store: Store, source: Mapping[str, str] | TextSource | None = None) -> None:
        has_texts = callable(getattr(source, "texts", None))
        if source is not None and not has_texts and not isinstance(source, Mapping):
            raise TypeError(
                f"texts is a {type(source).__name__}; give a mapping of ids to texts, or an object "
                "with texts(ids)"
            )
        self._store, self._source = store, source

    def texts(self, ids: Sequence[str]) -> list[str | None]:
        """Return the texts of ids; None where neither has one."""
        found = self._of_source(ids)
        missing = [place for place, text in enumerate(found) if text is None]
        if missing:
            kept = self._store.texts([ids[place] for place in missing])
            for place, text in zip(missing, kept, strict=True):
                found[place] = text
        return found

    def by_id(self, ids: Sequence[Sequence[str]]) -> dict[str, str | None]:
        """Return the text of each id that is in some lists, read once."""
        distinct = list(dict.fromkeys(each for some in ids for each in some))
        return dict(zip(distinct, self.texts(distinct), strict=True)) if distinct else {}

    def needed(self, ids: Sequence[Sequence[str]], purpose: str) -> dict[str, str]:
        """Return the text of each id that is in some lists.

        Raises:
            ValueError: an id has no text; `purpose` is what they are needed for.
        """
        texts = self.by_id(ids)
        known = {each: text for each, text in texts.items() if text is not None}
        if len(known) < len(texts):
            lacking = next(each for each in texts if each not in known)
            raise ValueError(
                f"{purpose} needs the texts of hits, and there is none of {lacking!r} "
                f"({len(texts) - len(known)} of {len(texts)} hits): encode with --store-texts "
                "(store_texts=True), or give the corpus with --texts (texts=)"
            )
        return known

    def _of_source(self, ids: Sequence[str]) -> list[str | None]:
        if self._source is None:
            return [None] * len(ids)
        if isinstance(self._source, Mapping):
            return [self._source.get(each) for each in ids]
        return list(self._source.texts(ids))
