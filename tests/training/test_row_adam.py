"""RowAdamW against torch's optimisers, and the row updates of a trainer."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from test_trainer import make_args, make_model, make_table
from torch import nn

from hybrid_fast import _core
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.row_adam import RowAdamW, clip_gradients, touched_rows

SHAPE = 23, 5
OPTIONS = {"lr": 0.03, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
TOLERANCES = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-6},
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
}


def sparse(rows: list[int], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    values = torch.randn(len(rows), SHAPE[1], dtype=dtype)
    return torch.sparse_coo_tensor(
        torch.tensor(rows, dtype=torch.int64)[None], values, SHAPE, check_invariants=True
    )


def parameter(dtype: torch.dtype = torch.float64) -> nn.Parameter:
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(SHAPE, dtype=dtype))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (2, 3, 5)])
def test_of_a_dense_gradient_it_is_adamw(shape, dtype):
    ours = nn.Parameter(torch.randn(shape, dtype=dtype))
    theirs = nn.Parameter(ours.detach().clone())
    optimizers = RowAdamW([ours], **OPTIONS), torch.optim.AdamW([theirs], **OPTIONS)
    for _ in range(5):
        ours.grad = torch.randn(shape, dtype=dtype)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, **TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_of_a_sparse_gradient_without_decay_it_is_sparse_adam(dtype):
    ours, theirs = parameter(dtype), parameter(dtype)
    options = {**OPTIONS, "eps": 1e-30}  # which SparseAdam does not correct for the bias
    ours_optimizer = RowAdamW([ours], **{**options, "weight_decay": 0.0})
    del options["weight_decay"]
    theirs_optimizer = torch.optim.SparseAdam([theirs], **options)
    for rows in ([0, 22], [3], [], [0, 3, 9], [22]):
        ours.grad = sparse(rows, dtype)
        theirs.grad = ours.grad.clone()
        ours_optimizer.step()
        theirs_optimizer.step()
    torch.testing.assert_close(ours, theirs, **TOLERANCES[dtype])


def test_weights_decay_in_rows_of_the_gradient_only():
    table = parameter()
    before = table.detach().clone()
    table.grad = sparse([2, 7]) * 0
    RowAdamW([table], **OPTIONS).step()
    kept = torch.ones(SHAPE[0], 1, dtype=torch.float64)
    kept[[2, 7]] = 1 - OPTIONS["lr"] * OPTIONS["weight_decay"]
    torch.testing.assert_close(table.detach(), before * kept)


def test_rows_that_occur_twice_are_added_up():
    gradient = sparse([5, 2, 5])
    rows, values = touched_rows(gradient)
    assert rows.tolist() == [2, 5]
    torch.testing.assert_close(values, gradient.to_dense()[[2, 5]])


def test_a_saved_state_goes_on_with_the_same_bits():
    first, second = parameter(torch.float32), parameter(torch.float32)
    optimizer = RowAdamW([first], **OPTIONS)
    gradients = [sparse(rows, torch.float32) for rows in ([1, 2], [2, 8], [0, 2, 22])]
    for gradient in gradients[:2]:
        first.grad = gradient
        optimizer.step()
    with torch.no_grad():
        second.copy_(first)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    other = RowAdamW([second])
    other.load_state_dict(torch.load(file, weights_only=True))
    first.grad = second.grad = gradients[2]
    optimizer.step()
    other.step()
    assert torch.equal(first, second)


def test_learning_rates_are_those_of_group_and_schedule():
    tables = parameter(), parameter()
    optimizer = RowAdamW([{"params": [tables[0]], "lr": 0.5}, {"params": [tables[1]]}], lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.0 if step else 1.0)
    before = tables[0].detach().clone()
    for table in tables:
        table.grad = sparse([4])
    optimizer.step()
    moved = [(table.detach() - before)[4].abs() for table in tables]
    assert (moved[0] > moved[1]).all()
    scheduler.step()
    still = tables[0].detach().clone()
    optimizer.step()
    assert torch.equal(tables[0].detach(), still)


@pytest.mark.parametrize("max_norm", [0.5, 1e6, float("inf")])
def test_clipping_takes_sparse_gradients_as_if_they_were_dense(max_norm):
    table, number = parameter(), nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    table.grad, number.grad = sparse([5, 2, 5]), torch.tensor(3.0, dtype=torch.float64)
    dense = parameter(), nn.Parameter(number.detach().clone())
    dense[0].grad, dense[1].grad = table.grad.to_dense(), number.grad.clone()
    norm = clip_gradients([table, number, nn.Parameter(torch.ones(1))], max_norm)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(dense, max_norm))
    torch.testing.assert_close(table.grad.to_dense(), dense[0].grad)
    torch.testing.assert_close(number.grad, dense[1].grad)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_no_bit(dtype):
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(9000)[:5000])
    gradient = rng.standard_normal((5000, 67)).astype(dtype)
    results = []
    for num_threads in (1, 3):
        tensors = [np.ones((9000, 67), dtype) for _ in range(3)]
        options = {"learning_rate": 0.1, "epsilon": 1e-8, "weight_decay": 0.01, "step": 3}
        _core.update_rows(
            *tensors, rows, gradient, betas=(0.9, 0.999), num_threads=num_threads, **options
        )
        results.append(tensors)
    assert all(map(np.array_equal, *results))
    untouched = np.setdiff1d(np.arange(9000), rows)
    assert (results[0][0][untouched] == 1).all()


@pytest.mark.parametrize("rows", [[-1], [4], [2, 2], [3, 1]])
def test_rows_that_do_not_ascend_within_the_table_are_an_error(rows):
    tensors = [np.ones((4, 2)) for _ in range(3)]
    with pytest.raises(ValueError, match="rows must ascend"):
        _core.update_rows(
            *tensors, np.array(rows), np.ones((len(rows), 2)), learning_rate=0.1,
            betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.0, step=1, num_threads=1,
        )  # fmt: skip


def test_the_first_step_is_that_of_adamw_for_tokens_of_the_batch(tmp_path):
    tables = []
    for row_updates in (False, True):
        args = make_args(tmp_path, max_steps=1, row_updates=row_updates, max_grad_norm=0.1)
        trainer = HybridTrainer(make_model(), args, make_table())
        trainer.train()
        tables.append(trainer.encoder.backbone.embedding.weight.detach())
        ids = trainer.train_dataset[0].ids.numpy()
    touched = np.unique(ids)
    before = make_model().backbone.embedding.weight.detach()
    assert len(touched) < len(before)
    torch.testing.assert_close(tables[1][touched], tables[0][touched], rtol=1e-4, atol=1e-6)
    untouched = np.setdiff1d(np.arange(len(before)), touched)
    assert torch.equal(tables[1][untouched], before[untouched])


@pytest.mark.parametrize("max_grad_norm", [0.0, 1.0])
def test_a_model_trained_by_rows_learns_and_trains_on_without(tmp_path, max_grad_norm):
    model = make_model()
    for row_updates in (True, False):
        args = make_args(tmp_path, row_updates=row_updates, max_grad_norm=max_grad_norm)
        trainer = HybridTrainer(model, args, make_table())
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        if row_updates:
            assert losses[-1] < losses[0]
        assert model.backbone.embedding.weight.grad is None


def test_row_updates_are_for_static_encoders(tmp_path, bert_folder):
    from hybrid_fast.models import BiEncoder

    model = BiEncoder.from_pretrained(bert_folder)
    with pytest.raises(ValueError, match="row_updates is for static encoders"):
        HybridTrainer(model, make_args(tmp_path, row_updates=True), make_table())
