"""Every architecture is trained by its plain gradient, whatever is padded, cached or recomputed."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from shape_folders import DECODERS, SHAPES, make_folder
from test_cached_step import make_batches, make_step
from torch import Tensor
from toy_training import losses, make_transformer_trainer

from hybrid_fast.models import BiEncoder
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training import token_tables
from hybrid_fast.training.lazy_adam import LazyAdamW
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
    rows = np.arange(len(batch.lengths))
    features = model.encoder.backbone.features
    texts = [features(batch.ids, batch.offsets, rows[[row]]) for row in rows]
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
    step(batch)  # the first one also tries whether the model takes texts without padding
    model.zero_grad()
    calls.clear()
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


@pytest.fixture(params=["t5", "gemma3 both ways"])
def calm_folder(request, tmp_path):
    """An encoder without dropout, saved."""
    folder = tmp_path / "calm"
    make_model(request.param, tmp_path).encoder.save_pretrained(folder)
    return folder


def test_lazy_updates_of_its_tables_are_those_of_adamw(calm_folder, tmp_path, monkeypatch):
    """A T5 has a table under two names, of which it looks up in the second."""
    plain = make_transformer_trainer(calm_folder, tmp_path, max_steps=6)
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", 1)
    lazy = make_transformer_trainer(calm_folder, tmp_path, max_steps=6)
    found = losses(lazy)
    assert isinstance(lazy.optimizer.optimizer, LazyAdamW)
    monkeypatch.undo()
    np.testing.assert_allclose(found, losses(plain), rtol=1e-4)


def test_a_run_goes_on_from_its_checkpoint(calm_folder, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 3, "lr_scheduler_type": "constant"}
    whole = make_transformer_trainer(calm_folder, tmp_path / "a", max_steps=6, **options)
    expected = losses(whole)
    again = make_transformer_trainer(calm_folder, tmp_path / "a", max_steps=6, **options)
    again.train(resume_from_checkpoint=str(tmp_path / "a" / "checkpoint-3"))
    history = [entry["loss"] for entry in again.state.log_history if "loss" in entry]
    assert history == expected
    for name, weight in whole.encoder.state_dict().items():
        assert torch.equal(weight, again.encoder.state_dict()[name]), name


def test_a_checkpoint_of_the_other_direction_is_refused(tmp_path):
    folder = make_folder("qwen3", tmp_path / "qwen3")
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    make_transformer_trainer(folder, tmp_path / "run", **options).train()
    turned = tmp_path / "turned"
    BiEncoder.from_pretrained(folder, bidirectional=True, pooling="mean").save_pretrained(turned)
    other = make_transformer_trainer(turned, tmp_path / "run", **options)
    with pytest.raises(ValueError, match=r"bidirectional = False.*this run has .*True"):
        other.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-1"))
