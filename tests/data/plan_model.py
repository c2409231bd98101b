"""The batch plan a second time, slow and obvious: the contract of docs/sampling.md in plain Python.

`PlanModel` shares nothing with the C++ plan but the records that both answer with. From plain
columns it derives what may serve each language (mono) and each pair (cross, mixed), the sampling
weights asked for and in effect, and what is left out; and it is a plan itself, with the same
guarantees. It keeps state: a step is drawn after all steps before it. The cost of a batch is
proportional to its size, whatever the size of the table, unless conflicts are so many that a stream
must be searched.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import partial
from itertools import chain
from random import Random

import numpy as np
from plan_model_streams import CompleteDeal, Passes, Stream, Turns, weights_in_effect

from hybrid_fast.data.plan_report import PlanReport, ShareOfPlan
from hybrid_fast.data.sampler import Batch

MONO, CROSS, MIXED = 1, 2, 4  # bits of kind_mask


class PlanModel:
    """A plan over columns and options as `HybridBatchSampler.from_arrays` takes them."""

    def __init__(
        self, group_ids, languages, passage_ids=None, has_query=None, has_passage=None, *,
        query_ids=None, sources=None, kind_mask=None, batch_size, kind="hybrid", alpha=0.5,
        language_sampling="uniform", pair_weights=None, source_weights=None, pairs="mixed",
        seed=0, world_size=1,
    ):  # fmt: skip
        def plain(column, default):
            return np.asarray(column).tolist() if column is not None else list(default)

        rows = range(len(group_ids))
        self.groups, self.languages = plain(group_ids, ()), plain(languages, ())
        asks, answers = (plain(has, (True for _ in rows)) for has in (has_query, has_passage))
        self.passages = [
            passage if answered else -1
            for passage, answered in zip(plain(passage_ids, rows), answers, strict=True)
        ]
        self.texts = [
            query if asked else -1
            for query, asked in zip(plain(query_ids, rows), asks, strict=True)
        ]
        self.batch_size, self.kind, self.seed = batch_size, kind, seed
        self.single = pairs == "single"
        self.alpha = {"mono": 1, "hybrid": alpha}.get(kind, 0)  # share of mono batches
        self.sampling = {"uniform": 0, "proportional": 1}.get(
            str(language_sampling), language_sampling
        )
        self.source_weights = source_weights or {None: 1}
        if source_weights is None:
            sources = [None for _ in rows]
        self.shared = self._find_shared("passage", self.passages)
        self.shared |= self._find_shared("query", self.texts)
        self._list_streams(asks, answers, plain(kind_mask, (7 for _ in rows)), plain(sources, ()))
        self.language_shares, self.pair_shares, largest = [], [], []
        if self.alpha > 0:
            missing = {*self.languages} - {stream.query_language for stream in self.mono_streams}
            missing = {(x, x) for x in missing}
            largest.append(self._weigh(self.mono_streams, missing, None, self.language_shares))
        if self.alpha < 1:
            named = {
                tuple(pair.split("-")) for pair, weight in (pair_weights or {}).items() if weight
            }
            missing = named - {stream[:2] for stream in self.pair_streams}
            largest.append(self._weigh(self.pair_streams, missing, pair_weights, self.pair_shares))
        if batch_size > min(largest):
            works = min(largest) // world_size * world_size
            raise ValueError(f"the largest batch_size that works is {works}")
        self._start()

    def _find_shared(self, side, texts):
        """Return the texts of a side that several groups have."""
        shared, first = set(), {}
        for group, text in zip(self.groups, texts, strict=True):
            if text != -1 and first.setdefault(text, group) != group:
                shared.add((side, text))
        return shared

    def _list_streams(self, asks, answers, masks, sources):
        """List the rows of each language (mono) and the groups of each pair (cross, mixed)."""
        same_row = self.kind == "mixed"
        self.mono_streams, self.pair_streams = defaultdict(list), defaultdict(list)
        self.queries, self.answers = defaultdict(dict), defaultdict(dict)  # rows by language, group
        self.source_of = {}  # by group: that of its first row that some batch can draw
        for row, (group, language) in enumerate(zip(self.groups, self.languages, strict=True)):
            if not self.source_weights.get(sources[row]):
                continue
            both = asks[row] and answers[row]
            either = asks[row] or answers[row]
            if (both and masks[row]) or (either and masks[row] & CROSS):
                self.source_of.setdefault(group, sources[row])
            if both and masks[row] & MONO and self.alpha > 0:
                self.mono_streams[Stream(language, language, sources[row])].append(row)
            if masks[row] & (MIXED if same_row else CROSS) and self.alpha < 1:
                if both if same_row else asks[row]:
                    self.queries[language].setdefault(group, []).append(row)
                if both if same_row else answers[row]:
                    self.answers[language].setdefault(group, []).append(row)
        for x in sorted(self.queries):
            for y in sorted(self.answers):
                for group in self.queries[x] if (x == y) == same_row else ():
                    if group in self.answers[y]:
                        self.pair_streams[Stream(x, y, self.source_of[group])].append(group)

    def choices(self, stream, entry):
        """Return every (query row, passage row) of an entry, in the order in which they take turns.

        Entries are rows in mono streams, groups in pairs.
        """
        if stream in self.mono_streams:
            return [(entry, entry)]
        xs, ys = (
            self.queries[stream.query_language][entry],
            self.answers[stream.passage_language][entry],
        )
        if self.kind == "mixed":
            return [(x, x) for x in xs]
        cycle = math.lcm(len(xs), len(ys))
        turns = range(len(xs) * len(ys))
        return [(xs[turn % len(xs)], ys[(turn + turn // cycle) % len(ys)]) for turn in turns]

    def holds(self, query, passage):
        """Return what an example takes up: its group, and texts of its rows that others have."""
        if not self.shared:
            return [self.groups[query]]
        rows = {query, passage}
        texts = {("passage", self.passages[row]) for row in rows}
        texts |= {("query", self.texts[row]) for row in rows}
        return [self.groups[query], *sorted(texts & self.shared)]

    def capacity(self, streams):
        """Return a batch size that streams always reach, whichever examples come first.

        Examples that nothing connects never exclude one another. Where no text is shared, that is
        all there is; elsewhere it is a lower bound.
        """
        if not self.shared:
            if streams.keys() <= self.mono_streams.keys():
                return len({self.groups[row] for rows in streams.values() for row in rows})
            return len(set().union(*streams.values()))
        roots = {}

        def root(thing):
            while roots.setdefault(thing, thing) != thing:
                roots[thing] = thing = roots[roots[thing]]
            return thing

        entries = ((stream, entry) for stream, entries in streams.items() for entry in entries)
        for choice in chain.from_iterable(self.choices(*entry) for entry in entries):
            things = self.holds(*choice)
            for thing in things:
                roots[root(thing)] = root(things[0])
        return sum(root(thing) == thing for thing in roots)

    def _weigh(self, streams, missing, pair_weights, shares):
        """Fill in the shares asked for and in effect; return the largest batch size that works.

        `missing`: languages and pairs that are asked for and have no stream.
        """
        sizes = {stream: len(entries) for stream, entries in streams.items()}
        sizes |= {Stream(*pair): 0 for pair in missing}
        size_of, weight_of = Counter(), Counter()  # by language or pair
        for stream, size in sizes.items():
            size_of[stream[:2]] += size
            weight_of[stream[:2]] += self.source_weights.get(stream.source, 1)
        asked = {}
        for stream in sorted(sizes, key=str):
            x, y, source = stream
            if pair_weights is not None:
                weight = pair_weights.get(f"{x}-{y}", 0)
            elif isinstance(self.sampling, dict):
                weight = self.sampling.get(x, 0) * (self.sampling.get(y, 0) if x != y else 1)
            else:
                weight = size_of[x, y] ** self.sampling if size_of[x, y] else 0
            asked[stream] = weight * self.source_weights.get(source, 1) / weight_of[x, y]
        wanted = {stream: entries for stream, entries in streams.items() if asked[stream] > 0}
        capacities, effective = sizes, dict.fromkeys(asked, 0)
        if streams is self.pair_streams and not self.single:
            largest = self.capacity(wanted)
            if largest >= self.batch_size:
                weights = {stream: asked[stream] for stream in wanted}
                effective |= weights_in_effect(weights, streams, self.batch_size)[0]
        else:
            # A whole batch is of one pair, or of one language, whose sources help one another out.
            batches = defaultdict(dict)
            for stream, entries in streams.items():
                batches[stream if streams is self.pair_streams else stream[:2]][stream] = entries
            capacities = dict.fromkeys(sizes, 0)
            for parts in batches.values():
                capacities |= dict.fromkeys(parts, self.capacity(parts))
            largest = max((capacities[stream] for stream in wanted), default=0)
            effective |= {
                stream: asked[stream] for stream in wanted if capacities[stream] >= self.batch_size
            }
        total, left = (sum(weights.values()) or 1 for weights in (asked, effective))
        for stream, weight in asked.items():
            numbers = sizes[stream], capacities[stream], weight / total, effective[stream] / left
            shares.append(ShareOfPlan(*stream, *numbers))
        return largest

    def _start(self):
        self.draw, self.step = Random(self.seed), 0
        self.phase = self.draw.random()
        self.history = []  # kind, substituted entries, substituted streams
        self.used = Counter()  # of each (stream, entry) that has several choices
        self.passes, pairs, languages = {}, {}, defaultdict(dict)
        for share in self.language_shares + self.pair_shares:
            stream = Stream(share.query_language, share.passage_language, share.source)
            if share.effective == 0:
                continue
            if stream in self.mono_streams:
                languages[stream.query_language][stream] = share.effective
                self.passes[stream] = Passes(self._layers(self.mono_streams[stream]), self.draw)
            else:
                pairs[stream] = share.effective
                self.passes[stream] = Passes([list(self.pair_streams[stream])], self.draw)
        totals = {language: sum(parts.values()) for language, parts in languages.items()}
        self.language_turns = Turns(totals, self.draw)
        self.source_turns = {}
        for language, parts in languages.items():
            shares = {stream: part / totals[language] for stream, part in parts.items()}
            self.source_turns[language] = Turns(shares, self.draw)
        self.pair_turns, self.deal = Turns(pairs, self.draw), None
        groups = [self.pair_streams[stream] for stream in pairs]
        complete = pairs and {*map(len, groups)} == {len(set().union(*groups))}
        alike = pairs and max(pairs.values()) < min(pairs.values()) * (1 + 1e-9)
        if complete and alike and not self.single and not self.shared:
            self.deal = CompleteDeal(groups[0], list(pairs), self.batch_size, self.draw)

    def _layers(self, rows):
        """Return the first rows of all groups, then the second ones of those that have two, ..."""
        layers, seen = defaultdict(list), Counter()
        for row in rows:
            layers[seen[self.groups[row]]].append(row)
            seen[self.groups[row]] += 1
        return list(layers.values())

    def batch(self, step):
        """Return the global batch of a step, after drawing all steps before it."""
        if step < self.step:
            self._start()
        while self.step < step:
            self._draw_batch()
        return self._draw_batch()

    def _draw_batch(self):
        mono_steps = [math.floor(self.alpha * n + self.phase) for n in (self.step, self.step + 1)]
        kind = "mono" if mono_steps[0] < mono_steps[1] else "cross"
        self.taken, self.replaced, self.moved = set(), 0, 0
        slots = range(self.batch_size)
        if kind == "mono":
            turns = self.source_turns[self.language_turns.next()]
            examples = [self._fill(turns.next(), turns.shares) for _ in slots]
        elif self.single:
            stream = self.pair_turns.next()
            examples = [self._fill(stream, {}) for _ in slots]
        elif self.deal:
            examples = [self._use(*self.deal.next(), False) for _ in slots]
        else:
            turns = self.pair_turns
            examples = [self._fill(turns.next(), turns.shares) for _ in slots]
        queries, passages = np.array(examples, np.int64).T
        kind = "mixed" if self.kind == "mixed" else kind
        self.history.append((kind, self.replaced, self.moved))
        self.step += 1
        return Batch(self.step - 1, kind, queries, passages, self.replaced + self.moved)

    def _fill(self, stream, others):
        """Return a free example of the stream or, failing that, of another one; count it."""
        found = self.passes[stream].take(partial(self._use, stream))
        if found is not None:
            self.replaced += found[1]
            return found[0]
        self.moved += 1
        for other in self.draw.sample(list(others), len(others)):
            found = self.passes[other].take(partial(self._use, other))
            if found is not None:
                return found[0]
        raise AssertionError("a batch of a size that works could not be filled")

    def _use(self, stream, entry, any_turn):
        choices = self.choices(stream, entry)
        turn = self.used[stream, entry] if len(choices) > 1 else 0
        for k in range(len(choices) if any_turn else 1):
            choice = choices[(turn + k) % len(choices)]
            things = self.holds(*choice)
            if self.taken.isdisjoint(things):
                self.taken.update(things)
                if len(choices) > 1:
                    self.used[stream, entry] += 1
                return choice
        return None

    def report(self, steps):
        """Report on the first steps."""
        if self.step < steps:
            self.batch(steps - 1)
        kinds, replaced, moved = zip(*self.history[:steps], strict=True) if steps else ((), (), ())
        return PlanReport(
            self.batch_size, len(self.groups), len({*self.texts} - {-1}),
            len({*self.passages} - {-1}), steps, dict(Counter(kinds)), sum(replaced), sum(moved),
            self.language_shares, self.pair_shares,
        )  # fmt: skip
