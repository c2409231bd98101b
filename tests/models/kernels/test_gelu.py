"""GELU by the core within an encoder: the definition, where it serves, and where torch's does."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import activations

from hybrid_fast import _core
from hybrid_fast.cpu import choices, ways
from hybrid_fast.models.kernels import gelu as module_of_gelu
from hybrid_fast.models.kernels.encoder import fast_encoder
from hybrid_fast.models.kernels.gelu import gelu


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    monkeypatch.setattr(module_of_gelu, "_FEWEST", 1)
    monkeypatch.setattr(ways, "_chosen", {})


@pytest.fixture(params=["core", "torch"])
def way(request, monkeypatch):
    monkeypatch.setenv(ways.VARIABLE, f"gelu={request.param}")
    return request.param


@pytest.fixture
def by_core(monkeypatch):
    """Shapes that the core's kernel was called with."""
    monkeypatch.setenv(ways.VARIABLE, "gelu=core")
    shapes, compute = [], module_of_gelu._by_core
    monkeypatch.setattr(
        module_of_gelu, "_by_core", lambda x: shapes.append(tuple(x.shape)) or compute(x)
    )
    return shapes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.float16])
@pytest.mark.parametrize("shape", [(1,), (17,), (3, 5, 7), (0, 4), (2, 700)])
def test_equals_the_definition(way, dtype, shape):
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    found, wide = gelu(x), x.double()
    truth = wide * torch.special.ndtr(wide)
    assert (found.dtype, found.shape) == (dtype, x.shape)
    bound = 3e-7 * wide.abs() + torch.finfo(dtype).eps * truth.abs()
    assert ((found.double() - truth).abs() <= bound).all()
    assert {choice.way for choice in choices().values()} <= {way}


def test_strides_and_gaps(by_core):
    x = torch.randn(6, 9)
    for each in (x.T, x[:, ::2], x[1:, 1:]):
        torch.testing.assert_close(gelu(each), F.gelu(each))
    assert by_core == [(9, 6), (6, 5), (5, 8)]


def test_the_faster_way_is_measured():
    gelu(torch.ones(4))
    (choice,) = choices().values()
    assert choice.way in ways.WAYS["gelu"]
    assert choice.source in ("measured", "kept")


class Layers(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.dense, self.act = nn.Linear(8, 8), activation


@pytest.mark.parametrize("activation", [nn.GELU(), activations.GELUActivation()])
def test_an_encoder_takes_it_in_evaluation_without_gradients_alone(by_core, activation):
    model, x = Layers(activation), torch.randn(5, 8)
    with fast_encoder(model.eval()), torch.no_grad():
        torch.testing.assert_close(model.act(x), F.gelu(x))
    assert by_core == [(5, 8)]
    with fast_encoder(model.eval()):
        model.act(x.requires_grad_()).sum().backward()
    with fast_encoder(model.train()), torch.no_grad():  # as the pass that keeps a graph
        assert torch.equal(model.act(x), F.gelu(x))
    assert by_core == [(5, 8)]
    assert type(model.act) in (nn.GELU, activations.GELUActivation)


@pytest.mark.parametrize(
    "activation",
    [nn.GELU("tanh"), activations.GELUActivation(True), activations.ACT2FN["gelu_new"]],
)
def test_other_gelus_stay(by_core, activation):
    model, x = Layers(activation).eval(), torch.randn(5, 8)
    expected, kind = activation(x), type(activation)
    with fast_encoder(model), torch.no_grad():
        assert type(model.act) is kind
        assert torch.equal(model.act(x), expected)
    assert not by_core


def test_arrays_are_checked():
    with pytest.raises(ValueError, match="out"):
        _core.gelu(np.ones(3, np.float32), np.ones(4, np.float32), num_threads=1)
    with pytest.raises((TypeError, ValueError), match="values"):
        _core.gelu(np.ones(3), np.ones(3), num_threads=1)
