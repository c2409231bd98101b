"""The products with exponentials: W of a chunk is factors times E, and the positives beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid_fast.ops.backends import gpu_products
from hybrid_fast.ops.backends.gpu_products import launch, num_processors
from hybrid_fast.ops.backends.one_pass_kernels import (
    add_positives_kernel,
    query_gradient_kernel,
    rescale_kernel,
    rows_of_columns_kernel,
    scaled_queries_kernel,
)
from hybrid_fast.ops.backends.one_pass_tiles import row_arguments
from hybrid_fast.ops.backends.triton_tiles import pad
from hybrid_fast.ops.kernels import Kernels

_POSITIVES_BLOCK = 1024  # rows
_RESCALE_BLOCK = 8192  # entries
_RESCALE_PROGRAMS = 4  # of a processor


@dataclass(frozen=True)
class FactoredWeights:
    """W of a chunk: factor_i values_ij, and rest_i to be added at the positive of row i."""

    values: Tensor  # (R, N), bfloat16, rows apart
    factors: Tensor | None  # (R,); None: 1
    rests: Tensor  # (R,)
    positives: Tensor  # int64 (R,)
    scale: Tensor | None  # 0-dim, a power of two: of factors, lest bfloat16 underflow; None: 1


class OnePassProducts(Kernels):
    """The products of one call; see `kernels.Kernels`.

    Args:
        passages: (N, D), bfloat16, padded.
        dim: D without padding.
    """

    def __init__(self, passages: Tensor, dim: int) -> None:
        self.dtype = passages.dtype
        self._passages = passages
        self._dim = dim
        self._total: Tensor | None = None  # sum of all W^T Q, times the scale
        self._scale: Tensor | None = None

    def query_gradient(self, weights: FactoredWeights, logit_scale: Tensor) -> Tensor:
        """Return W P / t, (R, D)."""
        gradient = gpu_products.multiply(weights.values, self._passages, torch.float32)
        launch(
            query_gradient_kernel,
            len(gradient),
            gradient.device,
            {
                "gradient": gradient,
                "passages": self._passages,
                "factors": weights.factors,
                "rests": weights.rests,
                "positives": weights.positives,
                "logit_scale": logit_scale,
                **row_arguments(gradient),
            },
        )
        return gradient[:, : self._dim]

    def add_passage_gradient(self, weights: FactoredWeights, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        queries = pad(queries)
        scaled = queries
        if weights.factors is not None and weights.scale is not None:
            self._take_scale(weights.scale)
            scaled = self._scaled(queries, weights.factors)
        if self._total is None:
            self._total = gpu_products.multiply(weights.values.T, scaled, torch.float32)
        else:
            gpu_products.multiply_add(self._total, weights.values.T, scaled)
        self._add_positives(self._total, weights, queries)

    def passage_gradient(self, logit_scale: Tensor) -> Tensor:
        """Return the sum of all W^T Q / t, (N, D), and reset it."""
        assert self._total is not None
        factor = logit_scale if self._scale is None else logit_scale / self._scale
        gradient, self._total, self._scale = self._total.mul_(factor), None, None
        return gradient[:, : self._dim].contiguous()

    def _take_scale(self, scale: Tensor) -> None:
        """Have the smaller one of this scale and that of the sum so far."""
        previous = self._scale
        if previous is None or self._total is None:
            self._scale = scale
            return
        self._scale = previous.minimum(scale)
        launch(
            rescale_kernel,
            _RESCALE_PROGRAMS * num_processors(scale.device),
            scale.device,
            {
                "total": self._total,
                "ratio": self._scale / previous,
                "SIZE": self._total.numel(),
                "BLOCK": _RESCALE_BLOCK,
            },
        )

    def _scaled(self, queries: Tensor, factors: Tensor) -> Tensor:
        """Return queries times their factors and the scale, bfloat16."""
        scaled = torch.empty_like(queries)
        launch(
            scaled_queries_kernel,
            len(queries),
            queries.device,
            {
                "queries": queries,
                "factors": factors,
                "scale": self._scale,
                "scaled": scaled,
                **row_arguments(queries),
            },
        )
        return scaled

    def _add_positives(self, total: Tensor, weights: FactoredWeights, queries: Tensor) -> None:
        """Add rest_i q_i to the column of each row's positive."""
        num_rows, num_columns = weights.values.shape
        ends = weights.positives.new_zeros(2, num_columns, dtype=torch.int32)
        shared = {"positives": weights.positives, "ends": ends, "R": num_rows, "N": num_columns}
        launch(
            rows_of_columns_kernel,
            math.ceil(num_rows / _POSITIVES_BLOCK),
            total.device,
            {**shared, "BLOCK": _POSITIVES_BLOCK},
        )
        launch(
            add_positives_kernel,
            num_rows,
            total.device,
            {
                **shared,
                "total": total,
                "queries": queries,
                "rests": weights.rests,
                "scale": self._scale,
                "BLOCK_R": _POSITIVES_BLOCK,
                **row_arguments(queries),
            },
        )
