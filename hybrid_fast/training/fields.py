"""What HybridTrainer does with each field of transformers' TrainingArguments.

The table covers every version from 5.4 to 5.24; docs/arguments.md says the same for readers.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_pt_utils import AcceleratorConfig

from hybrid_fast.common.choices import nearest

# They do what transformers says.
SERVED = frozenset(
    """
    output_dir per_device_train_batch_size num_train_epochs max_steps seed data_seed
    full_determinism use_cpu resume_from_checkpoint

    learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps warmup_ratio optim optim_args
    optim_target_modules weight_decay adam_beta1 adam_beta2 adam_epsilon max_grad_norm
    gradient_accumulation_steps

    bf16 fp16 tf32 torch_compile torch_compile_backend torch_compile_mode activation_checkpointing
    activation_checkpointing_kwargs gradient_checkpointing gradient_checkpointing_kwargs

    logging_strategy logging_steps logging_first_step logging_dir log_level log_level_replica
    log_on_each_node disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id skip_memory_metrics

    eval_strategy eval_steps eval_delay eval_on_start per_device_eval_batch_size
    load_best_model_at_end metric_for_best_model greater_is_better

    save_strategy save_steps save_total_limit save_only_model save_on_each_node
    restore_callback_states_from_checkpoint

    push_to_hub hub_model_id hub_strategy hub_token hub_private_repo hub_always_push hub_revision

    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context ddp_backend ddp_timeout
    """.split()
)

# Any value gives the same run: what they act on does not exist here.
HARMLESS = {
    "average_tokens_across_devices": "no loss is averaged over tokens",
    "logging_nan_inf_filter": "a loss that is not finite ends training",
    "use_cache": "texts are encoded in one pass",
    "liger_kernel_config": "only of use_liger_kernel",
    "eval_accumulation_steps": "an evaluation keeps embeddings alone",
    "dataloader_drop_last": "every batch is full",
    "remove_unused_columns": "a batch holds no columns",
    "length_column_name": "only of group_by_length",
    "ddp_find_unused_parameters": "gradients are averaged in one reduction",
    "ddp_bucket_cap_mb": "gradients are averaged in one reduction",
    "ddp_broadcast_buffers": "no buffer is trained",
    "ddp_static_graph": "gradients are averaged in one reduction",
    "fsdp_config": "only of fsdp",
    "do_train": "for scripts; HybridTrainer does not read it",
    "do_eval": "for scripts; HybridTrainer does not read it",
    "do_predict": "for scripts; HybridTrainer does not read it",
    "local_rank": "the launcher's LOCAL_RANK counts",
}

_OF_METRICS = "a task computes its metrics from all embeddings; leave it out"
_OF_PRECISION = "evaluation encodes as HybridTrainer.encoder does; leave it out"
_ONE_PROCESS = "run one process per device with torchrun"

# Any value but the default raises a ValueError with the reason.
REFUSED = {
    "label_smoothing_factor": "the loss has no classes to smooth; raise temperature instead",
    "neftune_noise_alpha": "embeddings get no noise; raise dropout instead",
    "use_liger_kernel": "its kernels are for causal models with labels; leave it out",
    "label_names": "the positive of a query is its label; leave it out",
    "auto_find_batch_size": "it would change the number of negatives; set batch_size, which memory "
    "does not limit",
    "torch_empty_cache_steps": "set micro_batch_tokens to bound memory",
    "include_num_input_tokens_seen": "tokens_per_second is logged without it; leave it out",
    "train_sampling_strategy": "the batch plan draws the examples, and texts are sorted by length "
    "within a batch; see language_sampling",
    "ignore_data_skip": "resuming skips no batch, since batches are a function of the step; leave "
    "it out",
    "accelerator_config": "the batch plan shares out the batches; leave it out",
    "parallelism_config": _ONE_PROCESS,
    "deepspeed": _ONE_PROCESS,
    "fsdp": _ONE_PROCESS,
    "enable_jit_checkpoint": "SIGTERM writes a checkpoint without it; leave it out",
    "dataloader_in_order": "batches must come in the order of steps; leave it out",
    "bf16_full_eval": _OF_PRECISION,
    "fp16_full_eval": _OF_PRECISION,
    "prediction_loss_only": _OF_METRICS,
    "eval_do_concat_batches": _OF_METRICS,
    "eval_use_gather_object": _OF_METRICS,
    "include_for_metrics": _OF_METRICS,
    "batch_eval_metrics": _OF_METRICS,
    "debug": "its hooks expect one forward pass a step; the error of a loss that is not finite "
    "names the step without it",
}

# Optimisers that step within a backward pass, or have other weights for training than for saving.
REFUSED_OPTIMISERS = {
    "lomo": "it updates weights during the backward pass, of which a step has several",
    "adalomo": "it updates weights during the backward pass, of which a step has several",
    "layerwise": "it updates weights during the backward pass, of which a step has several",
    "schedule_free": "its weights for training are not those to save",
}

_NO_GENERATION = "an encoder generates no text; leave it out"
_NO_LONGER = "transformers no longer has it; leave it out"
_PROMPTS = "prompts belong to the encoder; give query_prompt and passage_prompt to BiEncoder"

# Names that are no fields: of older versions and of sentence-transformers.
OTHER_NAMES = {
    "evaluation_strategy": "use eval_strategy",
    "per_gpu_train_batch_size": "use batch_size",
    "per_gpu_eval_batch_size": "use per_device_eval_batch_size",
    "train_batch_size": "use batch_size",
    "eval_batch_size": "use per_device_eval_batch_size",
    "no_cuda": "use use_cpu",
    "use_mps_device": "a device that is there is used; leave it out",
    "tpu_num_cores": _NO_LONGER,
    "tpu_metrics_debug": _NO_LONGER,
    "warmup_ratio": "use warmup_steps, where a number below 1 is a share of all steps",
    "logging_dir": "set the environment variable TENSORBOARD_LOGGING_DIR",
    "activation_checkpointing": "use gradient_checkpointing",
    "activation_checkpointing_kwargs": "use gradient_checkpointing_kwargs",
    "group_by_length": "texts are sorted by length within a batch; leave it out",
    "past_index": _NO_LONGER,
    "jit_mode_eval": "use torch_compile",
    "use_ipex": "use torch_compile",
    "torchdynamo": "use torch_compile_backend",
    "fp16_backend": "use fp16",
    "half_precision_backend": "use fp16 or bf16",
    "fp16_opt_level": "use fp16 or bf16",
    "adafactor": "use optim='adafactor'",
    "sharded_ddp": _ONE_PROCESS,
    "mp_parameters": _ONE_PROCESS,
    "fsdp_min_num_params": _ONE_PROCESS,
    "fsdp_transformer_layer_cls_to_wrap": _ONE_PROCESS,
    "dispatch_batches": "the batch plan shares out the batches; leave it out",
    "split_batches": "the batch plan shares out the batches; leave it out",
    "include_inputs_for_metrics": _OF_METRICS,
    "include_tokens_per_second": "tokens_per_second is logged without it; leave it out",
    "push_to_hub_model_id": "use hub_model_id",
    "push_to_hub_organization": "use hub_model_id='organisation/name'",
    "push_to_hub_token": "use hub_token",
    "overwrite_output_dir": "checkpoints of the same step are replaced; leave it out",
    "save_safetensors": "weights are always saved as safetensors; leave it out",
    "use_legacy_prediction_loop": _NO_LONGER,
    "ray_scope": "hyperparameters are searched with hybrid-fast sweep",
    "xpu_backend": "use ddp_backend",
    "predict_with_generate": _NO_GENERATION,
    "generation_max_length": _NO_GENERATION,
    "generation_num_beams": _NO_GENERATION,
    "generation_config": _NO_GENERATION,
    "sortish_sampler": "texts are sorted by length within a batch; leave it out",
    "batch_sampler": "the batch plan leaves out duplicates; see kind and language_sampling",
    "multi_dataset_batch_sampler": "see source_weights",
    "prompts": _PROMPTS,
    "query_prompt": _PROMPTS,
    "passage_prompt": _PROMPTS,
    "router_mapping": "queries and passages share one encoder; leave it out",
    "learning_rate_mapping": "use lr_multipliers, factors of learning_rate by name",
    "loss": "the loss is made from temperature, symmetric, margin and negatives",
}


def check_names(names: Any, known: Any, owner: str) -> None:
    """Raise a TypeError, which says what to give, for a keyword argument that is no field.

    Args:
        names: of the arguments.
        known: names of the fields.
        owner: the class, for the message.
    """
    for name in names:
        if name not in known:
            advice = OTHER_NAMES.get(name)
            hint = f"; {advice}" if advice else nearest(name, known)
            raise TypeError(f"{owner} has no argument {name!r}{hint}")


def check_refused(args: TrainingArguments) -> None:
    """Set refused fields that ask for nothing to their defaults.

    Raises:
        ValueError: one that asks for something; the message begins with its name.
    """
    for field in fields(TrainingArguments):
        if field.name not in REFUSED:
            continue
        value, default = getattr(args, field.name), _default(field)
        if not _asks(value, default):
            setattr(args, field.name, default)
            continue
        raise ValueError(f"{field.name} is {value!r}; {REFUSED[field.name]}")


def check_optimiser(args: TrainingArguments) -> None:
    """Raise a ValueError for an optimiser that a step of several backward passes cannot use."""
    name = str(getattr(args.optim, "value", args.optim))
    for part, reason in REFUSED_OPTIMISERS.items():
        if part in name:
            raise ValueError(f"optim is {name!r}; {reason}: use another, such as 'adamw_torch'")


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _asks(value: Any, default: Any) -> bool:
    if value is False and default == "no":  # what HfArgumentParser makes of "no"
        return False
    if isinstance(value, AcceleratorConfig):
        value = value.to_dict()
    if isinstance(value, dict):  # of accelerator_config: with all its own defaults, it asks nothing
        ours = AcceleratorConfig().to_dict()
        value = {name: given for name, given in value.items() if given != ours.get(name)}
    return value != default and bool(value or default)
