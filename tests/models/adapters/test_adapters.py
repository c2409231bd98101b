"""Adapters: put into transformers, merged, and saved; SentenceTransformer reads the same."""

import builtins
import json

import numpy as np
import pytest
import torch
from adapted_models import adapted, peft, peft_asks_by_an_old_name, read_by_peer, shaken, wrapped
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.adapters.adapters import adapter_state, merged

KINDS = {
    "all linear layers": {"r": 4},
    "dora": {"r": 4, "use_dora": True, "target_modules": ["query", "value"]},
    "rslora": {"r": 4, "use_rslora": True, "target_modules": ["query", "dense"]},
    "one layer": {"r": 4, "layers_to_transform": [1], "target_modules": ["value"]},
    "biases": {"r": 2, "bias": "lora_only"},
    "embeddings": {"r": 2, "target_modules": ["query", "word_embeddings"]},
    "whole modules": {"r": 4, "modules_to_save": ["LayerNorm"], "target_modules": ["key"]},
    "pissa": {"r": 4, "init_lora_weights": "pissa", "target_modules": ["key"]},
    "pattern": {"r": 3, "target_modules": r".*\.1\..*query"},
    "ia3": {"peft_type": "IA3", "target_modules": ["query", "value"], "feedforward_modules": []},
    "loha": {"peft_type": "LOHA", "r": 4, "target_modules": ["query"]},
    "oft": {"peft_type": "OFT", "r": 0, "oft_block_size": 4, "target_modules": ["query"]},
}
QWEN = {"r": 4, "target_modules": ["q_proj", "down_proj"]}


