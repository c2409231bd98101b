"""Large token tables: sparse gradients, their norm, and rows that are caught up before access."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.token_means import TokenMeans
from hybrid_fast.training import token_tables
from hybrid_fast.training.token_tables import (
    clip_gradients,
    coalesce,
    large_tables,
    rows_caught_up,
    sparse_gradients,
)

SHAPE = 50, 5


@pytest.fixture(autouse=True)
def every_table_is_large(monkeypatch):
    monkeypatch.setattr(token_tables, "_LARGE_TABLE", 1)


class Words(nn.Module):
    """A transformer's table without the rest."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(*SHAPE, dtype=torch.float64)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids).mean(1)


class Means(nn.Module):
    """A static encoder without its tokenizer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = TokenMeans(torch.randn(SHAPE, dtype=torch.float64))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids.flatten(), torch.arange(len(ids)) * ids.shape[1])


ENCODERS = [Words, Means]


def draw_ids(seed: int) -> torch.Tensor:
    return torch.randint(SHAPE[0], (7, 3), generator=torch.Generator().manual_seed(seed))


def sparse(rows: list[int], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    values = torch.randn(len(rows), SHAPE[1], dtype=dtype)
    return torch.sparse_coo_tensor(torch.tensor([rows]), values, SHAPE, check_invariants=True)


@pytest.mark.parametrize("stay_sparse", [False, True])
@pytest.mark.parametrize("make_encoder", ENCODERS)
def test_the_gradient_of_some_micro_batches_is_their_sum(make_encoder, stay_sparse):
    encoder, plain = make_encoder(), make_encoder()
    with sparse_gradients(encoder, stay_sparse=stay_sparse):
        for seed in range(4):
            encoder(draw_ids(seed)).square().sum().backward()
            assert encoder.table.weight.grad.is_sparse
            plain(draw_ids(seed)).square().sum().backward()
    gradient = encoder.table.weight.grad
    assert gradient.is_sparse == stay_sparse
    if stay_sparse:
        assert gradient.is_coalesced()
        used = torch.cat([draw_ids(seed).flatten() for seed in range(4)]).unique()
        assert gradient.indices()[0].tolist() == used.tolist()
    torch.testing.assert_close(gradient.to_dense(), plain.table.weight.grad)


@pytest.mark.parametrize("make_encoder", ENCODERS)
def test_modules_are_as_before_in_the_end_even_after_an_error(make_encoder):
    encoder = make_encoder()
    with pytest.raises(RuntimeError, match="memory"), sparse_gradients(encoder):
        raise RuntimeError("out of memory")
    assert not encoder.table.sparse
    assert not encoder.table.weight._post_accumulate_grad_hooks


def test_a_sparse_gradient_never_has_more_entries_than_its_table_and_a_micro_batch():
    encoder = Words()
    sizes = []
    with sparse_gradients(encoder):
        for seed in range(40):
            encoder(draw_ids(seed)).sum().backward()
            sizes.append(encoder.table.weight.grad._nnz())
    assert max(sizes) <= SHAPE[0]
    assert min(sizes[3:]) > 20


@pytest.mark.parametrize("when", ["before", "between"])
def test_a_gradient_that_is_there_is_added_to(when):
    """As of another batch of the same update."""
    encoder, plain = Words(), Words()
    given = sparse([3, 1, 3])
    plain.table.weight.grad = given.to_dense()
    if when == "before":
        encoder.table.weight.grad = given
    with sparse_gradients(encoder, stay_sparse=True):
        for seed in range(3):
            if when == "between" and seed == 2:
                encoder.table.weight.grad = encoder.table.weight.grad + given
            encoder(draw_ids(seed)).square().sum().backward()
            plain(draw_ids(seed)).square().sum().backward()
    assert encoder.table.weight.grad.is_sparse
    torch.testing.assert_close(encoder.table.weight.grad.to_dense(), plain.table.weight.grad)


def test_a_gradient_that_is_discarded_is_not_in_the_sum():
    encoder, plain = Words(), Words()
    with sparse_gradients(encoder, stay_sparse=True):
        for seed in range(3):
            encoder(draw_ids(seed)).sum().backward()
        encoder.zero_grad()  # as when a step is repeated
        for seed in (5, 6):
            encoder(draw_ids(seed)).square().sum().backward()
            plain(draw_ids(seed)).square().sum().backward()
    gradient = encoder.table.weight.grad
    used = torch.cat([draw_ids(seed).flatten() for seed in (5, 6)]).unique()
    assert gradient.indices()[0].tolist() == used.tolist()
    torch.testing.assert_close(gradient.to_dense(), plain.table.weight.grad)


@pytest.mark.parametrize("order", ["sparse, dense, sparse", "dense, sparse", "both, sparse"])
def test_dense_gradients_are_added_to_sparse_ones(order):
    encoder, plain = Words(), Words()

    def loss_of(words, kind):
        sparsely = words(draw_ids(len(kind))).square().sum()
        return {"sparse": sparsely, "dense": words.table.weight.square().sum()}.get(
            kind, sparsely + words.table.weight.sum()
        )

    with sparse_gradients(encoder, stay_sparse=True):
        for kind in order.split(", "):
            loss_of(encoder, kind).backward()
            loss_of(plain, kind).backward()
    assert not encoder.table.weight.grad.is_sparse
    torch.testing.assert_close(encoder.table.weight.grad, plain.table.weight.grad)


@pytest.fixture
def on_a_gpu(monkeypatch):
    """Sums are dense there."""
    monkeypatch.setattr(token_tables, "_waits", lambda weight: True)


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize("make_encoder", ENCODERS)
@pytest.mark.parametrize("given", [None, "dense", "sparse"])
def test_on_a_gpu_the_sum_is_dense_from_the_first_micro_batch_on(make_encoder, given):
    encoder, plain = make_encoder(), make_encoder()
    if given is not None:
        before = sparse([3, 1, 3])
        plain.table.weight.grad = before.to_dense()
        encoder.table.weight.grad = before if given == "sparse" else before.to_dense()
    sums = set()
    with sparse_gradients(encoder):
        for seed in range(4):
            encoder(draw_ids(seed)).square().sum().backward()
            assert not encoder.table.weight.grad.is_sparse
            sums.add(encoder.table.weight.grad.data_ptr())
            plain(draw_ids(seed)).square().sum().backward()
    torch.testing.assert_close(encoder.table.weight.grad, plain.table.weight.grad)
    assert len(sums) == 1  # in place
    assert not encoder.table.sparse
    assert not encoder.table.weight._post_accumulate_grad_hooks


@pytest.mark.usefixtures("on_a_gpu")
def test_on_a_gpu_the_padding_token_has_no_gradient_either():
    encoder, plain = Words(), Words()
    for words in (encoder, plain):
        words.table = nn.Embedding(*SHAPE, padding_idx=int(draw_ids(0)[0, 0]))
        torch.manual_seed(1)
        nn.init.normal_(words.table.weight)
    with sparse_gradients(encoder):
        for seed in range(3):
            found, expected = encoder(draw_ids(seed)), plain(draw_ids(seed))
            assert torch.equal(found, expected)
            found.square().sum().backward()
            expected.square().sum().backward()
    torch.testing.assert_close(encoder.table.weight.grad, plain.table.weight.grad)
    assert not encoder.table.weight.grad[encoder.table.padding_idx].any()
    assert "forward" not in vars(encoder.table)


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize("order", ["sparse, dense, sparse", "dense, sparse", "both, sparse"])
def test_on_a_gpu_dense_gradients_are_added_too(order):
    test_dense_gradients_are_added_to_sparse_ones(order)


def test_small_and_frozen_tables_are_left_alone(monkeypatch):
    frozen = Words()
    frozen.table.weight.requires_grad_(False)
    assert large_tables(frozen) == []
    monkeypatch.undo()
    encoder = Words()
    with sparse_gradients(encoder):
        encoder(draw_ids(0)).sum().backward()
        assert not encoder.table.weight.grad.is_sparse


@pytest.mark.parametrize("rows", [[5, 2, 5], [2, 5], [], [3, 3]], ids=str)
def test_coalesced_rows_ascend_and_occur_once(rows):
    gradient = sparse(rows)
    merged = coalesce(gradient)
    assert merged.is_coalesced()
    assert merged.indices()[0].tolist() == sorted(set(rows))
    torch.testing.assert_close(merged.to_dense(), gradient.to_dense())


@pytest.mark.parametrize("max_norm", [0.5, 1e6, float("inf")])
def test_clipping_takes_sparse_gradients_as_if_they_were_dense(max_norm):
    table, number = nn.Parameter(torch.ones(SHAPE).double()), nn.Parameter(torch.ones(()).double())
    table.grad, number.grad = sparse([5, 2, 5]), torch.tensor(3.0, dtype=torch.float64)
    dense = nn.Parameter(table.detach().clone()), nn.Parameter(number.detach().clone())
    dense[0].grad, dense[1].grad = table.grad.to_dense(), number.grad.clone()
    norm = clip_gradients([table, number, nn.Parameter(torch.ones(1))], max_norm)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(dense, max_norm))
    torch.testing.assert_close(table.grad.to_dense(), dense[0].grad)
    torch.testing.assert_close(number.grad, dense[1].grad)


@pytest.mark.parametrize("make_encoder", ENCODERS)
def test_rows_are_caught_up_before_they_are_read_or_replaced_and_in_the_end(make_encoder):
    encoder = make_encoder()
    asked = []

    def catch_up(table, rows):
        assert table is encoder.table.weight
        asked.append("all" if rows is None else rows.tolist())

    with rows_caught_up(encoder, catch_up):
        encoder(draw_ids(0))
        assert asked.pop() == draw_ids(0).flatten().tolist()
        state = encoder.state_dict()
        assert asked.pop() == "all"
        encoder.load_state_dict(state)
        assert asked == ["all"]
    assert asked == ["all", "all"]
    encoder(draw_ids(0))
    encoder.load_state_dict(encoder.state_dict())
    assert asked == ["all", "all"]
    with pytest.raises(RuntimeError, match="stop"), rows_caught_up(encoder, catch_up):
        raise RuntimeError("stop")
    assert asked == ["all", "all", "all"]
    encoder(draw_ids(0))
    assert asked == ["all", "all", "all"]


def test_all_rows_are_caught_up_where_it_is_not_known_which_are_read():
    class Positions(nn.Embedding):
        def forward(self, mask):
            return super().forward(mask.cumsum(1))

    asked = []
    positions, words = Positions(*SHAPE), nn.Embedding(*SHAPE)
    with rows_caught_up(nn.ModuleList([positions, words]), lambda _, rows: asked.append(rows)):
        positions(torch.ones(2, 3, dtype=torch.int64))
        words(input=draw_ids(0))
        assert asked == [None, None]


def test_token_embeddings_of_a_transformer_read_ids_whatever_their_class(xlm_roberta_folder):
    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 3 * super().forward(ids)

    encoder = BiEncoder.from_pretrained(xlm_roberta_folder)
    table = encoder.backbone.model.get_input_embeddings()
    table.__class__ = Scaled
    asked = []
    features = encoder.tokenize(["sea", "mountains and a river"], "query")
    with rows_caught_up(encoder, lambda table, rows: asked.append((table, rows))):
        encoder(features)
    rows = [rows for weight, rows in asked if weight is table.weight]
    assert torch.equal(rows[0], features["input_ids"].flatten())


def test_ids_may_be_of_32_bits():
    encoder = Words()
    asked = []
    with rows_caught_up(encoder, lambda _, rows: asked.append(rows)):
        encoder(draw_ids(0).int())
    assert asked[0].dtype == torch.int64


def test_two_modules_may_have_one_table():
    encoder = nn.Module()
    encoder.first, encoder.second = nn.Embedding(*SHAPE), nn.Embedding(*SHAPE)
    encoder.second.weight = encoder.first.weight
    asked = []
    with (
        rows_caught_up(encoder, lambda table, rows: asked.append((table, rows))),
        sparse_gradients(encoder, stay_sparse=True),
    ):
        (encoder.first(draw_ids(0)).sum() + 2 * encoder.second(draw_ids(1)).sum()).backward()
    assert [rows.tolist() for _, rows in asked[:2]] == [
        draw_ids(k).flatten().tolist() for k in (0, 1)
    ]
    assert all(table is encoder.first.weight for table, _ in asked)
    counts = [draw_ids(k).flatten().bincount(minlength=SHAPE[0]) for k in (0, 1)]
    gradient = encoder.first.weight.grad.to_dense()
    torch.testing.assert_close(gradient[:, 0], (counts[0] + 2 * counts[1]).float())


def test_a_copy_of_an_encoder_asks_for_its_own_rows():
    encoder = Words()
    asked = []
    with rows_caught_up(encoder, lambda table, rows: asked.append(table)):
        copy.deepcopy(encoder)(draw_ids(0))
        assert asked[0] is not encoder.table.weight
