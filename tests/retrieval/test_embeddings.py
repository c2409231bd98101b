"""Rows are normalised, and what is not finite stays so and is named."""

import numpy as np
import pytest

from hybrid_fast.retrieval.embeddings import check_finite, normalize_rows


def test_rows_of_norm_one():
    matrix = np.array([[3, 4], [0, 0], [-1e30, 0]], dtype=np.float32)
    expected = np.array([[0.6, 0.8], [0, 0], [-1, 0]], dtype=np.float32)
    np.testing.assert_array_equal(normalize_rows(matrix), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_stay_so(value):
    normalised = normalize_rows(np.array([[3, 4], [value, 1]], dtype=np.float32))
    np.testing.assert_array_equal(normalised[0], np.array([0.6, 0.8], dtype=np.float32))
    with pytest.raises(ValueError, match=r"texts: row 1 \(language en\) holds NaN or infinity"):
        check_finite(normalised, "texts", language_of=["de", "en"].__getitem__)
