"""What the tokens of a table leave to learn from, counted before the first step.

A tokenizer that does not know a language gives one unknown token for most of its words, and a short
maximum length cuts texts before they differ: then different texts are one and the same to the
encoder, and training goes on without an error.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybrid_fast import _core
from hybrid_fast.data import AlignedTable, TokenStore
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.texts import Side

logger = logging.getLogger(__name__)

# Shares of the texts or tokens of a language from which on a warning names it.
MANY_UNKNOWN = 0.1
MANY_ALIKE = 0.1
MANY_CUT = 0.5
_MOST_SHOWN = 8  # languages in a line
_TOKENS_AT_A_TIME = 2**24
_NAMES = {"query": "queries", "passage": "passages"}

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LanguageCounts:
    """Counts of the different texts of one side in one language.

    Attributes:
        language: its code.
        texts: number of different texts.
        alike: those whose tokens another text of the side has.
        full: those of the maximum length, which may have been cut.
        tokens: tokens, those of the prompt and those added to each text aside.
        unknown: those of them that stand for what is not in the vocabulary.
    """

    language: str
    texts: int
    alike: int
    full: int
    tokens: int
    unknown: int


def count_tokens(
    table: AlignedTable,
    store: TokenStore,
    *,
    unknown_id: int | None = None,
    num_added: int = 0,
    num_unknown_added: int = 0,
    max_length: int | None = None,
) -> list[LanguageCounts]:
    """Count the texts of a token store by language; a text in several counts for one of them.

    Args:
        table: that of the store.
        store: of one side.
        unknown_id: of the token for what is not in the vocabulary; None if there is none.
        num_added: tokens that every text has, of the prompt and of the model.
        num_unknown_added: those of them that are the unknown token; some models end texts with it.
        max_length: tokens at which texts are cut; None if they are not.
    """
    lengths = store.tokens.lengths
    per_text = {
        "texts": np.ones(len(lengths), np.int64),
        "alike": _alike(store).astype(np.int64),
        "full": (lengths >= (np.inf if max_length is None else max_length)).astype(np.int64),
        "tokens": np.maximum(lengths - num_added, 0),
        "unknown": np.maximum(_unknown(store, unknown_id) - num_unknown_added, 0),
    }
    languages = _languages(table, store)
    sums = {
        name: np.bincount(languages, counts, len(table.languages)).astype(np.int64).tolist()
        for name, counts in per_text.items()
    }
    counted = [
        LanguageCounts(language, **{name: sums[name][number] for name in sums})
        for number, language in enumerate(table.languages)
    ]
    return [counts for counts in counted if counts.texts]


def report_tokens(table: AlignedTable, store: TokenStore, side: Side, model: BiEncoder) -> None:
    """Log what the tokens of a side lose, with a warning for what a language has too much of.

    Args:
        table: the items.
        store: of the side.
        side: "query" or "passage".
        model: whose tokens these are.

    Raises:
        ValueError: all tokens are unknown, or all texts have the same tokens.
    """
    backbone, max_length = model.backbone, model.max_length.get(side)
    added = backbone.token_ids([model.prompts.of_side(side)], side)[0]
    counts = count_tokens(
        table,
        store,
        unknown_id=backbone.unknown_id,
        num_added=len(added),
        num_unknown_added=int(np.count_nonzero(added == backbone.unknown_id)),
        max_length=max_length,
    )
    name, num_texts = _NAMES[side], len(store.tokens)
    _check_differ(counts, store, name)
    _log(
        f"{name}: %s of the tokens are unknown to the tokenizer, and texts that differ only there "
        "are one to the encoder; take a model whose vocabulary has these languages",
        _worst(counts, lambda c: (c.unknown, c.tokens), MANY_UNKNOWN),
    )
    _log(
        f"{name}: %s of the different texts have the same tokens as another one, so that the "
        "encoder cannot tell them apart; the causes are unknown tokens, characters that the "
        "tokenizer drops, or a maximum length that cuts texts before they differ",
        _worst(counts, lambda c: (c.alike, c.texts), MANY_ALIKE),
    )
    if store.num_truncated:
        shown = _worst(counts, lambda c: (c.full, c.texts), MANY_CUT)
        logger.log(
            logging.WARNING if shown else logging.INFO,
            "%d of %d different %s texts exceed %s tokens and are truncated%s.",
            store.num_truncated,
            num_texts,
            side,
            "the tokenizer's limit of" if max_length is None else max_length,
            f": {shown} are that long" if shown else "",
        )


def _check_differ(counts: list[LanguageCounts], store: TokenStore, name: str) -> None:
    """Raise ValueError where no two texts differ in a token that the encoder knows."""
    tokens, unknown, texts = (
        sum(getattr(each, field) for each in counts) for field in ("tokens", "unknown", "texts")
    )
    languages = ", ".join(each.language for each in counts[:_MOST_SHOWN])
    if tokens and unknown == tokens:
        raise ValueError(
            f"all {tokens:,} tokens of the {texts:,} different {name} are unknown to the "
            f"tokenizer, so there is nothing to learn from; take a model whose vocabulary has "
            f"{languages}"
        )
    if texts > 1 and len(np.unique(_hashes(store))) == 1:
        raise ValueError(
            f"the {texts:,} different {name} all have the same {store.tokens.lengths[0]} tokens, "
            "so there is nothing to learn from: either the tokenizer knows none of their words "
            f"(languages: {languages}), or the maximum length or a long prompt leaves no room "
            "for them"
        )


def _log(text: str, shown: str) -> None:
    if shown:
        logger.warning(text, shown)


def _worst(
    counts: Sequence[LanguageCounts], of: Callable[[LanguageCounts], tuple[int, int]], many: float
) -> str:
    """Return "th 93%, km 80%" for the languages of which a part exceeds a share, worst first."""
    shares = {each.language: of(each)[0] / max(1, of(each)[1]) for each in counts}
    worst = sorted((lang for lang in shares if shares[lang] > many), key=lambda x: -shares[x])
    shown = ", ".join(f"{language} {shares[language]:.0%}" for language in worst[:_MOST_SHOWN])
    more = len(worst) - _MOST_SHOWN
    return f"{shown} and {more} more languages" if more > 0 else shown


def _hashes(store: TokenStore) -> npt.NDArray[np.uint64]:
    """Return a hash of the tokens of each text."""
    ids = store.tokens.ids
    return _core.hash_texts(store.tokens.offsets * ids.itemsize, ids.view(np.uint8))


def _alike(store: TokenStore) -> npt.NDArray[np.bool_]:
    """Return whether another text has the same tokens, by text."""
    _, inverse, counts = np.unique(_hashes(store), return_inverse=True, return_counts=True)
    alike: npt.NDArray[np.bool_] = counts[inverse] > 1
    return alike


def _unknown(store: TokenStore, unknown_id: int | None) -> Integers:
    """Return the number of unknown tokens of each text."""
    ids, offsets = store.tokens.ids, store.tokens.offsets
    counts = np.zeros(len(store.tokens), np.int64)
    for first in range(0, len(ids) if unknown_id is not None else 0, _TOKENS_AT_A_TIME):
        places = first + np.flatnonzero(ids[first : first + _TOKENS_AT_A_TIME] == unknown_id)
        texts = np.searchsorted(offsets, places, "right") - 1
        counts += np.bincount(texts, minlength=len(counts))
    return counts


def _languages(table: AlignedTable, store: TokenStore) -> Integers:
    """Return the position in `table.languages` of a language that each text stands in."""
    languages = np.zeros(len(store.tokens), np.int64)
    counts = np.diff(store.negative_offsets)
    if len(store.negatives):
        languages[store.negatives] = np.repeat(table.language_codes, counts)
    rows = store.rows >= 0
    languages[store.rows[rows]] = table.language_codes[rows]
    return languages
