"""Whole models without padding by torch's flash attention, for which a stand-in computes here."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import flash_stand_in
import numpy as np
import pytest
import torch
import varlen_stand_in
from shape_folders import make_folder
from torch import nn
from varlen_stand_in import use_stand_in

from hybrid_fast.cpu import ways
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones import unpadding
from hybrid_fast.models.compat import configs_of_attention
from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.models.kernels import flash
from hybrid_fast.models.kernels.encoder import fast_encoder

FEW = ["bert", "xlm-roberta", "modernbert", "gemma3-bidirectional", "qwen3", "gpt2"]
LONG = "river sea " * 9
BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def calls(monkeypatch) -> list[dict]:
    use_stand_in(monkeypatch)
    unpadding._say.cache_clear()
    return varlen_stand_in.calls


def load(name, tmp_path, **options) -> BiEncoder:
    model = BiEncoder.from_pretrained(make_folder(name, tmp_path / name), **options)
    if not configs_of_attention(model):
        pytest.skip("this transformers does not let its attention be changed")
    return model


def autocast(on: bool = True):
    return torch.autocast("cpu", BF16) if on else nullcontext()


def embed(model: BiEncoder, texts: list[str], unpadded: bool):
    """Vectors, and gradients of the weights, of a model in its mode under autocast."""
    model.zero_grad()
    with fast_encoder(model, unpadded=unpadded), autocast():
        features = model.tokenize(texts, "passage")
        assert ("cu_seq_lens" in features) == unpadded
        vectors = model(features)
    vectors[:, 0].float().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return vectors.detach().float(), {name: each.clone() for name, each in gradients.items()}


@pytest.mark.parametrize("name", FEW)
def test_vectors_and_gradients_are_those_of_padded_texts(name, texts, tmp_path, calls):
    model = load(name, tmp_path, dropout=0.0).train()
    with autocast():
        assert model.can_unpad()
    calls.clear()
    padded, expected = embed(model, [*texts, LONG, "river"], unpadded=False)
    assert not calls
    flat, gradients = embed(model, [*texts, LONG, "river"], unpadded=True)
    assert len(calls) >= 2  # layers
    assert (flat - padded).norm() < 0.03 * padded.norm()
    assert gradients.keys() == expected.keys()
    whole = sum(float(each.norm() ** 2) for each in expected.values()) ** 0.5
    apart = sum(float((gradients[each] - expected[each]).norm() ** 2) for each in expected) ** 0.5
    assert apart < 0.06 * whole


@pytest.mark.parametrize("name", FEW)
def test_encoding_is_unpadded(name, texts, tmp_path, calls):
    model = load(name, tmp_path, dtype="bfloat16")
    texts = [*texts, LONG]
    vectors = model.encode_passages(texts)
    assert calls
    assert all(each["rate"] == 0 for each in calls)
    calls.clear()
    alone = np.concatenate([model.encode_passages([text]) for text in texts])
    assert len(calls) >= 2 * len(texts)
    assert np.linalg.norm(vectors - alone) < 0.02 * np.linalg.norm(alone)
    assert model.backbone.model.config._attn_implementation == "sdpa"


def test_token_embeddings_are_no_training(texts, tmp_path, calls):
    model = load("bert", tmp_path, dtype="bfloat16").train()
    set_dropout(model, 0.1)
    model.encode(texts, output_value="token_embeddings")
    assert calls
    assert all(each["rate"] == 0 for each in calls)
    assert model.training


@pytest.mark.parametrize(
    ("dtype", "under_autocast", "expected"),
    [("float32", False, False), ("float32", True, True), ("bfloat16", False, True),
     ("float16", False, True), ("float64", True, False)],
)  # fmt: skip
def test_half_precision_alone_is_unpadded(dtype, under_autocast, expected, tmp_path, texts, calls):
    model = load("bert", tmp_path, dtype=dtype)
    with autocast(under_autocast):
        assert model.can_unpad() == expected
        calls.clear()
        model.encode_passages(texts)
    assert bool(calls) == expected


def test_float32_encoding_between_steps_in_bfloat16(tmp_path, texts, monkeypatch):
    """Each is tried once, however often they take turns."""
    model, trials = load("bert", tmp_path), []
    trial = unpadding.can_unpad
    monkeypatch.setattr(unpadding, "can_unpad", lambda each: trials.append(each) or trial(each))
    for _ in range(3):
        for on in (True, False):
            with autocast(on):
                assert model.can_unpad() == on
    assert len(trials) == 2
    for training in (True, False, True, False):
        with autocast():
            assert model.train(training).can_unpad()
    assert len(trials) == 3


def test_it_is_said_once_why_texts_are_padded(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, unpadding.__name__)
    for number in range(2):
        model = load("bert", tmp_path / str(number))
        assert not model.can_unpad()
        with autocast():
            assert model.can_unpad()
    monkeypatch.setattr(flash, "DEVICES", ("cuda",))
    monkeypatch.setattr(flash, "has_varlen", lambda: False)
    assert unpadding._why_not_here(torch.device("cuda"), BF16) is not None
    assert [record.getMessage() for record in caplog.records] == [
        "Texts are padded on cpu in float32: flash attention takes no float32; bf16=True trains, "
        "and dtype='bfloat16' encodes, without padding.",
        "Texts are not padded on cpu in bfloat16.",
    ]


@pytest.mark.parametrize("device", ["cuda", "mps", "xpu"])
def test_where_torch_lacks_it_the_reason_names_what_has_it(device, monkeypatch):
    monkeypatch.setattr(flash, "DEVICES", ("cuda",))
    monkeypatch.setattr(flash, "has_varlen", lambda: False)
    reason = unpadding._why_not_here(torch.device(device), BF16)
    assert reason is not None
    assert "torch.nn.attention.varlen" in reason


def test_heads_that_flash_attention_does_not_take_stay_padded(tmp_path, texts, caplog, calls):
    caplog.set_level(logging.INFO, unpadding.__name__)
    model = load("bert", tmp_path)
    for layer in model.backbone.model.encoder.layer:
        attention = layer.attention.self
        attention.num_attention_heads, attention.attention_head_size = 8, 4
    with autocast():
        assert not model.can_unpad()
        assert model.encode_passages(texts).shape == (len(texts), model.embedding_dim)
    assert not calls
    assert "a multiple of 8" in caplog.text


def test_dropout_that_torch_lacks_pads_training_alone(tmp_path, monkeypatch, calls):
    monkeypatch.setattr(flash, "has_varlen_dropout", lambda: False)
    model = load("bert", tmp_path)
    set_dropout(model, 0.1)
    with autocast():
        assert model.eval().can_unpad()
        assert not model.train().can_unpad()
        set_dropout(model, 0.0)
        assert model.can_unpad()


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [("deberta-v2", {}, "transformers has no attention without padding for a DebertaV2Model"),
     ("gemma2", {}, "the attention is 'eager', not 'sdpa'"),
     ("bert", {"HYBRID_FAST_WAYS": "attention=torch"}, "HYBRID_FAST_WAYS asks for torch's")],
)  # fmt: skip
def test_the_reason_is_said_of_every_model(name, options, reason, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, unpadding.__name__)
    for each in ("_chosen", "_settled"):
        monkeypatch.setattr(ways, each, {})
    for variable, value in options.items():
        monkeypatch.setenv(variable, value)
    # What a version of transformers chooses for Gemma 2 differs.
    eager = {"attn_implementation": "eager"} if name == "gemma2" else {}
    model = BiEncoder.from_pretrained(make_folder(name, tmp_path), **eager)
    with autocast():
        assert not model.can_unpad()
    assert f"Texts are padded on cpu in bfloat16: {reason}" in caplog.text


@pytest.mark.parametrize("kind", [TypeError, ValueError, torch.OutOfMemoryError, ZeroDivisionError])
def test_whatever_the_trial_raises_pads_texts(kind, tmp_path, texts, caplog, monkeypatch):
    caplog.set_level(logging.INFO, unpadding.__name__)
    model, told = load("bert", tmp_path), []

    def fail(_, args, options) -> None:
        if "cu_seq_lens_q" in options:
            told.append(options)
            raise kind("too much")

    model.backbone.model.register_forward_pre_hook(fail, with_kwargs=True)
    with autocast():
        assert not model.can_unpad()
        assert model.encode_passages(texts).shape == (len(texts), model.embedding_dim)
    assert len(told) == 1
    assert f"without padding the model fails ({kind.__name__}: too much)" in caplog.text


def test_many_layers_may_round_as_much_as_with_another_attention(tmp_path, monkeypatch, calls):
    """And no more: wrong positions are found at the same bounds."""
    model = load("bert", tmp_path)
    monkeypatch.setattr(unpadding, "_TOLERANCES", {BF16: 1e-6})  # as if rounding had added up
    with autocast():
        assert model.can_unpad()
    assert model.backbone.model.config._attn_implementation == "sdpa"
    flat_features = model.backbone._flat_features

    def count_on(*args):
        features = flat_features(*args)
        features["position_ids"] = torch.arange(features["input_ids"].numel())[None]
        return features

    monkeypatch.setattr(model.backbone, "_flat_features", count_on)
    model.backbone.model.register_forward_hook(lambda *_: None)  # it is tried again
    with autocast():
        assert not model.can_unpad()


def test_the_trial_leaves_nothing_behind(tmp_path):
    model = load("bert", tmp_path).train()
    set_dropout(model, 0.2)
    transformer = model.backbone.model
    name = "activation_checkpointing_enable"  # older versions of transformers have the other alone
    enable = getattr(transformer, name, transformer.gradient_checkpointing_enable)
    enable({"use_reentrant": True})
    before = torch.get_rng_state()
    with autocast():
        assert model.can_unpad()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in model.parameters())
    flags = [getattr(each, "gradient_checkpointing", None) for each in transformer.modules()]
    assert True in flags
    assert False not in flags
    assert model.training


def test_the_trial_leaves_buffers(tmp_path):
    class Norm(nn.BatchNorm1d):
        def forward(self, states):
            return super().forward(states.flatten(0, 1)).view_as(states)

    model = load("bert", tmp_path)
    norm = model.backbone.model.encoder.layer[0].output.LayerNorm = Norm(32)
    with autocast():
        assert model.train().can_unpad()
    assert not norm.running_mean.any()
    assert norm.num_batches_tracked == 0


def test_nothing_is_compiled_for_the_trial(tmp_path):
    model, graphs = load("bert", tmp_path), []
    for layer in model.backbone.model.encoder.layer:
        layer.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)
    with autocast():
        assert model.can_unpad()
    assert not graphs


def test_torchs_attention_pads_where_it_is_asked_for(tmp_path, monkeypatch):
    for name in ("_chosen", "_settled"):
        monkeypatch.setattr(ways, name, {})
    monkeypatch.setenv("HYBRID_FAST_WAYS", "attention=torch")
    with autocast():
        assert not load("bert", tmp_path).can_unpad()


def test_a_flash_attention_that_the_model_was_loaded_with_stays(tmp_path, texts, calls):
    model = flash_stand_in.load(make_folder("bert", tmp_path))
    flash_stand_in.seen.clear()
    with autocast():
        assert not model.can_unpad()
        assert model.encode_passages(texts).shape == (len(texts), model.embedding_dim)
    assert flash_stand_in.seen
    assert not calls


def test_windows_are_tried_up_to_the_length_that_a_gpu_takes(tmp_path, monkeypatch):
    model = load("mistral", tmp_path)
    config = model.backbone.model.config
    assert unpadding._lengths(config, 9000, 4099) is not None
    config.sliding_window = 4096
    assert 4099 in unpadding._lengths(config, 9000, unpadding._LONGEST)
    assert unpadding._lengths(config, 9000, unpadding._LONGEST_ON_CPU) is None


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of the compiler itself
@pytest.mark.parametrize("name", ["xlm-roberta", "qwen3"])
def test_a_layer_compiles_once_for_all_packings(name, tmp_path, calls):
    """Other texts, tokens and bounds of lengths are no other graphs, forward and backward."""
    model = load(name, tmp_path).train()
    set_dropout(model, 0.1)
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    layers = [m for m in model.backbone.model.modules() if type(m).__name__.endswith("Layer")]
    assert len(layers) >= 2
    for layer in layers:
        layer.compile(dynamic=True, backend=count)
    calls.clear()
    with fast_encoder(model, unpadded=True), autocast():
        for texts in (["river sea", LONG], ["sea " * 150, LONG, "river"], ["river " * 70] * 2):
            vectors = model(model.tokenize(texts, "passage"))
            vectors.float().sum().backward()
    assert len({each["texts"] for each in calls}) == 2
    assert len(graphs) == 1
    assert all(each["rate"] == pytest.approx(0.1) for each in calls)
