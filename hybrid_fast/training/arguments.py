"""Options of a hybrid training run, on top of transformers' TrainingArguments."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from datetime import timedelta

from transformers import TrainingArguments

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.plan_options import check_batch_size, check_plan
from hybrid_fast.ops.inputs import NEGATIVES
from hybrid_fast.training.devices import check_joined, join_ranks, trains_on_cpu

logger = logging.getLogger(__name__)


@dataclass
class HybridTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` and the options of the batch plan and the loss.

    `per_device_train_batch_size` keeps its meaning: examples of one process in one batch. Processes
    share their negatives, so the loss sees `batch_size = per_device_train_batch_size * world_size`
    examples; gradient accumulation adds no negatives.

    Raises:
        ValueError: an option out of range, or one that HybridTrainer does not support.
    """

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
    alpha: float = field(
        default=0.5, metadata={"help": "Share of mono batches among hybrid batches, from 0 to 1."}
    )
    language_sampling: str | float | dict[str, float] = field(
        default="uniform",
        metadata={
            "help": "How often languages and pairs are drawn: uniform, proportional, an exponent, "
            "or weights by language."
        },
    )
    pair_weights: dict[str, float] | None = field(
        default=None, metadata={"help": "Weights of language pairs, such as {de-en: 2, en-de: 1}."}
    )
    source_weights: dict[str, float] | None = field(
        default=None, metadata={"help": "Weights of sources within a language or pair."}
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
            "and sums stay float32."
        },
    )
    symmetric: bool = field(
        default=False, metadata={"help": "Average the loss with that from passages to queries."}
    )
    margin: float | None = field(
        default=None,
        metadata={
            "help": "Leave out negatives whose score exceeds the positive's by more than this."
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
    profile: bool = field(
        default=False,
        metadata={"help": "Time each part of a step; synchronises the GPU after each part."},
    )
    # Hiding NaN would hide a broken run, and costs a synchronisation per step.
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Hide NaN and infinite losses from the log."}
    )

    def __post_init__(self) -> None:
        check_plan(self.kind, self.alpha, self.pairs)
        _check_loss_options(self)
        _check_supported(self)
        _choose_device(self)
        self.remove_unused_columns = False
        unset = self.greater_is_better is None  # type: ignore[has-type]
        if unset and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith("rank_distance")
        super().__post_init__()
        check_joined(self.world_size, self.device)
        if self.n_gpu > 1:
            raise ValueError(
                f"this process sees {self.n_gpu} GPUs; run one process per GPU "
                f"(torchrun --nproc_per_node {self.n_gpu} ...) or set CUDA_VISIBLE_DEVICES"
            )
        if self.batch_size is None:
            self.batch_size = self.per_device_train_batch_size * self.world_size  # type: ignore[has-type]
        check_batch_size(self.batch_size, self.world_size)
        self.per_device_train_batch_size = self.batch_size // self.world_size

    @property
    def shares_negatives(self) -> bool:
        """Whether processes use one another's passages as negatives."""
        return self.gather_negatives and self.world_size > 1

    def describe_negatives(self) -> str:
        """Say how many in-batch negatives a query has, hard negatives aside."""
        assert self.batch_size is not None
        shared = f" (shared over {self.world_size} processes)" if self.shares_negatives else ""
        size = self.batch_size if self.shares_negatives else self.per_device_train_batch_size
        return f"Each query is contrasted with {size - 1} in-batch negatives{shared}"


def _check_loss_options(args: HybridTrainingArguments) -> None:
    if not args.temperature > 0:
        raise ValueError(f"temperature is {args.temperature}; a number above 0 is needed")
    if args.loss_precision not in (None, "bf16"):
        raise ValueError(
            f"loss_precision is {args.loss_precision!r}; it must be 'bf16' or left out"
        )
    check_choice("negatives", args.negatives, NEGATIVES)
    check_choice("negatives_from", args.negatives_from, ("passage", "query"))
    for name, least in (("micro_batch_tokens", 1), ("cached_activation_tokens", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")


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
    join_ranks(
        on_cpu=args.use_cpu,
        timeout=timedelta(seconds=args.ddp_timeout),
        backend=args.ddp_backend,
    )


def _check_supported(args: HybridTrainingArguments) -> None:
    if args.auto_find_batch_size:
        raise ValueError(
            "auto_find_batch_size is not supported, since it would change the number of negatives; "
            "set batch_size"
        )
    if args.deepspeed or args.fsdp:
        raise ValueError(
            "deepspeed and fsdp are not supported; run one process per device with torchrun"
        )
