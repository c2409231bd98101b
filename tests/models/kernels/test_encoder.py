"""Whole models with our dropout and attention: those of transformers, with the same masks."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from dropout_masks import torch_dropout_with_our_masks
from torch import nn
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    MPNetConfig,
    Qwen3Config,
    T5Config,
    XLMRobertaConfig,
)

from hybrid_fast.models.compat import configs_of_attention
from hybrid_fast.models.kernels import attention
from hybrid_fast.models.kernels.dropout import Dropout
from hybrid_fast.models.kernels.encoder import fast_encoder

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
         "intermediate_size": 24, "max_position_embeddings": 40}  # fmt: skip
RATES = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3}
DECODER = {**SIZES, "num_key_value_heads": 2, "head_dim": 4, "attention_dropout": 0.3}
SPECIAL = {
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "cls_token_id": 1,
    "sep_token_id": 2,
}
CONFIGS = {
    "bert": BertConfig(**SIZES, **RATES),
    "xlm-roberta": XLMRobertaConfig(**SIZES, **RATES),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=16, n_layers=2, n_heads=4, hidden_dim=24, dropout=0.2,
        attention_dropout=0.3,
    ),
    "modernbert": ModernBertConfig(
        **SIZES, **SPECIAL, embedding_dropout=0.2, attention_dropout=0.3, mlp_dropout=0.2,
        global_attn_every_n_layers=2, local_attention=6,
    ),
    "qwen3": Qwen3Config(**DECODER, use_cache=False),
    "qwen3, sliding": Qwen3Config(
        **DECODER, use_cache=False, use_sliding_window=True, sliding_window=4, max_window_layers=0
    ),
    "qwen3, both ways": Qwen3Config(**DECODER, use_cache=False, is_causal=False),
    "llama": LlamaConfig(**DECODER, use_cache=False),
    "gpt2": GPT2Config(
        vocab_size=60, n_embd=16, n_layer=2, n_head=4, n_positions=40, attn_pdrop=0.3,
        use_cache=False,
    ),
}  # fmt: skip
OTHERS = {
    "mpnet": MPNetConfig(**SIZES, **RATES),
    "deberta": DebertaV2Config(**SIZES, **RATES),
    "t5": T5Config(
        vocab_size=60, d_model=16, d_kv=4, d_ff=24, num_layers=2, num_heads=4, dropout_rate=0.2
    ),
}


def make(config, implementation: str | None = None) -> nn.Module:
    torch.manual_seed(0)
    model = AutoModel.from_config(copy.deepcopy(config), attn_implementation=implementation)
    return getattr(model, "encoder", model) if model.config.model_type == "t5" else model


def make_inputs(padded: bool = True) -> dict[str, torch.Tensor]:
    ids = torch.arange(3, 3 + 3 * 11).view(3, 11)
    mask = torch.arange(11) < torch.tensor([[11], [7], [2]])
    return {"input_ids": ids} | ({"attention_mask": mask.long()} if padded else {})


def run(model: nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict]:
    """States of the tokens but padding, and gradients of the weights."""
    model.zero_grad()
    torch.manual_seed(1)
    states = model(**inputs).last_hidden_state
    mask = inputs.get("attention_mask", torch.ones(3, 11))
    states = states * mask[..., None]
    states.square().sum().backward()
    return states.detach(), {
        name: p.grad for name, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "whole"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_computes_what_it_does_with_plain_attention_and_the_same_masks(
    name, padded, monkeypatch
):
    inputs = make_inputs(padded)
    fast, plain = make(CONFIGS[name], "sdpa").train(), make(CONFIGS[name], "eager").train()
    if name == "modernbert" and not configs_of_attention(fast):
        pytest.skip("transformers, such as 5.4, does not tell that its attention can be set")
    kernel_calls = []
    kernel = attention.drop_attention
    monkeypatch.setattr(
        attention,
        "drop_attention",
        lambda *a, **k: kernel_calls.append(k["rate"]) or kernel(*a, **k),
    )
    with fast_encoder(fast):
        states, gradients = run(fast, inputs)
    assert kernel_calls == [0.3, 0.3]
    torch_dropout_with_our_masks(monkeypatch)
    with fast_encoder(plain):
        expected, expected_gradients = run(plain, inputs)
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for weight, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[weight], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", OTHERS)
def test_models_with_ways_of_their_own_train_too(name):
    model = make(OTHERS[name]).train()
    before = [type(module) for module in model.modules()]
    with fast_encoder(model):
        within = [type(module) for module in model.modules()]
        states, gradients = run(model, make_inputs())
    assert states.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert (Dropout in within) == (nn.Dropout in before)
    assert nn.Dropout not in within
    assert [type(module) for module in model.modules()] == before


@pytest.mark.parametrize("name", [*CONFIGS, *OTHERS])
def test_evaluation_is_without_dropout_within_and_the_models_own_after(name):
    model = make((CONFIGS | OTHERS)[name]).eval()
    inputs = make_inputs()
    expected = model(**inputs).last_hidden_state
    with fast_encoder(model):
        within = model(**inputs).last_hidden_state
        assert torch.equal(model(**inputs).last_hidden_state, within)
    torch.testing.assert_close(within, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(model(**inputs).last_hidden_state, expected)


def test_the_model_is_afterwards_as_it_was_also_after_an_error():
    model = make(CONFIGS["bert"], "sdpa").train()
    modules, description, weights = list(model.modules()), repr(model), list(model.state_dict())

    def fail_within():
        with fast_encoder(model):
            assert model.config._attn_implementation == attention.NAME
            assert list(model.state_dict()) == weights
            assert repr(model) == description
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_within()
    assert model.config._attn_implementation == "sdpa"
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))


def test_rates_that_change_are_those_of_the_moment():
    model = make(CONFIGS["bert"]).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    inputs = make_inputs()
    expected = model(**inputs).last_hidden_state
    with fast_encoder(model):
        torch.testing.assert_close(model(**inputs).last_hidden_state, expected)


def test_an_attention_chosen_by_the_user_stays():
    model = make(CONFIGS["bert"], "eager").train()
    with fast_encoder(model):
        assert model.config._attn_implementation == "eager"


def test_hooks_modules_in_two_places_and_forwards_of_the_users_own_stay():
    shared, hooked, own = nn.Dropout(0.5), nn.Dropout(0.5), nn.Dropout(0.5)
    inplace, derived = nn.Dropout(0.5, inplace=True), type("Derived", (nn.Dropout,), {})(0.5)
    model = nn.ModuleDict({"a": shared, "b": shared, "hooked": hooked, "own": own})
    model.update({"inplace": inplace, "derived": derived})
    seen = []
    hooked.register_forward_hook(lambda *_: seen.append("hook"))
    own.forward = lambda x: seen.append("own") or x
    with fast_encoder(model):
        assert type(model["a"]) is type(model["b"]) is Dropout
        assert type(inplace) is nn.Dropout
        assert type(derived).__name__ == "Derived"
        for module in model.values():
            module(torch.ones(10))
        model.eval()
    assert seen == ["hook", "own"]
    assert type(shared) is type(hooked) is nn.Dropout
    assert not shared.training


def test_a_model_that_the_user_compiled_is_not_compiled_anew_at_each_step():
    compilations = []

    def backend(graph, _):
        compilations.append(graph)
        return graph.forward

    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    compiled = torch.compile(model, backend=backend)
    for _ in range(4):
        with fast_encoder(model):
            compiled(torch.ones(2, 4))
    assert len(compilations) == 1


def test_modules_in_evaluation_stay_so():
    model = make(CONFIGS["bert"]).train()
    model.embeddings.dropout.eval()
    with fast_encoder(model):
        assert not model.embeddings.dropout.training
        assert model.encoder.layer[0].output.dropout.training


def test_a_model_saved_within_names_no_attention_of_ours(tmp_path):
    model = make(CONFIGS["bert"]).train()
    with fast_encoder(model):
        model.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    assert attention.NAME not in text
    assert json.loads(text)["hidden_dropout_prob"] == 0.2


def test_activation_checkpointing_gives_the_same_gradient():
    model = make(CONFIGS["bert"]).train()
    with fast_encoder(model):
        _, expected = run(model, make_inputs())
        expected = {name: gradient.clone() for name, gradient in expected.items()}
        # Older versions of transformers have the other name alone.
        name = "activation_checkpointing_enable"
        getattr(model, name, model.gradient_checkpointing_enable)({"use_reentrant": False})
        _, found = run(model, make_inputs())
    assert all(torch.equal(found[name], expected[name]) for name in expected)
