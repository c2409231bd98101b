"""Folders of adapters, whoever wrote them: the base is found, and its settings followed."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from adapted_models import (
    adapted,
    add_by_peer,
    peft,
    peft_asks_by_an_old_name,
    shaken,
    wrapped,
)
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, BertConfig, BertForMaskedLM, BertModel

from hybrid_fast.models import BiEncoder


def equal(vectors, expected, tolerance=1e-6):
    np.testing.assert_allclose(vectors, expected, atol=tolerance)


@pytest.fixture(scope="module")
def base(bert_folder, tmp_path_factory) -> Path:
    """A base with settings of its own."""
    folder = tmp_path_factory.mktemp("base")
    options = {"pooling": "cls", "query_prompt": "in ", "max_query_length": 9, "normalize": False}
    BiEncoder.from_pretrained(bert_folder, **options).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def alone(base, tmp_path_factory) -> Path:
    """The folder of an adapter that peft wrote: no tokenizer and no settings."""
    folder = tmp_path_factory.mktemp("alone")
    wrapped(base).backbone.model.save_pretrained(folder)
    return folder


def of_base(alone: Path, folder: Path, base: object, **options) -> Path:
    """A copy of an adapter that names another base, or has other options."""
    shutil.copytree(alone, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": base, **options}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_an_adapter_of_peft_alone_follows_the_settings_of_its_base(base, alone, texts):
    assert sorted(path.name for path in alone.glob("*.json")) == ["adapter_config.json"]
    model = BiEncoder.from_pretrained(alone)
    assert (model.backbone.pooling, model.normalize) == ("cls", False)
    assert (model.prompts["query"], model.max_length["query"]) == ("in ", 9)
    equal(model.encode_queries(texts), wrapped(base).encode_queries(texts), 0)
    assert model.name_or_path == str(alone)
    other = BiEncoder.from_pretrained(alone, pooling="mean", query_prompt="", normalize=True)
    assert (other.backbone.pooling, other.prompts["query"], other.normalize) == ("mean", "", True)


def test_settings_beside_an_adapter_go_before_those_of_its_base(base, texts, tmp_path):
    adapted(base, pooling="mean", query_prompt="of ").save_pretrained(tmp_path, merge_adapter=False)
    for model in (
        BiEncoder.from_pretrained(tmp_path),
        BiEncoder.from_pretrained(base, adapter=tmp_path),
    ):
        assert (model.backbone.pooling, model.prompts["query"]) == ("mean", "of ")


def test_an_adapter_of_sentence_transformers(base, texts, tmp_path):
    other = SentenceTransformer(str(base))
    add_by_peer(other, peft.LoraConfig(r=3, target_modules=["query"], use_dora=True))
    shaken(other)
    other.save(str(tmp_path))
    model = BiEncoder.from_pretrained(tmp_path)
    equal(model.encode_queries(texts), other.encode_query(texts))
    model.merge_adapter()
    equal(model.encode_queries(texts), other.encode_query(texts), 1e-5)


def test_an_adapter_by_name_in_the_cache_of_the_hub(base, alone, texts, tmp_path, monkeypatch):
    expected = wrapped(base).encode_queries(texts)
    cache = tmp_path / "cache"
    for name, source in (("owner/base", base), ("owner/adapter", alone)):
        snapshot = cache / f"models--{name.replace('/', '--')}" / "snapshots" / ("a" * 40)
        shutil.copytree(source, snapshot)
        (snapshot.parents[1] / "refs").mkdir()
        (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
        (snapshot.parents[1] / "refs" / "old").write_text("a" * 40)
    path = cache / "models--owner--adapter" / "snapshots" / ("a" * 40) / "adapter_config.json"
    config = json.loads(path.read_text()) | {"base_model_name_or_path": "owner/base"}
    path.write_text(json.dumps(config | {"revision": "old"}))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def base_named_by(model, folder):
        model.save_pretrained(folder, merge_adapter=False)
        saved = json.loads((folder / "adapter_config.json").read_text())
        return saved["base_model_name_or_path"], saved["revision"]

    model = BiEncoder.from_pretrained("owner/adapter")
    equal(model.encode_queries(texts), expected, 0)
    assert base_named_by(model, tmp_path / "1") == ("owner/base", "old")
    model = BiEncoder.from_pretrained("owner/base", adapter="owner/adapter")
    equal(model.encode_queries(texts), expected, 0)
    assert base_named_by(model, tmp_path / "2") == ("owner/base", None)
    model = BiEncoder.from_pretrained("owner/base", revision="old")
    model.add_adapter({"r": 2})
    assert base_named_by(model, tmp_path / "3") == ("owner/base", "old")
    equal(BiEncoder.from_pretrained(tmp_path / "1").encode_queries(texts), expected, 0)


def test_a_base_that_is_named_relatively(base, alone, texts, tmp_path, monkeypatch):
    expected = wrapped(base).encode_queries(texts)
    shutil.copytree(base, tmp_path / "base")
    beside = of_base(alone, tmp_path / "beside", "../base")
    equal(BiEncoder.from_pretrained(beside).encode_queries(texts), expected, 0)
    monkeypatch.chdir(tmp_path)
    of_base(alone, tmp_path / "here", "base")
    model = BiEncoder.from_pretrained("here")
    equal(model.encode_queries(texts), expected, 0)
    model.save_pretrained("saved", merge_adapter=False)
    monkeypatch.chdir("/")
    equal(BiEncoder.from_pretrained(tmp_path / "saved").encode_queries(texts), expected, 0)
    with pytest.raises(FileNotFoundError, match=rf"no folder {tmp_path}/x/base or /base; give it"):
        BiEncoder.from_pretrained(of_base(alone, tmp_path / "x", "./base"))


def test_an_adapter_of_a_model_with_a_head_fits_its_encoder(base, texts, tmp_path, caplog):
    config = BertConfig.from_pretrained(base)
    whole = BertForMaskedLM(config)
    whole.bert.load_state_dict(AutoModel.from_pretrained(base).state_dict(), strict=False)
    with peft_asks_by_an_old_name():
        options = {"r": 4, "target_modules": ["query", "decoder"]}
        tuned = shaken(peft.get_peft_model(whole, peft.LoraConfig(**options))).eval()
    tuned.save_pretrained(tmp_path)
    model = BiEncoder.from_pretrained(base, adapter=tmp_path)
    assert "2 weights of the adapter are of parts that a BertModel does not have" in caplog.text
    features = model.tokenize(texts, "query")
    states = whole(**features, output_hidden_states=True).hidden_states[-1]
    equal(model(features).detach(), states[:, 0].detach(), 1e-5)


def test_a_loaded_adapter_can_be_trained_further(alone):
    model = BiEncoder.from_pretrained(alone)
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 2 * 2
    assert all("lora_" in name for name in trained)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 6}, r"lora_A.weight has shape \(4, 32\), and the model needs \(6, 32\)"),
        ({"target_modules": ["q_proj"]}, "'q_proj'.*not found in the base model"),
        ({"target_modules": ["query"]}, "it has .*value.lora_A.weight, and the model has no such"),
        ({"target_modules": ["query", "value", "key"]}, "weights lack .*key.lora_A.weight"),
        ({"peft_type": "LORRA"}, "'LORRA', which this version of peft does not have"),
        ({"base_model_name_or_path": None}, "names no base model"),
    ],
)
def test_what_does_not_fit_names_both_models(base, alone, tmp_path, options, message):
    folder = of_base(alone, tmp_path / "bad", str(base), **options)
    with pytest.raises(ValueError, match=message) as caught:
        BiEncoder.from_pretrained(folder)
    assert str(folder) in str(caught.value)


def test_an_adapter_that_changes_no_layers(base, tmp_path):
    config = peft.PromptTuningConfig(num_virtual_tokens=4, base_model_name_or_path=str(base))
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}/adapter_config.json: a PROMPT_TUNING"):
        BiEncoder.from_pretrained(tmp_path)


def test_an_adapter_for_another_base(base, alone, tmp_path):
    config = BertConfig.from_pretrained(base)
    config.hidden_size = 64
    wide = shutil.copytree(base, tmp_path / "wide")
    BertModel(config).save_pretrained(wide)
    with pytest.raises(ValueError, match=r"does not fit .*/wide: .*needs \(4, 64\)") as caught:
        BiEncoder.from_pretrained(wide, adapter=alone)
    assert f"it was made for {base}" in str(caught.value)
    BiEncoder.static(["a text"]).save_pretrained(tmp_path / "static")
    with pytest.raises(ValueError, match=r"is a static encoder, .* no layers for the adapter"):
        BiEncoder.from_pretrained(tmp_path / "static", adapter=alone)


def test_an_adapter_for_another_family_of_the_same_sizes(bert_folder, xlm_roberta_folder, tmp_path):
    model = adapted(bert_folder, {"target_modules": ["query"]})
    model.save_pretrained(tmp_path, merge_adapter=False)
    with pytest.raises(ValueError, match=r"for a BertModel, and this is a XLMRobertaModel; it was"):
        BiEncoder.from_pretrained(xlm_roberta_folder, adapter=tmp_path)


def test_a_base_that_is_not_there_says_where_it_was_looked_for(alone, tmp_path, monkeypatch):
    gone = of_base(alone, tmp_path / "gone", "/nowhere/base")
    with pytest.raises(FileNotFoundError, match=r"no folder /nowhere/base; give it: BiEncoder"):
        BiEncoder.from_pretrained(gone)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    named = of_base(alone, tmp_path / "named", "owner/none")
    with pytest.raises(FileNotFoundError) as caught:
        BiEncoder.from_pretrained(named)
    message = str(caught.value)
    assert f"no folder {named}/owner/none or {os.getcwd()}/owner/none, and" in message
    assert "could not be fetched from the hub" in message
    assert "or give it: BiEncoder.from_pretrained(base, adapter=folder)" in message


def test_damaged_files(base, alone, tmp_path):
    folder = of_base(alone, tmp_path / "1", str(base))
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:300])
    with pytest.raises(ValueError, match=f"{weights} is damaged"):
        BiEncoder.from_pretrained(folder)
    weights.unlink()
    (folder / "adapter_model.bin").write_bytes(b"pickled")
    with pytest.raises(FileNotFoundError, match=r"missing; adapter_model.bin is pickled"):
        BiEncoder.from_pretrained(folder)
    weights.write_bytes(whole)
    state = load_file(weights)
    name = next(iter(state))
    save_file({key: value for key, value in state.items() if key != name}, weights)
    with pytest.raises(ValueError, match=f"its weights lack {name}"):
        BiEncoder.from_pretrained(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config.json:1: malformed JSON"):
        BiEncoder.from_pretrained(folder)


def test_folders_that_hold_more_or_less_than_one_adapter(base, alone, tmp_path):
    with pytest.raises(ValueError, match=f"{base} holds no adapter: it has no adapter_config"):
        BiEncoder.from_pretrained(base, adapter=base)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        BiEncoder.from_pretrained(base, adapter=tmp_path / "none")
    model = wrapped(base)
    model.backbone.model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["key"]))
    model.backbone.model.save_pretrained(tmp_path / "two")
    with pytest.raises(ValueError, match=r"two holds 2 adapters in folders \(., other\)"):
        BiEncoder.from_pretrained(tmp_path / "two")
    assert BiEncoder.from_pretrained(tmp_path / "two" / "other").adapter_config["r"] == 2
    wrapped(base, name="mine").backbone.model.save_pretrained(tmp_path / "one")
    with pytest.raises(ValueError, match=r"1 adapter in folders \(mine\); give .*one/mine"):
        BiEncoder.from_pretrained(tmp_path / "one")
    both = shutil.copytree(base, tmp_path / "both")
    shutil.copytree(alone, both, dirs_exist_ok=True)
    with pytest.raises(ValueError, match="both holds both a model and an adapter; move"):
        BiEncoder.from_pretrained(both)
    stacked = of_base(alone, tmp_path / "stacked", str(alone))
    with pytest.raises(ValueError, match=r"the base of the adapter in .* holds an adapter too"):
        BiEncoder.from_pretrained(stacked)
