"""Linear layers by measured products: torch's results and gradients, in float32's rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hybrid_fast.cpu import products, ways
from hybrid_fast.models.kernels import linear as module_of_linear
from hybrid_fast.models.kernels.encoder import fast_encoder
from hybrid_fast.models.kernels.linear import Linear, linear

available = pytest.mark.parametrize("way", ["torch", "onednn"])


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    """Products of all sizes are ours, and libraries are asked at all sizes."""
    monkeypatch.setattr(module_of_linear, "_FEWEST", 1)
    monkeypatch.setattr(products, "_FEWEST", 1)
    monkeypatch.setattr(ways, "_chosen", {})


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """Products that are asked for, by name."""
    found: list[str] = []

    def watch(name):
        product = getattr(products, name)
        monkeypatch.setattr(products, name, lambda *a: found.append(name) or product(*a))

    for name in ("nt", "nn", "tn"):
        watch(name)
    return found


def make(*shape: int, outputs: int = 7, bias: bool = True) -> tuple[Tensor, nn.Linear]:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(1)
    return torch.randn(shape, generator=generator), nn.Linear(shape[-1], outputs, bias=bias)


def check(x: Tensor, layer: nn.Linear, tolerance: float = 1e-6) -> None:
    """Output and all gradients against the definition in float64."""
    exact = copy.deepcopy(layer).double()
    wide = x.detach().double().requires_grad_()
    truth = F.linear(wide, exact.weight, exact.bias)
    towards = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    (truth * towards).sum().backward()
    x = x.detach().requires_grad_()
    layer.zero_grad()
    out = linear(x, layer.weight, layer.bias)
    assert out.dtype == torch.float32
    (out * towards).sum().backward()
    pairs = [(out, truth), (x.grad, wide.grad)]
    pairs += [(a.grad, b.grad) for a, b in zip(layer.parameters(), exact.parameters(), strict=True)]
    for found, expected in pairs:
        torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=10 * tolerance)


@available
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [(5, 3), (1, 1), (2, 9, 33), (3, 1, 4, 17), (130, 65)], ids=str)
def test_it_is_a_linear_layer_with_all_its_gradients(shape, bias, way, monkeypatch, calls):
    monkeypatch.setenv("HYBRID_FAST_WAYS", way)
    check(*make(*shape, bias=bias))
    assert calls == ["nt", "nn", "tn"]


@available
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.T,
        lambda x: x[:, ::2],
        lambda x: x[1:, 3:11],
        lambda x: x[:, None].expand(12, 4, 12),
        lambda x: x.view(3, 4, 12).transpose(0, 1),
    ],
    ids=["transposed", "steps", "a part", "repeated", "texts and tokens"],
)
def test_inputs_of_any_layout(view, way, monkeypatch, calls):
    monkeypatch.setenv("HYBRID_FAST_WAYS", way)
    x = view(torch.randn(12, 12, generator=torch.Generator().manual_seed(0)))
    check(x, nn.Linear(x.shape[-1], 5))
    assert len(calls) == 3


@available
def test_weights_and_gradients_of_any_layout(way, monkeypatch):
    monkeypatch.setenv("HYBRID_FAST_WAYS", way)
    x, layer = make(6, 8, outputs=8)
    for weight in (layer.weight.data.T, torch.randn(8, 16)[:, ::2], torch.randn(8, 20)[:, 3:11]):
        layer.weight = nn.Parameter(weight)
        check(x, layer)
    x.requires_grad_()
    (ours,) = torch.autograd.grad(linear(x, layer.weight).sum(), x)  # of one number, repeated
    (torchs,) = torch.autograd.grad(F.linear(x, layer.weight).sum(), x)
    torch.testing.assert_close(ours, torchs)


def test_a_bias_that_is_one_number_repeated():
    x, layer = make(6, 8)
    layer.bias = nn.Parameter(torch.tensor([0.5]).expand(7))
    check(x, layer)


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        ("x", ["nt", "nn"]),
        ("weight", ["nt", "tn"]),
        ("bias", ["nt"]),
        ("", ["nt"]),
    ],
)
def test_only_what_is_trained_has_a_gradient_and_is_computed(trained, expected, calls):
    x, layer = make(4, 6)
    tensors = {"x": x, "weight": layer.weight, "bias": layer.bias}
    for name, tensor in tensors.items():
        tensor.requires_grad_(name == trained)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        out = linear(*tensors.values())
    assert out.requires_grad is bool(trained)
    if trained:
        out.square().sum().backward()
    assert calls == expected
    assert [name for name, tensor in tensors.items() if tensor.grad is not None] == trained.split()
    # A frozen weight alone needs its input no more, nor a frozen input its weight.
    kept = {t.data_ptr() for t in saved}
    assert (x.data_ptr() in kept) is (trained == "weight")
    assert (layer.weight.data_ptr() in kept) is (trained == "x")


def test_a_second_derivative_is_torchs():
    x, layer = make(4, 6)
    tensors = [x.double().requires_grad_(), layer.weight.double(), layer.bias.double()]
    expected, found = [], []
    for compute, results, each in (
        (F.linear, expected, [t.detach().requires_grad_() for t in tensors]),
        (linear, found, [t.detach().float().requires_grad_() for t in tensors]),
    ):
        out = compute(*each).pow(3).sum()
        first = torch.autograd.grad(out, each, create_graph=True)
        results += torch.autograd.grad(sum(g.square().sum() for g in first), each)
    for ours, truth in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), truth, rtol=1e-4, atol=1e-4)


def test_checkpointing_and_passes_without_a_graph_repeat_it_to_the_bit():
    x, layer = make(40, 24)
    x.requires_grad_()
    with torch.no_grad():
        first = linear(x, layer.weight, layer.bias)
    second = linear(x, layer.weight, layer.bias)
    third = checkpoint(linear, x, layer.weight, layer.bias, use_reentrant=False)
    assert torch.equal(first, second)
    assert torch.equal(second, third)
    gradients = [torch.autograd.grad(out.sin().sum(), [x, layer.weight]) for out in (second, third)]
    assert all(map(torch.equal, *gradients))


def test_the_output_may_be_changed_in_place():
    x, layer = make(2, 5, 6)
    out = linear(x, layer.weight, layer.bias)
    out += 1
    out.relu_().sum().backward()
    torch.testing.assert_close(
        layer.bias.grad, (F.linear(x, layer.weight, layer.bias) + 1 > 0).float().sum((0, 1))
    )


class Derived(Tensor):
    """A tensor of the user's own."""


