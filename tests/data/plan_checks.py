"""Checks of the five guarantees of docs/sampling.md on any plan, from the batches it draws.

A plan has `batch(step)` and `report(steps)`, as HybridBatchSampler and plan_model.PlanModel do.
Every failure is an AssertionError that begins with "guarantee" and its number.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np
from plan_model import CROSS, MIXED, MONO
from plan_model_streams import Stream

KIND_BIT = {"mono": MONO, "cross": CROSS, "mixed": MIXED}
FLOAT = 1e-6  # of sums of shares, which the plan keeps as doubles


def check_plan(table, options, plan, steps, first_step=0):
    """Check guarantees 1 to 4 of the batches from `first_step` on."""
    batches = [plan.batch(step) for step in range(first_step, first_step + steps)]
    for step, batch in enumerate(batches, first_step):
        assert batch.step == step
        check_batch(table, options, batch)
    check_share_of_mono(options, batches)
    model, report = table.facts(options), plan.report(0)
    moved = moved_before(plan, batches)
    for mono, shares in ((True, report.languages), (False, report.pairs)):
        if not shares:
            continue
        streams = StreamSet(table, options, model, shares, mono)
        check_balance(streams, batches, moved)
        if first_step == 0:
            check_uses(streams, batches)
            check_alternatives(streams, batches)


def check_batch(table, options, batch):
    """Guarantees 1 and 2, and rows that may not be drawn."""
    queries, passages = batch.query_rows, batch.passage_rows
    batch_size = options["batch_size"]
    assert len(queries) == len(passages) == batch_size, "guarantee 1: examples missing"
    groups = table.groups[queries]
    assert (groups == table.groups[passages]).all(), "guarantee 1: two groups in an example"
    assert len(set(groups.tolist())) == batch_size, "guarantee 1: a group twice"
    for name, column in (("query", table.asked), ("passage", table.texts)):
        # Of both rows of an example: a right answer to the query of either is one to the other.
        first, second = column[queries], column[passages]
        texts = np.concatenate([first, second[second != first]])
        texts = texts[texts != -1].tolist()
        assert len(set(texts)) == len(texts), f"guarantee 1: a {name} twice"
    x, y = table.languages[queries], table.languages[passages]
    kinds = ("mono", "cross") if options["kind"] == "hybrid" else (options["kind"],)
    assert batch.kind in kinds, "guarantee 2: kind of batch"
    if batch.kind == "cross":
        assert (x != y).all(), "guarantee 2: one language in a cross example"
    else:
        assert (queries == passages).all(), "guarantee 2: two rows in a mono example"
    if batch.kind == "mono" or options.get("pairs") == "single":
        assert (x == x[0]).all(), "guarantee 2: several languages in a batch of one"
        assert (y == y[0]).all(), "guarantee 2: several languages in a batch of one"
    assert table.has_query[queries].all(), "guarantee 2: an item without query"
    assert table.has_passage[passages].all(), "guarantee 2: an item without passage"
    for rows in (queries, passages):
        assert (table.kind_mask[rows] & KIND_BIT[batch.kind]).all(), "guarantee 2: kind of item"
        weights = options.get("source_weights")
        drawn = [source for source in weights or () if weights[source] > 0]
        assert weights is None or np.isin(table.sources[rows], drawn).all(), (
            "guarantee 3: a source without weight"
        )


def check_share_of_mono(options, batches):
    """Guarantee 2: within 1 of alpha over every run of batches."""
    alpha = {"mono": 1, "hybrid": options.get("alpha", 0.5)}.get(options["kind"], 0)
    mono = np.cumsum([0, *(batch.kind == "mono" for batch in batches)])
    deviation = mono - alpha * np.arange(len(mono))
    assert np.ptp(deviation) <= 1 + FLOAT, "guarantee 2: share of mono batches"


def moved_before(plan, batches):
    """Return how many examples before each batch were given to another pair or source.

    Where a run does not begin at step 0, `report` cannot tell; all substitutions are a bound.
    """
    if batches[0].step > 0:
        return np.cumsum([0, *(batch.substitutions for batch in batches)])
    report = plan.report(len(batches))
    assert report.batches == Counter(batch.kind for batch in batches), "guarantee 2: report"
    substituted = sum(batch.substitutions for batch in batches)
    assert report.substituted_entries + report.substituted_pairs == substituted, (
        "guarantee 4: substitutions of the report"
    )
    moved = [0]
    for steps, batch in enumerate(batches, 1):
        changed = batch.substitutions and report.substituted_pairs
        moved.append(plan.report(steps).substituted_pairs if changed else moved[-1])
    return np.array(moved)


class StreamSet:
    """The streams of the mono batches, or of the others, and the entries of each.

    Streams are numbered as in the report. An entry is a row (mono) or a group.
    """

    def __init__(self, table, options, model, shares, mono):
        self.table, self.options, self.model, self.mono = table, options, model, mono
        self.shares = np.array([share.effective for share in shares])
        self.names = [Stream(s.query_language, s.passage_language, s.source) for s in shares]
        names = sorted(set(table.languages))
        sources = [None] if options.get("source_weights") is None else sorted(set(table.sources))
        self.languages = np.searchsorted(names, table.languages)
        self.groups = np.unique(table.groups, return_inverse=True)[1]
        source_of = (
            table.sources if mono else [model.source_of.get(g) for g in table.groups.tolist()]
        )
        self.sources = np.array([sources.index(s) if s in sources else 0 for s in source_of])
        self.numbers = np.full((len(names), len(names), len(sources)), -1)
        for number, (x, y, source) in enumerate(self.names):
            place = names.index(x), names.index(y), sources.index(source) if source else 0
            self.numbers[place] = number
        group_number = dict(zip(table.groups.tolist(), self.groups.tolist(), strict=True))
        members = model.mono_streams if mono else model.pair_streams
        keys = [
            number * len(table.groups) + (entry if mono else group_number[entry])
            for number, stream in enumerate(self.names)
            for entry in members.get(stream, ())
        ]
        self.keys = np.sort(np.array(keys, np.int64))

    def numbers_of(self, batch):
        """Return the number of each example's stream."""
        queries, passages = batch.query_rows, batch.passage_rows
        return self.numbers[
            self.languages[queries], self.languages[passages], self.sources[queries]
        ]

    def uses_of(self, batch):
        """Return the positions in `keys` of what a batch uses."""
        entries = batch.query_rows if self.mono else self.groups[batch.query_rows]
        keys = self.numbers_of(batch) * len(self.table.groups) + entries
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        assert (self.keys[found] == keys).all(), "guarantee 2: an entry of another stream"
        return found

    def drawn(self, batch):
        return (batch.kind == "mono") == self.mono


