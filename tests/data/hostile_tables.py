"""Tables that can hurt a plan: random small ones, with options, and named larger ones."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from plan_model import CROSS
from plan_tables import Table

from hybrid_fast.data.plan_options import KINDS


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
            of_two_groups=groups // 2,
            of_language_and_four_groups=groups // 4 * num_languages + languages,
            one_for_most=np.where(some(0.8), 10**6, rows),
            random=rng.integers(0, 1 + len(rows) // 3, len(rows)),
            none_for_some=np.where(some(0.5), -1, rows // 3),
        ),
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
    samplings = st.sampled_from(["uniform"] * 3 + ["proportional", 0.5, -1.0])
    options["language_sampling"] = draw(samplings | weights_of(languages))
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


def everything():
    """A table with gaps, alternatives, shared passages, items without query, and two sources."""
    base = grid(120, 4, 0.7)
    groups, rows = base.groups // 2, np.arange(len(base.groups))
    columns = groups // 2, rows % 5 > 0, rows % 7 > 0
    return Table.of(groups, base.languages, *columns, sources=np.where(groups % 3, "a", "b"))
