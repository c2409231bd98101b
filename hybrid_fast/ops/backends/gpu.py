"""The chunked loss on a GPU: which of two implementations a call takes.

`triton_rows` has the library compute the scores of a chunk once; where half-precision embeddings
need them twice, `triton_tiles` computes them and never writes them. Nothing synchronises with the
device, and launches depend on shapes alone, so that a call can be captured in a CUDA graph.
"""

from __future__ import annotations

from importlib.util import find_spec

from hybrid_fast.ops.chunked import Kernels
from hybrid_fast.ops.problem import Problem, cast

HAS_TRITON = find_spec("triton") is not None
MAX_SCRATCH_BYTES = 2**31
_BYTES_PER_KEPT_PAIR = 6  # a score, and W
MOST_KEPT_PAIRS = 2**24  # whose scores, in half precision, are kept for both directions


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
    if not (passages.dtype == problem.compute_dtype or one_pass or _is_small(problem, max_bytes)):
        from hybrid_fast.ops.backends.triton_tiles import TileKernels

        return TileKernels(passages, max_bytes, mask_bytes)
    from hybrid_fast.ops.backends.triton_rows import RowKernels

    return RowKernels(passages, problem.compute_dtype, max_bytes, mask_bytes, num_queries)


def _is_small(problem: Problem, max_bytes: int) -> bool:
    """Tell whether both directions may take the same scores, which are few.

    Each launch then takes longer than what it computes, and tiles take many.
    """
    num_pairs = problem.queries.shape[0] * problem.passages.shape[0]
    most = min(MOST_KEPT_PAIRS, max_bytes // _BYTES_PER_KEPT_PAIR)
    return problem.symmetric and num_pairs <= most
