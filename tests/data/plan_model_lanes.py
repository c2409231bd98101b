"""Parts of `plan_model.PlanModel`: lanes, the orders in which they come, the law in effect."""

from __future__ import annotations

import math
from collections import defaultdict
from heapq import heappop, heappush
from itertools import chain
from typing import NamedTuple

ROUNDING = 1e-9


class Lane(NamedTuple):
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
    """The entries of a lane, pass after pass in fresh orders, layer after layer within a pass."""

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
    """Slots (lane, group) of a table whose every group serves every lane, all lanes alike.

    With G groups and P lanes, a pass of G slots holds every group once. Slot n serves lane
    (n + n div lcm(G, P)) mod P, and slots of one residue (n mod G) mod P hold always the same
    groups. So P passes serve every group once in every lane.
    """

    def __init__(self, groups, lanes, batch_size, draw):
        self.batch_size, self.draw, self.slot = batch_size, draw, 0
        self.lanes = draw.sample(lanes, len(lanes))
        self.order = draw.sample(groups, len(groups))  # of this pass
        self.period = math.lcm(len(groups), len(lanes))

    def next(self):
        i = self.slot % len(self.order)
        if i == 0 and self.slot > 0:
            self._begin_pass()
        lane = self.lanes[(self.slot + self.slot // self.period) % len(self.lanes)]
        self.slot += 1
        return lane, self.order[i]

    def _begin_pass(self):
        # A batch that reaches over the end of a pass must not repeat the groups it holds already.
        num_held = self.slot % self.batch_size
        held = set(self.order[len(self.order) - num_held :])
        for residue in range(len(self.lanes)):
            groups = self.order[residue :: len(self.lanes)]
            self.draw.shuffle(groups)
            num_first = len(range(residue, self.batch_size - num_held, len(self.lanes)))
            first = dict.fromkeys([group for group in groups if group not in held][:num_first])
            rest = [group for group in groups if group not in first]
            self.order[residue :: len(self.lanes)] = [*first, *rest]


def law_in_effect(asked, groups_of, batch_size):
    """Return the shares of lanes, and whether they expect no group more than once a batch.

    A lane of share w and n groups asks w * batch_size / n of each, and a group has one use a batch
    to give. Where more is asked, the lanes that ask most of it are cut to one level; the uncut
    lanes share what is left by their weights. That is the max-min fair division of the groups.
    """
    total = sum(asked.values())
    asked = {lane: weight / total for lane, weight in asked.items() if weight > 0}
    sizes = {lane: len(groups_of[lane]) for lane in asked}
    if sum(batch_size * weight / sizes[lane] for lane, weight in asked.items()) <= 1:
        return asked, True  # not even a group of all lanes is crowded
    kinds = kinds_of_groups({lane: groups_of[lane] for lane in asked})
    scale = batch_size
    for _ in range(200):
        wanted = {lane: scale * weight / sizes[lane] for lane, weight in asked.items()}
        given = divide(wanted, kinds)
        cut = {lane for lane in asked if given[lane] < wanted[lane] * (1 - ROUNDING)}
        left = batch_size - sum(sizes[lane] * given[lane] for lane in cut)
        uncut = sum(weight for lane, weight in asked.items() if lane not in cut)
        if not cut or not uncut or left / uncut <= scale * (1 + ROUNDING):
            break
        scale = left / uncut
    examples = {lane: sizes[lane] * given[lane] for lane in asked}
    total = sum(examples.values())
    return {lane: part / total for lane, part in examples.items()}, total > batch_size * (1 - 1e-6)


def kinds_of_groups(groups_of):
    """Return the lanes of each kind of group."""
    lanes_of = defaultdict(list)
    for lane, groups in groups_of.items():
        for group in groups:
            lanes_of[group].append(lane)
    return list(dict.fromkeys(map(tuple, lanes_of.values())))


def divide(wanted, kinds):
    """Give each lane what it wants of each of its groups, or the level at which one is full."""
    given = {}
    while True:
        levels = []
        for lanes in kinds:
            room = 1 - sum(given[lane] for lane in lanes if lane in given)
            levels.append(water_level(room, [wanted[lane] for lane in lanes if lane not in given]))
        lowest = min(levels)
        if lowest == math.inf:
            return wanted | given
        for lanes, level in zip(kinds, levels, strict=True):
            if level <= lowest * (1 + ROUNDING):
                given |= {lane: min(wanted[lane], lowest) for lane in lanes if lane not in given}


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
