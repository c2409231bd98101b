"""The gradient cache gives the gradient of the whole batch, held as one graph."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from transformers import XLMRobertaConfig, XLMRobertaModel

from hybrid_fast.models.backbones.pooling import mean_pooling
from hybrid_fast.models.kernels.encoder import fast_encoder
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training import token_tables
from hybrid_fast.training.gradient_cache import Embedded, GradientCache, MicroBatch
from hybrid_fast.training.token_tables import sparse_gradients

LENGTHS = [9, 9, 7, 7, 5, 4, 4, 2, 2, 2, 2]
NUM_QUERIES = 4  # and 4 positives, 3 hard negatives
VOCABULARY = 50
PAD = 1


@pytest.fixture(autouse=True)
def every_table_is_large(monkeypatch):
    """The vocabulary here is small."""
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", 1)


class Encoder(nn.Module):
    def __init__(self, dropout: float = 0.0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(0)
        config = XLMRobertaConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
        self.model = XLMRobertaModel(config, add_pooling_layer=False).to(dtype)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        states = self.model(**features).last_hidden_state
        return nn.functional.normalize(mean_pooling(states, features["attention_mask"]), dim=1)


def make_micro_batches(max_rows: int) -> list[MicroBatch]:
    """Rows in an order that is not the batch's, so that a wrong order shows."""
    generator = torch.Generator().manual_seed(1)
    texts = [torch.randint(2, VOCABULARY, (length,), generator=generator) for length in LENGTHS]
    places = torch.randperm(len(LENGTHS), generator=generator)
    micro_batches = []
    for rows in torch.arange(len(LENGTHS)).split(max_rows):
        ids = nn.utils.rnn.pad_sequence([texts[row] for row in rows], True, PAD)
        features = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
        micro_batches.append(MicroBatch(places[rows], features, ids.numel()))
    return micro_batches


def loss_of(loss: InfoNCELoss, embeddings: Tensor) -> Tensor:
    return loss(embeddings[:NUM_QUERIES], embeddings[NUM_QUERIES:])


def gradients(*modules: nn.Module) -> dict[str, Tensor]:
    return {
        f"{index} {name}": parameter.grad
        for index, module in enumerate(modules)
        for name, parameter in module.named_parameters()
    }


def plain_step(encoder: Encoder, micro_batches: list[MicroBatch]) -> tuple[Tensor, dict]:
    """One graph of all micro-batches; dropout as the cache documents it: seed + index."""
    loss = InfoNCELoss(0.1, learnable=True)
    outputs = []
    for index, micro_batch in enumerate(micro_batches):
        torch.manual_seed(5 + index)
        outputs.append(encoder(micro_batch.features))
    places = torch.cat([micro_batch.rows for micro_batch in micro_batches])
    value = loss_of(loss.to(outputs[0].dtype), torch.cat(outputs)[places.argsort()])
    value.backward()
    return value.detach(), gradients(encoder, loss)


def cached_step(
    encoder: Encoder, micro_batches: list[MicroBatch], max_cached_tokens: int, autocast=nullcontext
) -> tuple[Tensor, dict]:
    loss = InfoNCELoss(0.1, learnable=True).to(next(encoder.parameters()).dtype)
    cache = GradientCache(encoder, autocast)
    with sparse_gradients(encoder):
        embedded = cache.embed(micro_batches, max_cached_tokens, seed=5)
        value = loss_of(loss, embedded.embeddings)
        value.backward()
        cache.back_propagate(embedded)
    return value.detach(), gradients(encoder, loss)


def largest_difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Relative to the norm of each gradient."""
    assert first.keys() == second.keys()
    return max(
        float((first[name] - second[name]).norm() / second[name].norm().clamp(min=1e-12))
        for name in first
        if "key.bias" not in name  # truly zero: a softmax does not see it
    )


def difference(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Relative to the norm of the whole gradient."""
    vectors = [torch.cat([g[name].flatten() for name in second]) for g in (first, second)]
    return float((vectors[0] - vectors[1]).norm() / vectors[1].norm())


