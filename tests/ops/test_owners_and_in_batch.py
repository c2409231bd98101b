"""Whose hard negatives they are, and rows that keep none but their own: by numbers worked by hand.

Scores are given as they are; at temperature 1 / ln 2 the exponential of a score s is 2^s.
"""

from __future__ import annotations

import math
from math import log

import pytest
import torch

from hybrid_fast.ops import info_nce, value_and_grad

LN2 = math.log(2)
# Exponentials 4 2 8 8 / 2 4 8 8; row 0 has brought column 2, row 1 column 3.
SCORES = [[2, 1, 3, 3], [1, 2, 3, 3]]
OWNERS = torch.tensor([-1, -1, 0, 1])
FIRST_ALONE = torch.tensor([False, True])
MARGIN = {"margin": 0.5}


@pytest.fixture(params=["reference", "cpu"])
def backend(request):
    return request.param


def case(scores, dtype=torch.float64):
    """Return queries and passages (B, B), (N, B) with these scores, as leaves."""
    scores = torch.tensor(scores, dtype=dtype)
    queries = torch.eye(len(scores), dtype=dtype)
    return queries.requires_grad_(), scores.T.clone().requires_grad_()


def losses(scores, backend, **options):
    return info_nce(
        *case(scores), temperature=1 / LN2, reduction="none", backend=backend, **options
    ).tolist()