@pytest.mark.parametrize("case", ["float64", "bfloat16", "own class", "mixed", "autocast", "small"])
def test_other_tensors_are_torchs(case, calls, monkeypatch):
    x, layer = make(4, 6)
    dtype = {"float64": torch.float64, "bfloat16": torch.bfloat16}.get(case, torch.float32)
    x, layer = x.to(dtype), layer.to(dtype)
    weight = layer.weight
    if case == "own class":
        weight = weight.detach().as_subclass(Derived)
    if case == "small":
        monkeypatch.setattr(module_of_linear, "_FEWEST", 4 * 6 * 7 + 1)
    if case == "mixed":
        with pytest.raises(RuntimeError, match="dtype"):
            linear(x, weight.double(), layer.bias)
    else:
        with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
            out, expected = (f(x, weight, layer.bias) for f in (linear, F.linear))
        assert torch.equal(out, expected)
        assert out.dtype == expected.dtype
    assert not calls


@pytest.mark.parametrize("shape", [(0, 6), (2, 0, 6), (6,)], ids=str)
def test_no_rows_and_one_vector(shape):
    _, layer = make(1, 6)
    x = torch.ones(shape, requires_grad=True)
    out = linear(x, layer.weight, layer.bias)
    assert torch.allclose(out, F.linear(x, layer.weight, layer.bias))
    out.sum().backward()
    assert x.grad.shape == shape
    assert layer.weight.grad.shape == (7, 6)


def test_sizes_that_do_not_fit_are_torchs_error():
    _, layer = make(1, 6)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linear(torch.ones(4, 5), layer.weight, layer.bias)


def test_layers_of_a_model_are_ours_meanwhile_with_their_hooks_and_derived_ones_stay(calls):
    class Own(nn.Linear):
        pass

    hooked, own = nn.Linear(6, 6), Own(6, 6)
    model = nn.ModuleDict({"hooked": hooked, "same": hooked, "own": own, "none": nn.Identity()})
    seen = []
    hooked.register_forward_hook(lambda *_: seen.append("hook"))
    with fast_encoder(model), fast_encoder(model):
        assert type(hooked) is Linear
        assert type(own) is Own
        assert list(model.state_dict()) == [
            *("hooked.weight", "hooked.bias", "same.weight", "same.bias"),
            *("own.weight", "own.bias"),
        ]
        own(hooked(torch.ones(3, 6)))
    assert calls == ["nt"]
    assert seen == ["hook"]
    assert type(hooked) is nn.Linear


def test_autocast_converts_a_frozen_weight_once():
    """To the bits of torch's conversion in every call; a changed weight is converted anew."""
    model = nn.Sequential(nn.Linear(24, 40), nn.GELU(), nn.Linear(40, 8)).requires_grad_(False)
    x = torch.randn(5, 24, requires_grad=True)

    def values() -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            out = model(x)
        return out, torch.autograd.grad(out.sum(), x)[0]

    def assert_same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
        assert found[0].dtype == torch.bfloat16
        assert all(map(torch.equal, found, expected))

    before = values()
    with fast_encoder(model):
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            model(x)
        assert_same(values(), before)
        first = model[0]._converted_weight[-1]
        assert_same(values(), before)
        assert model[0]._converted_weight[-1] is first
        model[0].weight.mul_(2)
        changed = values()
    assert not hasattr(model[0], "_converted_weight")
    assert_same(changed, values())
    assert not torch.equal(changed[0], before[0])


def test_a_compiled_model_is_left_alone(calls):
    model = nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5))
    model.compile(backend="eager")
    with fast_encoder(model):
        assert [type(each) for each in model] == [nn.Linear, nn.Dropout]
    compiled = torch.compile(linear, backend="eager", fullgraph=True)
    x, layer = make(4, 6)
    assert torch.allclose(compiled(x, layer.weight, layer.bias), layer(x))
    assert not calls
