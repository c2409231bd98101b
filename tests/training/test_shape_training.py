"""Every architecture is trained by its plain gradient, whatever is padded, cached or recomputed."""

from __future__ import annotations

import re

import pytest
import torch
from shape_folders import DECODERS, SHAPES, make_folder
from test_cached_step import make_batches, make_step
from torch import Tensor

from hybrid_fast.models import BiEncoder
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training.model import ContrastiveModel

# What takes no part: fixed sinusoids, and what XLNet has for pairs of texts and for masked words.
IDLE = ("roformer.*embed_positions", "xlnet.*(mask_emb|seg_embed|r_s_bias)")
TURNED = [f"{name} both ways" for name in DECODERS]


def make_model(name: str, tmp_path) -> ContrastiveModel:
    """Return a model in training that draws no random numbers."""
    name, _, turned = name.partition(" ")
    folder = make_folder(name, tmp_path / name)
    options = {"bidirectional": True} if turned else {}
    encoder = BiEncoder.from_pretrained(folder, dropout=0, **options)
    return ContrastiveModel(encoder, InfoNCELoss(0.1)).train()


def gradients(model: ContrastiveModel) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name],
            gradient,
            rtol=1e-4,
            atol=3e-6 * scale,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def one_by_one(model: ContrastiveModel, batch) -> dict[str, Tensor]:
    """Return the gradient of one graph in which no text is padded."""
    ids, offsets = batch.ids.numpy(), batch.offsets.numpy()
    rows = torch.arange(len(batch.lengths)).numpy()
    texts = [model.encoder.backbone.features(ids, offsets, rows[[row]]) for row in rows]
    embeddings = torch.cat([model.encoder(features) for features in texts])
    loss = model.loss(
        embeddings[batch.queries], embeddings[batch.passages], passage_ids=batch.passage_ids
    )
    loss.backward()
    found = gradients(model)
    model.zero_grad()
    return found


@pytest.mark.parametrize("name", [*SHAPES, *TURNED])
def test_a_cached_step_has_the_gradient_of_texts_without_padding(name, tmp_path):
    model = make_model(name, tmp_path)
    batch = make_batches(model.encoder, tmp_path)[0]
    expected = one_by_one(model, batch)
    trained = {each for each, p in model.named_parameters() if p.requires_grad}
    idle = trained - expected.keys()
    assert all(any(re.match(pattern, f"{name} {each}") for pattern in IDLE) for each in idle)
    assert all(gradient.any() for each, gradient in expected.items() if "bias" not in each)
    make_step(model, 60, 100)(batch)
    assert_same(gradients(model), expected)


@pytest.mark.parametrize(
    "name", ["t5", "umt5", "modernbert", "gemma3", "gemma3 both ways", "qwen3"]
)
def test_recomputed_activations_change_no_gradient(name, tmp_path):
    model = make_model(name, tmp_path)
    batch = make_batches(model.encoder, tmp_path)[0]
    step = make_step(model, 60, 0)
    calls: list[int] = []
    linear = next(module for module in model.modules() if isinstance(module, torch.nn.Linear))
    linear.register_forward_hook(lambda *_: calls.append(1))
    step(batch)
    expected, plain_calls = gradients(model), len(calls)
    model.zero_grad()
    calls.clear()
    transformer = model.encoder.backbone.model
    renamed = hasattr(transformer, "activation_checkpointing_enable")
    name = "activation_checkpointing_enable" if renamed else "gradient_checkpointing_enable"
    getattr(model, name)()
    step(batch)
    assert len(calls) == 1.5 * plain_calls  # without gradient, with it, and once more
    assert_same(gradients(model), expected)


def test_the_relative_bias_of_a_t5_is_trained(tmp_path):
    model = make_model("t5", tmp_path)
    batch = make_batches(model.encoder, tmp_path)[0]
    make_step(model)(batch)
    names = [name for name in gradients(model) if "relative_attention_bias" in name]
    assert len(names) == 1  # of the first layer, shared by all
    assert gradients(model)[names[0]].any()
