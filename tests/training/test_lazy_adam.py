"""LazyAdamW against torch.optim.AdamW, which has zeros for the rows without a gradient."""

from __future__ import annotations

import io
from itertools import chain

import pytest
import torch
from torch import nn

from hybrid_fast.training import lazy_table
from hybrid_fast.training.lazy_adam import LazyAdamW, adamw_state

SHAPE = 41, 149  # longer than a block of columns, and no multiple of it
NUM_STEPS = 500  # more than most moves take to fade
OPTIONS = {"lr": 0.03, "weight_decay": 0.1}
TOLERANCES = {torch.float32: 3e-6, torch.float64: 1e-14}


def parameter(dtype: torch.dtype = torch.float64) -> nn.Parameter:
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(SHAPE, dtype=dtype))


def gradients(dtype: torch.dtype, num_steps: int = NUM_STEPS) -> list[torch.Tensor]:
    """Row r has a gradient with chance 1 / r^2, the last row in the first update only."""
    generator = torch.Generator().manual_seed(1)
    chances = 1 / torch.arange(1.0, SHAPE[0] + 1) ** 2
    result = []
    for step in range(num_steps):
        chosen = torch.rand(SHAPE[0], generator=generator) < chances
        chosen[-1] = step == 0
        rows = chosen.nonzero()[:, 0]
        # From far above eps to far below.
        size = 10 ** (-9 * torch.rand((), generator=generator))
        values = size * torch.randn(len(rows), SHAPE[1], generator=generator)
        result.append(sparse(rows, values.to(dtype)))
    return result


def sparse(rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return torch.sparse_coo_tensor(rows[None], values, SHAPE, check_invariants=True)


def rate_of(step: int) -> float:
    """Warm-up from zero, then down."""
    return OPTIONS["lr"] * min(step / 20, 1 - step / NUM_STEPS)


def train(optimizer, table, steps, *, catch_up=lambda step: False):
    dense = not isinstance(optimizer, LazyAdamW)
    for step, gradient in steps:
        optimizer.param_groups[0]["lr"] = rate_of(step)
        table.grad = gradient.to_dense() if dense else gradient
        optimizer.step()
        if catch_up(step):
            optimizer.catch_up(table)
    if not dense:
        optimizer.catch_up(table)


def largest_difference(first: torch.Tensor, second: torch.Tensor) -> float:
    difference = (first.double() - second.double()).detach()
    return float(difference.abs().max() / second.detach().abs().max())


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.5), (0.95, 0.98)], ids=str)
@pytest.mark.parametrize("eps", [1e-8, 1e-3])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_it_is_adamw(dtype, weight_decay, eps, betas):
    options = {"lr": 0.03, "weight_decay": weight_decay, "eps": eps, "betas": betas}
    ours, theirs = parameter(dtype), parameter(dtype)
    steps = list(enumerate(gradients(dtype)))
    train(LazyAdamW([ours], **options), ours, steps)
    train(torch.optim.AdamW([theirs], **options), theirs, steps)
    assert largest_difference(ours, theirs) < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_when_rows_are_caught_up_changes_no_bit(dtype):
    steps = list(enumerate(gradients(dtype)))
    tables = []
    for catch_up in (lambda step: False, lambda step: True, lambda step: step % 37 == 0):
        tables.append(parameter(dtype))
        optimizer = LazyAdamW([tables[-1]], **OPTIONS)
        train(optimizer, tables[-1], steps, catch_up=catch_up)
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])


def test_rows_wait_until_they_are_asked_for():
    ours, theirs = parameter(), parameter()
    optimizers = LazyAdamW([ours], **OPTIONS), torch.optim.AdamW([theirs], **OPTIONS)
    for rows in ([1, 4, 7], [7]):
        ours.grad = sparse(torch.tensor(rows), torch.randn(len(rows), SHAPE[1]).double())
        theirs.grad = ours.grad.to_dense()
        for optimizer in optimizers:
            optimizer.step()
    late = ours.detach().clone()
    ours_optimizer = optimizers[0]
    ours_optimizer.catch_up(ours, torch.tensor([4, 40, 4]))
    moved = (ours != late).any(1).nonzero()[:, 0].tolist()
    assert moved == [4, 40]  # by momentum, and by decay alone
    torch.testing.assert_close(ours[[4, 7, 40]], theirs[[4, 7, 40]])
    ours_optimizer.catch_up(ours)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": True}], ids=str)