BY_HAND = {
    "margin alone": (MARGIN, [log(6 / 4), log(6 / 4)]),
    "own ones are spared": (MARGIN | {"owners": OWNERS}, [log(14 / 4), log(14 / 4)]),
    "those of others with the same score are not": (
        MARGIN | {"owners": torch.tensor([-1, -1, 0, 0])},
        [log(22 / 4), log(6 / 4)],
    ),
    "nobody's": (MARGIN | {"owners": torch.full((4,), -1)}, [log(6 / 4), log(6 / 4)]),
    "a negative margin": ({"margin": -2.0, "owners": OWNERS}, [log(12 / 4), log(12 / 4)]),
    "row 0 alone": (
        {"owners": OWNERS, "in_batch": FIRST_ALONE},
        [log(12 / 4), log(22 / 4)],
    ),
    "row 0 alone, with a margin": (
        MARGIN | {"owners": OWNERS, "in_batch": FIRST_ALONE},
        [log(12 / 4), log(14 / 4)],
    ),
    "each alone": (
        {"owners": OWNERS, "in_batch": torch.tensor([False, False])},
        [log(12 / 4), log(12 / 4)],
    ),
    "row 0 alone without hard negatives": (
        {"owners": torch.tensor([-1, -1, 1, 1]), "in_batch": FIRST_ALONE},
        [0, log(22 / 4)],
    ),
    "row 0 alone with two": (
        {"owners": torch.tensor([-1, -1, 0, 0]), "in_batch": FIRST_ALONE},
        [log(20 / 4), log(22 / 4)],
    ),
    "another's positive as own hard negative": (
        {"owners": torch.tensor([-1, 0, 1, 1]), "in_batch": FIRST_ALONE},
        [log(6 / 4), log(22 / 4)],
    ),
    "the own positive as own hard negative": (
        {"owners": torch.tensor([0, -1, 1, 1]), "in_batch": FIRST_ALONE},
        [0, log(22 / 4)],
    ),
    "the mask excludes own ones": (
        MARGIN
        | {"owners": OWNERS, "in_batch": FIRST_ALONE}
        | {"mask": torch.tensor([[True, False, True, False], [False, False, False, True]])},
        [0, log(6 / 4)],
    ),
    "so do groups": (
        MARGIN
        | {"owners": OWNERS, "in_batch": FIRST_ALONE}
        | {
            "query_groups": torch.tensor([7, 8]),
            "passage_groups": torch.tensor([7, 8, 7, -1]),
        },
        [0, log(14 / 4)],
    ),
    "and ids": (
        MARGIN
        | {"owners": OWNERS, "in_batch": FIRST_ALONE, "passage_ids": torch.tensor([7, 8, 7, 8])},
        [0, log(6 / 4)],
    ),
    "ids of other rows' columns change nothing": (
        {
            "owners": OWNERS,
            "in_batch": FIRST_ALONE,
            "passage_ids": torch.tensor([7, 8, -1, 7]),
        },
        [log(12 / 4), log(22 / 4)],
    ),
    "hard only": (
        {"owners": OWNERS, "in_batch": FIRST_ALONE, "negatives": "hard_only"},
        [log(12 / 4), log(20 / 4)],
    ),
    "hard only, with a margin": (
        MARGIN | {"owners": OWNERS, "negatives": "hard_only"},
        [log(12 / 4), log(12 / 4)],
    ),
    "hard only excludes an own one that is a positive": (
        {
            "owners": torch.tensor([-1, 0, 1, 1]),
            "in_batch": FIRST_ALONE,
            "negatives": "hard_only",
        },
        [0, log(20 / 4)],
    ),
    "weights": (
        {"owners": OWNERS, "in_batch": FIRST_ALONE, "weights": torch.tensor([2.0, 0.5])},
        [2 * log(12 / 4), 0.5 * log(22 / 4)],
    ),
    "other positives": (  # 8 among 4 2 8 8 and 4 among 2 4 8 8
        {
            "positives": torch.tensor([2, 1]),
            "owners": torch.tensor([0, -1, -1, 0]),
            "in_batch": FIRST_ALONE,
        },
        [log(20 / 8), log(22 / 4)],
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_one_direction_by_hand(name, backend):
    options, expected = BY_HAND[name]
    assert losses(SCORES, backend, **options) == pytest.approx(expected, abs=1e-14)


# Exponentials 8 2 4 16 / 4 8 2 16 / 1 4 2 16. Against the queries: 8 4 1, 2 8 4 and 4 2 2.
THREE = [[3, 1, 2, 4], [2, 3, 1, 4], [0, 2, 1, 4]]
OF_ROW_0 = torch.tensor([-1, -1, -1, 0])
OTHER_DIRECTION = {
    "all rows": (
        {"owners": OF_ROW_0},
        [(30 / 8, 13 / 8), (30 / 8, 14 / 8), (23 / 2, 8 / 2)],
    ),
    "row 0 alone": (  # is no query for the others, and its positive has none
        {"owners": OF_ROW_0, "in_batch": torch.tensor([False, True, True])},
        [(24 / 8, 1), (30 / 8, 12 / 8), (23 / 2, 4 / 2)],
    ),
    "rows 1 and 2 alone": (
        {"owners": OF_ROW_0, "in_batch": torch.tensor([True, False, False])},
        [(30 / 8, 1), (1, 1), (1, 1)],
    ),
    "none": (
        {"owners": OF_ROW_0, "in_batch": torch.zeros(3, dtype=torch.bool)},
        [(24 / 8, 1), (1, 1), (1, 1)],
    ),
    "row 1 alone keeps a positive of row 0": (
        {"owners": torch.tensor([1, -1, -1, 0]), "in_batch": torch.tensor([True, False, True])},
        [(30 / 8, 9 / 8), (12 / 8, 1), (23 / 2, 6 / 2)],
    ),
    "row 2 spares the positive of row 1, which it owns": (  # 4 is above 2 by 1; 2 and 1 are not
        {"owners": torch.tensor([-1, 2, -1, -1]), "margin": 0.5},
        [(14 / 8, 13 / 8), (14 / 8, 14 / 8), (7 / 2, 8 / 2)],
    ),
    "without owners row 2 leaves it out": (
        {"margin": 0.5},
        [(14 / 8, 13 / 8), (14 / 8, 10 / 8), (3 / 2, 8 / 2)],
    ),
    "rows 0 and 1 share column 0": (
        {"positives": torch.tensor([0, 0, 2]), "owners": OF_ROW_0},
        [(30 / 8, 9 / 8), (30 / 4, 5 / 4), (23 / 2, 8 / 2)],
    ),
    "and row 0 is alone": (
        {
            "positives": torch.tensor([0, 0, 2]),
            "owners": OF_ROW_0,
            "in_batch": torch.tensor([False, True, True]),
        },
        [(24 / 8, 1), (30 / 4, 5 / 4), (23 / 2, 4 / 2)],
    ),
    "a mask beside it": (  # row 1 leaves out the positive of row 2
        {
            "owners": OF_ROW_0,
            "in_batch": torch.tensor([False, True, True]),
            "mask": torch.arange(12).reshape(3, 4) == 6,
        },
        [(24 / 8, 1), (28 / 8, 12 / 8), (23 / 2, 1)],
    ),
}


@pytest.mark.parametrize("name", OTHER_DIRECTION)
def test_both_directions_by_hand(name, backend):
    options, expected = OTHER_DIRECTION[name]
    both = [(log(there) + log(back)) / 2 for there, back in expected]
    assert losses(THREE, backend, symmetric=True, **options) == pytest.approx(both, abs=1e-14)
    one = [log(there) for there, _ in expected]
    assert losses(THREE, backend, **options) == pytest.approx(one, abs=1e-14)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_row_with_no_negative_has_no_loss_or_gradient_and_counts_in_the_mean(symmetric, backend):
    queries, passages = case(SCORES)
    alone = {"owners": torch.tensor([-1, -1, 1, 1]), "in_batch": FIRST_ALONE}
    options = alone | {"temperature": 1 / LN2, "symmetric": symmetric, "backend": backend}
    loss = info_nce(queries, passages, **options)
    of_row_1 = log(22 / 4) / (2 if symmetric else 1)
    assert loss.item() == pytest.approx(of_row_1 / 2)
    of_queries, _ = torch.autograd.grad(loss, (queries, passages))
    assert not of_queries[0].any()
    assert of_queries[1].any()
    weighted = info_nce(queries, passages, weights=torch.tensor([3.0, 1.0]), **options)
    assert weighted.item() == pytest.approx(of_row_1 / 4)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("recompute", [False, True])
def test_all_alone_without_hard_negatives(symmetric, recompute, backend):
    """No owners are needed where nothing but positives is there."""
    leaves = [torch.randn(5, 3, generator=torch.Generator().manual_seed(i)) for i in range(2)]
    leaves = [leaf.requires_grad_() for leaf in (*leaves, torch.tensor(0.05), torch.ones(5))]
    queries, passages, temperature, weights = leaves
    loss = info_nce(
        queries, passages, temperature=temperature, weights=weights, symmetric=symmetric,
        in_batch=torch.zeros(5, dtype=torch.bool), recompute=recompute, backend=backend,
    )  # fmt: skip
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, leaves):
        assert not gradient.any()


def random_batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(size, 3, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for size in (4, 9)
    ]


RULES = {
    "owners": torch.tensor([-1, -1, -1, -1, 0, 1, 1, 3, 3]),
    "in_batch": torch.tensor([True, False, True, False]),
}


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"margin": 0.2},
        {"symmetric": True, "margin": 0.2, "normalize": True},
        {"symmetric": True, "positives": torch.tensor([8, 2, 2, 0])},
        {"negatives": "hard_only"},
        {"symmetric": True, "passage_ids": torch.tensor([3, -1, 3, 4, 3, -1, 4, 4, 3])},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_gradcheck(options, reduction, backend):
    queries, passages = random_batch()
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.5, 1.0, 0.25, 2.0], dtype=torch.float64, requires_grad=True)

    def loss(queries, passages, temperature, weights):
        given = {"temperature": temperature, "weights": weights, "backend": backend}
        return info_nce(queries, passages, reduction=reduction, **given, **RULES, **options)

    assert torch.autograd.gradcheck(loss, (queries, passages, temperature, weights))


