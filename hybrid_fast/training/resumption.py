"""What each argument does in a run that goes on, from a checkpoint or in a trainer that is made.

A value that cannot be followed is refused with both values: a run that kept the old one would not
do what was asked. docs/arguments.md says the same for readers.
"""

from __future__ import annotations

import json
import logging
from hashlib import blake2b
from typing import Any

from hybrid_fast.data import HybridBatchSampler
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.adapters.options import make_config, plain_config
from hybrid_fast.models.head.head import members
from hybrid_fast.models.texts import SIDES
from hybrid_fast.training.arguments import HybridTrainingArguments

logger = logging.getLogger(__name__)

_OF_PLAN = """
    batch_size kind alpha language_sampling pair_weights source_weights pairs data_seed
    """.split()

# A checkpoint is resumed with their values only.
SAME = frozenset(
    """
    seed gradient_accumulation_steps optim optim_args optim_target_modules
    temperature learn_temperature loss_precision symmetric margin negatives negatives_from
    gather_negatives bf16 fp16 frozen_layers dropout adapter
    """.split()
    + _OF_PLAN
)

# Set by the machine, or for it: a trained model may be evaluated on another one.
_OF_MACHINE = frozenset("use_cpu tf32 micro_batch_tokens cached_activation_tokens".split())

# The first then depends on the table, the second on the device.
_DEFAULTS = (("alpha", None), ("loss_precision", None))

# From a checkpoint on, their new values decide on the weights, some by rounding only.
FOLLOWED = frozenset(
    """
    learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps warmup_ratio weight_decay
    adam_beta1 adam_beta2 adam_epsilon max_grad_norm max_steps num_train_epochs
    load_best_model_at_end metric_for_best_model greater_is_better layer_lr_decay lr_multipliers

    micro_batch_tokens cached_activation_tokens embed_repeats_once full_determinism use_cpu tf32
    torch_compile torch_compile_backend torch_compile_mode
    """.split()
)

_OF_WEIGHTS = (SAME | FOLLOWED) - _OF_MACHINE

# New values are followed too, and the weights are the same.
FREE = frozenset(
    """
    output_dir per_device_train_batch_size resume_from_checkpoint token_store profile
    activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing
    gradient_checkpointing_kwargs

    logging_strategy logging_steps logging_first_step logging_dir log_level log_level_replica
    log_on_each_node disable_tqdm report_to run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id skip_memory_metrics

    eval_strategy eval_steps eval_delay eval_on_start per_device_eval_batch_size
    save_strategy save_steps save_total_limit save_only_model save_on_each_node merge_adapter
    restore_callback_states_from_checkpoint

    push_to_hub hub_model_id hub_strategy hub_token hub_private_repo hub_always_push hub_revision

    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context ddp_backend ddp_timeout
    """.split()
)

# They are read when a HybridTrainer is made; a later value is refused, and that of any other
# argument followed by the next call of `train`.
FIXED = SAME | frozenset(
    """
    layer_lr_decay lr_multipliers

    micro_batch_tokens cached_activation_tokens embed_repeats_once full_determinism use_cpu tf32
    torch_compile torch_compile_backend torch_compile_mode

    per_device_train_batch_size token_store profile
    activation_checkpointing activation_checkpointing_kwargs gradient_checkpointing
    gradient_checkpointing_kwargs log_level log_level_replica disable_tqdm report_to
    skip_memory_metrics push_to_hub hub_model_id hub_token hub_private_repo ddp_backend ddp_timeout
    """.split()
)


def plain_arguments(args: HybridTrainingArguments) -> dict[str, Any]:
    """Return the fields by name, as JSON holds them; secrets are masked.

    Of an adapter only what differs from peft's defaults: how it is written makes no difference.
    """
    given = args.to_dict()
    if args.adapter is not None:
        given["adapter"] = plain_config(make_config(args.adapter))
    values: dict[str, Any] = json.loads(json.dumps(given, default=str))
    return values


def run_settings(
    args: HybridTrainingArguments,
    sampler: HybridBatchSampler,
    table_fingerprint: str,
    encoder: BiEncoder,
    loss_precision: str,
) -> dict[str, dict[str, Any]]:
    """Return what a checkpoint keeps of a run.

    Args:
        args: of the run.
        sampler: its plan.
        table_fingerprint: of its rows.
        encoder: that is trained.
        loss_precision: in effect, given or not.

    Returns:
        `same` and `encoder`: what a resumed run must share; `followed`: arguments in which it may
        differ.
    """
    given = plain_arguments(args)
    same = {name: given[name] for name in sorted(SAME)}
    same |= {"alpha": sampler.alpha, "data_seed": sampler.seed}  # in effect, given or not
    same["loss_precision"] = loss_precision
    same["processes"] = None if args.gather_negatives else args.world_size
    same["table"] = table_fingerprint
    return {
        "same": same,
        "encoder": _of_encoder(encoder),
        "followed": {name: given[name] for name in FOLLOWED if name in given},
    }


