"""Saved folders: SentenceTransformer's vectors equal ours, options come back, none is partial."""

import json
import shutil

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.pooling import POOLINGS, check_pooling

TRANSFORMERS = ["bert_folder", "xlm_roberta_folder", "qwen_folder"]
OPTIONS = [
    {},
    {"normalize": False},
    {"query_prompt": "", "passage_prompt": "river: "},
    {"max_query_length": 14, "max_passage_length": 19},
    {"max_query_length": 16, "max_passage_length": 16, "query_prompt": "in "},
]


def assert_same_vectors(folder, model, texts):
    reference = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(
        reference.encode_query(texts), model.encode_queries(texts), atol=1e-5
    )
    np.testing.assert_allclose(
        reference.encode_document(texts), model.encode_passages(texts), atol=1e-5
    )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformer_equals_sentence_transformers(request, tmp_path, texts, name, options):
    model = BiEncoder.from_pretrained(request.getfixturevalue(name), **options)
    model.save_pretrained(tmp_path / "saved")
    assert_same_vectors(tmp_path / "saved", model, [*texts, "the river of " * 40])


@pytest.mark.parametrize("pooling", [*POOLINGS, "cls+mean", ["max", "last", "weightedmean"]])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_poolings_equal_sentence_transformers(request, tmp_path, texts, name, pooling):
    model = BiEncoder.from_pretrained(request.getfixturevalue(name), pooling=pooling)
    model.save_pretrained(tmp_path / "saved")
    assert_same_vectors(tmp_path / "saved", model, texts)
    again = BiEncoder.from_pretrained(tmp_path / "saved")
    assert (again.backbone.pooling, again.embedding_dim) == (
        check_pooling(pooling), 32 * len(check_pooling(pooling).split("+"))
    )  # fmt: skip
    np.testing.assert_array_equal(again.encode_queries(texts), model.encode_queries(texts))


@pytest.mark.parametrize(
    "options", [{}, {"normalize": False}, {"query_prompt": "query: ", "passage_prompt": "the "}]
)
def test_static_equals_sentence_transformers(tmp_path, texts, options):
    model = BiEncoder.static(texts, dim=16, vocab_size=200, **options)
    model.save_pretrained(tmp_path / "saved")
    assert_same_vectors(tmp_path / "saved", model, [*texts, "the river of " * 400])