def equal(vectors, expected, tolerance=1e-5):
    np.testing.assert_allclose(vectors, expected, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_merged_or_apart_it_gives_the_vectors_of_the_living_model(
    bert_folder, texts, tmp_path, kind
):
    model = BiEncoder.from_pretrained(bert_folder, pooling="cls", query_prompt="in ")
    plain = model.encode_queries(texts)
    model.add_adapter(KINDS[kind])
    equal(model.encode_queries(texts), plain, 1e-6)
    vectors = shaken(model).encode_queries(texts)
    assert np.abs(vectors - plain).max() > 1e-6
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modules = [id(module) for module in model.modules()]
    model.save_pretrained(tmp_path / "merged")
    model.save_pretrained(tmp_path / "apart", merge_adapter=False)
    assert [id(module) for module in model.modules()] == modules
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for folder in (tmp_path / "merged", tmp_path / "apart"):
        loaded = BiEncoder.from_pretrained(folder)
        equal(loaded.encode_queries(texts), vectors)
        equal(loaded.encode_passages(texts), model.encode_passages(texts))
    equal(loaded.encode_queries(texts), vectors, 0)
    for folder in (tmp_path / "merged", tmp_path / "apart"):
        other = read_by_peer(folder)
        equal(other.encode_query(texts), vectors)
        equal(other.encode_document(texts), model.encode_passages(texts))


@pytest.mark.parametrize("folder", ["xlm_roberta_folder", "qwen_folder"])
def test_families(folder, texts, tmp_path, request):
    base = request.getfixturevalue(folder)
    model = adapted(base, QWEN if folder == "qwen_folder" else None)
    for name, merge in (("merged", True), ("apart", False)):
        model.save_pretrained(tmp_path / name, merge_adapter=merge)
        loaded = BiEncoder.from_pretrained(tmp_path / name)
        equal(loaded.encode_passages(texts), model.encode_passages(texts))
        other = read_by_peer(tmp_path / name)
        equal(other.encode_document(texts), model.encode_passages(texts))


def test_a_decoder_that_was_turned_below_an_adapter(qwen_folder, texts, tmp_path, caplog):
    """sentence-transformers cannot turn it, and says so instead of attending in one direction."""
    model = adapted(qwen_folder, QWEN, bidirectional=True)
    vectors = model.encode_passages(texts)
    model.save_pretrained(tmp_path / "apart", merge_adapter=False)
    assert "it will refuse the folder, which BiEncoder loads" in caplog.text
    loaded = BiEncoder.from_pretrained(tmp_path / "apart")
    assert loaded.backbone.bidirectional
    equal(loaded.encode_passages(texts), vectors, 0)
    with pytest.raises(TypeError, match="is_causal"):
        SentenceTransformer(str(tmp_path / "apart"))
    BiEncoder.from_pretrained(qwen_folder, bidirectional=True).save_pretrained(tmp_path / "base")
    model = adapted(tmp_path / "base", QWEN)
    model.save_pretrained(tmp_path / "second", merge_adapter=False)
    equal(model.encode_passages(texts), vectors, 0)
    equal(read_by_peer(tmp_path / "second").encode_document(texts), vectors)


@pytest.mark.parametrize("name", ["default", "mine"])
def test_a_peft_model_in_place_of_the_transformer(bert_folder, texts, tmp_path, name):
    model = wrapped(bert_folder, name=name)
    vectors = model.encode_passages(texts)
    assert model.adapter_config == {
        "peft_type": "LORA", "r": 4, "target_modules": ["query", "value"],
    }  # fmt: skip
    for folder, merge in (("merged", True), ("apart", False)):
        model.save_pretrained(tmp_path / folder, merge_adapter=merge)
        equal(BiEncoder.from_pretrained(tmp_path / folder).encode_passages(texts), vectors)
        equal(read_by_peer(tmp_path / folder).encode_document(texts), vectors)
    assert type(model.backbone.model).__module__.startswith("peft.")
    untrained = model.untrained(seed=3)
    assert untrained.adapter_config is None
    model.merge_adapter()
    equal(model.encode_passages(texts), vectors)
    assert type(model.backbone.model) is type(untrained.backbone.model)


def test_the_adapters_folder_holds_no_weight_of_the_base(bert_folder, tmp_path):
    model = adapted(bert_folder, {"r": 4, "target_modules": ["query"]})
    model.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path, merge_adapter=False)
    assert {path.name for path in tmp_path.iterdir()} == {
        "adapter_config.json", "adapter_model.safetensors", "1_Pooling", "2_Normalize",
        "config_sentence_transformers.json", "modules.json", "sentence_bert_config.json",
        "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    state = load_file(tmp_path / "adapter_model.safetensors")
    assert sum(value.numel() for value in state.values()) == 2 * (4 * 32 + 32 * 4)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(bert_folder)
    assert config["target_modules"] == ["query"]
    with peft_asks_by_an_old_name():
        read = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(bert_folder), tmp_path)
    for name, value in adapter_state(model.backbone.model).items():
        assert torch.equal(adapter_state(read)[name], value)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "adapter_config.json").exists()
    assert AutoModel.from_pretrained(tmp_path).config.hidden_size == 32


def test_only_the_adapter_is_trained(bert_folder):
    model = BiEncoder.from_pretrained(bert_folder)
    model.add_adapter({"r": 4})
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert all("lora_" in name for name in trained)
    layers = 6 * 2  # of two layers: query, key, value, and three dense ones
    assert len(trained) == 2 * layers
    assert not any(
        module.training for module in model.backbone.modules() if module is not model.backbone
    )
    assert not any("pooler" in name for name in trained)


def test_the_pooler_is_not_trained_even_where_it_is_named(bert_folder):
    model = BiEncoder.from_pretrained(bert_folder)
    model.add_adapter({"r": 4, "target_modules": ["dense"]})
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 3 * 2
    assert not any("pooler" in name for name in trained)


