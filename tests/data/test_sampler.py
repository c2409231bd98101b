"""The guarantees of the batch plan (docs/sampling.md), by property tests on small tables.

1 no group and no passage twice in a batch; 2 languages of each kind, share of mono batches;
3 balance over any run; 4 all before any again; 5 seeds and passes differ, ranks are slices.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sampler_columns import Columns, check_batch, complete
from torch.utils.data import DataLoader, Dataset

from hybrid_fast.data.plan_options import KINDS
from hybrid_fast.data.sampler import HybridBatchSampler

tables = st.builds(
    lambda groups, languages, density, alternatives, shared, seed: Columns(
        np.random.default_rng(seed).random((groups, languages)) < density,
        alternatives=alternatives,
        groups_per_passage=shared,
        seed=seed,
    ),
    groups=st.integers(4, 60),
    languages=st.integers(2, 6),
    density=st.sampled_from([0.3, 0.6, 0.9, 1.0]),
    alternatives=st.integers(1, 3),
    shared=st.sampled_from([None, 2, 5]),
    seed=st.integers(0, 10**6),
)


@given(
    columns=tables,
    batch_size=st.integers(1, 24),
    kind=st.sampled_from(KINDS),
    pairs=st.sampled_from(["mixed", "single"]),
    sampling=st.sampled_from(["uniform", "proportional", 0.5]),
    seed=st.integers(0, 2**63),
)
def test_no_group_no_passage_twice_and_languages_of_the_kind(
    columns, batch_size, kind, pairs, sampling, seed
):
    assume(len(columns.groups) > 0 and (kind, pairs) != ("mixed", "single"))
    try:
        sampler = columns.sampler(
            batch_size=batch_size, kind=kind, pairs=pairs, language_sampling=sampling, seed=seed
        )
    except ValueError as error:
        assert re.search("the largest batch_size that works is|batch can be made", str(error))  # noqa: PT017
        return
    for step in range(30):
        batch = sampler.batch(step)
        assert batch.kind in ({"mono", "cross"} if kind == "hybrid" else {kind})
        check_batch(columns, batch, batch_size)


@given(columns=tables, kind=st.sampled_from(KINDS))
def test_the_batch_size_named_as_largest_works(columns, kind):
    assume(len(columns.groups) > 0)
    message = r"largest batch_size that works is (\d+)|no \w+ batch can be made: "
    with pytest.raises(ValueError, match=message) as caught:
        columns.sampler(batch_size=1000, kind=kind)
    largest = int(re.search(message, str(caught.value))[1] or 0)
    if largest == 0:
        return
    sampler = columns.sampler(batch_size=largest, kind=kind)
    for step in range(20):
        check_batch(columns, sampler.batch(step), largest)
    with pytest.raises(ValueError, match=f"works is {largest}$"):
        columns.sampler(batch_size=largest + 1, kind=kind)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_share_of_mono_batches_follows_alpha_over_every_run(alpha):
    sampler = complete(20, 3).sampler(batch_size=4, alpha=alpha, seed=5)
    mono = np.cumsum([0] + [sampler.batch(step).kind == "mono" for step in range(400)])
    runs = mono[None, :] - mono[:, None]
    lengths = np.arange(401)[None, :] - np.arange(401)[:, None]
    assert np.abs(runs - alpha * lengths).max() <= 1 + 1e-9


@pytest.mark.parametrize("num_groups", [24, 31, 60, 247])
@pytest.mark.parametrize("num_languages", [2, 3, 5])
def test_complete_tables_use_every_pair_and_group_evenly(num_groups, num_languages):
    columns = complete(num_groups, num_languages)
    sampler = columns.sampler(batch_size=24, kind="cross", seed=1)
    pairs = list(permutations(range(num_languages), 2))
    uses = Counter()
    pair_counts = Counter()
    for step in range(3 * len(pairs) * num_groups // 24 + 1):
        batch = sampler.batch(step)
        assert batch.substitutions == 0
        x = columns.language_codes[batch.query_rows].tolist()
        y = columns.language_codes[batch.passage_rows].tolist()
        uses.update(zip(x, y, columns.groups[batch.query_rows].tolist(), strict=True))
        pair_counts.update(zip(x, y, strict=True))
        counts = [pair_counts[pair] for pair in pairs]
        assert max(counts) - min(counts) <= 1
        by_pair = np.array([[uses[(*pair, g)] for g in range(num_groups)] for pair in pairs])
        assert (by_pair.max(axis=1) - by_pair.min(axis=1) <= 1).all()


@pytest.mark.parametrize("num_groups", [24, 31, 48, 49, 150])
@pytest.mark.parametrize("alternatives", [1, 2])
def test_mono_uses_every_item_of_a_language_before_any_again(num_groups, alternatives):
    columns = complete(num_groups * alternatives, 3)
    columns.groups //= alternatives
    batch_size = 12
    sampler = columns.sampler(batch_size=batch_size, kind="mono", seed=3)
    uses = np.zeros(len(columns.groups), int)
    languages = Counter()
    for step in range(150):
        batch = sampler.batch(step)
        assert batch.substitutions == 0
        uses[batch.query_rows] += 1
        languages[columns.language_codes[batch.query_rows[0]]] += 1
        for language in range(3):
            of_language = uses[columns.language_codes == language]
            assert of_language.max() - of_language.min() <= 1
        assert max(languages.values()) - min(languages[k] for k in range(3)) <= 1


@given(seed=st.integers(0, 1000), density=st.sampled_from([0.4, 0.7]))
@settings(max_examples=15)
def test_sparse_tables_are_balanced_and_count_what_they_substitute(seed, density):
    columns = Columns(np.random.default_rng(seed).random((150, 4)) < density, seed=seed)
    sampler = columns.sampler(batch_size=16, kind="cross", seed=seed)
    shares = {(s.query_language, s.passage_language): s for s in sampler.report().pairs}
    pair_counts, uses, substitutions, total = Counter(), Counter(), 0, 0
    assert sampler.report(200).substituted_pairs == 0
    for step in range(200):
        batch = sampler.batch(step)
        substitutions += batch.substitutions
        x, y = columns.languages[batch.query_rows], columns.languages[batch.passage_rows]
        for pair in zip(x.tolist(), y.tolist(), strict=True):
            pair_counts[pair] += 1
        uses.update(zip(x, y, columns.groups[batch.query_rows].tolist(), strict=True))
        total += 16
        for pair, share in shares.items():
            assert abs(pair_counts[pair] - share.effective * total) < 2
    for pair, share in shares.items():
        counts = [count for (x, y, _), count in uses.items() if (x, y) == pair]
        fewest = min(counts) if len(counts) == share.size else 0
        # A substitution moves two counts: of the entry left out and of the one put in.
        assert max(counts) - fewest <= 2 + 2 * substitutions
    assert substitutions < 0.2 * total


def test_weights_set_the_shares():
    presence = np.zeros((400, 3), bool)
    presence[:400, 0] = presence[:200, 1] = presence[:100, 2] = True
    columns = Columns(presence)

    def shares(**options):
        report = columns.sampler(batch_size=8, kind="mono", **options).report()
        return [share.effective for share in report.languages]

    assert shares() == pytest.approx([1 / 3] * 3)
    assert shares(language_sampling="proportional") == pytest.approx(
        [4 / 7, 2 / 7, 1 / 7], abs=1e-3
    )
    assert shares(language_sampling=0.5) == pytest.approx(
        np.array([2, 2**0.5, 1]) / (3 + 2**0.5), abs=1e-3
    )
    assert shares(language_sampling={"l000": 3, "l002": 1}) == pytest.approx(
        [0.75, 0, 0.25], abs=1e-3
    )
    pairs = columns.sampler(
        batch_size=8, kind="cross", pair_weights={"l000-l001": 2, "l001-l000": 1}
    )
    effective = {share.name: share.effective for share in pairs.report().pairs}
    assert effective["l000-l001"] == pytest.approx(2 / 3, abs=1e-3)
    assert effective["l001-l002"] == 0


def test_sources_are_weighted_within_a_language_and_a_pair():
    columns = complete(400, 2)
    sources = np.where(columns.groups < 300, "large", "small")
    for kind in ("mono", "cross", "mixed"):
        sampler = HybridBatchSampler.from_arrays(
            columns.groups,
            columns.languages,
            sources=sources,
            batch_size=20,
            kind=kind,
            source_weights={"large": 1, "small": 1},
        )
        drawn = Counter()
        for step in range(20):
            batch = sampler.batch(step)
            check_batch(columns, batch, 20)
            drawn.update(sources[batch.query_rows].tolist())
        assert drawn["small"] == pytest.approx(200, abs=8)


def test_a_language_too_small_for_a_batch_is_left_out_and_named():
    presence = np.ones((40, 3), bool)
    presence[5:, 2] = False
    report = Columns(presence).sampler(batch_size=16).report()
    assert [share.effective for share in report.languages] == pytest.approx([0.5, 0.5, 0])
    assert report.excluded == [
        "l002: 5 examples without a group, query or passage twice, too few for a batch of 16"
    ]
    assert "left out: l002" in str(report)
    assert report.to_dict()["excluded"] == report.excluded


def test_a_rare_language_is_lowered_where_its_groups_would_repeat():
    presence = np.ones((2000, 3), bool)
    presence[1:, 2] = False  # one group alone has the third language
    report = Columns(presence).sampler(batch_size=64, kind="cross").report()
    rare = sum(
        s.effective for s in report.pairs if "l002" in (s.query_language, s.passage_language)
    )
    assert rare * 64 <= 1 + 0.1
    assert report.substituted_pairs / (report.steps * 64) < 0.01


def test_single_pair_batches_hold_one_pair():
    columns = complete(40, 3)
    sampler = columns.sampler(batch_size=16, kind="cross", pairs="single")
    seen = Counter()
    for step in range(60):
        batch = sampler.batch(step)
        x, y = columns.language_codes[batch.query_rows], columns.language_codes[batch.passage_rows]
        assert len(set(x)) == len(set(y)) == 1
        seen[x[0], y[0]] += 1
        check_batch(columns, batch, 16)
    assert set(seen.values()) == {10}


def test_queries_and_passages_in_different_languages_only():
    """XOR-style: queries in three languages, passages only in the fourth."""
    columns = complete(60, 4)
    english = columns.language_codes == 3
    sampler = HybridBatchSampler.from_arrays(
        columns.groups,
        columns.languages,
        has_query=~english,
        has_passage=english,
        batch_size=20,
        kind="cross",
    )
    for step in range(20):
        batch = sampler.batch(step)
        assert not english[batch.query_rows].any()
        assert english[batch.passage_rows].all()
    with pytest.raises(ValueError, match="no mono batch can be made: no item has both a query and"):
        HybridBatchSampler.from_arrays(
            columns.groups,
            columns.languages,
            has_query=~english,
            has_passage=english,
            batch_size=4,
            kind="mono",
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_are_slices_of_the_same_global_batch(kind, world_size):
    columns = Columns(np.random.default_rng(0).random((90, 4)) < 0.8)
    whole = columns.sampler(batch_size=8, kind=kind)
    ranks = [
        columns.sampler(batch_size=8, kind=kind, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for step in range(20):
        batch = whole.batch(step)
        parts = [sampler.batch(step) for sampler in ranks]
        assert np.array_equal(np.concatenate([p.query_rows for p in parts]), batch.query_rows)
        assert np.array_equal(np.concatenate([p.passage_rows for p in parts]), batch.passage_rows)
        assert {len(sampler) for sampler in ranks} == {len(whole)}


def test_seeds_and_epochs_differ_and_repeat_themselves():
    columns = complete(64, 3)
    first, again, other = (columns.sampler(batch_size=8, seed=seed) for seed in (1, 1, 2))

    def rows(sampler, steps):
        return [sampler.batch(step).query_rows.tolist() for step in steps]

    assert rows(first, range(24)) == rows(again, reversed(range(24)))[::-1]
    assert rows(first, range(24)) != rows(other, range(24))
    epoch = len(first)
    assert rows(first, range(epoch)) != rows(first, range(epoch, 2 * epoch))


def test_any_step_however_late():
    columns = Columns(np.random.default_rng(0).random((90, 4)) < 0.8)
    sampler = columns.sampler(batch_size=8)
    check_batch(columns, sampler.batch(10**15 + 7), 8)
    with pytest.raises(ValueError, match="step is -1"):
        sampler.batch(-1)


def test_serves_a_data_loader():
    columns = complete(32, 2)
    sampler = columns.sampler(batch_size=8)

    class Rows(Dataset):
        def __getitems__(self, batch):
            return list(batch)

    loader = DataLoader(Rows(), batch_sampler=sampler, collate_fn=list)
    epoch = list(loader)
    assert len(epoch) == len(sampler) == 8
    expected = sampler.batch(0)
    assert epoch[0] == list(
        zip(expected.query_rows.tolist(), expected.passage_rows.tolist(), strict=True)
    )
    sampler.set_epoch(1)
    assert next(iter(loader)) == list(sampler.batch(8))


def test_length_counts_items_with_a_query_and_is_never_zero():
    columns = complete(10, 3)
    assert len(columns.sampler(batch_size=4)) == 7
    has_query = np.zeros(30, bool)
    has_query[columns.language_codes == 0] = True
    sampler = HybridBatchSampler.from_arrays(
        columns.groups, columns.languages, has_query=has_query, batch_size=10, kind="cross"
    )
    assert len(sampler) == 1
