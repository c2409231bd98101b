"""The layers of a transformer are found, whatever its family calls them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from layered_models import FAMILIES, features, make_family
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.layers import find_layers

# DeBERTa of transformers 5.4.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script")

# Weights by depth: embeddings, three layers, and what follows them (a pooler aside).
FOLLOWING = {
    "modernbert": ["final_norm"],
    "t5": ["encoder.final_layer_norm"],
    "qwen3": ["norm"],
    "gemma3": ["norm"],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_depends_on_those_below_alone(family):
    model = make_family(family)
    layers = find_layers(model)
    assert layers.number == 3
    following = {
        name.rpartition(".")[0] for name, _ in model.named_parameters() if layers.depth(name) == 4
    }
    assert following - {"pooler.dense"} == set(FOLLOWING.get(family, []))
    for depth in (1, 2, 3):
        of_depth = [m for n, m in layers.modules.items() if layers.depths[n] == depth]
        weights = [w for m in of_depth for w in m.parameters()]
        named = [w for n, w in model.named_parameters() if layers.depth(n) == depth]
        assert {id(w) for w in weights} == {id(w) for w in named}
        assert sum(w.numel() for w in weights) > 5_000


@pytest.mark.parametrize("family", FAMILIES)
def test_no_gradient_goes_below_the_lowest_trained_layer(family):
    model = make_family(family)
    layers = find_layers(model)
    for name, weight in model.named_parameters():
        weight.requires_grad_(layers.depth(name) > 1)
    needs_gradient = {}

    def see(depth, inputs):
        tensors = [each for each in inputs if isinstance(each, torch.Tensor)]
        needs_gradient.setdefault(depth, any(each.requires_grad for each in tensors))

    for name, layer in layers.modules.items():
        layer.register_forward_pre_hook(lambda _, args, depth=layers.depths[name]: see(depth, args))
    model(**features()).last_hidden_state.sum().backward()
    assert needs_gradient[1] is needs_gradient[2] is False
    assert needs_gradient[3] is True


def test_embeddings_stand_before_the_layers(bert_folder):
    model = BiEncoder.from_pretrained(bert_folder).backbone.model
    layers = find_layers(model)
    assert layers.depth("embeddings.LayerNorm.bias") == 0
    assert layers.depth("encoder.layer.0.attention.self.query.weight") == 1
    assert layers.depth("encoder.layer.1.output.dense.bias") == 2
    assert layers.depth("pooler.dense.weight") == 3


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing")  # which peft asks for
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("family", ["bert", "modernbert", "t5", "qwen3"])
def test_layers_of_an_adapter_are_those_that_it_is_in(family, wrapped):
    peft = pytest.importorskip("peft")
    model = make_family(family)
    config = peft.LoraConfig(r=2, target_modules="all-linear")
    if wrapped:
        model = peft.get_peft_model(model, config)
    else:
        peft.inject_adapter_in_model(config, model)
    layers = find_layers(model)
    names = [name for name, w in model.named_parameters() if w.requires_grad]
    counts = Counter(layers.depth(name) for name in names if "pooler" not in name)
    assert layers.number == 3
    assert set(counts) == {1, 2, 3}
    assert counts[1] == counts[2] == counts[3] >= 8


def test_lists_within_layers_are_no_layers():
    """Experts may be more than the layers that hold them."""

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(8))

    model = nn.Module()
    model.start = nn.Linear(2, 2)
    model.blocks = nn.ModuleList(Layer() for _ in range(3))
    model.end = nn.Linear(2, 2)
    layers = find_layers(model)
    assert layers.number == 3
    assert layers.depth("blocks.1.experts.7.weight") == 2
    assert (layers.depth("start.weight"), layers.depth("end.weight")) == (0, 4)


def test_the_number_that_the_configuration_says_comes_before_the_longest_list():
    model = nn.Module()
    model.config = type("Config", (), {"num_hidden_layers": 2})()
    model.scales = nn.ModuleList(nn.Linear(2, 2) for _ in range(5))
    model.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))
    assert list(find_layers(model).modules) == ["layers.0", "layers.1"]


def test_a_model_without_layers_is_an_error():
    with pytest.raises(ValueError, match="a Linear has no layers"):
        find_layers(nn.Linear(2, 2))
