"""Decoders that attend in both directions: measured, saved, and read by other libraries too."""

import json
import logging

import numpy as np
import pytest
import torch
import transformers
from model_folders import SIZES, TEXTS, edit_json
from shape_folders import DECODERS, SHAPES, make_folder
from transformers import AutoModel

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.direction import turn

LONG = [*TEXTS, "river mountains sea " * 9]  # beyond every sliding window


@pytest.fixture(params=DECODERS, scope="module")
def folder(request, tmp_path_factory):
    return make_folder(request.param, tmp_path_factory.mktemp("bidirectional") / request.param)


def first_states(model, padded):
    """Return the states of the first token of two texts that differ in their last."""
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 9]])
    mask = torch.ones_like(ids)
    if padded:
        ids, mask = (torch.nn.functional.pad(each, (0, 2)) for each in (ids, mask))
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]


@pytest.mark.parametrize("padded", [False, True])
def test_an_early_token_sees_a_later_one_where_it_is_asked_for(folder, padded):
    causal = BiEncoder.from_pretrained(folder)
    both = BiEncoder.from_pretrained(folder, bidirectional=True)
    first, second = first_states(causal.backbone.model, padded)
    torch.testing.assert_close(first, second)
    first, second = first_states(both.backbone.model, padded)
    assert (first - second).abs().max() > 1e-3
    assert (causal.backbone.bidirectional, both.backbone.bidirectional) == (False, True)


def test_neighbours_implementation_and_saving_change_nothing(folder, tmp_path):
    from sentence_transformers import SentenceTransformer

    model = BiEncoder.from_pretrained(folder, bidirectional=True)
    vectors = model.encode_passages(LONG)
    alone = np.concatenate([model.encode_passages([text]) for text in LONG])
    np.testing.assert_allclose(alone, vectors, atol=1e-5)
    eager = BiEncoder.from_pretrained(folder, bidirectional=True, attn_implementation="eager")
    np.testing.assert_allclose(eager.encode_passages(LONG), vectors, atol=1e-5)
    model.save_pretrained(tmp_path / "saved")
    again = BiEncoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_allclose(again.encode_passages(LONG), vectors, atol=1e-6)
    assert again.backbone.bidirectional
    peer = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(peer.encode_document(LONG), vectors, atol=1e-5)
    first, second = first_states(AutoModel.from_pretrained(tmp_path / "saved").eval(), True)
    assert (first - second).abs().max() > 1e-3
    assert model.untrained().backbone.bidirectional

    causal = BiEncoder.from_pretrained(tmp_path / "saved", bidirectional=False, pooling="last")
    assert not causal.backbone.bidirectional
    expected = BiEncoder.from_pretrained(folder, pooling="last").encode_passages(LONG)
    np.testing.assert_allclose(causal.encode_passages(LONG), expected, atol=1e-6)
    causal.save_pretrained(tmp_path / "causal")
    np.testing.assert_allclose(
        BiEncoder.from_pretrained(tmp_path / "causal").encode_passages(LONG), expected, atol=1e-6
    )


def test_gemma_3_halves_its_windows_once_as_its_own_flag_does(tmp_path):
    folder = make_folder("gemma3", tmp_path / "model")
    turned = BiEncoder.from_pretrained(folder, bidirectional=True)
    edit_json(
        folder / "config.json", lambda config: config.update(use_bidirectional_attention=True)
    )
    flagged = BiEncoder.from_pretrained(folder)
    np.testing.assert_array_equal(turned.encode_passages(LONG), flagged.encode_passages(LONG))
    assert turned.backbone.model.config.sliding_window == 4  # of 6
    for _ in range(2):
        turned.save_pretrained(tmp_path / "saved")
        turned = BiEncoder.from_pretrained(tmp_path / "saved", bidirectional=True)
    assert turned.backbone.model.config.sliding_window == 4
    assert json.loads((tmp_path / "saved/config.json").read_text())["sliding_window"] == 6
    causal = BiEncoder.from_pretrained(tmp_path / "saved", bidirectional=False)
    assert causal.backbone.model.config.sliding_window == 6


@pytest.mark.parametrize("name", ["gemma", "gemma2"])
def test_the_flag_of_older_gemmas_holds_with_padding_too(name, tmp_path):
    """Their own code heeds it where nothing is padded."""
    folder = make_folder(name, tmp_path / name)
    expected = BiEncoder.from_pretrained(folder, bidirectional=True).encode_passages(LONG)
    edit_json(
        folder / "config.json", lambda config: config.update(use_bidirectional_attention=True)
    )
    for given in (None, True):
        model = BiEncoder.from_pretrained(folder, bidirectional=given)
        np.testing.assert_allclose(model.encode_passages(LONG), expected, atol=1e-6)
        alone = np.concatenate([model.encode_passages([text]) for text in LONG])
        np.testing.assert_allclose(alone, expected, atol=1e-5)
    causal = BiEncoder.from_pretrained(folder, bidirectional=False)
    causal.save_pretrained(tmp_path / "causal")
    again = BiEncoder.from_pretrained(tmp_path / "causal")
    assert not again.backbone.bidirectional
    first, second = first_states(again.backbone.model, padded=True)
    torch.testing.assert_close(first, second)


