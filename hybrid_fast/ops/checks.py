"""All checks of one call of the loss.

Shapes, dtypes, devices and Python numbers are always checked, though what has passed once is not
looked at again in later calls of the same shapes and kinds. Values of tensors are checked only by
the functions that say that they synchronise with the device, which the caller has to ask for on a
GPU.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.common.choices import check_choice
from hybrid_fast.ops.negative_mask import NOTHING_EXCLUDED, MaskingRule, NegativeMask
from hybrid_fast.ops.problem import EMBEDDING_DTYPES, NEGATIVES, REDUCTIONS, Problem
from hybrid_fast.ops.tensor_fields import PASSAGES, QUERIES, Layout

_passed: set[Hashable] = set()  # kinds of calls
_MOST_PASSED = 4096  # then it is emptied


def check_problem(problem: Problem) -> None:
    """Raise unless options, shapes, dtypes, devices and Python numbers are as documented.

    The temperature is left to `check_temperature` and `check_device`, since a number becomes a
    tensor on the CPU, and the width of a mask to `check_width`: with a process group the number of
    columns is known only after the ranks have exchanged their sizes.

    Args:
        problem: as it was given.
    """
    if torch.compiler.is_compiling():
        _check_kind(problem)
    else:
        _check_kind_once(problem)
    if problem.negative_mask.margin is not None:
        check_number("margin", problem.negative_mask.margin)
    check_max_scratch_bytes(problem.max_scratch_bytes)


def _check_kind_once(problem: Problem) -> None:
    mask = problem.negative_mask
    kind = (
        *[_kind(getattr(problem, name)) for name in problem.layouts],
        *(() if mask is NOTHING_EXCLUDED else _kinds_of_mask(mask)),
        problem.symmetric,
        problem.reduction,
        problem.normalize,
        problem.negatives,
        problem.precision,
        problem.recompute,
    )
    try:
        if kind in _passed:
            return
    except TypeError:  # something cannot be looked up: an array for a flag, the size of a trace
        _check_kind(problem)
        return
    _check_kind(problem)
    if len(_passed) >= _MOST_PASSED:
        _passed.clear()
    _passed.add(kind)


def _kinds_of_mask(mask: NegativeMask) -> Iterator[Any]:
    for part in (mask, *mask.rules):
        yield type(part)
        # What is no rule has none, and is refused.
        yield from (_kind(getattr(part, name)) for name in getattr(part, "layouts", ()))


def _kind(value: object) -> tuple[Hashable, ...]:
    """Return all that the checks of a kind read of a tensor; of anything else its type."""
    if isinstance(value, Tensor):
        return value.dtype, value.shape, value.device, value.layout
    return (id(type(value)),)


def _check_kind(problem: Problem) -> None:
    """Raise unless everything but the Python numbers and the values of tensors is right."""
    _check_passages(problem.queries, problem.passages)
    for name in ("symmetric", "normalize", "recompute"):
        check_flag(name, getattr(problem, name))
    check_choice("reduction", problem.reduction, REDUCTIONS)
    check_choice("negatives", problem.negatives, NEGATIVES)
    if problem.symmetric and problem.negatives == "hard_only":
        raise ValueError(
            "symmetric=True needs negatives='all': hard negatives take no part in the direction "
            "from passages to queries"
        )
    check_precision(problem.precision, problem.queries.dtype)
    _check_pairs(problem.negative_mask)
    for rule in problem.negative_mask.rules:
        if not isinstance(rule, MaskingRule):
            raise TypeError(f"rules must be of MaskingRule, got {type(rule).__name__}")
        rule.check_declaration()
    for name, tensor, layout in _tensors(problem):
        check_tensor(name, tensor, layout.dtypes)
        _check_shape(name, tensor, layout, problem)
        check_device(name, tensor, problem)
    _check_owners(problem)


def _tensors(problem: Problem) -> Iterator[tuple[str, Any, Layout]]:
    """Yield name, value and layout of all tensors that are given, those of rules among them."""
    yield from problem.tensors()
    yield from problem.negative_mask.tensors()
    for rule in problem.negative_mask.rules:
        for name, layout in rule.layouts.items():
            yield f"{name} of {type(rule).__name__}", getattr(rule, name), layout


def check_embeddings(name: str, embeddings: Tensor) -> None:
    """Raise unless embeddings are a floating tensor (rows, dimension), both at least 1."""
    check_tensor(name, embeddings, EMBEDDING_DTYPES)
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise ValueError(
            f"{name} has shape {tuple(embeddings.shape)}; need (rows, dimension), both at least 1"
        )


def _check_passages(queries: Tensor, passages: Tensor) -> None:
    """Raise unless passages (N, D) fit queries (B, D): N >= B, of one dtype."""
    check_embeddings("passages", passages)
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


def _check_pairs(mask: NegativeMask) -> None:
    for given, missing in (
        ("query_groups", "passage_groups"),
        ("passage_groups", "query_groups"),
        ("query_passage_ids", "passage_ids"),
    ):
        if getattr(mask, given) is not None and getattr(mask, missing) is None:
            raise ValueError(f"{given} is given without {missing}; pass both: they are compared")


def _check_shape(name: str, tensor: Tensor, layout: Layout, problem: Problem) -> None:
    num_rows = _sizes(problem)[layout.axes[0]]
    if tensor.ndim == layout.ndim and tensor.shape[0] == num_rows:
        return
    if len(layout.axes) == 2:
        need = f"({num_rows}, number of passages)"
    else:
        need = f"({num_rows},{' ..' * (layout.ndim - 1)})"
    raise ValueError(f"{name} has shape {tuple(tensor.shape)}; need {need}")


def _sizes(problem: Problem) -> dict[str, int]:
    return {QUERIES: len(problem.queries), PASSAGES: len(problem.passages)}


def _check_owners(problem: Problem) -> None:
    mask, num_queries = problem.negative_mask, len(problem.queries)
    if mask.in_batch is None or mask.owners is not None or len(problem.passages) == num_queries:
        return
    raise ValueError(
        f"in_batch is given without owners, and {len(problem.passages)} passages for {num_queries} "
        "queries hold more than positives; pass owners: the query that brought each hard negative, "
        "-1 for positives"
    )


def check_tensor(name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    """Raise TypeError unless `tensor` is a dense tensor of one of `dtypes`."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(tensor).__name__}")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} has layout {tensor.layout}; need a dense tensor: .to_dense()")
    if tensor.dtype not in dtypes:
        need = " or ".join(str(dtype) for dtype in dtypes)
        raise TypeError(f"{name} has dtype {tensor.dtype}; need {need}")


