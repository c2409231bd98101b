"""Plans that must never change: the same on every platform and in every version."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from hybrid_fast.data.sampler import HybridBatchSampler

COMPLETE, GAPS = np.ones(150, bool), np.arange(150) % 7 != 0
FIXED_PLANS = [  # rows kept, options, query rows and passage rows of step 1001
    (COMPLETE, {"kind": "mono"}, [40, 22, 85, 49, 13, 139], [40, 22, 85, 49, 13, 139]),
    (COMPLETE, {"kind": "cross"}, [20, 50, 75, 94, 108, 133], [18, 49, 76, 93, 110, 134]),
    (COMPLETE, {"kind": "mixed"}, [43, 90, 149, 19, 54, 113], [43, 90, 149, 19, 54, 113]),
    (GAPS, {"kind": "mono"}, [103, 108, 49, 0, 57, 72], [103, 108, 49, 0, 57, 72]),
    (GAPS, {"kind": "cross"}, [21, 104, 105, 118, 78, 124], [20, 103, 107, 119, 77, 125]),
    (GAPS, {"kind": "mixed"}, [104, 30, 44, 116, 92, 37], [104, 30, 44, 116, 92, 37]),
    (
        COMPLETE,
        {"kind": "cross", "language_sampling": {"de": 1, "en": 2, "th": 3}},
        [8, 136, 109, 48, 23, 58],
        [7, 137, 108, 49, 22, 59],
    ),
]


@pytest.mark.parametrize(("kept", "options", "query_rows", "passage_rows"), FIXED_PLANS)
def test_plans_are_identical_everywhere(kept, options, query_rows, passage_rows):
    """A change here changes every user's batches: say so in the changelog."""
    groups, languages = np.repeat(np.arange(50), 3), np.tile(["de", "en", "th"], 50)
    sampler = HybridBatchSampler.from_arrays(
        groups[kept], languages[kept], batch_size=6, seed=7, **options
    )
    batch = sampler.batch(1001)
    assert batch.query_rows.tolist() == query_rows
    assert batch.passage_rows.tolist() == passage_rows


RARE_PROFILES = {
    "cross": "33c366b7151888d3",
    "mixed": "2ae99c6a6f746dd8",
    "mono": "31d835ce505dc85f",
}


@pytest.mark.parametrize("kind", RARE_PROFILES)
def test_plans_of_many_rare_profiles_are_identical_everywhere(kind):
    """3,000 groups of 40 languages stand in mixed cells; one step in every 10^7 up to 10^9."""
    numbers = np.arange(3000 * 40)
    present = (numbers * 2654435761 % 2**32 >> 16) % 4 == 0
    groups, languages = (
        numbers[present] // 40,
        np.char.add("l", (numbers[present] % 40).astype(str)),
    )
    sampler = HybridBatchSampler.from_arrays(groups, languages, batch_size=64, kind=kind, seed=11)
    rows = [sampler.batch(step) for step in range(0, 10**9, 10**7)]
    drawn = np.concatenate([np.concatenate([b.query_rows, b.passage_rows]) for b in rows])
    assert hashlib.sha256(drawn.astype("<i8").tobytes()).hexdigest()[:16] == RARE_PROFILES[kind]
