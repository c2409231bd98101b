"""Results of evaluations, typed, and their files."""

from hybrid_fast.results.comparison import Comparison
from hybrid_fast.results.language_bias import BiasScore, LanguageBias, RankDistance, RankingBias
from hybrid_fast.results.per_query import PerQuery
from hybrid_fast.results.results import Counts, Results, RunInfo
from hybrid_fast.results.run_scores import RunScores
from hybrid_fast.results.runs import load_runs

__all__ = [
    "BiasScore",
    "Comparison",
    "Counts",
    "LanguageBias",
    "PerQuery",
    "RankDistance",
    "RankingBias",
    "Results",
    "RunInfo",
    "RunScores",
    "load_runs",
]
