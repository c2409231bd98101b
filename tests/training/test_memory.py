"""Token budgets: found from free memory, halved when it runs out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hybrid_fast.training import memory
from hybrid_fast.training.memory import TokenBudget, find_budget, free_bytes, measure_graph


class Tower(nn.Module):
    """Keeps for each token its input and the output of tanh, 3 and 5 float32."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.linear(states).tanh()


def test_a_graph_is_measured_without_weights_and_each_storage_once():
    tower = Tower()
    states = torch.zeros(7, 3)
    assert measure_graph(tower, lambda: tower(states)) == 7 * (3 + 5) * 4
    twice = measure_graph(tower, lambda: (tower(states), tower(states)))
    assert twice == 7 * (3 + 5 + 5) * 4


def find(monkeypatch: pytest.MonkeyPatch, free: int, **options) -> TokenBudget:
    tower = Tower()
    states = torch.zeros(10, 3)
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    return find_budget(
        tower, lambda: tower(states), 10, torch.device("cpu"), options.pop("reserved", 0), **options
    )


BYTES_PER_TOKEN = 32
WEIGHTS = 3 * (3 * 5 + 5) * 4  # gradient and two moments


def test_what_is_free_beside_weights_and_loss_goes_to_graphs(monkeypatch):
    usable = 100_000
    budget = find(monkeypatch, 2 * (usable + WEIGHTS + 500), reserved=500)
    # Twice its graph is what a micro-batch takes while it is at work.
    assert budget.micro_batch == usable // (2 * BYTES_PER_TOKEN)
    assert budget.cached <= 1  # what rounding left
    rich = find(monkeypatch, 2 * (10 * usable + WEIGHTS))
    assert rich.micro_batch == memory.ENOUGH_TOKENS["cpu"]
    assert rich.cached == (10 * usable - 2 * BYTES_PER_TOKEN * 2048) // BYTES_PER_TOKEN
    assert find(monkeypatch, 2 * (10 * usable + WEIGHTS), micro_batch=512).micro_batch == 512


def test_processes_on_one_cpu_share_its_memory(monkeypatch):
    alone = find(monkeypatch, 10**7)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert find(monkeypatch, 10**7).cached < alone.cached / 3


def test_without_free_memory_a_budget_of_one_token_remains(monkeypatch):
    budget = find(monkeypatch, 0)
    assert (budget.micro_batch, budget.cached) == (1, 0)


def test_free_memory_of_the_cpu_keeps_the_limit_of_a_container(monkeypatch, tmp_path):
    assert 0 < free_bytes(torch.device("cpu")) <= memory.psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("1500\n")
    assert memory._free_in_container(tmp_path) == 3500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._free_in_container(tmp_path) == memory.psutil.virtual_memory().total
    assert memory._free_in_container(tmp_path / "none") == memory.psutil.virtual_memory().total


def test_a_budget_is_halved_three_times_and_then_says_what_to_do(caplog):
    budget = TokenBudget(1000, 500)
    for _ in range(3):
        budget.halve()
    assert (budget.micro_batch, budget.cached) == (125, 62)
    assert "micro-batches of 500 tokens and activations of 250" in caplog.text
    with pytest.raises(RuntimeError, match="125 tokens, halved 3 times; set micro_batch_tokens"):
        budget.halve()
