"""What ends a run from outside or inside: NaN, SIGTERM, Ctrl-C, and a rank that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ranks import launch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from toy_training import (
    Task,
    make_args,
    make_model,
    make_static_trainer,
    make_table,
    same,
    weights,
)
from transformers import TrainerCallback

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.checkpoints import complete_checkpoints


class Event(TrainerCallback):
    """Does something to one rank before the fourth update."""

    def __init__(self, action: Callable[[], None], rank: int = 0) -> None:
        self.action, self.rank = action, rank

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == 3 and int(os.environ.get("RANK", 0)) == self.rank:
            self.action()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def die() -> None:
    os._exit(7)


def train(folder: Path, options: dict, action: Callable[[], None], rank: int = 0) -> None:
    make_static_trainer(folder, [Event(action, rank)], **options).train()


def train_and_fail_late(*arguments) -> None:
    """Train; the launcher reports whom it sees fail first, which is to be the rank that died."""
    try:
        train(*arguments)
    except RuntimeError:
        time.sleep(2)
        raise


def test_a_loss_that_is_no_number_names_step_rows_and_the_last_good_checkpoint(tmp_path):
    class BreakWeights(TrainerCallback):
        @torch.no_grad()
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 5:
                trainer.encoder.backbone.embedding.weight.fill_(torch.nan)

    trainer = make_static_trainer(tmp_path, [BreakWeights()], save_strategy="steps", save_steps=2)
    rows = trainer.sampler.batch(5).query_rows
    with pytest.raises(ValueError, match="training diverged at step 5") as caught:
        trainer.train()
    message = str(caught.value)
    assert f"query rows {', '.join(map(str, rows))}, passage rows" in message
    assert f"the last checkpoint is {tmp_path / 'checkpoint-4'}" in message


def test_a_gradient_that_is_no_number_reaches_no_weight_and_no_checkpoint(tmp_path):
    class BreakGradient(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 3:
                weight = trainer.encoder.backbone.embedding.weight
                weight.register_hook(lambda gradient: gradient * torch.nan)

    trainer = make_static_trainer(tmp_path, [BreakGradient()], save_strategy="steps", save_steps=2)
    message = f"at step 3 .*checkpoint is {tmp_path / 'checkpoint-2'}.*the gradient is not finite"
    with pytest.raises(ValueError, match=message):
        trainer.train()
    assert trainer.encoder.backbone.embedding.weight.isfinite().all()


def test_an_infinite_loss_with_finite_embeddings_is_noticed_too(tmp_path):
    trainer = make_static_trainer(tmp_path)
    trainer.model.loss.forward = lambda queries, *_, **__: queries.sum() * torch.inf
    with pytest.raises(ValueError, match=r"at step 0 .*no checkpoint yet.*: the loss is -?inf"):
        trainer.train()


def test_an_error_of_the_loss_with_finite_embeddings_is_no_divergence(tmp_path):
    def fail(*_, **__):
        raise ValueError("no pairs")

    trainer = make_static_trainer(tmp_path)
    trainer.model.loss.forward = fail
    with pytest.raises(ValueError, match=r"^no pairs$"):
        trainer.train()


def test_sigterm_writes_a_checkpoint_and_ends_with_143(tmp_path):
    """As a process of its own: what the interpreter does at its end counts, too."""
    program = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_faults;"
        f"test_faults.train({str(tmp_path)!r}, {{}}, test_faults.terminate)"
    )
    command = [sys.executable, "-P", "-c", program]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 143, ended.stderr
    (checkpoint,) = complete_checkpoints(str(tmp_path))
    assert checkpoint.name == "checkpoint-4"


@pytest.mark.parametrize("event", ["on_pre_optimizer_step", "on_step_end", "on_train_end"])
def test_a_signal_after_the_gradient_ends_training_with_that_update(tmp_path, event):
    def terminate(args, state, control, **_):
        if state.global_step >= {"on_pre_optimizer_step": 3, "on_step_end": 4}.get(event, 6):
            os.kill(os.getpid(), signal.SIGTERM)

    callback = TrainerCallback()
    setattr(callback, event, terminate)
    trainer = make_static_trainer(tmp_path, max_steps=6)
    trainer.callback_handler.callbacks.insert(0, callback)
    with pytest.raises(SystemExit) as ended:
        trainer.train()
    assert ended.value.code == 143
    names = [checkpoint.name for checkpoint in complete_checkpoints(str(tmp_path))]
    assert names == ["checkpoint-6" if event == "on_train_end" else "checkpoint-4"]


def test_a_signal_within_an_epoch_evaluates_nothing_at_its_end(tmp_path):
    """An epoch has 12 steps; the model of its middle is not compared with those of ends."""
    options = {"max_steps": 24, "eval_strategy": "epoch", "save_strategy": "epoch"}
    args = make_args(tmp_path, **options, load_best_model_at_end=True)
    task = Task()
    trainer = HybridTrainer(make_model(), args, make_table(), task, [Event(terminate)])
    with pytest.raises(SystemExit):
        trainer.train()
    assert task.calls == 0
    assert trainer.state.best_metric is None
    (checkpoint,) = complete_checkpoints(str(tmp_path))
    assert checkpoint.name == "checkpoint-4"


def test_a_signal_in_the_last_evaluation_leaves_the_trained_model(tmp_path, caplog):
    class Ended(Task):
        def evaluate(self, model, batch_size=8):
            terminate()
            return super().evaluate(model, batch_size)

    args = make_args(tmp_path, max_steps=3, eval_strategy="steps", eval_steps=3)
    trainer = HybridTrainer(make_model(), args, make_table(), Ended())
    with caplog.at_level("INFO", logger="hybrid_fast"), pytest.raises(SystemExit):
        trainer.train()
    saved = BiEncoder.from_pretrained(tmp_path / "checkpoint-3")
    assert same(weights(saved), weights(trainer.encoder))
    assert f"after step 3 of 3; its checkpoint is in {tmp_path}" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_training_signals_are_what_they_were_before(tmp_path, number):
    before = signal.getsignal(number)
    make_static_trainer(tmp_path, max_steps=1).train()
    assert signal.getsignal(number) is before
    broken = make_static_trainer(tmp_path)
    broken.model.loss.forward = None
    with pytest.raises(TypeError):
        broken.train()
    assert signal.getsignal(number) is before


def test_ranks_of_which_one_gets_sigterm_stop_at_one_step(tmp_path):
    with pytest.raises(ChildFailedError):
        launch(train, 2, tmp_path, {"ddp_backend": "gloo"}, terminate, 1)
    (checkpoint,) = complete_checkpoints(str(tmp_path))
    assert checkpoint.name == "checkpoint-4"


def test_a_rank_that_dies_ends_all_ranks(tmp_path):
    start = time.monotonic()
    options = {"ddp_backend": "gloo", "ddp_timeout": 30, "max_steps": 100_000}
    with pytest.raises(ChildFailedError, match="exitcode  : 7"):
        launch(train_and_fail_late, 2, tmp_path, options, die, 1)
    assert time.monotonic() - start < 90
