"""Frozen layers in half precision compute below trained ones in float32, with autocast or not."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from copy import deepcopy

import numpy as np
import pytest
import torch
from layered_models import FAMILIES, Encoder, features, make_family
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.layers import find_layers
from hybrid_fast.models.dtypes import widen_trainable

# DeBERTa of transformers 5.4.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script")

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def frozen_below(encoder, number: int, dtype=BF16):
    """Convert an encoder, and freeze its embeddings and so many of its lowest layers."""
    encoder.to(dtype)
    model = encoder.backbone.model
    layers = find_layers(model)
    for name, weight in model.named_parameters():
        weight.requires_grad_("pooler" not in name and layers.depth(name) > number)
    return encoder


def dtypes_by_depth(model) -> dict[int, set[torch.dtype]]:
    layers = find_layers(model)
    dtypes: dict[int, set[torch.dtype]] = {}
    for name, weight in model.named_parameters():
        dtypes.setdefault(layers.depth(name), set()).add(weight.dtype)
    return dtypes


def output_and_gradient(encoder, autocast=None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    encoder.zero_grad()
    with torch.autocast("cpu", autocast) if autocast else nullcontext():
        output = encoder(features())
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    (output.float() * weights).sum().backward()
    gradients = {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}
    return output.detach().float(), gradients


def number_of_hooks(encoder) -> int:
    return sum(len(module._forward_pre_hooks) for module in encoder.modules())


def relative_error(found, expected) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("autocast", [None, BF16], ids=["float32", "autocast"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_and_gradients_are_those_of_float32(family, autocast):
    encoder = frozen_below(Encoder(make_family(family)), 1)
    reference = deepcopy(encoder).float()
    widen_trainable(encoder, autocast)
    kept = dtypes_by_depth(encoder.backbone.model)
    assert kept[0] == kept[1] == {BF16}
    assert kept[2] == kept[3] == {FP32}
    expected, gradients = output_and_gradient(reference)
    output, found = output_and_gradient(encoder, autocast)
    assert relative_error(output, expected) < 0.02
    assert set(found) == set(gradients)
    flat = [torch.cat([g[name].flatten() for name in sorted(g)]) for g in (found, gradients)]
    assert relative_error(*flat) < 0.04


@pytest.mark.parametrize("family", ["bert", "t5", "qwen3"])
def test_all_layers_may_be_frozen_below_a_head(family):
    model = make_family(family).requires_grad_(False)
    encoder = Encoder(model, nn.Linear(32, 8)).to(BF16)
    reference = deepcopy(encoder).float()
    widen_trainable(encoder)
    assert {w.dtype for w in model.parameters()} == {BF16}
    assert {w.dtype for w in encoder.head.parameters()} == {FP32}
    expected, gradients = output_and_gradient(reference)
    output, found = output_and_gradient(encoder)
    assert relative_error(output, expected) < 0.02
    for name, gradient in gradients.items():
        assert relative_error(found[name], gradient) < 0.02


@pytest.mark.parametrize("family", ["modernbert", "qwen3", "t5"])
def test_all_layers_may_be_frozen_below_a_last_normalisation(family):
    encoder = frozen_below(Encoder(make_family(family)), 3)
    reference = deepcopy(encoder).float()
    widen_trainable(encoder)
    kept = dtypes_by_depth(encoder.backbone.model)
    assert [kept[depth] for depth in range(5)] == [{BF16}] * 4 + [{FP32}]
    expected, _ = output_and_gradient(reference)
    output, found = output_and_gradient(encoder)
    assert relative_error(output, expected) < 0.02
    assert len(found) == 1


def test_frozen_weights_above_trained_ones_are_widened():
    encoder = Encoder(make_family("bert")).to(BF16)
    for name, weight in encoder.named_parameters():
        weight.requires_grad_("embeddings" in name)
    widen_trainable(encoder)
    assert {w.dtype for w in encoder.parameters()} == {FP32}


@pytest.mark.parametrize("autocast", [BF16, FP16, None])
def test_weights_of_another_half_than_autocast_are_widened(autocast):
    encoder = frozen_below(Encoder(make_family("bert")), 1, FP16)
    widen_trainable(encoder, autocast)
    kept = dtypes_by_depth(encoder.backbone.model)
    assert kept[1] == ({FP32} if autocast is BF16 else {FP16})
    assert kept[2] == {FP32}
    encoder(features())


def test_layers_thawed_later_are_widened_and_compute_in_float32():
    encoder = frozen_below(Encoder(make_family("t5")), 2)
    reference = deepcopy(encoder).float().requires_grad_(True)
    widen_trainable(encoder)
    hooks = number_of_hooks(encoder)
    widen_trainable(encoder)
    assert number_of_hooks(encoder) == hooks > 0
    encoder(features())
    copied = deepcopy(encoder)
    for model in (encoder, copied):
        model.requires_grad_(True)
        widen_trainable(model)
        torch.testing.assert_close(model(features()), reference(features()))
        assert number_of_hooks(model) == 0  # nothing is left to convert


def test_it_is_said_and_saved_so_that_nothing_trained_is_rounded(
    bert_folder, tmp_path, texts, caplog
):
    encoder = frozen_below(BiEncoder.from_pretrained(bert_folder), 1)
    with caplog.at_level(logging.INFO, logger="hybrid_fast"):
        widen_trainable(encoder)
    assert "21 frozen weights of the encoder stay in half precision" in caplog.text
    top = encoder.backbone.model.encoder.layer[1].output.dense.weight
    with torch.no_grad():
        top.add_(torch.rand(top.shape) * 1e-3)  # what bfloat16 does not hold
    encoder.save_pretrained(tmp_path)
    for dtype in (None, "float32"):
        loaded = BiEncoder.from_pretrained(tmp_path, dtype=dtype)
        assert {w.dtype for w in loaded.parameters()} == {FP32}
        for name, weight in loaded.named_parameters():
            assert torch.equal(weight, encoder.get_parameter(name).float())
        vectors = loaded.encode_queries(texts)
        np.testing.assert_allclose(encoder.encode_queries(texts), vectors, atol=0.02)
    half = BiEncoder.from_pretrained(bert_folder, dtype="bf16")
    half.save_pretrained(tmp_path / "half")
    loaded = BiEncoder.from_pretrained(tmp_path / "half")
    assert {w.dtype for w in loaded.parameters()} == {BF16}
