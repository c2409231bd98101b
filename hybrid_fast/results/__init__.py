"""Results of evaluations, typed, and their files."""

from hybrid_fast.results.results import PerQuery, Results
from hybrid_fast.results.run_info import RunInfo

__all__ = ["PerQuery", "Results", "RunInfo"]
