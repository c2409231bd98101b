"""Random calls of `info_nce` with any options together, for one process or for several ranks.

Hypothesis draws sizes and kinds, which it shrinks; numbers come from a seed. Embeddings are unit
vectors, whose scores keep away from the margin, or short steps of 1/4, whose scores are exact in
every dtype, so that ties are ties.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from literal_loss import as_one, score_matrix
from loss_gradients import DIFFERENTIABLE
from torch import Tensor

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LAYOUTS = {
    "rows": torch.Tensor.clone,
    "columns": lambda matrix: matrix.T.contiguous().T,
    "rows apart": lambda matrix: torch.cat([matrix, matrix], dim=1)[:, : matrix.shape[1]],
    "every second row": lambda matrix: matrix.repeat_interleave(2, dim=0)[::2],
    "every second column": lambda matrix: matrix.repeat_interleave(2, dim=1)[:, ::2],
}
MASK_LAYOUTS = LAYOUTS | {
    "one row for all": lambda mask: mask[:1].expand(mask.shape),
    "one column for all": lambda mask: mask[:, :1].expand(mask.shape),
}
VECTOR_LAYOUTS = {
    "contiguous": torch.Tensor.clone,
    "apart": lambda vector: vector.repeat_interleave(3)[::3],
    "one for all": lambda vector: vector[:1].expand(vector.shape),
}
BOTH = st.booleans()


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """What a call is given, and of which kind: the same on all ranks."""

    dtype: torch.dtype
    embeddings: str
    noise: float
    layouts: tuple[str, str]
    temperature: float
    temperature_dtype: torch.dtype | None  # None: a number
    positives: str
    groups: bool
    ids: str
    vector_layout: str
    mask: str | None
    masked: float
    margin: float | None
    owners: str | None
    in_batch: str | None
    rule: bool
    weights: str | None
    weights_dtype: torch.dtype
    symmetric: bool
    reduction: str
    normalize: bool
    hard_only: bool
    precision: str | None
    recompute: bool
    max_scratch_bytes: int | None
    needs_grad: dict[str, bool]


def kinds(**given: st.SearchStrategy) -> st.SearchStrategy[Kinds]:
    """Return any kinds; `given` narrows some."""
    some = st.sampled_from
    strategies = {
        "dtype": some(DTYPES),
        "embeddings": some(["directions", "steps"]),
        "noise": some([0.3, 2.0]),
        "layouts": st.tuples(some(list(LAYOUTS)), some(list(LAYOUTS))),
        "temperature": some([0.02, 0.1, 2.0]),
        "temperature_dtype": some([torch.float64, None, torch.float32]),
        "positives": some(["default", "in order", "anywhere", "repeated"]),
        "groups": BOTH,
        "ids": some(["none", "of passages", "of both"]),
        "vector_layout": some(list(VECTOR_LAYOUTS)),
        "mask": st.none() | some(list(MASK_LAYOUTS)),
        "masked": some([0.2, 0.9, 1.1]),
        "margin": st.none() | some([-0.125, -0.5, 0.0, 0.0625]),
        "owners": some([None, "hard negatives", "anywhere"]),
        "in_batch": some([None, "some", "none", "all"]),
        "rule": BOTH,
        "weights": some([None, "all", "some", "none"]),
        "weights_dtype": some([torch.float64, torch.float32]),
        "symmetric": BOTH,
        "reduction": some(["none", "sum", "mean"]),
        "normalize": BOTH,
        "hard_only": BOTH,
        "precision": some([None, None, "bf16"]),
        "recompute": BOTH,
        "max_scratch_bytes": some([None, 1, 5000]),
        "needs_grad": st.fixed_dictionaries({name: BOTH for name in DIFFERENTIABLE}),
    }
    # Else few would meet.
    own = {
        "owners": some(["hard negatives", "anywhere"]),
        "in_batch": some([None, "some"]),
        "margin": some([-0.5, -0.125, 0.0]),
    }
    any_kinds, of_own = (st.builds(Kinds, **s | given) for s in (strategies, strategies | own))
    return st.one_of(any_kinds, of_own).map(_possible)


def _possible(kinds: Kinds) -> Kinds:
    """Return kinds without what `info_nce` refuses."""
    if kinds.dtype == torch.float64:
        kinds = replace(kinds, precision=None)
    return replace(kinds, hard_only=kinds.hard_only and not kinds.symmetric)


@dataclass(frozen=True)
class Problem:
    """The arguments of one call, or of one rank's."""

    kinds: Kinds
    tensors: dict[str, Tensor]  # of rows or columns
    options: dict[str, Any]  # temperature, margin and what has no gradient

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the products."""
        return torch.bfloat16 if self.kinds.precision == "bf16" else self.kinds.dtype

    def arguments(self) -> dict[str, Any]:
        """Return arguments of `info_nce`; differentiable ones are leaves of their own."""
        arguments = self.tensors | self.options
        for name in DIFFERENTIABLE:
            if isinstance(arguments.get(name), Tensor):
                needed = self.kinds.needs_grad[name]
                arguments[name] = arguments[name].detach().requires_grad_(needed)
        return arguments

    def fast_options(self) -> dict[str, Any]:
        """Return what changes no value."""
        kinds = self.kinds
        return {"recompute": kinds.recompute, "max_scratch_bytes": kinds.max_scratch_bytes}


@st.composite
def problems(draw, most_rows: int = 70, most_dims: int = 40, **given: st.SearchStrategy) -> Problem:
    """Draw one call."""
    (problem,) = draw(problems_of_ranks(1, most_rows, most_dims, **given))
    return problem


@st.composite
def problems_of_ranks(
    draw, num_ranks: int, most_rows: int = 12, most_dims: int = 9, **given: st.SearchStrategy
) -> list[Problem]:
    """Draw one call of several ranks, whose batches differ in size."""
    kind = draw(kinds(**given))
    dim = draw(st.integers(1, 4 if kind.embeddings == "steps" else most_dims))
    sizes = []
    for _ in range(num_ranks):
        num_queries = draw(st.integers(1, most_rows))
        more = draw(st.sampled_from([0, 1, max(1, most_rows // 2)]))
        if kind.in_batch is not None and kind.owners is None:
            more = 0  # else it is refused: nobody knows whose hard negatives they are
        sizes.append((num_queries, num_queries + more))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    width = sum(num_passages for _, num_passages in sizes)
    parts = [_tensors(kind, *size, dim, width, generator) for size in sizes]
    options = _options(kind, as_one(parts))
    return [Problem(kind, part, options) for part in parts]


def _tensors(
    kinds: Kinds, num_queries: int, num_passages: int, dim: int, width: int, generator
) -> dict[str, Tensor]:
    """Return the tensors of one rank; `width` counts the passages of all."""
    positives = {
        "default": torch.arange(num_queries),
        "in order": torch.arange(num_queries),
        "anywhere": torch.randperm(num_passages, generator=generator)[:num_queries],
        "repeated": torch.arange(num_queries) // 3,
    }[kinds.positives]
    embeddings = _embeddings(kinds, num_passages, dim, positives, generator)
    tensors = {
        name: LAYOUTS[layout](vectors.to(kinds.dtype))
        for name, vectors, layout in zip(
            ("queries", "passages"), embeddings, kinds.layouts, strict=True
        )
    }
    layout = VECTOR_LAYOUTS[kinds.vector_layout]
    all_differ = VECTOR_LAYOUTS["contiguous" if kinds.vector_layout == "contiguous" else "apart"]

    def ids(size):
        most = 9 if width > 12 else 3  # or few would match
        return layout(torch.randint(-1, most, (size,), generator=generator))

    if kinds.positives != "default":
        tensors["positives"] = all_differ(positives)
    if kinds.groups:
        tensors |= {"query_groups": ids(num_queries), "passage_groups": ids(num_passages)}
    if kinds.ids != "none":
        tensors["passage_ids"] = ids(num_passages)
    if kinds.ids == "of both":
        tensors["query_passage_ids"] = ids(num_queries)
    if kinds.rule:
        tensors |= {"query_years": ids(num_queries), "passage_years": ids(num_passages)}
    if kinds.mask is not None:
        mask = torch.rand(num_queries, width, generator=generator) < kinds.masked
        tensors["mask"] = MASK_LAYOUTS[kinds.mask](mask)
    if kinds.owners is not None:
        tensors["owners"] = layout(_owners(kinds, num_queries, num_passages, positives, generator))
    if kinds.in_batch is not None:
        share = {"some": 0.6, "none": 0.0, "all": 1.1}[kinds.in_batch]
        tensors["in_batch"] = layout(torch.rand(num_queries, generator=generator) < share)
    if kinds.weights is not None:
        weights = _weights(kinds.weights, num_queries).to(kinds.weights_dtype)
        tensors["weights"] = all_differ(weights)
    return tensors


def _embeddings(kinds: Kinds, num_passages: int, dim: int, positives: Tensor, generator):
    """Return queries and passages in float64, no longer than 1 unless they get normalised."""
    if kinds.embeddings == "steps":
        sides = [
            torch.randint(-2, 3, (size, dim), generator=generator) / 4
            for size in (len(positives), num_passages)
        ]
        if kinds.normalize:  # a vector without a direction has no gradient
            for side in sides:
                side[~side.any(dim=1), 0] = 0.5
        return [4 * side if kinds.normalize else side for side in sides]

    def directions(size):
        return F.normalize(torch.randn(size, dim, generator=generator, dtype=torch.float64), dim=1)

    passages = directions(num_passages)
    queries = passages[positives] + kinds.noise * directions(len(positives))
    longer = 3 if kinds.normalize else 1
    return longer * F.normalize(queries, dim=1), longer * passages


def _owners(kinds: Kinds, num_queries: int, num_passages: int, positives: Tensor, generator):
    """Return the row that brought each column; "anywhere" leaves out no column."""
    if kinds.owners == "anywhere":
        return torch.randint(-1, num_queries, (num_passages,), generator=generator)
    rows = torch.arange(num_passages) % num_queries
    return rows.index_fill(0, positives, -1)


def _weights(kind: str, size: int) -> Tensor:
    """Return weights (size,) that are 0 nowhere, here and there, or everywhere."""
    steps = torch.linspace(0.1, 2, size, dtype=torch.float64)
    return {"some": steps * (torch.arange(size) % 3 > 0), "all": steps, "none": 0 * steps}[kind]


def _options(kinds: Kinds, whole: dict[str, Tensor]) -> dict[str, Any]:
    """Return the options of a call, given the tensors of all ranks."""
    temperature = kinds.temperature
    if kinds.temperature_dtype is not None:
        temperature = torch.tensor(temperature, dtype=kinds.temperature_dtype)
    has_others = len(whole["positives"].unique()) < len(whole["passages"])
    margin = kinds.margin
    if margin is not None and (kinds.embeddings == "directions" or kinds.normalize):
        margin = _clear_margin(kinds, whole)
    return {
        "temperature": temperature,
        "margin": margin,
        "symmetric": kinds.symmetric,
        "reduction": kinds.reduction,
        "normalize": kinds.normalize,
        "negatives": "hard_only" if kinds.hard_only and has_others else "all",
        "precision": kinds.precision,
    }


def _clear_margin(kinds: Kinds, whole: dict[str, Tensor]) -> float:
    """Return a margin near the one asked for that no score meets, however it is rounded."""
    scores = score_matrix(whole["queries"], whole["passages"], kinds.normalize, kinds.precision)
    differences = (scores - scores.gather(1, whole["positives"][:, None])).flatten()
    ends = torch.tensor([kinds.margin - 0.05, kinds.margin + 0.05])
    near = differences[(differences > ends[0]) & (differences < ends[1])]
    bounds = torch.cat([near, ends.double()]).sort().values
    widest = (bounds[1:] - bounds[:-1]).argmax()
    return float(bounds[widest] + bounds[widest + 1]) / 2