def test_dense_gradients_are_torchs_business(options):
    ours, theirs = parameter(torch.float32), parameter(torch.float32)
    table = parameter(torch.float32)
    optimizer = LazyAdamW([{"params": [ours]}, {"params": [table], "lr": 0.5}], **options)
    other = torch.optim.AdamW([theirs], **options)
    for gradient in gradients(torch.float32, 3):
        table.grad = gradient
        ours.grad = torch.randn(SHAPE)
        theirs.grad = ours.grad.clone()
        optimizer.step()
        other.step()
        assert table.grad is gradient
    assert torch.equal(ours, theirs)
    assert not torch.equal(table, parameter(torch.float32))


def test_a_table_may_also_get_a_dense_gradient():
    ours, theirs = parameter(), parameter()
    steps = gradients(torch.float64, 40)
    optimizers = LazyAdamW([ours], **OPTIONS), torch.optim.AdamW([theirs], **OPTIONS)
    for step, gradient in enumerate(steps):
        ours.grad = gradient.to_dense() if step % 9 == 0 else gradient
        theirs.grad = gradient.to_dense()
        for optimizer in optimizers:
            optimizer.step()
    optimizers[0].catch_up(ours)
    assert largest_difference(ours, theirs) < 1e-14


def test_the_loss_of_a_closure_is_returned():
    table = parameter()
    optimizer = LazyAdamW([table])

    def closure():
        loss = nn.functional.embedding(torch.tensor([3]), table, sparse=True).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == table.new_tensor(parameter()[3].sum().item())
    assert (table != parameter()).any(1).nonzero()[:, 0].tolist() == [3]


def saved(optimizer) -> dict:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("caught_up", [True, False])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_a_saved_state_goes_on_with_the_same_bits(dtype, caught_up):
    steps = list(enumerate(gradients(dtype, 90)))
    table = parameter(dtype)
    optimizer = LazyAdamW([table], **OPTIONS)
    for step, gradient in steps[:60]:
        optimizer.param_groups[0]["lr"] = rate_of(step)
        table.grad = gradient
        optimizer.step()
    if caught_up:
        optimizer.catch_up(table)
    copied = nn.Parameter(table.detach().clone())
    other = LazyAdamW([copied])
    other.load_state_dict(saved(optimizer))
    train(optimizer, table, steps[60:])
    train(other, copied, steps[60:])
    assert torch.equal(table, copied)


@pytest.mark.parametrize("lazy_first", [True, False])
@pytest.mark.parametrize("fused", [False, True])
def test_it_and_adamw_go_on_from_one_another(lazy_first, fused):
    steps = list(enumerate(gradients(torch.float64, 90)))
    whole, table = parameter(), parameter()
    train(torch.optim.AdamW([whole], **OPTIONS), whole, steps)
    classes = [LazyAdamW, torch.optim.AdamW]
    first, second = classes if lazy_first else classes[::-1]
    optimizer, other = first([table], **OPTIONS), second([table], **OPTIONS, fused=fused)
    train(optimizer, table, steps[:60])
    state = saved(optimizer)
    other.load_state_dict(adamw_state(state) if lazy_first else state)
    train(other, table, steps[60:])
    assert largest_difference(table, whole) < 1e-14


def test_the_state_of_another_optimiser_is_left_as_it_is():
    table = parameter()
    optimizer = torch.optim.AdamW([table])
    train(optimizer, table, enumerate(gradients(torch.float64, 2)))
    state = optimizer.state_dict()
    assert adamw_state(state) == state


def test_catching_up_before_the_first_update_does_nothing():
    table = parameter()
    LazyAdamW([table]).catch_up(table)
    assert torch.equal(table, parameter())


@pytest.mark.parametrize("betas", [(0.99, 0.9), (0.9, 0.81), (0.9, 0.8101), (0.0, 0.0)], ids=str)
def test_betas_whose_moves_hardly_fade_are_an_error(betas):
    message = "beta1 must be at most 0.995 sqrt"
    with pytest.raises(ValueError, match=message):
        LazyAdamW([parameter()], betas=betas)
    with pytest.raises(ValueError, match=message):
        LazyAdamW([{"params": [parameter()], "betas": betas}])
    optimizer = LazyAdamW([parameter()])
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(torch.optim.AdamW([parameter()], betas=betas).state_dict())


