"""What one InfoNCE loss is computed from, and all checks of the arguments.

`InfoNCEInputs` is what a backend receives: checked tensors on one device. Shapes, dtypes, devices
and Python numbers are always checked; values of tensors only by the functions that say that they
synchronise with the device, which the caller has to ask for on a GPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, TypedDict

import torch
import torch.distributed as dist
from torch import Tensor

from hybrid_fast.common.choices import check_choice

EMBEDDING_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
REDUCTIONS = ("none", "sum", "mean")
NEGATIVES = ("all", "hard_only")
PRECISIONS = (None, "bf16")
BACKENDS = ("triton", "cpu", "reference")  # the fastest first
# What else has a row or an entry for each query or passage, and its dtypes.
_ROWS_AND_DTYPES = {
    "positives": ((torch.int64,), "queries"),
    "query_groups": ((torch.int64,), "queries"),
    "passage_groups": ((torch.int64,), "passages"),
    "query_passage_ids": ((torch.int64,), "queries"),
    "passage_ids": ((torch.int64,), "passages"),
    "weights": (EMBEDDING_DTYPES, "queries"),
    "mask": ((torch.bool,), "queries"),
}


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
    weights: Tensor | None


@dataclass(frozen=True, kw_only=True)
class InfoNCEInputs:
    """Everything a backend needs: B rows of queries against N columns of passages."""

    queries: Tensor  # (B, D)
    passages: Tensor  # (N, D), N >= B
    positives: Tensor  # int64 (B,), the positive column of each row
    all_positives: Tensor  # int64 (M,), positive columns of the rows of all ranks
    temperature: float | Tensor
    query_groups: Tensor | None = None  # int64 (B,)
    passage_groups: Tensor | None = None  # int64 (N,)
    query_passage_ids: Tensor | None = None  # int64 (B,), the passage id of each row's positive
    passage_ids: Tensor | None = None  # int64 (N,)
    mask: Tensor | None = None  # bool (B, N), True = excluded
    margin: float | None = None
    weights: Tensor | None = None  # (B,), at least 0
    symmetric: bool = False
    reduction: str = "mean"
    normalize: bool = False
    negatives: str = "all"
    recompute: bool = False
    precision: str | None = None
    max_scratch_bytes: int | None = None

    @property
    def compute_dtype(self) -> torch.dtype:
        """Dtype of scores, logits and loss: float64 for float64 embeddings, else float32."""
        return torch.promote_types(self.queries.dtype, torch.float32)


def check_embeddings(queries: Tensor, passages: Tensor) -> None:
    """Raise unless queries (B, D) and passages (N, D) are floating tensors of one dtype, N >= B."""
    for name, tensor in (("queries", queries), ("passages", passages)):
        check_tensor(name, tensor, EMBEDDING_DTYPES)
        if tensor.ndim != 2 or 0 in tensor.shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}; need (rows, dimension), both at least 1"
            )
    if passages.dtype != queries.dtype:
        raise TypeError(
            f"passages is {passages.dtype} but queries is {queries.dtype}; convert one with .to()"
        )
    (num_queries, query_dim), (num_passages, passage_dim) = queries.shape, passages.shape
    if passage_dim != query_dim:
        raise ValueError(
            f"passages has dimension {passage_dim} but queries has {query_dim}; "
            "encode both with the same model"
        )
    if num_passages < num_queries:
        raise ValueError(
            f"got {num_passages} passages for {num_queries} queries; each query brings a positive, "
            "so pass at least as many passages as queries"
        )


def check_options(inputs: InfoNCEInputs) -> None:
    """Raise unless options, shapes, dtypes, devices and Python numbers are as documented.

    The width of the mask is left to `check_mask_width`: with a process group it is known only
    after the ranks have exchanged their sizes.
    """
    for name in ("symmetric", "normalize", "recompute"):
        check_flag(name, getattr(inputs, name))
    check_choice("reduction", inputs.reduction, REDUCTIONS)
    check_choice("negatives", inputs.negatives, NEGATIVES)
    if inputs.symmetric and inputs.negatives == "hard_only":
        raise ValueError(
            "symmetric=True needs negatives='all': hard negatives take no part in the direction "
            "from passages to queries"
        )
    check_temperature(inputs.temperature, inputs.compute_dtype)
    if inputs.margin is not None:
        check_number("margin", inputs.margin)
    check_precision(inputs.precision, inputs.queries.dtype)
    check_max_scratch_bytes(inputs.max_scratch_bytes)
    for given, missing in (
        ("query_groups", "passage_groups"),
        ("passage_groups", "query_groups"),
        ("query_passage_ids", "passage_ids"),
    ):
        if getattr(inputs, given) is not None and getattr(inputs, missing) is None:
            raise ValueError(f"{given} is given without {missing}; pass both: they are compared")
    _check_tensors(inputs)


def check_tensor(name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    """Raise TypeError unless `tensor` is a dense tensor of one of `dtypes`."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} has layout {tensor.layout}; need a dense tensor: .to_dense()")
    if tensor.dtype not in dtypes:
        need = " or ".join(str(dtype) for dtype in dtypes)
        raise TypeError(f"{name} has dtype {tensor.dtype}; need {need}")