def check_device(name: str, tensor: Tensor, problem: Problem) -> None:
    """Raise unless a tensor is where the queries are."""
    if tensor.device != problem.queries.device:
        raise ValueError(
            f"{name} is on {tensor.device} but queries is on {problem.queries.device}; move one "
            "with .to()"
        )


def check_number(name: str, value: float) -> None:
    """Raise unless `value` is a finite Python (or NumPy) number."""
    # Real alone is a class of any kind of number, which takes longer to ask.
    if isinstance(value, bool) or not isinstance(value, (float, int, Real)):
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


def widths(problem: Problem) -> dict[str, int]:
    """Return how many columns the mask has, and any tensor (B, N) of a rule, by name."""
    if problem.negative_mask is NOTHING_EXCLUDED:
        return {}
    return {
        name: tensor.shape[1] for name, tensor, layout in _tensors(problem) if len(layout.axes) == 2
    }


def check_width(name: str, width: int, num_passages: int) -> None:
    """Raise unless a mask has one column for each passage (of all ranks)."""
    if width != num_passages:
        raise ValueError(
            f"{name} has {width} columns; need {num_passages}, one for each passage "
            "(with process_group: the passages of all ranks, in rank order)"
        )


def check_values(problem: Problem) -> None:
    """Raise unless all tensors, as given, have valid values. Synchronises with the device."""
    for name, embeddings in (("queries", problem.queries), ("passages", problem.passages)):
        embeddings = embeddings.detach()
        # A sum is finite only if all its terms are, and costs a tenth of checking each of them.
        if not math.isfinite(embeddings.sum(dtype=problem.compute_dtype)):
            finite_rows = torch.isfinite(embeddings).all(dim=1)
            _require_rows(finite_rows, f"{name} has NaN or infinite values")
    if problem.weights is not None:
        _check_weights(problem.weights.detach(), problem.compute_dtype)
    for name, tensor, layout in _tensors(problem):
        if layout.refers_to is not None and name != "positives":  # which are never -1
            last = _sizes(problem)[layout.refers_to] - 1
            message = f"{name} must be rows of {layout.refers_to}, 0 to {last}, or -1"
            _check_range(tensor, -1, last, message)


def check_positives(positives: Tensor, num_passages: int) -> None:
    """Raise unless all positives (B,) are columns of passages. Synchronises with the device."""
    message = f"positives must be columns of passages, 0 to {num_passages - 1}"
    _check_range(positives, 0, num_passages - 1, message)


def _check_range(numbers: Tensor, first: int, last: int, message: str) -> None:
    least, most = torch.aminmax(numbers)
    if int(least) < first or int(most) > last:
        _require_rows((numbers >= first) & (numbers <= last), message)


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


def check_hard_negatives(problem: Problem, num_queries: int) -> None:
    """Raise if all passages are positives. Synchronises with the device unless sizes decide.

    Args:
        problem: settled, with `negatives` "hard_only".
        num_queries: of all ranks.
    """
    num_passages, excluded = len(problem.passages), problem.negative_mask.excluded_columns
    if num_passages <= num_queries and excluded is not None and bool(excluded.all()):
        raise ValueError(
            "negatives='hard_only' needs passages that are no query's positive, but all "
            f"{num_passages} are positives; append hard negatives to passages or use "
            "negatives='all'"
        )
