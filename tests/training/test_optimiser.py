"""Lazy updates of token tables give the weights of AdamW, whoever looks at them when."""

from __future__ import annotations

import pytest
import torch
from toy_training import (
    Task,
    make_args,
    make_model,
    make_table,
    make_transformer_trainer,
    plain_adamw,
    same,
    weights,
)
from transformers import TrainerCallback

from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.lazy_adam import LazyAdamW
from hybrid_fast.training.optimiser import can_update_lazily

pytestmark = pytest.mark.usefixtures("every_table_is_large")


@pytest.mark.parametrize("max_grad_norm", [0.0, 0.05])
def test_lazy_updates_are_those_of_adamw(tmp_path, max_grad_norm):
    options = {
        "max_grad_norm": max_grad_norm,
        "weight_decay": 0.1,
        "warmup_steps": 3,
        "gradient_accumulation_steps": 2,
        "eval_strategy": "steps",
        "eval_steps": 7,
        "learn_temperature": True,
    }
    args = make_args(tmp_path, **options)
    lazy = HybridTrainer(make_model(), args, make_table(), Task())
    dense = HybridTrainer(make_model(), args, make_table(), Task(), **plain_adamw(args))
    for trainer in (lazy, dense):
        trainer.train()
    assert isinstance(lazy.optimizer.optimizer, LazyAdamW)
    assert type(dense.optimizer.optimizer) is torch.optim.AdamW
    for name, expected in dense.model.state_dict().items():
        torch.testing.assert_close(lazy.model.state_dict()[name], expected, rtol=1e-4, atol=2e-5)
    norms = [
        [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
        for trainer in (lazy, dense)
    ]
    assert len(norms[0]) == 6
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)


def test_evaluating_and_saving_change_no_bit(tmp_path):
    plain = HybridTrainer(make_model(), make_args(tmp_path / "plain"), make_table())
    busy_options = {
        "eval_strategy": "steps",
        "eval_steps": 3,
        "save_strategy": "steps",
        "save_steps": 5,
    }
    busy = HybridTrainer(
        make_model(), make_args(tmp_path / "busy", **busy_options), make_table(), Task()
    )
    for trainer in (plain, busy):
        trainer.train()
    assert same(weights(plain.model), weights(busy.model))


def test_whoever_reads_weights_while_training_reads_those_of_adamw(tmp_path):
    class Reader(TrainerCallback):
        def __init__(self):
            self.seen = []

        def on_step_end(self, args, state, control, *, model, **kwargs):
            self.seen.append(weights(model)["encoder.backbone.embedding.weight"])

    args = make_args(tmp_path, max_steps=4)
    readers = Reader(), Reader()
    for reader, own in zip(readers, ({}, plain_adamw(args)), strict=True):
        HybridTrainer(make_model(), args, make_table(), callbacks=[reader], **own).train()
    assert len(readers[0].seen) == 4
    torch.testing.assert_close(readers[0].seen, readers[1].seen, rtol=1e-4, atol=2e-5)


class StopAfter(TrainerCallback):
    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.num_steps


def test_a_run_that_is_interrupted_leaves_no_row_behind(tmp_path):
    class Interrupt(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 3:
                raise KeyboardInterrupt

    args = make_args(tmp_path)
    interrupted = HybridTrainer(make_model(), args, make_table(), callbacks=[Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    stopped = HybridTrainer(make_model(), args, make_table(), callbacks=[StopAfter(3)])
    stopped.train()
    assert same(weights(interrupted.model), weights(stopped.model))


def test_a_second_training_goes_on_from_the_first(tmp_path):
    trainers = []
    args = make_args(tmp_path, max_steps=5)
    for own in ({}, plain_adamw(args)):
        trainer = HybridTrainer(make_model(), args, make_table(), **own)
        trainer.train()
        trainer.train()
        trainers.append(trainer)
    torch.testing.assert_close(
        weights(trainers[0].model), weights(trainers[1].model), rtol=1e-4, atol=2e-5
    )


@pytest.mark.parametrize(
    "options",
    [{"optim": "sgd"}, {"adam_beta1": 0.99, "adam_beta2": 0.9}],
    ids=str,
)
def test_what_cannot_be_lazy_is_not(tmp_path, options):
    args = make_args(tmp_path, max_steps=2, **options)
    trainer = HybridTrainer(make_model(), args, make_table())
    trainer.train()
    assert not isinstance(trainer.optimizer.optimizer, LazyAdamW)
    assert not same(weights(trainer.encoder), weights(make_model()))


def test_compiled_layers_leave_a_table_to_lazy_updates(tmp_path, xlm_roberta_folder):
    options = {"max_steps": 3, "torch_compile_backend": "aot_eager"}
    trainers = [
        make_transformer_trainer(xlm_roberta_folder, tmp_path, torch_compile=compiles, **options)
        for compiles in (True, False)
    ]
    for trainer in trainers:
        trainer.train()
        assert isinstance(trainer.optimizer.optimizer, LazyAdamW)
    found, expected = (trainer.encoder.state_dict() for trainer in trainers)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)
    transformer = trainers[0].encoder.backbone.model
    transformer.encoder.layer = torch.nn.Sequential(*transformer.encoder.layer)
    assert not can_update_lazily(trainers[0].args, trainers[0].model)
    assert can_update_lazily(trainers[1].args, trainers[1].model)
    torch._dynamo.reset()
