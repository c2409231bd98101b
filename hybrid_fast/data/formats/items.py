"""The items that readers yield, and the checks and ids that they share."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hybrid_fast.common.texts import check_unicode
from hybrid_fast.data.text_ids import passage_text_ids

logger = logging.getLogger(__name__)

OnEmpty = Literal["error", "skip"]


class Item(NamedTuple):
    """One row of the table; the fields are its columns."""

    group_id: str
    lang: str
    query: str | None = None
    passage: str | None = None
    passage_id: str | None = None
    title: str | None = None
    negatives: list[str] | None = None
    source: str | None = None
    kinds: list[str] | None = None
    in_batch: bool | None = None
    negative_scores: list[float | None] | None = None
    positive_score: float | None = None


def check_text(value: object, where: str, field: str, can_skip: bool = True) -> str:
    """Return a text that is not blank; ValueError with file, line and field otherwise.

    Args:
        value: the value of the field.
        where: file and line, for the message.
        field: name of the field.
        can_skip: whether the reader has the option to leave out such rows.
    """
    if not isinstance(value, str):
        raise ValueError(
            f"{where}: field {field!r} must be text, got {value!r} ({type(value).__name__})"
        )
    if not value or value.isspace():
        hint = "; on_empty='skip' leaves such rows out" if can_skip else ""
        raise ValueError(f"{where}: field {field!r} is empty{hint}")
    check_unicode(value, f"{where}: field {field!r}")
    return value


def is_blank(value: object) -> bool:
    """Tell whether a value is an empty text, or one of white space only."""
    return isinstance(value, str) and (not value or value.isspace())


def report_skipped(path: object, count: int, what: str) -> None:
    """Log how many rows a reader left out, as its options say."""
    if count:
        logger.warning("%s: left out %d %s", path, count, what)


def shared_passage_ids(keys: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Return one passage id for each (key, text), equal where texts are translations.

    Entries with the same key (a sentence in several languages) or the same text share their id, and
    so do entries that a chain of such links connects: the connected components of keys and texts.

    Args:
        keys: (n,), equal for translations of each other.
        texts: (n,), the text of each entry.

    Returns:
        (n,), the id of the first text in the component of each entry.
    """
    key_codes, num_keys = _codes(pa.array(keys))
    text_ids = passage_text_ids(pa.array(texts, pa.string()))
    text_codes, num_texts = _codes(text_ids)
    size = num_keys + num_texts
    edges = (np.ones(len(texts), dtype=bool), (key_codes, num_keys + text_codes))
    _, component = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    _, first, inverse = np.unique(component[key_codes], return_index=True, return_inverse=True)
    return text_ids.take(pa.array(first[inverse])).to_pylist()


def check_count(name: str, value: object, what: str) -> None:
    """Raise a ValueError unless an option is None or a whole number of at least 1."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if value is not None and not (is_whole and value >= 1):  # type: ignore[operator]
        raise ValueError(f"{name} must be a whole number of {what}, at least 1, got {value!r}")


def limit_groups(items: Iterator[Item], limit: int) -> Iterator[Item]:
    """Yield the items of the first groups that appear."""
    groups: set[str] = set()
    for item in items:
        if item.group_id in groups or len(groups) < limit:
            groups.add(item.group_id)
            yield item


def _codes(values: pa.Array) -> tuple[np.ndarray, int]:
    encoded = values.dictionary_encode()
    return encoded.indices.to_numpy(), len(encoded.dictionary)
