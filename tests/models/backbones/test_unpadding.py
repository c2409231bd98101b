"""On the CPU texts lie one after another where that was seen to give the vectors of padded ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from shape_folders import SHAPES, make_folder
from torch.nn import functional

from hybrid_fast.cpu import choices, settle, ways
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones import unpadding
from hybrid_fast.models.compat import attention_of, configs_of_attention
from hybrid_fast.models.kernels.encoder import fast_encoder

# Families that are written for no flash attention, or that transformers gives another attention.
PADDED = {
    "mpnet", "deberta", "deberta-v2", "rembert", "roformer", "xlnet", "t5", "mt5", "umt5",
    "longt5", "switch_transformers", "t5gemma",
}  # fmt: skip
LONG = "river sea " * 9
FEW = ["bert", "xlm-roberta", "distilbert", "modernbert", "gemma3-bidirectional", "qwen3", "gpt2"]


@pytest.fixture
def no_choices(monkeypatch) -> None:
    """Nothing was chosen in this process so far."""
    for name in ("_chosen", "_settled"):
        monkeypatch.setattr(ways, name, {})


def load(name, tmp_path, **options) -> BiEncoder:
    return BiEncoder.from_pretrained(make_folder(name, tmp_path / name), **options)


def embed(model: BiEncoder, texts: list[str], unpadded: bool):
    """Vectors, and gradients of the weights, of a model in its mode."""
    model.zero_grad()
    with fast_encoder(model, unpadded=unpadded):
        features = model.tokenize(texts, "passage")
        assert ("cu_seq_lens" in features) == unpadded
        vectors = model(features)
        vectors[:, 0].float().sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return vectors.detach(), {name: each.clone() for name, each in gradients.items()}


def assert_embeds_alike(model: BiEncoder, texts: list[str]) -> None:
    padded, expected = embed(model, texts, unpadded=False)
    flat, gradients = embed(model, texts, unpadded=True)
    torch.testing.assert_close(flat, padded, rtol=1e-5, atol=2e-6)
    assert gradients.keys() == expected.keys()
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=4e-6 * scale)


def is_sdpa(model: BiEncoder) -> bool:
    """Whether the attention is torch's, and can be another one for a while."""
    configs = configs_of_attention(model)
    return bool(configs) and {attention_of(config) for config in configs} == {"sdpa"}


def load_unpadded(name, tmp_path, **options) -> BiEncoder:
    model = load(name, tmp_path, **options)
    if not is_sdpa(model):
        pytest.skip("this transformers does not let its attention be changed")
    assert model.can_unpad()
    return model


@pytest.mark.parametrize("name", SHAPES)
def test_families(name, texts, tmp_path):
    model = load(name, tmp_path)
    assert model.can_unpad() == (name not in PADDED and is_sdpa(model))
    if not model.can_unpad():
        return
    assert_embeds_alike(model.eval(), [*texts, LONG, "river"])


@pytest.mark.parametrize("pooling", ["cls", "last", "max", "weightedmean", "mean_sqrt_len_tokens"])
@pytest.mark.parametrize("name", FEW)
def test_poolings_in_training_without_dropout(name, pooling, texts, tmp_path):
    model = load_unpadded(name, tmp_path, pooling=pooling, dropout=0.0)
    assert_embeds_alike(model.train(), [*texts, LONG, "river"])


@pytest.mark.parametrize("name", FEW)
def test_encoding_is_unpadded_and_as_each_text_alone(name, texts, tmp_path, monkeypatch):
    model = load_unpadded(name, tmp_path)
    seen, whole = [], type(model).forward
    monkeypatch.setattr(
        type(model), "forward", lambda self, each: seen.append(each) or whole(self, each)
    )
    texts = [*texts, LONG]
    vectors = model.encode_passages(texts)
    assert all("cu_seq_lens" in each and each["input_ids"].shape[0] == 1 for each in seen)
    alone = np.concatenate([model.encode_passages([text]) for text in texts])
    np.testing.assert_allclose(vectors, alone, rtol=1e-5, atol=2e-6)
    states = model.encode(texts, output_value="token_embeddings")
    assert [len(each) for each in states] == [
        model.tokenize([text], "passage")["input_ids"].shape[1] for text in texts
    ]
    assert model.encode_passages([]).shape == (0, model.embedding_dim)
    # Afterwards the model is as it was.
    assert model.backbone.model.config._attn_implementation == "sdpa"
    assert "cu_seq_lens" not in model.tokenize(texts, "passage")


