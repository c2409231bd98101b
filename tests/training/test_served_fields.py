"""Fields of transformers that are served do what it says; harmless ones change nothing."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest
import torch
from toy_training import Task, make_args, make_model, make_table, same, weights
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments
from transformers import logging as transformers_logging

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer, fields
from hybrid_fast.training.checkpoints import complete_checkpoints
from hybrid_fast.training.lazy_adam import LazyAdamW

INSTALLED = {field.name for field in dataclasses.fields(TrainingArguments)}


def trained(folder, callbacks=(), evaluator=None, **options) -> HybridTrainer:
    args = make_args(folder, **{"max_steps": 3, "logging_steps": 1, **options})
    trainer = HybridTrainer(make_model(), args, make_table(), evaluator, list(callbacks))
    trainer.train()
    return trainer


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def group(trainer) -> dict:
    return trainer.optimizer.param_groups[0]


def names(folder) -> list[str]:
    return [path.name for path in complete_checkpoints(str(folder))]


@pytest.mark.filterwarnings("ignore:.min_num_params")  # of older versions
def test_harmless_fields_change_nothing(tmp_path):
    options = {
        "average_tokens_across_devices": False,
        "logging_nan_inf_filter": True,
        "use_cache": True,
        "liger_kernel_config": {"rope": True},
        "eval_accumulation_steps": 3,
        "dataloader_drop_last": True,
        "remove_unused_columns": False,
        "length_column_name": "size",
        "ddp_find_unused_parameters": True,
        "ddp_bucket_cap_mb": 5,
        "ddp_broadcast_buffers": True,
        "ddp_static_graph": True,
        "fsdp_config": {"min_num_params": 5},
        "do_train": True,
        "do_eval": True,
        "do_predict": True,
        "local_rank": 0,
    }
    assert set(options) == set(fields.HARMLESS)
    plain = trained(tmp_path)
    other = trained(tmp_path, **{name: options[name] for name in set(options) & INSTALLED})
    assert same(weights(plain.encoder), weights(other.encoder))
    assert losses(plain) == losses(other)


def test_optimiser_and_schedule(tmp_path):
    options = {
        "learning_rate": 0.03,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr": 0.006},
        "warmup_steps": 2,
        "weight_decay": 0.3,
        "adam_beta1": 0.8,
        "adam_beta2": 0.95,
        "adam_epsilon": 1e-5,
        "max_steps": 6,
    }
    trainer = trained(tmp_path, **options)
    rates = [e["learning_rate"] for e in trainer.state.log_history if "learning_rate" in e]
    assert rates[:3] == pytest.approx([0.0, 0.015, 0.03])
    assert rates[3] < 0.03
    assert group(trainer)["lr"] == pytest.approx(0.006)
    assert (group(trainer)["weight_decay"], group(trainer)["eps"]) == (0.3, 1e-5)
    assert tuple(group(trainer)["betas"]) == (0.8, 0.95)
    sgd = trained(tmp_path, optim="sgd", optim_args="momentum=0.5")
    assert isinstance(sgd.optimizer.optimizer, torch.optim.SGD)
    # Of GaLore and Apollo alone; transformers warns of it elsewhere, or leaves it unread.
    assert losses(trained(tmp_path, optim_target_modules="all-linear")) == losses(trained(tmp_path))
    if "warmup_ratio" in INSTALLED:
        ratio = trained(tmp_path, warmup_ratio=0.5, max_steps=4)
        assert ratio.state.log_history[0]["learning_rate"] == 0


def test_clipping_accumulation_and_length(tmp_path):
    plain, clipped = trained(tmp_path), trained(tmp_path, max_grad_norm=1e-4, optim="sgd")
    unclipped = trained(tmp_path, max_grad_norm=1e9, optim="sgd")
    moved = [
        (trainer.encoder.backbone.embedding.weight - make_model().backbone.embedding.weight).norm()
        for trainer in (clipped, unclipped)
    ]
    assert moved[0] < 0.1 * moved[1]
    accumulated = trained(tmp_path, gradient_accumulation_steps=2)
    assert accumulated.sampler.batch_size == plain.sampler.batch_size
    assert losses(accumulated)[0] != losses(plain)[0]
    epochs = trained(tmp_path, max_steps=-1, num_train_epochs=0.5)
    assert epochs.state.global_step == 6
    per_process = make_args(tmp_path, batch_size=None, per_device_train_batch_size=6)
    assert per_process.batch_size == 6
    with pytest.raises(ValueError, match="per_device_train_batch_size is 6 and batch_size is 12"):
        make_args(tmp_path, per_device_train_batch_size=6)


def test_seeds(tmp_path):
    plain = trained(tmp_path)
    plans = {
        name: trained(tmp_path, **options).sampler.batch(0).query_rows.tolist()
        for name, options in {
            "seed": {"seed": 1},
            "data_seed": {"data_seed": 1},
            "both": {"seed": 5, "data_seed": 1},
        }.items()
    }
    assert plans["seed"] == plans["data_seed"] == plans["both"]
    assert plans["seed"] != plain.sampler.batch(0).query_rows.tolist()
    before = torch.are_deterministic_algorithms_enabled()
    try:
        environment = dict(os.environ)
        same_again = trained(tmp_path, full_determinism=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(before)
        for name in set(os.environ) - set(environment):
            del os.environ[name]
    assert losses(same_again) == losses(plain)


def test_precision_and_device(tmp_path):
    assert make_args(tmp_path, use_cpu=True).device.type == "cpu"
    plain, rounded = trained(tmp_path), trained(tmp_path, bf16=True)
    assert rounded.accelerator.mixed_precision == "bf16"
    if torch.cuda.is_available():
        on_gpu = trained(tmp_path, fp16=True, use_cpu=False)
        assert losses(on_gpu) == pytest.approx(losses(plain), rel=0.05)
    assert losses(rounded) == pytest.approx(losses(plain), rel=0.05)
    assert losses(trained(tmp_path, tf32=False)) == losses(plain)


def test_recomputed_activations_are_asked_of_transformers_alone(tmp_path, xlm_roberta_folder):
    renamed = "activation_checkpointing" in INSTALLED
    name = "activation_checkpointing" if renamed else "gradient_checkpointing"
    asked = {name: True, f"{name}_kwargs": {"use_reentrant": False}}
    with pytest.raises(ValueError, match="only transformer encoders can recompute activations"):
        trained(tmp_path, **asked)
    model = BiEncoder.from_pretrained(xlm_roberta_folder)
    HybridTrainer(model, make_args(tmp_path, max_steps=1, **asked), make_table()).train()
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    if renamed:
        with pytest.warns(FutureWarning, match="gradient_checkpointing"):
            old = make_args(
                tmp_path, gradient_checkpointing=True, gradient_checkpointing_kwargs={"a": 1}
            )
        assert (old.activation_checkpointing, old.activation_checkpointing_kwargs) == (
            True,
            {"a": 1},
        )


def test_compilation(tmp_path):
    options = {
        "torch_compile": True,
        "torch_compile_backend": "aot_eager",
        "torch_compile_mode": "default",
    }
    trainer = trained(tmp_path, **options)
    assert not isinstance(trainer.optimizer.optimizer, LazyAdamW)  # its table is small
    assert losses(trainer) == losses(trained(tmp_path))  # nothing of a static encoder is compiled


class Seen(TrainerCallback):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.logs: list[dict] = []
        self.steps: list[int] = []

    def on_log(self, args, state, control, logs=None, **_):
        self.logs.append(dict(logs))
        self.steps.append(state.global_step)


def test_logging(tmp_path, monkeypatch, capsys):
    seen = Seen()
    trained(tmp_path, [seen], logging_steps=2, logging_first_step=True, max_steps=5)
    assert seen.steps == [1, 2, 4, 5]
    seen = Seen()
    trained(tmp_path, [seen], logging_strategy="epoch", max_steps=12)
    assert seen.steps == [12, 12]
    trained(tmp_path, disable_tqdm=False)
    assert "3/3" in capsys.readouterr().err
    verbosity = transformers_logging.get_verbosity()
    try:
        trained(tmp_path, log_level="error", log_level_replica="error", log_on_each_node=False)
        assert transformers_logging.get_verbosity() == transformers_logging.ERROR
    finally:
        transformers_logging.set_verbosity(verbosity)
    memory = trained(tmp_path, skip_memory_metrics=False).state.log_history[-1]
    assert "train_mem_cpu_alloc_delta" in memory
    with pytest.raises((RuntimeError, ValueError), match="wandb"):
        trained(tmp_path, report_to="wandb")
    # What loggers read when they are installed.
    named = {"run_name": "own", "project": "mine", "trackio_space_id": "o/s", "logging_dir": "l"}
    named |= {"trackio_bucket_id": "o/b", "trackio_static_space_id": "o/t"}
    named = {name: value for name, value in named.items() if name in INSTALLED}
    args = make_args(tmp_path, **named)
    assert {name: getattr(args, name) for name in named} == named


def test_evaluation(tmp_path):
    task = Task()
    options = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 6}
    trained(tmp_path, evaluator=task, eval_delay=3, **options)
    assert task.calls == 2
    task = Task()
    trained(tmp_path, evaluator=task, eval_on_start=True, **options)
    assert task.calls == 4

    class Sizes(Task):
        def evaluate(self, model, batch_size=8):
            sizes.append(batch_size)
            return super().evaluate(model, batch_size)

    sizes: list[int] = []
    trained(tmp_path, evaluator=Sizes(), per_device_eval_batch_size=5, **options)
    assert set(sizes) == {5}


def test_saving(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 6}
    trained(tmp_path / "limit", save_total_limit=2, **options)
    assert names(tmp_path / "limit") == ["checkpoint-4", "checkpoint-6"]
    trained(tmp_path / "model", save_only_model=True, **options)
    assert not list((tmp_path / "model").rglob("optimizer.pt"))
    trained(tmp_path / "nodes", save_on_each_node=True, **options)
    assert len(names(tmp_path / "nodes")) == 3
    best = {"save_strategy": "best", "eval_strategy": "steps", "eval_steps": 2, "max_steps": 8}
    trained(tmp_path / "best", evaluator=Task(), **best)
    assert names(tmp_path / "best") == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]


def test_the_best_model_and_its_metric(tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 8}
    options |= {"save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True}
    best = trained(tmp_path / "default", evaluator=Task(), **options)
    assert best.args.metric_for_best_model == "multi_map"
    assert (best.state.best_global_step, best.state.best_metric) == (6, 1.0)
    worst = {"metric_for_best_model": "eval_multi_map", "greater_is_better": False}
    assert trained(tmp_path / "w", evaluator=Task(), **options, **worst).state.best_metric == 0.8
    plateau = {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0}}
    falling = trained(tmp_path / "p", evaluator=Task(), **{**options, **plateau, "max_steps": 12})
    assert group(falling)["lr"] < 0.02


def test_resuming(tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    early = {"eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "multi_map"}
    trained(tmp_path, [EarlyStoppingCallback(3)], Task(), **saving, **early)
    resumed = trained(
        tmp_path,
        [EarlyStoppingCallback(1)],
        Task(),
        resume_from_checkpoint=str(tmp_path / "checkpoint-2"),
        restore_callback_states_from_checkpoint=True,
        **saving,
        **early,
    )
    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == [1, 2, 3, 4]
    (stopping,) = (
        callback
        for callback in resumed.callback_handler.callbacks
        if isinstance(callback, EarlyStoppingCallback)
    )
    assert stopping.early_stopping_patience == 3


def test_loading_and_ranks(tmp_path):
    options = {
        "dataloader_num_workers": 1,
        "dataloader_pin_memory": False,
        "dataloader_persistent_workers": True,
        "dataloader_prefetch_factor": 3,
        "dataloader_multiprocessing_context": "forkserver",
        "ddp_timeout": 77,
    }
    options = {name: value for name, value in options.items() if name in INSTALLED}
    args = make_args(tmp_path, **options)
    loader = HybridTrainer(make_model(), args, make_table()).get_train_dataloader()
    assert (loader.num_workers, loader.pin_memory, loader.prefetch_factor) == (1, False, 3)
    assert loader.persistent_workers
    if "dataloader_multiprocessing_context" in options:
        assert loader.multiprocessing_context.get_start_method() == "forkserver"
    assert args.ddp_timeout == 77
    assert losses(trained(tmp_path, ddp_backend="gloo")) == losses(trained(tmp_path))
    forked = {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 3}
    assert losses(trained(tmp_path, **forked)) == losses(trained(tmp_path))


def test_each_served_field_is_given_in_a_test():
    here = Path(__file__).parent
    texts = [
        (here / name).read_text("utf-8")
        for name in ("test_served_fields.py", "test_hub.py", "toy_training.py", "test_faults.py")
    ]
    given = set(re.findall(r'\b([a-z0-9_]+)"?[=:]', "\n".join(texts)))
    of_both_names = {"activation_checkpointing", "activation_checkpointing_kwargs"}
    assert fields.SERVED - given - of_both_names == set()