def test_pooling_of_plain_folders_follows_the_direction(tmp_path):
    folder = make_folder("llama", tmp_path / "llama")
    for given, pooling in ((True, "mean"), (False, "last"), (None, "mean")):
        model = BiEncoder.from_pretrained(folder, bidirectional=given)
        assert model.backbone.pooling == pooling
    assert BiEncoder.from_pretrained(
        folder, bidirectional=True, pooling="cls"
    ).backbone.pooling == ("cls")

    def is_language_model(config):
        config["architectures"] = ["LlamaForCausalLM"]

    edit_json(folder / "config.json", is_language_model)
    for given, pooling in ((True, "mean"), (False, "last"), (None, "last")):
        model = BiEncoder.from_pretrained(folder, bidirectional=given)
        assert model.backbone.pooling == pooling
    model = BiEncoder.from_pretrained(folder)
    model.save_pretrained(tmp_path / "saved")  # modules.json names a pooling
    again = BiEncoder.from_pretrained(tmp_path / "saved", bidirectional=True)
    assert again.backbone.pooling == "last"


def test_it_is_said_when_loaded(tmp_path, caplog):
    folder = make_folder("qwen3", tmp_path / "model")
    with caplog.at_level(logging.INFO, logger="hybrid_fast"):
        BiEncoder.from_pretrained(folder, bidirectional=True)
    assert "cosine similarity, attention in both directions, mean pooling" in caplog.text


@pytest.mark.parametrize("name", ["bert", "xlnet", "modernbert", "t5", "switch_transformers"])
def test_encoders_attend_in_both_directions_and_only_so(name, tmp_path):
    folder = make_folder(name, tmp_path / name)
    plain = BiEncoder.from_pretrained(folder)
    model = BiEncoder.from_pretrained(folder, bidirectional=True)
    np.testing.assert_array_equal(model.encode_queries(TEXTS), plain.encode_queries(TEXTS))
    assert not hasattr(model.backbone.model.config, "is_causal")
    with pytest.raises(ValueError, match=r"bidirectional is False, and a .* is an encoder"):
        BiEncoder.from_pretrained(folder, bidirectional=False)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_turned_too(dtype, tmp_path):
    folder = make_folder("qwen3", tmp_path / "model")
    wide = BiEncoder.from_pretrained(folder, bidirectional=True).encode_queries(LONG)
    half = BiEncoder.from_pretrained(folder, bidirectional=True, dtype=dtype).encode_queries(LONG)
    np.testing.assert_allclose(half, wide, atol=0.1)


@pytest.mark.parametrize("given", ["yes", 1, "causal"])
def test_something_else_than_a_direction(given, tmp_path):
    with pytest.raises(ValueError, match=r"bidirectional is .*; it must be True, False or None"):
        BiEncoder.from_pretrained(make_folder("llama", tmp_path / "m"), bidirectional=given)


def test_attention_that_cannot_be_turned():
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "num_layers": 2, "num_heads": 4}
    config = transformers.GPTNeoConfig(**sizes, attention_types=[[["global", "local"], 1]])
    with pytest.raises(ValueError, match="the attention of a gpt_neo stays causal"):
        turn(transformers.GPTNeoModel(config), bidirectional=True)


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("IBert", SIZES),
        ("Reformer", {"attn_layers": ["local"], "hidden_size": 32, "axial_pos_embds": False}),
    ],
)
def test_attention_that_cannot_be_measured(family, config):
    config = getattr(transformers, f"{family}Config")(vocab_size=64, **config)
    model = getattr(transformers, f"{family}Model")(config).eval()
    with pytest.raises(ValueError, match=r"does not tell which way its attention goes .* leave it"):
        turn(model, bidirectional=True)


def test_flash_attention_is_not_needed_to_try():
    model = SHAPES["qwen3"].build()
    model.config._attn_implementation = "flash_attention_2"  # which needs a GPU
    turn(model, bidirectional=True)
    assert model.config._attn_implementation == "flash_attention_2"
    assert model.config.is_causal is False


def test_a_static_encoder_has_no_direction(tmp_path, texts):
    BiEncoder.static(texts, 8, 99).save_pretrained(tmp_path / "static")
    with pytest.raises(ValueError, match="is a static encoder, which has no bidirectional"):
        BiEncoder.from_pretrained(tmp_path / "static", bidirectional=True)