def test_autocast_to_bfloat16(texts, tmp_path):
    model = load("xlm-roberta", tmp_path).eval()
    exact, _ = embed(model, texts, unpadded=False)
    with torch.autocast("cpu", torch.bfloat16):
        flat, _ = embed(model, texts, unpadded=True)
    assert (flat.float() - exact).norm() < 0.02 * exact.norm()


def test_a_model_in_bfloat16_and_one_in_float64(texts, tmp_path):
    assert load("bert", tmp_path, dtype="bfloat16").can_unpad()
    assert not BiEncoder.from_pretrained(tmp_path / "bert", dtype="float64").can_unpad()


def test_an_attention_that_was_chosen_stays(tmp_path):
    model = load("bert", tmp_path)
    assert model.can_unpad()
    model.backbone.model.config._attn_implementation = "eager"
    assert not unpadding.can_unpad(model.backbone)


@pytest.mark.usefixtures("no_choices")
@pytest.mark.parametrize(("asked", "expected"), [("attention=torch", False), ("nt=torch", True)])
def test_torchs_attention_pads_where_it_is_asked_for(tmp_path, monkeypatch, asked, expected):
    monkeypatch.setenv("HYBRID_FAST_WAYS", asked)
    assert load("bert", tmp_path).can_unpad() == expected


def test_adapters(texts, tmp_path):
    model = load("xlm-roberta", tmp_path)
    model.add_adapter({"r": 2, "target_modules": ["query", "value"]})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    assert model.can_unpad()
    assert_embeds_alike(model.eval(), [*texts, LONG])


def test_a_static_encoder_has_nothing_to_pad():
    assert not BiEncoder.static(["river sea"], dim=8, vocab_size=30).can_unpad()


@pytest.mark.parametrize("fault", ["positions", "neighbours", "error"])
def test_a_model_with_ways_of_its_own_stays_padded(fault, texts, tmp_path):
    model = load("bert", tmp_path)
    embeddings = model.backbone.model.embeddings

    def spoil(module, args, options):
        ids = options.get("position_ids")
        if ids is None:
            return None
        if fault == "error":
            raise NotImplementedError("positions")
        if fault == "positions":  # counted through all texts
            options["position_ids"] = torch.arange(ids.shape[1])[None] % 40
        return args, options

    if fault == "neighbours":  # mixes each token with the next, as a convolution does
        embeddings.register_forward_hook(lambda *all: all[-1] + all[-1].roll(1, dims=1).cumsum(1))
    else:
        embeddings.register_forward_pre_hook(spoil, with_kwargs=True)
    model.eval()
    assert not model.can_unpad()
    if fault != "neighbours":
        before = torch.get_rng_state()
        assert model.encode_passages(texts).shape == (len(texts), model.embedding_dim)
        assert torch.equal(torch.get_rng_state(), before)


def test_windows_that_are_too_long_to_try(tmp_path):
    model = load("mistral", tmp_path)
    config = model.backbone.model.config
    assert unpadding.can_unpad(model.backbone)
    config.sliding_window = 2000
    assert unpadding.can_unpad(model.backbone)  # no text reaches it
    config.sliding_window = 255
    assert not unpadding.can_unpad(model.backbone)


def test_the_trial_is_made_once_and_again_for_another_model(tmp_path, monkeypatch):
    model = load("bert", tmp_path)
    trials = []
    monkeypatch.setattr(
        "hybrid_fast.models.backbones.unpadding.can_unpad",
        lambda backbone: bool(trials.append(backbone) or True),
    )
    assert model.can_unpad()
    assert model.can_unpad()
    assert len(trials) == 1
    model.add_adapter({"r": 2, "target_modules": ["query"]})
    assert model.can_unpad()
    assert len(trials) == 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_states_that_leak_a_little_into_the_next_text(dtype, tmp_path):
    model = load("bert", tmp_path, dtype=dtype)
    assert model.can_unpad()

    def leak(module, args, states):
        return states + 0.003 * functional.pad(states, (0, 0, 1, 0))[:, :-1]

    hook = model.backbone.model.encoder.layer[-1].register_forward_hook(leak)
    assert not model.can_unpad()
    hook.remove()
    assert model.can_unpad()


@pytest.mark.usefixtures("no_choices")
def test_what_a_resumed_run_settles_is_followed(tmp_path):
    model = load("bert", tmp_path)
    assert model.can_unpad()
    assert choices()["attention unpadded"].way == "core"
    settle({"attention unpadded": "torch"})  # of a run that asked for it
    assert not model.can_unpad()
    settle({"attention unpadded": "core"})
    assert model.can_unpad()