@pytest.mark.parametrize("option", ["amsgrad", "maximize"])
def test_options_that_lazy_updates_lack_are_an_error(option):
    message = f"{option} is True; lazy updates have no such option"
    with pytest.raises(ValueError, match=message):
        LazyAdamW([{"params": [parameter()], option: True}])
    optimizer = LazyAdamW([parameter()])
    other = torch.optim.AdamW([parameter()], **{option: True})
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(other.state_dict())


def test_hooks_of_a_step_run_once():
    torch.optim.AdamW([parameter()])  # whose class then has hooks of its own
    table = parameter()
    optimizer = LazyAdamW([table])
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(table.grad))
    table.grad = gradients(torch.float64, 1)[0]
    optimizer.step()
    assert len(calls) == 1
    assert calls[0] is table.grad


def test_a_state_for_adamw_is_of_rows_that_are_up_to_date():
    table = parameter()
    optimizer = LazyAdamW([table])
    for gradient in gradients(torch.float64, 3):
        table.grad = gradient
        optimizer.step()
    with pytest.raises(ValueError, match="rows have missed updates"):
        adamw_state(optimizer.state_dict())
    optimizer.catch_up(table)
    adamw_state(optimizer.state_dict())


@pytest.mark.parametrize("row", [-1, SHAPE[0]])
def test_a_row_outside_the_table_is_an_error_and_changes_nothing(row):
    table = parameter()
    optimizer = LazyAdamW([table], **OPTIONS)
    for gradient in gradients(torch.float64, 3):
        table.grad = gradient
        optimizer.step()
    before = table.detach().clone()
    with pytest.raises(ValueError, match=f"row {row} lies outside"):
        optimizer.catch_up(table, torch.tensor([40, row]))
    assert torch.equal(table, before)
    optimizer.catch_up(table, torch.tensor([40]))
    assert not torch.equal(table, before)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_how_long_rows_wait_changes_no_bit(dtype, monkeypatch):
    """A row that waits longer than updates are kept gets the same ones, in parts."""
    steps, tables = list(enumerate(gradients(dtype))), []
    for longest in (1024, 37, 1):
        monkeypatch.setattr(lazy_table, "LONGEST_WAIT", longest)
        tables.append(parameter(dtype))
        train(LazyAdamW([tables[-1]], **OPTIONS), tables[-1], steps)
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])


def test_each_update_catches_up_an_equal_part_of_the_table(monkeypatch):
    """So none costs more than another, and updates are kept for so long and no longer."""
    monkeypatch.setattr(lazy_table, "LONGEST_WAIT", 16)
    table = parameter()
    optimizer = LazyAdamW([table], **OPTIONS)
    gradient, before, lengths = sparse(torch.tensor([3]), torch.ones(1, SHAPE[1])), parameter(), []
    caught_up = []
    for _ in range(48):
        table.grad = gradient.double()
        optimizer.step()
        moved = (table != before).any(1).nonzero()[:, 0].tolist()
        caught_up.append([row for row in moved if row != 3])
        before = table.detach().clone()
        lengths.append(len(optimizer.state_dict()["state"][0]["history"]))
    assert lengths == [min(step + 1, 16) for step in range(48)]
    assert {len(rows) for rows in caught_up} <= {1, 2, 3}  # of 41, whatever the update
    for first in (0, 16, 32):
        of_a_round = sorted(chain(*caught_up[first : first + 16]))
        assert of_a_round == [row for row in range(SHAPE[0]) if row != 3]


def test_a_state_whose_rows_and_history_disagree_is_an_error():
    table = parameter()
    optimizer = LazyAdamW([table], **OPTIONS)
    for gradient in gradients(torch.float64, 3):
        table.grad = gradient
        optimizer.step()
    state = saved(optimizer)
    state["state"][0]["history"] = state["state"][0]["history"][1:]
    other = LazyAdamW([nn.Parameter(table.detach().clone())])
    other.load_state_dict(state)
    with pytest.raises(
        ValueError, match=r"updates up to 0.*the history goes on from update 1 to 3"
    ):
        other.catch_up(other.param_groups[0]["params"][0])
