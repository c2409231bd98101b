"""Modules after pooling, in any order: vectors of sentence-transformers, saved and read again."""

import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from chain_folders import DIM, assert_same_vectors, static_chain, transformer_chain
from model_folders import edit_json
from safetensors.torch import load_file, save_file
from sentence_transformers.sentence_transformer import modules as st
from shape_folders import make_folder
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.folders.foreign import UntrainableChainError
from hybrid_fast.models.head.modules import Dense, LayerNorm


def dense(size_in, size_out, activation=None, **options):
    return st.Dense(size_in, size_out, activation_function=activation, **options)


CHAINS = {
    "labse": lambda: [dense(DIM, DIM, nn.Tanh()), st.Normalize()],
    "distiluse": lambda: [dense(DIM, 12, nn.Tanh())],
    "sentence-t5": lambda: [dense(DIM, 24, bias=False), st.Normalize()],
    "embedding-gemma": lambda: [
        dense(DIM, 48, bias=False), dense(48, DIM, bias=False), st.Normalize()
    ],
    "layer norm": lambda: [st.LayerNorm(DIM), dense(DIM, 16, nn.ReLU())],
    "normalised before": lambda: [st.Normalize(), dense(DIM, 16, nn.GELU()), st.Dropout(0.5)],
    "normalised twice": lambda: [st.Normalize(), st.Normalize()],
    "residual": lambda: [dense(DIM, DIM, nn.SiLU(), use_residual=True)],
    "residual, projected": lambda: [dense(DIM, 8, nn.PReLU(), use_residual=True)],
}  # fmt: skip
KINDS = ["transformer", "static"]


def saved_by_st(kind, bert_folder, texts, folder, head):
    if kind == "static":
        return static_chain(texts, folder, *head)
    return transformer_chain(bert_folder, folder, *head)


def assert_round_trip(folder, texts, saved):
    model = BiEncoder.from_pretrained(folder)
    assert_same_vectors(model, folder, texts)
    model.save_pretrained(saved)
    assert_same_vectors(model, saved, texts)
    again = BiEncoder.from_pretrained(saved)
    np.testing.assert_array_equal(again.encode_queries(texts), model.encode_queries(texts))
    assert (again.embedding_dim, again.normalize) == (model.embedding_dim, model.normalize)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_known_families(bert_folder, texts, tmp_path, name, kind):
    folder = saved_by_st(kind, bert_folder, texts, tmp_path / "st", CHAINS[name]())
    model = assert_round_trip(folder, texts, tmp_path / "ours")
    names = [type(module).__name__ for module in CHAINS[name]()]
    is_last = names[-1] == "Normalize"
    assert [type(module).__name__ for module in model.head] == names[: len(names) - is_last]
    assert model.normalize == is_last


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["dense", "norm", "dropout", "normalize"])), ids="-".join
)
def test_every_order(texts, tmp_path, order):
    make = {
        "dense": lambda: dense(DIM, DIM, nn.Sigmoid()),
        "norm": lambda: st.LayerNorm(DIM),
        "dropout": lambda: st.Dropout(0.3),
        "normalize": st.Normalize,
    }
    folder = static_chain(texts, tmp_path / "st", *(make[name]() for name in order))
    assert_round_trip(folder, texts, tmp_path / "ours")


@pytest.mark.parametrize("shape", ["t5", "gemma3-bidirectional", "qwen3", "modernbert"])
def test_heads_of_other_shapes(texts, tmp_path, shape):
    encoder = make_folder(shape, tmp_path / "plain")
    folder = transformer_chain(encoder, tmp_path / "st", *CHAINS["embedding-gemma"]())
    assert_round_trip(folder, texts, tmp_path / "ours")


def test_a_head_may_be_put_on(bert_folder, texts, tmp_path):
    model = BiEncoder.from_pretrained(bert_folder)
    model.head.append(Dense(model.embedding_dim, 16, activation=nn.ReLU(), use_residual=True))
    model.head.append(LayerNorm(model.embedding_dim))
    assert model.embedding_dim == 16
    model.save_pretrained(tmp_path / "saved")
    assert_same_vectors(model, tmp_path / "saved", texts)
    model.head.append(nn.Linear(16, 8))
    with pytest.raises(TypeError, match="the head holds a Linear, which is not saved; take Dense,"):
        model.save_pretrained(tmp_path / "saved")


def test_the_folders_are_those_of_sentence_transformers(bert_folder, tmp_path):
    head = [st.Normalize(), dense(DIM, 16), st.LayerNorm(16), st.Normalize()]
    folder = transformer_chain(bert_folder, tmp_path / "st", *head)
    model = BiEncoder.from_pretrained(folder)
    model.save_pretrained(tmp_path / "ours")
    theirs, ours = (
        json.loads((each / "modules.json").read_text()) for each in (folder, tmp_path / "ours")
    )
    assert [(m["path"], m["type"]) for m in ours] == [(m["path"], m["type"]) for m in theirs]
    for place in ("3_Dense", "4_LayerNorm"):
        found, expected = (
            load_file(f / place / "model.safetensors") for f in (folder, tmp_path / "ours")
        )
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)
    assert list(model.modules_by_folder()) == ["", "3_Dense", "4_LayerNorm"]
    assert model.modules_by_folder()["3_Dense"] is model.head[1]


