"""Chains that cannot be trained: named, and evaluated by sentence-transformers."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from chain_folders import DIM, saved_chain, static_chain
from model_folders import edit_json
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as st
from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.evaluable import load_evaluable
from hybrid_fast.models.folders.foreign import UntrainableChainError


def word_embeddings():
    words = ["the", "river", "sea", "where"]
    tokenizer = WhitespaceTokenizer(words, stop_words=[])
    return st.WordEmbeddings(tokenizer, torch.randn(len(words), DIM))


def router(static):
    other = SentenceTransformer(str(static), device="cpu")[0]
    mine = SentenceTransformer(str(static), device="cpu")[0]
    other.embedding.weight.data *= -1
    return st.Router.for_query_document([mine], [other])


CHAINS = {
    "CNN": lambda bert, _: [st.Transformer(str(bert)), st.CNN(DIM, 8), st.Pooling(24)],
    "LSTM": lambda *_: [word_embeddings(), st.LSTM(DIM, 8), st.Pooling(16)],
    "WordEmbeddings": lambda *_: [word_embeddings(), st.Pooling(DIM)],
    "BoW": lambda *_: [st.BoW(["the", "river", "sea"])],
    "Router": lambda _, static: [router(static), st.Normalize()],
}


@pytest.fixture(scope="module")
def chains(bert_folder, texts, tmp_path_factory):
    """A folder of each."""
    root = tmp_path_factory.mktemp("chains")
    static = static_chain(texts, root / "static")
    return {
        name: saved_chain(root / name, make(bert_folder, static)) for name, make in CHAINS.items()
    }


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_that_cannot_be_trained_is_evaluated(chains, texts, caplog, name):
    message = rf"lists .*{name} \(.*not be trained.*evaluate {chains[name]} --task"
    with pytest.raises(UntrainableChainError, match=message):
        BiEncoder.from_pretrained(chains[name])
    with caplog.at_level("INFO", logger="hybrid_fast"):
        model = load_evaluable(chains[name])
    assert f"evaluation alone, by sentence-transformers: {chains[name]}/modules.json" in caplog.text
    theirs = SentenceTransformer(str(chains[name]), device="cpu")
    for method in ("encode_query", "encode_document"):
        vectors = getattr(model, method)(texts)
        np.testing.assert_array_equal(vectors, getattr(theirs, method)(texts))


@pytest.mark.parametrize("asked", [True, False])
def test_half_precision_that_is_emulated_is_said(chains, tmp_path, emulating, caplog, asked):
    theirs = SentenceTransformer(str(chains["CNN"]), device="cpu")
    theirs.bfloat16().save(str(tmp_path / "half"))
    load_evaluable(tmp_path / "half", **({"dtype": "bf16"} if asked else {}))
    (said,) = (text for text in caplog.messages if "emulates" in text)
    assert said.startswith("dtype='bf16': " if asked else "weights in bfloat16: ")


def test_a_chain_that_can_be_trained_is_a_bi_encoder(bert_folder):
    assert isinstance(load_evaluable(bert_folder, pooling="cls", dtype="bf16"), BiEncoder)


def test_options_are_passed_on(chains, texts):
    model = load_evaluable(
        chains["CNN"],
        query_prompt="the ",
        passage_prompt="sea ",
        similarity="dot",
        truncate_dim=5,
        max_query_length=7,
        max_passage_length=7,
        dtype="bf16",
        attn_implementation="eager",
        device="cpu",
    )
    assert (model.prompts["query"], model.prompts["document"]) == ("the ", "sea ")
    assert (model.similarity_fn_name, model.max_seq_length) == ("dot", 7)
    assert model.encode_query(texts).shape == (len(texts), 5)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model.transformers_model.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CNN", {"pooling": "cls"}, "by sentence-transformers, .* leave pooling out"),
        ("CNN", {"normalize": False}, "leave normalize out"),
        ("CNN", {"bidirectional": True, "dropout": 0.1}, "leave bidirectional, dropout out"),
        ("CNN", {"max_query_length": 7}, "max_passage_length None, .* the same value"),
        ("CNN", {"device": "nowhere"}, "device is 'nowhere'"),
        ("CNN", {"truncate_dim": 25}, "truncate_dim is 25; .* 24 dimensions"),
        ("Router", {"truncate_dim": 33}, "truncate_dim is 33; .* 32 dimensions"),
        ("CNN", {"truncate_dim": 0}, "truncate_dim is 0; .* from 1 to 24"),
        ("CNN", {"similarity": "manhattan"}, "similarity is 'manhattan'"),
        ("BoW", {"attn_implementation": "eager"}, "no transformer; leave attn_implementation"),
        ("BoW", {"max_query_length": 7, "max_passage_length": 7}, "has no maximum length"),
    ],
)
def test_options_that_cannot_be(chains, name, options, message):
    with pytest.raises(ValueError, match=message):
        load_evaluable(chains[name], **options)


def test_the_folder_s_truncation_is_checked_too(chains, tmp_path):
    folder = shutil.copytree(chains["CNN"], tmp_path / "chain")
    file = folder / "config_sentence_transformers.json"
    edit_json(file, lambda settings: settings.update(truncate_dim=25))
    with pytest.raises(ValueError, match=r"truncate_dim is 25; .* 24 dimensions"):
        load_evaluable(folder)
    assert load_evaluable(folder, truncate_dim=24).truncate_dim == 24


def test_the_prompt_of_passages_is_read_by_its_other_name(chains, texts):
    """By itself sentence-transformers leaves it out."""
    file = chains["CNN"] / "config_sentence_transformers.json"
    before = file.read_text()
    try:
        edit_json(file, lambda settings: settings.update(prompts={"passage": "sea "}))
        model = load_evaluable(chains["CNN"], query_prompt="the ")
    finally:
        file.write_text(before)
    for method, prompt in (("encode_query", "the "), ("encode_document", "sea ")):
        expected = model.encode(texts, prompt=prompt)
        np.testing.assert_array_equal(getattr(model, method)(texts), expected)


def test_modules_that_are_not_known(bert_folder, tmp_path):
    modules = [st.Transformer(str(bert_folder)), st.Pooling(DIM), st.Dense(DIM, 8)]
    folder = saved_chain(tmp_path / "chain", modules)
    kind = "sentence_transformers.base.modules.dense.Dens"
    edit_json(folder / "modules.json", lambda modules: modules[2].update(type=kind))
    with pytest.raises(UntrainableChainError, match=r"Dens \(not known here; did you mean 'Dense'"):
        BiEncoder.from_pretrained(folder)
    with pytest.raises(ValueError, match=r"Dens \(not .*cannot load it: ImportError: .*Dens"):
        load_evaluable(folder)


def test_without_sentence_transformers(chains, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"CNN \(.*pip install sentence-transformers"):
        load_evaluable(chains["CNN"])


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin"])
def test_pickled_weights_are_not_read_there_either(tmp_path, name):
    folder = saved_chain(tmp_path / "chain", [word_embeddings(), st.Pooling(DIM)])
    (place,) = {path.parent for path in folder.rglob("model.safetensors")}
    torch.save({}, place / name)
    load_evaluable(folder)
    (place / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name}, weights as pickled PyTorch"):
        load_evaluable(folder)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0], "lists Transformer; needed are"),
        ([1, 0], "lists Pooling, Transformer; needed"),
        ([0, 2, 1], "lists Transformer, Dense, Pooling; needed"),
        ([0, 1, 1], "lists Transformer, Pooling, Pooling; needed"),
        ([0, 1, 2, 0], "lists Transformer, Pooling, Dense, Transformer; needed"),
    ],
)
def test_orders_that_give_no_embedding(bert_folder, tmp_path, order, message):
    modules = [st.Transformer(str(bert_folder)), st.Pooling(DIM), st.Dense(DIM, 8)]
    folder = saved_chain(tmp_path / "chain", modules)
    entries = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps([entries[index] for index in order]))
    with pytest.raises(ValueError, match=message) as found:
        BiEncoder.from_pretrained(folder)
    assert not isinstance(found.value, UntrainableChainError)


def test_modules_of_tokens_are_evaluated(bert_folder, texts, tmp_path):
    of_tokens = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    before = [st.Transformer(str(bert_folder)), st.Dense(DIM, 8, **of_tokens), st.Pooling(8)]
    after = [st.Transformer(str(bert_folder)), st.Pooling(DIM), st.Normalize("token_embeddings")]
    for name, modules in {"before": before, "after": after}.items():
        folder = saved_chain(tmp_path / name, modules)
        with pytest.raises(UntrainableChainError, match=r"tokens, before|'token_embeddings'"):
            BiEncoder.from_pretrained(folder)
        theirs = SentenceTransformer(str(folder), device="cpu").encode_query(texts)
        np.testing.assert_array_equal(load_evaluable(folder).encode_query(texts), theirs)
