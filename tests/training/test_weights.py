"""Weights are read back into the living modules, whatever these are made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from toy_training import Task, make_args, make_model, make_table, same, weights

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.model import make_model as with_loss
from hybrid_fast.training.weights import (
    TRAINED_FILE,
    has_foreign_code,
    load_weights,
    save_weights,
)

BEST = {"load_best_model_at_end": True, "metric_for_best_model": "multi_map"}
SAVING = {"save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-3}


def skip_if_names_change(model: ContrastiveModel, folder: Path) -> None:
    """Skip where transformers saves other names than those of the parameters (5.4 LayerNorm).

    All that is trained is then written beside the model's own file, and read from there.
    """
    if not load_file(folder / "model.safetensors").keys() <= backbone_state(model).keys():
        assert (folder / TRAINED_FILE).is_file()
        pytest.skip(f"transformers {transformers.__version__} saves other names than it has")


def backbone_state(model: ContrastiveModel) -> dict[str, torch.Tensor]:
    return model.encoder.backbone.model.state_dict()


class Adapter(nn.Module):
    """A module around a layer, as peft's, whose parameters alone are trained."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.down = nn.Linear(layer.in_features, 2, bias=False)
        self.up = nn.Linear(2, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, states):
        return self.layer(states) + self.up(self.down(states))


class Adapted(nn.Module):
    """A model in another library's hands: it saves its adapters alone, under their own names."""

    def __init__(self, model) -> None:
        super().__init__()
        self.base = model.requires_grad_(False)
        for layer in model.encoder.layer:
            layer.attention.self.query = Adapter(layer.attention.self.query)

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, **features):
        return self.base(**features)

    def save_pretrained(self, folder):
        state = {
            f"adapter.{number}.{part}": getattr(layer.attention.self.query, part).weight
            for number, layer in enumerate(self.base.encoder.layer)
            for part in ("down", "up")
        }
        save_file(state, folder / "adapter_model.safetensors")


def adapted(folder) -> BiEncoder:
    torch.manual_seed(3)
    model = BiEncoder.from_pretrained(folder)
    model.backbone.model = Adapted(model.backbone.model)
    return model


