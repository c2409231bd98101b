"""One call of the loss, as the definition, ranks, operators of torch and backends take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_fast.ops.negative_mask import NOTHING_EXCLUDED, MaskingRule, NegativeMask
from hybrid_fast.ops.tensor_fields import PASSAGES, TensorFields, per_passage, per_query

EMBEDDING_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
REDUCTIONS = ("none", "sum", "mean")
NEGATIVES = ("all", "hard_only")
PRECISIONS = (None, "bf16")


class InfoNCEOptions(TypedDict, total=False):
    """The arguments of `info_nce` that are the same for all batches."""

    margin: float | None
    symmetric: bool
    reduction: str
    normalize: bool
    negatives: str
    backend: str
    precision: str | None
    check: bool
    recompute: bool
    max_scratch_bytes: int | None
    process_group: dist.ProcessGroup | None


class InfoNCETensors(TypedDict, total=False):
    """The arguments of `info_nce` that differ from batch to batch."""

    positives: Tensor | None
    query_groups: Tensor | None
    passage_groups: Tensor | None
    query_passage_ids: Tensor | None
    passage_ids: Tensor | None
    mask: Tensor | None
    owners: Tensor | None
    in_batch: Tensor | None
    rules: Sequence[MaskingRule]
    weights: Tensor | None


def compute_dtype(embeddings: Tensor) -> torch.dtype:
    """Return the dtype of scores, logits and loss: float64 for float64 embeddings, else float32."""
    return torch.float64 if embeddings.dtype == torch.float64 else torch.float32


def number_tensor(number: float, beside: Tensor) -> Tensor:
    """Return a number as a 0-dim tensor of the compute dtype for operators on `beside`.

    It stays on the CPU, where those of any device read it without waiting, and without a launch.
    """
    dtype = compute_dtype(beside)
    if torch.compiler.is_compiling():  # which would compile `scalar_tensor` anew for each number
        return beside.new_ones((), dtype=dtype) * number
    return torch.scalar_tensor(number, dtype=dtype, device="cpu")


def cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return `tensor.to(dtype)`, which takes most of a microsecond even where nothing is to do."""
    return tensor if tensor.dtype == dtype else tensor.to(dtype)


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem(TensorFields):
    """B rows of queries against N columns of passages, and the options that the loss follows.

    The fields have the names of the arguments of `info_nce`. First they hold what was given; what
    computes the loss receives it from `infonce.settled`, with `negatives` as excluded columns, and
    with a process group against the columns of all ranks.
    """

    queries: Tensor = per_query(*EMBEDDING_DTYPES, ndim=2)  # (B, D)
    passages: Tensor = per_passage(*EMBEDDING_DTYPES, ndim=2)  # (N, D), N >= B
    temperature: Tensor  # 0-dim, of the compute dtype
    # Each row's positive column; None: that of row i is column i.
    positives: Tensor | None = per_query(torch.int64, refers_to=PASSAGES)
    weights: Tensor | None = per_query(*EMBEDDING_DTYPES)  # at least 0
    negative_mask: NegativeMask = NOTHING_EXCLUDED
    symmetric: bool = False
    reduction: str = "mean"
    normalize: bool = False
    negatives: str = "all"
    precision: str | None = None
    recompute: bool = False
    max_scratch_bytes: int | None = None
    backend: str = "reference"
    group_name: str | None = None  # of a process group whose ranks hold other rows

    @property
    def compute_dtype(self) -> torch.dtype:
        """Dtype of scores, logits and loss: float64 for float64 embeddings, else float32."""
        return compute_dtype(self.queries)

    @property
    def product_dtype(self) -> torch.dtype:
        """Dtype to which backends round embeddings before they multiply them."""
        return torch.bfloat16 if self.precision == "bf16" else self.queries.dtype

    def positive_columns(self) -> Tensor:
        """Return the positive column of each row, int64 (B,)."""
        if self.positives is not None:
            return self.positives
        return torch.arange(self.queries.shape[0], device=self.queries.device)

    @property
    def differentiable(self) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, passages and temperature."""
        return self.queries, self.passages, self.temperature
