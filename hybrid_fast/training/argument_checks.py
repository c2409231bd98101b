"""Checks of training arguments: what is out of range is noticed before anything is loaded.

All raise a ValueError whose message begins with the name of the argument.
"""

from __future__ import annotations

import math
import os
from multiprocessing import get_all_start_methods
from typing import TYPE_CHECKING

import torch
from accelerate.utils import DynamoBackend
from torch import nn
from transformers.training_args import trainer_log_levels

from hybrid_fast.common.choices import check_choice
from hybrid_fast.models.dropout_rates import check_dropout
from hybrid_fast.ops.problem import NEGATIVES
from hybrid_fast.training.weight_names import check_pattern

if TYPE_CHECKING:
    from hybrid_fast.training.arguments import HybridTrainingArguments

BF16, FLOAT32 = "bf16", "float32"  # precisions of the loss
_CUDA_GRAPHS = ("cudagraphs", "reduce-overhead", "max-autotune")  # a backend, and modes
_LAUNCHED = {"DEEPSPEED": "deepspeed", "FSDP": "fsdp", "MEGATRON_LM": "Megatron-LM"}


def check_loss_options(args: HybridTrainingArguments) -> None:
    """Check the options of the loss and of its micro-batches."""
    if not (math.isfinite(args.temperature) and args.temperature > 0):
        raise ValueError(f"temperature is {args.temperature}; a number above 0 is needed")
    if args.margin is not None and not math.isfinite(args.margin):
        raise ValueError(f"margin is {args.margin}; a number is needed, such as 0.1")
    if args.loss_precision not in (None, BF16, FLOAT32):
        raise ValueError(
            f"loss_precision is {args.loss_precision!r}; it must be {BF16!r} or {FLOAT32!r}, or "
            "left out"
        )
    check_choice("negatives", args.negatives, NEGATIVES)
    check_choice("negatives_from", args.negatives_from, ("passage", "query"))
    for name, least in (("micro_batch_tokens", 1), ("cached_activation_tokens", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


def check_layers(args: HybridTrainingArguments) -> None:
    """Check what is trained, how fast, and with how much dropout, as far as no model is needed."""
    if args.dropout is not None:
        check_dropout(args.dropout)
    _check_frozen(args.frozen_layers)
    decay = args.layer_lr_decay
    if decay is not None and not 0 < decay <= 1:
        raise ValueError(
            f"layer_lr_decay is {decay}; it must be above 0 and at most 1, such as 0.9"
        )
    _check_multipliers(args.lr_multipliers)


def _check_frozen(frozen: object) -> None:
    if isinstance(frozen, list) and frozen and all(map(_is_name, frozen)):
        for pattern in frozen:
            check_pattern("frozen_layers", pattern)
    elif frozen is not None and not (type(frozen) is int and frozen >= 0):
        raise ValueError(
            f"frozen_layers is {frozen!r}; the number of layers above the embeddings to freeze, "
            "from 0, or a list of names of modules is needed"
        )


def _check_multipliers(multipliers: object) -> None:
    if multipliers is None:
        return
    if not isinstance(multipliers, dict) or not multipliers:
        raise ValueError(
            f"lr_multipliers is {multipliers!r}; factors by name are needed, such as "
            '{"embeddings": 0.1}'
        )
    for pattern, factor in multipliers.items():
        if not _is_name(pattern):
            raise ValueError(f"lr_multipliers has {pattern!r}; the name of a module is needed")
        check_pattern("lr_multipliers", pattern)
        is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not is_number or not (math.isfinite(factor) and factor > 0):
            raise ValueError(
                f"lr_multipliers gives {pattern!r} the factor {factor!r}; a number above 0 is "
                "needed (frozen_layers freezes)"
            )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def check_numbers(args: HybridTrainingArguments) -> None:
    """Check what transformers would notice at the first evaluation, or by a division by 0."""
    if args.max_steps == 0 or (args.max_steps < 0 and not args.num_train_epochs > 0):
        raise ValueError(
            f"max_steps is {args.max_steps} and num_train_epochs is {args.num_train_epochs}; set "
            "one of them to a positive number"
        )
    for name in ("gradient_accumulation_steps", "per_device_eval_batch_size"):
        if getattr(args, name) < 1:
            raise ValueError(f"{name} is {getattr(args, name)}; it must be at least 1")
    for name in ("log_level", "log_level_replica"):
        check_choice(name, getattr(args, name), trainer_log_levels)


def check_loader(args: HybridTrainingArguments) -> None:
    """Check options of workers, which torch would notice when training begins, or never."""
    workers = args.dataloader_num_workers
    if workers < 0:
        raise ValueError(f"dataloader_num_workers is {workers}; it must be at least 0")
    prefetch = args.dataloader_prefetch_factor
    if prefetch is not None and prefetch < 1:
        raise ValueError(f"dataloader_prefetch_factor is {prefetch}; it must be at least 1")
    # transformers has it since 5.18.
    context = getattr(args, "dataloader_multiprocessing_context", None)
    if context is not None:
        check_choice("dataloader_multiprocessing_context", context, get_all_start_methods())
    for name, value in (
        ("dataloader_prefetch_factor", prefetch),
        ("dataloader_persistent_workers", args.dataloader_persistent_workers),
        ("dataloader_multiprocessing_context", context),
    ):
        if value and not workers:
            raise ValueError(
                f"{name} is {value!r}, and there are no workers; set dataloader_num_workers, or "
                "leave it out"
            )


def check_compilation(args: HybridTrainingArguments) -> None:
    """Check what torch.compile would refuse when training begins, or follow.

    CUDA graphs are recorded anew for each number of tokens, and what a layer returns is overwritten
    when the code that it shares with others is called again. What "eager" recomputes has other
    dropout masks than before.
    """
    if not args.torch_compile:
        return
    backend, mode = args.torch_compile_backend, args.torch_compile_mode
    of_accelerate = {each.value.lower() for each in DynamoBackend}
    backends = of_accelerate.intersection(torch.compiler.list_backends(exclude_tags=()))
    check_choice("torch_compile_backend", backend, sorted(backends))
    for name, value, instead in (
        ("torch_compile_backend", backend, "'inductor'"),
        ("torch_compile_mode", mode, "'max-autotune-no-cudagraphs'"),
    ):
        if value in _CUDA_GRAPHS and args.device.type == "cuda":
            raise ValueError(
                f"{name} is {value!r}, which records CUDA graphs of one number of tokens, and that "
                f"of micro-batches varies; leave it out, or give {instead}"
            )
    if backend == "eager" and recomputes_activations(args):
        raise ValueError(
            "torch_compile_backend is 'eager', which draws other dropout masks when activations "
            "are recomputed; give 'aot_eager', or leave out activation_checkpointing"
        )
    try:
        torch.compile(nn.Identity(), backend=backend, mode=mode)
    except RuntimeError as error:
        raise ValueError(f"torch_compile_mode is {mode!r}: {error}") from error


def recomputes_activations(args: HybridTrainingArguments) -> bool:
    """Tell whether activations are recomputed, by whichever name transformers has for it."""
    return bool(getattr(args, "activation_checkpointing", args.gradient_checkpointing))


def check_launcher() -> None:
    """Check that `accelerate launch` did not ask for what HybridTrainer does not support."""
    for variable, name in _LAUNCHED.items():
        if os.environ.get(f"ACCELERATE_USE_{variable}", "false").lower() in ("true", "1", "yes"):
            raise ValueError(
                f"{name} is set by accelerate launch, and is not supported; run one process per "
                "device with torchrun"
            )
