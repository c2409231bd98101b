"""Results of evaluations, typed, and their files."""

from hybrid_fast.results.results import PerQuery, Results

__all__ = ["PerQuery", "Results"]