@pytest.fixture(scope="module")
def remote_folder(xlm_roberta_folder, tmp_path_factory):
    """A transformer whose classes stand in Python files of its folder."""
    folder = tmp_path_factory.mktemp("remote")
    for path in xlm_roberta_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "configuration_own.py").write_text(
        "from transformers import XLMRobertaConfig\n"
        "class OwnConfig(XLMRobertaConfig):\n    model_type = 'own'\n"
    )
    (folder / "modeling_own.py").write_text(
        "from transformers import XLMRobertaModel\nfrom .configuration_own import OwnConfig\n"
        "class OwnModel(XLMRobertaModel):\n    config_class = OwnConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    config |= {"model_type": "own", "architectures": ["OwnModel"], "auto_map": names}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("kind", ["own code", "adapters"])
def test_resuming_and_the_best_model_keep_code_and_adapters(
    tmp_path, remote_folder, xlm_roberta_folder, kind
):
    def make_trainer(output, **options) -> HybridTrainer:
        if kind == "adapters":
            model = adapted(xlm_roberta_folder)
        else:
            model = BiEncoder.from_pretrained(remote_folder, trust_remote_code=True)
        args = make_args(tmp_path / output, **{"max_steps": 4, **SAVING, **options})
        return HybridTrainer(model, args, make_table(), Task())

    whole = make_trainer("whole")
    before = weights(whole.encoder)
    classes = [type(module) for module in whole.encoder.modules()]
    whole.train()
    resumed = make_trainer("whole")
    resumed.train(resume_from_checkpoint=tmp_path / "whole" / "checkpoint-2")
    assert not same(before, weights(whole.encoder))
    assert same(weights(whole.encoder), weights(resumed.encoder))
    assert [type(module) for module in resumed.encoder.modules()] == classes

    best = make_trainer("best", max_steps=8, eval_strategy="steps", eval_steps=2, **BEST)
    best.train()  # the task likes the third evaluation best
    assert best.state.best_global_step == 6
    as_then = make_trainer("best")
    load_weights(as_then.model, tmp_path / "best" / "checkpoint-6")
    assert same(weights(best.encoder), weights(as_then.encoder))
    load_weights(as_then.model, tmp_path / "best" / "checkpoint-8")
    assert not same(weights(best.encoder), weights(as_then.encoder))


def test_only_what_their_own_files_lack_is_written_beside_them(tmp_path, xlm_roberta_folder):
    args = make_args(tmp_path)
    plain = with_loss(BiEncoder.from_pretrained(xlm_roberta_folder), args)
    save_weights(plain, tmp_path / "plain")
    skip_if_names_change(plain, tmp_path / "plain")
    assert not (tmp_path / "plain" / "trained.safetensors").exists()
    assert not has_foreign_code(plain)
    model = with_loss(adapted(xlm_roberta_folder), args)
    save_weights(model, tmp_path / "adapted")
    names = load_file(tmp_path / "adapted" / "trained.safetensors").keys()
    buffers = {f":{name}" for name, _ in model.encoder.backbone.model.named_buffers()}
    trained = [name for name in names if name not in buffers]
    assert len(trained) == 4
    assert all(name.endswith(("down.weight", "up.weight")) for name in trained)
    assert has_foreign_code(model)


def test_dtype_and_options_of_the_living_model_stay(tmp_path, bert_folder):
    args = make_args(tmp_path)
    saved = with_loss(BiEncoder.from_pretrained(bert_folder, dtype="bfloat16"), args)
    save_weights(saved, tmp_path / "model")
    skip_if_names_change(saved, tmp_path / "model")
    model = BiEncoder.from_pretrained(
        bert_folder, pooling="cls", query_prompt="q: ", attn_implementation="eager"
    )
    load_weights(with_loss(model, args), tmp_path / "model")
    assert (model.backbone.pooling, model.prompts["query"]) == ("cls", "q: ")
    assert model.backbone.model.config._attn_implementation == "eager"
    for name, value in model.state_dict().items():
        assert value.dtype == (torch.float32 if value.is_floating_point() else value.dtype)
        torch.testing.assert_close(value, saved.encoder.state_dict()[name].to(value.dtype))


def test_weights_in_several_files_are_one_state(tmp_path, bert_folder):
    model = with_loss(BiEncoder.from_pretrained(bert_folder), make_args(tmp_path))
    save_weights(model, tmp_path / "model")
    skip_if_names_change(model, tmp_path / "model")
    whole = load_file(tmp_path / "model" / "model.safetensors")
    for number, name in enumerate(whole):
        save_file({name: whole[name] + 1}, tmp_path / "model" / f"model-{number}.safetensors")
    (tmp_path / "model" / "model.safetensors").unlink()
    load_weights(model, tmp_path / "model")
    for name, value in model.encoder.backbone.model.state_dict().items():
        assert name not in whole or torch.equal(value, whole[name] + 1)


def test_weights_that_share_memory_are_saved_once_and_read_back(tmp_path):
    from_module = nn.Module()
    from_module.a = nn.Linear(2, 2)
    from_module.b = from_module.a
    model = with_loss(make_model(), make_args(tmp_path))
    model.encoder.modules_by_folder = lambda: {"none": from_module}
    save_weights(model, tmp_path / "model")
    assert set(load_file(tmp_path / "model" / "trained.safetensors")) == {
        "none:a.weight",
        "none:a.bias",
    }
    expected = from_module.a.weight.detach().clone()
    nn.init.zeros_(from_module.a.weight)
    load_weights(model, tmp_path / "model")
    assert torch.equal(from_module.b.weight, expected)


def test_what_does_not_fit_changes_nothing_and_is_named(tmp_path, bert_folder, xlm_roberta_folder):
    args = make_args(tmp_path, learn_temperature=True)
    model = with_loss(BiEncoder.from_pretrained(bert_folder), args)
    save_weights(model, tmp_path / "model")
    skip_if_names_change(model, tmp_path / "model")
    before = weights(model)
    path = tmp_path / "model" / "model.safetensors"
    state = load_file(path)

    def message() -> str:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            load_weights(model, tmp_path / "model")
        assert same(before, weights(model))
        return str(caught.value)

    name = "encoder.layer.1.output.dense.bias"
    save_file({key: value for key, value in state.items() if key != name}, path)
    assert f"its weights are not those of the model to train: {name} is not in the" in message()
    save_file(state | {"encoder.layer.2.x": state[name].clone()}, path)
    assert "it has no encoder.layer.2.x" in message()
    save_file(state | {name: state[name][:3].clone()}, path)
    assert f"{name} has shape (32,), and (3,) in the folder" in message()
    path.write_bytes(path.read_bytes()[:200])
    assert f"{path} is damaged" in message()
    path.unlink()
    assert "is not in the folder" in message()
    save_file(state, path)
    (tmp_path / "model" / "loss.safetensors").unlink()
    assert "loss.safetensors is missing" in message()


def test_a_model_that_cannot_be_read_back_is_refused_before_the_first_step(
    tmp_path, xlm_roberta_folder
):
    model = adapted(xlm_roberta_folder)

    def fail(folder):
        raise RuntimeError("adapters of this kind cannot be saved")

    model.backbone.model.save_pretrained = fail
    trainer = HybridTrainer(model, make_args(tmp_path), make_table())
    with pytest.raises(ValueError, match=r"not saved and loaded again: .*adapters of this kind"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert list(tmp_path.iterdir()) == []
