"""The five guarantees of docs/sampling.md on hostile tables, for the sampler and for a slow model.

Random small tables with every feature that can hurt a plan, named larger ones, and plans spoilt on
purpose, which show that each check can fail. The checks are in plan_checks.py, the model, which
derives from the contract alone what the sampler should say, in plan_model.py.
"""

from __future__ import annotations

import dataclasses
import random
import re
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from plan_checks import (
    PLANS,
    Table,
    check_batch,
    check_law,
    check_order,
    check_plan,
    check_report,
)
from plan_model import CROSS
from plan_model_lanes import Lane

from hybrid_fast.data.plan_options import KINDS
from hybrid_fast.data.sampler import Batch


@st.composite
def tables(draw):
    """Small tables with every feature that can hurt a plan; most have a few of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_groups, num_languages = draw(st.integers(1, 60)), draw(st.integers(1, 8))
    densities = st.sampled_from([0.01, 0.05, 0.2, 0.5, 0.9, 1.0])
    each = st.lists(densities, min_size=num_languages, max_size=num_languages)
    presence = rng.random((num_groups, num_languages)) < draw(st.just(1.0) | densities | each)
    if draw(st.sampled_from([False, False, True])):
        presence[:, 0] = False  # a language with one item
    presence[rng.integers(num_groups), 0] = True
    groups, languages = np.nonzero(presence)
    most = draw(st.sampled_from([1, 1, 2, 4]))
    same_number = draw(st.booleans())
    alternatives = most if same_number else rng.integers(1, most + 1, len(groups))
    groups, languages = np.repeat(groups, alternatives), np.repeat(languages, alternatives)
    order = rng.permutation(len(groups))
    groups, languages, rows = groups[order], languages[order], np.arange(len(groups))

    def some(probability):
        return rng.random(len(rows)) < probability

    def draw_one(**columns):
        """The first column half of the time; columns are made by `rng` all the same."""
        names = [*columns]
        return columns[draw(st.sampled_from([names[0]] * (len(names) - 1) + names[1:]))]

    every = some(1.1)
    has_query, has_passage = draw_one(
        all=(every, every),
        xor=(languages != 0, languages == 0),
        gaps=(some(0.7), some(0.7)),
    )
    return Table(
        groups * draw(st.sampled_from([7, 2**57])),  # ids may be as large as int64
        np.char.add("l", languages.astype(str)),
        draw_one(
            own=rows,
            of_group=groups,
            of_three_groups=groups // 3,
            one_for_most=np.where(some(0.8), 10**6, rows),
            one_for_all=0 * rows,
            random=rng.integers(0, 1 + len(rows) // 3, len(rows)),
            none_for_some=np.where(some(0.5), -1, rows),
        ),
        has_query,
        has_passage,
        np.array(["books", "news", "web"])[draw_one(of_group=groups % 3, of_row=rows % 3)],
        draw_one(
            all=np.full(len(rows), 7, np.uint8),
            bitext=np.where(groups % 2 == 0, CROSS, 7).astype(np.uint8),
            random=rng.integers(0, 8, len(rows)).astype(np.uint8),
        ),
    )


@st.composite
def cases(draw, maker="sampler", kinds=KINDS):
    """A table, options, and a batch size up to the largest that works."""
    table = draw(tables())
    weights = st.sampled_from([0.0, 0.5, 1.0, 3.0])

    def weights_of(names):
        return st.fixed_dictionaries(dict.fromkeys(names, weights)).filter(
            lambda weights: any(weights.values())
        )

    languages = sorted(set(table.languages.tolist()))
    options = {"kind": draw(st.sampled_from(kinds)), "seed": draw(st.integers(0, 2**64 - 1))}
    if options["kind"] == "hybrid":
        options["alpha"] = draw(st.sampled_from([0.0, 0.1, 0.5, 0.77, 1.0]))
    if options["kind"] != "mixed":
        options["pairs"] = draw(st.sampled_from(["mixed", "mixed", "single"]))
    laws = st.sampled_from(["uniform"] * 3 + ["proportional", 0.5, -1.0])
    options["language_sampling"] = draw(laws | weights_of(languages))
    if draw(st.sampled_from([False, False, False, True])):
        pairs = st.sampled_from([f"{x}-{y}" for x in languages for y in languages])
        options["pair_weights"] = draw(
            st.dictionaries(pairs, st.sampled_from([0.5, 1.0, 4.0]), min_size=1, max_size=8)
        )
    if draw(st.sampled_from([False, False, True])):
        options["source_weights"] = draw(weights_of(sorted(set(table.sources.tolist()))))
    largest = table.largest(maker, **options)
    assume(largest > 0)
    part = draw(st.sampled_from([0.05, 0.3, 0.5, 0.8, 1.0]))
    return table, {**options, "batch_size": max(1, round(part * largest))}


def steps_of(table, options):
    """Steps for some passes."""
    return int(np.clip(6 * len(table.groups) // options["batch_size"], 20, 120))


@settings(deadline=None, max_examples=400)
@given(case=cases("sampler"))
def test_hostile_tables(case):
    """1 to 4; sizes, laws asked for, and what is left out and why, as the model says."""
    check_all(*case, "sampler")


@settings(deadline=None, max_examples=100)
@given(case=cases("model"))
def test_the_model_on_hostile_tables(case):
    """What the sampler is asked for can be had."""
    check_all(*case, "model")


def check_all(table, options, maker):
    plan = table.plan(maker, **options)
    check_report(table, options, plan.report(0))
    check_plan(table, options, plan, steps_of(table, options))


@pytest.mark.parametrize("maker", PLANS)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_the_law_in_effect_on_hostile_tables(maker, data):
    """3: as asked, but where groups would repeat."""
    table, options = data.draw(cases(maker))
    cut = check_law(table, options, table.plan(maker, **options).report(0))
    event("no law fits" if cut is None else "cut" if cut else "as asked")


@pytest.mark.parametrize("maker", PLANS)
@settings(deadline=None, max_examples=200)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_groups=st.integers(2, 100),
    densities=st.lists(st.floats(-2, 0), min_size=2, max_size=7),
    law=st.sampled_from(["uniform", "proportional", 0.5]),
    kind=st.sampled_from(["cross", "mixed"]),
    part=st.floats(0.05, 1),
)
def test_pairs_are_cut_where_groups_would_repeat_and_nowhere_else(
    maker, seed, num_groups, densities, law, kind, part
):
    """3: each language in 1 % to all of the groups, so that those with rare ones are crowded."""
    presence = np.random.default_rng(seed).random((num_groups, len(densities)))
    groups, languages = np.nonzero(presence < 10 ** np.array(densities))
    assume(len(groups) > 0)
    table = Table.of(groups, np.char.add("l", languages.astype(str)))
    options = {"kind": kind, "language_sampling": law}
    largest = table.largest(maker, **options)
    assume(largest > 0)
    options["batch_size"] = max(1, round(part * largest))
    cut = check_law(table, options, table.plan(maker, **options).report(0))
    event("no law fits" if cut is None else "cut" if cut else "as asked")


@pytest.mark.parametrize("maker", PLANS)
@pytest.mark.parametrize(
    ("languages_of_groups", "batch_size"),
    [
        # b must not be cut for the third last group, in which c is cut for the last one anyway.
        (["a", "a", "a", "a", "a", "b", "bc", "acd"], 4),
        (["d", "d", "a", "bc", "acd"], 3),
    ],
)
def test_a_group_is_full_where_a_language_is_cut_and_no_fuller(
    maker, languages_of_groups, batch_size
):
    """3, hand-made: what one group lowers makes room in another."""
    rows = [(g, x) for g, languages in enumerate(languages_of_groups) for x in languages]
    table = Table.of(*zip(*rows, strict=True))
    options = {"kind": "mixed", "batch_size": batch_size}
    assert check_law(table, options, table.plan(maker, **options).report(0)) > 0


@settings(deadline=None, max_examples=100)
@given(case=cases(), world_size=st.sampled_from([1, 2, 4]))
def test_the_batch_size_named_as_largest_works_and_no_larger_one_does(case, world_size):
    table, options = case
    options["world_size"] = world_size
    largest = table.largest(**options)
    assert largest % world_size == 0
    assert table.largest("model", **options) <= largest <= always_filled(table, options)
    if not table.shared:
        assert largest == table.largest("model", **options)
    if largest > 0:
        options["batch_size"] = largest
        ranks = [table.plan(**options, rank=rank) for rank in range(world_size)]
        for step in range(10):
            parts = [plan.batch(step) for plan in ranks]
            queries = np.concatenate([part.query_rows for part in parts])
            passages = np.concatenate([part.passage_rows for part in parts])
            check_batch(table, options, Batch(step, parts[0].kind, queries, passages, 0))
    options["batch_size"] = largest + world_size
    with pytest.raises(ValueError, match=f"batch_size that works is {largest}$"):
        table.plan(**options)


def always_filled(table, options):
    """Return an upper bound: the batches that a few random orders of all examples fill."""
    model = table.facts({**options, "world_size": 1})
    bounds = []
    for shares, lanes in (
        (model.language_shares, model.mono_lanes),
        (model.pair_shares, model.pair_lanes),
    ):
        batches = {}  # examples that may be in a batch together
        for share in shares:
            if share.asked > 0 and share.size > 0:
                lane = Lane(share.query_language, share.passage_language, share.source)
                together = lane[: 2 if lanes is model.mono_lanes else 3 if model.single else 0]
                examples = [choice for e in lanes[lane] for choice in model.choices(lane, e)]
                batches.setdefault(together, []).extend(examples)
        if shares:
            filled = [
                min(fill(model, examples, seed) for seed in range(5))
                for examples in batches.values()
            ]
            bounds.append(max(filled, default=0))
    return min(bounds)


def fill(model, examples, seed):
    taken, filled = set(), 0
    for example in random.Random(seed).sample(examples, len(examples)):
        things = model.holds(*example)
        if taken.isdisjoint(things):
            taken.update(things)
            filled += 1
    return filled


@settings(deadline=None, max_examples=100)
@given(case=cases(), late=st.sampled_from([10**9, 10**12, None]))
def test_any_step_however_late(case, late):
    """1 to 3 far from the start, up to the last step whose positions fit 64 bits."""
    table, options = case
    sampler = table.plan(**options)
    with pytest.raises(ValueError, match=r"steps from 0 to \d+ exist") as caught:
        sampler.batch(2**63 - 1)
    last = int(re.findall(r"\d+", str(caught.value))[-1])
    assert last > 10**15
    check_plan(table, options, sampler, 20, first_step=last - 19 if late is None else late)
    with pytest.raises(ValueError, match=f"steps from 0 to {last} exist"):
        sampler.batch(last + 1)


def grid(num_groups, num_languages=3, density=1.0, **columns):
    """Groups in languages l0, l1, ..., row by row."""
    presence = np.random.default_rng(0).random((num_groups, num_languages)) < density
    groups, languages = np.nonzero(presence)
    return Table.of(groups, np.char.add("l", languages.astype(str)), **columns)


def hub(num_sharing, num_free):
    """Groups in three languages: `num_sharing` with one passage, the others with their own."""
    groups = np.repeat(np.arange(num_sharing + num_free), 3)
    passages = np.where(groups < num_sharing, 0, 1 + np.arange(len(groups)))
    return Table.of(groups, np.tile(["l0", "l1", "l2"], num_sharing + num_free), passages)


def xor(num_groups):
    """Queries in four languages, passages in l0 alone."""
    table = grid(num_groups, 5)
    english = table.languages == "l0"
    return dataclasses.replace(table, has_query=~english, has_passage=english)


def one_rare_item(num_groups):
    """Two languages in every group, a third in one."""
    groups = np.append(np.repeat(np.arange(num_groups), 2), 0)
    return Table.of(groups, np.append(np.tile(["l0", "l1"], num_groups), "l2"))


ALL = set(KINDS)
NAMED = {  # table, kinds that it serves
    "200 languages": (grid(60, 200, 0.1), ALL),
    "200 languages, complete": (grid(24, 200), ALL),
    "a group shares its passage with a thousand others": (hub(1001, 120), ALL),
    "nearly all share one passage": (hub(20_000, 12), ALL),
    "one group": (grid(1, 5), ALL),
    "one item": (grid(1, 1), {"mono", "mixed"}),
    "one language": (grid(40, 1), {"mono", "mixed"}),
    "a language with one item": (one_rare_item(60), ALL),
    "queries and passages apart": (xor(80), {"cross"}),
}


# Hybrid plans draw mono and cross batches; with 200 languages that will do.
NAMED_AND_KIND = [
    (n, k) for n in NAMED for k in KINDS if n[:3] != "200" or k in ("mixed", "hybrid")
]


@pytest.mark.parametrize(("name", "kind"), NAMED_AND_KIND)
def test_named_tables(name, kind):
    """1 to 4, and no search that never ends; a table that cannot serve a kind says so."""
    (table, kinds), options = NAMED[name], {"kind": kind, "seed": 3}
    largest = table.largest(**options)
    assert (largest > 0) == (kind in kinds)
    for batch_size in {largest, min(8, largest)} - {0}:
        options["batch_size"] = batch_size
        sampler = table.plan(**options)
        check_plan(table, options, sampler, 40)
        if batch_size <= 8:  # the law of a full batch of 200 languages takes the model long
            check_report(table, options, sampler.report(0))
            check_law(table, options, sampler.report(0))


@pytest.mark.parametrize(("name", "kind"), NAMED_AND_KIND)
def test_the_model_on_named_tables(name, kind):
    """What the sampler is asked for can be had; a table that cannot serve a kind says so."""
    (table, kinds), options = NAMED[name], {"kind": kind, "seed": 3}
    largest = table.largest("model", **options)
    assert (largest > 0) == (kind in kinds)
    if largest > 0 and name != "nearly all share one passage":  # where the model searches long
        options["batch_size"] = min(8, largest)
        check_plan(table, options, table.plan("model", **options), 40)


@pytest.mark.parametrize("maker", PLANS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "table",
    [
        grid(31, 4),
        grid(50, 3, 0.6),
        Table.of(grid(48, 3).groups // 2, grid(48, 3).languages),
        Table.of(grid(60).groups, grid(60).languages, grid(60).groups // 3),
    ],
    ids=["complete", "sparse", "alternatives", "shared passages"],
)
def test_counts_over_many_passes(table, kind, maker):
    """3 and 4 by counting over some ten passes of every pair."""
    options = {"kind": kind, "seed": 5, "batch_size": 12}
    check_plan(table, options, table.plan(maker, **options), 600)


def everything():
    """A table with gaps, alternatives, shared passages, items without query, and two sources."""
    base = grid(120, 4, 0.7)
    groups, rows = base.groups // 2, np.arange(len(base.groups))
    columns = groups // 2, rows % 5 > 0, rows % 7 > 0
    return Table.of(groups, base.languages, *columns, sources=np.where(groups % 3, "a", "b"))


@pytest.mark.parametrize("pairs", ["mixed", "single"])
@pytest.mark.parametrize("kind", ["mono", "cross", "hybrid"])
@pytest.mark.parametrize(
    "table",
    [grid(24), hub(200, 40), one_rare_item(40), everything()],
    ids=["complete", "a shared passage", "a rare language", "everything"],
)
def test_order_is_of_seed_and_step_alone(table, kind, pairs):
    """5, on complete and hostile tables."""
    weights = {"a": 1, "b": 2} if "a" in table.sources else None
    options = {"kind": kind, "pairs": pairs, "batch_size": 8, "source_weights": weights}
    check_order(partial(table.plan, **options), 30)


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
def test_the_checks_catch_a_plan_of_another_law_or_order(table, options, make, message):
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
        (GRID, first_pair(asked=0.2), "3: law asked of l0-l1"),
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
        check_law(table, options, report)

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
