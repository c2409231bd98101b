"""Token budgets: found from free memory, halved when it runs out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hybrid_fast.training import memory
from hybrid_fast.training.memory import (
    GraphSize,
    TokenBudget,
    find_budget,
    free_bytes,
    measure_graphs,
)

CPU = torch.device("cpu")
BYTES_PER_TOKEN = (3 + 5) * 4  # of a Tower


class Tower(nn.Module):
    """Keeps for each token its input and the output of tanh, 3 and 5 float32."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.linear(states).tanh()


def measure(embed, sizes=(7, 9)) -> GraphSize:
    """Of a tower; `embed` is given it and some states."""
    tower = Tower()
    states = [torch.zeros(size, 3) for size in sizes]
    return measure_graphs(tower, lambda index: embed(tower, states[index]), sizes)


def test_a_graph_is_measured_without_weights_and_each_storage_once():
    assert measure(lambda tower, states: tower(states)) == GraphSize(BYTES_PER_TOKEN)
    twice = measure(lambda tower, states: (tower(states), tower(states)))
    assert twice == GraphSize((3 + 5 + 5) * 4)
    assert twice.of(7) == 7 * (3 + 5 + 5) * 4


def test_what_does_not_grow_with_tokens_is_told_apart():
    for_all = torch.ones(1000, requires_grad=True)

    def with_constants(tower, states):
        """40 bytes of its own in each graph, and 4,000 that all share."""
        return tower(states), torch.ones(10) * tower.linear.bias.sum(), for_all.square()

    assert measure(with_constants) == GraphSize(BYTES_PER_TOKEN, 40, 4000)


def test_samples_that_tell_nothing_apart_count_as_if_all_grew():
    assert measure(lambda tower, states: tower(states), (7, 7)) == GraphSize(BYTES_PER_TOKEN)
    assert measure(lambda tower, states: tower.linear.weight.sum()) == GraphSize(1)


def find(monkeypatch: pytest.MonkeyPatch, free: int, **options) -> TokenBudget:
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    size = options.pop("size", GraphSize(BYTES_PER_TOKEN))
    return find_budget(Tower(), lambda: size, CPU, options.pop("reserved", 0), **options)


WEIGHTS = 3 * (3 * 5 + 5) * 4  # gradient and two moments


def test_what_is_free_beside_weights_and_loss_goes_to_graphs(monkeypatch):
    usable = 60_000
    enough = memory.ENOUGH_TOKENS_ON_CPU
    assert memory.LEAST_TOKENS < usable // (2 * BYTES_PER_TOKEN) < enough
    budget = find(monkeypatch, 2 * (usable + WEIGHTS + 500), reserved=500)
    # Twice its graph is what a micro-batch takes while it is at work.
    assert budget.micro_batch == usable // (2 * BYTES_PER_TOKEN)
    assert budget.cached <= 1  # what rounding left
    rich = find(monkeypatch, 2 * (10 * usable + WEIGHTS))
    assert rich.micro_batch == enough
    assert rich.cached == (10 * usable - 2 * BYTES_PER_TOKEN * enough) // BYTES_PER_TOKEN
    assert find(monkeypatch, 2 * (10 * usable + WEIGHTS), micro_batch=512).micro_batch == 512


