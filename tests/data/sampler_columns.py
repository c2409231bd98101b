"""Small tables as plain arrays, and the check of a batch of them."""

from __future__ import annotations

import numpy as np

from hybrid_fast.data.sampler import HybridBatchSampler


class Columns:
    """A table as plain arrays, rows shuffled."""

    def __init__(self, presence, *, alternatives=1, groups_per_passage=None, seed=0):
        rng = np.random.default_rng(seed)
        groups, languages = np.nonzero(presence)
        counts = rng.integers(1, alternatives + 1, len(groups))
        groups, languages = np.repeat(groups, counts), np.repeat(languages, counts)
        order = rng.permutation(len(groups))
        self.groups = groups[order].astype(np.int64)
        self.language_codes = languages[order]
        self.languages = np.array([f"l{code:03d}" for code in self.language_codes])
        self.passages = np.arange(len(groups), dtype=np.int64)
        if groups_per_passage:
            self.passages = self.groups // groups_per_passage

    def sampler(self, **options):
        return HybridBatchSampler.from_arrays(self.groups, self.languages, self.passages, **options)


def complete(num_groups, num_languages, **options):
    return Columns(np.ones((num_groups, num_languages), bool), **options)


def check_batch(columns, batch, batch_size):
    queries, passages = batch.query_rows, batch.passage_rows
    assert len(queries) == len(passages) == batch_size
    assert (columns.groups[queries] == columns.groups[passages]).all()
    assert len(np.unique(columns.groups[queries])) == batch_size
    assert len(np.unique(columns.passages[passages])) == batch_size
    x, y = columns.language_codes[queries], columns.language_codes[passages]
    if batch.kind == "cross":
        assert (x != y).all()
    else:
        assert (queries == passages).all()
    if batch.kind == "mono":
        assert len(np.unique(x)) == 1
