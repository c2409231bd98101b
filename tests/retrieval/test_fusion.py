"""Fusion equals its rules written plainly, on runs and on the scores of tasks, ties included."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_fast.retrieval.fusion import (
    FirstCandidates,
    RankedIds,
    fuse_rankings,
    fuse_runs,
    fuse_scorers,
    reciprocal_ranks,
    weighted_scores,
)


def ordered(hits, depth):
    """Return the first hits in the order of trec_eval."""
    return dict(sorted(hits.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:depth])


def slow_weighted(sparse, dense, alpha, depth):
    """The rule of castorini/mr.tydi, scripts/hybrid.py."""
    firsts = [ordered(hits, depth) for hits in (sparse, dense)]
    fused = {}
    for document in {*firsts[0], *firsts[1]}:
        scaled = []
        for hits in firsts:
            low, high = min(hits.values(), default=0), max(hits.values(), default=0)
            score = hits.get(document, low)
            scaled.append((score - (low + high) / 2) / (high - low) if high > low else 0)
        fused[document] = scaled[0] + alpha * scaled[1]
    return fused


def slow_reciprocal(sparse, dense, k, depth):
    fused = {}
    for hits in (sparse, dense):
        for rank, document in enumerate(ordered(hits, depth), 1):
            fused[document] = fused.get(document, 0) + 1 / (k + rank)
    return fused


HITS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-3, 3).map(float), max_size=8)


@settings(max_examples=60, deadline=None)
@given(HITS, HITS, st.integers(1, 9), st.sampled_from([0.0, 0.56, 1.0]))
def test_runs_are_fused_by_the_rules(sparse, dense, depth, alpha):
    runs = {"q": sparse}, {"q": dense}
    for rule, expected in (
        (partial(weighted_scores, alpha=alpha), slow_weighted(sparse, dense, alpha, depth)),
        (partial(reciprocal_ranks, k=7), slow_reciprocal(sparse, dense, 7, depth)),
    ):
        fused = fuse_runs(*runs, rule, depth)["q"]
        assert fused.keys() == expected.keys()
        assert all(math.isclose(fused[d], expected[d], abs_tol=1e-12) for d in fused)


def test_by_hand():
    sparse, dense = {"q": {"a": 10.0, "b": 6.0, "c": 2.0}}, {"q": {"b": 0.9, "d": 0.5}}
    assert fuse_runs(sparse, dense, weighted_scores)["q"] == pytest.approx(
        {"a": 0.5 - 0.5, "b": 0 + 0.5, "c": -0.5 - 0.5, "d": -0.5 - 0.5}
    )
    assert fuse_runs(sparse, dense, reciprocal_ranks)["q"] == pytest.approx(
        {"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 63, "d": 1 / 62}
    )
    for name, rule in (("weighted", weighted_scores), ("rrf", reciprocal_ranks)):
        assert fuse_runs(sparse, dense, name) == fuse_runs(sparse, dense, rule)


@pytest.mark.parametrize("rule", ["weighted", "rrf", partial(weighted_scores, alpha=0.3)])
def test_rankings_of_many_queries_are_fused_as_runs_are(rule):
    rng = np.random.default_rng(0)
    lists = [
        [list(rng.permutation(list("abcdefgh"))[:n]) for n in ns]
        for ns in ([8, 0, 3, 0, 1], [2, 5, 0, 0, 1])
    ]
    scores = [-np.sort(-rng.standard_normal((5, 9)).astype(np.float32)) for _ in lists]
    sparse, dense = (RankedIds(*each) for each in zip(lists, scores, strict=True))
    for row, (ids, fused) in enumerate(fuse_rankings(sparse, dense, rule)):
        runs = [
            {"q": dict(zip(each.ids[row], each.scores[row].tolist(), strict=False))}
            for each in (sparse, dense)
        ]
        assert dict(zip(ids, fused, strict=True)) == pytest.approx(fuse_runs(*runs, rule)["q"])
        assert (np.diff(fused) <= 0).all()


def test_equal_fused_scores_stand_in_the_order_of_the_dense_ranking():
    one = np.ones((1, 1), np.float32)
    (fused,) = fuse_rankings(RankedIds([["s"]], one), RankedIds([["d"]], one), "rrf")
    assert fused.ids == ["d", "s"]
    assert fuse_rankings(RankedIds([[]], one), RankedIds([[]], one))[0].ids == []
    with pytest.raises(ValueError, match="ranking 0 has a score that is NaN"):
        fuse_rankings(RankedIds([["s"]], one), RankedIds([["d"]], one * np.float32("nan")))


def test_a_rule_that_is_none():
    for fuse in (fuse_runs, fuse_scorers):
        with pytest.raises(ValueError, match=r"rule is 'rff'; it must be .*; did you mean 'rrf'"):
            fuse({"q": {"a": 1.0}}, {"q": {"a": 1.0}}, "rff")
        with pytest.raises(TypeError, match="rule is a NoneType; give one of 'weighted', 'rrf'"):
            fuse({"q": {"a": 1.0}}, {"q": {"a": 1.0}}, None)


@pytest.mark.parametrize(("value", "name"), [(math.nan, "NaN"), (math.inf, "infinite")])
@pytest.mark.parametrize("side", [0, 1])
def test_scorers_that_give_no_number_are_not_fused(value, name, side):
    def one(rows, scores):
        scores[:] = 1

    def broken(rows, scores):
        scores[:] = 1
        scores[1, 2] = value

    scorers = [one, one]
    scorers[side] = broken
    with pytest.raises(ValueError, match=rf"query row 7 and candidate row 2 is {name}"):
        fuse_scorers(*scorers, "rrf")(np.array([3, 7]), np.empty((2, 4), dtype=np.float32))


def test_minus_infinity_is_no_hit_of_the_dense_ranking():
    scores = np.empty((1, 2), dtype=np.float32)
    given = iter([[2.0, 0.0], [-math.inf, 5.0]])
    scorer = lambda rows, scores: np.copyto(scores, [next(given)])  # noqa: E731
    fuse_scorers(scorer, scorer, "rrf")(np.array([0]), scores)
    assert scores[0].tolist() == pytest.approx([1 / 61, 1 / 61])


def test_queries_of_one_run_alone_are_kept(tmp_path):
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 a 1 2.5 x\nq1 Q0 b 2 1.5 x\n", encoding="utf-8")
    fused = fuse_runs({"q2": {"c": 1.0}}, path, weighted_scores)
    assert fused == {"q2": {"c": 0.0}, "q1": {"a": 0.5, "b": -0.5}}


@pytest.mark.parametrize(
    ("score", "message"), [(math.nan, "NaN"), (1e39, "beyond float32"), (-math.inf, "beyond")]
)
def test_scores_that_cannot_be_fused(score, message):
    with pytest.raises(ValueError, match=message):
        fuse_runs({"q": {"a": score}}, {"q": {"a": 1.0}}, weighted_scores)


def test_depth_is_at_least_one():
    with pytest.raises(ValueError, match="depth is 0; it must be at least 1"):
        FirstCandidates.of(np.zeros((1, 3), dtype=np.float32), 0)


@pytest.mark.parametrize("depth", [1, 3, 40, 1000])
@pytest.mark.parametrize("rule", [partial(weighted_scores, alpha=0.8), reciprocal_ranks])
def test_scores_of_tasks_are_fused_as_runs_are(rule, depth):
    """Ids that fall as positions rise give runs the order of tasks."""
    rng = np.random.default_rng(depth)
    sparse = rng.integers(0, 5, (7, 40)).astype(np.float32)  # 0 is no hit
    sparse[2] = 0
    dense = rng.integers(-9, 10, (7, 40)).astype(np.float32)
    fused = np.full((4, 40), np.nan, dtype=np.float32)
    rows = np.array([5, 2, 0, 6])
    scorers = (
        lambda rows, scores, matrix=matrix: np.copyto(scores, matrix[rows])
        for matrix in (sparse, dense)
    )
    fuse_scorers(*scorers, rule, depth)(rows, fused)
    ids = [f"{99 - column:02}" for column in range(40)]
    for place, row in enumerate(rows):
        runs = [
            {"q": {i: float(s) for i, s in zip(ids, scores[row], strict=True) if keep(s)}}
            for scores, keep in ((sparse, lambda s: s > 0), (dense, lambda s: True))
        ]
        expected = fuse_runs(*runs, rule, depth)["q"]
        elsewhere = {float(fused[place, c]) for c, each in enumerate(ids) if each not in expected}
        for column, each in enumerate(ids):
            if each in expected:
                assert fused[place, column] == np.float32(expected[each])
        assert len(elsewhere) <= 1
        assert all(value <= min(map(np.float32, expected.values())) for value in elsewhere)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_first_candidates_are_those_of_the_full_ranking(data):
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 40)))
    few = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 2.0])
    size = math.prod(shape)
    values = data.draw(st.lists(few, min_size=size, max_size=size))
    scores = np.array(values, np.float32).reshape(shape)
    depth = data.draw(st.integers(1, 50))
    first = FirstCandidates.of(scores, depth)
    np.testing.assert_array_equal(
        first.columns, np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    )
    np.testing.assert_array_equal(first.scores, np.take_along_axis(scores, first.columns, axis=1))


def test_more_candidates_than_ranks_are_exact_for():
    """Four languages of MIRACL have as many; a full ranking in float32 is exact to 2^23."""
    scores = np.zeros((1, 2**23 + 5), np.float32)
    scores[0, [7, 2**23 + 3]] = 1, 2
    first = FirstCandidates.of(scores, 4)
    assert first.columns.tolist() == [[2**23 + 3, 7, 0, 1]]
    assert first.scores.tolist() == [[2.0, 1.0, 0.0, 0.0]]
