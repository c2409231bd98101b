"""Updates of a token table of 250,002 x 384 at any age of a run, and the size of its checkpoint.

A batch has some 1,700 of 30,000 tokens, drawn by Zipf's law. An update of ours takes in what those
tokens have missed; AdamW updates all rows.
"""

from __future__ import annotations

import statistics
import time

import pytest
import torch
from torch import nn

from hybrid_fast.training.lazy_adam import LazyAdamW, adamw_state

SHAPE = 250_002, 384
USED, DRAWN = 30_000, 4_000
OPTIONS = {"lr": 2e-5, "weight_decay": 0.01}
LATE = 999_000


class Updates:
    """Makes and times updates of a table of its own."""

    def __init__(self, step: int) -> None:
        self.table = nn.Parameter(torch.zeros(SHAPE))
        self.optimizer = LazyAdamW([self.table], **OPTIONS)
        self.draws = torch.Generator().manual_seed(0)
        self.values = torch.randn(DRAWN, SHAPE[1], generator=self.draws)
        if step:
            self.update()
            self.optimizer.catch_up(self.table)
            state = self.optimizer.state_dict()
            state["state"][0]["step"].fill_(step)
            self.optimizer.load_state_dict(state)

    def update(self) -> float:
        """Return the seconds of an update of a batch."""
        chances = 1 / torch.arange(1.0, USED + 1)
        tokens = torch.multinomial(chances, DRAWN, replacement=True, generator=self.draws)
        rows = (tokens * 7919 % SHAPE[0]).unique()  # all over the table
        values = self.values[: len(rows)]
        begin = time.perf_counter()
        self.optimizer.catch_up(self.table, rows)
        self.table.grad = torch.sparse_coo_tensor(
            rows[None], values, SHAPE, is_coalesced=True, check_invariants=False
        )
        self.optimizer.step()
        return time.perf_counter() - begin


def seconds_of_adamw() -> float:
    table = nn.Parameter(torch.zeros(SHAPE))
    optimizer = torch.optim.AdamW([table], **OPTIONS, fused=True)
    table.grad = torch.zeros(SHAPE)
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        optimizer.step()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


@pytest.mark.parametrize("begin", [pytest.param(0, marks=pytest.mark.full), LATE])
def test_updates(benchmark, headline, tmp_path, begin):
    updates = Updates(begin)
    count = 1_100  # more than any row waits
    seconds = benchmark.pedantic(lambda: [updates.update() for _ in range(count)], rounds=1)
    last, highest = statistics.median(seconds[-200:]), max(seconds[1:])
    benchmark.extra_info["seconds"] = {"first": seconds[0], "highest of the others": highest}
    headline(
        "optimiser", f"update {begin + count:,} of a table", "s", last,
        {"AdamW, fused": seconds_of_adamw(), "highest of all": highest}, {"AdamW, fused": 5},
    )  # fmt: skip
    updates.optimizer.catch_up(updates.table)
    state = updates.optimizer.state_dict()
    sizes = []
    for name, each in (("ours", state), ("AdamW", adamw_state(state))):
        torch.save(each, tmp_path / name)
        sizes.append((tmp_path / name).stat().st_size / 2**20)
    headline("optimiser", "checkpoint of a table", "MiB", sizes[0], {"AdamW": sizes[1]})
