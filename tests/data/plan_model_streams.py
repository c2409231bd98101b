"""Parts of `plan_model.PlanModel`: streams, their orders, the weights in effect."""

from __future__ import annotations

import math
from collections import defaultdict
from heapq import heappop, heappush
from itertools import chain
from typing import NamedTuple

ROUNDING = 1e-9


class Stream(NamedTuple):
    """A language (mono) or pair (cross, mixed), of one source where sources are weighted."""

    query_language: str
    passage_language: str
    source: str | None = None


class Turns:
    """An endless sequence of choices, each within one of its share from the start on.

    Turn k of a choice of share w lies between k / w and (k + 1) / w, earliest deadline first.
    """

    def __init__(self, shares, draw):
        self.shares, self.draw, self.now, self.ready = shares, draw, 0, []
        self.waiting = [(0.0, draw.random(), 0, choice) for choice in shares if shares[choice] > 0]

    def next(self):
        while self.waiting and self.waiting[0][0] < self.now + 1 - ROUNDING:
            _, _, turn, choice = heappop(self.waiting)
            deadline = (turn + 1) / self.shares[choice]
            heappush(self.ready, (deadline, self.draw.random(), turn, choice))
        deadline, _, turn, choice = heappop(self.ready)
        heappush(self.waiting, (deadline, self.draw.random(), turn + 1, choice))
        self.now += 1
        return choice


class Passes:
    """The entries of a stream, pass after pass in fresh orders, layer after layer within a pass."""

    TRIES = 64  # at random, before all entries are tried

    def __init__(self, layers, draw):
        self.layers, self.draw = layers, draw
        self.layer = self.done = 0  # entries before `done` have been drawn from this layer

    def take(self, use):
        """Return (what `use` makes of an entry, whether it comes out of turn), or None.

        Entries left in this pass come first; those that `use` refuses wait for a later batch.
        """
        layer = self.layers[self.layer]
        for i in self._positions(self.done, len(layer)):
            if (example := use(layer[i], False)) is not None:
                layer[i], layer[self.done] = layer[self.done], layer[i]
                self.done += 1
                if self.done == len(layer):
                    self.done, self.layer = 0, (self.layer + 1) % len(self.layers)
                return example, False
        for layer in self.draw.sample(self.layers, len(self.layers)):
            for i in self._positions(0, len(layer)):
                if (example := use(layer[i], True)) is not None:
                    return example, True
        return None

    def _positions(self, first, end):
        some = (self.draw.randrange(first, end) for _ in range(self.TRIES))
        return chain(some, range(first, end))


class CompleteDeal:
    """Slots (stream, group) of a table whose every group serves every stream, all streams alike.

    With G groups and P streams, a pass of G slots holds every group once. Slot n serves stream
    (n + n div lcm(G, P)) mod P, and slots of one residue (n mod G) mod P hold always the same
    groups. So P passes serve every group once in every stream.
    """

    def __init__(self, groups, streams, batch_size, draw):
        self.batch_size, self.draw, self.slot = batch_size, draw, 0
        self.streams = draw.sample(streams, len(streams))
        self.order = draw.sample(groups, len(groups))  # of this pass
        self.period = math.lcm(len(groups), len(streams))

    def next(self):
        i = self.slot % len(self.order)
        if i == 0 and self.slot > 0:
            self._begin_pass()
        stream = self.streams[(self.slot + self.slot // self.period) % len(self.streams)]
        self.slot += 1
        return stream, self.order[i]

    def _begin_pass(self):
        # A batch that reaches over the end of a pass must not repeat the groups it holds already.
        num_held = self.slot % self.batch_size
        held = set(self.order[len(self.order) - num_held :])
        for residue in range(len(self.streams)):
            groups = self.order[residue :: len(self.streams)]
            self.draw.shuffle(groups)
            num_first = len(range(residue, self.batch_size - num_held, len(self.streams)))
            first = dict.fromkeys([group for group in groups if group not in held][:num_first])
            rest = [group for group in groups if group not in first]
            self.order[residue :: len(self.streams)] = [*first, *rest]


def weights_in_effect(asked, groups_of, batch_size):
    """Return the shares of streams, and whether they expect no group more than once a batch.

    A stream of share w and n groups asks w * batch_size / n of each, and a group has one use a
    batch to give. Where more is asked, the streams that ask most of it are cut to one level; the
    uncut streams share what is left by their weights. That is the max-min fair division of the
    groups.
    """
    total = sum(asked.values())
    asked = {stream: weight / total for stream, weight in asked.items() if weight > 0}
    sizes = {stream: len(groups_of[stream]) for stream in asked}
    if sum(batch_size * weight / sizes[stream] for stream, weight in asked.items()) <= 1:
        return asked, True  # not even a group of all streams is crowded
    kinds = kinds_of_groups({stream: groups_of[stream] for stream in asked})
    scale = batch_size
    for _ in range(200):
        wanted = {stream: scale * weight / sizes[stream] for stream, weight in asked.items()}
        given = divide(wanted, kinds)
        cut = {stream for stream in asked if given[stream] < wanted[stream] * (1 - ROUNDING)}
        left = batch_size - sum(sizes[stream] * given[stream] for stream in cut)
        uncut = sum(weight for stream, weight in asked.items() if stream not in cut)
        if not cut or not uncut or left / uncut <= scale * (1 + ROUNDING):
            break
        scale = left / uncut
    examples = {stream: sizes[stream] * given[stream] for stream in asked}
    total = sum(examples.values())
    return {stream: part / total for stream, part in examples.items()}, total > batch_size * (
        1 - 1e-6
    )


def kinds_of_groups(groups_of):
    """Return the streams of each kind of group."""
    streams_of = defaultdict(list)
    for stream, groups in groups_of.items():
        for group in groups:
            streams_of[group].append(stream)
    return list(dict.fromkeys(map(tuple, streams_of.values())))


def divide(wanted, kinds):
    """Give each stream what it wants of each of its groups, or the level at which one is full."""
    given = {}
    while True:
        levels = []
        for streams in kinds:
            room = 1 - sum(given[stream] for stream in streams if stream in given)
            levels.append(
                water_level(room, [wanted[stream] for stream in streams if stream not in given])
            )
        lowest = min(levels)
        if lowest == math.inf:
            return wanted | given
        for streams, level in zip(kinds, levels, strict=True):
            if level <= lowest * (1 + ROUNDING):
                given |= {
                    stream: min(wanted[stream], lowest) for stream in streams if stream not in given
                }


def water_level(room, wanted):
    """Return the t with sum(min(w, t) for w in wanted) = room; infinity where all find room."""
    if sum(wanted) <= room + ROUNDING:
        return math.inf
    for i, want in enumerate(sorted(wanted)):
        level = max(room, 0.0) / (len(wanted) - i)
        if want >= level:
            break
        room -= want
    return level
