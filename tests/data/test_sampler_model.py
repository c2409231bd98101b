"""The five guarantees of docs/sampling.md on hostile tables, for the sampler and for a slow model.

The checks are in plan_checks.py and plan_report_checks.py, the tables in hostile_tables.py, and the
model, which derives from the contract alone what the sampler should say, in plan_model.py.
"""

from __future__ import annotations

import random
import re
from functools import partial

import numpy as np
import pytest
from hostile_tables import cases, everything, grid, hub, one_rare_item, xor
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from plan_checks import check_batch, check_order, check_plan
from plan_model_streams import Stream
from plan_report_checks import check_report, check_weights
from plan_tables import PLANS, Table

from hybrid_fast.data.plan_options import KINDS
from hybrid_fast.data.sampler import Batch


def steps_of(table, options):
    """Steps for some passes."""
    return int(np.clip(6 * len(table.groups) // options["batch_size"], 20, 120))


@settings(max_examples=4 * settings.default.max_examples)
@given(case=cases("sampler"))
def test_hostile_tables(case):
    """1 to 4; sizes, shares asked for, and what is left out and why, as the model says."""
    check_all(*case, "sampler")


@given(case=cases("model"))
def test_the_model_on_hostile_tables(case):
    """What the sampler is asked for can be had."""
    check_all(*case, "model")


def check_all(table, options, maker):
    plan = table.plan(maker, **options)
    check_report(table, options, plan.report(0))
    check_plan(table, options, plan, steps_of(table, options))


@pytest.mark.parametrize("maker", PLANS)
@settings(max_examples=2 * settings.default.max_examples)
@given(data=st.data())
def test_the_weights_in_effect_on_hostile_tables(maker, data):
    """3: as asked, but where groups would repeat."""
    table, options = data.draw(cases(maker))
    cut = check_weights(table, options, table.plan(maker, **options).report(0))
    event("no weights fit" if cut is None else "cut" if cut else "as asked")


@pytest.mark.parametrize("maker", PLANS)
@settings(max_examples=2 * settings.default.max_examples)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_groups=st.integers(2, 100),
    densities=st.lists(st.floats(-2, 0), min_size=2, max_size=7),
    sampling=st.sampled_from(["uniform", "proportional", 0.5]),
    kind=st.sampled_from(["cross", "mixed"]),
    part=st.floats(0.05, 1),
)
def test_pairs_are_cut_where_groups_would_repeat_and_nowhere_else(
    maker, seed, num_groups, densities, sampling, kind, part
):
    """3: each language in 1 % to all of the groups, so that those with rare ones are crowded."""
    presence = np.random.default_rng(seed).random((num_groups, len(densities)))
    groups, languages = np.nonzero(presence < 10 ** np.array(densities))
    assume(len(groups) > 0)
    table = Table.of(groups, np.char.add("l", languages.astype(str)))
    options = {"kind": kind, "language_sampling": sampling}
    largest = table.largest(maker, **options)
    assume(largest > 0)
    options["batch_size"] = max(1, round(part * largest))
    cut = check_weights(table, options, table.plan(maker, **options).report(0))
    event("no weights fit" if cut is None else "cut" if cut else "as asked")


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
    assert check_weights(table, options, table.plan(maker, **options).report(0)) > 0


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
    message = f"batch_size that works is {largest}$" if largest else r"no \w+ batch can be made: "
    with pytest.raises(ValueError, match=message):
        table.plan(**options)


def always_filled(table, options):
    """Return an upper bound: the batches that a few random orders of all examples fill."""
    model = table.facts({**options, "world_size": 1})
    bounds = []
    for shares, streams in (
        (model.language_shares, model.mono_streams),
        (model.pair_shares, model.pair_streams),
    ):
        batches = {}  # examples that may be in a batch together
        for share in shares:
            if share.asked > 0 and share.size > 0:
                stream = Stream(share.query_language, share.passage_language, share.source)
                together = stream[
                    : 2 if streams is model.mono_streams else 3 if model.single else 0
                ]
                examples = [choice for e in streams[stream] for choice in model.choices(stream, e)]
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
        if batch_size <= 8:  # weights of a full batch of 200 languages take the model long
            check_report(table, options, sampler.report(0))
            check_weights(table, options, sampler.report(0))


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
