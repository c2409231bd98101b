"""The chunked loss on the CPU: torch's products, C++ kernels between them.

Of the time at 8,192 x 384 in float32 the products take 90 % and more. A chunk has 512 rows, or
fewer where columns are many: each adds once to the whole gradient of the passages.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from hybrid_fast.ops.chunked import Chunk, Columns, Kernels

_CHUNK_BYTES = 2**24  # of scores
_FEWEST_ROWS, _MOST_ROWS = 128, 512


IS_BUILT = find_spec("hybrid_fast._core") is not None


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Return a b^T, for (M, K) and (N, K)."""
    if _by_onednn(a):
        return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return a @ b.T


def multiply_add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return a b^T + c, for (M, K), (N, K) and (M, N)."""
    if _by_onednn(a):
        return torch.ops.mkldnn._linear_pointwise.binary(a, c, b, None, "add")
    return c.addmm_(a, b.T)


def _by_onednn(a: Tensor) -> bool:
    """Tell whether torch's fused linear layer takes the product.

    It goes to oneDNN, exact in float32 as `torch.mm` is, and on an AMD processor with AVX-512 it is
    2.4 times as fast as the MKL behind `torch.mm`.
    """
    return a.dtype == torch.float32 and _has_onednn()


@cache
def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def make_kernels(
    passages: Tensor,
    dtype: torch.dtype,
    product_dtype: torch.dtype,
    max_scratch_bytes: int | None,
    *,
    one_pass: bool,
) -> Kernels:
    """Return the kernels of one call.

    Args:
        passages: (N, D).
        dtype: of scores and sums, float32 or float64.
        product_dtype: embeddings are rounded to it if it is bfloat16.
        max_scratch_bytes: of a chunk of scores; at least 128 rows are held.
        one_pass: losses and gradients come of the same scores; the same kernels do both here.
    """
    max_bytes = max_scratch_bytes or _CHUNK_BYTES
    if product_dtype != torch.bfloat16:
        return FloatKernels(passages.to(dtype), max_bytes)
    from hybrid_fast import _core

    kernels = Bf16Kernels if _core.has_bf16_product() else RoundedKernels
    return kernels(passages.bfloat16(), max_bytes)


def rows_of_chunk(num_columns: int, bytes_per_score: int, most_rows: int, max_bytes: int) -> int:
    """Return how many rows a chunk has, of which each adds to the passages' gradient once."""
    rows = max_bytes // (bytes_per_score * num_columns)
    return min(max(rows, _FEWEST_ROWS), most_rows)