def check_number(name: str, value: float) -> None:
    """Raise unless `value` is a finite Python (or NumPy) number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    # Not math.isfinite, which torch.compile does not take of a number that changes between calls.
    if not -math.inf < value < math.inf:
        raise ValueError(f"{name} is {value}; need a finite number")


def plain(number: Any) -> Any:
    """Return a number of another library (NumPy's float32, a fraction) as Python's own float."""
    if number is None or isinstance(number, (int, float, Tensor)):
        return number
    return float(number) if isinstance(number, Real) else number


def check_flag(name: str, value: bool) -> None:
    """Raise unless `value` is True or False (or 1 or 0); the text "no" would pass for True."""
    if value not in (True, False):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def check_temperature(temperature: float | Tensor, dtype: torch.dtype = torch.float32) -> None:
    """Raise unless `temperature` is a floating 0-dim tensor, or a number above 0 of `dtype`.

    Args:
        temperature: what was given.
        dtype: of the logits.
    """
    if isinstance(temperature, Tensor):
        check_tensor("temperature", temperature, EMBEDDING_DTYPES)
        if temperature.ndim != 0:
            shape = tuple(temperature.shape)
            raise ValueError(f"temperature has shape {shape}; need a 0-dim tensor: .reshape(())")
        return
    check_number("temperature", temperature)
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; need a number above 0, for example 0.05")
    least, most = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    if not least <= temperature <= most:  # or it, or its inverse, is 0 or infinite
        raise ValueError(
            f"temperature is {temperature}; need a number from {least:.2g} to {most:.2g}, which "
            f"{dtype} holds, for example 0.05"
        )


def check_precision(precision: str | None, dtype: torch.dtype) -> None:
    """Raise for "bf16", which computes in float32, with float64 embeddings."""
    if precision == "bf16" and dtype == torch.float64:
        raise ValueError(
            "precision 'bf16' needs embeddings of at most float32, got float64; convert them with "
            ".float() or omit precision"
        )


def check_max_scratch_bytes(max_bytes: int | None) -> None:
    """Raise unless `max_bytes` is None or a positive int."""
    if max_bytes is None:
        return
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, Integral):
        raise TypeError(f"max_scratch_bytes must be an int, got {type(max_bytes).__name__}")
    if max_bytes <= 0:
        raise ValueError(f"max_scratch_bytes is {max_bytes}; need at least 1, for example 2**30")


def _check_tensors(inputs: InfoNCEInputs) -> None:
    num_rows = {"queries": inputs.queries.shape[0], "passages": inputs.passages.shape[0]}
    for name, (dtypes, rows_of) in _ROWS_AND_DTYPES.items():
        tensor = getattr(inputs, name)
        if tensor is None:
            continue
        check_tensor(name, tensor, dtypes)
        num_entries = num_rows[rows_of]
        if tensor.ndim != (2 if name == "mask" else 1) or tensor.shape[0] != num_entries:
            need = f"({num_entries}, number of passages)" if name == "mask" else f"({num_entries},)"
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; need {need}")
    device = inputs.queries.device
    for name in ("passages", "temperature", *_ROWS_AND_DTYPES):
        tensor = getattr(inputs, name)
        if isinstance(tensor, Tensor) and tensor.device != device:
            raise ValueError(
                f"{name} is on {tensor.device} but queries is on {device}; move one with .to()"
            )


def check_mask_width(mask_width: int, num_passages: int) -> None:
    """Raise unless a mask has one column for each passage (of all ranks)."""
    if mask_width != num_passages:
        raise ValueError(
            f"mask has {mask_width} columns; need {num_passages}, one for each passage "
            "(with process_group: the passages of all ranks, in rank order)"
        )


def check_values(inputs: InfoNCEInputs) -> None:
    """Raise unless embeddings, temperature and weights have valid values.

    Synchronises with the device.
    """
    for name, embeddings in (("queries", inputs.queries), ("passages", inputs.passages)):
        embeddings = embeddings.detach()
        # A sum is finite only if all its terms are, and costs a tenth of checking each of them.
        if not math.isfinite(embeddings.sum(dtype=inputs.compute_dtype)):
            finite_rows = torch.isfinite(embeddings).all(dim=1)
            _require_rows(finite_rows, f"{name} has NaN or infinite values")
    if isinstance(inputs.temperature, Tensor):
        check_temperature(float(inputs.temperature.detach()), inputs.compute_dtype)
    if inputs.weights is not None:
        _check_weights(inputs.weights.detach(), inputs.compute_dtype)


def check_positives(positives: Tensor, num_passages: int) -> None:
    """Raise unless all positives (B,) are columns of passages. Synchronises with the device."""
    least, most = torch.aminmax(positives)
    if int(least) < 0 or int(most) >= num_passages:
        in_range = (positives >= 0) & (positives < num_passages)
        _require_rows(in_range, f"positives must be columns of passages, 0 to {num_passages - 1}")


def _check_weights(weights: Tensor, dtype: torch.dtype) -> None:
    used = weights.to(dtype)
    total = float(used.sum())
    # Neither a NaN nor an infinity leaves the sum finite.
    if float(used.min()) < 0 or not math.isfinite(total):
        _require_rows(torch.isfinite(used) & (used >= 0), "weights must be finite and at least 0")
    if not math.isfinite(total):
        raise ValueError(f"the sum of weights is beyond {dtype}; divide them by their largest")
    if total == 0 and bool((weights > 0).any()):
        raise ValueError(f"all weights are 0 in {dtype}; divide them by their largest")


def _require_rows(good: Tensor, message: str) -> None:
    if not bool(good.all()):
        raise ValueError(f"{message}; first bad row: {int((~good).nonzero()[0])}")


def check_hard_negatives(inputs: InfoNCEInputs) -> None:
    """Raise if all passages are positives. Synchronises with the device unless shapes decide."""
    num_passages, positives = len(inputs.passages), inputs.all_positives
    if num_passages <= len(positives) and len(torch.unique(positives)) == num_passages:
        raise ValueError(
            "negatives='hard_only' needs passages that are no query's positive, but all "
            f"{num_passages} are positives; append hard negatives to passages or use "
            "negatives='all'"
        )
