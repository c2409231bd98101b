"""The batch plan on tables that brought defects to light; each test names the guarantee it holds.

Numbers of the guarantees as in docs/sampling.md.
"""

from __future__ import annotations

import pickle
import re
from collections import Counter

import numpy as np
import pytest

from hybrid_fast.data import AlignedTable
from hybrid_fast.data.sampler import HybridBatchSampler


def one_pair(num_groups, num_queries=1, num_passages=1):
    """Groups of `num_queries` queries in x and `num_passages` passages in y."""
    items = num_queries + num_passages
    groups = np.repeat(np.arange(num_groups), items)
    is_query = np.tile(np.arange(items) < num_queries, num_groups)
    return groups, np.where(is_query, "x", "y"), is_query


@pytest.mark.parametrize(("num_queries", "num_passages"), [(1, 2), (2, 3), (3, 2), (2, 4), (5, 3)])
def test_alternatives_of_unequal_number_all_take_turns(num_queries, num_passages):
    """Guarantee 4."""
    groups, languages, is_query = one_pair(8, num_queries, num_passages)
    sampler = HybridBatchSampler.from_arrays(
        groups, languages, None, is_query, ~is_query, batch_size=4, kind="cross"
    )
    uses = np.zeros(len(groups), int)
    for step in range(120):
        batch = sampler.batch(step)
        uses[batch.query_rows] += 1
        uses[batch.passage_rows] += 1
    assert np.ptp(uses[is_query]) <= 2
    assert np.ptp(uses[~is_query]) <= 2


def test_alternatives_of_one_language_alone_take_turns():
    """Guarantee 4, every row with query and passage: one row a group in x, two in y."""
    groups, languages = np.repeat(np.arange(8), 3), np.tile(["x", "y", "y"], 8)
    sampler = HybridBatchSampler.from_arrays(groups, languages, batch_size=4, kind="cross")
    uses = np.zeros(24, int)
    for step in range(100):
        uses[sampler.batch(step).passage_rows] += 1
    assert np.ptp(uses[languages == "y"]) <= 2


def test_a_free_example_is_found_among_alternatives():
    """Guarantee 1: thousands of groups share a passage, three others also have one of their own."""
    items = [(g, "x", -1) for g in range(2000)] + [(g, "y", 7) for g in range(2000)]
    for group in range(5000, 5003):
        items += [(group, "x", -1), (group, "y", 7), (group, "y", 7), (group, "y", group)]
    groups, languages, passages = (np.array(column) for column in zip(*items, strict=True))
    is_query = languages == "x"
    sampler = HybridBatchSampler.from_arrays(
        groups, languages, passages, is_query, ~is_query, batch_size=2, kind="cross"
    )
    for step in range(100):
        batch = sampler.batch(step)
        assert len(set(groups[batch.passage_rows])) == len(set(passages[batch.passage_rows])) == 2


def test_a_group_whose_passage_is_shared_is_not_starved():
    """Guarantee 4: a stream of less than two windows, in which two groups share a passage."""
    groups, languages, is_query = one_pair(6)
    passages = np.where(groups < 2, 10**6, groups)
    for seed in range(20):
        sampler = HybridBatchSampler.from_arrays(
            groups, languages, passages, is_query, ~is_query, batch_size=4, kind="cross", seed=seed
        )
        drawn = Counter()
        for step in range(60):
            drawn.update(groups[sampler.batch(step).passage_rows].tolist())
        assert min(drawn[group] for group in range(6)) > 0