@pytest.mark.parametrize("max_cached_tokens", [0, 30, 10**6])
@pytest.mark.parametrize("max_rows", [1, 3, 11])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-13)], ids=str
)
def test_without_dropout_it_is_the_gradient_of_one_big_batch(
    max_rows, max_cached_tokens, dtype, tolerance
):
    value, expected = plain_step(Encoder(dtype=dtype), make_micro_batches(len(LENGTHS)))
    got_value, got = cached_step(
        Encoder(dtype=dtype), make_micro_batches(max_rows), max_cached_tokens
    )
    assert torch.allclose(got_value, value, rtol=tolerance)
    assert difference(got, expected) < tolerance
    assert largest_difference(got, expected) < 10 * tolerance


@pytest.mark.parametrize("kernels", [nullcontext, fast_encoder], ids=["torch's", "ours"])
@pytest.mark.parametrize("max_cached_tokens", [0, 30, 10**6])
def test_with_dropout_both_forward_passes_draw_the_same_masks(max_cached_tokens, kernels):
    micro_batches = make_micro_batches(3)
    plain, cached = Encoder(0.3), Encoder(0.3)
    with kernels(plain):
        value, expected = plain_step(plain, micro_batches)
    with kernels(cached):
        got_value, got = cached_step(cached, micro_batches, max_cached_tokens)
    assert torch.allclose(got_value, value, rtol=1e-6)
    assert largest_difference(got, expected) < 1e-5
    # Dropout is at work: without it the loss is another one.
    assert abs(float(cached_step(Encoder(), micro_batches, 0)[0] - value)) > 1e-3


@pytest.mark.parametrize("kernels", [nullcontext, fast_encoder], ids=["torch's", "ours"])
def test_how_many_graphs_are_kept_changes_no_bit(kernels):
    micro_batches = make_micro_batches(3)
    encoders = [Encoder(0.3) for _ in range(3)]
    steps = []
    for encoder, kept in zip(encoders, (0, 30, 10**6), strict=True):
        with kernels(encoder):
            steps.append(cached_step(encoder, micro_batches, kept))
    for value, found in steps[1:]:
        assert value == steps[0][0]
        assert all(torch.equal(found[name], steps[0][1][name]) for name in found)


def test_graphs_are_kept_within_their_budget():
    micro_batches = make_micro_batches(3)
    sizes = [micro_batch.num_tokens for micro_batch in micro_batches]
    assert sizes == [27, 21, 12, 4]

    def num_graphs(max_cached_tokens: int) -> int:
        return len(GradientCache(Encoder()).embed(micro_batches, max_cached_tokens, 0).graphs)

    assert [num_graphs(tokens) for tokens in (0, 26, 27, 59, 60, 64)] == [0, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("max_cached_tokens", [0, 30, 10**6])
def test_under_autocast_every_weight_gets_its_gradient(max_cached_tokens):
    # A weight that was cast without a graph and then reused would get none.
    def autocast():
        return torch.autocast("cpu", torch.bfloat16)

    _, expected = plain_step(Encoder(), make_micro_batches(len(LENGTHS)))
    _, got = cached_step(Encoder(), make_micro_batches(3), max_cached_tokens, autocast)
    assert 1e-4 < largest_difference(got, expected) < 0.1


def test_the_random_state_goes_on_as_if_no_text_had_been_embedded():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    cached_step(Encoder(0.3), make_micro_batches(3), 30)
    torch.manual_seed(3)
    micro_batches = make_micro_batches(3)
    encoder = Encoder(0.3)
    torch.manual_seed(3)
    GradientCache(encoder).embed(micro_batches, 0, 5)
    assert torch.equal(torch.rand(3), expected)


def test_going_backward_before_the_loss_is_an_error():
    embedded = Embedded([], torch.zeros(1, 2, requires_grad=True), [], 0)
    with pytest.raises(ValueError, match="call backward on the loss first"):
        GradientCache(Encoder()).back_propagate(embedded)
