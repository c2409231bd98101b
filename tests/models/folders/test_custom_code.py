"""Folders with Python files: run where they are trusted, trained where they embed as usual."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from chain_folders import DIM, assert_same_vectors, transformer_chain
from model_folders import edit_json
from sentence_transformers.sentence_transformer import modules as st
from torch import nn
from transformers import BertModel

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.evaluable import load_evaluable
from hybrid_fast.models.folders.foreign import UntrainableChainError

ORDINARY = """\
from sentence_transformers.sentence_transformer import modules as st

class Transformer(st.Transformer):
    '''The same under another name.'''

    version = 3

    def save(self, output_path, *args, **kwargs):
        super().save(output_path, *args, **kwargs)

    def describe(self):
        return "mine"

class MyPooling(st.Pooling):
    pass

class Dense(st.Dense):
    pass
"""
OWN_WAYS = """\
import torch
from sentence_transformers.sentence_transformer import modules as st

class Transformer(st.Transformer):
    def forward(self, features, **kwargs):
        features = super().forward(features, **kwargs)
        features["token_embeddings"] = features["token_embeddings"] * 2 + 1
        return features

class Prefixed(st.Transformer):
    def preprocess(self, inputs, *args, **kwargs):
        return super().preprocess(["river " + text for text in inputs], *args, **kwargs)

class Other(torch.nn.Module):
    pass
"""
MODELING = """\
from transformers import BertConfig, BertModel
from .shift import SHIFT

class TinyConfig(BertConfig):
    model_type = "tiny_own"

class TinyModel(BertModel):
    config_class = TinyConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state + SHIFT
        return output