def loss_and_gradients(*embeddings, **options):
    loss = info_nce(*embeddings, **options)
    return [loss, *torch.autograd.grad(loss.sum(), embeddings)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_owners_alone_change_no_bit(symmetric, reduction, dtype, backend):
    options = {"symmetric": symmetric, "reduction": reduction, "backend": backend}
    given = loss_and_gradients(*random_batch(dtype), owners=RULES["owners"], **options)
    assert all(map(torch.equal, given, loss_and_gradients(*random_batch(dtype), **options)))


@pytest.mark.parametrize("symmetric", [False, True])
def test_all_rows_in_the_batch_are_as_without(symmetric, backend):
    options = {"symmetric": symmetric, "margin": 0.3, "backend": backend, "owners": RULES["owners"]}
    given = loss_and_gradients(*random_batch(), in_batch=torch.ones(4, dtype=torch.bool), **options)
    for value, expected in zip(given, loss_and_gradients(*random_batch(), **options), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-14)


def test_one_direction_is_that_of_a_mask(backend):
    """Of the columns that a row alone did not bring."""
    others = RULES["owners"][None, :] != torch.arange(4)[:, None]
    mask = others & ~RULES["in_batch"][:, None]
    given = loss_and_gradients(*random_batch(), backend=backend, **RULES)
    masked = loss_and_gradients(*random_batch(), backend=backend, mask=mask)
    for value, expected in zip(given, masked, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("symmetric", [False, True])
def test_order_of_rows_and_columns_does_not_matter(symmetric, backend):
    queries, passages = random_batch()
    rows, columns = torch.tensor([3, 0, 1, 2]), torch.tensor([8, 2, 0, 5, 1, 7, 4, 6, 3])
    new_rows = torch.argsort(rows)
    owners = RULES["owners"][columns]
    options = {"symmetric": symmetric, "margin": 0.1, "backend": backend}
    shuffled = info_nce(
        queries[rows],
        passages[columns],
        positives=torch.argsort(columns)[rows],
        owners=torch.where(owners == -1, -1, new_rows[owners]),
        in_batch=RULES["in_batch"][rows],
        **options,
    )
    torch.testing.assert_close(
        info_nce(queries, passages, **RULES, **options), shuffled, rtol=1e-12, atol=0
    )


def test_value_and_grad_takes_them(backend):
    queries, passages = random_batch()
    loss, gradients = value_and_grad(queries, passages, margin=0.1, backend=backend, **RULES)
    expected = loss_and_gradients(queries, passages, margin=0.1, backend=backend, **RULES)
    assert all(map(torch.equal, (loss, *gradients[:2]), expected))
