"""Tiles of scores that never leave the chip: how products are cut, and the passes over all tiles.

One pass computes the scores tile by tile and writes sums of rows and, if needed, of columns; a
second computes them again and writes W. With a flag, an int32 on the device, both are launched
all the same, and have nothing to do unless it is set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops.backends.gpu_products import Scaled, launch, num_processors
from hybrid_fast.ops.backends.tile_kernels import (
    merge_sums_kernel,
    positive_scores_kernel,
    tile_sums_kernel,
    weights_kernel,
)
from hybrid_fast.ops.backends.triton_mask import kernel_mask
from hybrid_fast.ops.kernels import Chunk, Columns
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

    def num_tiles(self, num_rows: int, num_columns: int) -> int:
        """Return how many tiles a chunk has."""
        return math.ceil(num_rows / self.rows) * math.ceil(num_columns / self.columns)

    def num_parts(self, num_columns: int) -> int:
        """Return how many parts of tiles lie side by side."""
        return math.ceil(num_columns / self.columns) * self.parts


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


def tile_of(architecture: str, *, masked: bool, flagged: bool = False) -> Tile:
    """Return the tile for an architecture such as "sm_90" or "gfx942".

    With a flag programs loop over tiles, which on AMD takes the registers that masks do.
    """
    if architecture.startswith("gfx"):
        return _AMD_MASKED_TILE if masked or flagged else _AMD_TILE
    if masked:
        return _MASKED_TILE
    return _HOPPER_TILE if architecture == "sm_90" else _TILE


@dataclass(frozen=True)
class ChunkInTiles:
    """A chunk as passes over its tiles take it. R rows."""

    chunk: Chunk
    queries: Tensor  # (R, D), padded
    positive_scores: Tensor  # (R,)
    logit_scale: Tensor

    @property
    def logits(self) -> Tensor:
        """Those of the positives, (R,)."""
        return self.positive_scores * self.logit_scale


@dataclass(frozen=True)
class PositiveGradients:
    """What a pass that writes W needs of each row, (R,), and what it leaves out."""

    losses: Tensor  # of both directions with columns
    lse: Tensor  # log-sum-exp of the row
    gradients: Tensor  # W of the positive
    dots: Tensor  # the positive's share of sum_j W_ij logit_ij


def positive_gradients(
    rows: ChunkInTiles, losses: Tensor, columns: Columns | None
) -> PositiveGradients:
    """Return the gradients of the positives' logits.

    Args:
        rows: of a chunk.
        losses: (R,), of queries against passages.
        columns: of the other direction.
    """
    a, logits = rows.chunk.coefficients, rows.logits
    lse = logits + losses
    # The softmax of the positive is exp(-l_i). A row of W sums to 0, so its log-sum-exp may be
    # subtracted from all logits: that of the positive is then -l_i.
    gradients = a * torch.expm1(-losses)
    dots = -gradients * losses
    if columns is not None:
        gaps = columns.lse[rows.chunk.positives] - logits
        # Infinity: no row in the sum, so the positive has no negatives.
        absent = torch.isposinf(gaps)
        if rows.chunk.negative_mask.in_batch is not None:
            absent = absent | ~rows.chunk.negative_mask.in_batch
        gaps = gaps.masked_fill(absent, float("-inf"))
        other_grads = a * gaps.sigmoid()
        losses = losses + F.softplus(gaps)
        gradients = gradients - other_grads
        dots = dots - other_grads * logits
    return PositiveGradients(losses, lse, gradients, dots)


class Tiles:
    """The passes over tiles of the chunks of one call.

    Args:
        passages: (N, D), bfloat16 or float16.
        flagged: whether passes have a flag.
    """

    def __init__(self, passages: Tensor, *, flagged: bool = False) -> None:
        self.passages = pad(passages)
        self.num_columns = len(passages)
        self.architecture = architecture_of(passages.device)
        self._flagged = flagged

    def rows_of(self, chunk: Chunk, logit_scale: Tensor, tile: Tile | None = None) -> ChunkInTiles:
        """Return a chunk with the scores of its positives.

        Args:
            chunk: the rows.
            logit_scale: 1 / temperature.
            tile: whose scores they are to equal bitwise; None: that of the other passes here.
        """
        queries = pad(chunk.queries)
        tile = tile or self.tile(chunk.negative_mask)
        scores = queries.new_empty(len(queries), dtype=torch.float32)
        launch(
            positive_scores_kernel,
            math.ceil(len(queries) / min(tile.rows, tile.columns)),
            queries.device,
            {
                "queries": queries,
                "passages": self.passages,
                "scores": scores,
                "positives": chunk.positives.contiguous(),
                "R": len(queries),
                "D": queries.shape[1],
                "EVEN_D": queries.shape[1] % tile.depth == 0,
                **tile.arguments(),
            },
        )
        return ChunkInTiles(chunk, queries, scores, logit_scale)

    def losses(
        self,
        rows: ChunkInTiles,
        column_sums: Tensor | None,
        flag: Tensor | None = None,
        memory: Tensor | None = None,
    ) -> Tensor:
        """Return losses of queries against passages (R,), and add to the sums of columns.

        Args:
            rows: of a chunk.
            column_sums: (2, N), see `kernels.Kernels.add_column_sums`; None: not asked for.
            flag: int32 (1,): unless it is set losses are meaningless, and nothing is added.
            memory: for the sums of tiles, float32 of `shape_of_parts`; None: is allocated.
        """
        tile, num_rows = self.tile(rows.chunk.negative_mask), len(rows.queries)
        parts = memory
        if parts is None:
            parts = rows.positive_scores.new_empty(self.shape_of_parts(rows))
        column_parts = None
        if column_sums is not None:
            num_tiles = math.ceil(num_rows / tile.rows)
            column_parts = column_sums.new_empty(2, num_tiles, self.num_columns)
        launch(
            tile_sums_kernel,
            self._num_programs(rows, tile, flag),
            rows.queries.device,
            {
                **self.arguments(rows, tile),
                "row_maxima": parts[0],
                "row_sums": parts[1],
                "column_maxima": None if column_parts is None else column_parts[0],
                "column_sums": None if column_parts is None else column_parts[1],
                "flag": flag,
            },
        )
        row_sums = parts.new_zeros(2, num_rows)
        row_sums[0].fill_(float("-inf"))
        merge_sums(parts, row_sums, flag)
        if column_parts is not None and column_sums is not None:
            merge_sums(column_parts, column_sums, flag)
        return F.softplus(row_sums[0] - rows.logits + row_sums[1].log())

    def write_weights(
        self,
        gradient: Scaled,
        rows: ChunkInTiles,
        of_positives: PositiveGradients,
        columns: Columns | None,
        *,
        needs_dots: bool,
        flag: Tensor | None = None,
    ) -> Tensor | None:
        """Write W and return sum_j W_ij logit_ij (R,) if needed; with a flag, if it is set."""
        tile, partial_dots = self.tile(rows.chunk.negative_mask), None
        if needs_dots:
            partial_dots = rows.positive_scores.new_empty(self.shape_of_parts(rows)[1:])
        launch(
            weights_kernel,
            self._num_programs(rows, tile, flag),
            rows.queries.device,
            {
                **self.arguments(rows, tile),
                "gradient": gradient.values,
                "grad_dot_logits": partial_dots,
                "coefficients": rows.chunk.coefficients.contiguous(),
                "lse": of_positives.lse,
                "grad_positives": of_positives.gradients,
                "loss_scale": gradient.loss_scale,
                "column_lse": None if columns is None else columns.lse,
                "column_coefficients": None if columns is None else columns.coefficients,
                "flag": flag,
                "stride_g": gradient.values.stride(0),
            },
        )
        return None if partial_dots is None else of_positives.dots + partial_dots.sum(0)

    def shape_of_parts(self, rows: ChunkInTiles) -> tuple[int, int, int]:
        """Return the shape of the largest logits and the sums of the parts of rows."""
        num_parts = self.tile(rows.chunk.negative_mask).num_parts(self.num_columns)
        return 2, num_parts, len(rows.queries)

    def arguments(self, rows: ChunkInTiles, tile: Tile) -> dict[str, Any]:
        """Return the arguments that all passes share."""
        chunk, margin = rows.chunk, rows.chunk.negative_mask.margin
        limits = None if margin is None else rows.positive_scores + margin
        return {
            "queries": rows.queries,
            "passages": self.passages,
            "positives": chunk.positives.contiguous(),
            "logit_scale": rows.logit_scale,
            "negative_mask": kernel_mask(chunk.negative_mask, limits),
            "R": len(rows.queries),
            "N": self.num_columns,
            "D": rows.queries.shape[1],
            "EVEN_D": rows.queries.shape[1] % tile.depth == 0,
            "NUM_PARTS": tile.parts,
            "GROUP": _GROUP,
            **tile.arguments(),
        }

    def tile(self, negative_mask: NegativeMask) -> Tile:
        """Return the tile for a mask."""
        return tile_of(self.architecture, masked=negative_mask.any(), flagged=self._flagged)

    def _num_programs(self, rows: ChunkInTiles, tile: Tile, flag: Tensor | None) -> int:
        """Return one program a tile; with a flag few, which share the tiles."""
        num_tiles = tile.num_tiles(len(rows.queries), self.num_columns)
        if flag is None:
            return num_tiles
        return min(num_tiles, _FLAGGED_PROGRAMS * num_processors(rows.queries.device))


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
