"""Checks of the five guarantees of docs/sampling.md on any plan, from the batches it draws.

A plan has `batch(step)` and `report(steps)`, as HybridBatchSampler and plan_model.PlanModel do.
Every failure is an AssertionError that begins with "guarantee" and its number.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import chain

import numpy as np
import pytest
from plan_model import CROSS, MIXED, MONO, PlanModel
from plan_model_lanes import Lane, kinds_of_groups, law_in_effect

from hybrid_fast.data.sampler import HybridBatchSampler

KIND_BIT = {"mono": MONO, "cross": CROSS, "mixed": MIXED}
PLANS = {"sampler": HybridBatchSampler.from_arrays, "model": PlanModel}
FLOAT = 1e-6  # of sums of shares, which the plan keeps as doubles


@dataclasses.dataclass(frozen=True, repr=False)
class Table:
    """Columns as `from_arrays` takes them."""

    groups: np.ndarray
    languages: np.ndarray
    passages: np.ndarray
    has_query: np.ndarray
    has_passage: np.ndarray
    sources: np.ndarray
    kind_mask: np.ndarray

    @classmethod
    def of(cls, groups, languages, passages=None, has_query=None, has_passage=None, **columns):
        everywhere = np.ones(len(groups), bool)
        return cls(
            np.asarray(groups),
            np.asarray(languages),
            np.arange(len(groups)) if passages is None else np.asarray(passages),
            everywhere if has_query is None else has_query,
            everywhere if has_passage is None else has_passage,
            columns.get("sources", np.full(len(groups), "all")),
            columns.get("kind_mask", np.full(len(groups), 7, np.uint8)),
        )

    def __repr__(self):
        columns = (getattr(self, field.name)[:100].tolist() for field in dataclasses.fields(self))
        return f"Table of {len(self.groups)} rows: {[*zip(*columns, strict=True)]}"

    def _repr_pretty_(self, printer, cycle):
        """Hypothesis asks for this."""
        printer.text(repr(self))

    def plan(self, maker="sampler", **options):
        return PLANS[maker](
            self.groups, self.languages, self.passages, self.has_query, self.has_passage,
            sources=self.sources, kind_mask=self.kind_mask, **options,
        )  # fmt: skip

    def largest(self, maker="sampler", **options):
        """Return the batch size that the error of a far too large one names."""
        options["batch_size"] = 10**6 * options.get("world_size", 1)
        with pytest.raises(ValueError, match=r"largest batch_size that works is \d+$") as caught:
            self.plan(maker, **options)
        return int(re.findall(r"\d+", str(caught.value))[-1])

    def facts(self, options):
        """Return the model for what it knows of the table, which no batch size changes."""
        options = {**options, "batch_size": 1}
        if self._facts.get("options") != options:
            self._facts.update(options=options, model=self.plan("model", **options))
        return self._facts["model"]

    @cached_property
    def _facts(self):
        """The last facts asked for."""
        return {}

    @cached_property
    def texts(self):
        """The passage that each row has, -1: none."""
        return np.where(self.has_passage, self.passages, -1)

    @cached_property
    def shared(self):
        """Whether two groups have one passage."""
        owned = {(g, p) for g, p in zip(self.groups, self.texts, strict=True) if p != -1}
        return len(owned) > len({passage for _, passage in owned})

    @cached_property
    def complete(self):
        """Whether every group has every language, and nothing is shared or left out."""
        return (
            len(self.alternatives) == len(set(self.groups)) * len(set(self.languages))
            and (self.has_query & self.has_passage & (self.kind_mask == 7)).all()
            and not self.shared
        )

    @cached_property
    def alternatives(self):
        """Number of items of each (group, language)."""
        return Counter(zip(self.groups.tolist(), self.languages.tolist(), strict=True))


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
        stream = Stream(table, options, model, shares, mono)
        check_balance(stream, batches, moved)
        if first_step == 0:
            check_uses(stream, batches)
            check_alternatives(stream, batches)


def check_batch(table, options, batch):
    """Guarantees 1 and 2, and rows that may not be drawn."""
    queries, passages = batch.query_rows, batch.passage_rows
    batch_size = options["batch_size"]
    assert len(queries) == len(passages) == batch_size, "guarantee 1: examples missing"
    groups = table.groups[queries]
    assert (groups == table.groups[passages]).all(), "guarantee 1: two groups in an example"
    assert len(set(groups.tolist())) == batch_size, "guarantee 1: a group twice"
    own, answers = table.texts[queries], table.texts[passages]
    texts = np.concatenate([answers, own[own != answers]])
    texts = texts[texts != -1].tolist()
    assert len(set(texts)) == len(texts), "guarantee 1: a passage twice"
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


class Stream:
    """The lanes of the mono batches, or those of the other ones, and the entries of each lane.

    Lanes are numbered as in the report, a language or pair and a source where sources are weighted.
    An entry is a row (mono) or a group.
    """

    def __init__(self, table, options, model, shares, mono):
        self.table, self.options, self.model, self.mono = table, options, model, mono
        self.shares = np.array([share.effective for share in shares])
        self.lanes = [Lane(s.query_language, s.passage_language, s.source) for s in shares]
        names = sorted(set(table.languages))
        sources = [None] if options.get("source_weights") is None else sorted(set(table.sources))
        self.languages = np.searchsorted(names, table.languages)
        self.groups = np.unique(table.groups, return_inverse=True)[1]
        source_of = (
            table.sources if mono else [model.source_of.get(g) for g in table.groups.tolist()]
        )
        self.sources = np.array([sources.index(s) if s in sources else 0 for s in source_of])
        self.numbers = np.full((len(names), len(names), len(sources)), -1)
        for number, (x, y, source) in enumerate(self.lanes):
            place = names.index(x), names.index(y), sources.index(source) if source else 0
            self.numbers[place] = number
        group_number = dict(zip(table.groups.tolist(), self.groups.tolist(), strict=True))
        members = model.mono_lanes if mono else model.pair_lanes
        keys = [
            number * len(table.groups) + (entry if mono else group_number[entry])
            for number, lane in enumerate(self.lanes)
            for entry in members.get(lane, ())
        ]
        self.keys = np.sort(np.array(keys, np.int64))

    def lanes_of(self, batch):
        """Return the lane of each example of a batch."""
        queries, passages = batch.query_rows, batch.passage_rows
        return self.numbers[
            self.languages[queries], self.languages[passages], self.sources[queries]
        ]

    def uses_of(self, batch):
        """Return the positions in `keys` of what a batch uses."""
        entries = batch.query_rows if self.mono else self.groups[batch.query_rows]
        keys = self.lanes_of(batch) * len(self.table.groups) + entries
        found = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        assert (self.keys[found] == keys).all(), "guarantee 2: an entry that its lane does not have"
        return found

    def drawn(self, batch):
        return (batch.kind == "mono") == self.mono


def check_balance(stream, batches, moved):
    """Guarantee 3: within 2 of its share over every run, within 1 from the start on."""
    counts = np.zeros((len(batches) + 1, len(stream.lanes)))
    for t, batch in enumerate(batches, 1):
        if stream.drawn(batch):
            counts[t] = np.bincount(stream.lanes_of(batch), minlength=len(stream.lanes))
    assert not counts[:, stream.shares == 0].any(), "guarantee 3: a lane that was left out"
    whole = stream.mono or stream.options.get("pairs") == "single"
    from_start = batches[0].step == 0
    if not whole:
        totals = counts.sum(axis=1, keepdims=True)
        check_runs(counts - stream.shares * totals, moved, from_start)
        return
    drawn = counts.sum(axis=1, keepdims=True) > 0
    languages = [lane[:2] for lane in stream.lanes]
    for language in set(languages):
        own = [number for number, of in enumerate(languages) if of == language]
        share, turns = stream.shares[own], counts[:, own] / stream.options["batch_size"]
        if share.sum() == 0:
            continue
        if not stream.mono:  # a batch is of one pair and one source
            check_runs(turns - share * drawn, 0 * moved, from_start)
            continue
        check_runs(turns.sum(axis=1, keepdims=True) - share.sum() * drawn, 0 * moved, from_start)
        examples = counts[:, own].sum(axis=1, keepdims=True)
        check_runs(counts[:, own] - share / share.sum() * examples, moved, from_start)


def check_runs(deviations, moved, from_start):
    """Deviations of each batch, by lane; `moved`: examples before each batch that may be amiss."""
    deviation, moved = np.cumsum(deviations, axis=0), moved[:, None]
    for signed in (deviation, -deviation):
        excess = signed - moved
        over_runs = excess - np.minimum.accumulate(excess, axis=0)
        assert over_runs.max() <= 2 + FLOAT, "guarantee 3: balance over a run"
        assert not from_start or excess.max() <= 1 + FLOAT, "guarantee 3: balance from the start"


def check_uses(stream, batches):
    """Guarantee 4: use counts within a lane, after every batch."""
    if not len(stream.keys):
        return
    # Where groups have items of a language in unequal numbers, no mono plan can be even.
    equal = len(set(stream.table.alternatives.values())) == 1
    exact = (
        stream.table.complete
        and (equal or not stream.mono)
        and stream.options.get("language_sampling", "uniform") == "uniform"
        and stream.options.get("pair_weights") is None
        and stream.options.get("source_weights") is None
    )
    lanes = stream.keys // len(stream.table.groups)
    starts = np.flatnonzero(np.diff(lanes, prepend=-1))
    uses, allowed = np.zeros(len(stream.keys), int), np.full(len(stream.lanes), 1 if exact else 2)
    for batch in batches:
        if not stream.drawn(batch):
            continue
        uses[stream.uses_of(batch)] += 1
        if not exact:  # one substitution moves the counts of two entries
            language = stream.table.languages[batch.query_rows[0]]
            touched = [not stream.mono or lane.query_language == language for lane in stream.lanes]
            allowed[touched] += 2 * batch.substitutions
        spread = np.maximum.reduceat(uses, starts) - np.minimum.reduceat(uses, starts)
        assert (spread <= allowed[lanes[starts]]).all(), "guarantee 4: use counts"


def check_alternatives(stream, batches):
    """Guarantee 4: items of one group and language take turns within a pair."""
    if stream.mono or max(stream.table.alternatives.values()) == 1:
        return
    drawn = [batch for batch in batches if stream.drawn(batch)]
    allowed = 2 + 2 * sum(batch.substitutions for batch in drawn)
    uses = Counter()
    for batch in drawn:
        lanes = stream.lanes_of(batch).tolist()
        uses.update(zip("q" * len(lanes), lanes, batch.query_rows.tolist(), strict=True))
        uses.update(zip("p" * len(lanes), lanes, batch.passage_rows.tolist(), strict=True))
    model = stream.model
    for number, lane in enumerate(stream.lanes):
        for group in model.pair_lanes.get(lane, ()):
            queries = model.queries[lane.query_language][group]
            passages = model.answers[lane.passage_language][group]
            for text, rows in (("q", queries), ("p", passages)):
                counts = [uses[text, number, row] for row in rows]
                assert max(counts) - min(counts) <= allowed, "guarantee 4: turns of alternatives"


def check_report(table, options, report):
    """Guarantee 3: sizes, law asked, exclusions and capacities are the model's."""
    # With shared passages capacities are lower bounds, of which the model's is the lower one.
    model = table.facts(options) if table.shared else table.plan("model", **options)
    for shares, expected in (
        (report.languages, model.language_shares),
        (report.pairs, model.pair_shares),
    ):
        theirs = {share.name: share for share in shares if share.size or share.asked}
        ours = {share.name: share for share in expected if share.size or share.asked}
        assert theirs.keys() == ours.keys(), "guarantee 3: languages or pairs"
        assert not shares or sum(s.effective for s in shares) == pytest.approx(1)
        rounded = turn(shares)
        for name, share in theirs.items():
            assert share.size == ours[name].size, f"guarantee 3: size of {name}"
            assert share.asked == pytest.approx(ours[name].asked, abs=rounded), (
                f"guarantee 3: law asked of {name}"
            )
            if share.asked > 0 and not table.shared:
                assert share.capacity == ours[name].capacity, f"guarantee 3: capacity of {name}"
                left_out = ours[name].effective == 0
                assert (share.effective == 0) == left_out, f"guarantee 3: {name} left out or not"
    left_out = [s for s in report.languages + report.pairs if s.asked > 0 and s.effective == 0]
    size = options["batch_size"]
    assert sorted(report.excluded) == sorted(
        f"{s.name}: {s.capacity} usable groups, too few for a batch of {size}" for s in left_out
    ), "guarantee 3: what is left out, and why"


