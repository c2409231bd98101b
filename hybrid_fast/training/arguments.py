"""What a hybrid training run can be told, on top of transformers' TrainingArguments."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.plan_options import check_batch_size, check_plan


@dataclass
class HybridTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` and the options of the batch plan and the loss.

    `per_device_train_batch_size` keeps its meaning: examples of one process in one batch. Negatives
    are shared over all processes, so the loss sees `batch_size = per_device_train_batch_size *
    world_size` examples; gradient accumulation adds none.
    """

    batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Examples in a global batch, over all processes; sets "
            "per_device_train_batch_size. Default: what that one gives."
        },
    )
    kind: str = field(default="hybrid", metadata={"help": "mono, cross, mixed or hybrid batches."})
    alpha: float = field(
        default=0.5, metadata={"help": "Share of mono batches of a hybrid plan, from 0 to 1."}
    )
    language_sampling: str | float | dict[str, float] = field(
        default="uniform",
        metadata={
            "help": "How often languages and pairs come up: uniform, proportional, an exponent, "
            "or weights by language."
        },
    )
    pair_weights: dict[str, float] | None = field(
        default=None, metadata={"help": "Weights by pair, such as {de-en: 2, en-de: 1}."}
    )
    source_weights: dict[str, float] | None = field(
        default=None, metadata={"help": "Weights by source within a language or pair."}
    )
    pairs: str = field(
        default="mixed",
        metadata={"help": "'mixed': a pair for every example; 'single': one for a cross batch."},
    )
    temperature: float = field(default=0.05, metadata={"help": "Scores are divided by it."})
    learn_temperature: bool = field(
        default=False, metadata={"help": "Whether the temperature is a parameter."}
    )
    loss_precision: str | None = field(
        default=None,
        metadata={
            "help": "'bf16' rounds embeddings to bfloat16 before the products of the loss, whose "
            "logits and sums stay float32."
        },
    )
    symmetric: bool = field(
        default=False, metadata={"help": "Add the loss from passages to queries."}
    )
    margin: float | None = field(
        default=None,
        metadata={
            "help": "Leave out negatives that score higher than the positive by more than this."
        },
    )
    negatives: str = field(
        default="all", metadata={"help": "'all', or 'hard_only' for hard negatives alone."}
    )
    negatives_from: str = field(
        default="passage",
        metadata={"help": "Whose hard negatives an example takes: its 'passage' or 'query' row."},
    )
    gather_negatives: bool = field(
        default=True, metadata={"help": "Whether processes share their passages as negatives."}
    )
    micro_batch_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Tokens embedded at a time, padding included; it changes speed and memory, not "
            "the result, but for rounding and for dropout, which draws other masks. Default: as "
            "many as are useful and fit."
        },
    )
    kept_graph_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Tokens, padding included, that are embedded once instead of twice, since "
            "their graphs are kept. Default: as many as fit."
        },
    )
    token_store: str | None = field(
        default=None,
        metadata={
            "help": "Folder of tokenised tables, shared by all runs. Default: in the cache folder "
            "of the user, or in $HYBRID_FAST_CACHE."
        },
    )
    embed_repeats_once: bool | None = field(
        default=None,
        metadata={
            "help": "Embed a text that a batch has several times only once; with dropout they then "
            "share a mask. Default: only where there is no dropout."
        },
    )
    profile: bool = field(
        default=False,
        metadata={"help": "Measure each part of a step; a GPU is waited for after each."},
    )
    # Hiding NaN would hide a broken run, and costs a synchronisation a step.
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Hide NaN and infinite losses from the log."}
    )

    def __post_init__(self) -> None:
        check_plan(self.kind, self.alpha, self.pairs)
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; a number above 0 is needed")
        if self.loss_precision not in (None, "bf16"):
            raise ValueError(
                f"loss_precision is {self.loss_precision!r}; it must be 'bf16' or left out"
            )
        check_choice("negatives_from", self.negatives_from, ("passage", "query"))
        for name, least in (("micro_batch_tokens", 1), ("kept_graph_tokens", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        if self.auto_find_batch_size:
            raise ValueError(
                "auto_find_batch_size would change the number of negatives behind your back; "
                "set batch_size yourself"
            )
        self.remove_unused_columns = False
        unset = self.greater_is_better is None  # type: ignore[has-type]
        if unset and self.metric_for_best_model is not None:
            self.greater_is_better = not self.metric_for_best_model.endswith("rank_distance")
        if self.deepspeed or self.fsdp:
            raise ValueError(
                "deepspeed and fsdp are not supported; run one process a device with torchrun"
            )
        super().__post_init__()
        if self.n_gpu > 1:
            raise ValueError(
                f"this process sees {self.n_gpu} GPUs; run one process a GPU "
                f"(torchrun --nproc_per_node {self.n_gpu} ...) or set CUDA_VISIBLE_DEVICES"
            )
        if self.batch_size is None:
            self.batch_size = self.per_device_train_batch_size * self.world_size  # type: ignore[has-type]
        check_batch_size(self.batch_size, self.world_size)
        self.per_device_train_batch_size = self.batch_size // self.world_size
