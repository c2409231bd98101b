"""Frozen layers: which weights they are, and that nothing below the trained ones is touched."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from toy_training import losses, make_args, make_model, make_table, same, weights
from toy_training import make_transformer_trainer as make_trainer

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, HybridTrainingArguments
from hybrid_fast.training.frozen_layers import freeze_layers

RENAMED = "activation_checkpointing" in HybridTrainingArguments.__dataclass_fields__
RECOMPUTE = "activation_checkpointing" if RENAMED else "gradient_checkpointing"


def trained_names(encoder) -> set[str]:
    return {name for name, weight in encoder.named_parameters() if weight.requires_grad}


def parts(encoder) -> set[str]:
    """Return the modules of a BERT that have trained weights: embeddings, layer.0, ..."""
    names = {name.removeprefix("backbone.model.") for name in trained_names(encoder)}
    return {name.split(".")[0] if "layer." not in name else name[8:15] for name in names}


@pytest.mark.parametrize("folder", ["bert_folder", "qwen_folder"])
def test_a_number_freezes_embeddings_and_the_lowest_layers(request, folder):
    path = request.getfixturevalue(folder)
    sizes = []
    for number in (None, 0, 1, 2):
        encoder = BiEncoder.from_pretrained(path)
        freeze_layers(encoder, number)
        sizes.append(len(trained_names(encoder)))
    assert sizes[1] < sizes[0]
    assert sizes[1] - sizes[2] == sizes[2] - sizes[3] > 10
    assert sizes[3] == (1 if "qwen" in folder else 0)  # its last normalisation


@pytest.mark.parametrize(
    ("names", "remaining"),
    [
        (["embeddings"], {"layer.0", "layer.1"}),
        (["embeddings", "layer.0"], {"layer.1"}),
        ([r"layer\.[01]"], {"embeddings"}),
        (["backbone.model.encoder"], {"embeddings"}),
        (["attention.self.query.weight"], {"embeddings", "layer.0", "layer.1"}),
    ],
)
def test_names_freeze_modules_or_weights(bert_folder, names, remaining):
    encoder = BiEncoder.from_pretrained(bert_folder)
    before = trained_names(encoder)
    freeze_layers(encoder, names)
    assert parts(encoder) == remaining
    assert trained_names(encoder) < before


def test_a_name_is_of_whole_parts():
    model = make_model()
    with pytest.raises(ValueError, match="with 'embed'; did you mean 'embedding'"):
        freeze_layers(model, ["embed"])
    freeze_layers(model, ["embed.*"])
    assert not trained_names(model)


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (3, "frozen_layers is 3, and the encoder has 2 layers; give at most so many"),
        (["embedings"], "no weight .* with 'embedings'; did you mean 'embeddings'"),
        (["embeddings", "layer.7"], "with 'layer.7'; did you mean 'layer."),
        (["encoder.layers"], "did you mean 'encoder.layer'"),
        (["xyz"], "with 'xyz'; its names are such as 'backbone.model.embeddings"),
    ],
)
def test_what_there_is_not_is_named(bert_folder, frozen, message):
    encoder = BiEncoder.from_pretrained(bert_folder)
    before = trained_names(encoder)
    with pytest.raises(ValueError, match=message):
        freeze_layers(encoder, frozen)
    assert trained_names(encoder) == before


@pytest.mark.parametrize(
    ("frozen", "error", "message"),
    [
        (-1, ValueError, "frozen_layers is -1; the number of layers"),
        (True, ValueError, "frozen_layers is True; the number of layers"),
        (1.5, ValueError, "frozen_layers is 1.5; the number of layers"),
        ([], ValueError, r"frozen_layers is \[\]; the number"),
        ([1], ValueError, r"frozen_layers is \[1\]; the number"),
        ([" "], ValueError, "or a list of names"),
        ({"a": 1}, ValueError, "or a list of names"),
        (["layer.("], ValueError, r"frozen_layers: 'layer.\(' is no regular expression"),
    ],
)
def test_values_of_other_types(tmp_path, frozen, error, message):
    with pytest.raises(error, match=message):
        make_args(tmp_path, frozen_layers=frozen)
    assert make_args(tmp_path, frozen_layers="embedding").frozen_layers == ["embedding"]


def test_nothing_to_train_is_an_error(bert_folder, tmp_path):
    for model, frozen in (
        (BiEncoder.from_pretrained(bert_folder), 2),
        (make_model(), ["backbone"]),
    ):
        args = make_args(tmp_path, frozen_layers=frozen)
        with pytest.raises(ValueError, match="all weights of the encoder are frozen"):
            HybridTrainer(model, args, make_table())
    with pytest.raises(ValueError, match="frozen_layers is 1: a static encoder has no layers"):
        HybridTrainer(make_model(), make_args(tmp_path, frozen_layers=1), make_table())


def test_adapters_in_frozen_layers_are_frozen_too(bert_folder):
    peft = pytest.importorskip("peft")
    encoder = BiEncoder.from_pretrained(bert_folder)
    config = peft.LoraConfig(r=2, target_modules=["query"])
    peft.inject_adapter_in_model(config, encoder.backbone.model)
    encoder.backbone.model.pooler.requires_grad_(False)
    assert parts(encoder) == {"layer.0", "layer.1"}
    freeze_layers(encoder, 1)
    assert parts(encoder) == {"layer.1"}


def test_a_run_trains_the_others_and_says_how_many(bert_folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="hybrid_fast"):
        trainer = make_trainer(bert_folder, tmp_path, max_steps=3, frozen_layers=1)
    assert "frozen_layers = 1: 16 of 39 weights of the encoder are trained" in caplog.text
    before = weights(BiEncoder.from_pretrained(bert_folder))
    curve = losses(trainer)
    after = weights(trainer.encoder)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == trained_names(trainer.encoder)
    by_hand = make_trainer(bert_folder, tmp_path, max_steps=3)
    for name, weight in by_hand.encoder.named_parameters():
        weight.requires_grad_(name in changed)
    assert losses(by_hand) == curve
    assert same(weights(by_hand.encoder), after)


@pytest.mark.parametrize("cached", [0, 10**6])
def test_the_gradient_cache_holds_no_graph_of_frozen_layers(bert_folder, tmp_path, cached):
    options = {"cached_activation_tokens": cached, "max_steps": 2}
    trainer = make_trainer(bert_folder, tmp_path, frozen_layers=1, **options)
    model = trainer.encoder.backbone.model
    with_graph = {0: False, 1: False}
    saved: list[int] = []
    for number, layer in enumerate(model.encoder.layer):

        def see(_, args, output, number=number):
            hidden = output[0] if isinstance(output, tuple) else output
            with_graph[number] |= hidden.requires_grad

        layer.register_forward_hook(see)
    whole = make_trainer(bert_folder, tmp_path, **options)
    for each in (trainer, whole):
        saved.append(0)

        def count(tensor):
            saved[-1] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            losses(each)
    assert with_graph == {0: False, 1: True}
    assert saved[0] < 0.65 * saved[1]


@pytest.mark.parametrize("frozen", [0, 1])
def test_recomputed_activations_change_no_loss(bert_folder, tmp_path, frozen):
    options = {"max_steps": 4, "frozen_layers": frozen}
    plain = make_trainer(bert_folder, tmp_path, **options)
    again = make_trainer(bert_folder, tmp_path, **options, **{RECOMPUTE: True})
    needs_gradient = []
    layers = again.encoder.backbone.model.encoder.layer
    layers[frozen].register_forward_pre_hook(
        lambda _, args: needs_gradient.append(args[0].requires_grad)
    )
    np.testing.assert_allclose(losses(again), losses(plain), rtol=1e-6)
    assert needs_gradient
    assert not any(needs_gradient)  # nothing is propagated through frozen layers
    moved = weights(again.encoder)
    for name, weight in weights(plain.encoder).items():
        torch.testing.assert_close(moved[name], weight)


# torch warns in the passes without graphs.
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_reentrant_checkpoint_has_gradients_above_frozen_embeddings(bert_folder, tmp_path):
    options = {"max_steps": 3, "frozen_layers": 0}
    reentrant = {RECOMPUTE: True, f"{RECOMPUTE}_kwargs": {"use_reentrant": True}}
    plain = make_trainer(bert_folder, tmp_path, **options)
    again = make_trainer(bert_folder, tmp_path, **options, **reentrant)
    np.testing.assert_allclose(losses(again), losses(plain), rtol=1e-6)


@pytest.mark.parametrize("bf16", [False, True])
def test_frozen_layers_in_half_precision_stay_so_in_a_run(bert_folder, tmp_path, caplog, bf16):
    BiEncoder.from_pretrained(bert_folder, dtype="bf16").save_pretrained(tmp_path / "half")
    BiEncoder.from_pretrained(tmp_path / "half", dtype="float32").save_pretrained(tmp_path / "wide")
    options = {"max_steps": 4, "frozen_layers": 1, "bf16": bf16}
    with caplog.at_level(logging.INFO, logger="hybrid_fast"):
        half = make_trainer(tmp_path / "half", tmp_path, **options, save_strategy="no")
    assert "21 frozen weights of the encoder stay in half precision" in caplog.text
    wide = make_trainer(tmp_path / "wide", tmp_path, **options)
    np.testing.assert_allclose(losses(half), losses(wide), rtol=0.02)
    dtypes = {
        weight.requires_grad: weight.dtype
        for name, weight in half.encoder.named_parameters()
        if "pooler" not in name
    }
    assert dtypes == {True: torch.float32, False: torch.bfloat16}


def test_a_resumed_run_ends_bitwise_as_one_that_was_not_interrupted(bert_folder, tmp_path):
    BiEncoder.from_pretrained(bert_folder, dtype="bf16").save_pretrained(tmp_path / "half")
    options = {"max_steps": 4, "frozen_layers": 1, "save_strategy": "steps", "save_steps": 2}
    first = make_trainer(tmp_path / "half", tmp_path / "run", **options)
    first.train()
    again = make_trainer(tmp_path / "half", tmp_path / "again", **options)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert same(weights(first.encoder), weights(again.encoder))
    other = make_trainer(tmp_path / "half", tmp_path / "other", **{**options, "frozen_layers": 0})
    with pytest.raises(ValueError, match="was trained with frozen_layers = 1, this run has 0"):
        other.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
