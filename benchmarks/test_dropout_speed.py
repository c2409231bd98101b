"""Dropout and attention with dropout on the CPU, and an encoder that has both, beside torch's.

Forward and backward, with the sizes of a micro-batch of 2,048 tokens of an encoder of 384. What
ours computes is compared with its definition in float64 first. "torch, no dropout" is torch's fused
attention, which takes none.
"""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from side_by_side import side_by_side
from torch import Tensor
from torch.nn import functional as F

from hybrid_fast.cpu import emulates
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.kernels.attention import drop_attention
from hybrid_fast.models.kernels.dropout import drop
from hybrid_fast.models.kernels.encoder import fast_encoder

RATE = 0.1
TOKENS, WIDTH, HEADS = 2_048, 384, 12
LENGTHS = [256, pytest.param(64, marks=pytest.mark.full)]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
ROUNDS_S = 5


def there_and_back(x: Tensor, out: Tensor) -> None:
    out.backward(torch.ones_like(out))
    x.grad = None


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_of_states(benchmark, headline, dtype):
    x = torch.randn(TOKENS, WIDTH).to(DTYPES[dtype]).requires_grad_()
    out = drop(x, RATE)
    share = float((out == 0).double().mean())
    assert share == pytest.approx(RATE, abs=0.01)
    expected = torch.where(out == 0, 0, x.double() / (1 - RATE))
    torch.testing.assert_close(out.double(), expected, rtol=1e-2, atol=0)
    ways = {
        "ours": lambda: there_and_back(x, drop(x, RATE)),
        "torch": lambda: there_and_back(x, F.dropout(x, RATE)),
    }
    ours, theirs = side_by_side(benchmark, ways, ROUNDS_S).values()
    headline("dropout", f"{TOKENS:,} x {WIDTH}, {dtype}", "s", ours, {"torch": theirs},
             {"torch": 8})  # fmt: skip


def check_mean_of_masks(query: Tensor, key: Tensor, value: Tensor, scale: float) -> None:
    """The gate: over many masks the output is that of no dropout, which torch computes."""
    few = [x[:1, :2].detach().float() for x in (query, key, value)]
    truth = F.scaled_dot_product_attention(*few, scale=scale).transpose(1, 2)
    draws = torch.stack(
        [drop_attention(*few, None, rate=RATE, scale=scale, causal=False) for _ in range(400)]
    )
    error = (draws.mean(0) - truth).norm() / (draws - truth).square().mean(0).sum().sqrt()
    assert float(error) < 1.5 / len(draws) ** 0.5
    exact = drop_attention(*few, None, rate=0.0, scale=scale, causal=False)
    torch.testing.assert_close(exact, truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention(benchmark, headline, full, dtype, length):
    if dtype == "bf16" and emulates(torch.bfloat16) and not full:
        pytest.skip("this processor emulates bfloat16")
    shape = TOKENS // length, length, HEADS, WIDTH // HEADS
    states = [torch.randn(shape).to(DTYPES[dtype]).transpose(1, 2) for _ in range(3)]
    query, key, value = (x.requires_grad_() for x in states)
    scale = query.shape[-1] ** -0.5
    check_mean_of_masks(query, key, value, scale)
    padding = (torch.arange(length) < length - 3)[None, None, None].expand(
        shape[0], 1, length, length
    )

    def ours() -> None:
        out = drop_attention(query, key, value, padding, rate=RATE, scale=scale, causal=False)
        there_and_back(query, out)
        key.grad = value.grad = None

    def torchs(rate: float) -> None:
        out = F.scaled_dot_product_attention(query, key, value, padding, rate)
        there_and_back(query, out)
        key.grad = value.grad = None

    ways = {"ours": ours, "torch": lambda: torchs(RATE), "torch, no dropout": lambda: torchs(0.0)}
    medians = side_by_side(benchmark, ways, ROUNDS_S)
    headline("dropout", f"attention, {shape[0]} x {length}, {dtype}", "s", medians.pop("ours"),
             medians, {"torch": 4, "torch, no dropout": 1})  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_encoder(benchmark, headline, full, encoder_folders, dtype):
    """Gradients of the weights, 2,048 tokens of texts of 256."""
    if dtype == "bf16" and emulates(torch.bfloat16) and not full:
        pytest.skip("this processor emulates bfloat16")
    encoder = BiEncoder.from_pretrained(encoder_folders[RATE]).train()
    model = encoder.backbone.model
    ids = torch.randint(4, 10_000, (TOKENS // 256, 256))
    states = torch.randn(*ids.shape, WIDTH)

    def step(kernels) -> None:
        with kernels(model), torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            model(inputs_embeds=states).last_hidden_state.float().square().mean().backward()
        model.zero_grad()

    ways = {"ours": lambda: step(fast_encoder), "torch": lambda: step(lambda _: nullcontext())}
    ours, theirs = side_by_side(benchmark, ways, 2 * ROUNDS_S).values()
    layers = model.config.num_hidden_layers
    headline("dropout", f"encoder of {layers} x {WIDTH}, {dtype}", "tokens/s", TOKENS / ours,
             {"torch": TOKENS / theirs}, {"torch": 1.7 if dtype == "bf16" else 1.2})  # fmt: skip
