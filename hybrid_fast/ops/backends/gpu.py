"""The chunked loss on a GPU: which implementation a call takes.

`triton_rows` has the library compute the scores of a chunk once; where half-precision embeddings
need them twice, `triton_two_pass` computes them in tiles and never writes them. `triton_one_pass`,
which is asked for, writes their exponentials alone. Nothing synchronises with the
device, and launches depend on shapes alone, so that a call can be captured in a CUDA graph.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

from hybrid_fast.ops.kernels import Kernels
from hybrid_fast.ops.problem import Problem, cast

HAS_TRITON = find_spec("triton") is not None
MAX_SCRATCH_BYTES = 2**31
# Of a chunk of one pass, unless `max_scratch_bytes` says otherwise. Adding to the gradient of the
# passages in float32 moves 8 bytes a number (2.8 TB/s), for which each row has 6 operations
# (750 TFLOP/s): 2,048 rows take a sixth of their time for it, 1,024 a third.
FEWEST_ROWS = 2048
# Of a problem whose launches take longer than what they compute, so that few of them count.
MOST_SCORES_OF_FEW_LAUNCHES = 2**24
_BYTES_PER_SCORE = 6  # in `triton_rows`: of the score and of W in half precision


def make_kernels(problem: Problem, one_pass: bool) -> Kernels:
    """Return the kernels of one call.

    float32 and float64 use the library even where scores are needed twice: Triton is no faster at
    their exact products, and W takes the place of the scores.

    Args:
        problem: of embeddings on a GPU.
        one_pass: whether losses and gradients come from the same scores.
    """
    passages = cast(problem.passages, problem.product_dtype).contiguous()
    max_bytes = problem.max_scratch_bytes or MAX_SCRATCH_BYTES
    # Of a pair of a chunk: what rules exclude is a bool.
    mask_bytes = 1 if problem.negative_mask.rules else 0
    num_queries = problem.queries.shape[0]
    # Triton is loaded by those who need it.
    if not (
        passages.dtype == problem.compute_dtype
        or one_pass
        or (problem.symmetric and _is_small(problem))
    ):
        from hybrid_fast.ops.backends.triton_two_pass import TwoPassKernels

        return TwoPassKernels(passages, max_bytes, mask_bytes)
    from hybrid_fast.ops.backends.triton_rows import RowKernels

    return RowKernels(passages, problem.compute_dtype, max_bytes, mask_bytes, num_queries)


def make_one_pass_kernels(problem: Problem, one_pass: bool) -> Kernels:
    """Return `OnePassKernels` for many scores of bfloat16 products, otherwise see `make_kernels`.

    Args:
        problem: of embeddings on a GPU.
        one_pass: whether losses and gradients come from the same scores.
    """
    if problem.product_dtype != torch.bfloat16 or _is_small(problem):
        return make_kernels(problem, one_pass)
    from hybrid_fast.ops.backends.triton_one_pass import OnePassKernels

    max_bytes, fewest_rows = problem.max_scratch_bytes, 1
    if max_bytes is None:
        # Less what gradients in float32 take beyond those returned.
        excess = torch.float32.itemsize - problem.queries.element_size()
        numbers = problem.queries.numel() + problem.passages.numel()
        max_bytes, fewest_rows = MAX_SCRATCH_BYTES - excess * numbers, FEWEST_ROWS
    return OnePassKernels(
        cast(problem.passages, torch.bfloat16).contiguous(),
        len(problem.queries),
        max_bytes,
        1 if problem.negative_mask.rules else 0,
        fewest_rows,
    )


def _is_small(problem: Problem) -> bool:
    """Tell whether a problem has few scores, which the scratch memory holds all at once."""
    max_bytes = problem.max_scratch_bytes or MAX_SCRATCH_BYTES
    most = min(MOST_SCORES_OF_FEW_LAUNCHES, max_bytes // _BYTES_PER_SCORE)
    return problem.queries.shape[0] * problem.passages.shape[0] <= most
