"""Loading: what it says, what it remembers, and what it refuses."""

import logging
import shutil

import numpy as np
import pytest
import torch
from model_folders import edit_json
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.vocabulary import train_tokenizer
from hybrid_fast.models.devices import check_device


def test_weights_of_another_model(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    edit_json(folder / "config.json", lambda config: config.update(num_hidden_layers=3))
    with pytest.raises(ValueError, match=r"lack .* parameters of a bert, such as encoder.layer.2"):
        BiEncoder.from_pretrained(folder)


def test_missing_pooler_weights_do_not_matter(bert_folder, tmp_path, texts):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    vectors = BiEncoder.from_pretrained(folder).encode_queries(texts)
    np.testing.assert_array_equal(
        vectors, BiEncoder.from_pretrained(bert_folder).encode_queries(texts)
    )


def test_loading_reports_nothing_of_transformers(bert_folder, tmp_path, capfd):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "pooler" not in name}
    kept["cls.predictions.bias"] = torch.zeros(3)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    BiEncoder.from_pretrained(folder)
    assert "pooler" not in capfd.readouterr().err


def test_loading_says_what_is_in_use_in_one_line(bert_folder, tmp_path, texts, caplog):
    options = {"query_prompt": "the ", "passage_prompt": "", "max_query_length": 20}
    with caplog.at_level(logging.INFO, logger="hybrid_fast"):
        BiEncoder.from_pretrained(bert_folder, pooling="cls", dtype="bf16", **options)
        BiEncoder.static(texts, 8, 99, similarity="dot").save_pretrained(tmp_path / "static")
        BiEncoder.from_pretrained(tmp_path / "static", normalize=False)
    assert [record.getMessage() for record in caplog.records] == [
        f"Loaded {bert_folder}: cosine similarity, cls pooling, embeddings of norm 1, query prompt "
        "'the ', passage prompt '', at most 20 and 256 tokens of a query and a passage, bfloat16, "
        "cpu",
        f"Loaded {tmp_path / 'static'}: dot similarity, static, embeddings of any norm, no "
        "prompts, float32, cpu",
    ]


def test_what_was_trusted_and_the_revision_are_remembered(bert_folder):
    model = BiEncoder.from_pretrained(bert_folder, trust_remote_code=True, revision="abc")
    assert (model.trust_remote_code, model.revision) == (True, "abc")
    model = BiEncoder.from_pretrained(bert_folder)
    assert (model.trust_remote_code, model.revision) == (False, None)


def test_a_device_that_is_not_here(bert_folder):
    assert BiEncoder.from_pretrained(bert_folder, device="cpu").device.type == "cpu"
    with pytest.raises(ValueError, match=r"device is 'nowhere'.*give 'cpu', or 'auto'"):
        BiEncoder.from_pretrained(bert_folder, device="nowhere")


def test_auto_is_the_accelerator_of_the_process(monkeypatch):
    assert check_device("auto").type in ("cpu", "cuda", "mps", "xpu")
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "6")
    for found, expected in ((torch.device("cuda"), "cuda:2"), (None, "cpu")):
        monkeypatch.setattr(
            torch.accelerator, "current_accelerator", lambda found=found, **_: found
        )
        assert str(check_device("auto")) == expected


def test_pickled_weights_are_not_read(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"has no \*\.safetensors"):
        BiEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", "{}", "Should have a `model_type`"),
        (
            "config.json",
            '{"model_type": "bart", "is_encoder_decoder": true}',
            "is an encoder-decoder",
        ),
        ("model.safetensors", "garbage", "deserializing header"),
        ("tokenizer.json", "{", "Expecting property name"),
    ],
)
def test_files_that_cannot_be_read(bert_folder, tmp_path, file, content, message):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=f"model cannot be loaded: .*{message}"):
        BiEncoder.from_pretrained(folder)


def test_a_damaged_config_is_named_with_its_line(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    (folder / "config.json").write_text("{x")
    with pytest.raises(ValueError, match=r"model/config.json:1: malformed JSON"):
        BiEncoder.from_pretrained(folder)


def test_no_tokenizer(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(FileNotFoundError, match="model holds no tokenizer"):
        BiEncoder.from_pretrained(folder)


def test_tokenizer_of_another_model(bert_folder, tmp_path, texts):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=train_tokenizer(texts, 300), pad_token="[PAD]", unk_token="[UNK]"
    )
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"has \d+ tokens and the model \d+ embeddings"):
        BiEncoder.from_pretrained(folder)
