"""Hard negatives for the items of a table, found by a model."""

from hybrid_fast.retrieval.mining.mining import Mined, mine, mine_hard_negatives
from hybrid_fast.retrieval.mining.options import MiningOptions
from hybrid_fast.retrieval.mining.report import MiningReport

__all__ = ["Mined", "MiningOptions", "MiningReport", "mine", "mine_hard_negatives"]
