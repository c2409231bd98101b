"""Every field of transformers' TrainingArguments is served, harmless or refused, and is tried."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from toy_training import make_args
from transformers import TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

from hybrid_fast.training import HybridTrainingArguments, fields

DOCS = Path(__file__).parents[2] / "docs" / "arguments.md"
INSTALLED = {field.name for field in dataclasses.fields(TrainingArguments)}


def test_every_installed_field_stands_in_one_table():
    tables = [set(fields.SERVED), set(fields.HARMLESS), set(fields.REFUSED)]
    for number, table in enumerate(tables):
        for other in tables[number + 1 :]:
            assert not table & other
    assert INSTALLED - set.union(*tables) == set()


def test_the_documented_table_is_that_of_the_code():
    documented = {}
    for line in DOCS.read_text("utf-8").splitlines():
        cells = line.split("|")
        if len(cells) > 3 and cells[1].strip() in ("served", "harmless", "refused"):
            for name in re.findall(r"`([a-z0-9_]+)`", cells[2]):
                documented[name] = cells[1].strip()
    known = {
        **dict.fromkeys(fields.SERVED, "served"),
        **dict.fromkeys(fields.HARMLESS, "harmless"),
        **dict.fromkeys(fields.REFUSED, "refused"),
    }
    assert documented == known


WRONG = {
    "label_smoothing_factor": 0.1,
    "neftune_noise_alpha": 5.0,
    "use_liger_kernel": True,
    "label_names": ["labels"],
    "auto_find_batch_size": True,
    "torch_empty_cache_steps": 10,
    "include_num_input_tokens_seen": True,
    "train_sampling_strategy": "group_by_length",
    "ignore_data_skip": True,
    "accelerator_config": {"split_batches": True},
    "parallelism_config": SimpleNamespace(),
    "deepspeed": {"zero_optimization": {"stage": 2}},
    "fsdp": "full_shard",
    "enable_jit_checkpoint": True,
    "dataloader_in_order": False,
    "bf16_full_eval": True,
    "fp16_full_eval": True,
    "prediction_loss_only": True,
    "eval_do_concat_batches": False,
    "eval_use_gather_object": True,
    "include_for_metrics": ["inputs"],
    "batch_eval_metrics": True,
    "debug": "underflow_overflow",
}


def test_a_refused_field_says_what_to_do(tmp_path):
    assert set(WRONG) == set(fields.REFUSED)
    for name in set(WRONG) & INSTALLED:
        with pytest.raises(ValueError, match=rf"^{name} is .*; .*\w") as caught:
            make_args(tmp_path, **{name: WRONG[name]})
        assert fields.REFUSED[name] in str(caught.value)


def test_a_refused_field_that_asks_for_nothing_is_taken(tmp_path):
    nothing = {
        "neftune_noise_alpha": 0,
        "label_names": [],
        "accelerator_config": AcceleratorConfig(),
        "fsdp": "",
        "debug": [],
        "include_num_input_tokens_seen": "no",
        "train_sampling_strategy": "random",
    }
    args = make_args(tmp_path, **nothing)
    assert args.neftune_noise_alpha is None
    again = HybridTrainingArguments(**args.to_dict())
    copy = dataclasses.replace(args, max_steps=7)
    assert (again.batch_size, copy.batch_size, copy.max_steps) == (12, 12, 7)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("evaluation_strategy", "use eval_strategy"),
        ("past_index", "transformers no longer has it; leave it out"),
        ("group_by_length", "sorted by length"),
        ("torchdynamo", "use torch_compile_backend"),
        ("jit_mode_eval", "use torch_compile"),
        ("predict_with_generate", "an encoder generates no text"),
        ("no_cuda", "use use_cpu"),
        ("batch_sampler", "leaves out duplicates"),
        ("prompts", "query_prompt and passage_prompt"),
        ("learning_rat", "did you mean 'learning_rate'"),
    ],
)
def test_a_name_that_is_no_field_is_told_what_to_use(tmp_path, name, advice):
    with pytest.raises(TypeError, match=f"has no argument '{name}'.*{advice}"):
        make_args(tmp_path, **{name: 1})


@pytest.mark.parametrize("variable", ["DEEPSPEED", "FSDP"])
def test_what_accelerate_launch_sets_is_refused_too(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(f"ACCELERATE_USE_{variable}", "true")
    with pytest.raises(ValueError, match="is set by accelerate launch, and is not supported"):
        make_args(tmp_path)


@pytest.mark.parametrize("name", ["lomo", "galore_adamw_layerwise", "schedule_free_adamw"])
def test_optimisers_that_step_in_the_backward_pass_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"^optim is '{name}'; "):
        make_args(tmp_path, optim=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataloader_num_workers": -1}, "dataloader_num_workers is -1; it must be at least 0"),
        ({"dataloader_prefetch_factor": 2}, "dataloader_prefetch_factor is 2, and there are no"),
        ({"dataloader_persistent_workers": True}, "persistent_workers is True, .* no workers; set"),
        ({"dataloader_multiprocessing_context": "spawn"}, "context is 'spawn', .* no workers"),
        (
            {"dataloader_num_workers": 1, "dataloader_multiprocessing_context": "spawned"},
            "context is 'spawned'; it must be one of .*did you mean 'spawn'",
        ),
        (
            {"dataloader_num_workers": 1, "dataloader_prefetch_factor": 0},
            "dataloader_prefetch_factor is 0; it must be at least 1",
        ),
    ],
    ids=str,
)
def test_options_of_workers_are_checked_before_training(tmp_path, options, message):
    if set(options) <= INSTALLED:
        with pytest.raises(ValueError, match=message):
            make_args(tmp_path, **options)