class FloatKernels:
    """Steps of the chunked loss for float32 and float64; see `chunked.Kernels`."""

    def __init__(self, passages: Tensor, max_bytes: int) -> None:
        from hybrid_fast import _core

        self.dtype = passages.dtype
        self._passages = passages
        self._rows = rows_of_chunk(len(passages), passages.element_size(), _MOST_ROWS, max_bytes)
        self._total: Tensor | None = None  # (D, N), of the gradient of the passages
        suffix = "double" if passages.dtype == torch.float64 else "float"
        self._contrast = getattr(_core, f"contrast_rows_{suffix}")
        self._add_sums = getattr(_core, f"add_column_sums_{suffix}")

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return self._run(chunk, scale, None, gradient=False)[0]

    def gradients(
        self, chunk: Chunk, scale: Tensor, columns: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N)."""
        return self._run(chunk, scale, columns, gradient=True)

    def add_column_sums(
        self, chunk: Chunk, scale: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Add the rows to `sums` (2, N) and return the logits of their positives (R,)."""
        return add_sums(self._add_sums, chunk, scale, self._scores(chunk), sums), None

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D)."""
        return multiply(gradient, self._passages.T)

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        queries = queries.T.contiguous()
        if self._total is None:
            self._total = multiply(queries, gradient.T)
        else:
            self._total = multiply_add(queries, gradient.T, self._total)

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and begin again."""
        assert self._total is not None
        total, self._total = self._total, None
        # Of the layout of the passages, or whoever keeps the gradient would copy it later.
        return total.T.contiguous()

    def _run(
        self, chunk: Chunk, scale: Tensor, columns: Columns | None, *, gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        scores = self._scores(chunk)
        losses, dots = scores.new_empty(2, len(scores))
        self._contrast(
            describe(chunk, scale, scores),
            **addresses(chunk, columns, losses, dots, gradient=gradient),
            bf16=0,
        )
        return losses, dots, scores

    def _scores(self, chunk: Chunk) -> Tensor:
        return multiply(chunk.queries, self._passages)


class RoundedKernels(FloatKernels):
    """The same for bfloat16, on processors without a product of it: in float32, as exactly."""

    def __init__(self, passages: Tensor, max_bytes: int) -> None:
        super().__init__(passages.float(), max_bytes)
        self.dtype = torch.bfloat16

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages."""
        super().add_passage_gradient(gradient, queries.float())

    def _scores(self, chunk: Chunk) -> Tensor:
        return multiply(chunk.queries.float(), self._passages)


class Bf16Kernels:
    """Steps of the chunked loss for bfloat16; see `chunked.Kernels`.

    Scores, losses and sums are float32; the gradient of the logits is rounded to bfloat16, its
    one-hot subtracted before. The scores are made by C++ with AVX-512 BF16, since torch's products
    of bfloat16 on the CPU round their results, and only those of a few rows exist at a time.
    """

    dtype = torch.bfloat16

    def __init__(self, passages: Tensor, max_bytes: int) -> None:
        from hybrid_fast import _core

        self._core = _core
        self._passages = passages
        self._packed = self._passages.new_empty(_core.packed_size(*passages.shape))
        _core.pack_bf16(
            columns=self._passages.data_ptr(),
            num_columns=passages.shape[0],
            dim=passages.shape[1],
            packed=self._packed.data_ptr(),
            num_threads=torch.get_num_threads(),
        )
        self._total: Tensor | None = None
        self._rows = rows_of_chunk(len(passages), 2, 2 * _MOST_ROWS, max_bytes)

    def rows_per_chunk(self) -> int:
        """Return how many rows a chunk has at most."""
        return self._rows

    def losses(self, chunk: Chunk, scale: Tensor) -> Tensor:
        """Return l_i of one direction (R,)."""
        return self._run(chunk, scale, None, None)[0]

    def gradients(
        self, chunk: Chunk, scale: Tensor, columns: Columns | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return losses (R,), sum_j W_ij logit_ij (R,) and W (R, N) in bfloat16."""
        gradient = self._passages.new_empty(len(chunk.queries), len(self._passages))
        return *self._run(chunk, scale, columns, gradient), gradient

    def add_column_sums(
        self, chunk: Chunk, scale: Tensor, sums: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Add the rows to `sums` (2, N) and return the logits of their positives (R,)."""
        scores = scale.new_empty(len(chunk.queries), len(self._passages))
        self._core.multiply_bf16_rows(
            queries=chunk.queries.data_ptr(),
            num_rows=len(chunk.queries),
            packed=self._packed.data_ptr(),
            num_columns=len(self._passages),
            dim=chunk.queries.shape[1],
            scores=scores.data_ptr(),
            num_threads=torch.get_num_threads(),
        )
        return add_sums(self._core.add_column_sums_float, chunk, scale, scores, sums), None

    def query_gradient(self, gradient: Tensor) -> Tensor:
        """Return W P, (R, D), rounded to bfloat16."""
        return gradient @ self._passages

    def add_passage_gradient(self, gradient: Tensor, queries: Tensor) -> None:
        """Add W^T Q to the gradient of the passages, which is float32."""
        part = gradient.T @ queries
        self._total = part.float() if self._total is None else self._total.add_(part)

    def passage_gradient(self) -> Tensor:
        """Return the sum of all W^T Q, (N, D), and begin again."""
        assert self._total is not None
        total, self._total = self._total, None
        return total

    def _run(
        self, chunk: Chunk, scale: Tensor, columns: Columns | None, gradient: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        losses, dots = scale.new_empty(2, len(chunk.queries))
        self._core.contrast_bf16_rows(
            describe(chunk, scale, None, len(self._passages)),
            queries=chunk.queries.data_ptr(),
            packed=self._packed.data_ptr(),
            dim=chunk.queries.shape[1],
            **addresses(chunk, columns, losses, dots, gradient=gradient is not None),
            bf16=0 if gradient is None else gradient.data_ptr(),
        )
        return losses, dots


def describe(
    chunk: Chunk, scale: Tensor, scores: Tensor | None, num_columns: int = 0
) -> dict[str, Any]:
    """Return how the C++ kernels are told of a chunk: sizes, and addresses (0: none)."""
    rules, mask = chunk.rules, chunk.rules.mask
    if mask is not None and mask.stride(1) != 1:
        mask = mask.contiguous()
    tensors = {
        "scores": scores,
        "positives": chunk.positives,
        "row_groups": rules.row_groups,
        "column_groups": rules.column_groups,
        "row_ids": rules.row_ids,
        "column_ids": rules.column_ids,
        "left_out_columns": rules.left_out_columns,
    }
    contiguous = {
        name: None if tensor is None else tensor.contiguous() for name, tensor in tensors.items()
    }
    return {
        "num_rows": len(chunk.queries),
        "num_columns": num_columns if scores is None else scores.shape[1],
        "scale": float(scale),
        "margin": rules.margin,
        "mask": 0 if mask is None else mask.data_ptr(),
        "mask_stride": 0 if mask is None else mask.stride(0),
        "tensors": (contiguous, mask),  # kept until the kernel is done
        **{name: 0 if tensor is None else tensor.data_ptr() for name, tensor in contiguous.items()},
    }


def addresses(
    chunk: Chunk, columns: Columns | None, losses: Tensor, dots: Tensor, *, gradient: bool
) -> dict[str, int]:
    """Return where the C++ kernels read coefficients and write their results."""
    return {
        "coefficients": chunk.coefficients.data_ptr() if gradient else 0,
        "log_sums": 0 if columns is None else columns.log_sums.data_ptr(),
        "factors": 0 if columns is None else columns.factors.data_ptr(),
        "losses": losses.data_ptr(),
        "dots": dots.data_ptr(),
        "num_threads": torch.get_num_threads(),
    }


def add_sums(
    kernel: Callable[..., None], chunk: Chunk, scale: Tensor, scores: Tensor, sums: Tensor
) -> Tensor:
    """Add a chunk of scores to sums of columns; return the logits of the positives (R,)."""
    logits = scores.new_empty(len(scores))
    kernel(
        describe(chunk, scale, scores),
        largest=sums[0].data_ptr(),
        sums=sums[1].data_ptr(),
        positive_logits=logits.data_ptr(),
        num_threads=torch.get_num_threads(),
    )
    return logits
