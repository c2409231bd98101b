"""The static backbone: what it computes, how it starts, and what it refuses."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.static import StaticBackbone, load_static


@pytest.fixture
def model(texts):
    return BiEncoder.static(texts, dim=24, vocab_size=200)


def test_vectors_are_normalised_means_of_token_embeddings(model, texts):
    table = model.backbone.embedding.weight.detach().double().numpy()
    for text, vector in zip(texts, model.encode_passages(texts), strict=True):
        ids = model.backbone.tokenizer.encode(text, add_special_tokens=False).ids
        mean = sum(table[i] for i in ids) / len(ids)
        np.testing.assert_allclose(vector, mean / np.sqrt(mean @ mean), atol=1e-6)


def test_features_are_flat_tokens_and_offsets(model, texts):
    features = model.tokenize(texts, "query")
    ids = [model.backbone.tokenizer.encode(text).ids for text in texts]
    assert features["input_ids"].tolist() == [token for row in ids for token in row]
    assert features["offsets"].tolist() == [sum(map(len, ids[:row])) for row in range(len(ids))]
    assert features["input_ids"].dtype == features["offsets"].dtype == torch.int64


def test_same_seed_same_model_and_other_seed_another(texts):
    one, same, other = (BiEncoder.static(texts, dim=8, vocab_size=99, seed=s) for s in (3, 3, 4))
    assert torch.equal(one.backbone.embedding.weight, same.backbone.embedding.weight)
    assert not torch.equal(one.backbone.embedding.weight, other.backbone.embedding.weight)


def test_global_random_state_is_left_alone(texts):
    state = torch.get_rng_state()
    BiEncoder.static(texts, dim=8, vocab_size=99)
    assert torch.equal(torch.get_rng_state(), state)


def test_idf_scales_rows_and_normal_does_not(texts):
    idf, normal = (
        BiEncoder.static(texts * 3, dim=2000, vocab_size=99, init=init).backbone.embedding.weight
        for init in ("idf", "normal")
    )
    assert normal.norm(dim=1).allclose(torch.ones(len(normal)), atol=0.1)
    assert idf.norm(dim=1).mean().item() == pytest.approx(1, abs=0.05)
    assert idf.norm(dim=1).max() > 1.2 * idf.norm(dim=1).min()
    assert torch.cosine_similarity(idf, normal).allclose(torch.ones(len(idf)))


def test_idf_makes_rare_words_count(texts):
    passages = [f"the {word} of the river is the" for word in ("depth", "length", "colour")]
    model = BiEncoder.static([*passages, *texts] * 4, dim=512, vocab_size=200)
    scores = model.encode_queries(["the length of the the"]) @ model.encode_passages(passages).T
    assert scores.argmax() == 1


def test_backward_reaches_the_tokens_of_the_texts_only(model):
    features = model.tokenize(["the river", "sea"], "query")
    model(features)[:, 0].sum().backward()
    touched = model.backbone.embedding.weight.grad.abs().sum(1).nonzero().flatten().tolist()
    assert touched == sorted(set(features["input_ids"].tolist()))


def test_no_limit_of_length(model):
    assert model.max_length == {}
    assert len(model.tokenize(["river " * 5000], "passage")["input_ids"]) >= 5000
    assert model.num_truncated == {"query": 0, "passage": 0}


def test_punctuation_alone_has_a_vector_and_vowel_signs_alone_are_refused(model):
    assert np.isfinite(model.encode_passages(["?!"])).all()
    with pytest.raises(ValueError, match="has no token"):
        model.encode_passages(["river", "\u064e\u064e"])


def test_blank_training_texts_are_no_harm(texts):
    with_blanks = BiEncoder.static([*texts, "", "  "], dim=8, vocab_size=99)
    assert with_blanks.encode_queries(["the river"]).shape == (1, 8)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"texts": []}, ValueError, "texts holds no text"),
        ({"texts": ["", " "]}, ValueError, "texts holds no text"),
        ({"texts": "the river"}, TypeError, "give a list of texts"),
        ({"texts": ["the", None]}, TypeError, "text 1 is a NoneType"),
        ({"texts": ["the", "a\udc00"]}, ValueError, "text 1 is no valid Unicode"),
        ({"dim": 0}, ValueError, "dim is 0"),
        ({"vocab_size": 3}, ValueError, "vocab_size is 3; it must be at least 16"),
        ({"init": "idff"}, ValueError, "init is 'idff'.*did you mean 'idf'"),
    ],
)
def test_bad_options(texts, options, error, message):
    with pytest.raises(error, match=message):
        BiEncoder.static(**({"texts": texts} | options))


def test_table_smaller_than_the_vocabulary(model):
    tokenizer = Tokenizer.from_str(model.backbone.tokenizer.to_str())
    with pytest.raises(ValueError, match=r"shape \(5, 8\); the tokenizer needs"):
        StaticBackbone(tokenizer, torch.zeros(5, 8))


def test_tokens_that_were_added_need_rows_too(model):
    tokenizer = Tokenizer.from_str(model.backbone.tokenizer.to_str())
    size = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens(["[LAW]"])
    with pytest.raises(ValueError, match=rf"\({size}, 8\); the tokenizer needs \({size + 1}, D\)"):
        StaticBackbone(tokenizer, torch.zeros(size, 8))
    assert StaticBackbone(tokenizer, torch.zeros(size + 1, 8)).vocab_size == size + 1


def test_missing_files(tmp_path, model):
    with pytest.raises(FileNotFoundError, match=r"holds no tokenizer\.json"):
        load_static(tmp_path)
    model.backbone.tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors"):
        load_static(tmp_path)


@pytest.mark.parametrize("file", ["tokenizer.json", "model.safetensors"])
def test_damaged_files(tmp_path, model, file):
    model.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / file).write_text("{")
    with pytest.raises(ValueError, match="saved cannot be loaded"):
        BiEncoder.from_pretrained(tmp_path / "saved")


def test_other_weights(tmp_path, model):
    model.save_pretrained(tmp_path / "saved")
    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "saved" / "model.safetensors")
    with pytest.raises(ValueError, match=r"holds weight; a static encoder needs embedding\.weight"):
        BiEncoder.from_pretrained(tmp_path / "saved")
