"""Which languages are searched for which items, and how deep."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_fast.retrieval.mining.options import MiningOptions

logger = logging.getLogger(__name__)


class LanguageSearch(NamedTuple):
    """A search of some languages.

    Attributes:
        items: whose negatives it finds, (m,).
        column: of these languages, among the sets of languages of an item.
        languages: of the passages; None: all.
        total: number of passages of these languages.
    """

    items: np.ndarray
    column: int
    languages: Collection[str] | None
    total: int


class SearchPlan:
    """The searches for items of some languages.

    Attributes:
        num_columns: sets of languages that are searched for an item.
        ranks: the first and the last rank that become negatives; the last one is at most the number
            of all candidates, or the first.
    """

    def __init__(
        self, options: MiningOptions, names: Sequence[str], counts: Mapping[str, int]
    ) -> None:
        """Check that there is something to search; warn of languages for which there is nothing.

        Args:
            options: what is asked for.
            names: languages of the table.
            counts: number of candidates of each language.

        Raises:
            ValueError: there are no candidates, or none of a language that is asked for.
        """
        counts = dict(sorted(counts.items()))
        asked = options.languages
        unknown = [] if isinstance(asked, str) else [each for each in asked if each not in counts]
        if unknown or not counts:
            raise ValueError(
                f"there are no passages in {', '.join(map(repr, unknown)) or 'any language'}; "
                f"there are some in {', '.join(counts) or 'none'}"
            )
        self._names, self._counts, self._balanced = names, counts, options.balanced
        self._sets = {name: self._set_of(name, asked) for name in names}
        lacking = [name for name, languages in self._sets.items() if not languages]
        if lacking:
            logger.warning(
                "there are no passages to become negatives of items in %s; there are some in %s",
                ", ".join(lacking),
                ", ".join(counts),
            )
        self.num_columns = len(counts) if options.balanced else 1
        first, last = options.ranks
        self.ranks = first, max(first, min(last, sum(counts.values())))

    def _set_of(self, own: str, asked: str | Sequence[str]) -> tuple[str, ...]:
        """Return the languages of the negatives of items of a language."""
        if asked == "own":
            return (own,) if own in self._counts else ()
        if asked == "other":
            return tuple(name for name in self._counts if name != own)
        return tuple(self._counts) if asked == "pool" else tuple(asked)

    def searches(self, codes: np.ndarray) -> Iterator[LanguageSearch]:
        """Yield the searches for items, of each set of languages once.

        Args:
            codes: number of the language of each item, (n,).
        """
        items_of: dict[tuple[str, ...], list[np.ndarray]] = {}
        for code in np.unique(codes):
            items_of.setdefault(self._sets[self._names[code]], []).append(
                np.flatnonzero(codes == code)
            )
        for languages, parts in items_of.items():
            items = np.sort(np.concatenate(parts))
            if languages and not self._balanced:
                is_all = len(languages) == len(self._counts)
                total = sum(self._counts[name] for name in languages)
                yield LanguageSearch(items, 0, None if is_all else languages, total)
            elif languages:
                for column, name in enumerate(self._counts):
                    if name in languages:
                        yield LanguageSearch(items, column, (name,), self._counts[name])