def check_balance(streams, batches, moved):
    """Guarantee 3: within 2 of its share over every run, within 1 from the start on."""
    counts = np.zeros((len(batches) + 1, len(streams.names)))
    for t, batch in enumerate(batches, 1):
        if streams.drawn(batch):
            counts[t] = np.bincount(streams.numbers_of(batch), minlength=len(streams.names))
    assert not counts[:, streams.shares == 0].any(), "guarantee 3: a stream that was left out"
    whole = streams.mono or streams.options.get("pairs") == "single"
    from_start = batches[0].step == 0
    if not whole:
        totals = counts.sum(axis=1, keepdims=True)
        check_runs(counts - streams.shares * totals, moved, from_start)
        return
    drawn = counts.sum(axis=1, keepdims=True) > 0
    languages = [stream[:2] for stream in streams.names]
    for language in set(languages):
        own = [number for number, of in enumerate(languages) if of == language]
        share, turns = streams.shares[own], counts[:, own] / streams.options["batch_size"]
        if share.sum() == 0:
            continue
        if not streams.mono:  # a batch is of one pair and one source
            check_runs(turns - share * drawn, 0 * moved, from_start)
            continue
        check_runs(turns.sum(axis=1, keepdims=True) - share.sum() * drawn, 0 * moved, from_start)
        examples = counts[:, own].sum(axis=1, keepdims=True)
        check_runs(counts[:, own] - share / share.sum() * examples, moved, from_start)


