"""Any float array or tensor is scored; rows, shapes and types that do not fit are named."""

import numpy as np
import pytest
import torch
from sample_tasks import one_hot, parallel_task


@pytest.mark.parametrize(
    "convert",
    [
        lambda e: e.astype(np.float16),
        np.asfortranarray,
        torch.from_numpy,
        lambda e: torch.from_numpy(e).to(torch.bfloat16).requires_grad_(),
        lambda e: torch.from_numpy(e).T.contiguous().T,
    ],
    ids=["float16", "fortran", "torch", "bfloat16", "strided"],
)
def test_any_float_array_or_tensor(convert):
    task = parallel_task()
    queries, candidates = one_hot(task)
    results = task.score(convert(queries), convert(candidates))
    assert results.metrics == task.score(queries, candidates).metrics


def test_dtype_of_tensors_is_recorded():
    task = parallel_task()
    queries, candidates = (torch.from_numpy(e).to(torch.bfloat16) for e in one_hot(task))
    assert task.score(queries, candidates).info.settings["dtype"] == "bfloat16"


def spoil(matrix, row, value):
    spoiled = matrix.copy()
    spoiled[row, 0] = value
    return spoiled


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_first_bad_row_is_named_with_its_language(value):
    task = parallel_task()
    queries, candidates = one_hot(task)
    message = r"candidate_embeddings: row 13 \(language de\) holds NaN or infinity \(1 of \d+ rows"
    with pytest.raises(ValueError, match=message):
        task.score(queries, spoil(candidates, 13, value))
    with pytest.raises(
        ValueError, match=r"query_embeddings: row 0 \(language ar\) .* \(2 of \d+ rows"
    ):
        task.score(spoil(spoil(queries, 40, value), 0, value), candidates)


def test_wrong_shapes_and_types():
    task = parallel_task()
    queries, candidates = one_hot(task)
    with pytest.raises(ValueError, match=r"query_embeddings has 47 rows; task 'parallel' needs 48"):
        task.score(queries[:-1], candidates)
    with pytest.raises(ValueError, match=r"candidate_embeddings has 49 rows.*task\.candidates"):
        task.score(queries, np.vstack([candidates, candidates[:1]]))
    with pytest.raises(
        ValueError, match="query_embeddings have dim 11, candidate_embeddings dim 12"
    ):
        task.score(queries[:, 1:], candidates)
    with pytest.raises(ValueError, match=r"query_embeddings: got shape \(48,\)"):
        task.score(queries[:, 0], candidates)
    with pytest.raises(ValueError, match=r"query_embeddings: got shape \(48, 0\)"):
        task.score(queries[:, :0], candidates)
    with pytest.raises(TypeError, match="candidate_embeddings: got dtype int64"):
        task.score(queries, candidates.astype(np.int64))
    with pytest.raises(TypeError, match=r"got dtype int64"):
        task.score(torch.from_numpy(queries).long(), candidates)
    with pytest.raises(TypeError, match="query_embeddings: got a list; give a numpy array"):
        task.score(queries.tolist(), candidates)
