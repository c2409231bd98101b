"""Names of metrics and settings: what every task reports, and how it is titled."""

from __future__ import annotations

# A query against its own language, each other language, and the pool of all languages.
SETTINGS = ("mono", "cross", "multi")
# Reported by every task; a task may add more.
METRICS = ("map", "map@20", "ndcg@10", "mrr@10", "recall@1", "recall@10")
# What a results.json must hold of every setting.
REQUIRED_METRICS = ("map", "recall@1", "recall@10")
_TITLES = {
    "map": "mAP",
    "map@20": "mAP@20",
    "ndcg@10": "nDCG@10",
    "mrr@10": "MRR@10",
    "mrr@100": "MRR@100",
    "r@2kt": "R@2kt",
    "r@5kt": "R@5kt",
}


def metric_title(metric: str) -> str:
    """Return a metric as it is written in papers, "mAP" for "map"."""
    return _TITLES.get(metric, metric)


def score_name(setting: str, metric: str) -> str:
    """Return the one-word name of a score, such as "mono_map"; the rank distance has one pool."""
    return metric if metric == "rank_distance" else f"{setting}_{metric}"