"""


@pytest.fixture
def chain(bert_folder, tmp_path):
    return transformer_chain(bert_folder, tmp_path / "chain", st.Dense(DIM, 16))


def set_class(folder: Path, index: int, name: str) -> Path:
    edit_json(folder / "modules.json", lambda modules: modules[index].update(type=name))
    return folder


@pytest.mark.parametrize(
    ("index", "name"),
    [(0, "custom_st.Transformer"), (1, "custom_st.MyPooling"), (2, "custom_st.Dense")],
)
def test_ordinary_modules_are_trained_where_they_are_trusted(chain, texts, tmp_path, index, name):
    (chain / "custom_st.py").write_text(ORDINARY)
    folder = set_class(chain, index, name)
    with pytest.raises(ValueError, match=rf"the module {name}, .* trust_remote_code=True") as found:
        BiEncoder.from_pretrained(folder)
    assert not isinstance(found.value, UntrainableChainError)
    model = BiEncoder.from_pretrained(folder, trust_remote_code=True)
    assert_same_vectors(model, folder, texts, trust_remote_code=True)
    model.save_pretrained(tmp_path / "saved")  # needs no code
    again = BiEncoder.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(again.encode_queries(texts), model.encode_queries(texts))
    assert_same_vectors(again, tmp_path / "saved", texts)


def test_code_beside_the_module_and_of_an_installed_package(chain, texts, monkeypatch, tmp_path):
    (chain / "1_Pooling" / "pooling_code.py").write_text(ORDINARY)
    set_class(chain, 1, "pooling_code.MyPooling")
    expected = BiEncoder.from_pretrained(chain, trust_remote_code=True).encode_queries(texts)
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "package_of_mine.py").write_text(ORDINARY)
    monkeypatch.syspath_prepend(tmp_path / "installed")
    set_class(chain, 1, "package_of_mine.MyPooling")
    with pytest.raises(ValueError, match="whose code is not run"):
        BiEncoder.from_pretrained(chain)
    model = BiEncoder.from_pretrained(chain, trust_remote_code=True)
    np.testing.assert_array_equal(model.encode_queries(texts), expected)


def test_untrusted_code_is_not_run(chain, tmp_path):
    witness = tmp_path / "was_run"
    (chain / "custom_st.py").write_text(f"open({str(witness)!r}, 'w').close()\n{ORDINARY}")
    set_class(chain, 0, "custom_st.Transformer")
    for load in (BiEncoder.from_pretrained, load_evaluable):
        with pytest.raises(ValueError, match="whose code is not run"):
            load(chain)
    assert not witness.exists()
    BiEncoder.from_pretrained(chain, trust_remote_code=True)
    assert witness.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Transformer", "custom_st.Transformer of .* has its own forward, unlike the Transformer"),
        ("Prefixed", "custom_st.Prefixed of .* has its own preprocess, unlike the Transformer"),
        ("Other", "custom_st.Other of .* is no kind of a module that can be trained"),
    ],
)
def test_modules_that_embed_in_their_own_way_cannot_be_trained(chain, name, message):
    (chain / "custom_st.py").write_text(OWN_WAYS)
    set_class(chain, 0, f"custom_st.{name}")
    with pytest.raises(UntrainableChainError, match=message) as found:
        BiEncoder.from_pretrained(chain, trust_remote_code=True)
    assert "--trust-remote-code" in str(found.value)
    assert "trust_remote_code=True" in str(found.value)


@pytest.mark.parametrize("name", ["Transformer", "Prefixed"])
def test_but_evaluated(chain, texts, name):
    (chain / "custom_st.py").write_text(OWN_WAYS)
    plain = BiEncoder.from_pretrained(chain).encode_queries(texts)
    set_class(chain, 0, f"custom_st.{name}")
    model = load_evaluable(chain, trust_remote_code=True)
    vectors = model.encode_query(texts)
    assert vectors.shape == plain.shape
    assert abs(vectors - plain).max() > 1e-2


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("custom_st.Missing", "custom_st.Missing cannot be loaded: .*Missing"),
        (
            "no_such_file.Transformer",
            "holds no no_such_file.py, and .*: No module named",
        ),
        ("Transformer", "holds no Transformer.py"),
    ],
)
def test_code_that_is_not_there(chain, reference, message):
    (chain / "custom_st.py").write_text(ORDINARY)
    set_class(chain, 0, reference)
    with pytest.raises(ValueError, match=message):
        BiEncoder.from_pretrained(chain, trust_remote_code=True)


def test_code_that_fails(chain):
    (chain / "custom_st.py").write_text("import no_such_package\n")
    set_class(chain, 0, "custom_st.Transformer")
    with pytest.raises(ValueError, match=r"Transformer cannot be loaded: .*no_such_package"):
        BiEncoder.from_pretrained(chain, trust_remote_code=True)


@pytest.fixture
def own_model(bert_folder, tmp_path):
    """A chain whose transformer is of a class of its own, with a helper file."""
    folder = transformer_chain(bert_folder, tmp_path / "own", st.Dense(DIM, 16, True, nn.Tanh()))
    (folder / "modeling_tiny.py").write_text(MODELING)
    (folder / "shift.py").write_text("SHIFT = 0.25\n")
    own = {"AutoConfig": "modeling_tiny.TinyConfig", "AutoModel": "modeling_tiny.TinyModel"}
    edit_json(
        folder / "config.json", lambda config: config.update(model_type="tiny_own", auto_map=own)
    )
    return folder


def test_a_model_of_its_own_class_is_saved_with_its_code(own_model, texts, tmp_path):
    with pytest.raises(ValueError, match="trust_remote_code"):
        BiEncoder.from_pretrained(own_model)
    model = BiEncoder.from_pretrained(own_model, trust_remote_code=True)
    assert_same_vectors(model, own_model, texts, trust_remote_code=True)
    model.save_pretrained(tmp_path / "saved")
    shutil.rmtree(own_model)
    again = BiEncoder.from_pretrained(tmp_path / "saved", trust_remote_code=True)
    np.testing.assert_array_equal(again.encode_queries(texts), model.encode_queries(texts))
    assert_same_vectors(again, tmp_path / "saved", texts, trust_remote_code=True)
    again.save_pretrained(tmp_path / "twice")
    third = BiEncoder.from_pretrained(tmp_path / "twice", trust_remote_code=True)
    np.testing.assert_array_equal(third.encode_queries(texts), model.encode_queries(texts))


def test_untrained_models_of_their_own_class_are_saved_too(own_model, texts, tmp_path):
    fresh = BiEncoder.from_pretrained(own_model, trust_remote_code=True).untrained(3)
    fresh.save_pretrained(tmp_path / "saved")
    again = BiEncoder.from_pretrained(tmp_path / "saved", trust_remote_code=True)
    np.testing.assert_array_equal(again.encode_queries(texts), fresh.encode_queries(texts))


def test_a_known_model_type_with_an_auto_map_needs_no_trust(bert_folder, texts, tmp_path):
    """transformers then takes its own class."""
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    own = {"AutoModel": "modeling_bert.BertModel"}
    edit_json(folder / "config.json", lambda config: config.update(auto_map=own))
    model = BiEncoder.from_pretrained(folder)
    assert type(model.backbone.model) is BertModel
    expected = BiEncoder.from_pretrained(bert_folder).encode_queries(texts)
    np.testing.assert_array_equal(model.encode_queries(texts), expected)
    model.save_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(
        BiEncoder.from_pretrained(tmp_path / "saved").encode_queries(texts), expected
    )
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == "bert"
