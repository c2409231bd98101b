"""The chunked loss on a GPU where scores are needed twice: tiles of them that never leave the chip.

For half-precision embeddings with `symmetric`, `reduction="none"` and `recompute`. A first kernel
makes the scores tile by tile and leaves sums of rows and, if wanted, of columns; a second makes
them again and leaves W, for the products of the gradient. Nothing but W and the tiles' sums is as
long as scores are many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid_fast.ops.chunked import Chunk, Columns, Rules
from hybrid_fast.ops.gpu_products import (
    GradientProducts,
    num_processors,
    on,
    rows_of_chunk,
    rule_arguments,
)


@dataclass(frozen=True)
class Tile:
    """How a kernel cuts a product into tiles."""

    rows: int
    columns: int
    depth: int  # of the dimension, in one step
    parts: int  # of the columns, to which the rules are applied one after another
    num_warps: int
    num_stages: int

    def arguments(self) -> dict[str, int]:
        """Return what every kernel of tiles is told."""
        return {
            "BLOCK_R": self.rows,
            "BLOCK_N": self.columns,
            "BLOCK_D": self.depth,
            "num_warps": self.num_warps,
            "num_stages": self.num_stages,
        }


# Chosen for use of no stack and no spilled register with every rule and odd sizes; not timed.
# Wider tiles read less from the cache, but leave no registers for rules.
_TILE = Tile(rows=128, columns=128, depth=64, parts=4, num_warps=8, num_stages=3)
_TILE_WITH_RULES = Tile(rows=128, columns=128, depth=64, parts=8, num_warps=8, num_stages=3)
_HOPPER_TILE = Tile(rows=128, columns=256, depth=64, parts=8, num_warps=8, num_stages=3)
_AMD_TILE = Tile(rows=128, columns=128, depth=64, parts=1, num_warps=8, num_stages=2)
_AMD_TILE_WITH_RULES = Tile(rows=128, columns=64, depth=64, parts=1, num_warps=8, num_stages=2)
_GROUP = 8  # tiles below one another that use the same passages at a time
MERGE_BLOCKS = {"BLOCK_T": 64, "BLOCK_M": 32}  # tiles; rows or columns
_UNIT = 16  # divides the dimension: vector loads need it


def tile_of(architecture: str, *, has_rules: bool) -> Tile:
    """Return the tile for an architecture such as "sm_90" or "gfx942"."""
    if architecture.startswith("gfx"):
        return _AMD_TILE_WITH_RULES if has_rules else _AMD_TILE
    if has_rules:
        return _TILE_WITH_RULES
    return _HOPPER_TILE if architecture == "sm_90" else _TILE


class TileKernels(GradientProducts):
    """Steps of the chunked loss on a GPU; see `chunked.Kernels`.

    Args:
        passages: (N, D), bfloat16 or float16.
        max_scratch_bytes: of W and what goes with it; at least 128 rows are held.
    """

    def __init__(self, passages: Tensor, max_scratch_bytes: int) -> None:
        from hybrid_fast.ops import triton_tile_kernels

        super().__init__(pad(passages), torch.float32)
        self._kernels = triton_tile_kernels
        self._dim = passages.shape[1]
        self._architecture = architecture_of(passages.device)
        dots_of_parts = 4 * _TILE_WITH_RULES.parts / _TILE_WITH_RULES.columns
        self._rows = rows_of_chunk(
            passages.shape[0],
            passages.shape[1],
            passages.element_size() + dots_of_parts,
            num_processors(passages.device),
            max_scratch_bytes,
        )

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return self._losses_and_logits(chunk, scale, None)[0]

    def add_column_sums(
        self, chunk: Chunk, scale: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Add the rows to `sums` (2, N); return logits of their positives and losses, (R,)."""
        losses, logits = self._losses_and_logits(chunk, scale, sums)
        return logits, losses

    def gradients(
        self, chunk: Chunk, scale: Tensor, columns: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N) of the embeddings' dtype."""
        losses, a = chunk.losses, chunk.coefficients
        assert losses is not None  # of an earlier pass: tiles do not see the whole row
        tile = self._tile(chunk.rules)
        num_columns = len(self._passages)
        queries = pad(chunk.queries)
        own_scores = self._positive_scores(chunk, queries)
        logits = own_scores * scale
        totals = logits + losses
        # The softmax of the positive is exp(-l_i). A row of W sums to 0, so its total may be
        # subtracted from all logits: that of the positive is then -l_i.
        of_positives = a * torch.expm1(-losses)
        dots = -of_positives * losses
        if columns is not None:
            margins = columns.log_sums[chunk.positives] - logits
            # Infinity: no row in the sum, so nothing that the positive could be told from.
            margins = margins.masked_fill(torch.isposinf(margins), float("-inf"))
            of_other = a * margins.sigmoid()
            losses = losses + F.softplus(margins)
            of_positives = of_positives - of_other
            dots = dots - of_other * logits
        self._choose_gain(a, columns)
        gradient = self._passages.new_empty(len(queries), num_columns)
        num_parts = math.ceil(num_columns / tile.columns) * tile.parts
        dots_of_parts = scale.new_empty(num_parts, len(queries))
        with on(queries.device):
            self._kernels.weights_kernel[self._grid(queries, tile)](
                **self._tile_arguments(chunk, queries, own_scores, tile),
                gradient=gradient,
                dots=dots_of_parts,
                coefficients=a.contiguous(),
                totals=totals,
                own=of_positives,
                scale=scale,
                gain=self._gain,
                log_sums=None if columns is None else columns.log_sums,
                factors=None if columns is None else columns.factors,
            )
        return losses, dots + dots_of_parts.sum(0), gradient

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D)."""
        return super().query_gradient(gradient)[:, : self._dim]

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        # The library, too, is slow with rows that do not begin at a multiple of 16 bytes.
        super().add_passage_gradient(gradient, pad(queries))

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and begin again."""
        return super().passage_gradient()[:, : self._dim].contiguous()

    def _losses_and_logits(
        self, chunk: Chunk, scale: Tensor, column_sums: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return losses and logits of the positives (R,); add to sums of columns, if given."""
        tile = self._tile(chunk.rules)
        queries = pad(chunk.queries)
        own_scores = self._positive_scores(chunk, queries)
        num_rows, num_columns = len(queries), len(self._passages)
        num_parts = math.ceil(num_columns / tile.columns) * tile.parts
        of_rows = scale.new_empty(2, num_parts, num_rows)  # largest logits, sums
        of_columns = None
        if column_sums is not None:
            of_columns = scale.new_empty(2, math.ceil(num_rows / tile.rows), num_columns)
        with on(queries.device):
            self._kernels.tile_sums_kernel[self._grid(queries, tile)](
                **self._tile_arguments(chunk, queries, own_scores, tile),
                row_maxima=of_rows[0],
                row_sums=of_rows[1],
                column_maxima=None if of_columns is None else of_columns[0],
                column_sums=None if of_columns is None else of_columns[1],
                scale=scale,
            )
        row_sums = scale.new_zeros(2, num_rows)
        row_sums[0] = float("-inf")
        self._merge(of_rows, row_sums)
        if of_columns is not None and column_sums is not None:
            self._merge(of_columns, column_sums)
        logits = own_scores * scale
        return F.softplus(row_sums[0] - logits + row_sums[1].log()), logits

    def _positive_scores(self, chunk: Chunk, queries: Tensor) -> Tensor:
        tile = self._tile(chunk.rules)
        scores = queries.new_empty(len(queries), dtype=torch.float32)
        num_diagonals = math.ceil(len(queries) / min(tile.rows, tile.columns))
        with on(queries.device):
            self._kernels.positive_scores_kernel[(num_diagonals,)](
                queries=queries,
                passages=self._passages,
                scores=scores,
                positives=chunk.positives.contiguous(),
                R=len(queries),
                D=queries.shape[1],
                EVEN_D=queries.shape[1] % tile.depth == 0,
                **tile.arguments(),
                enable_fp_fusion=True,
            )
        return scores

    def _tile_arguments(
        self, chunk: Chunk, queries: Tensor, own_scores: Tensor, tile: Tile
    ) -> dict[str, Any]:
        limits = None if chunk.rules.margin is None else own_scores + chunk.rules.margin
        return {
            "queries": queries,
            "passages": self._passages,
            "positives": chunk.positives.contiguous(),
            **rule_arguments(chunk.rules, limits),
            "R": len(queries),
            "N": len(self._passages),
            "D": queries.shape[1],
            "EVEN_D": queries.shape[1] % tile.depth == 0,
            "NUM_PARTS": tile.parts,
            "GROUP": _GROUP,
            **tile.arguments(),
            "enable_fp_fusion": True,  # the default, but of which Triton 3.9 warns
        }

    def _merge(self, parts: Tensor, sums: Tensor) -> None:
        """Add the sums of tiles (2, T, M) to `sums` (2, M)."""
        _, num_tiles, size = parts.shape
        with on(parts.device):
            self._kernels.merge_sums_kernel[(math.ceil(size / MERGE_BLOCKS["BLOCK_M"]),)](
                maxima=parts[0],
                parts=parts[1],
                sums=sums,
                T=num_tiles,
                M=size,
                **MERGE_BLOCKS,
                enable_fp_fusion=True,
            )

    def _tile(self, rules: Rules) -> Tile:
        return tile_of(self._architecture, has_rules=rules.any())

    def _grid(self, queries: Tensor, tile: Tile) -> tuple[int]:
        tiles = math.ceil(len(queries) / tile.rows) * math.ceil(len(self._passages) / tile.columns)
        return (tiles,)


def pad(embeddings: Tensor) -> Tensor:
    """Return embeddings (rows, D) with zeros at the end of D, up to a multiple of 16."""
    missing = -embeddings.shape[1] % _UNIT
    return F.pad(embeddings, (0, missing)) if missing else embeddings


def architecture_of(device: torch.device) -> str:
    """Return the name of a GPU's architecture, such as "sm_90" or "gfx942"."""
    if device.type != "cuda":  # Triton's interpreter
        return device.type
    if torch.version.hip is not None:
        name: str = torch.cuda.get_device_properties(device).gcnArchName
        return name.split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return f"sm_{major}{minor}"
