"""The checks of plan_checks.py and plan_report_checks.py fail on plans spoilt on purpose."""

from __future__ import annotations

import dataclasses
import random
from functools import partial

import numpy as np
import pytest
from hostile_tables import grid, one_rare_item
from plan_checks import check_order, check_plan
from plan_report_checks import check_report, check_weights
from plan_tables import Table


class Spoilt:
    """A plan whose batches and reports pass through functions that spoil them."""

    def __init__(self, plan, batch=lambda batch: batch, report=lambda report: report):
        self.plan, self.spoil_batch, self.spoil_report = plan, batch, report

    def batch(self, step):
        return self.spoil_batch(self.plan.batch(step))

    def report(self, steps):
        return self.spoil_report(self.plan.report(steps))


def with_rows(queries, passages=None):
    """Spoil the first examples of a batch; functions of its rows give the new ones."""

    def spoil(batch):
        rows = batch.query_rows.copy(), batch.passage_rows.copy()
        new = [np.array(make(*rows)) for make in (queries, passages or queries)]
        for old, first in zip(rows, new, strict=True):
            old[: len(first)] = first
        return dataclasses.replace(batch, query_rows=rows[0], passage_rows=rows[1])

    return spoil


def constant(rows):
    return lambda queries, passages: rows


def other_language(row):
    """The next language of the same group in a grid of three."""
    return row - row % 3 + (row + 1) % 3