@pytest.mark.parametrize("kind", ["mono", "cross"])
def test_every_two_groups_are_each_others_negatives_in_time(kind):
    """Guarantee 5: passes differ not only within fixed halves of the table."""
    num_groups, batch_size = 400, 16
    groups = np.repeat(np.arange(num_groups), 2)
    sampler = HybridBatchSampler.from_arrays(
        groups, np.tile(["x", "y"], num_groups), batch_size=batch_size, kind=kind
    )
    meetings = np.zeros((2, 2))
    for step in range(40 * num_groups // batch_size):
        classes = groups[sampler.batch(step).query_rows] // (1 if kind == "mono" else 2) % 2
        counts = np.bincount(classes, minlength=2)
        meetings += np.outer(counts, counts) - np.diag(counts)
    assert meetings.min() > 0.5 * meetings.max()


def test_groups_little_more_than_a_batch_meet_others_in_other_passes():
    """Guarantee 5 below two batches of groups."""
    groups, languages = np.repeat(np.arange(20), 2), np.tile(["x", "y"], 20)
    sampler = HybridBatchSampler.from_arrays(groups, languages, batch_size=10, kind="mono")
    drawn = {frozenset(groups[sampler.batch(step).query_rows].tolist()) for step in range(80)}
    assert len(drawn) > 8


@pytest.mark.parametrize("kind", ["mono", "cross", "mixed", "hybrid"])
@pytest.mark.parametrize("world_size", [1, 4])
def test_the_largest_batch_size_named_serves_all_batches_of_the_plan(kind, world_size):
    groups = np.concatenate([np.arange(99), np.arange(21)])
    languages = np.array(["x"] * 99 + ["y"] * 21)

    def plan(batch_size):
        return HybridBatchSampler.from_arrays(
            groups, languages, batch_size=batch_size, kind=kind, world_size=world_size
        )

    with pytest.raises(ValueError, match="largest batch_size that works is") as caught:
        plan(200)
    largest = int(re.findall(r"\d+", str(caught.value))[-1])
    assert len(plan(largest).batch(0)) == largest // world_size


@pytest.mark.parametrize("sampling", [400.0, -400.0, {"x": 1e200, "y": 1e200, "z": 1e200}])
def test_weights_beyond_the_range_of_floats_are_refused(sampling):
    """It must not reach the plan: a cycle without children divides by zero."""
    groups, languages = np.repeat(np.arange(40), 3)[1:], np.tile(["x", "y", "z"], 40)[1:]
    with pytest.raises(ValueError, match=r"language_sampling|exponent|weight"):
        HybridBatchSampler.from_arrays(
            groups, languages, batch_size=8, kind="cross", language_sampling=sampling
        )


def test_sources_of_weight_zero_are_not_drawn_where_a_group_has_several():
    groups, languages = np.repeat(np.arange(40), 4), np.tile(["x", "y", "z", "x"], 40)
    sources = np.tile(["good", "good", "bad", "bad"], 40)
    for kind in ("mono", "cross", "mixed"):
        sampler = HybridBatchSampler.from_arrays(
            groups,
            languages,
            sources=sources,
            batch_size=8,
            kind=kind,
            source_weights={"good": 1.0},
        )
        for step in range(20):
            batch = sampler.batch(step)
            assert set(sources[batch.query_rows]) == {"good"}
            assert set(sources[batch.passage_rows]) == {"good"}


def test_the_report_names_a_pair_that_was_asked_for_and_has_no_groups():
    """Guarantee 3: what is left out, and why."""
    groups, languages = np.array([0, 0, 1, 1, 2, 3]), np.array(["x", "y", "x", "y", "z", "z"])
    report = HybridBatchSampler.from_arrays(
        groups, languages, batch_size=2, kind="cross", pair_weights={"x-y": 1, "x-z": 5}
    ).report()
    assert any("x-z" in line for line in report.excluded)
    assert {share.name: share.asked for share in report.pairs}["x-y"] == pytest.approx(1 / 6)


def test_a_plan_can_be_pickled():
    """Loader workers are started by pickling from Python 3.14 on."""
    groups, languages, _ = one_pair(20)
    sampler = HybridBatchSampler.from_arrays(groups, languages, batch_size=4, seed=3)
    copy = pickle.loads(pickle.dumps(sampler))
    assert np.array_equal(copy.batch(5).query_rows, sampler.batch(5).query_rows)


FLAT = {"en": ["which bridge is old", "Which  bridge is old", "wo"], "de": ["wo", "wann", "wer"]}


@pytest.mark.parametrize("group_ids", ["own", "of translations"])
@pytest.mark.parametrize("kind", ["mono", "mixed"])
def test_equal_queries_of_a_table_never_meet(group_ids, kind):
    """Guarantee 1 by default, whatever the white space and the language."""
    keys = [(n, lang, k) for n in range(30) for lang in FLAT for k in range(3)]
    table = AlignedTable.from_columns(
        {
            "group_id": [f"{n}-{k}" if group_ids == "of translations" else f"{n}-{k}-{lang}"
                         for n, lang, k in keys],
            "lang": [lang for _, lang, _ in keys],
            "query": [f"{FLAT[lang][k].lower()} {n // 2}" for n, lang, k in keys],
            "passage": [f"{lang} answer {n} {k}" for n, lang, k in keys],
        }
    )  # fmt: skip
    sampler = HybridBatchSampler(table, batch_size=8, kind=kind, seed=3)
    report = sampler.report(0)
    assert (report.rows, report.queries, report.passages) == (180, 15 * 4, 180)
    assert "180 rows: 60 different queries, 180 different passages" in str(report)
    for step in range(100):
        queries = table.queries(sampler.batch(step).query_rows)
        assert len({" ".join(query.split()) for query in queries}) == 8


def test_rows_that_conflict_by_their_second_shared_text_alone():
    """Guarantee 1: the passage of row 1 is shared in y only, its query with row 0."""
    sampler = HybridBatchSampler.from_arrays(
        np.array([0, 1, 2, 0, 1]),
        np.array(["x", "x", "x", "y", "y"]),
        np.array([10, 11, 12, 11, 13]),
        query_ids=np.array([5, 5, 6, 7, 8]),
        batch_size=2,
        kind="mono",
        language_sampling={"x": 1},
    )
    for step in range(20):
        rows = sampler.batch(step).query_rows
        assert 2 in rows
        assert len(set(rows)) == 2
