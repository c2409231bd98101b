"""The input of several layers is cast once under autocast, with autocast's own results."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hybrid_fast.models.kernels.encoder import fast_encoder
from hybrid_fast.models.kernels.linear import cast_once


class Projections(nn.Module):
    """Three layers that take one input, as those of an attention do, then a fourth."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.last = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(sum(layer(x) for layer in self.layers).float())


@pytest.fixture
def model() -> Projections:
    torch.manual_seed(0)
    return Projections()


def autocast():
    return torch.autocast("cpu", torch.bfloat16)


def saved_by(model: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    """Output, and how many tensors of the shape of the input are kept."""
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t) if t.shape == x.shape else t, lambda t: t
    ):
        # Autocast keeps the casts of leaves, such as weights, itself.
        return model(x * 1), len(kept)


def test_results_are_autocasts_to_the_bit_and_less_is_kept(model):
    x = torch.randn(5, 6, requires_grad=True)
    with autocast():
        expected, num_expected = saved_by(model, x)
        with fast_encoder(model):
            out, num_kept = saved_by(model, x)
    assert torch.equal(out, expected)
    assert out.dtype == torch.bfloat16
    assert (num_expected, num_kept) == (4, 2)


def test_gradients_are_as_close_to_the_truth_as_autocasts(model):
    x = torch.randn(50, 6, requires_grad=True)
    exact = copy.deepcopy(model)
    truth = torch.autograd.grad(exact(x).square().sum(), [x, *exact.parameters()])
    errors = []
    for is_fast in (True, False):
        with fast_encoder(model) if is_fast else torch.enable_grad(), autocast():
            out = model(x * 1)
        found = torch.autograd.grad(out.float().square().sum(), [x, *model.parameters()])
        assert all(a.dtype == torch.float32 for a in found)
        errors.append([float((a - b).norm() / b.norm()) for a, b in zip(found, truth, strict=True)])
    for ours, autocasts in zip(*errors, strict=True):
        assert ours < 1.5 * autocasts < 0.1


def test_a_cast_is_made_anew_for_another_tensor_another_value_or_another_use():
    x = torch.randn(3, 4)
    with autocast():
        first = cast_once(x)
        assert cast_once(x) is first
        assert first.dtype == torch.bfloat16
        assert cast_once(x.clone()) is not first
        again = cast_once(x)
        x += 1
        assert torch.equal(cast_once(x), x.bfloat16())
        assert not torch.equal(cast_once(x), again)
        x.requires_grad_()
        assert cast_once(x).requires_grad
        with torch.no_grad():
            assert not cast_once(x).requires_grad
        assert cast_once(x).requires_grad
        with torch.autocast("cpu", torch.float16):
            assert cast_once(x).dtype == torch.float16


def test_it_is_used_again_after_a_backward_pass_and_by_checkpointing(model):
    x = torch.randn(5, 6, requires_grad=True)
    with fast_encoder(model), autocast():
        gradients = []
        for run in (model, model, lambda x: checkpoint(model, x, use_reentrant=False)):
            gradients.append(torch.autograd.grad(run(x).float().square().sum(), x)[0])
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_nothing_outlives_the_input():
    x = torch.randn(3, 4, requires_grad=True)
    with autocast():
        cast = weakref.ref(cast_once(x))
    assert cast() is not None
    del x
    gc.collect()
    assert cast() is None


@pytest.mark.parametrize("case", ["no autocast", "float64", "bfloat16", "inference", "own class"])
def test_other_inputs_come_back_as_they_are(case):
    x = torch.randn(3, 4)
    if case == "inference":
        with torch.inference_mode():
            x = torch.randn(3, 4)
    if case in ("float64", "bfloat16"):
        x = x.to(getattr(torch, case))
    if case == "own class":
        x = nn.Parameter(x)
    with torch.autocast("cpu", torch.bfloat16, enabled=case != "no autocast"):
        assert cast_once(x) is x
