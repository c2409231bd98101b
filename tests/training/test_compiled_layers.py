"""Layers of an encoder are compiled once for all of them, and replayed to the bit."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from copy import deepcopy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from test_cached_step import CPU, gradients, make_batches, make_model
from torch import Tensor, nn
from varlen_stand_in import calls, use_stand_in

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.compiled_layers import (
    CompiledLayers,
    compile_layers,
    compiles_whole,
    modules_to_compile,
)
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.timing import COMPILATION, StepTimer

FOLDERS = ["bert_folder", "xlm_roberta_folder", "qwen_folder"]
float32 = partial(torch.autocast, "cpu", enabled=False)
bf16 = partial(torch.autocast, "cpu", torch.bfloat16)


@pytest.fixture(autouse=True)
def nothing_is_compiled_yet() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counting:
    """A backend that compiles nothing and counts the codes that it is given."""

    def __init__(self) -> None:
        self.codes = 0

    def __call__(self, module, inputs):
        self.codes += 1
        return module.forward


def run(model: ContrastiveModel, batches, *, compiled=None, kept=0, micro_batch=20, **options):
    """Losses and gradients of two steps, and the step."""
    model.zero_grad()
    autocast = options.pop("autocast", float32)
    step = CachedStep(
        model, CPU, StepTimer(), autocast,
        Tensor.backward, compiled=compiled, micro_batch_tokens=micro_batch,
        cached_activation_tokens=kept, **options,
    )  # fmt: skip
    torch.manual_seed(3)
    losses = [step(batches[number]) for number in range(2)]
    return losses, {name: each.clone() for name, each in gradients(model).items()}, step


def recompute_activations(encoder: BiEncoder) -> None:
    transformer = encoder.backbone.model
    name = "activation_checkpointing_enable"  # the name of transformers 5.23
    getattr(transformer, name, getattr(transformer, "gradient_checkpointing_enable", None))()


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    scale = max(float(each.norm()) for each in expected.values())
    for name, gradient in expected.items():
        assert float((found[name] - gradient).norm()) < tolerance * scale, name


@pytest.mark.parametrize("name", FOLDERS)
def test_gradients_are_those_of_the_encoder_uncompiled(request, tmp_path, name):
    model = make_model(request.getfixturevalue(name), "float32")
    batches = make_batches(model.encoder, tmp_path)
    losses, expected, _ = run(model, batches, micro_batch=60)
    backend = Counting()
    for kept in (0, 1000):
        compiled = CompiledLayers(model.encoder, backend)
        again, found, _ = run(model, batches, compiled=compiled, kept=kept, micro_batch=60)
        torch.testing.assert_close(again, losses)
        assert_close(found, expected, 1e-5)
    assert backend.codes


def test_new_lengths_and_other_layers_are_not_compiled_anew(xlm_roberta_folder, tmp_path):
    model = make_model(xlm_roberta_folder, "float32").train()
    assert len(model.encoder.backbone.model.encoder.layer) > 1
    batches = make_batches(model.encoder, tmp_path)
    backend = Counting()
    step = run(model, batches, compiled=CompiledLayers(model.encoder, backend), micro_batch=40)[2]
    sizes = {
        micro_batch.features["input_ids"].shape
        for micro_batch in step.micro_batcher.cut(batches[0], 40)
    }
    assert len(sizes) > 2
    # With padding, without, and texts alone.
    assert backend.codes <= 3
    run(model, batches, compiled=CompiledLayers(model.encoder, backend), micro_batch=50)
    assert backend.codes <= 3


def test_texts_without_padding_are_compiled_once(xlm_roberta_folder, tmp_path, monkeypatch):
    use_stand_in(monkeypatch)
    model = make_model(xlm_roberta_folder, "float32").train()
    set_dropout(model.encoder, 0.1)
    batches = make_batches(model.encoder, tmp_path)
    losses, expected, _ = run(model, batches, autocast=bf16)
    backend = Counting()
    compiled = CompiledLayers(model.encoder, backend)
    for kept, micro_batch in ((0, 20), (1000, 20), (0, 50), (30, 33)):
        again, found, step = run(
            model, batches, compiled=compiled, kept=kept, micro_batch=micro_batch, autocast=bf16
        )
        assert step.num_padded == len(batches[1].ids)  # no padding
        if micro_batch == 20:
            assert all(map(torch.equal, again, losses))
            assert all(torch.equal(found[name], each) for name, each in expected.items())
    assert backend.codes == 1
    assert {call["rate"] for call in calls} == {0.1, 0.0}  # and a trial


@pytest.mark.parametrize(
    ("backend", "recomputes"),
    [
        ("eager", False),
        pytest.param("aot_eager", False, marks=pytest.mark.slow),
        pytest.param("aot_eager", True, marks=pytest.mark.slow),
    ],
)
def test_with_dropout_both_passes_draw_the_same_masks(
    xlm_roberta_folder, tmp_path, backend, recomputes
):
    model = make_model(xlm_roberta_folder, "float32").train()
    set_dropout(model.encoder, 0.1)
    if recomputes:
        recompute_activations(model.encoder)
    batches = make_batches(model.encoder, tmp_path)
    compiled = CompiledLayers(model.encoder, backend)
    (loss, _), expected, _ = run(model, batches, compiled=compiled, kept=1000, autocast=bf16)
    for kept in (0, 30):
        (again, _), found, _ = run(model, batches, compiled=compiled, kept=kept, autocast=bf16)
        assert torch.equal(loss, again)
        assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
    set_dropout(model.encoder, 0.0)
    assert run(model, batches, compiled=compiled, autocast=bf16)[0][0] != loss


@pytest.mark.slow
def test_both_passes_give_the_same_embeddings(xlm_roberta_folder, tmp_path, monkeypatch):
    model = make_model(xlm_roberta_folder, "float32").train()
    set_dropout(model.encoder, 0.1)
    embedded: list[Tensor] = []
    model.encoder.register_forward_hook(lambda _, inputs, output: embedded.append(output.detach()))
    with_graph: list[bool] = []
    model.encoder.register_forward_hook(lambda *_: with_graph.append(torch.is_grad_enabled()))
    compiled = CompiledLayers(model.encoder, "aot_eager")
    step = run(model, make_batches(model.encoder, tmp_path), compiled=compiled)[2]
    passes = torch.nn.utils.rnn.pad_sequence([each.flatten() for each in embedded])
    assert passes.isfinite().all()
    batches = make_batches(model.encoder, tmp_path)
    sizes = [len(list(step.micro_batcher.cut(batches[number], 20))) for number in range(2)]
    assert len(embedded) == 2 * sum(sizes)
    for begin, size in ((0, sizes[0]), (2 * sizes[0], sizes[1])):
        for index in range(begin, begin + size):
            assert torch.equal(embedded[index], embedded[index + size])
    assert all(with_graph)


def test_frozen_layers(xlm_roberta_folder, tmp_path):
    model = make_model(xlm_roberta_folder, "float32")
    transformer = model.encoder.backbone.model
    transformer.embeddings.requires_grad_(False)
    transformer.encoder.layer[0].requires_grad_(False)
    batches = make_batches(model.encoder, tmp_path)
    expected = run(model, batches, micro_batch=1000)[1]
    backend = Counting()
    compiled = CompiledLayers(model.encoder, backend)
    found = run(model, batches, compiled=compiled, micro_batch=1000)[1]
    assert not any("embeddings" in name or "layer.0." in name for name in found)
    assert_close(found, expected, 1e-5)


def test_an_adapter(xlm_roberta_folder, tmp_path):
    model = make_model(xlm_roberta_folder, "float32")
    model.encoder.add_adapter({"r": 2, "target_modules": ["query", "value"]}, seed=0)
    for name, parameter in model.encoder.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)
    batches = make_batches(model.encoder, tmp_path)
    expected = run(model, batches, micro_batch=1000)[1]
    backend = Counting()
    compiled = CompiledLayers(model.encoder, backend)
    found = run(model, batches, compiled=compiled, micro_batch=1000)[1]
    assert_close(found, expected, 1e-5)
    assert backend.codes


def test_the_encoder_is_as_it_was_between_steps(xlm_roberta_folder, tmp_path):
    model = make_model(xlm_roberta_folder, "float32")
    names = list(model.state_dict())
    compiled = CompiledLayers(model.encoder, "eager")
    layers = compiled.modules
    own = layers[1].forward = partial(type(layers[1]).forward, layers[1])
    with compiled.running(StepTimer()):
        assert all("forward" in vars(layer) for layer in layers)
        assert list(model.state_dict()) == names
    assert "forward" not in vars(layers[0])
    assert layers[1].forward is own
    del layers[1].forward
    with pytest.raises(KeyError, match="x"), compiled.running(StepTimer()):
        raise KeyError("x")
    assert not any("forward" in vars(layer) for layer in layers)
    pickle.dumps(deepcopy(model.encoder.backbone.model))


def test_how_long_it_took_is_timed_and_said(xlm_roberta_folder, tmp_path, caplog):
    caplog.set_level(logging.INFO, "hybrid_fast")
    model = make_model(xlm_roberta_folder, "float32")
    batches = make_batches(model.encoder, tmp_path)
    step = run(model, batches, compiled=CompiledLayers(model.encoder, "eager"), micro_batch=1000)[2]
    assert step.timer.seconds[COMPILATION] > 0
    assert "s of this step were spent compiling" in caplog.text
    caplog.clear()
    step(batches[0])
    assert "compiling" not in caplog.text
    assert COMPILATION not in run(model, batches)[2].timer.seconds


def test_layers_are_found_by_structure(request, caplog):
    for name in FOLDERS:
        encoder = BiEncoder.from_pretrained(request.getfixturevalue(name))
        model = encoder.backbone.model
        layers = getattr(model, "encoder", model)
        layers = layers.layer if hasattr(layers, "layer") else layers.layers
        assert modules_to_compile(encoder) == list(layers)
        assert not compiles_whole(encoder)
        assert not CompiledLayers(encoder, "eager").is_whole
    assert "as a whole" not in caplog.text


def test_what_has_no_layers_is_compiled_as_a_whole(xlm_roberta_folder, tmp_path, caplog):
    model = make_model(xlm_roberta_folder, "float32")
    batches = make_batches(model.encoder, tmp_path)
    losses, expected, _ = run(model, batches, micro_batch=1000)
    transformer = model.encoder.backbone.model
    transformer.encoder.layer = nn.Sequential(*transformer.encoder.layer)  # no list
    assert compiles_whole(model.encoder)
    backend = Counting()
    compiled = CompiledLayers(model.encoder, backend)
    assert compiled.is_whole
    assert "it is compiled as a whole" in caplog.text
    again, found, _ = run(model, batches, compiled=compiled, micro_batch=1000)
    torch.testing.assert_close(again, losses)
    assert_close(found, expected, 1e-5)
    assert backend.codes


def test_a_static_encoder_has_nothing_to_compile(caplog):
    caplog.set_level(logging.INFO, "hybrid_fast")
    encoder = BiEncoder.static(["a river", "the sea"], dim=8, vocab_size=100)
    assert modules_to_compile(encoder) == []
    assert not CompiledLayers(encoder).is_whole
    assert not compiles_whole(encoder)
    given = {"torch_compile_backend": "eager", "torch_compile_mode": None}
    assert compile_layers(encoder, SimpleNamespace(torch_compile=False, **given)) is None
    assert not caplog.text
    assert compile_layers(encoder, SimpleNamespace(torch_compile=True, **given)) is None
    assert "torch_compile changes nothing" in caplog.text


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_what_a_user_has_compiled_makes_graphs_in_both_passes_too(xlm_roberta_folder, tmp_path):
    model = make_model(xlm_roberta_folder, "float32").train()
    batches = make_batches(model.encoder, tmp_path)
    with_graph: list[bool] = []
    model.encoder.register_forward_hook(lambda *_: with_graph.append(torch.is_grad_enabled()))
    run(model, batches, micro_batch=1000)
    assert set(with_graph) == {False, True}
    with_graph.clear()
    model.encoder.backbone.model.encoder.layer[0].compile(backend=Counting(), dynamic=True)
    run(model, batches, micro_batch=1000)
    assert with_graph
    assert all(with_graph)


def test_large_tables_have_sparse_gradients(xlm_roberta_folder, tmp_path, every_table_is_large):
    model = make_model(xlm_roberta_folder, "float32")
    batches = make_batches(model.encoder, tmp_path)
    expected = run(model, batches)[1]
    step = CachedStep(
        model, CPU, StepTimer(), float32, Tensor.backward,
        compiled=CompiledLayers(model.encoder, "eager"), micro_batch_tokens=20,
        cached_activation_tokens=0,
    )  # fmt: skip
    step.stay_sparse = True
    model.zero_grad()
    torch.manual_seed(3)
    step(batches[0])
    found = gradients(model)
    sparse = {name for name in found if found[name].is_sparse}
    assert any("word_embeddings" in name for name in sparse)
    assert {name for name in expected if "_embeddings" in name} == sparse
    assert expected.keys() == found.keys()
