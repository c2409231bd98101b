"""A step over texts without padding: the gradient of padded ones, replayed to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_cached_step import gradients, make_batches, make_model, make_step, plain_gradients

from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.training.compiled_layers import CompiledLayers
from hybrid_fast.training.model import ContrastiveModel

FOLDERS = ["bert_folder", "xlm_roberta_folder", "qwen_folder"]


def run(model: ContrastiveModel, batches, kept: int, *, steps: int = 2, **options):
    """Losses and gradients of the first steps, and the step."""
    model.zero_grad()
    step = make_step(model, 20, kept, **options)
    torch.manual_seed(3)
    losses = [step(batches[number]) for number in range(steps)]
    return losses, {name: each.clone() for name, each in gradients(model).items()}, step


@pytest.fixture(params=FOLDERS)
def folder(request) -> Path:
    return request.getfixturevalue(request.param)


def test_gradients_are_those_of_padded_texts(folder, tmp_path):
    model = make_model(folder, "float32")
    batches = make_batches(model.encoder, tmp_path)
    assert model.encoder.can_unpad()
    for kept in (0, 30):
        _, found, step = run(model, batches, kept)
        assert step.num_padded == len(batches[1].ids)  # no padding
        expected = plain_gradients(model, [batches[number] for number in range(2)])
        assert found.keys() == expected.keys()
        scale = max(float(each.abs().max()) for each in expected.values())
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("recomputes", [False, True])
def test_with_dropout_both_passes_draw_the_same_masks(folder, tmp_path, recomputes):
    model = make_model(folder, "float32").train()
    set_dropout(model.encoder, 0.2)
    batches = make_batches(model.encoder, tmp_path)
    (loss, _), plain, _ = run(model, batches, 1000)
    if recomputes:
        transformer = model.encoder.backbone.model
        name = "activation_checkpointing_enable"  # the name of transformers 5.23
        enable = getattr(transformer, name, transformer.gradient_checkpointing_enable)
        enable()
    for kept in (0, 30, 1000):
        (again, _), found, step = run(model, batches, kept)
        assert torch.equal(loss, again)
        assert all(torch.equal(found[name], gradient) for name, gradient in plain.items())
        assert step.num_padded == len(batches[1].ids)


def test_frozen_layers(xlm_roberta_folder, tmp_path):
    model = make_model(xlm_roberta_folder, "float32")
    model.encoder.backbone.model.embeddings.requires_grad_(False)
    batches = make_batches(model.encoder, tmp_path)
    _, found, _ = run(model, batches, 0)
    expected = plain_gradients(model, [batches[number] for number in range(2)])
    assert found.keys() == expected.keys()
    assert not any("embeddings" in name for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-6)


def test_a_compiled_encoder_and_float64_stay_padded(bert_folder, tmp_path):
    for dtype in ("float32", "float64"):
        model = make_model(bert_folder, dtype)
        batches = make_batches(model.encoder, tmp_path)
        compiled = CompiledLayers(model.encoder, "eager") if dtype == "float32" else None
        _, _, step = run(model, batches, 0, compiled=compiled)
        assert step.num_padded > len(batches[1].ids)
