"""Dataclasses whose tensors have a row or an entry for each query or passage of a call.

Each field says so once, where it is declared. What checks it, cuts it to a chunk of rows, gathers
it from the ranks of a process group and passes it to an operator follows from that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

QUERIES, PASSAGES = "queries", "passages"


class Layout(NamedTuple):
    """What a tensor of a call looks like."""

    axes: tuple[str, ...]  # what its axes count
    dtypes: tuple[torch.dtype, ...]
    ndim: int
    refers_to: str | None = None  # its entries are row numbers of these, or below 0


def per_query(*dtypes: torch.dtype, ndim: int = 1, refers_to: str | None = None) -> Any:
    """Declare a tensor (B, ..) of one of `dtypes`: an entry, or a row, for each query."""
    return _declare(Layout((QUERIES,), dtypes, ndim, refers_to))


def per_passage(*dtypes: torch.dtype, ndim: int = 1, refers_to: str | None = None) -> Any:
    """Declare a tensor (N, ..) of one of `dtypes`: an entry, or a row, for each passage."""
    return _declare(Layout((PASSAGES,), dtypes, ndim, refers_to))


def per_pair(*dtypes: torch.dtype) -> Any:
    """Declare a tensor (B, N) of one of `dtypes`; N counts the passages of all ranks."""
    return _declare(Layout((QUERIES, PASSAGES), dtypes, 2))


def _declare(layout: Layout) -> Any:
    return field(default=None, metadata={"layout": layout})


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorFields:
    """Tensors that are declared by `per_query`, `per_passage` and `per_pair`; None: not given."""

    layouts: ClassVar[dict[str, Layout]] = {}  # of each tensor that the class declares, by name

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        layouts: dict[str, Layout] = {}
        for base in reversed(cls.__bases__):
            layouts |= getattr(base, "layouts", {})
        layouts |= vars(cls).get("layouts", {})  # of a class that dataclass(slots=True) copies
        for name, value in vars(cls).items():
            if isinstance(value, Field) and "layout" in value.metadata:
                layouts[name] = value.metadata["layout"]
        cls.layouts = layouts

    def tensors(self) -> Iterator[tuple[str, Tensor, Layout]]:
        """Yield name, tensor and layout of those that are given."""
        for name, layout in self.layouts.items():
            tensor = getattr(self, name)
            if tensor is not None:
                yield name, tensor, layout

    def of_queries(self, rows: slice) -> Self:
        """Return what belongs to some queries; row numbers then count from the first of them."""
        cut = {}
        for name, tensor, layout in self.tensors():
            part = tensor[rows] if layout.axes[0] == QUERIES else tensor
            if layout.refers_to == QUERIES and rows.start:
                part = part - rows.start
            cut[name] = part
        return replace(self, **cut)
