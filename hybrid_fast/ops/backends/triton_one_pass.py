"""The chunked loss on a GPU in one pass: exponentials are all that is written of the scores.

For bfloat16 products. A persistent kernel computes a chunk's scores and writes
E_ij = exp(logit_ij - reference_i) and the sums of its rows and, for `symmetric`, of its columns;
two products with E give the gradients:

    dQ_i = (a_i / l_i (E P)_i + rest_i p_c(i)) / t          l_i: sum of the row and its positive
    dP = (E^T (a / l Q) + rest_i q_i in column c(i)) / t    rest_i = -a_i (1 - softmax_i,c(i))

`symmetric` multiplies E_ij by a_i / l_i + beta_j / (sum of the column) instead. References come
from the lengths of vectors, so that no exponential overflows; where a sum underflows all the same
(embeddings far from unit length, temperatures of .005), the kernels of `triton_tiles` compute the
chunk after all. The device decides: they are always launched, and have nothing to do without the
chunk's flag, so nothing waits for it and launches depend on shapes alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.ops.backends import gpu_products
from hybrid_fast.ops.backends.gpu_products import Scaled, launch, num_processors
from hybrid_fast.ops.backends.one_pass_kernels import (
    LARGEST_SUM,
    LEAST_SUM,
    add_positives_kernel,
    exp_tiles_kernel,
    finish_rows_kernel,
    query_gradient_kernel,
    references_kernel,
    rescale_kernel,
    rows_of_columns_kernel,
    scaled_queries_kernel,
    weigh_kernel,
)
from hybrid_fast.ops.backends.triton_mask import kernel_mask
from hybrid_fast.ops.backends.triton_tiles import (
    Tile,
    TileKernels,
    pad,
    positive_gradients,
)
from hybrid_fast.ops.chunked import Chunk, ColumnPass, Columns
from hybrid_fast.ops.negative_mask import NegativeMask

# No exponential and no sum of 1e8 of them overflows, and their inverse does not underflow in
# bfloat16.
HEADROOM = 60.0
_TILE = Tile(rows=128, columns=128, depth=64, parts=4, num_warps=8, num_stages=3)
_MASKED_TILE = Tile(rows=128, columns=128, depth=64, parts=8, num_warps=8, num_stages=3)
_HOPPER_TILE = Tile(rows=128, columns=256, depth=64, parts=8, num_warps=8, num_stages=3)
_AMD_TILE = Tile(rows=128, columns=128, depth=64, parts=1, num_warps=8, num_stages=2)
_AMD_MASKED_TILE = Tile(rows=128, columns=64, depth=64, parts=1, num_warps=8, num_stages=2)
_SUM_BLOCKS = {"BLOCK_T": 64, "BLOCK_R": 32}  # parts of rows, rows
_DEPTH_BLOCK = 1024  # of the dimension, in kernels that take a row
_WEIGH_BLOCKS = {"BLOCK_R": 16, "BLOCK_N": 512}
_POSITIVES_BLOCK = 1024  # rows
_RESCALE_BLOCK = 8192
_FEWEST_ROWS = 1024  # of a chunk, unless max_scratch_bytes says otherwise
_UNIT = 8  # divides the length of a row of E: descriptors need it


def tile_of(architecture: str, *, masked: bool) -> Tile:
    """Return the tile of exponentials for an architecture such as "sm_90" or "gfx942"."""
    if architecture.startswith("gfx"):
        return _AMD_MASKED_TILE if masked else _AMD_TILE
    if masked:
        return _MASKED_TILE
    return _HOPPER_TILE if architecture == "sm_90" else _TILE


def has_descriptors(architecture: str) -> bool:
    """Tell whether tiles are loaded and stored through tensor descriptors."""
    return architecture == "sm_90" and find_spec("triton.tools.tensor_descriptor") is not None


@dataclass(frozen=True)
class _Rows:
    """What the first product tells of the rows of a chunk; garbage where the flag is set."""

    queries: Tensor  # (R, D), padded
    scores: Tensor  # (R,), of the positives
    references: Tensor  # (R,)
    losses: Tensor  # (R,), of one direction
    factors: Tensor  # (R,), a_i / l_i
    dots: Tensor | None  # (R,)
    flag: Tensor  # int32 (1,)
    exponentials: Tensor | None  # E (R, N)


@dataclass(frozen=True)
class _Weights:
    """W of a chunk: factor_i values_ij, and what is to be added at the positives."""

    values: Tensor  # (R, N)
    factors: Tensor | None  # (R,); None: 1
    rests: Tensor  # (R,)
    positives: Tensor  # (R,)
    scale: Tensor | None  # of `factors` in the passages' gradient, 0-dim, a power of two


class OnePassKernels(TileKernels):
    """Steps of the chunked loss on a GPU; see `chunked.Kernels`.

    Args:
        passages: (N, D), bfloat16.
        num_rows: B.
        max_scratch_bytes: of E, sums and masks, at least 128 rows are held; None: a default.
        mask_bytes: of a pair of a chunk, in a mask that is made for the chunk.
        gradient_bytes: by which gradients in float32 exceed those returned.
    """

    def __init__(
        self,
        passages: Tensor,
        num_rows: int,
        max_scratch_bytes: int | None,
        mask_bytes: int,
        gradient_bytes: int,
    ) -> None:
        super().__init__(passages, max_scratch_bytes or 1, mask_bytes)
        self._num_rows = num_rows
        self._longest = torch.linalg.vector_norm(passages, dim=1, dtype=torch.float32).amax()
        self._total: Tensor | None = None  # sum of all W^T Q times the scale
        self._scale: Tensor | None = None  # 0-dim, a power of two
        tile = self._exp_tile(None)
        bytes_of_sums = 8 * tile.parts / tile.columns
        self._rows = gpu_products.rows_of_chunk(
            passages.shape[0],
            passages.shape[1],
            passages.element_size() + bytes_of_sums + mask_bytes,
            num_processors(passages.device),
            max_scratch_bytes or 2**31 - gradient_bytes,
        )
        if max_scratch_bytes is None:
            self._rows = max(self._rows, _FEWEST_ROWS)

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        rows = self._first_pass(chunk, logit_scale, keep=False, needs_dots=False)
        return self._corrected_losses(rows, chunk, logit_scale, None)

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor | None, _Weights]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W."""
        if columns is None:
            rows = self._first_pass(chunk, logit_scale, keep=True, needs_dots=needs_dots)
            losses = self._corrected_losses(rows, chunk, logit_scale, None)
            dots, values = rows.dots, rows.exponentials
        else:
            assert chunk.losses is not None
            rows, losses = chunk.kept, chunk.losses
            dots, values = self._weighted(rows, chunk, logit_scale, columns, needs_dots)
        assert values is not None
        of_positives = positive_gradients(chunk, rows.scores * logit_scale, losses, columns)
        if columns is not None and dots is not None:
            dots = dots + of_positives.dots
        two_pass_dots = self._write_weights(
            Scaled(values, None), chunk, rows.queries, rows.scores, logit_scale, of_positives,
            columns, needs_dots, rows.flag,
        )  # fmt: skip
        flagged = rows.flag.bool()
        if dots is not None and two_pass_dots is not None:
            dots = two_pass_dots.where(flagged, dots)
        weights = _Weights(
            values,
            rows.factors.masked_fill(flagged, 1.0) if columns is None else None,
            of_positives.gradients.masked_fill(flagged, 0.0),
            chunk.positives.contiguous(),
            gpu_products.loss_scale_of(chunk.coefficients, None) if columns is None else None,
        )
        return of_positives.losses, dots, weights

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor, *, keep: bool
    ) -> ColumnPass:
        """Add the rows to `sums` (2, N); E is kept where the chunk has all rows."""
        keep_all = keep and len(chunk.queries) == self._num_rows
        queries = pad(chunk.queries)
        scores = self._positive_scores(chunk, queries)
        # One for all rows, so that sums of columns are relative to it, too.
        lengths = torch.linalg.vector_norm(queries, dim=1, dtype=torch.float32)
        reference = lengths.amax() * self._longest * logit_scale - HEADROOM
        reference = reference.nan_to_num(0.0, 0.0, 0.0)
        rows, column_sums = self._exponentials(
            chunk, queries, scores, reference.expand(len(queries)).contiguous(), logit_scale,
            keep=keep_all, needs_dots=False, add_columns=True,
        )  # fmt: skip
        assert column_sums is not None
        within = (column_sums >= LEAST_SUM.value) & (column_sums <= LARGEST_SUM.value)
        rows.flag.logical_or_(~within.all())
        two_pass_sums = sums.clone()
        losses = self._corrected_losses(rows, chunk, logit_scale, two_pass_sums)
        largest = sums[0].maximum(reference)
        one_pass_sums = torch.stack(
            [
                largest,
                sums[1] * (sums[0] - largest).exp() + column_sums * (reference - largest).exp(),
            ]
        )
        sums.copy_(two_pass_sums.where(rows.flag.bool(), one_pass_sums))
        return ColumnPass(scores * logit_scale, losses, rows)

    def query_gradient(self, weights: Any, logit_scale: Tensor) -> Tensor:
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
                **_row_arguments(gradient),
            },
        )
        return gradient[:, : self._dim]

    def add_passage_gradient(self, weights: Any, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        queries = pad(queries)
        scaled = self._scaled(weights, queries)
        transposed = weights.values.T
        if self._total is None:
            self._total = gpu_products.multiply(transposed, scaled, torch.float32)
        else:
            gpu_products.multiply_add(self._total, transposed, scaled)
        num_rows, num_columns = weights.values.shape
        ends = weights.positives.new_zeros(2, num_columns, dtype=torch.int32)
        launch(
            rows_of_columns_kernel,
            math.ceil(num_rows / _POSITIVES_BLOCK),
            queries.device,
            {
                "positives": weights.positives,
                "ends": ends,
                "R": num_rows,
                "N": num_columns,
                "BLOCK": _POSITIVES_BLOCK,
            },
        )
        launch(
            add_positives_kernel,
            num_rows,
            queries.device,
            {
                "total": self._total,
                "queries": queries,
                "rests": weights.rests,
                "positives": weights.positives,
                "scale": self._scale,
                "ends": ends,
                "R": num_rows,
                "N": num_columns,
                "BLOCK_R": _POSITIVES_BLOCK,
                **_row_arguments(queries),
            },
        )

    def passage_gradient(self, logit_scale: Tensor) -> Tensor:
        """Return the sum of all W^T Q / t, (N, D), and reset it."""
        assert self._total is not None
        factor = logit_scale if self._scale is None else logit_scale / self._scale
        gradient, self._total, self._scale = self._total.mul_(factor), None, None
        return gradient[:, : self._dim].contiguous()

    def _scaled(self, weights: _Weights, queries: Tensor) -> Tensor:
        """Return queries times the factors of W and the scale of the sum, which may change."""
        if weights.factors is None or weights.scale is None:
            return queries
        previous, self._scale = self._scale, weights.scale
        if previous is not None and self._total is not None:
            self._scale = previous.minimum(weights.scale)
            launch(
                rescale_kernel,
                4 * num_processors(queries.device),
                queries.device,
                {
                    "total": self._total,
                    "ratio": self._scale / previous,
                    "SIZE": self._total.numel(),
                    "BLOCK": _RESCALE_BLOCK,
                },
            )
        scaled = torch.empty_like(queries)
        launch(
            scaled_queries_kernel,
            len(queries),
            queries.device,
            {
                "queries": queries,
                "factors": weights.factors,
                "scale": self._scale,
                "scaled": scaled,
                **_row_arguments(queries),
            },
        )
        return scaled

    def _first_pass(
        self, chunk: Chunk, logit_scale: Tensor, *, keep: bool, needs_dots: bool
    ) -> _Rows:
        """Compute exponentials of one direction, each row relative to its own reference."""
        queries = pad(chunk.queries)
        scores = self._positive_scores(chunk, queries)
        references = torch.empty_like(scores)
        launch(
            references_kernel,
            len(queries),
            queries.device,
            {
                "queries": queries,
                "longest_passage": self._longest,
                "positive_scores": scores,
                "logit_scale": logit_scale,
                "references": references,
                "headroom": HEADROOM,
                **_row_arguments(queries),
            },
        )
        rows, _ = self._exponentials(
            chunk, queries, scores, references, logit_scale, keep=keep, needs_dots=needs_dots,
            add_columns=False,
        )  # fmt: skip
        return rows

    def _exponentials(
        self,
        chunk: Chunk,
        queries: Tensor,
        scores: Tensor,
        references: Tensor,
        logit_scale: Tensor,
        *,
        keep: bool,
        needs_dots: bool,
        add_columns: bool,
    ) -> tuple[_Rows, Tensor | None]:
        """Compute E, its rows, and sums of its columns (N,)."""
        num_rows, num_columns = len(queries), len(self._passages)
        tile = self._exp_tile(chunk.negative_mask)
        num_parts = math.ceil(num_columns / tile.columns) * tile.parts
        row_sums = scores.new_empty(num_parts, num_rows)
        row_dots = torch.empty_like(row_sums) if needs_dots else None
        column_sums = None
        if add_columns:
            column_sums = scores.new_empty(math.ceil(num_rows / tile.rows), num_columns)
        exponentials = self._new_exponentials(chunk, num_rows) if keep else None
        rows = _Rows(
            queries,
            scores,
            references,
            losses=torch.empty_like(scores),
            factors=torch.empty_like(scores),
            dots=torch.empty_like(scores) if needs_dots else None,
            flag=scores.new_zeros(1, dtype=torch.int32),
            exponentials=exponentials,
        )
        self._launch_tiles(
            rows, chunk, logit_scale, exponentials,
            row_sums=row_sums, row_dots=row_dots, column_sums=column_sums,
            origins=scores * logit_scale if needs_dots else None,
        )  # fmt: skip
        launch(
            finish_rows_kernel,
            math.ceil(num_rows / _SUM_BLOCKS["BLOCK_R"]),
            queries.device,
            {
                "row_sums": row_sums,
                "row_dots": row_dots,
                "positive_scores": scores,
                "references": references,
                "coefficients": chunk.coefficients.contiguous(),
                "logit_scale": logit_scale,
                "losses": rows.losses,
                "factors": rows.factors,
                "dots": rows.dots,
                "flag": rows.flag,
                "T": num_parts,
                "R": num_rows,
                **_SUM_BLOCKS,
            },
        )
        return rows, None if column_sums is None else column_sums.sum(0)

    def _weighted(
        self, rows: _Rows, chunk: Chunk, logit_scale: Tensor, columns: Columns, needs_dots: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Return sum_j W_ij logit_ij without positives, and E times the factors of both directions.

        Of exponentials that were kept only a temperature's gradient needs the logits again.
        """
        column_factors = columns.coefficients * (rows.references[0] - columns.lse).exp()
        if rows.exponentials is not None and not needs_dots:
            self._weigh(rows, chunk, column_factors)
            return None, rows.exponentials
        num_rows, num_columns = len(rows.queries), len(self._passages)
        values = rows.exponentials
        if values is None:
            values = self._new_exponentials(chunk, num_rows)
        row_dots = None
        if needs_dots:
            tile = self._exp_tile(chunk.negative_mask)
            num_parts = math.ceil(num_columns / tile.columns) * tile.parts
            row_dots = rows.scores.new_empty(num_parts, num_rows)
        assert chunk.losses is not None
        self._launch_tiles(
            rows, chunk, logit_scale, values,
            row_dots=row_dots, row_factors=rows.factors, column_factors=column_factors,
            origins=rows.scores * logit_scale + chunk.losses, flag=rows.flag,
        )  # fmt: skip
        return None if row_dots is None else row_dots.sum(0), values

    def _weigh(self, rows: _Rows, chunk: Chunk, column_factors: Tensor) -> None:
        """Multiply E by the factors of both directions in place."""
        values = rows.exponentials
        assert values is not None
        num_rows, num_columns = values.shape
        num_tiles = math.ceil(num_rows / _WEIGH_BLOCKS["BLOCK_R"])
        num_tiles *= math.ceil(num_columns / _WEIGH_BLOCKS["BLOCK_N"])
        launch(
            weigh_kernel,
            num_tiles,
            values.device,
            {
                "exponentials": values,
                "row_factors": rows.factors,
                "column_factors": column_factors,
                "negative_mask": kernel_mask(chunk.negative_mask, None),
                "flag": rows.flag,
                "stride_e": values.stride(0),
                "R": num_rows,
                "N": num_columns,
                **_WEIGH_BLOCKS,
            },
        )

    def _launch_tiles(
        self,
        rows: _Rows,
        chunk: Chunk,
        logit_scale: Tensor,
        exponentials: Tensor | None,
        **arguments: Tensor | None,
    ) -> None:
        """Launch `exp_tiles_kernel`; arguments that are not given are None."""
        tile = self._exp_tile(chunk.negative_mask)
        num_rows, num_columns = len(rows.queries), len(self._passages)
        num_tiles = math.ceil(num_rows / tile.rows) * math.ceil(num_columns / tile.columns)
        queries, passages, stored = rows.queries, self._passages, exponentials
        descriptors = has_descriptors(self._architecture)
        if descriptors:
            queries = descriptor(queries, tile.rows, tile.depth)
            passages = descriptor(passages, tile.columns, tile.depth)
            if stored is not None:
                stored = descriptor(stored, tile.rows, tile.columns // tile.parts)
        absent = ("row_sums", "row_dots", "column_sums", "row_factors", "column_factors", "flag")
        launch(
            exp_tiles_kernel,
            min(num_tiles, num_processors(rows.queries.device)),
            rows.queries.device,
            {
                **dict.fromkeys(absent),
                **arguments,
                **self._tile_arguments(chunk, rows.queries, rows.scores, tile),
                "queries": queries,
                "passages": passages,
                "exponentials": stored,
                "references": rows.references,
                "logit_scale": logit_scale,
                "stride_e": None if exponentials is None else exponentials.stride(0),
                "DESCRIPTORS": descriptors,
            },
        )

    def _corrected_losses(
        self, rows: _Rows, chunk: Chunk, logit_scale: Tensor, column_sums: Tensor | None
    ) -> Tensor:
        """Return losses (R,), of the two-pass way where the flag is set.

        `column_sums` (2, N) then has the rows added.
        """
        two_pass = self._losses(
            chunk, rows.queries, rows.scores, logit_scale, column_sums, rows.flag
        )
        return two_pass.where(rows.flag.bool(), rows.losses)

    def _new_exponentials(self, chunk: Chunk, num_rows: int) -> Tensor:
        """Return memory for E (R, N)."""
        num_columns = len(self._passages)
        rows = self._passages.new_empty(num_rows, math.ceil(num_columns / _UNIT) * _UNIT)
        return rows[:, :num_columns]

    def _exp_tile(self, negative_mask: NegativeMask | None) -> Tile:
        masked = negative_mask is not None and negative_mask.any()
        return tile_of(self._architecture, masked=masked)


def descriptor(matrix: Tensor, num_rows: int, num_columns: int) -> Any:
    """Return a descriptor of blocks of a matrix whose rows are contiguous."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    if matrix.data_ptr() % 16:
        matrix = matrix.clone()
    return TensorDescriptor(
        matrix, list(matrix.shape), list(matrix.stride()), [num_rows, num_columns]
    )


def _row_arguments(matrix: Tensor) -> dict[str, int]:
    """Return the arguments of kernels that take one row of a matrix."""
    size = matrix.shape[1]
    block = min(1 << (size - 1).bit_length(), _DEPTH_BLOCK)
    return {"D": size, "BLOCK_D": block, "num_warps": 4}