GRID = grid(40)  # row 3 g + k: group g in language lk
LAST = np.arange(120) >= 117  # rows of the last group
SPOILT_BATCHES = {  # table, options, what spoils a batch, what the check says
    "a group in two examples": (
        GRID,
        {"kind": "cross"},
        with_rows(
            lambda q, p: [q[0], other_language(q[0])], lambda q, p: [p[0], other_language(p[0])]
        ),
        "1: a group twice",
    ),
    "groups with one passage": (
        dataclasses.replace(GRID, passages=GRID.groups // 2),
        {"kind": "mono"},
        with_rows(lambda q, p: [q[0], q[0] + (3 if q[0] // 3 % 2 == 0 else -3)]),
        "1: a passage twice",
    ),
    "groups with one query": (
        dataclasses.replace(GRID, queries=GRID.groups // 2),
        {"kind": "mono"},
        with_rows(lambda q, p: [q[0], q[0] + (3 if q[0] // 3 % 2 == 0 else -3)]),
        "1: a query twice",
    ),
    "a passage that answers the other query": (
        # Row 4, l1 of group 1, has the query of row 2, l2 of group 0, whose passage is drawn.
        dataclasses.replace(GRID, queries=np.where(np.arange(120) == 4, 2, np.arange(120))),
        {"kind": "cross", "batch_size": 2},
        with_rows(constant([0, 4]), constant([2, 3])),
        "1: a query twice",
    ),
    "a passage that is the other query's own": (
        # Row 4, l1 of group 1, has the passage of row 2, l2 of group 0.
        dataclasses.replace(GRID, passages=np.where(np.arange(120) == 4, 2, np.arange(120))),
        {"kind": "cross", "batch_size": 2},
        with_rows(constant([0, 4]), constant([2, 3])),
        "1: a passage twice",
    ),
    "query and passage of two groups": (
        GRID,
        {"kind": "cross"},
        lambda batch: dataclasses.replace(batch, passage_rows=np.roll(batch.passage_rows, 1)),
        "1: two groups in an example",
    ),
    "an example missing": (
        GRID,
        {"kind": "cross"},
        lambda batch: dataclasses.replace(batch, query_rows=batch.query_rows[1:]),
        "1: examples missing",
    ),
    "one language in a cross batch": (
        GRID,
        {"kind": "cross"},
        with_rows(lambda q, p: q[:1]),
        "2: one language in a cross example",
    ),
    "two languages in a mono batch": (
        GRID,
        {"kind": "mono"},
        with_rows(lambda q, p: [other_language(q[0])]),
        "2: several languages in a batch of one",
    ),
    "two pairs in a batch of one": (
        GRID,
        {"kind": "cross", "pairs": "single"},
        with_rows(lambda q, p: p[:1], lambda q, p: q[:1]),
        "2: several languages in a batch of one",
    ),
    "another row's passage in a mixed batch": (
        GRID,
        {"kind": "mixed"},
        with_rows(lambda q, p: q[:1], lambda q, p: [other_language(p[0])]),
        "2: two rows in a mono example",
    ),
    "a kind that was not asked for": (
        GRID,
        {"kind": "cross"},
        lambda batch: dataclasses.replace(batch, kind="mixed"),
        "2: kind of batch",
    ),
    "an item without query": (
        dataclasses.replace(GRID, has_query=~LAST),
        {"kind": "cross", "batch_size": 2},
        with_rows(constant([0, 117]), constant([1, 118])),
        "2: an item without query",
    ),
    "an item without passage": (
        dataclasses.replace(GRID, has_passage=~LAST),
        {"kind": "cross", "batch_size": 2},
        with_rows(constant([0, 117]), constant([1, 118])),
        "2: an item without passage",
    ),
    "an item of other kinds": (
        dataclasses.replace(GRID, kind_mask=np.where(LAST, 5, 7)),
        {"kind": "cross", "batch_size": 2},
        with_rows(constant([0, 117]), constant([1, 118])),
        "2: kind of item",
    ),
    "a source of weight zero": (
        dataclasses.replace(GRID, sources=np.where(LAST, "bad", "good")),
        {"kind": "cross", "batch_size": 2, "source_weights": {"good": 1, "bad": 0}},
        with_rows(constant([0, 117]), constant([1, 118])),
        "3: a source without weight",
    ),
    "alternatives that do not take turns": (
        Table.of(np.repeat(np.arange(20), 3), np.tile(["x", "y", "y"], 20)),
        {"kind": "cross", "pair_weights": {"x-y": 1}},
        lambda batch: dataclasses.replace(batch, passage_rows=batch.query_rows + 1),
        "4: turns of alternatives",
    ),
    "substitutions that the report does not count": (
        GRID,
        {"kind": "cross"},
        lambda batch: dataclasses.replace(batch, substitutions=batch.substitutions + 1),
        "4: substitutions of the report",
    ),
}


@pytest.mark.parametrize("name", SPOILT_BATCHES)
def test_the_checks_catch_a_spoilt_batch(name):
    table, options, spoil, message = SPOILT_BATCHES[name]
    options = {"batch_size": 8, **options}
    with pytest.raises(AssertionError, match=f"guarantee {message}"):
        check_plan(table, options, Spoilt(table.plan(**options), spoil), 60)


def redrawn(table, **options):
    """A plan that draws every batch anew, with replacement over the batches."""
    plan = Spoilt(table.plan(**options))
    plan.batch = lambda step: dataclasses.replace(
        table.plan(**{**options, "seed": step}).batch(0), step=step
    )
    return plan


def repeated(table, **options):
    """A plan of which every batch is drawn four times in a row."""
    plan = Spoilt(table.plan(**options))
    plan.batch = lambda step: dataclasses.replace(plan.plan.batch(step // 4), step=step)
    return plan


def reported_as(table, other, **options):
    """A plan under other options than it reports."""
    plan = Spoilt(table.plan(**{**options, **other}))
    plan.report = table.plan(**options).report
    return plan


@pytest.mark.parametrize(
    ("table", "options", "make", "message"),
    [
        (GRID, {"kind": "hybrid", "alpha": 0.3}, partial(reported_as, other={"alpha": 0.5}), "2: "),
        (
            GRID,
            {"kind": "cross"},
            partial(reported_as, other={"pair_weights": {"l0-l1": 1}}),
            "3: bal",
        ),
        (
            GRID,
            {"kind": "mono"},
            partial(reported_as, other={"language_sampling": {"l0": 1}}),
            "3: bal",
        ),
        (GRID, {"kind": "mono"}, repeated, "3: balance over a run"),
        (GRID, {"kind": "cross", "pairs": "single"}, repeated, "3: balance over a run"),
        (grid(40, 1), {"kind": "mono"}, redrawn, "4: use counts"),
        (GRID, {"kind": "cross", "pair_weights": {"l0-l1": 1}}, redrawn, "4: use counts"),
    ],
)
def test_the_checks_catch_a_plan_of_other_weights_or_order(table, options, make, message):
    """Batches that are right each by itself."""
    options = {"batch_size": 8, **options}
    with pytest.raises(AssertionError, match=f"guarantee {message}"):
        check_plan(table, options, make(table, **options), 60)


def test_the_checks_catch_counts_that_differ_by_two_where_one_is_promised():
    """4 on a complete table: a pass broken off, then two batches of another one."""
    options = {"kind": "mono", "batch_size": 8}
    table = grid(40, 1)
    first, second = (table.plan(**options, seed=seed) for seed in (0, 1))
    plan = Spoilt(first)
    plan.batch = lambda step: dataclasses.replace(
        (first, second)[step // 2].batch(step % 2), step=step
    )
    with pytest.raises(AssertionError, match="guarantee 4: use counts"):
        check_plan(table, options, plan, 4)


def scaled(name, factor):
    """Spoil the share in effect of one language or pair, the others adjusted."""

    def spoil(share, total):
        effective = share.effective * (factor if share.name == name else 1) / total
        return dataclasses.replace(share, effective=effective)

    def spoil_report(report):
        part = sum(share.effective for share in report.pairs if share.name == name)
        total = 1 + (factor - 1) * part
        return dataclasses.replace(report, pairs=[spoil(share, total) for share in report.pairs])

    return spoil_report


def first_pair(**changes):
    """Spoil the first pair of a report."""
    return lambda report: dataclasses.replace(
        report, pairs=[dataclasses.replace(report.pairs[0], **changes), *report.pairs[1:]]
    )


RARE = one_rare_item(60)


@pytest.mark.parametrize(
    ("table", "spoil", "message"),
    [
        (GRID, first_pair(size=39), "3: size of l0-l1"),
        (GRID, first_pair(capacity=39), "3: capacity of l0-l1"),
        (GRID, first_pair(asked=0.2), "3: share asked of l0-l1"),
        (GRID, scaled("l0-l1", 0), "3: l0-l1 left out or not"),
        (GRID, lambda report: dataclasses.replace(report, pairs=report.pairs[1:]), "3: languages"),
        (GRID, scaled("l0-l1", 0.5), "3: cut without need"),
        (RARE, scaled("l0-l2", 2), "3: a group is expected more than once a batch"),
        (RARE, scaled("l0-l2", 0.2), "3: cut"),
    ],
)
def test_the_checks_catch_a_spoilt_report(table, spoil, message):
    options = {"kind": "cross", "batch_size": 8}
    report = spoil(table.plan("model", **options).report(0))

    def check():
        check_report(table, options, report)
        check_weights(table, options, report)

    with pytest.raises(AssertionError, match=f"guarantee {message}"):
        check()


def of_calls(**options):
    """A plan that counts its calls."""
    plan, calls = Spoilt(GRID.plan(**options)), iter(range(10**9))
    plan.batch = lambda step: plan.plan.batch(next(calls))
    return plan


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (of_calls, "another call"),
        (lambda seed, **ranks: GRID.plan(**ranks, seed=0), "seeds"),
        (lambda seed, **ranks: GRID.plan(**ranks, seed=random.randrange(2**60)), "another plan"),
        (lambda rank=0, world_size=1, **options: GRID.plan(**options), "ranks"),
        (
            lambda rank=0, world_size=1, **options: GRID.plan(
                **options, rank=world_size - 1 - rank, world_size=world_size
            ),
            "ranks",
        ),
    ],
)
def test_the_checks_catch_an_order_of_anything_else(make, message):
    with pytest.raises(AssertionError, match=f"guarantee 5: {message}"):
        check_order(partial(make, batch_size=8, kind="cross"), 10)
