"""Options of a hybrid training run, on top of transformers' TrainingArguments."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType

from hybrid_fast.common.launch import find_launch
from hybrid_fast.common.paths import expanded
from hybrid_fast.data.plan_options import check_batch_size, check_plan
from hybrid_fast.models.adapters.options import plain_options
from hybrid_fast.training.argument_checks import (
    check_compilation,
    check_launcher,
    check_layers,
    check_loader,
    check_loss_options,
    check_numbers,
)
from hybrid_fast.training.devices import check_joined, join_ranks, trains_on_cpu
from hybrid_fast.training.field_values import (
    LanguageSampling,
    Layers,
    NumbersByName,
    Options,
    make_plain,
    read_texts,
)
from hybrid_fast.training.fields import check_names, check_optimiser, check_refused

logger = logging.getLogger(__name__)
DEFAULT_METRIC = "multi_map"
BY_METRIC = (SchedulerType.REDUCE_ON_PLATEAU, SchedulerType.GREEDY)


@dataclass
class HybridTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` and the options of the batch plan and the loss.

    `per_device_train_batch_size` keeps its meaning: examples of one process in one batch. Processes
    share their negatives, so the loss sees `batch_size = per_device_train_batch_size * world_size`
    examples; gradient accumulation adds no negatives.

    What HybridTrainer does with each field of transformers stands in `fields`.

    Raises:
        TypeError: a name that is no field, or a value of the wrong type.
        ValueError: an option out of range, or one that HybridTrainer does not support.
    """

    def __new__(cls, *_: Any, **options: Any) -> HybridTrainingArguments:
        """Refuse names that are no fields, with what to give instead."""
        check_names(options, cls.__dataclass_fields__, cls.__name__)
        return super().__new__(cls)

    batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Examples in a global batch, over all processes; sets "
            "per_device_train_batch_size. Default: per_device_train_batch_size * processes."
        },
    )
    kind: str = field(
        default="hybrid", metadata={"help": "Kind of batches: mono, cross, mixed or hybrid."}
    )
    alpha: float | None = field(
        default=None,
        metadata={
            "help": "Share of mono batches among hybrid batches, from 0 to 1. Default: 0.5, or 0 "
            "for a table that has nothing but bitext."
        },
    )
    language_sampling: LanguageSampling = field(
        default="uniform",
        metadata={
            "help": "How often languages and pairs are drawn: uniform, proportional, an exponent, "
            "or weights by language."
        },
    )
    pair_weights: NumbersByName | None = field(
        default=None,
        metadata={"help": 'Weights of language pairs, such as {"de-en": 2, "en-de": 1}.'},
    )
    source_weights: NumbersByName | None = field(
        default=None,
        metadata={"help": 'Weights of sources within a language or pair: {"squad": 2}.'},
    )
    pairs: str = field(
        default="mixed",
        metadata={"help": "'mixed': a pair for each example; 'single': one for a cross batch."},
    )
    temperature: float = field(default=0.05, metadata={"help": "Divisor of the scores."})
    learn_temperature: bool = field(default=False, metadata={"help": "Train the temperature too."})
    loss_precision: str | None = field(
        default=None,
        metadata={
            "help": "'bf16' rounds embeddings to bfloat16 before the loss multiplies them; logits "
            "and sums stay float32. 'float32' multiplies them exactly. Default: 'bf16' on a GPU "
            "with bf16, else as they come."
        },
    )
    symmetric: bool = field(
        default=False, metadata={"help": "Average the loss with that from passages to queries."}
    )
    margin: float | None = field(
        default=None,
        metadata={
            "help": "Leave out negatives whose score exceeds the positive's by more than this; "
            "a query's own hard negatives stay."
        },
    )
    negatives: str = field(
        default="all", metadata={"help": "'all', or 'hard_only' for hard negatives only."}
    )
    negatives_from: str = field(
        default="passage",
        metadata={"help": "Row that an example's hard negatives come from: 'passage' or 'query'."},
    )
    gather_negatives: bool = field(
        default=True, metadata={"help": "Share passages among processes as negatives."}
    )
    frozen_layers: Layers | None = field(
        default=None,
        metadata={
            "help": "What is not trained: a number n for the embeddings and the n lowest layers, "
            'or names of modules such as ["embeddings", "layer.0"], regular expressions of whole '
            "parts of a name."
        },
    )
    layer_lr_decay: float | None = field(
        default=None,
        metadata={
            "help": "Factor of the learning rate from a layer to the one below it, such as 0.9; "
            "the embeddings are below the lowest."
        },
    )
    lr_multipliers: NumbersByName | None = field(
        default=None,
        metadata={
            "help": 'Factors of the learning rate by names of modules, such as {"embeddings": '
            "0.1}, regular expressions of whole parts of a name; the first that matches counts."
        },
    )
    dropout: float | None = field(
        default=None,
        metadata={"help": "Rate of all dropout of the encoder. Default: the rates that it has."},
    )
    micro_batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Tokens embedded at a time, padding included. Affects speed and memory; the "
            "result only by rounding and by other dropout masks. Default: as many as are useful "
            "and fit in memory."
        },
    )
    cached_activation_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Tokens, padding included, that are embedded once instead of twice, because "
            "their activations are cached. Default: as many as fit in memory."
        },
    )
    token_store: str | None = field(
        default=None,
        metadata={
            "help": "Folder of tokenised tables, shared by all runs. Default: in "
            "$HYBRID_FAST_CACHE, or in the user's cache folder."
        },
    )
    embed_repeats_once: bool | None = field(
        default=None,
        metadata={
            "help": "Embed a text that occurs several times in a batch only once; with dropout all "
            "occurrences then share a mask. Default: only without dropout."
        },
    )
    adapter: Options | None = field(
        default=None,
        metadata={
            "help": 'Options of peft.LoraConfig, such as {"r": 16}: an adapter is put into the '
            'transformer and trained in place of its weights. "peft_type" names other kinds.'
        },
    )
    merge_adapter: bool = field(
        default=True,
        metadata={
            "help": "Merge an adapter into the weights of models that are saved or pushed; "
            "checkpoints always keep it apart."
        },
    )
    profile: bool = field(
        default=False,
        metadata={"help": "Time each part of a step; synchronises the GPU after each part."},
    )
    # Hiding NaN would hide a broken run, and costs a synchronisation per step.
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Hide NaN and infinite losses from the log."}
    )

    def __post_init__(self) -> None:
        read_texts(self, HybridTrainingArguments)
        make_plain(self)
        if self.output_dir is not None:  # type: ignore[has-type]
            self.output_dir = str(expanded(self.output_dir))  # type: ignore[has-type]
        self.adapter = plain_options(self.adapter)
        check_plan(self.kind, self.alpha, self.pairs)
        check_loss_options(self)
        check_layers(self)
        check_refused(self)
        check_launcher()
        self.remove_unused_columns = False
        _choose_metric(self)
        check_numbers(self)
        check_loader(self)
        if find_launch().world_size == 1:
            self.ddp_backend = None  # accelerate would ask the backend for other processes
        _choose_device(self)
        super().__post_init__()
        check_joined(self.world_size, self.device)
        check_optimiser(self)
        check_compilation(self)
        if self.n_gpu > 1:
            raise ValueError(
                f"this process sees {self.n_gpu} GPUs; run one process per GPU "
                f"(torchrun --nproc_per_node {self.n_gpu} ...) or set CUDA_VISIBLE_DEVICES"
            )
        self._set_batch_size()

    def _set_batch_size(self) -> None:
        of_process = self.per_device_train_batch_size  # type: ignore[has-type]
        if self.batch_size is None:
            self.batch_size = of_process * self.world_size
        check_batch_size(self.batch_size, self.world_size)
        self.per_device_train_batch_size = self.batch_size // self.world_size
        unset = TrainingArguments.__dataclass_fields__["per_device_train_batch_size"].default
        if of_process not in (unset, self.per_device_train_batch_size):
            raise ValueError(
                f"per_device_train_batch_size is {of_process} and batch_size is {self.batch_size}, "
                f"which is {self.per_device_train_batch_size} a process; give one of them"
            )

    @property
    def shares_negatives(self) -> bool:
        """Whether processes use one another's passages as negatives."""
        return self.gather_negatives and self.world_size > 1

    @property
    def num_in_batch_negatives(self) -> int:
        """How many passages of other examples a query is contrasted with."""
        assert self.batch_size is not None
        size = self.batch_size if self.shares_negatives else self.per_device_train_batch_size
        return size - 1

    def describe_negatives(self) -> str:
        """Say how many in-batch negatives a query has, hard negatives aside."""
        shared = f" (shared over {self.world_size} processes)" if self.shares_negatives else ""
        number = self.num_in_batch_negatives
        return f"Each query is contrasted with {number} in-batch negatives{shared}"


