"""What a small call on a GPU launches, counted: a driver of Triton that launches nothing stands in.

Below some thousand rows a GPU waits for Python, so the number of launches and of torch's operations
is what such a call costs. None of them may wait for the GPU.
"""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("triton", reason="triton is not installed: there are no launches to count")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("TRITON_INTERPRET=1 replaces the launches", allow_module_level=True)

import host_time
from idle_gpu import idle_gpu
from triton import JITFunction

from hybrid_fast.ops import chunked, info_nce
from hybrid_fast.ops.backends import gpu_products, triton_rows
from hybrid_fast.ops.problem import Problem, number_tensor

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
KINDS = pytest.mark.parametrize("kind", host_time.KINDS)
# Kernels of Triton, and operations of torch forward and backward.
MOST = {"mean": (1, 4, 2), "symmetric": (3, 8, 2)}


@pytest.fixture
def kernels():
    """Names of kernels as they are launched."""
    with idle_gpu() as launched:
        yield launched


@KINDS
def test_one_pair(kernels, kind):
    """Triton makes constants of sizes of 1."""
    loss = host_time.ways(kind)["ours"]
    loss(*host_time.embeddings(torch.float32, size=1)).backward()
    assert len(kernels) == MOST[kind][0]


def total(passes):
    return sum(len(names) for one in passes.values() for names in one.values())


@DTYPES
@KINDS
def test_launches_of_a_call(kernels, kind, dtype):
    found = {
        name: host_time.count(loss, kernels, dtype) for name, loss in host_time.ways(kind).items()
    }
    forward, backward = found["ours"]["forward"], found["ours"]["backward"]
    assert len(forward["triton"]) <= MOST[kind][0]
    assert len(forward["torch"]) <= MOST[kind][1]
    assert len(backward["torch"]) <= MOST[kind][2]
    assert not backward["triton"]
    assert forward["torch"].count("mm") == 3  # nothing is computed twice
    # Of eager torch each name is at least one launch.
    assert total(found["ours"]) <= total(found["eager"])


def test_a_temperature_that_is_a_tensor_takes_no_product_more(kernels):
    temperature = torch.tensor(0.05, requires_grad=True)
    queries, passages = host_time.embeddings(torch.float32)
    with host_time.counted() as operations:
        info_nce(queries, passages, temperature=temperature, backend="triton")
    assert operations.count("mm") == 3
    assert "mul_" not in operations  # the kernel divides by it


def test_scores_of_more_pairs_are_not_kept_for_both_directions(kernels, monkeypatch):
    embeddings, loss = host_time.embeddings(torch.bfloat16), host_time.ways("symmetric")["ours"]
    loss(*embeddings)
    assert "contrast_rows_kernel" in kernels
    kernels.clear()
    monkeypatch.setattr(
        "hybrid_fast.ops.backends.gpu.MOST_SCORES_OF_FEW_LAUNCHES", host_time.SIZE**2 - 1
    )
    loss(*embeddings)
    assert "weights_kernel" in kernels
    assert "contrast_rows_kernel" not in kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_numbers_reach_the_device_that_computes(dtype):
    """Kernels take float32 numbers as they are; others find them in the device's memory."""
    queries = torch.empty(3, 5, dtype=dtype, device="meta")
    number, scores = number_tensor(0.3, queries), queries.new_empty(3, 4)
    assert number.is_cpu
    taken = (
        triton_rows.number_or_address(number, scores),
        triton_rows.coefficients_of(number, scores[:, 0]),
    )
    problem = Problem(
        queries=queries, passages=queries, temperature=number, positives=torch.arange(3)
    )
    plain, rows = (SimpleNamespace(takes_constants=takes) for takes in (False, True))
    assert chunked._logit_scale(problem, plain).device == queries.device
    assert chunked._coefficients(number, queries, plain).shape == (3,)
    assert chunked._coefficients(number, queries, plain).device == queries.device
    assert chunked._coefficients(number, queries, rows) is number
    default = replace(problem, positives=None)
    assert chunked._positives(default, plain).device == queries.device
    assert chunked._positives(default, rows) is None
    assert torch.equal(chunked._logit_scale(problem, rows), number.reciprocal())
    if dtype == torch.float32:
        assert taken == (float(number), float(number))
    else:
        assert [(each.shape, each.device) for each in taken] == [
            ((), queries.device),
            ((3,), queries.device),
        ]


