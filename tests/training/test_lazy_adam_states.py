"""What a saved state of LazyAdamW holds: rows that have had a gradient, and nothing else."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from hybrid_fast.training.lazy_adam import LazyAdamW, adamw_state

SHAPE = 5000, 24
ROWS = [[4000, 7], [7, 12], [12, 300, 4000]]  # with gradients, in an update each


def make_optimizer(dtype=torch.float32) -> tuple[LazyAdamW, nn.Parameter]:
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(SHAPE, dtype=dtype))
    return LazyAdamW([table], lr=0.01, weight_decay=0.1), table


def step(optimizer, table, rows) -> None:
    rows = torch.tensor(sorted(rows))
    torch.manual_seed(int(rows.sum()))
    values = torch.randn(len(rows), SHAPE[1]).to(table)
    table.grad = torch.sparse_coo_tensor(rows[None], values, SHAPE, check_invariants=True)
    optimizer.step()


def trained(dtype=torch.float32) -> tuple[LazyAdamW, nn.Parameter]:
    optimizer, table = make_optimizer(dtype)
    for rows in ROWS:
        step(optimizer, table, rows)
    return optimizer, table


def as_file(state: dict) -> tuple[dict, int]:
    """Return what is read of a state that is saved, and the bytes of the file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True), file.getbuffer().nbytes


def test_rows_without_a_gradient_are_left_out():
    optimizer, table = trained()
    optimizer.catch_up(table)
    state, size = as_file(optimizer.state_dict())
    assert size < 8000  # of moments of 960,000 bytes
    saved = state["state"][0]
    assert list(saved) == ["step", "num_rows", "rows", "moment_steps", "exp_avg", "exp_avg_sq"]
    assert saved["step"] == 3
    assert dict(zip(saved["rows"].tolist(), saved["moment_steps"].tolist(), strict=True)) == {
        7: 2, 4000: 3, 12: 3, 300: 3,
    }  # fmt: skip
    whole = adamw_state(state)["state"][0]
    for name in ("exp_avg", "exp_avg_sq"):
        assert whole[name].shape == SHAPE
        assert whole[name].any(1).nonzero()[:, 0].tolist() == [7, 12, 300, 4000]


def test_a_state_of_rows_that_wait_holds_their_updates_too():
    optimizer, _ = trained()
    saved = as_file(optimizer.state_dict())[0]["state"][0]
    assert saved["history"].shape == (3, 3)
    assert saved["weight_steps"][[7, 4000, 5, 100]].tolist() == [2, 3, 1, 0]


def test_zero_moments_of_adamw_are_not_kept():
    optimizer, table = make_optimizer()
    other = torch.optim.AdamW([table])
    table.grad = torch.zeros(SHAPE)
    table.grad[[3, 9]] = 1
    other.step()
    optimizer.load_state_dict(other.state_dict())
    step(optimizer, table, [4])
    assert sorted(optimizer.state_dict()["state"][0]["rows"].tolist()) == [3, 4, 9]


@pytest.mark.parametrize("caught_up", [True, False])
def test_loading_a_state_gives_that_state(caught_up):
    optimizer, table = trained(torch.float64)
    if caught_up:
        optimizer.catch_up(table)
    state, _ = as_file(optimizer.state_dict())
    other, _ = make_optimizer(torch.float64)
    other.load_state_dict(state)
    again = other.state_dict()
    assert again["param_groups"] == state["param_groups"]
    assert again["state"][0].keys() == state["state"][0].keys()
    for name, value in state["state"][0].items():
        assert (
            (value == again["state"][0][name])
            if name == "num_rows"
            else torch.equal(value, again["state"][0][name])
        )


def test_later_updates_leave_a_loaded_state_alone():
    state, _ = as_file(trained()[0].state_dict())
    before = copy.deepcopy(state)
    optimizer, table = make_optimizer()
    optimizer.load_state_dict(state)
    step(optimizer, table, [7, 8])
    for name, value in before["state"][0].items():
        torch.testing.assert_close(state["state"][0][name], value, rtol=0, atol=0)


def test_a_copied_optimiser_goes_on_alike():
    optimizer, table = trained()
    other = copy.deepcopy(optimizer)
    (copied,) = other.param_groups[0]["params"]
    for each, its_table in ((optimizer, table), (other, copied)):
        step(each, its_table, [1, 7])
        each.catch_up(its_table)
    assert copied is not table
    assert torch.equal(copied, table)


def test_a_state_without_any_row_is_loaded():
    optimizer, table = make_optimizer()
    table.grad = torch.zeros(SHAPE).to_sparse(1)
    optimizer.step()
    optimizer.catch_up(table)
    state, _ = as_file(optimizer.state_dict())
    other, _ = make_optimizer()
    other.load_state_dict(state)
    assert other.state_dict()["state"][0]["exp_avg"].shape == (0, SHAPE[1])
    assert not adamw_state(state)["state"][0]["exp_avg"].any()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("num_rows", 4, "of a table of 4 rows; this one has 5000"),
        ("rows", torch.tensor([1, 2, 3, 5000]), "not distinct ones of 5000"),
        ("rows", torch.tensor([1, 2, 3, -1]), "not distinct ones of 5000"),
        ("rows", torch.tensor([1, 2, 3, 3]), "not distinct ones of 5000"),
        ("rows", torch.tensor([1, 2, 3]), r"moment_steps has the shape \(4,\); it needs \(3,\)"),
        ("exp_avg", torch.zeros(4, 23), r"exp_avg has the shape \(4, 23\); it needs \(4, 24\)"),
        ("exp_avg_sq", torch.zeros(5, 24), r"exp_avg_sq has the shape \(5, 24\)"),
        ("weight_steps", torch.zeros(4), r"weight_steps has the shape \(4,\); it needs \(5000,\)"),
        ("history", torch.zeros(3, 2), r"history has the shape \(3, 2\); it needs \(3, 3\)"),
        ("history", torch.zeros(1025, 3), r"history has the shape \(1025, 3\); it needs \(1024, "),
    ],
)
def test_a_state_that_does_not_fit_is_an_error(name, value, message):
    state, _ = as_file(trained()[0].state_dict())
    state["state"][0][name] = value
    with pytest.raises(ValueError, match=message):
        make_optimizer()[0].load_state_dict(state)


@pytest.mark.parametrize("name", ["step", "rows", "moment_steps", "exp_avg_sq", "weight_steps"])
def test_a_state_that_lacks_something_is_an_error(name):
    state, _ = as_file(trained()[0].state_dict())
    del state["state"][0][name]
    with pytest.raises(ValueError, match=f"the state is damaged: it lacks {name}$"):
        make_optimizer()[0].load_state_dict(state)
