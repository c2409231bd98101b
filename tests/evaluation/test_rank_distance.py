"""Rank distances of cases worked by hand; queries with fewer than two relevants have none."""

import numpy as np

from hybrid_fast.evaluation.rank_distance import rank_distances, summarise_rank_distances
from hybrid_fast.evaluation.ranks import Relevants
from hybrid_fast.results import RankDistance

NAN = np.nan


def test_largest_minus_smallest_rank():
    offsets = np.array([0, 3, 3, 4, 6, 6])
    relevants = Relevants(offsets, np.arange(6))
    distances = rank_distances(relevants, np.array([7, 2, 30, 5, 4, 9]))
    np.testing.assert_array_equal(distances, [28, NAN, NAN, 5, NAN])


def test_no_relevants_at_all():
    relevants = Relevants(np.zeros(3, np.int64), np.empty(0, np.int64))
    np.testing.assert_array_equal(rank_distances(relevants, np.empty(0, np.int64)), [NAN, NAN])


def test_languages_count_equally():
    distances = np.array([1.0, 2.0, 6.0, NAN, 10.0, NAN])
    query_languages = np.array([0, 0, 0, 0, 1, 2])
    assert summarise_rank_distances(distances, query_languages, ("ar", "de", "en", "zh"), 50) == (
        RankDistance(
            mean=(3 + 10) / 2,
            median=(2 + 10) / 2,
            normalised=(3 + 10) / 2 / 50,
            by_language={"ar": 3.0, "de": 10.0, "en": None},
        )
    )


def test_no_distance_anywhere():
    summary = summarise_rank_distances(np.array([NAN]), np.array([0]), ("ar",), 3)
    assert summary == RankDistance(
        mean=None,
        median=None,
        normalised=None,
        by_language={"ar": None},
    )
