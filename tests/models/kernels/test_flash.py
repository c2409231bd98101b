"""Attention without padding on GPUs: what reaches torch's flash attention, and what comes back.

A stand-in computes here; that torch itself takes these calls is seen by tensors without numbers.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import varlen_stand_in
from torch import Tensor, nn
from varlen_stand_in import use_stand_in

from hybrid_fast.models import compat
from hybrid_fast.models.kernels import flash
from hybrid_fast.models.kernels.unpadded import attend_unpadded

MODULE = SimpleNamespace(is_causal=False, training=True)
LENGTHS = [7, 1, 60, 12]
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0).int()
WIDTHS = {torch.bfloat16: 1.6e-2, torch.float16: 2e-3}  # what rounding leaves of a norm


@pytest.fixture
def calls(monkeypatch) -> list[dict]:
    use_stand_in(monkeypatch)
    return varlen_stand_in.calls


def states(heads=4, key_heads=4, dim=8, dtype=torch.bfloat16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, sum(LENGTHS), each, dim) for each in (heads, key_heads, key_heads)]
    made = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [x.transpose(1, 2).requires_grad_() for x in made]


def define(query, key, value, causal=False, window=None, scale=None) -> Tensor:
    """Each text by itself in float64, (1, T, heads, D)."""
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    outs = []
    for of_text in zip(*(x.double().split(LENGTHS, 2) for x in (query, key, value)), strict=True):
        q, k, v = of_text
        places = torch.arange(q.shape[2])
        distances = places[:, None] - places
        seen = distances.abs() < (window or len(places))
        seen = seen & (distances >= 0) if causal else seen
        scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
        outs.append((scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v).transpose(1, 2))
    return torch.cat(outs, 1)


def attend(inputs, **options) -> Tensor:
    out, probabilities = attend_unpadded(MODULE, *inputs, None, cu_seq_lens_q=OFFSETS, **options)
    assert probabilities is None
    return out


def assert_near(found: Tensor, expected: Tensor, dtype=torch.bfloat16) -> None:
    assert found.shape == expected.shape
    assert (found.double() - expected.double()).norm() <= WIDTHS[dtype] * expected.double().norm()


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 1, 5, 200])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_each_text_is_attended_by_itself(key_heads, window, causal, dtype, calls):
    inputs = states(4, key_heads, dtype=dtype)
    out = attend(inputs, is_causal=causal, sliding_window=window, scaling=0.3, max_length_q=64)
    truth = define(*inputs, causal, window, 0.3)
    assert out.dtype == dtype
    assert_near(out, truth, dtype)
    towards = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    found = torch.autograd.grad(out, inputs, towards)
    for gradient, expected in zip(
        found, torch.autograd.grad(truth, inputs, towards.double()), strict=True
    ):
        assert gradient.dtype == dtype
        assert_near(gradient, expected, dtype)
    left = -1 if window is None else window - 1
    assert [(each["longest"], each["window"]) for each in calls] == [
        (64, (left, 0 if causal else left))
    ]


def test_masks_of_dropout_follow_the_random_state(calls):
    inputs = states()
    outs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outs.append(attend(inputs, dropout=0.4))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
    assert [each["rate"] for each in calls] == [0.4] * 3
    before = torch.get_rng_state()
    attend(inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_autocast_tells_the_dtype(calls):
    inputs = states(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = attend(inputs)
    assert out.dtype == torch.bfloat16
    assert_near(out, define(*inputs))
    assert len(calls) == 1


def test_the_bound_of_lengths_is_all_tokens_unless_it_is_given(calls):
    attend(states())
    assert calls[0]["longest"] == sum(LENGTHS)


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (states(dtype=torch.float32), {}),
        (states(dtype=torch.float64), {}),
        (states(dim=12), {}),
        (states(dim=264), {}),
        (states(4, 3), {}),
        ([*states()[:2], states(dtype=torch.float16)[2]], {}),
        ([*states()[:2], states(dim=16)[2]], {}),
        (states(), {"softcap": 20.0}),
        (states(), {"s_aux": torch.zeros(4)}),
        (states(), {"position_bias": torch.zeros(1)}),
        (states(), {"output_attentions": True}),
    ],
)
def test_what_torch_does_not_compute_is_refused(inputs, options, calls):
    with pytest.raises(NotImplementedError, match="attention without padding on a GPU got"):
        attend(inputs, **options)
    assert not calls


def test_options_that_change_nothing_pass(calls):
    attend(states(dim=256), softcap=None, output_attentions=False, cu_seq_lens_k=OFFSETS)
    assert len(calls) == 1


def test_dropout_that_torch_lacks_is_refused(calls, monkeypatch):
    monkeypatch.setattr(flash, "has_varlen_dropout", lambda: False)
    attend(states())
    with pytest.raises(NotImplementedError, match=r"dropout 0\.1"):
        attend(states(), dropout=0.1)


def test_padded_texts_go_to_the_usual_attention(calls):
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(3, 2, 9, 8, generator=generator) for _ in range(3))
    seen = (torch.arange(9) < torch.tensor([[9], [4], [1]]))[:, None, None]
    window = (torch.arange(9)[:, None] - torch.arange(9)).abs() < 3
    scores = query @ key.mT * 8**-0.5
    for mask, options, visible in ((seen, {}, seen), (None, {"sliding_window": 3}, window)):
        out, _ = attend_unpadded(MODULE, query, key, value, mask, **options)
        expected = scores.masked_fill(~visible, -torch.inf).softmax(-1) @ value
        torch.testing.assert_close(out, expected.transpose(1, 2))
    assert not calls


@pytest.mark.parametrize("rate", [0.0, 0.1])
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (4, 0), (4, 4)])
def test_torch_takes_the_calls(window, key_heads, rate):
    """Its own checks of arguments, forward and backward, on tensors without numbers."""
    assert compat.has_varlen()
    assert compat.has_varlen_dropout()
    q, k, v = (
        torch.empty(80, heads, 8, dtype=torch.bfloat16, device="meta", requires_grad=True)
        for heads in (4, key_heads, key_heads)
    )
    begins = torch.empty(5, dtype=torch.int32, device="meta")
    out = compat.varlen_attention(q, k, v, begins, 64, scale=0.3, window=window, rate=rate)
    assert (out.shape, out.dtype) == (q.shape, q.dtype)
    gradients = torch.autograd.grad(out, (q, k, v), torch.empty_like(out))
    assert [each.shape for each in gradients] == [each.shape for each in (q, k, v)]


@pytest.mark.parametrize("rate", [0.0, 0.1])
def test_a_compiler_takes_it_once_for_all_packings(rate, monkeypatch):
    """In one graph, torch's operators whole in it; other tokens, texts and bounds are no others."""
    monkeypatch.setattr(flash, "DEVICES", ("meta",))
    assert flash.has_varlen()
    projection = nn.Linear(16, 16, device="meta", dtype=torch.bfloat16)
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    def layer(x: Tensor, begins: Tensor, longest: int) -> Tensor:
        q = projection(x).view(1, -1, 2, 8).transpose(1, 2)
        out, _ = attend_unpadded(
            MODULE, q, q[:, :1], q[:, :1], None, dropout=rate, cu_seq_lens_q=begins,
            max_length_q=longest,
        )  # fmt: skip
        return projection(out.reshape(1, -1, 16))

    compiled = torch.compile(layer, dynamic=True, fullgraph=True, backend=count)
    for num_tokens, num_texts, longest in ((10, 3, 64), (25, 5, 128), (7, 2, 256), (33, 9, 64)):
        x = torch.empty(1, num_tokens, 16, device="meta", dtype=torch.bfloat16)
        begins = torch.empty(num_texts + 1, device="meta", dtype=torch.int32)
        assert compiled(x, begins, longest).shape == x.shape
    assert len(graphs) == 1
    names = [str(node.target) for node in graphs[0].graph.nodes]
    assert any("_flash_attention_forward" in each or "_varlen_attn" in each for each in names)