@pytest.mark.parametrize("name", ["static", *TRANSFORMERS])
def test_round_trip_keeps_every_bit_and_every_option(request, tmp_path, texts, name):
    options = {"normalize": False, "query_prompt": "in ", "passage_prompt": 'die "é" '}
    if name == "static":
        model = BiEncoder.static(texts, dim=16, vocab_size=200, **options)
    else:
        lengths = {"max_query_length": 7, "max_passage_length": 12}
        folder = request.getfixturevalue(name)
        model = BiEncoder.from_pretrained(folder, pooling="last", **options, **lengths)
    model.encode_queries(texts)
    model.save_pretrained(tmp_path / "one")
    loaded = BiEncoder.from_pretrained(tmp_path / "one")
    assert (loaded.normalize, loaded.prompts) == (model.normalize, model.prompts)
    assert loaded.max_length == model.max_length
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
    np.testing.assert_array_equal(loaded.encode_queries(texts), model.encode_queries(texts))
    loaded.save_pretrained(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_explicit_options_override_what_is_saved(tmp_path, bert_folder):
    saved = BiEncoder.from_pretrained(
        bert_folder, pooling="last", query_prompt="Query: ", passage_prompt="Passage: "
    )
    saved.save_pretrained(tmp_path / "saved")
    model = BiEncoder.from_pretrained(
        tmp_path / "saved",
        pooling="cls",
        normalize=False,
        query_prompt="",
        max_query_length=300,
    )
    assert model.backbone.pooling == "cls"
    assert not model.normalize
    assert model.prompts == {"query": "", "passage": "Passage: "}
    assert model.max_length == {"query": 300, "passage": 256}


def test_length_beyond_the_tokenizers_own_is_kept(tmp_path, bert_folder):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": 50}))
    assert BiEncoder.from_pretrained(folder).max_length == {"query": 50, "passage": 50}
    model = BiEncoder.from_pretrained(folder, max_passage_length=80)
    model.save_pretrained(tmp_path / "saved")
    loaded = BiEncoder.from_pretrained(tmp_path / "saved")
    assert loaded.max_length == {"query": 50, "passage": 80}


def test_transformer_folder_loads_by_auto_model(tmp_path, texts, bert_folder):
    model = BiEncoder.from_pretrained(bert_folder)
    model.encode_queries(texts)
    model.save_pretrained(tmp_path / "saved")
    plain = AutoModel.from_pretrained(tmp_path / "saved")
    for key, tensor in plain.state_dict().items():
        assert torch.equal(model.backbone.model.state_dict()[key], tensor), key
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert len(tokenizer("river " * 500)["input_ids"]) == 502  # no truncation left behind


def test_folders_of_sentence_transformers_are_read(tmp_path, texts, bert_folder):
    BiEncoder.from_pretrained(bert_folder, pooling="cls", max_query_length=9).save_pretrained(
        tmp_path / "ours"
    )
    theirs = SentenceTransformer(str(tmp_path / "ours"), device="cpu")
    theirs.save_pretrained(str(tmp_path / "theirs"), create_model_card=False)
    model = BiEncoder.from_pretrained(tmp_path / "theirs")
    assert_same_vectors(tmp_path / "theirs", model, texts)
    static = BiEncoder.static(texts, dim=16, vocab_size=200)
    static.save_pretrained(tmp_path / "static")
    theirs = SentenceTransformer(str(tmp_path / "static"), device="cpu")
    theirs.save_pretrained(str(tmp_path / "static2"), create_model_card=False)
    model = BiEncoder.from_pretrained(tmp_path / "static2")
    np.testing.assert_array_equal(model.encode_queries(texts), static.encode_queries(texts))


def test_failed_save_leaves_nothing(tmp_path, texts, monkeypatch):
    model = BiEncoder.static(texts, dim=16, vocab_size=200)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("hybrid_fast.models.bi_encoder.write_layout", fail)
    with pytest.raises(OSError, match="disk full"):
        model.save_pretrained(tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_saving_over_a_folder_replaces_the_model_and_keeps_the_rest(tmp_path, texts, bert_folder):
    folder = shutil.copytree(bert_folder, tmp_path / "saved")
    (folder / "optimizer.pt").write_bytes(b"1")
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"stale")
    model = BiEncoder.static(texts, dim=16, vocab_size=200)
    model.save_pretrained(folder)
    assert (folder / "optimizer.pt").read_bytes() == b"1"
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]
    loaded = BiEncoder.from_pretrained(folder)
    np.testing.assert_array_equal(loaded.encode_queries(texts), model.encode_queries(texts))
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_saving_into_the_working_directory(tmp_path, texts, monkeypatch):
    monkeypatch.chdir(tmp_path)
    BiEncoder.static(texts, dim=16, vocab_size=99).save_pretrained(".")
    assert BiEncoder.from_pretrained(".").embedding_dim == 16


def test_saving_over_a_file(tmp_path, texts):
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="is a file; name a folder"):
        BiEncoder.static(texts, dim=16, vocab_size=99).save_pretrained(tmp_path / "file")


def test_saved_files_are_json_text_and_safetensors(tmp_path, texts, bert_folder):
    BiEncoder.from_pretrained(bert_folder).save_pretrained(tmp_path / "saved")
    suffixes = {path.suffix for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert suffixes <= {".json", ".safetensors", ".txt"}
    modules = json.loads((tmp_path / "saved" / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Normalize"]


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_damaged_tokenizer_is_named(tmp_path):
    BiEncoder.static(["one two", "two three"], dim=4, vocab_size=40).save_pretrained(tmp_path / "m")
    (path,) = (tmp_path / "m").rglob("tokenizer.json")
    path.write_text('{"model": 3}')
    with pytest.raises(ValueError, match="holds no tokenizer"):
        BiEncoder.from_pretrained(tmp_path / "m")
