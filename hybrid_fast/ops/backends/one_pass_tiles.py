"""Exponentials of a chunk's logits: the launches that compute them, their sums and what follows."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.ops.backends.gpu_products import launch, num_processors
from hybrid_fast.ops.backends.one_pass_kernels import (
    exp_tiles_kernel,
    finish_rows_kernel,
    references_kernel,
    weigh_kernel,
)
from hybrid_fast.ops.backends.triton_mask import kernel_mask
from hybrid_fast.ops.backends.triton_tiles import ChunkInTiles, Tile, Tiles
from hybrid_fast.ops.kernels import Chunk, Columns
from hybrid_fast.ops.negative_mask import NOTHING_EXCLUDED, NegativeMask

# No exponential and no sum of 1e8 of them overflows, and their inverse does not underflow in
# bfloat16.
HEADROOM = 60.0
# Chosen so that no register spills with every mask and odd sizes. Of those without masks 128 x 256
# with descriptors was the fastest of twelve on an H100; others were not timed.
_TILE = Tile(rows=128, columns=128, depth=64, parts=4, num_warps=8, num_stages=3)
_MASKED_TILE = Tile(rows=128, columns=128, depth=64, parts=8, num_warps=8, num_stages=3)
_WIDE = 256  # columns of tiles with registers left for flat loops
_HOPPER_TILE = Tile(rows=128, columns=_WIDE, depth=64, parts=4, num_warps=8, num_stages=3)
_HOPPER_DENSE_TILE = Tile(rows=128, columns=_WIDE, depth=64, parts=8, num_warps=8, num_stages=3)
_AMD_TILE = Tile(rows=128, columns=128, depth=64, parts=1, num_warps=8, num_stages=2)
_AMD_MASKED_TILE = Tile(rows=128, columns=64, depth=64, parts=1, num_warps=8, num_stages=2)
_SUM_BLOCKS = {"BLOCK_T": 64, "BLOCK_R": 32}  # parts of tiles; rows
_WEIGH_BLOCKS = {"BLOCK_R": 16, "BLOCK_N": 512}
_WEIGH_PROGRAMS = 16  # of a processor
_DEPTH_BLOCK = 1024  # of the dimension, in kernels that take a row
_UNIT = 8  # divides the distance of two rows of E: descriptors need it


def tile_of(architecture: str, negative_mask: NegativeMask, *, needs_dots: bool) -> Tile:
    """Return the tile of exponentials for an architecture such as "sm_90" or "gfx942".

    Groups and ids, and the gradient of the temperature, leave registers for smaller parts alone;
    other masks for smaller tiles.
    """
    masked = negative_mask.any()
    if architecture.startswith("gfx"):
        return _AMD_MASKED_TILE if masked else _AMD_TILE
    if architecture == "sm_90" and _has_ids_alone(negative_mask):
        return _HOPPER_DENSE_TILE if masked or needs_dots else _HOPPER_TILE
    return _MASKED_TILE if masked else _TILE


def _has_ids_alone(negative_mask: NegativeMask) -> bool:
    """Tell whether nothing but groups and passage ids excludes columns."""
    names = {name for name, *_ in negative_mask.tensors()}
    ids = {"query_groups", "passage_groups", "query_passage_ids", "passage_ids"}
    return negative_mask.margin is None and not negative_mask.rules and names <= ids


@cache
def has_descriptors(architecture: str) -> bool:
    """Tell whether tiles are loaded and stored through tensor descriptors."""
    return architecture == "sm_90" and find_spec("triton.tools.tensor_descriptor") is not None


class ScoreMemory:
    """Memory with an entry for each score of a chunk: of E, or of W, and of sums before it.

    Args:
        rows: of the chunk.
        tiles: of the passages.
    """

    def __init__(self, rows: ChunkInTiles, tiles: Tiles) -> None:
        num_rows, num_columns = len(rows.queries), tiles.num_columns
        width = math.ceil(num_columns / _UNIT) * _UNIT
        self._shape_of_sums = tiles.shape_of_parts(rows)
        self._num_sums = math.prod(self._shape_of_sums)
        self._memory = rows.queries.new_empty(max(num_rows * width, 2 * self._num_sums))
        self.matrix = self._memory.as_strided((num_rows, num_columns), (width, 1))

    def sums(self) -> Tensor:
        """Return it as `Tiles.losses` takes it."""
        return self._memory[: 2 * self._num_sums].view(torch.float32).view(self._shape_of_sums)


@dataclass(frozen=True)
class Exponentials:
    """Those of a chunk, of R rows, and what follows from their sums.

    Meaningless where the flag is set, but for `rows` and memory.
    """

    rows: ChunkInTiles
    references: Tensor  # (R,), logits that they are relative to
    memory: ScoreMemory | None  # of E (R, N), bfloat16; None: sums alone
    losses: Tensor  # (R,), of queries against passages
    factors: Tensor  # (R,), a_i / l_i
    dots: Tensor | None  # (R,), a_i / l_i sum_j E_ij (logit_ij - logit of the positive)
    column_sums: Tensor | None  # (N,), of the rows in the other direction
    flag: Tensor  # int32 (1,): whether a row's sum is out of reach

    def to_keep(self) -> Exponentials:
        """Return what gradients of the same rows need: of the scores' number E alone, if at all.

        A mask that rules made for the chunk would otherwise stay, and sums of all columns.
        """
        chunk = self.rows.chunk._replace(negative_mask=NOTHING_EXCLUDED)
        return replace(self.of_chunk(chunk), column_sums=None)

    def of_chunk(self, chunk: Chunk) -> Exponentials:
        """Return them for another chunk of the same rows, which has their mask."""
        return replace(self, rows=replace(self.rows, chunk=chunk))


class ExponentialTiles:
    """The passes over tiles of exponentials of the chunks of one call.

    Args:
        tiles: of the passages.
    """

    def __init__(self, tiles: Tiles) -> None:
        self._tiles = tiles
        self._longest = _lengths(tiles.passages).amax()
        self._described: dict[Tile, Any] = {}  # descriptors of the passages

    def of_rows(
        self, chunk: Chunk, logit_scale: Tensor, *, keep: bool, needs_dots: bool
    ) -> Exponentials:
        """Return exponentials of one direction, relative to a reference of each row.

        Args:
            chunk: the rows.
            logit_scale: 1 / temperature.
            keep: whether E itself is needed.
            needs_dots: whether `dots` are.
        """
        rows = self._rows_of(chunk, logit_scale)
        references = torch.empty_like(rows.positive_scores)
        launch(
            references_kernel,
            len(references),
            references.device,
            {
                "queries": rows.queries,
                "longest_passage": self._longest,
                "positive_scores": rows.positive_scores,
                "logit_scale": logit_scale,
                "references": references,
                "headroom": HEADROOM,
                **row_arguments(rows.queries),
            },
        )
        return self._compute(rows, references, keep=keep, needs_dots=needs_dots, columns=False)

    def of_columns(self, chunk: Chunk, logit_scale: Tensor, *, keep: bool) -> Exponentials:
        """Return exponentials of both directions: all are relative to the same reference."""
        rows = self._rows_of(chunk, logit_scale)
        bound = _lengths(rows.queries).amax() * self._longest * logit_scale
        # No lower than needed, for distance costs digits; if there is no finite bound, sums tell.
        reference = (bound - HEADROOM).clamp(min=0).nan_to_num(0.0, 0.0)
        references = reference.expand(len(rows.queries)).contiguous()
        return self._compute(rows, references, keep=keep, needs_dots=False, columns=True)

    def weighted(
        self, exponentials: Exponentials, losses: Tensor, columns: Columns, *, needs_dots: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Return E_ij (a_i / l_i + beta_j / (sum of the column)), and dots without positives.

        That is W of both directions but for the positives. If E was kept, only the gradient of the
        temperature needs the logits again.

        Args:
            exponentials: of `of_columns`, whose flag says whether there is nothing to do.
            losses: (R,), of queries against passages.
            columns: of the whole batch.
            needs_dots: whether sum_j W_ij logit_ij is needed, as `weights_kernel` has it.
        """
        rows, memory = exponentials.rows, exponentials.memory
        column_factors = columns.coefficients * (exponentials.references[0] - columns.lse).exp()
        if memory is not None and not needs_dots:
            self._weigh(exponentials, memory.matrix, column_factors)
            return memory.matrix, None
        if memory is None:
            memory = ScoreMemory(rows, self._tiles)
        tile = self._tile(rows.chunk, needs_dots=needs_dots)
        row_dots = self._new_sums(rows, tile, 1)[0] if needs_dots else None
        self._launch(
            rows, tile, exponentials.references, memory.matrix,
            row_dots=row_dots, row_factors=exponentials.factors, column_factors=column_factors,
            origins=rows.logits + losses if needs_dots else None, flag=exponentials.flag,
        )  # fmt: skip
        return memory.matrix, None if row_dots is None else row_dots.sum(0)

    def _rows_of(self, chunk: Chunk, logit_scale: Tensor) -> ChunkInTiles:
        return self._tiles.rows_of(chunk, logit_scale, self._tile(chunk, needs_dots=False))

    def _compute(
        self, rows: ChunkInTiles, references: Tensor, *, keep: bool, needs_dots: bool, columns: bool
    ) -> Exponentials:
        """Compute E tile by tile, then what follows from the sums of its rows."""
        tile, num_rows = self._tile(rows.chunk, needs_dots=needs_dots), len(rows.queries)
        row_sums, *more = self._new_sums(rows, tile, 1 + needs_dots)
        row_dots = more[0] if needs_dots else None
        column_parts = None
        if columns:
            num_tiles = math.ceil(num_rows / tile.rows)
            column_parts = references.new_empty(num_tiles, self._tiles.num_columns)
        memory = ScoreMemory(rows, self._tiles) if keep else None
        self._launch(
            rows, tile, references, None if memory is None else memory.matrix, row_sums=row_sums,
            row_dots=row_dots, column_sums=column_parts,
            origins=rows.logits if needs_dots else None,
        )  # fmt: skip
        found = Exponentials(
            rows,
            references,
            memory,
            losses=torch.empty_like(references),
            factors=torch.empty_like(references),
            dots=torch.empty_like(references) if needs_dots else None,
            column_sums=None if column_parts is None else column_parts.sum(0),
            flag=references.new_zeros(1, dtype=torch.int32),
        )
        launch(
            finish_rows_kernel,
            math.ceil(num_rows / _SUM_BLOCKS["BLOCK_R"]),
            references.device,
            {
                "row_sums": row_sums,
                "row_dots": row_dots,
                "positive_scores": rows.positive_scores,
                "references": references,
                "longest_passage": self._longest,
                "coefficients": rows.chunk.coefficients.contiguous(),
                "logit_scale": rows.logit_scale,
                "losses": found.losses,
                "factors": found.factors,
                "dots": found.dots,
                "flag": found.flag,
                "T": len(row_sums),
                "R": num_rows,
                **_SUM_BLOCKS,
            },
        )
        return found

    def _launch(
        self,
        rows: ChunkInTiles,
        tile: Tile,
        references: Tensor,
        values: Tensor | None,
        **arguments: Tensor | None,
    ) -> None:
        """Launch the kernel of tiles; arguments that are not given are None."""
        described = has_descriptors(self._tiles.architecture)
        shared = self._tiles.arguments(rows, tile) | {
            "exponentials": values,
            "DESCRIPTORS": described,
            "FLATTEN": described and tile.columns == _WIDE,
        }
        if described:
            shared |= {
                "queries": descriptor(rows.queries, tile.rows, tile.depth),
                "passages": self._passages_in(tile),
            }
            if values is not None:
                part = tile.columns // tile.parts
                shared["exponentials"] = descriptor(values, tile.rows, part)
        num_tiles = tile.num_tiles(len(rows.queries), self._tiles.num_columns)
        absent = ("row_sums", "row_dots", "column_sums", "row_factors", "column_factors")
        launch(
            exp_tiles_kernel,
            min(num_tiles, num_processors(references.device)),
            references.device,
            {
                **dict.fromkeys((*absent, "origins", "flag")),
                **arguments,
                **shared,
                "references": references,
                "stride_e": None if values is None else values.stride(0),
            },
        )

    def _passages_in(self, tile: Tile) -> Any:
        """Return the descriptor of the passages, made once a call, for it may copy them."""
        if tile not in self._described:
            described = descriptor(self._tiles.passages, tile.columns, tile.depth)
            self._described[tile] = described
        return self._described[tile]

    def _weigh(self, exponentials: Exponentials, values: Tensor, column_factors: Tensor) -> None:
        """Multiply E by the factors of both directions in place."""
        num_rows, num_columns = values.shape
        num_blocks = math.ceil(num_rows / _WEIGH_BLOCKS["BLOCK_R"])
        num_blocks *= math.ceil(num_columns / _WEIGH_BLOCKS["BLOCK_N"])
        launch(
            weigh_kernel,
            min(num_blocks, _WEIGH_PROGRAMS * num_processors(values.device)),
            values.device,
            {
                "exponentials": values,
                "row_factors": exponentials.factors,
                "column_factors": column_factors,
                "negative_mask": kernel_mask(exponentials.rows.chunk.negative_mask, None),
                "flag": exponentials.flag,
                "stride_e": values.stride(0),
                "R": num_rows,
                "N": num_columns,
                **_WEIGH_BLOCKS,
            },
        )

    def _new_sums(self, rows: ChunkInTiles, tile: Tile, number: int) -> Tensor:
        """Return memory for some sums of the parts of rows, (number, parts of N, R)."""
        num_parts = tile.num_parts(self._tiles.num_columns)
        return rows.positive_scores.new_empty(number, num_parts, len(rows.queries))

    def _tile(self, chunk: Chunk, *, needs_dots: bool) -> Tile:
        return tile_of(self._tiles.architecture, chunk.negative_mask, needs_dots=needs_dots)


def descriptor(matrix: Tensor, num_rows: int, num_columns: int) -> Any:
    """Return a tensor descriptor of blocks of a matrix whose rows are contiguous."""
    from triton.tools.tensor_descriptor import TensorDescriptor

    if matrix.data_ptr() % 16:  # a part of other memory
        matrix = matrix.clone()
    return TensorDescriptor(
        matrix, list(matrix.shape), list(matrix.stride()), [num_rows, num_columns]
    )


def row_arguments(matrix: Tensor) -> dict[str, int]:
    """Return the arguments of kernels that take one row of a matrix."""
    size = matrix.shape[1]
    return {"D": size, "BLOCK_D": min(1 << (size - 1).bit_length(), _DEPTH_BLOCK)}


def _lengths(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=1, dtype=torch.float32)