def turn(shares):
    """Return what shares are rounded to, as docs/sampling.md says."""
    return 1 / max(4096, 16 * sum(share.effective > 0 for share in shares))


def check_law(table, options, report):
    """Guarantee 3: the law in effect is the law asked, cut only where groups would repeat.

    Returns the number of lanes cut, or None where even the uncut lanes cannot fill a batch.
    """
    if report.languages:
        check_proportions([share for share in report.languages if share.effective > 0])
    if options.get("pairs") == "single":
        check_proportions([share for share in report.pairs if share.effective > 0])
    elif report.pairs:
        return check_crowding(table.facts(options), options["batch_size"], report.pairs)
    return 0


def check_proportions(shares):
    total, allowed = sum(share.asked for share in shares), rounding(shares) + turn(shares)
    for share in shares:
        error = abs(share.effective - share.asked / total)
        assert error <= allowed, "guarantee 3: proportions of the law"


def rounding(shares):
    """Return how far rounding moves a share: every positive one keeps a turn, others make up."""
    one = turn(shares)
    return one * (1 + sum(share.effective < 1.001 * one for share in shares))


def check_crowding(model, batch_size, shares):
    shares = [share for share in shares if share.asked > 0 and share.size > 0]
    lanes = {Lane(s.query_language, s.passage_language, s.source): s for s in shares}
    kinds = kinds_of_groups({lane: model.pair_lanes[lane] for lane in lanes})
    asked = {lane: share.asked for lane, share in lanes.items()}
    if not law_in_effect(asked, model.pair_lanes, batch_size)[1]:
        return None
    # Examples a batch that a lane asks of each of its groups, and what rounding may move.
    one, more = turn(shares), rounding(shares)
    each = {lane: batch_size * share.effective / share.size for lane, share in lanes.items()}
    error = {lane: batch_size * more / share.size for lane, share in lanes.items()}
    expected = [sum(each[lane] for lane in kind) for kind in kinds]
    for kind, uses in zip(kinds, expected, strict=True):
        most = 1 + batch_size * one * sum(1 / lanes[lane].size for lane in kind)
        assert uses <= most + FLOAT, "guarantee 3: a group is expected more than once a batch"
    scale = max((share.effective - one) / share.asked for share in shares)
    cut = [
        lane
        for lane, share in lanes.items()
        if share.effective < scale * share.asked - more - FLOAT
    ]
    for lane in cut:
        full = [
            kind
            for kind, uses in zip(kinds, expected, strict=True)
            if lane in kind and uses >= 1 - sum(error[other] for other in kind) - FLOAT
        ]
        assert full, "guarantee 3: cut without need"
        level = each[lane] + error[lane] + FLOAT
        assert any(all(each[other] <= level + error[other] for other in kind) for kind in full), (
            "guarantee 3: cut below the level of its group"
        )
    return len(cut)


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
