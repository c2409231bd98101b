"""The chunked loss on the CPU: products of the fastest library, C++ kernels between them.

Of the time at 8,192 x 384 in float32 the products take 90 % and more. A chunk has 512 rows, or
fewer where columns are many: each adds once to the whole gradient of the passages.
"""

from __future__ import annotations

import torch

from hybrid_fast.cpu.ways import check_variable
from hybrid_fast.ops.kernels import Kernels
from hybrid_fast.ops.problem import Problem, cast

CHUNK_BYTES = 2**23  # of scores; they stay in the last cache until they are done with
_CHUNK_BYTES_BF16 = 2**24  # of their gradient
MOST_ROWS = 512  # of a chunk; twice as many where the gradient of a score takes two bytes
_FEWEST_ROWS = 128


def make_kernels(problem: Problem, one_pass: bool) -> Kernels:
    """Return the kernels of one call.

    What the processor cannot multiply in the product dtype is rounded to it, and multiplied in the
    compute dtype.

    Args:
        problem: of embeddings on the CPU.
        one_pass: whether losses and gradients come from the same scores; the same kernels do both
            here.

    Raises:
        ValueError: HYBRID_FAST_WAYS names no way.
    """
    check_variable()  # small products would not ask
    # The compiled core is loaded by those who need it.
    from hybrid_fast.ops.backends.cpu_bf16 import Bf16Kernels, has_bf16_product
    from hybrid_fast.ops.backends.cpu_kernels import FloatKernels

    passages, max_bytes = cast(problem.passages, problem.product_dtype), problem.max_scratch_bytes
    num_columns = passages.shape[0]
    mask_bytes = 1 if problem.negative_mask.rules else 0  # of a mask that is made for the chunk
    if problem.product_dtype == torch.bfloat16 and has_bf16_product():
        max_bytes = max_bytes or _CHUNK_BYTES_BF16
        rows = rows_of_chunk(num_columns, 2 + mask_bytes, 2 * MOST_ROWS, max_bytes)
        return Bf16Kernels(passages.contiguous(), rows)
    passages = cast(passages, problem.compute_dtype).contiguous()
    bytes_per_score = passages.element_size() + mask_bytes
    rows = rows_of_chunk(num_columns, bytes_per_score, MOST_ROWS, max_bytes or CHUNK_BYTES)
    return FloatKernels(passages, rows)


def rows_of_chunk(num_columns: int, bytes_per_score: int, most_rows: int, max_bytes: int) -> int:
    """Return how many rows a chunk has at most; each adds once to the passages' gradient."""
    return min(max(max_bytes // (bytes_per_score * num_columns), _FEWEST_ROWS), most_rows)