def _of_encoder(encoder: BiEncoder) -> dict[str, Any]:
    tokenizer = blake2b(encoder.backbone.tokenizer_state().encode(), digest_size=16)
    return {
        "adapter": encoder.adapter_config,
        "tokenizer": tokenizer.hexdigest(),
        "pooling": getattr(encoder.backbone, "pooling", None),
        "include_prompt": getattr(encoder.backbone, "include_prompt", None),
        "head": [module.description() for module in members(encoder.head)],
        "bidirectional": getattr(encoder.backbone, "bidirectional", None),
        "similarity": encoder.similarity_fn_name,
        "normalize": encoder.normalize,
        **{f"{side}_prompt": encoder.prompts.of_side(side) for side in SIDES},
        **{f"max_{side}_length": encoder.max_length.get(side) for side in SIDES},
    }


def check_same(saved: dict[str, Any], run: dict[str, Any], checkpoint: object) -> None:
    """Check that a run may resume from a checkpoint.

    Args:
        saved: `same` of `run_settings` of the checkpoint.
        run: the same of the run.
        checkpoint: its folder, for the message.

    Raises:
        ValueError: they differ; the message names all differences with both values.
    """
    names = [name for name in run if name in saved and saved[name] != run[name]]
    if names:
        was = ", ".join(f"{name} = {saved[name]!r}" for name in names)
        now = ", ".join(repr(run[name]) for name in names)
        what = "plan" if set(names) <= {*_OF_PLAN, "table"} else "values"
        raise ValueError(
            f"{checkpoint} was trained with {was}, this run has {now}; resume with the same "
            f"{what}, or start anew"
        )


def check_layer_rates(saved: dict[str, Any], run: dict[str, Any], checkpoint: object) -> None:
    """Check that other learning rates of layers can be followed: for the same groups of weights.

    Args:
        saved: `run_settings` of the checkpoint, with those of its optimiser.
        run: the same of the run.
        checkpoint: its folder, for the message.

    Raises:
        ValueError: the state of the optimiser is of other groups.
    """
    changed = changes(saved["followed"], run["followed"])
    names = [name for name in ("layer_lr_decay", "lr_multipliers") if name in changed]
    if names and saved["optimizer"] != run["optimizer"]:
        was = ", ".join(f"{name} = {changed[name][0]!r}" for name in names)
        now = ", ".join(repr(changed[name][1]) for name in names)
        raise ValueError(
            f"{checkpoint} was trained with {was}, this run has {now}, by which weights stand in "
            "other groups of the optimiser; only other factors of the same groups can be "
            "followed: resume with the same, or start anew"
        )


def check_trained(saved: dict[str, Any], args: HybridTrainingArguments, folder: object) -> None:
    """Check that a model that is trained, and only to be evaluated, is the one asked for.

    Args:
        saved: `run_settings` of its last checkpoint.
        args: of the run.
        folder: of the model, for the message.

    Raises:
        ValueError: it is not; the message names all differences with both values.
    """
    now = plain_arguments(args)
    now["data_seed"] = args.seed if args.data_seed is None else args.data_seed
    was = saved["same"] | saved["followed"]
    names = (name for name in sorted(_OF_WEIGHTS) if name in was and name in now)
    other = [
        name for name in names if was[name] != now[name] and (name, now[name]) not in _DEFAULTS
    ]
    if other:
        trained = ", ".join(f"{name} = {was[name]!r}" for name in other)
        raise ValueError(
            f"{folder} is trained, with {trained}, and only its evaluation is left; this run has "
            f"{', '.join(repr(now[name]) for name in other)}; leave it out, or remove {folder} to "
            "train from its checkpoints"
        )


def changes(saved: dict[str, Any], run: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return old and new value of the followed arguments that differ."""
    return {
        name: (saved[name], value)
        for name, value in run.items()
        if name in saved and saved[name] != value
    }


def log_changes(changed: dict[str, tuple[Any, Any]], checkpoint: object) -> None:
    """Say in one line which arguments a resumed run follows in place of its checkpoint's."""
    if changed:
        listed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
        logger.warning("Training goes on from %s with other arguments: %s.", checkpoint, listed)


def take_changes(args: HybridTrainingArguments, made_with: dict[str, Any]) -> None:
    """Check arguments that were set after the trainer was made, as those of a new one are.

    Args:
        args: the trainer's; values are brought into the form that the Trainer expects.
        made_with: `plain_arguments` when it was made.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range, or of an argument that is read when a trainer is made.
    """
    now = plain_arguments(args)
    changed = sorted(name for name, value in now.items() if made_with.get(name) != value)
    for name in changed:
        if name in FIXED:
            raise ValueError(
                f"{name} was {made_with.get(name)!r} when the trainer was made, and is "
                f"{now[name]!r} now; make a new HybridTrainer"
            )
    if "metric_for_best_model" in changed and "greater_is_better" not in changed:
        args.greater_is_better = None  # to be chosen anew
    if changed:
        # In place: another instance would reset what accelerate knows of this process.
        args.__post_init__()
