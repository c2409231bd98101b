"""What may exclude columns, each by itself and several together, for any number of them."""

from __future__ import annotations

import torch


def masks(num_queries: int, num_passages: int, seed: int = 0) -> dict[str, dict]:
    """Return options of `info_nce` by name."""
    generator = torch.Generator().manual_seed(seed)

    def ids(size, most):
        return torch.randint(-1, most, (size,), generator=generator)

    rows = torch.arange(num_queries)
    owners = (torch.arange(num_passages) % num_queries).index_fill(0, rows, -1)
    alone = {"owners": owners, "in_batch": rows % 3 > 0}
    each = {
        "groups": {
            "query_groups": ids(num_queries, 5),
            "passage_groups": ids(num_passages, 5),
        },
        "ids": {"passage_ids": ids(num_passages, 9)},
        "ids of queries": {
            "passage_ids": ids(num_passages, 9),
            "query_passage_ids": ids(num_queries, 9),
        },
        "mask": {"mask": torch.rand(num_queries, num_passages, generator=generator) < 0.3},
        "mask by columns": {
            "mask": (torch.rand(num_passages, num_queries, generator=generator) < 0.3).T
        },
        "margin": {"margin": 0.05},
        "positives": {"positives": torch.arange(num_queries).flip(0) // 2},
        "normalize": {"normalize": True},
        "everything masked": {"mask": torch.ones(num_queries, num_passages, dtype=torch.bool)},
        "owners": {"owners": owners, "margin": 0.05},
        "owners of positives": {"owners": ids(num_passages, num_queries), "margin": -0.2},
        "in batch": alone,
        "in batch, other positives": alone | {"positives": rows.flip(0) // 2, "margin": 0.05},
        "nothing in batch": {"owners": owners, "in_batch": rows < 0},
    }
    names = ("groups", "ids of queries", "mask by columns", "in batch, other positives")
    together = {key: value for name in names for key, value in each[name].items()}
    return each | {"all together": together}
