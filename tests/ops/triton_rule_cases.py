"""`owners` and `in_batch` in the Triton kernels, against a loss that knows no rule but the mask.

Run by test_triton_kernels.py, which sets it up. The other cases are compared with the definition of
both rules; here each is spelled out as a mask, and passages against queries as a loss of their own,
whose queries are the positives. Three chunks each, for owners count from the first row of a chunk.
"""

import pytest
import torch
from mask_cases import masks
from triton_interpreter import (
    check,
    on_the_cpu,  # noqa: F401
    small_chunks_and_poison,  # noqa: F401
)
from unit_vectors import problem, run

from hybrid_fast.ops import info_nce

# In half precision the first has the library make scores, the others have tiles.
WAYS = {
    "one direction": {},
    "symmetric": {"symmetric": True},
    "none": {"reduction": "none"},
    "symmetric, recompute": {"symmetric": True, "recompute": True},
}
SHAPE = NUM_QUERIES, _ = 20, 53
ROWS = torch.arange(NUM_QUERIES)
# The kernels of rows and of tiles; CI adds the other dtype of each.
DTYPES = pytest.mark.parametrize(
    "dtype",
    [
        torch.float32,
        torch.bfloat16,
        pytest.param(torch.float64, marks=pytest.mark.slow),
        pytest.param(torch.float16, marks=pytest.mark.slow),
    ],
    ids=str,
)


def spelled_out(
    queries,
    passages,
    *,
    temperature,
    weights,
    backend,
    owners=None,
    in_batch=None,
    margin=None,
    positives=None,
    mask=None,
    symmetric=False,
    reduction="mean",
    recompute=False,
):
    """Return the loss by masks alone; `recompute` changes nothing of it."""
    rows = torch.arange(len(queries))
    positives = rows if positives is None else positives
    in_batch = torch.ones_like(rows, dtype=torch.bool) if in_batch is None else in_batch
    own = torch.zeros(len(queries), len(passages), dtype=torch.bool)
    if owners is not None:
        own = owners[None, :] == rows[:, None]
    excluded = ~in_batch[:, None] & ~own
    if margin is not None:
        exact = torch.promote_types(queries.dtype, torch.float32)
        scores = queries.detach().to(exact) @ passages.detach().to(exact).T
        excluded |= (scores > scores[rows, positives][:, None] + margin) & ~own
    if mask is not None:
        excluded |= mask
    options = {"temperature": temperature, "reduction": "none", "backend": backend}
    losses = info_nce(
        queries, passages, positives=positives, mask=excluded, weights=weights, **options
    )
    if symmetric:
        no_queries = excluded[:, positives].T | (positives[:, None] == positives) | ~in_batch
        options |= {"mask": no_queries, "weights": weights * in_batch}
        losses = (losses + info_nce(passages[positives], queries, **options)) / 2
    return losses if reduction == "none" else losses.sum() / weights.sum().to(losses)


# What the trainer gives; rows without own negatives; owned columns that are others' positives.
NAMES = ("owners", "owners of positives", "in batch", "in batch, other positives")
MASKS = masks(*SHAPE)


@pytest.mark.parametrize("case", NAMES)
@pytest.mark.parametrize("way", WAYS)
@DTYPES
def test_rules_as_masks(case, way, dtype):
    check(*problem(*SHAPE, 17, dtype), definition=spelled_out, **MASKS[case], **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rules_with_a_mask_and_a_margin_that_excludes_many(way, dtype):
    options = MASKS["mask by columns"] | MASKS["in batch"] | {"margin": -0.2}
    check(*problem(*SHAPE, 33, dtype), definition=spelled_out, **options, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@DTYPES
def test_without_hard_negatives(way, dtype):
    """Rows outside the batch have no negatives; their loss of 0 counts in the mean."""
    inputs = problem(NUM_QUERIES, NUM_QUERIES, 17, dtype)
    check(*inputs, definition=spelled_out, in_batch=ROWS % 3 > 0, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@DTYPES
def test_outside_the_batch_without_hard_negatives_nothing_is_left(way, dtype):
    inputs = problem(NUM_QUERIES, NUM_QUERIES, 17, dtype)
    loss, *gradients = run(*inputs, "triton", in_batch=ROWS < 0, **WAYS[way])
    for value in (loss, *gradients[:3]):
        assert torch.equal(value, torch.zeros_like(value))
