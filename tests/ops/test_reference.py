"""The definition of the loss, proven by numbers worked by hand, by plain loops and by gradcheck.

Hypothesis compares the loops of literal_loss.py with `info_nce` over all options, on few vectors
of short steps, among which scores are often equal.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problem_checks import check
from random_problems import problems

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends import registry

LN2 = math.log(2)


@pytest.fixture(autouse=True, params=["reference", "cpu"])
def backend(request, monkeypatch):
    """The fast path on the CPU must be the definition, too; "auto" then means each in turn."""
    backends = registry.BACKENDS
    monkeypatch.setattr(registry, "BACKENDS", {request.param: backends[request.param]})


@given(
    problems(
        most_rows=5,
        most_dims=3,
        dtype=st.just(torch.float64),
        embeddings=st.just("steps"),
        temperature=st.sampled_from([0.001, 0.05, 1.0, 10.0]) | st.floats(0.01, 10),
    )
)
@settings(
    max_examples=3 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_equals_literal_loops_with_all_options(problem):
    check(problem, "auto")


def hand_case(**options):
    """Scores [[2, 1], [2, 2]]; at temperature 1 / ln 2 their exponentials are 4, 2, 4, 4."""
    queries = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    passages = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    temperature = torch.tensor(1 / LN2, dtype=torch.float64, requires_grad=True)
    loss = info_nce(queries, passages, temperature=temperature, **options)
    return loss, queries, passages, temperature


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [math.log(6 / 4), math.log(8 / 4)]),
        ({"symmetric": True}, [math.log(6 / 4 * 8 / 4) / 2, math.log(8 / 4 * 6 / 4) / 2]),
        ({"positives": torch.tensor([1, 0])}, [math.log(6 / 2), math.log(8 / 4)]),
        ({"positives": torch.tensor([1, 0]), "margin": 0.5}, [0, math.log(8 / 4)]),
        ({"positives": torch.tensor([1, 0]), "margin": 1.0}, [math.log(6 / 2), math.log(8 / 4)]),
        ({"mask": torch.tensor([[True, True], [True, False]])}, [0, 0]),
        (
            # Query 0 leaves column 1 out, so it does not count against passage 1 either.
            {"mask": torch.tensor([[False, True], [False, False]]), "symmetric": True},
            [math.log(8 / 4) / 2, math.log(8 / 4) / 2],
        ),
        ({"weights": torch.tensor([2.0, 0.5])}, [2 * math.log(6 / 4), 0.5 * math.log(8 / 4)]),
    ],
)  # fmt: skip
def test_two_by_two_by_hand(options, expected):
    loss, *_ = hand_case(reduction="none", **options)
    assert loss.tolist() == pytest.approx(expected, abs=1e-15)


def test_gradients_of_two_by_two_by_hand():
    loss, queries, passages, temperature = hand_case()
    loss.backward()
    assert loss.item() == pytest.approx((math.log(6 / 4) + math.log(8 / 4)) / 2)
    # d l_i / d s_ij = (softmax - one-hot) * ln 2: [[-1/3, 1/3], [1/2, -1/2]], halved by the mean.
    logit_gradient = torch.tensor([[-1 / 6, 1 / 6], [1 / 4, -1 / 4]], dtype=torch.float64) * LN2
    torch.testing.assert_close(queries.grad, logit_gradient @ passages.detach())
    torch.testing.assert_close(passages.grad, logit_gradient.T @ queries.detach())
    # d l / d t = -ln 2 * sum of gradient * score = -ln 2 * (-2 + 1) / 6 * ln 2; row 1 gives 0.
    assert temperature.grad.item() == pytest.approx(LN2**2 / 6)


def random_batch(num_queries=4, num_passages=7, dim=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(num_queries, dim, generator=generator, dtype=torch.float64)
    passages = torch.randn(num_passages, dim, generator=generator, dtype=torch.float64)
    return queries.to(dtype).requires_grad_(), passages.to(dtype).requires_grad_()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"symmetric": True},
        {"normalize": True, "margin": 0.1},
        {"symmetric": True, "margin": 0.2, "normalize": True},
        {"negatives": "hard_only"},
        {"positives": torch.tensor([6, 2, 2, 0]), "symmetric": True},
        {"query_groups": torch.tensor([0, 1, -1, 1]), "symmetric": True,
         "passage_groups": torch.tensor([0, 1, -1, 1, 0, 5, -1])},
        {"passage_ids": torch.tensor([3, -1, 3, 4, 3, -1, 4]), "symmetric": True},
        {"mask": torch.arange(28).reshape(4, 7) % 3 == 0},
    ],
    ids=lambda options: "-".join(options) or "plain",
)  # fmt: skip
def test_gradcheck(options, reduction):
    queries, passages = random_batch()
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    weights = torch.tensor([0.5, 1.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)

    def loss(queries, passages, temperature):
        fixed = weights.detach()
        return info_nce(
            queries,
            passages,
            temperature=temperature,
            weights=fixed,
            reduction=reduction,
            **options,
        )

    assert torch.autograd.gradcheck(loss, (queries, passages, temperature))


def test_gradcheck_of_weights():
    queries, passages = random_batch()
    weights = torch.tensor([0.5, 1.0, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda weights: info_nce(queries.detach(), passages.detach(), weights=weights), weights
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_order_of_rows_and_columns_does_not_matter(symmetric):
    queries, passages = random_batch(6, 9)
    mask = torch.rand(6, 9, generator=torch.Generator().manual_seed(1)) < 0.3
    rows, columns = torch.tensor([3, 0, 5, 1, 2, 4]), torch.tensor([8, 2, 0, 5, 1, 7, 4, 6, 3])
    places = torch.argsort(columns)
    loss = info_nce(queries, passages, mask=mask, symmetric=symmetric, margin=0.3)
    shuffled = info_nce(
        queries[rows],
        passages[columns],
        positives=places[rows],
        mask=mask[rows][:, columns],
        symmetric=symmetric,
        margin=0.3,
    )
    torch.testing.assert_close(loss, shuffled, rtol=1e-12, atol=0)


def test_a_constant_added_to_all_scores_of_a_row_changes_nothing():
    queries, passages = random_batch()
    ones = torch.ones(7, 1, dtype=torch.float64)
    shift = torch.tensor([[5.0], [-3.0], [0.0], [40.0]], dtype=torch.float64)
    shifted = info_nce(torch.cat([queries, shift], 1), torch.cat([passages, ones], 1))
    torch.testing.assert_close(shifted, info_nce(queries, passages))


def test_same_bits_twice():
    def loss_and_gradients():
        queries, passages = random_batch(63, 123, 17, torch.float32)
        loss = info_nce(queries, passages, symmetric=True, margin=0.1, normalize=True)
        return loss, *torch.autograd.grad(loss, (queries, passages))

    for first, second in zip(loss_and_gradients(), loss_and_gradients(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("symmetric", [False, True])
def test_all_negatives_left_out_gives_zero_loss_and_gradient(symmetric):
    queries, passages = random_batch()
    loss = info_nce(queries, passages, mask=torch.ones(4, 7, dtype=torch.bool), symmetric=symmetric)
    loss.backward()
    assert loss.item() == 0
    assert not queries.grad.any()
    assert not passages.grad.any()


def test_one_query_with_its_passage_alone_has_zero_loss():
    queries, passages = random_batch(1, 1)
    assert info_nce(queries, passages).item() == 0
    assert info_nce(queries, passages, symmetric=True).item() == 0


def test_plain_call_is_cross_entropy():
    queries, passages = random_batch(5, 5)
    expected = F.cross_entropy(queries @ passages.T / 0.05, torch.arange(5))
    torch.testing.assert_close(info_nce(queries, passages), expected)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_zero_weights_give_zero_loss_and_gradients(reduction):
    queries, passages = random_batch()
    temperature = torch.tensor(0.05, requires_grad=True)
    loss = info_nce(
        queries, passages, temperature=temperature, weights=torch.zeros(4), reduction=reduction
    )
    loss.backward()
    assert loss.item() == 0
    for tensor in (queries, passages, temperature):
        assert not tensor.grad.any()


@pytest.mark.parametrize("scale", [1e2, 1e4])
def test_large_logits_stay_finite(scale):
    queries, passages = random_batch(8, 8, 4, torch.float32)
    loss = info_nce(queries * scale, passages, temperature=0.01, symmetric=True)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(queries.grad).all()
    assert torch.isfinite(passages.grad).all()


def test_small_loss_at_large_logits_keeps_its_digits():
    queries = torch.eye(2) * 7
    passages = torch.eye(2) * 7  # logits 49 / 4 against 0
    truth = math.log1p(math.exp(-12.25))
    assert info_nce(queries, passages, temperature=4.0).item() == pytest.approx(truth, rel=0.02)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype):
    queries, passages = random_batch(16, 20, 32, dtype)
    loss = info_nce(queries, passages, temperature=0.5)
    loss.backward()
    exact = info_nce(queries.double(), passages.double(), temperature=0.5)
    assert loss.dtype == torch.float32
    assert queries.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)


def test_autocast_does_not_lower_the_precision():
    queries, passages = random_batch(16, 16, 64, torch.float32)
    expected = info_nce(queries, passages, symmetric=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = info_nce(queries, passages, symmetric=True)
    assert torch.equal(loss, expected)


def test_the_mask_of_the_caller_is_left_as_it_was():
    queries, passages = random_batch()
    mask = torch.ones(4, 7, dtype=torch.bool)
    info_nce(queries, passages, mask=mask)
    assert mask.all()