def test_equal_seeds_give_equal_adapters_and_the_random_state_stays(bert_folder):
    def first(seed):
        model = BiEncoder.from_pretrained(bert_folder)
        model.add_adapter({"r": 4}, seed=seed)
        return adapter_state(model.backbone.model)

    state = torch.random.get_rng_state()
    one, two, other = first(0), first(0), first(1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_merging_for_good_leaves_an_encoder_that_can_be_trained_or_adapted_again(
    bert_folder, texts, tmp_path, caplog
):
    model = adapted(bert_folder)
    vectors = model.encode_passages(texts)
    model.merge_adapter()
    equal(model.encode_passages(texts), vectors)
    assert model.adapter_config is None
    plain = BiEncoder.from_pretrained(bert_folder)
    assert list(model.state_dict()) == list(plain.state_dict())
    trained = [weight.requires_grad for weight in model.parameters()]
    assert trained == [weight.requires_grad for weight in plain.parameters()]
    model.save_pretrained(tmp_path / "base")
    model.add_adapter({"r": 2})
    vectors = shaken(model).encode_passages(texts)
    model.save_pretrained(tmp_path / "merged")
    equal(BiEncoder.from_pretrained(tmp_path / "merged").encode_passages(texts), vectors)
    assert "not saved anywhere" not in caplog.text
    model.save_pretrained(tmp_path / "apart", merge_adapter=False)
    assert "not saved anywhere" in caplog.text  # what it was loaded from is another model
    with pytest.raises(
        ValueError, match=r"names no base model; give it: BiEncoder.from_pretrained"
    ):
        BiEncoder.from_pretrained(tmp_path / "apart")
    both = BiEncoder.from_pretrained(tmp_path / "base", adapter=tmp_path / "apart")
    equal(both.encode_passages(texts), vectors)


def test_a_merge_that_fails_changes_nothing(bert_folder, texts, monkeypatch):
    model = adapted(bert_folder)
    vectors = model.encode_passages(texts)
    layer = next(m for m in model.modules() if isinstance(m, peft.tuners.lora.Linear))
    bad = layer.lora_A["default"].weight
    kept = bad.detach().clone()
    bad.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"cannot be merged: .*NaN"):
        model.merge_adapter()
    bad.data.copy_(kept)
    equal(model.encode_passages(texts), vectors, 0)
    with pytest.raises(OSError, match="full"), merged(model.backbone.model):
        raise OSError("full")
    equal(model.encode_passages(texts), vectors, 0)


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_base_in_half_precision(bert_folder, texts, tmp_path, dtype):
    model = adapted(bert_folder, {"r": 4, "modules_to_save": ["LayerNorm"]}, dtype=dtype)
    half = next(iter(model.backbone.model.get_input_embeddings().parameters())).dtype
    state = adapter_state(model.backbone.model)
    assert {value.dtype for name, value in state.items() if "lora" in name} == {torch.float32}
    vectors = model.encode_passages(texts)
    model.save_pretrained(tmp_path / "merged")
    model.save_pretrained(tmp_path / "apart", merge_adapter=False)
    again = BiEncoder.from_pretrained(tmp_path / "apart", dtype=dtype)
    equal(again.encode_passages(texts), vectors, 0)
    one = BiEncoder.from_pretrained(tmp_path / "merged")
    weights = one.backbone.model.state_dict()
    assert {value.dtype for value in weights.values()} == {half}
    equal(one.encode_passages(texts), vectors, 2e-2)
    # Rounded once: but for ties, each merged weight is the nearest to that of exact sums.
    exact = adapted(bert_folder, {"r": 4, "modules_to_save": ["LayerNorm"]}, dtype=dtype)
    for weight in exact.parameters():
        weight.data = weight.data.double()
    with merged(exact.backbone.model):
        for name, value in exact.backbone.model.state_dict().items():
            assert (weights[name] != value.to(half)).double().mean() < 0.005


