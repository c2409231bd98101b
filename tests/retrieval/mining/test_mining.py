"""Mining gives what its definition gives, whatever the options, tables and sizes."""

from __future__ import annotations

import numpy as np
import pytest
from mining_by_hand import ByHand, HashModel, draw_table

from hybrid_fast.data import AlignedTable
from hybrid_fast.retrieval.mining import MiningOptions, mine, miner, rank_search

pytestmark = pytest.mark.usefixtures("memory_stores")


def check(table, model, **given):
    options = MiningOptions(**given)
    mined = mine(model, table, options)
    by_hand = ByHand(table, HashModel(model.similarity_fn_name, model.whole, model.seed), options)
    before, after = table.dataset[:], mined.table.dataset[:]
    num_negatives = 0
    for number, row in enumerate(by_hand.rows):
        found = {name: after[name][number] for name in mined.table.dataset.column_names}
        kept = options.existing == "keep" and row["negatives"]
        if row["query"] is None or kept:
            assert found["negatives"] == row["negatives"]
            assert found["negative_scores"] is None
            continue
        texts, scores, own = by_hand.mine(row)
        old = row["negatives"] if options.existing == "extend" else []
        assert found["negatives"] == [*old, *texts], number
        assert found["negative_scores"][: len(old)] == [None] * len(old)
        np.testing.assert_allclose(
            found["negative_scores"][len(old) :], scores, rtol=1e-5, atol=1e-6
        )
        assert found["positive_score"] == (own if own is None else pytest.approx(own, 1e-5, 1e-6))
        num_negatives += len(texts)
    assert num_negatives == mined.report.total.num_negatives
    for name in before:
        if name != "negatives":
            assert before[name] == after[name]
    return mined


LOOSE = {"relative_margin": None, "ranks": (1, 8)}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {**LOOSE},
        {**LOOSE, "languages": "other"},
        {**LOOSE, "languages": "pool", "num_negatives": 7},
        {"languages": ["th", "de"], "relative_margin": 0.6, "num_negatives": 1, "ranks": (1, 30)},
        {**LOOSE, "languages": "pool", "balanced": True, "num_negatives": 5},
        {**LOOSE, "languages": "other", "balanced": True, "margin": 1.0},
        {"margin": 2.0, "relative_margin": None, "positive": "own", "ranks": (3, 9)},
        {"margin": 0.5, "relative_margin": 0.9, "languages": "pool"},
        {**LOOSE, "max_score": 4.0, "min_score": -2.0},
        {**LOOSE, "existing": "extend", "ranks": (2, 12)},
        {**LOOSE, "existing": "keep"},
    ],
    ids=str,
)
def test_negatives_are_those_of_the_definition(seed, given):
    table = draw_table(seed, titles=seed == 2, with_ids=seed > 1, negatives="existing" in given)
    mined = check(table, HashModel(seed=seed), **given)
    assert mined.report.total.num_negatives > 10


def test_cosines_are_those_of_the_definition():
    check(draw_table(5), HashModel("cosine", whole=False), languages="pool", relative_margin=0.8)


@pytest.mark.parametrize("rows", [1, 7])
def test_a_table_is_the_same_in_whatever_parts_it_is_mined(monkeypatch, rows):
    table, options = draw_table(7), MiningOptions(sampling="random", seed=3, relative_margin=None)
    whole = mine(HashModel(), table, options).table
    monkeypatch.setattr(miner, "_MOST_ROWS", rows)
    monkeypatch.setattr(rank_search, "PASSAGES_AT_A_TIME", 5 * rows)
    assert mine(HashModel(), table, options).table.fingerprint == whole.fingerprint
    other = MiningOptions(sampling="random", seed=4, relative_margin=None)
    assert mine(HashModel(), table, other).table.fingerprint != whole.fingerprint


def test_answers_of_many_are_searched_past():
    """A question with more answers than a search is deeper than the ranks."""
    columns = {
        "group_id": ["a"] * 50 + ["b"] * 50,
        "lang": ["en"] * 100,
        "query": ["one question"] * 50 + [f"other {n}" for n in range(50)],
        "passage": [f"passage {n}" for n in range(100)],
    }

    check(AlignedTable.from_columns(columns), HashModel(), ranks=(1, 4), relative_margin=None)


def test_random_negatives_are_some_of_the_window_each_as_often():
    table = draw_table(1, num_rows=40)
    options = {"languages": "pool", "ranks": (2, 9), "relative_margin": None, "num_negatives": 3}
    by_hand = ByHand(table, HashModel(), MiningOptions(**options))
    drawn = {}
    for seed in range(15):
        options_of_seed = MiningOptions(**options, sampling="random", seed=seed)
        found = mine(HashModel(), table, options_of_seed).table.dataset[:]
        for number, row in enumerate(by_hand.rows):
            if row["query"] is not None:
                scores = found["negative_scores"][number]
                assert scores == sorted(scores, reverse=True)
                assert len(set(found["negatives"][number])) == 3
                drawn.setdefault(number, []).extend(found["negatives"][number])
    for number, texts in drawn.items():
        window = [text for _, text in by_hand.window(by_hand.rows[number], ["de", "en", "th"])]
        counts = [texts.count(text) for text in window]
        assert sum(counts) == len(texts) == 45
        assert max(counts) < 20  # 6 expected of each