def test_constant_parts_of_graphs_have_room_too(monkeypatch):
    usable, micro_batch = 10**6, 512
    free = 2 * (usable + WEIGHTS)
    own, shared = GraphSize(BYTES_PER_TOKEN, 4096), GraphSize(BYTES_PER_TOKEN, 0, 4096)
    plain = find(monkeypatch, free, micro_batch=micro_batch)
    once = find(monkeypatch, free, micro_batch=micro_batch, size=shared)
    assert once.cached == plain.cached - 4096 // BYTES_PER_TOKEN
    each = find(monkeypatch, free, micro_batch=micro_batch, size=own)
    # Were all micro-batches but half full, the kept graphs would fit beside one that is at work.
    graphs = each.cached / (micro_batch / 2)
    assert graphs * own.of(micro_batch // 2) + 2 * own.of(micro_batch) <= usable
    assert (graphs + 1) * own.of(micro_batch // 2) + 2 * own.of(micro_batch) > usable


def test_memory_is_looked_at_after_a_first_pass_has_left_its_workspaces(monkeypatch):
    free = [10**9]
    monkeypatch.setattr(memory, "free_bytes", lambda device: free[0])

    def measure() -> GraphSize:
        free[0] = 10**6
        return GraphSize(BYTES_PER_TOKEN)

    assert find_budget(Tower(), measure, CPU, 0) == find(monkeypatch, 10**6)


def test_memory_that_runs_out_while_it_measures_leaves_the_least(monkeypatch, caplog):
    def exhausts() -> GraphSize:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def fails() -> GraphSize:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(memory, "free_bytes", lambda device: 2**30)
    assert find_budget(Tower(), exhausts, CPU, 0) == TokenBudget(memory.LEAST_TOKENS, 0)
    assert "Only 1024 MiB of memory are free" in caplog.text
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        find_budget(Tower(), fails, CPU, 0)


def test_processes_on_one_cpu_share_its_memory(monkeypatch):
    alone = find(monkeypatch, 10**7)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert find(monkeypatch, 10**7).cached < alone.cached / 3


def test_without_free_memory_a_budget_worth_trying_remains_and_it_is_said(monkeypatch, caplog):
    budget = find(monkeypatch, 3 * 2**20, reserved=2**30)
    assert (budget.micro_batch, budget.cached) == (memory.LEAST_TOKENS, 0)
    assert "Only 3 MiB of memory are free" in caplog.text
    assert "take 1024 MiB" in caplog.text
    assert len(caplog.records) == 1
    find(monkeypatch, 2**30)
    find(monkeypatch, 0, micro_batch=7)  # as asked for
    assert len(caplog.records) == 1


def test_free_memory_of_the_cpu_keeps_the_limit_of_a_container(monkeypatch):
    assert 0 < free_bytes(CPU) <= memory.psutil.virtual_memory().total
    monkeypatch.setattr(memory, "free_in_groups", lambda: 3500)
    assert free_bytes(CPU) == 3500
    monkeypatch.setattr(memory, "free_in_groups", lambda: 2**62)
    assert free_bytes(CPU) < 2**62
    monkeypatch.setattr(memory, "free_in_groups", lambda: None)
    assert 0 < free_bytes(CPU) <= memory.psutil.virtual_memory().total


@pytest.mark.parametrize("kind", ["xpu", "mps", "cuda"])
def test_other_devices_have_a_budget_too(monkeypatch, kind):
    usable = 100_000
    monkeypatch.setattr(memory, "free_bytes", lambda device: (usable + WEIGHTS) / 0.85 + 2)
    size = GraphSize(BYTES_PER_TOKEN)
    budget = find_budget(Tower(), lambda: size, torch.device(kind), 0)
    assert budget.micro_batch == usable // (2 * BYTES_PER_TOKEN)


def test_free_memory_of_accelerators(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.accelerator.memory, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.accelerator.memory, "memory_allocated", lambda device: 200)
    assert free_bytes(torch.device("xpu", 0)) == 1300
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 900)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 100)
    assert free_bytes(torch.device("mps")) == 800


def test_a_budget_is_halved_three_times_and_then_says_what_to_do(caplog):
    budget = TokenBudget(1000, 500)
    for _ in range(3):
        budget.halve()
    assert (budget.micro_batch, budget.cached) == (125, 62)
    assert "micro-batches of 500 tokens and activations of 250" in caplog.text
    with pytest.raises(
        torch.OutOfMemoryError, match="125 tokens, halved 3 times; set micro_batch_tokens"
    ):
        budget.halve()
