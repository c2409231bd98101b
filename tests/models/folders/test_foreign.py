"""Folders of other kinds of models are named as what they are, with what to do."""

import json
import shutil

import numpy as np
import pytest
import transformers
from model_folders import SIZES
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.evaluable import load_evaluable
from hybrid_fast.models.folders.foreign import UntrainableChainError


def save(model, bert_folder, folder):
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("BertForSequenceClassification", "a cross-encoder or classifier: .*AutoModel"),
        ("BertForQuestionAnswering", "a reader: .*AutoModel"),
        ("BertForTokenClassification", "a tagger: "),
    ],
)
def test_models_with_a_head_for_another_task(bert_folder, tmp_path, name, message):
    config = transformers.BertConfig.from_pretrained(bert_folder)
    folder = save(getattr(transformers, name)(config), bert_folder, tmp_path / "model")
    with pytest.raises(ValueError, match=f"model is a {name}, {message}"):
        BiEncoder.from_pretrained(folder)


def test_a_masked_language_model_is_an_encoder(bert_folder, tmp_path, texts, caplog):
    config = transformers.BertConfig.from_pretrained(bert_folder)
    folder = save(transformers.BertForMaskedLM(config), bert_folder, tmp_path / "model")
    assert BiEncoder.from_pretrained(folder).encode_queries(texts).shape == (len(texts), 32)
    assert "not used" not in caplog.text


BART = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 90}
VIT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda t: t.BartModel(t.BartConfig(**BART)),
            r"a bart is an encoder-decoder.*encoder alone.*BERT, XLM-R or that of a T5.*Qwen3",
        ),
        (
            lambda t: t.BlenderbotForConditionalGeneration(t.BlenderbotConfig(**BART)),
            "a blenderbot is an encoder-decoder",
        ),
        (lambda t: t.ViTModel(t.ViTConfig(**VIT)), "a vit is a model of images"),
        (
            lambda t: t.Speech2TextModel(t.Speech2TextConfig(**BART, pad_token_id=0)),
            "a speech_to_text is a model of sound",
        ),
    ],
)
def test_other_architectures(bert_folder, tmp_path, make, message):
    folder = save(make(transformers), bert_folder, tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        BiEncoder.from_pretrained(folder)


def test_what_no_chain_here_can_train_is_evaluated(bert_folder, tmp_path, texts):
    """Encoder-decoders whose encoder is not loaded alone, and an encoder without a vocabulary."""
    small = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32}
    bart = transformers.BartModel(transformers.BartConfig(**BART, **small, decoder_ffn_dim=32))
    canine = transformers.CanineModel(transformers.CanineConfig(**SIZES))
    canine.save_pretrained(tmp_path / "canine")
    transformers.CanineTokenizer().save_pretrained(tmp_path / "canine")
    folders = [save(bart, bert_folder, tmp_path / "bart"), tmp_path / "canine"]
    for folder, what in zip(folders, ("alone is not loaded", "no table"), strict=True):
        with pytest.raises(UntrainableChainError, match=f"{what}.*hybrid-fast evaluate {folder}"):
            BiEncoder.from_pretrained(folder)
        theirs = SentenceTransformer(str(folder), device="cpu").encode_document(texts)
        np.testing.assert_array_equal(load_evaluable(folder).encode_document(texts), theirs)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("onnx/model.onnx", "but onnx/model.onnx, weights as ONNX"),
        ("model-q4.gguf", "but model-q4.gguf, weights as GGUF"),
        ("pytorch_model.bin", "but pytorch_model.bin, weights as pickled PyTorch"),
        ("tf_model.h5", "but tf_model.h5, weights as TensorFlow"),
        ("openvino_model.xml", "but openvino_model.xml, weights as OpenVINO"),
    ],
)
@pytest.mark.parametrize("has_config", [True, False])
def test_other_formats(tmp_path, file, message, has_config):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(b"weights")
    if has_config:
        (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(FileNotFoundError, match=message):
        BiEncoder.from_pretrained(tmp_path)


def test_weights_that_its_config_has_no_place_for(bert_folder, tmp_path, caplog):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    BiEncoder.from_pretrained(folder)
    assert r"16 weights in" in caplog.text
    assert "such as encoder.layer.1" in caplog.text
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 40}))
    with pytest.raises(ValueError, match=r"has shape \(48,\), \(40,\) is needed"):
        BiEncoder.from_pretrained(folder)


def test_a_decoder_of_sentence_transformers_with_images_is_refused(tmp_path, bert_folder):
    vision = {**VIT, "intermediate_size": 32, "patch_size": 16}
    text = {"vocab_size": 90, "projection_dim": 8, **SIZES}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision)
    folder = save(transformers.CLIPModel(config), bert_folder, tmp_path / "model")
    with pytest.raises(ValueError, match="a clip is a model of images and texts"):
        BiEncoder.from_pretrained(folder)
