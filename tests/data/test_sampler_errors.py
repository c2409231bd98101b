"""Bad options and columns of the batch plan: what was given, what is needed, what to do."""

from __future__ import annotations

import numpy as np
import pytest
from sampler_columns import complete

from hybrid_fast.data.sampler import HybridBatchSampler


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "monos"}, "did you mean 'mono'"),
        ({"alpha": 1.2}, "alpha is 1.2"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"batch_size": 0}, "positive multiple of 1"),
        ({"batch_size": 9, "world_size": 2}, "which 2 ranks do not divide"),
        ({"rank": 2, "world_size": 2}, "rank is 2 of world_size 2"),
        ({"pairs": "single", "kind": "mixed"}, "batches of one language are kind='mono'"),
        ({"pairs": "one"}, "'mixed' or 'single'"),
        ({"language_sampling": "unifrom"}, "did you mean 'uniform'"),
        ({"language_sampling": float("inf")}, "exponent"),
        ({"language_sampling": {"l000": 1, "xx": 2}}, "names 'xx', which the table does not have"),
        ({"language_sampling": {"l000": -1}}, "finite and non-negative"),
        ({"language_sampling": {"l000": 0}}, "one of them positive"),
        ({"pair_weights": {"l000-l00x": 1}}, "names 'l000-l00x'"),
        ({"source_weights": {"web": 1}}, "tells sources apart"),
        ({"sources": ["clean"] * 120, "source_weights": {"web": 1}}, "names 'web'"),
        ({"batch_size": 400}, "the largest batch_size that works is 40"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        complete(40, 3).sampler(**{"batch_size": 8, **options})


def test_numbers_of_the_wrong_type_are_named():
    columns = complete(40, 3)
    with pytest.raises(TypeError, match=r"batch_size is 8\.0; a whole number"):
        columns.sampler(batch_size=8.0)
    with pytest.raises(TypeError, match=r"alpha is '0\.5'"):
        columns.sampler(batch_size=8, alpha="0.5")
    with pytest.raises(TypeError, match="gives 'l000' the weight 'x'"):
        columns.sampler(batch_size=8, language_sampling={"l000": "x"})
    with pytest.raises(TypeError, match="language_sampling is None"):
        columns.sampler(batch_size=8, language_sampling=None)
    with pytest.raises(ValueError, match=r"step is 1\.5"):
        columns.sampler(batch_size=8).batch(1.5)


def test_bad_columns_are_named():
    with pytest.raises(ValueError, match="languages has shape"):
        HybridBatchSampler.from_arrays([1, 2], ["en"], batch_size=1)
    with pytest.raises(TypeError, match="languages is an array"):
        HybridBatchSampler.from_arrays([1, 2], [3, 4], batch_size=1)
    with pytest.raises(TypeError, match="group_ids is an array"):
        HybridBatchSampler.from_arrays([1.5, 2.5], ["en", "en"], batch_size=1)
    two = [1, 2], ["en", "de"]
    with pytest.raises(ValueError, match=r"passage_ids\[1\] is -5; -1 \(none\) or more"):
        HybridBatchSampler.from_arrays(*two, [3, -5], batch_size=1)
    with pytest.raises(ValueError, match="kind_mask must hold whole numbers from 0 to 7"):
        HybridBatchSampler.from_arrays(*two, kind_mask=[1, 8], batch_size=1)
    with pytest.raises(ValueError, match="ids must fit int64"):
        HybridBatchSampler.from_arrays(np.array([1, 2**63], np.uint64), two[1], batch_size=1)
    with pytest.raises(TypeError, match="has_query has type int64"):
        HybridBatchSampler.from_arrays(*two, has_query=[0, 1], batch_size=1)
    with pytest.raises(ValueError, match="no rows"):
        HybridBatchSampler.from_arrays(np.zeros(0, np.int64), np.zeros(0, "U2"), batch_size=1)
