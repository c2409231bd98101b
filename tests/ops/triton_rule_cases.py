"""`owners` and `in_batch` in the Triton kernels, against a loss that knows no rule but the mask.

Run by test_triton_kernels.py, which sets it up. The other cases are compared with the definition of
both rules; here each is spelled out as a mask, and passages against queries as a loss of their own,
whose queries are the positives.
"""

import pytest
import torch
from mask_cases import masks
from triton_interpreter import (
    FLOORS,
    check,
    on_the_cpu,  # noqa: F401
    problem,
    run,
    small_chunks_and_poison,  # noqa: F401
)

from hybrid_fast.ops import info_nce

# In half precision the first has the library make scores, the others have tiles.
WAYS = {
    "one direction": {},
    "symmetric": {"symmetric": True},
    "none": {"reduction": "none"},
    "symmetric, recompute": {"symmetric": True, "recompute": True},
}


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
CASES = {
    name: masks(20, 53)[name]
    for name in ("owners", "owners of positives", "in batch", "in batch, other positives")
}
NO_HARD_NEGATIVES = {"in_batch": torch.arange(20) % 3 > 0}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_rules_as_masks(case, way, dtype):
    """Three chunks: owners count from the first row of each."""
    check(*problem(20, 53, 17, dtype), definition=spelled_out, **CASES[case], **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rules_with_a_mask_and_a_margin_that_excludes_many(way, dtype):
    options = masks(20, 53)["mask by columns"] | masks(20, 53)["in batch"] | {"margin": -0.2}
    check(*problem(20, 53, 33, dtype), definition=spelled_out, **options, **WAYS[way])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_without_hard_negatives(way, dtype):
    """Rows outside the batch have no negatives; their loss of 0 counts in the mean."""
    options = WAYS[way] | NO_HARD_NEGATIVES
    check(*problem(20, 20, 17, dtype), definition=spelled_out, **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_outside_the_batch_without_hard_negatives_nothing_is_left(way, dtype):
    in_batch = torch.zeros(20, dtype=torch.bool)
    loss, *gradients = run(*problem(20, 20, 17, dtype), "triton", in_batch=in_batch, **WAYS[way])
    for value in (loss, *gradients[:3]):
        assert torch.equal(value, torch.zeros_like(value))