def check_runs(deviations, moved, from_start):
    """Deviations of each batch, by stream; `moved`: examples moved to others before each batch."""
    deviation, moved = np.cumsum(deviations, axis=0), moved[:, None]
    for signed in (deviation, -deviation):
        excess = signed - moved
        over_runs = excess - np.minimum.accumulate(excess, axis=0)
        assert over_runs.max() <= 2 + FLOAT, "guarantee 3: balance over a run"
        assert not from_start or excess.max() <= 1 + FLOAT, "guarantee 3: balance from the start"


def check_uses(streams, batches):
    """Guarantee 4: use counts within a stream, after every batch."""
    if not len(streams.keys):
        return
    # Where groups have items of a language in unequal numbers, no mono plan can be even.
    equal = len(set(streams.table.alternatives.values())) == 1
    exact = (
        streams.table.complete
        and (equal or not streams.mono)
        and streams.options.get("language_sampling", "uniform") == "uniform"
        and streams.options.get("pair_weights") is None
        and streams.options.get("source_weights") is None
    )
    numbers = streams.keys // len(streams.table.groups)
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    uses, allowed = np.zeros(len(streams.keys), int), np.full(len(streams.names), 1 if exact else 2)
    for batch in batches:
        if not streams.drawn(batch):
            continue
        uses[streams.uses_of(batch)] += 1
        if not exact:  # one substitution moves the counts of two entries
            language = streams.table.languages[batch.query_rows[0]]
            touched = [
                not streams.mono or stream.query_language == language for stream in streams.names
            ]
            allowed[touched] += 2 * batch.substitutions
        spread = np.maximum.reduceat(uses, starts) - np.minimum.reduceat(uses, starts)
        assert (spread <= allowed[numbers[starts]]).all(), "guarantee 4: use counts"


def check_alternatives(streams, batches):
    """Guarantee 4: items of one group and language take turns within a pair."""
    if streams.mono or max(streams.table.alternatives.values()) == 1:
        return
    drawn = [batch for batch in batches if streams.drawn(batch)]
    allowed = 2 + 2 * sum(batch.substitutions for batch in drawn)
    uses = Counter()
    for batch in drawn:
        numbers = streams.numbers_of(batch).tolist()
        uses.update(zip("q" * len(numbers), numbers, batch.query_rows.tolist(), strict=True))
        uses.update(zip("p" * len(numbers), numbers, batch.passage_rows.tolist(), strict=True))
    model = streams.model
    for number, stream in enumerate(streams.names):
        for group in model.pair_streams.get(stream, ()):
            queries = model.queries[stream.query_language][group]
            passages = model.answers[stream.passage_language][group]
            for text, rows in (("q", queries), ("p", passages)):
                counts = [uses[text, number, row] for row in rows]
                assert max(counts) - min(counts) <= allowed, "guarantee 4: turns of alternatives"


def check_order(make, steps):
    """Guarantee 5: seeds and passes differ; calls repeat themselves, also from threads and ranks.

    `make(seed=..., rank=..., world_size=...)` makes a plan.
    """

    def rows(batch):
        return batch.kind, batch.query_rows.tolist(), batch.passage_rows.tolist()

    plan = make(seed=1)
    batches = [rows(plan.batch(step)) for step in range(steps)]
    backwards = [rows(plan.batch(step)) for step in reversed(range(steps))]
    assert backwards[::-1] == batches, "guarantee 5: another call"
    assert [rows(make(seed=1).batch(steps - 1))] == batches[-1:], "guarantee 5: another plan"
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda step: rows(plan.batch(step)), [*range(steps)] * 4))
    assert threaded == batches * 4, "guarantee 5: calls from several threads"
    other = make(seed=2)
    assert [rows(other.batch(step)) for step in range(steps)] != batches, "guarantee 5: seeds"
    for world_size in (1, 2, 4, 8):
        ranks = [make(seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
        for step, (kind, queries, passages) in enumerate(batches):
            parts = [rows(plan.batch(step)) for plan in ranks]
            assert {part[0] for part in parts} == {kind}, "guarantee 5: kind on a rank"
            assert [*chain(*(part[1] for part in parts))] == queries, "guarantee 5: ranks"
            assert [*chain(*(part[2] for part in parts))] == passages, "guarantee 5: ranks"
            assert len({len(part[1]) for part in parts}) == 1, "guarantee 5: share of a rank"