def _choose_device(args: HybridTrainingArguments) -> None:
    """Train on the CPU where there is nothing else, and join the processes of a launcher."""
    args.use_cpu = args.use_cpu or trains_on_cpu()
    if args.use_cpu and (args.fp16 or os.environ.get("ACCELERATE_MIXED_PRECISION") == "fp16"):
        raise ValueError(
            "fp16 is for accelerators, and training runs on the CPU here; use bf16 instead, or "
            "leave it out"
        )
    if args.use_cpu and args.tf32:
        logger.warning("tf32 is left out: it is for GPUs, and training runs on the CPU here.")
        args.tf32 = None
    is_default = args.ddp_timeout == TrainingArguments.__dataclass_fields__["ddp_timeout"].default
    join_ranks(
        on_cpu=args.use_cpu,
        timeout=None if is_default else timedelta(seconds=args.ddp_timeout),
        backend=args.ddp_backend,
    )


def _choose_metric(args: HybridTrainingArguments) -> None:
    """Set the score that chooses the best model where one is needed and none is named.

    Raises:
        ValueError: the best model is asked for without an evaluation.
    """
    best = args.load_best_model_at_end or args.save_strategy == SaveStrategy.BEST
    if best and args.eval_strategy == IntervalStrategy.NO:
        raise ValueError("eval_strategy is 'no', but the best model is asked for; use 'steps'")
    if not args.metric_for_best_model and (best or args.lr_scheduler_type in BY_METRIC):
        args.metric_for_best_model = DEFAULT_METRIC  # transformers' is a loss, which no task has
    args.metric_for_best_model = args.metric_for_best_model or None
    if args.greater_is_better is None and args.metric_for_best_model is not None:
        lower_is_better = args.metric_for_best_model.endswith(("rank_distance", "loss"))
        args.greater_is_better = not lower_is_better
