"""Dropout by the C++ core: torch's semantics, masks that are replayed."""

from __future__ import annotations

import pytest
import torch
from dropout_masks import state_mask
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hybrid_fast.models.kernels import dropout
from hybrid_fast.models.kernels.dropout import Dropout, draw_seed, drop

DTYPES = [torch.float32, torch.bfloat16]


def seeded(seed: int, call, *arguments):
    torch.manual_seed(seed)
    return call(*arguments)


@pytest.fixture
def calls(monkeypatch) -> list[float]:
    """Rates of the calls that reach the kernel."""
    rates = []
    run = dropout._run
    monkeypatch.setattr(
        dropout, "_run", lambda x, rate, seed: rates.append(rate) or run(x, rate, seed)
    )
    return rates


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_kept_numbers_are_scaled_and_as_many_dropped_as_the_rate_says(rate, dtype):
    x = torch.randn(1_000_003).to(dtype)
    x[x == 0] = 1
    out = seeded(1, drop, x, rate)
    kept = out != 0
    assert out.dtype == dtype
    torch.testing.assert_close(
        out[kept],
        (x[kept].float() / (1 - rate)).to(dtype),
        rtol=1e-2 if dtype == torch.bfloat16 else 1e-6,
        atol=0,
    )
    # Five standard deviations of so many independent draws.
    assert abs(float((~kept).double().mean()) - rate) < 5 * (rate * (1 - rate) / len(x)) ** 0.5


def test_entries_seeds_and_calls_are_independent():
    size, rate = 2**20, 0.3
    torch.manual_seed(2)
    ones = torch.ones(size)
    first, second = (drop(ones, rate) != 0 for _ in range(2))
    others = [state_mask(ones.shape, rate, seed) for seed in (0, 1, 2**62)]
    bound = 5 * (rate * (1 - rate)) / size**0.5  # five deviations of the mean product

    def covariance(a, b):
        return float(((a.double() - 0.7) * (b.double() - 0.7)).mean())

    for a, b in [(first, second), (others[0], others[1]), (others[0], others[2])]:
        assert abs(covariance(a, b)) < bound
    for distance in (1, 2, 15, 16, 17, 32, 64, 127, 128, 256, 2**15):
        assert abs(covariance(first[distance:], first[:-distance])) < 1.1 * bound


def test_masks_follow_torchs_seed_and_go_on_from_call_to_call():
    x = torch.ones(500)
    first, again = (seeded(3, drop, x, 0.5) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(drop(x, 0.5), first)
    assert not torch.equal(seeded(4, drop, x, 0.5), first)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (127,), (128, 3), (7, 5, 11), (2, 1, 129)])
def test_a_mask_is_that_of_the_flat_order_in_both_dtypes(shape):
    torch.manual_seed(5)
    seed = draw_seed()
    expected = state_mask(torch.Size(shape), 0.4, seed)
    for dtype in DTYPES:
        out = seeded(5, drop, torch.ones(shape, dtype=dtype), 0.4)
        assert out.shape == shape
        assert torch.equal(out != 0, expected)


def test_memory_layout_and_threads_change_nothing():
    x = torch.randn(300, 400)
    expected = seeded(6, drop, x, 0.2)
    assert torch.equal(seeded(6, drop, x.T.contiguous().T, 0.2), expected)
    assert torch.equal(seeded(6, drop, torch.stack([x, x], 2)[..., 0], 0.2), expected)
    assert torch.equal(seeded(6, drop, x[None].expand(2, -1, -1), 0.2)[0], expected)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(seeded(6, drop, x, 0.2), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_gradient_has_the_mask_of_the_output(dtype):
    x = torch.randn(30, 50).to(dtype).requires_grad_()
    out = seeded(7, drop, x, 0.3)
    (gradient,) = torch.autograd.grad(out, x, torch.ones_like(out).T.contiguous().T)
    kept = out != 0
    assert gradient.dtype == dtype
    assert torch.equal(gradient, (kept / (1 - 0.3)).to(dtype))


def test_the_input_is_not_changed_and_nothing_is_kept_of_it():
    x = torch.ones(1000, requires_grad=True)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        drop(x, 0.5).sum().backward()
    assert not saved
    assert x.detach().eq(1).all()


def test_a_second_derivative_is_refused():
    x = torch.ones(10, requires_grad=True)
    (gradient,) = torch.autograd.grad(drop(x, 0.5).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_draws_the_mask_again(use_reentrant):
    x = torch.ones(1000, requires_grad=True)
    out = checkpoint(lambda y: drop(y * 2, 0.5), x, use_reentrant=use_reentrant)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_all_or_nothing(rate):
    x = torch.tensor([1.0, torch.inf, torch.nan], requires_grad=True)
    out = drop(x, rate)
    out.nansum().backward()
    if rate:
        assert out.eq(0).all()
        assert x.grad.eq(0).all()
    else:
        assert torch.equal(out[:2], x[:2])
        assert out[2].isnan()


def test_what_is_not_a_number_stays_visible_where_it_is_kept():
    x = torch.full((1000,), torch.nan)
    out = seeded(8, drop, x, 0.5)
    kept = seeded(8, drop, torch.ones(1000), 0.5) != 0
    assert torch.equal(out.isnan(), kept)


@pytest.mark.parametrize(
    "x",
    [torch.ones(99, dtype=torch.float64), torch.ones(99, dtype=torch.float16),
     torch.ones(99, device="meta")],
    ids=["float64", "float16", "meta"],
)  # fmt: skip
def test_other_tensors_go_to_torchs_dropout(x, calls):
    out = seeded(9, drop, x, 0.5)
    assert (out.dtype, out.device, out.shape) == (x.dtype, x.device, x.shape)
    assert not calls
    if x.device.type == "cpu":
        assert torch.equal(out, seeded(9, F.dropout, x, 0.5))


def test_torchs_dropout_in_float64_keeps_its_gradient():
    x = torch.randn(20, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: seeded(10, drop, y, 0.5), (x,))


def test_under_compilation_it_is_torchs(calls):
    module = Dropout(0.5)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    assert compiled(torch.ones(1000)).eq(0).any()
    assert not calls


def test_the_module_is_torchs_but_for_its_masks(calls):
    module = Dropout(0.25)
    assert isinstance(module, nn.Dropout)
    assert repr(module) == repr(nn.Dropout(0.25))
    x = torch.ones(100)
    assert module.eval()(x) is x
    assert module.train()(x).eq(0).any()
    assert calls == [0.25]
    module.p = 0.0
    assert torch.equal(module(x), x)
    with pytest.raises(ValueError, match=r"between 0 and 1"):
        Dropout(1.5)


def test_under_autocast_the_dtype_of_the_input_stays():
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in DTYPES:
            assert drop(torch.ones(10, dtype=dtype), 0.5).dtype == dtype