@pytest.fixture
def runs(monkeypatch):
    """How often Triton was asked for a kernel, in a list of one."""
    number, run = [0], JITFunction.run

    def counting(self, *args, **kwargs):
        number[0] += 1
        return run(self, *args, **kwargs)

    monkeypatch.setattr(JITFunction, "run", counting)
    return number


def launched_kernels():
    return {compiled for compiled, _ in gpu_products._launched.values()}


def test_a_kernel_is_asked_for_once_a_kind_of_arguments(kernels, runs):
    arguments = host_time.embeddings(torch.float32)
    for _ in range(3):
        info_nce(*arguments, backend="triton")
    assert runs == [1]
    assert len(kernels) == 3
    info_nce(*arguments, temperature=0.3, backend="triton")
    assert runs == [1]  # a number is an argument like another


@pytest.mark.parametrize(
    "other",
    [
        lambda: host_time.embeddings(torch.bfloat16),
        lambda: host_time.embeddings(torch.float32, size=1),
        lambda: host_time.embeddings(torch.float32, size=65),
    ],
    ids=["dtype", "a size of 1", "an odd size"],
)
def test_other_kinds_of_arguments_take_the_kernel_that_triton_finds(kernels, runs, other):
    info_nce(*host_time.embeddings(torch.float32), backend="triton")
    first = launched_kernels()
    info_nce(*other(), backend="triton")
    assert runs == [2]
    assert launched_kernels() > first


def test_where_memory_begins_decides_on_the_kernel(kernels, runs):
    """A kernel that loads 16 bytes at a time must not take what begins between them."""
    queries, passages = host_time.embeddings(torch.float32)
    aligned = torch.arange(host_time.SIZE)
    odd = (torch.arange(host_time.SIZE + 1) - 1)[1:]
    assert aligned.data_ptr() % 16 == 0 != odd.data_ptr() % 16
    for positives in (aligned, odd, aligned, odd):
        info_nce(queries, passages, positives=positives, backend="triton")
    assert runs == [2]
    assert len(launched_kernels()) == 2


def test_masks_decide_on_the_kernel(kernels, runs):
    queries, passages = host_time.embeddings(torch.float32)
    ids = torch.arange(host_time.SIZE)
    for _ in range(2):
        info_nce(queries, passages, passage_ids=ids, backend="triton")
        info_nce(queries, passages, query_groups=ids, passage_groups=ids, backend="triton")
    assert runs == [2]


def test_arguments_of_other_kinds_are_left_to_triton(kernels, runs):
    """Such as tensor descriptors: what decides on their kernels is not known here."""
    assert gpu_products._kind_of_launch(None, torch.device("cpu"), {"x": object()}) is None


def test_another_thread_may_empty_the_known_kernels(kernels, monkeypatch):
    class Emptied(dict):
        """Of which nothing is left once it was asked."""

        def __contains__(self, key):
            found = super().__contains__(key)
            self.clear()
            return found

    monkeypatch.setattr(gpu_products, "_launched", Emptied())
    for _ in range(2):
        info_nce(*host_time.embeddings(torch.float32), backend="triton")
    assert len(kernels) == 2


def test_known_kernels_are_forgotten_before_they_are_too_many(kernels, monkeypatch):
    monkeypatch.setattr(gpu_products, "_MOST_LAUNCHED", 2)
    for size in (16, 32, 48):
        info_nce(*host_time.embeddings(torch.float32, size=size), backend="triton")
    assert len(gpu_products._launched) == 1


@KINDS
def test_what_is_wrong_is_refused_after_calls_that_were_right(kernels, kind):
    queries, passages = host_time.embeddings(torch.float32)
    options = {"backend": "triton", **host_time.KINDS[kind]}
    for _ in range(2):
        info_nce(queries, passages, **options)
        with pytest.raises(ValueError, match="a number above 0"):
            info_nce(queries, passages, temperature=-0.05, **options)
        with pytest.raises(ValueError, match="temperature is on meta but queries is on cpu"):
            info_nce(queries, passages, temperature=torch.ones((), device="meta"), **options)
        with pytest.raises(ValueError, match="dimension"):
            info_nce(queries, passages[:, :5], **options)
        with pytest.raises(ValueError, match="mask has 63 columns"):
            info_nce(queries, passages, mask=torch.zeros(64, 63, dtype=torch.bool), **options)