def test_dtype_device_and_widening_cover_the_head(bert_folder, texts, tmp_path):
    from hybrid_fast.models.dtypes import widen_trainable

    folder = transformer_chain(bert_folder, tmp_path / "st", dense(DIM, 16), st.LayerNorm(16))
    expected = BiEncoder.from_pretrained(folder).encode_queries(texts)
    model = BiEncoder.from_pretrained(folder, dtype="bf16")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    vectors = model.encode_queries(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=0.1)
    model.save_pretrained(tmp_path / "half")
    again = BiEncoder.from_pretrained(tmp_path / "half")
    assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
    np.testing.assert_array_equal(again.encode_queries(texts), vectors)
    widen_trainable(model)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_head_in_float32_over_a_frozen_backbone_in_half_precision(bert_folder, texts, tmp_path):
    folder = transformer_chain(bert_folder, tmp_path / "st", dense(DIM, 16), st.LayerNorm(16))
    model = BiEncoder.from_pretrained(folder, dtype="bf16")
    model.head.float()
    model(model.tokenize(texts, "query")).sum().backward()
    assert model.head[0].linear.weight.grad.dtype == torch.float32


def test_untrained_has_a_fresh_head_of_its_seed(bert_folder, texts, tmp_path):
    folder = transformer_chain(bert_folder, tmp_path / "st", dense(DIM, 16, nn.ReLU()))
    model = BiEncoder.from_pretrained(folder)
    before = model.head[0].linear.weight.clone()
    state = torch.get_rng_state()
    one, same, other = (model.untrained(seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.embedding_dim == 16
    assert isinstance(one.head[0].activation_function, nn.ReLU)
    weights = [each.head[0].linear.weight for each in (one, same, other, model)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])
    assert torch.equal(model.head[0].linear.weight, before)


def test_dropout_acts_in_training_alone(bert_folder, texts, tmp_path):
    folder = transformer_chain(bert_folder, tmp_path / "st", st.Dropout(0.5))
    model = BiEncoder.from_pretrained(folder)
    features = model.tokenize(texts, "query")
    assert (model.train()(features) == 0).any()
    assert not (model.eval()(features) == 0).any()


def test_the_description_tells_of_the_head(bert_folder, tmp_path, caplog):
    head = [dense(DIM, 16, nn.ReLU(), use_residual=True), st.LayerNorm(16), st.Dropout(0.5)]
    folder = transformer_chain(bert_folder, tmp_path / "st", *head, st.Normalize(), st.Normalize())
    with caplog.at_level("INFO", logger="hybrid_fast"):
        BiEncoder.from_pretrained(folder)
    assert (
        "mean pooling, Dense to 16 (ReLU, residual), LayerNorm, Dropout 0.5, Normalize, "
        "embeddings of norm 1" in caplog.text
    )


@pytest.fixture(scope="module")
def chain(bert_folder, tmp_path_factory):
    head = [dense(DIM, 16, nn.Tanh()), st.LayerNorm(16), st.Dropout(0.1), st.Normalize()]
    return transformer_chain(bert_folder, tmp_path_factory.mktemp("chain") / "st", *head)


@pytest.fixture
def damaged(chain, tmp_path):
    return shutil.copytree(chain, tmp_path / "damaged")


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        ("2_Dense", {"in_features": 24}, r"2_Dense.* in_features is 24, but .* gives 32 dimen"),
        ("2_Dense", {"in_features": "32"}, "in_features is '32'; a whole number from 1"),
        ("2_Dense", {"out_features": None}, "out_features is None; a whole number from 1"),
        ("2_Dense", {"out_features": 8}, r"linear.bias has shape \(16,\), .* needs \(8,\)"),
        ("2_Dense", {"bias": False}, r"linear.bias has shape \(16,\), .* has no place for it"),
        ("2_Dense", {"use_residual": True}, r"residual.weight is missing, .* needs \(16, 32\)"),
        ("2_Dense", {"activation_function": "torch.tanh"}, "no class of .*; did you mean 'Tanh'"),
        ("2_Dense", {"activation_function": "torch.nn.Thanh"}, "no class .* did you mean 'Tanh'"),
        ("2_Dense", {"activation_function": "torch.nn.Linear"}, "made without arguments"),
        ("2_Dense", {"activation_function": "torch.Tensor"}, "is no class of torch modules"),
        ("2_Dense", {"activation_function": "Tanh"}, "no class .* did you mean 'Tanh'"),
        ("2_Dense", {"activation_function": "my.Act"}, "not of torch, .* trust_remote_code=True"),
        ("2_Dense", {"activation_function": 3}, "is 3, which is no class of torch"),
        ("3_LayerNorm", {"dimension": 32}, "3_LayerNorm.* dimension is 32, but .* gives 16 dimen"),
        ("4_Dropout", {"dropout": 1.5}, "4_Dropout.* dropout is 1.5; a number from 0 to 1"),
    ],
)  # fmt: skip
def test_sizes_and_names_that_do_not_fit(damaged, place, change, message):
    edit_json(damaged / place / "config.json", lambda config: config.update(change))
    with pytest.raises(ValueError, match=message):
        BiEncoder.from_pretrained(damaged)


