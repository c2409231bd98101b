"""`owners` and `in_batch` in the Triton kernels, against what they mean as a mask.

Run by test_triton_kernels.py, which sets it up. `spelled_out` knows no rule but the mask: passages
against queries are a loss of their own, of passages as queries. It shares only plain torch with the
definition that the other cases are compared with.
"""

import pytest
import torch
from triton_interpreter import (
    FLOORS,
    check,
    on_the_cpu,  # noqa: F401
    problem,
    rules_of_rows,
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
ways = pytest.mark.parametrize("way", WAYS)
dtypes = pytest.mark.parametrize("dtype", FLOORS, ids=str)


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
    query_groups=None,
    passage_groups=None,
    mask=None,
    symmetric=False,
    reduction="mean",
    recompute=False,
):
    """Return the loss by masks alone."""
    rows = torch.arange(len(queries))
    positives = rows if positives is None else positives
    excluded = torch.zeros(len(queries), len(passages), dtype=torch.bool)
    own = excluded if owners is None else owners[None, :] == rows[:, None]
    if margin is not None:
        exact = torch.promote_types(queries.dtype, torch.float32)
        scores = (queries.to(exact) @ passages.to(exact).T).detach()
        excluded = excluded | ((scores > scores[rows, positives][:, None] + margin) & ~own)
    if in_batch is not None:
        excluded = excluded | (~in_batch[:, None] & ~own)
    if query_groups is not None:
        same = query_groups[:, None] == passage_groups[None, :]
        excluded = excluded | (same & (query_groups != -1)[:, None])
    if mask is not None:
        excluded = excluded | mask
    options = {"temperature": temperature, "reduction": "none", "backend": backend}
    losses = info_nce(
        queries, passages, positives=positives, mask=excluded, weights=weights, **options
    )
    if symmetric:
        not_queries = excluded[:, positives].T | (positives[:, None] == positives[None, :])
        if in_batch is not None:
            weights = weights * in_batch
            not_queries = not_queries | ~in_batch[None, :]
        back = info_nce(passages[positives], queries, mask=not_queries, weights=weights, **options)
        losses = (losses + back) / 2
    if reduction == "none":
        return losses
    return losses.sum() / (rows.new_ones(()) if reduction == "sum" else total(weights, in_batch))


@ways
@dtypes
def test_with_a_margin_that_excludes_most(way, dtype):
    """An owned column scores far above what the margin allows, and is kept."""
    inputs = problem(20, 53, 17, dtype)
    owners = rules_of_rows(20, 53)["owners"]
    check(*inputs, definition=spelled_out, margin=-0.2, owners=owners, **WAYS[way])
