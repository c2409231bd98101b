"""The chunked loss on a GPU where scores are needed twice: in tiles that never leave the chip.

For half-precision embeddings with `symmetric`, `reduction="none"` and `recompute`. A first kernel
computes the scores tile by tile and writes sums of rows and, if needed, of columns; a second
computes them again and writes W, for the products of the gradient. Only W and the sums of the tiles
grow with the number of scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops.backends.gpu_products import (
    GradientProducts,
    Scaled,
    launch,
    num_processors,
    rows_of_chunk,
)
from hybrid_fast.ops.backends.tile_kernels import (
    merge_sums_kernel,
    positive_scores_kernel,
    tile_sums_kernel,
    weights_kernel,
)
from hybrid_fast.ops.backends.triton_mask import kernel_mask
from hybrid_fast.ops.chunked import Chunk, ColumnPass, Columns
from hybrid_fast.ops.negative_mask import NegativeMask


@dataclass(frozen=True)
class Tile:
    """How a kernel cuts a product into tiles."""

    rows: int
    columns: int
    depth: int  # of the dimension, in one step
    parts: int  # of the columns, which are masked one after another
    num_warps: int
    num_stages: int

    def arguments(self) -> dict[str, int]:
        """Return the arguments that all kernels of tiles share."""
        return {
            "BLOCK_R": self.rows,
            "BLOCK_N": self.columns,
            "BLOCK_D": self.depth,
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
        }


# Chosen so that no register spills with every mask and odd sizes; not timed. Wider tiles read less
# from the cache, but leave no registers for masks.
_TILE = Tile(rows=128, columns=128, depth=64, parts=4, num_warps=8, num_stages=3)
_MASKED_TILE = Tile(rows=128, columns=128, depth=64, parts=8, num_warps=8, num_stages=3)
_HOPPER_TILE = Tile(rows=128, columns=256, depth=64, parts=8, num_warps=8, num_stages=3)
_AMD_TILE = Tile(rows=128, columns=128, depth=64, parts=1, num_warps=8, num_stages=2)
_AMD_MASKED_TILE = Tile(rows=128, columns=64, depth=64, parts=1, num_warps=8, num_stages=2)
_GROUP = 8  # tiles below one another that use the same passages at a time
_FLAGGED_PROGRAMS = 4  # of a processor, if the device may find that there is nothing to do
MERGE_BLOCKS = {"BLOCK_T": 64, "BLOCK_M": 32}  # tiles; rows or columns
_UNIT = 16  # divides the dimension: vector loads need it


def tile_of(architecture: str, *, masked: bool) -> Tile:
    """Return the tile for an architecture such as "sm_90" or "gfx942"."""
    if architecture.startswith("gfx"):
        return _AMD_MASKED_TILE if masked else _AMD_TILE
    if masked:
        return _MASKED_TILE
    return _HOPPER_TILE if architecture == "sm_90" else _TILE


class TileKernels(GradientProducts):
    """Steps of the chunked loss on a GPU; see `chunked.Kernels`.

    Args:
        passages: (N, D), bfloat16 or float16.
        max_scratch_bytes: of W, sums and masks; at least 128 rows are held.
        mask_bytes: of a pair of a chunk, in a mask that is made for the chunk.
    """

    def __init__(self, passages: Tensor, max_scratch_bytes: int, mask_bytes: int) -> None:
        super().__init__(pad(passages), torch.float32)
        self._dim = passages.shape[1]
        self._architecture = architecture_of(passages.device)
        bytes_of_partial_sums = 4 * _MASKED_TILE.parts / _MASKED_TILE.columns
        self._rows = rows_of_chunk(
            passages.shape[0],
            passages.shape[1],
            passages.element_size() + bytes_of_partial_sums + mask_bytes,
            num_processors(passages.device),
            max_scratch_bytes,
        )

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, logit_scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        queries = pad(chunk.queries)
        scores = self._positive_scores(chunk, queries)
        return self._losses(chunk, queries, scores, logit_scale, None)

    def add_column_sums(
        self, chunk: Chunk, logit_scale: Tensor, sums: Tensor, *, keep: bool
    ) -> ColumnPass:
        """Add the rows to `sums` (2, N)."""
        queries = pad(chunk.queries)
        scores = self._positive_scores(chunk, queries)
        losses = self._losses(chunk, queries, scores, logit_scale, sums)
        return ColumnPass(scores * logit_scale, losses)

    def gradients(
        self, chunk: Chunk, logit_scale: Tensor, columns: Columns | None, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N) of the embeddings' dtype."""
        assert chunk.losses is not None  # from an earlier pass, for no tile holds a whole row
        queries = pad(chunk.queries)
        scores = self._positive_scores(chunk, queries)
        of_positives = positive_gradients(chunk, scores * logit_scale, chunk.losses, columns)
        gradient = Scaled(
            self._passages.new_empty(len(queries), len(self._passages)),
            self._loss_scale(chunk.coefficients, columns),
        )
        dots = self._write_weights(
            gradient, chunk, queries, scores, logit_scale, of_positives, columns, needs_dots
        )
        return of_positives.losses, dots, gradient

    def query_gradient(self, weights: Any, logit_scale: Tensor) -> Tensor:
        """Return W P / t, (R, D)."""
        return super().query_gradient(weights, logit_scale)[:, : self._dim]

    def add_passage_gradient(self, weights: Any, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        # The library is slow, too, with rows that do not begin at a multiple of 16 bytes.
        super().add_passage_gradient(weights, pad(queries))

    def passage_gradient(self, logit_scale: Tensor) -> Tensor:
        """Return the sum of all W^T Q / t, (N, D), and reset it."""
        return super().passage_gradient(logit_scale)[:, : self._dim].contiguous()

    def _losses(
        self,
        chunk: Chunk,
        queries: Tensor,
        positive_scores: Tensor,
        logit_scale: Tensor,
        column_sums: Tensor | None,
        flag: Tensor | None = None,
        scratch: Tensor | None = None,
    ) -> Tensor:
        """Return losses (R,); add to the sums of columns, if given.

        Args:
            chunk: the rows.
            queries: of it, padded.
            positive_scores: (R,).
            logit_scale: 1 / temperature.
            column_sums: (2, N), see `add_column_sums`.
            flag: int32 (1,), on the device: unless it is set nothing is computed, and the losses
                are not to be used.
            scratch: float32, for the sums of tiles of rows, if it is large enough.
        """
        tile = self._tile(chunk.negative_mask)
        num_rows, num_columns = len(queries), len(self._passages)
        num_parts = math.ceil(num_columns / tile.columns) * tile.parts
        row_parts = logit_scale.new_empty(2, num_parts, num_rows)  # largest logits, sums
        column_parts = None
        if column_sums is not None:
            column_parts = logit_scale.new_empty(2, math.ceil(num_rows / tile.rows), num_columns)
        launch(
            tile_sums_kernel,
            self._num_programs(queries, tile, flag),
            queries.device,
            {
                **self._tile_arguments(chunk, queries, positive_scores, tile),
                "row_maxima": row_parts[0],
                "row_sums": row_parts[1],
                "column_maxima": None if column_parts is None else column_parts[0],
                "column_sums": None if column_parts is None else column_parts[1],
                "logit_scale": logit_scale,
                "flag": flag,
            },
        )
        row_sums = logit_scale.new_zeros(2, num_rows)
        row_sums[0] = float("-inf")
        merge_sums(row_parts, row_sums, flag)
        if column_parts is not None and column_sums is not None:
            merge_sums(column_parts, column_sums, flag)
        return F.softplus(row_sums[0] - positive_scores * logit_scale + row_sums[1].log())

    def _write_weights(
        self,
        gradient: Scaled,
        chunk: Chunk,
        queries: Tensor,
        positive_scores: Tensor,
        logit_scale: Tensor,
        of_positives: PositiveGradients,
        columns: Columns | None,
        needs_dots: bool,
        flag: Tensor | None = None,
    ) -> Tensor | None:
        """Write W to `gradient` and return sum_j W_ij logit_ij (R,), if needed; see `_losses`."""
        tile = self._tile(chunk.negative_mask)
        partial_dots = None
        if needs_dots:
            num_parts = math.ceil(len(self._passages) / tile.columns) * tile.parts
            partial_dots = logit_scale.new_empty(num_parts, len(queries))
        launch(
            weights_kernel,
            self._num_programs(queries, tile, flag),
            queries.device,
            {
                **self._tile_arguments(chunk, queries, positive_scores, tile),
                "gradient": gradient.values,
                "grad_dot_logits": partial_dots,
                "coefficients": chunk.coefficients.contiguous(),
                "lse": of_positives.lse,
                "grad_positives": of_positives.gradients,
                "logit_scale": logit_scale,
                "loss_scale": gradient.loss_scale,
                "column_lse": None if columns is None else columns.lse,
                "column_coefficients": None if columns is None else columns.coefficients,
                "flag": flag,
                "stride_g": gradient.values.stride(0),
            },
        )
        return None if partial_dots is None else of_positives.dots + partial_dots.sum(0)

    def _positive_scores(self, chunk: Chunk, queries: Tensor) -> Tensor:
        tile = self._tile(chunk.negative_mask)
        scores = queries.new_empty(len(queries), dtype=torch.float32)
        num_diagonals = math.ceil(len(queries) / min(tile.rows, tile.columns))
        launch(
            positive_scores_kernel,
            num_diagonals,
            queries.device,
            {
                "queries": queries,
                "passages": self._passages,
                "scores": scores,
                "positives": chunk.positives.contiguous(),
                "R": len(queries),
                "D": queries.shape[1],
                "EVEN_D": queries.shape[1] % tile.depth == 0,
                **tile.arguments(),
            },
        )
        return scores

    def _tile_arguments(
        self, chunk: Chunk, queries: Tensor, positive_scores: Tensor, tile: Tile
    ) -> dict[str, Any]:
        margin = chunk.negative_mask.margin
        limits = None if margin is None else positive_scores + margin
        return {
            "queries": queries,
            "passages": self._passages,
            "positives": chunk.positives.contiguous(),
            "negative_mask": kernel_mask(chunk.negative_mask, limits),
            "R": len(queries),
            "N": len(self._passages),
            "D": queries.shape[1],
            "EVEN_D": queries.shape[1] % tile.depth == 0,
            "NUM_PARTS": tile.parts,
            "GROUP": _GROUP,
            **tile.arguments(),
        }

    def _tile(self, negative_mask: NegativeMask) -> Tile:
        return tile_of(self._architecture, masked=negative_mask.any())

    def _num_programs(self, queries: Tensor, tile: Tile, flag: Tensor | None) -> int:
        """Return one program a tile; with a flag few, which share the tiles."""
        num_rows, num_columns = len(queries), len(self._passages)
        num_tiles = math.ceil(num_rows / tile.rows) * math.ceil(num_columns / tile.columns)
        if flag is None:
            return num_tiles
        return min(num_tiles, _FLAGGED_PROGRAMS * num_processors(queries.device))


@dataclass(frozen=True)
class PositiveGradients:
    """What `weights_kernel` needs of each row, (R,), and what it leaves out."""

    losses: Tensor  # of both directions with columns
    lse: Tensor  # log-sum-exp of the row
    gradients: Tensor  # W of the positive
    dots: Tensor  # the positive's share of sum_j W_ij logit_ij


def positive_gradients(
    chunk: Chunk, logits: Tensor, losses: Tensor, columns: Columns | None
) -> PositiveGradients:
    """Return the gradients of the positives' logits.

    Args:
        chunk: the rows.
        logits: (R,), of the positives.
        losses: (R,), of queries against passages.
        columns: of the other direction.
    """
    a, lse = chunk.coefficients, logits + losses
    # The softmax of the positive is exp(-l_i). A row of W sums to 0, so its log-sum-exp may be
    # subtracted from all logits: that of the positive is then -l_i.
    gradients = a * torch.expm1(-losses)
    dots = -gradients * losses
    if columns is not None:
        gaps = columns.lse[chunk.positives] - logits
        # Infinity: no row in the sum, so the positive has no negatives.
        absent = torch.isposinf(gaps)
        if chunk.negative_mask.in_batch is not None:
            absent = absent | ~chunk.negative_mask.in_batch
        gaps = gaps.masked_fill(absent, float("-inf"))
        other_grads = a * gaps.sigmoid()
        losses = losses + F.softplus(gaps)
        gradients = gradients - other_grads
        dots = dots - other_grads * logits
    return PositiveGradients(losses, lse, gradients, dots)


def merge_sums(parts: Tensor, sums: Tensor, flag: Tensor | None = None) -> None:
    """Add the sums of tiles (2, T, M) to `sums` (2, M); with a flag, if it is set."""
    _, num_tiles, size = parts.shape
    launch(
        merge_sums_kernel,
        math.ceil(size / MERGE_BLOCKS["BLOCK_M"]),
        parts.device,
        {
            "maxima": parts[0],
            "parts": parts[1],
            "sums": sums,
            "flag": flag,
            "T": num_tiles,
            "M": size,
            **MERGE_BLOCKS,
        },
    )


def pad(embeddings: Tensor) -> Tensor:
    """Return embeddings (rows, D) with zeros at the end of D, up to a multiple of 16."""
    missing = -embeddings.shape[1] % _UNIT
    return F.pad(embeddings, (0, missing)) if missing else embeddings


@cache
def architecture_of(device: torch.device) -> str:
    """Return the name of a GPU's architecture, such as "sm_90" or "gfx942"."""
    if device.type != "cuda":  # Triton's interpreter
        return device.type
    if torch.version.hip is not None:
        name: str = torch.cuda.get_device_properties(device).gcnArchName
        return name.split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"
