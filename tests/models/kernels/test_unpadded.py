"""Attention over texts one after another: each text as it is alone, in the dtypes of the kernel."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from dropout_masks import attention_mask
from torch import Tensor

from hybrid_fast.models.kernels import unpadded
from hybrid_fast.models.kernels.dropout import draw_seed
from hybrid_fast.models.kernels.unpadded import attend_unpadded

MODULE = SimpleNamespace(is_causal=False, training=True)
LENGTHS = [7, 1, 60, 12]
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0).int()


def states(heads=4, key_heads=4, dim=8, dtype=torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, sum(LENGTHS), each, dim) for each in (heads, key_heads, key_heads)]
    made = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [x.transpose(1, 2).requires_grad_() for x in made]


def define(query, key, value, causal=False, window=None, rate=0.0) -> Tensor:
    """Each text by itself in float64, with the masks that the kernel draws next."""
    groups = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    longest = max(LENGTHS)
    shape = torch.Size([len(LENGTHS), query.shape[1], longest, longest])
    kept = attention_mask(shape, rate, draw_seed()) / (1 - rate) if rate else torch.ones(shape)
    outs = []
    for text, of_text in enumerate(
        zip(*(x.double().split(LENGTHS, 2) for x in (query, key, value)), strict=True)
    ):
        q, k, v = of_text
        places = torch.arange(q.shape[2])
        distances = places[:, None] - places
        seen = torch.ones_like(distances).bool() if window is None else distances.abs() < window
        seen = seen & (distances >= 0) if causal else seen
        scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~seen, -torch.inf)
        drop = kept[text, :, : len(places), : len(places)]
        outs.append(((scores.softmax(-1) * drop) @ v).transpose(1, 2))
    return torch.cat(outs, 1)


def check(inputs, tolerance, *, rate=0.0, causal=False, window=None, **options):
    torch.manual_seed(1)
    truth = define(*inputs, causal, window, rate)
    torch.manual_seed(1)
    out, probabilities = attend_unpadded(
        MODULE, *inputs, None, dropout=rate, is_causal=causal, sliding_window=window,
        cu_seq_lens_q=OFFSETS, max_length_q=99, **options,
    )  # fmt: skip
    assert probabilities is None
    torch.testing.assert_close(out.double(), truth, rtol=tolerance, atol=tolerance)
    towards = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    found = torch.autograd.grad(out, inputs, towards.to(out.dtype))
    for gradient, expected in zip(
        found, torch.autograd.grad(truth, inputs, towards.double()), strict=True
    ):
        assert gradient.dtype == expected.dtype
        torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=2 * tolerance)


@pytest.fixture
def calls(monkeypatch) -> list[dict]:
    """What reaches the kernel."""
    found = []
    kernel = unpadded.drop_attention
    monkeypatch.setattr(
        unpadded,
        "drop_attention",
        lambda *args, **options: found.append(options) or kernel(*args, **options),
    )
    return found


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 1, 5, 200])
def test_each_text_is_attended_by_itself(window, causal, rate, calls):
    check(states(), 1e-5, rate=rate, causal=causal, window=window)
    check(states(6, 2, dim=5), 1e-5, rate=rate, causal=causal, window=window)
    assert len(calls) == 2


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_in_bfloat16_and_under_autocast(rate, calls):
    check(states(dtype=torch.bfloat16), 3e-2, rate=rate, window=5)
    with torch.autocast("cpu", torch.bfloat16):
        check(states(), 3e-2, rate=rate, causal=True)
    assert len(calls) == 2


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 5])
def test_what_the_kernel_does_not_take_goes_to_torch_text_by_text(causal, window, calls):
    check(states(dtype=torch.float64), 1e-12, causal=causal, window=window)
    assert not calls


def test_the_module_tells_the_direction(calls):
    causal = SimpleNamespace(is_causal=True, training=True)
    attend_unpadded(causal, *states(), None, cu_seq_lens_q=OFFSETS)
    attend_unpadded(causal, *states(), None, cu_seq_lens_q=OFFSETS, is_causal=False)
    assert [call["causal"] for call in calls] == [True, False]


def test_without_places_each_row_is_a_text_and_a_mask_of_padding_holds():
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(3, 2, 9, 4, generator=generator) for _ in range(3))
    window = (torch.arange(9)[:, None] - torch.arange(9)).abs() < 3
    scores = query @ key.mT * 4**-0.5
    plain, _ = attend_unpadded(MODULE, query, key, value, None, sliding_window=3)
    expected = scores.masked_fill(~window, -torch.inf).softmax(-1) @ value
    torch.testing.assert_close(plain, expected.transpose(1, 2))
    seen = (torch.arange(9) < torch.tensor([[9], [4], [1]]))[:, None, None]
    padded, _ = attend_unpadded(MODULE, query, key, value, seen)
    expected = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ value
    torch.testing.assert_close(padded, expected.transpose(1, 2))


def test_no_texts_and_offsets_that_do_not_fit():
    empty = [x[:, :, :0] for x in states()]
    out, _ = attend_unpadded(MODULE, *empty, None, cu_seq_lens_q=torch.zeros(1).int())
    assert out.shape == (1, 0, 4, 8)
    for bad in ([0, 3], [0, 50, 40, 80], [1, 80], []):
        with pytest.raises(ValueError, match="offsets must rise from 0 to the 80 rows"):
            attend_unpadded(MODULE, *states(), None, cu_seq_lens_q=torch.tensor(bad).int())
