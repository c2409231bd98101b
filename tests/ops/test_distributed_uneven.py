"""Four ranks with uneven batches on the fast path give the loss and gradients of one process.

Hard negatives, weights, masks and a learnable temperature at once, one direction and symmetric; in
float64 to 1e-12 and in float32 to 1e-6, relative to the largest entry.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks

from hybrid_fast.ops import info_nce

WORLD_SIZE = 4
QUERIES, PASSAGES = (5, 1, 7, 3), (9, 1, 7, 6)
CASES = {
    f"{'symmetric' if symmetric else 'one direction'}, {masks}, {str(dtype)[6:]}": (
        symmetric,
        masks,
        dtype,
    )
    for symmetric in (False, True)
    for masks in ("plain", "masks", "shared positives")
    for dtype in (torch.float64, torch.float32)
}


def inputs(dtype):
    generator = torch.Generator().manual_seed(0)
    embeddings = [torch.randn(sum(n), 6, generator=generator) for n in (QUERIES, PASSAGES)]
    weights = torch.rand(sum(QUERIES), generator=generator) + 0.1
    return [tensor.to(dtype) for tensor in (*embeddings, torch.tensor(0.7), weights)]


def arguments(masks):
    """Arguments of queries, of passages, and the positives of all ranks within their rank."""
    rows, columns = {}, {}
    positives = torch.cat([torch.arange(n) for n in QUERIES])
    if masks == "masks":
        generator = torch.Generator().manual_seed(1)
        rows["query_groups"] = torch.randint(-1, 4, (sum(QUERIES),), generator=generator)
        columns["passage_groups"] = torch.randint(-1, 4, (sum(PASSAGES),), generator=generator)
        columns["passage_ids"] = torch.randint(-1, 9, (sum(PASSAGES),), generator=generator)
        rows["mask"] = torch.rand(sum(QUERIES), sum(PASSAGES), generator=generator) < 0.2
    if masks == "shared positives":
        positives //= 2
    return rows, columns, positives


def parts(tensor, sizes, rank):
    return tensor.split(list(sizes))[rank]


def leaves(tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def work(rank, world_size):
    """Return the largest error of each case."""
    errors = []
    dist.init_process_group("gloo")
    for symmetric, masks, dtype in CASES.values():
        queries, passages, temperature, weights = inputs(dtype)
        rows, columns, positives = arguments(masks)
        options = {"symmetric": symmetric, "backend": "cpu", "margin": 0.9}
        local = leaves(
            [parts(queries, QUERIES, rank), parts(passages, PASSAGES, rank), temperature]
        )
        share = info_nce(
            *local[:2],
            temperature=local[2],
            weights=parts(weights, QUERIES, rank),
            positives=parts(positives, QUERIES, rank),
            process_group=dist.group.WORLD,
            **options,
            **{name: parts(tensor, QUERIES, rank) for name, tensor in rows.items()},
            **{name: parts(tensor, PASSAGES, rank) for name, tensor in columns.items()},
        )
        share.backward()

        first = torch.tensor([sum(PASSAGES[:r]) for r in range(world_size)])
        shift = first.repeat_interleave(torch.tensor(QUERIES))
        whole = leaves([queries.double(), passages.double(), temperature.double()])
        loss = info_nce(
            *whole[:2], temperature=whole[2], weights=weights.double(),
            positives=positives + shift, **options | {"backend": "reference"}, **rows, **columns,
        )  # fmt: skip
        loss.backward()
        # DDP takes the mean over ranks: of the loss and, for shared parameters, of gradients.
        mean = share.detach().clone()
        dist.all_reduce(mean)
        of_temperature = local[2].grad.clone()
        dist.all_reduce(of_temperature)
        pairs = [
            (mean / world_size, loss.detach()),
            (of_temperature / world_size, whole[2].grad),
            (local[0].grad / world_size, parts(whole[0].grad, QUERIES, rank)),
            (local[1].grad / world_size, parts(whole[1].grad, PASSAGES, rank)),
        ]
        scales = [
            loss.detach().abs(),
            whole[2].grad.abs(),
            *(w.grad.abs().max() for w in whole[:2]),
        ]
        worst = max(
            ((value - truth).abs().max() / scale).item()
            for (value, truth), scale in zip(pairs, scales, strict=True)
        )
        errors.append(worst)
    dist.destroy_process_group()
    return errors


@pytest.fixture(scope="module")
def errors():
    found = torch.tensor(run_ranks(work, WORLD_SIZE), dtype=torch.float64)
    return dict(zip(CASES, found.max(dim=0).values.tolist(), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_four_ranks_are_one(errors, case):
    assert errors[case] <= (1e-12 if case.endswith("float64") else 1e-6)