BAD = [
    ({"target_modules": ["qury"]}, "names 'qury', .*did you mean 'query'.*there are .*query, key"),
    ({"target_modules": ["query", "valeu"]}, "names 'valeu', .*did you mean 'value'"),
    ({"target_modules": "query"}, r"give a list, \['query'\]"),
    ({"target_modules": "qu(ery"}, "no regular expression"),
    ({"target_modules": 5}, "target_modules is 5; a list"),
    ({"target_modules": ["LayerNorm"]}, "cannot be put into a BertModel: .*LayerNorm"),
    ({"target_modules": ["query"], "layers_to_transform": [7]}, "not found in the base model"),
    ({"modules_to_save": ["LayerNrm"]}, "modules_to_save names 'LayerNrm', .*'LayerNorm'"),
    ({"r": 0}, "r is 0; a whole number of at least 1"),
    ({"r": -4}, "r is -4"),
    ({"r": 2.5}, "r is 2.5"),
    ({"r": "8"}, "r is '8'"),
    ({"lora_alpha": "x"}, "lora_alpha is 'x'; a number"),
    ({"lora_dropout": 1.0}, "lora_dropout is 1.0; it must be at least 0 and below 1"),
    ({"lora_alhpa": 8}, "LoraConfig has no option 'lora_alhpa'; did you mean 'lora_alpha'"),
    ({"peft_type": "LORRA"}, "'LORRA', which peft does not have; did you mean 'LORA'"),
    ({"peft_type": "PROMPT_TUNING"}, "PROMPT_TUNING adapter puts tokens .* not supported"),
    ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, "PREFIX_TUNING adapter puts tokens"),
    ({"peft_type": "VERA", "target_modules": ["query"]}, "VERA adapter cannot be put into"),
    ({"peft_type": "ADALORA", "total_step": 9}, "ADALORA adapter moves its ranks .*use LORA"),
    ({"bias": "some"}, "bias: some"),
    ({"task_type": "RANKING"}, "RANKING"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[str(options) for options, _ in BAD])
def test_bad_options_are_named_and_leave_the_encoder_as_it_was(
    bert_folder, options, message, texts
):
    model = BiEncoder.from_pretrained(bert_folder)
    before = list(model.state_dict()), [weight.requires_grad for weight in model.parameters()]
    with pytest.raises(ValueError, match=message):
        model.add_adapter(options)
    after = list(model.state_dict()), [weight.requires_grad for weight in model.parameters()]
    assert after == before
    assert model.adapter_config is None
    model.add_adapter({"r": 2})


def test_calls_at_the_wrong_time(bert_folder, texts, monkeypatch):
    model = BiEncoder.from_pretrained(bert_folder)
    with pytest.raises(ValueError, match="no adapter to merge"):
        model.merge_adapter()
    with pytest.raises(TypeError, match=r"the adapter is 'r=8'; options of peft.LoraConfig"):
        model.add_adapter("r=8")
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["query"]))
    with pytest.raises(ValueError, match="has an adapter already; merge it first"):
        model.add_adapter({"r": 2})
    with pytest.raises(ValueError, match="static encoder has no layers for an adapter"):
        BiEncoder.static(texts).add_adapter({"r": 2})
    assert BiEncoder.static(texts).adapter_config is None


def test_several_adapters_can_be_merged_but_not_kept_apart(bert_folder, texts, tmp_path):
    model = wrapped(bert_folder)
    model.backbone.model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["key"]))
    vectors = model.encode_passages(texts)
    with pytest.raises(ValueError, match="2 adapters, default, other, and one is supported"):
        model.save_pretrained(tmp_path / "apart", merge_adapter=False)
    assert not (tmp_path / "apart").exists()
    model.save_pretrained(tmp_path / "merged")
    equal(BiEncoder.from_pretrained(tmp_path / "merged").encode_passages(texts), vectors)


def test_without_peft_the_extra_is_named(bert_folder, tmp_path, monkeypatch):
    adapted(bert_folder).save_pretrained(tmp_path, merge_adapter=False)
    plain = builtins.__import__

    def without_peft(name, *arguments, **options):
        if name.split(".")[0] == "peft":
            raise ImportError(name)
        return plain(name, *arguments, **options)

    model = BiEncoder.from_pretrained(bert_folder)
    monkeypatch.setattr(builtins, "__import__", without_peft)
    with pytest.raises(ImportError, match=r"pip install 'hybrid_fast\[lora\]'"):
        model.add_adapter({"r": 4})
    with pytest.raises(ImportError, match=r"pip install 'hybrid_fast\[lora\]'"):
        BiEncoder.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path / "plain", merge_adapter=False)
    assert BiEncoder.from_pretrained(tmp_path / "plain").adapter_config is None
