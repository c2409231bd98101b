"""Weights in half precision: loaded as saved or as asked, and widened where they are trained."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.dtypes import check_dtype, dtype_names, widen_trainable

HALF = [torch.float16, torch.bfloat16]


@pytest.fixture(params=["static", "bert_folder", "xlm_roberta_folder", "qwen_folder"])
def folder(request, tmp_path, texts):
    if request.param != "static":
        return request.getfixturevalue(request.param)
    BiEncoder.static(texts, dim=16, vocab_size=200).save_pretrained(tmp_path / "static")
    return tmp_path / "static"


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_loaded_as_saved_and_encodes_on_the_cpu(folder, tmp_path, texts, dtype):
    expected = BiEncoder.from_pretrained(folder).encode_queries(texts)
    BiEncoder.from_pretrained(folder, dtype=dtype).save_pretrained(tmp_path / "half")
    for asked in (None, "auto"):
        half = BiEncoder.from_pretrained(tmp_path / "half", dtype=asked)
        assert {p.dtype for p in half.parameters()} == {dtype}
        embeddings = half.encode_queries(texts)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(embeddings, expected, atol=0.02)


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_widened_when_asked_and_saved_so(folder, tmp_path, dtype):
    BiEncoder.from_pretrained(folder, dtype=dtype).save_pretrained(tmp_path / "half")
    BiEncoder.from_pretrained(tmp_path / "half", dtype="float32").save_pretrained(tmp_path / "wide")
    wide = BiEncoder.from_pretrained(tmp_path / "wide")
    assert {p.dtype for p in wide.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", HALF)
def test_trainable_weights_are_widened_in_place_and_it_is_said(folder, dtype, caplog):
    model = BiEncoder.from_pretrained(folder, dtype=dtype)
    before = {name: tensor.float() for name, tensor in model.state_dict().items()}
    parameters = list(model.parameters())
    with caplog.at_level(logging.INFO, logger="hybrid_fast"):
        widen_trainable(model)
        widen_trainable(model)
    assert all(old is new for old, new in zip(parameters, model.parameters(), strict=True))
    for name, tensor in model.state_dict().items():
        assert tensor.dtype in (torch.float32, torch.int64)
        assert torch.equal(tensor.float(), before[name])
    [message] = [r.getMessage() for r in caplog.records if "widened" in r.getMessage()]
    assert f"from {str(dtype).removeprefix('torch.')} to float32 for training" in message


def test_frozen_weights_stay_below_adapters_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).to(torch.bfloat16)
    model[0].requires_grad_(False)
    model.peft_config = {"default": "LoRA"}
    widen_trainable(model)
    assert [layer.weight.dtype for layer in model] == [torch.bfloat16, torch.float32]
    del model.peft_config
    model[0].to(torch.float16)
    widen_trainable(model)  # without adapters the two layers could not follow one another
    assert dtype_names(model) == "float32"
    assert not model[0].weight.requires_grad


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("bf16", torch.bfloat16),
        ("fp16", torch.float16),
        ("torch.float32", torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_names(name, dtype):
    assert check_dtype(name) == dtype


@pytest.mark.parametrize("name", ["int8", torch.int64, "flaot32"])
def test_other_dtypes(bert_folder, name):
    with pytest.raises(ValueError, match=r"dtype is .*; it must be one of 'auto', 'float32'"):
        BiEncoder.from_pretrained(bert_folder, dtype=name)