def test_a_pooling_that_the_dense_was_not_trained_with(chain):
    with pytest.raises(ValueError, match=r"in_features is 32, but .* gives 64 dimensions"):
        BiEncoder.from_pretrained(chain, pooling=["cls", "mean"])


@pytest.mark.parametrize("names", [("token_embeddings", None), (None, "projected")])
@pytest.mark.parametrize("place", ["2_Dense", "5_Normalize"])
def test_modules_of_other_features_cannot_be_trained(damaged, place, names):
    change = dict(zip(("module_input_name", "module_output_name"), names, strict=True))
    edit_json(damaged / place / "config.json", lambda config: config.update(change))
    with pytest.raises(UntrainableChainError, match=f"{place}.*module_.*put_name is .* evaluated"):
        BiEncoder.from_pretrained(damaged)


def test_missing_files(damaged):
    weights = damaged / "2_Dense" / "model.safetensors"
    weights.rename(damaged / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"2_Dense has no .* but pytorch_model.bin, .*not"):
        BiEncoder.from_pretrained(damaged)
    (damaged / "2_Dense" / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"2_Dense has no \*.safetensors"):
        BiEncoder.from_pretrained(damaged)
    weights.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"2_Dense/model.safetensors is damaged"):
        BiEncoder.from_pretrained(damaged)
    (damaged / "2_Dense" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"2_Dense holds no config.json"):
        BiEncoder.from_pretrained(damaged)


def test_weights_of_other_names(damaged):
    path = damaged / "2_Dense" / "model.safetensors"
    save_file({f"module.{name}": value for name, value in load_file(path).items()}, path)
    with pytest.raises(ValueError, match=r"linear.bias is missing, and the config.json .* needs"):
        BiEncoder.from_pretrained(damaged)


def test_keys_that_are_not_known_are_said(damaged, caplog):
    edit_json(damaged / "2_Dense" / "config.json", lambda config: config.update(scale=3))
    BiEncoder.from_pretrained(damaged)
    assert "2_Dense/config.json: scale is not known, and not used" in caplog.text


def test_a_normalize_without_files_and_a_dense_without_names(damaged, texts):
    """As the hub has them: it keeps no empty folders; and as older versions wrote them."""
    shutil.rmtree(damaged / "5_Normalize")
    keys = ("module_input_name", "module_output_name", "activation_function")
    path = damaged / "2_Dense" / "config.json"
    edit_json(path, lambda config: [config.pop(key, None) for key in keys])
    assert_same_vectors(BiEncoder.from_pretrained(damaged), damaged, texts)


def test_an_activation_of_another_package_is_imported_if_it_is_trusted(damaged, texts, tmp_path):
    name = "transformers.activations.QuickGELUActivation"
    path = damaged / "2_Dense" / "config.json"
    edit_json(path, lambda config: config.update(activation_function=name))
    with pytest.raises(ValueError, match=r"QuickGELU.*trust_remote_code=True"):
        BiEncoder.from_pretrained(damaged)
    model = BiEncoder.from_pretrained(damaged, trust_remote_code=True)
    assert_same_vectors(model, damaged, texts, trust_remote_code=True)
    model.save_pretrained(tmp_path / "saved")
    assert_same_vectors(model, tmp_path / "saved", texts, trust_remote_code=True)
    edit_json(path, lambda config: config.update(activation_function="no_such_package.Act"))
    with pytest.raises(ValueError, match=r"cannot be imported \(No module named 'no_such_package"):
        BiEncoder.from_pretrained(damaged, trust_remote_code=True)


def test_options_of_an_activation_that_folders_do_not_keep_are_said(caplog):
    for plain in (nn.PReLU(), nn.GELU(), nn.Softmax()):
        Dense(4, 4, activation=plain)
    assert not caplog.text
    Dense(4, 4, activation=nn.LeakyReLU(0.2))
    assert "LeakyReLU(negative_slope=0.2) loads again as LeakyReLU(negative_slope=0.01)" in (
        caplog.text
    )
    Dense(4, 4, activation=nn.Threshold(0.1, 2))
    assert "Threshold(threshold=0.1, value=2) loads again as nothing" in caplog.text
