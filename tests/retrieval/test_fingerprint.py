"""What tells the vectors of one model from those of another, and what does not."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hashed_corpora import Hashing
from model_folders import bert_folder  # noqa: F401
from sentence_transformers import SentenceTransformer
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.retrieval.fingerprint import Fingerprint, digest


def difference(one: object, other: object) -> str:
    """Return why the fingerprints of two models differ, which is the same both ways."""
    first, second = Fingerprint.of(one), Fingerprint.of(other)
    assert first.difference(first) == second.difference(second) == ""
    found = first.difference(second)
    assert second.difference(first) == found
    return found


@pytest.fixture
def folder(bert_folder):  # noqa: F811
    """A folder whose weights are those of training: of float32, none in half precision."""
    torch.manual_seed(0)
    model = BiEncoder.from_pretrained(bert_folder, dtype="float32")
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.02)
    model.save_pretrained(bert_folder / "trained")
    return bert_folder / "trained"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize("other", ["float32", "bfloat16", "float16"])
def test_a_model_is_one_whatever_it_was_loaded_in(folder, dtype, other):
    models = [BiEncoder.from_pretrained(folder, dtype=each) for each in (dtype, other)]
    assert difference(*models) == ""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sentence_transformer_of_the_folder_is_the_same_model(folder, dtype):
    theirs = SentenceTransformer(str(folder), device="cpu")
    assert difference(BiEncoder.from_pretrained(folder, dtype=dtype), theirs) == ""
    assert difference(BiEncoder.from_sentence_transformer(theirs), theirs) == ""


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_one_step_on_is_another(folder, dtype):
    model = BiEncoder.from_pretrained(folder, dtype="float32")
    before = Fingerprint.of(BiEncoder.from_pretrained(folder, dtype=dtype))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-5)
    model(model.tokenize(["A text of some words."], "passage")).sum().backward()
    optimiser.step()
    assert before.difference(Fingerprint.of(model)) == "their weights differ"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "embed a fixed passage differently"),
        ({"passage_prompt": "many words that are not those of a passage: "}, "differently"),
        ({"truncate_dim": 8}, "their dimensions differ"),
        ({"query_prompt": "query: ", "max_passage_length": 100}, ""),
    ],
)
def test_what_vectors_of_passages_show(folder, options, message):
    models = [BiEncoder.from_pretrained(folder, **each) for each in ({}, options)]
    found = difference(*models)
    assert message in found if message else found == ""


@pytest.mark.filterwarnings("ignore:torch.ao:DeprecationWarning", "ignore:torch.quant:UserWarning")
def test_int8_weights_are_another_model():
    class Linear(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def encode(self, texts):
            return np.ones((len(texts), 2), np.float32)

    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(4, 4, bias=False))
    packed = torch.ao.quantization.quantize_dynamic(layer, {nn.Linear}, torch.qint8)
    other = torch.ao.quantization.quantize_dynamic(
        nn.Sequential(nn.Linear(4, 4, bias=False)), {nn.Linear}, torch.qint8
    )
    models = [Linear(each) for each in (layer, packed, other)]
    assert difference(models[0], models[1]) == "their weights differ"
    assert difference(models[1], models[2]) == "their weights differ"
    assert difference(models[1], models[1]) == ""


def test_shared_matrices_count_once_and_names_do_not():
    one, two = torch.randn(3, 4), torch.randn(4, 3)
    expected = digest([one, two], torch.bfloat16)
    assert digest([two, one.clone(), one], torch.bfloat16) == expected
    assert digest([one, two.reshape(3, 4)], torch.bfloat16) != expected
    assert digest([one, two.T], torch.bfloat16) != expected
    assert digest([one], torch.bfloat16) != expected


def test_weights_of_a_wrapped_model_are_its_own():
    class Wrapper:
        def __init__(self, model):
            self.model = model

        def encode(self, texts):
            return self.model.encode_passages(texts)

    texts = ["some texts of words"]
    one, other = (BiEncoder.static(texts, dim=4, seed=seed) for seed in (0, 1))
    assert difference(Wrapper(one), one) == ""
    assert difference(Wrapper(one), Wrapper(other)) == "their weights differ"


def test_models_without_weights_are_told_by_their_vectors():
    assert difference(Hashing(), Hashing()) == ""
    assert difference(Hashing(), Hashing(4)) == "their dimensions differ"
    assert "cosine of -1.0000" in difference(Hashing(), Hashing(scale=-1))
    assert difference(Hashing(scale=0), Hashing(scale=0)) == ""
    assert "cosine of 0.0000" in difference(Hashing(scale=0), Hashing())


def test_a_model_that_gives_nan_has_none():
    with pytest.raises(ValueError, match="embeddings of fixed texts: row 0 holds NaN"):
        Fingerprint.of(Hashing(scale=np.nan))


def test_it_is_read_as_it_was_written():
    found = Fingerprint.of(BiEncoder.static(["some words"], dim=4))
    assert Fingerprint(**json.loads(json.dumps(asdict(found)))) == found


@pytest.mark.slow
def test_a_real_encoder(real_encoder):
    models = {
        name: BiEncoder.from_pretrained(real_encoder, dtype=name) for name in ("fp32", "bf16")
    }
    models["fp16"] = BiEncoder.from_pretrained(real_encoder, dtype="fp16")
    models["theirs"] = SentenceTransformer(real_encoder, device="cpu")
    found = {name: Fingerprint.of(model) for name, model in models.items()}
    assert {(a, b): found[a].difference(found[b]) for a in found for b in found} == {
        (a, b): "" for a in found for b in found
    }
    plain = Fingerprint.of(BiEncoder.from_pretrained(real_encoder, passage_prompt=""))
    assert "differently" in plain.difference(found["fp32"])
