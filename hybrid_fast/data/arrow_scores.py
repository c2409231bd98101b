"""The columns of scores that hard negatives may come with: numbers in any Arrow type."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_CAST_AS_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)


def is_score_type(given: pa.DataType) -> bool:
    """Tell whether a type holds numbers, or lists of numbers."""
    items = given.value_type if _is_list(given) else given
    return pa.types.is_floating(items)


def fits_scores(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether numbers of a type, or lists of them, are scores; null counts as missing."""
    if pa.types.is_null(given) or _is_list(given) != _is_list(wanted):
        return pa.types.is_null(given)
    items = given.value_type if _is_list(given) else given
    return pa.types.is_floating(items) or pa.types.is_integer(items) or pa.types.is_null(items)


def as_scores(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Return numbers, or lists of numbers, as float32."""
    return pa.chunked_array([_converted(chunk, wanted) for chunk in column.chunks], wanted)


def check_scores(
    scores: pa.ChunkedArray, negatives: pa.ChunkedArray, positive: pa.ChunkedArray
) -> None:
    """Check that scores are finite, and that there is one for each hard negative.

    Args:
        scores: lists of float32, one for each of the hard negatives, null where it is not known;
            null where none is.
        negatives: lists of hard negatives.
        positive: float32, the score of each row's own passage.

    Raises:
        ValueError: for anything else, with its row (counted from 0).
    """
    counts, given = (_lengths(each) for each in (negatives, scores))
    wrong = scores.is_valid().to_numpy() & (counts != given)
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"column 'negative_scores', row {row}: has {given[row]} scores for {counts[row]} hard "
            "negatives; give one for each, null for one that is not known"
        )
    rows = np.repeat(np.arange(len(scores)), given)
    for name, values, places in (
        ("negative_scores", pc.list_flatten(scores), rows),
        ("positive_score", positive, np.arange(len(positive))),
    ):
        bad = ~np.isfinite(pc.fill_null(values, 0).to_numpy())
        if bad.any():
            raise ValueError(
                f"column {name!r}, row {places[bad.argmax()]}: holds NaN or infinity, or a number "
                "beyond float32; null is for a score that is not known"
            )


def _converted(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_null(array.type) or not _is_list(array.type):
        return array.cast(wanted, safe=False)
    if any(is_type(array.type) for is_type in _CAST_AS_LISTS):
        return array.cast(wanted, safe=False)
    return pa.array(array.to_pylist(), wanted)  # Arrow's cast of list views loses rows


def _is_list(given: pa.DataType) -> bool:
    is_view = pa.types.is_list_view(given) or pa.types.is_large_list_view(given)
    return is_view or any(is_type(given) for is_type in _CAST_AS_LISTS)


def _lengths(lists: pa.ChunkedArray) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
