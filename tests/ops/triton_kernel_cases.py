"""The Triton kernels in Triton's interpreter; run by test_triton_kernels.py, which sets it up.

Against the definition in float64, losses and all gradients. Two-reference rule: a path may be off
by what plain torch is off by in the same dtype, and a floor. Scratch memory is poisoned with NaN.
Products are plain torch's in float32: those of the GPU with a float32 result are not on the CPU.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from hybrid_fast.ops import gpu, gpu_products, gpu_tiles, info_nce, infonce

# Relative to the largest term: float32 sums in another order than torch's; bfloat16 and float16
# round W to 8 and 11 bits.
FLOORS = {torch.float64: 1e-12, torch.float32: 3e-6, torch.float16: 8e-4, torch.bfloat16: 6e-3}
SHAPES = {  # queries, passages, dimension
    "one": (1, 1, 1),
    "one query": (1, 7, 5),
    "odd": (23, 41, 17),
    "square": (32, 32, 16),
    "beyond a block": (5, 129, 31),
    "many passages": (3, 1501, 8),
}
TEMPERATURE = 0.07


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    backend = infonce._BACKENDS["triton"]
    monkeypatch.setitem(infonce._BACKENDS, "triton", replace(backend, device_types=("cpu",)))
    products = {
        "multiply": lambda a, b, dtype: a.to(dtype) @ b.to(dtype),
        "multiply_into": lambda out, a, b: out.copy_(a.to(out.dtype) @ b.to(out.dtype)),
        "multiply_add": lambda total, a, b: total.add_(a.to(total.dtype) @ b.to(total.dtype)),
    }
    for name, product in products.items():
        monkeypatch.setattr(gpu_products, name, product)
    monkeypatch.setattr(InterpreterBuilder, "create_dot", dot)


@pytest.fixture(autouse=True)
def small_chunks_and_poison(monkeypatch):
    """Chunks of 9 rows, blocks of 128 columns, sums of 8 rows at a time, tiles of 8 x 64."""
    monkeypatch.setattr(gpu_products, "MAX_SCRATCH_BYTES", 1)
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", 9)
    tile = replace(gpu_tiles._TILE, rows=8, columns=64, depth=16)
    monkeypatch.setattr(gpu_tiles, "tile_of", lambda *_, **__: tile)
    monkeypatch.setattr(gpu_tiles, "_GROUP", 1)
    monkeypatch.setattr(gpu_tiles, "MERGE_BLOCKS", {"BLOCK_T": 2, "BLOCK_M": 8})
    monkeypatch.setattr(gpu, "_ROW_BLOCKS", {4: 128, 8: 64})
    monkeypatch.setattr(gpu, "_COLUMN_BLOCK_BYTES", 16)
    for owner, name in ((torch.Tensor, "new_empty"), (torch, "empty_like")):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))


def dot(self, a, b, total, *_):
    """Multiply; the interpreter keeps bfloat16 as uint16 and would multiply these.

    In float64, rounded: the bits of an entry then do not depend on its place, as on tensor cores.
    """
    factors = [
        (x.data.astype(np.uint32) << 16).view(np.float32) if x.dtype == tl.bfloat16 else x.data
        for x in (a, b)
    ]
    product = np.matmul(*factors, dtype=np.float64).astype(np.float32)
    return TensorHandle(product + total.data, total.dtype.scalar)


def poisoned(allocate):
    def allocate_and_fill(*args, **kwargs):
        tensor = allocate(*args, **kwargs)
        return tensor.fill_(math.nan) if tensor.is_floating_point() else tensor

    return allocate_and_fill


def problem(num_queries, num_passages, dim, dtype=torch.float32, seed=0):
    """Unit vectors, every third query close to its passage."""
    generator = torch.Generator().manual_seed(seed)
    passages = torch.randn(num_passages, dim, generator=generator)
    queries = torch.randn(num_queries, dim, generator=generator)
    queries[::3] += 3 * passages[:num_queries:3]
    return F.normalize(queries, dim=1).to(dtype), F.normalize(passages, dim=1).to(dtype)


def run(
    queries, passages, backend, *, dtype=None, temperature=TEMPERATURE, weights=None, **options
):
    """Return the loss and the gradients of queries, passages, temperature and weights."""
    dtype = dtype or queries.dtype
    generator = torch.Generator().manual_seed(1)
    if weights is None:
        weights = torch.rand(len(queries), generator=generator, dtype=torch.float64) + 0.1
    leaves = [
        queries.to(dtype),
        passages.to(dtype),
        torch.tensor(temperature, dtype=torch.float64),
        weights,
    ]
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    loss = info_nce(
        *leaves[:2], temperature=leaves[2], weights=leaves[3], backend=backend, **options
    )
    upstream = torch.linspace(-1, 2, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    if loss.ndim == 0:
        upstream = torch.tensor(1.7, dtype=loss.dtype)
    return [loss.detach(), *torch.autograd.grad(loss, leaves, upstream)]


def check(queries, passages, **options):
    truth = run(queries, passages, "reference", dtype=torch.float64, **options)
    plain = run(queries, passages, "reference", **options)
    ours = run(queries, passages, "triton", **options)
    # Gradients are sums of terms that may all cancel: errors are then relative to the terms.
    temperature = options.get("temperature", TEMPERATURE)
    largest_query, largest_passage = (t.abs().max().item() for t in (queries, passages))
    logit = (queries.double() @ passages.double().T).abs().max().item() / temperature
    # A score that is rounded once differently moves its exponential by this part.
    rounding = torch.finfo(torch.promote_types(queries.dtype, torch.float32)).eps * logit
    terms = {
        "loss": 1e-6,
        "queries": largest_passage / temperature / len(queries),
        "passages": largest_query / temperature / len(queries),
        "temperature": logit / temperature / len(queries),
        "weights": truth[0].abs().max().item(),
    }
    rounded = {"queries", "passages"}  # their products are of W as it was written
    for name, expected, slow, value in zip(terms, truth, plain, ours, strict=True):
        assert value.dtype == slow.dtype
        exact = torch.promote_types(queries.dtype, torch.float32)
        floor = FLOORS[queries.dtype if name in rounded else exact] + rounding
        scale = expected.abs().max().clamp(min=max(terms[name], 1e-12))
        error = ((value.double() - expected).abs().max() / scale).item()
        allowed = ((slow.double() - expected).abs().max() / scale).item() + floor
        assert error <= allowed, f"{name}: error {error:.2e}, allowed {allowed:.2e}"


def masks(num_queries, num_passages, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def ids(size, most):
        return torch.randint(-1, most, (size,), generator=generator)

    mask = torch.rand(num_passages, num_queries, generator=generator) < 0.3
    alone = {
        "groups": {
            "query_groups": ids(num_queries, 5),
            "passage_groups": ids(num_passages, 5),
        },
        "ids": {"passage_ids": ids(num_passages, 9)},
        "ids of queries": {
            "passage_ids": ids(num_passages, 9),
            "query_passage_ids": ids(num_queries, 9),
        },
        "mask": {"mask": mask.T.contiguous()},
        "mask by columns": {"mask": mask.T},
        "margin": {"margin": 0.05},
        "positives": {"positives": torch.arange(num_queries).flip(0) // 2},
        "normalize": {"normalize": True},
        "everything masked": {"mask": torch.ones(num_queries, num_passages, dtype=torch.bool)},
    }
    names = ("groups", "ids of queries", "mask by columns", "margin", "positives")
    together = {key: value for name in names for key, value in alone[name].items()}
    return alone | {"all together": together}


@pytest.mark.parametrize("dtype", FLOORS, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_shapes_and_dtypes(shape, symmetric, dtype):
    check(*problem(*SHAPES[shape], dtype=dtype), symmetric=symmetric)


@pytest.mark.parametrize("mask", masks(1, 1))
@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_masks(mask, symmetric):
    check(*problem(13, 135, 17), symmetric=symmetric, reduction="none", **masks(13, 135)[mask])


@pytest.mark.parametrize("mask", masks(1, 1))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{"symmetric": True}, {"reduction": "none"}], ids=str)
def test_masks_in_half_precision(mask, dtype, options):
    check(*problem(13, 135, 17, dtype), **options, **masks(13, 135)[mask])


@pytest.mark.parametrize("options", [{"reduction": "none"}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_tiles(shape, dtype, options):
    """Of one direction: scores are made twice, none is kept."""
    check(*problem(*SHAPES[shape], dtype=dtype), **options)


TILES = ("_TILE", "_MASKED_TILE", "_HOPPER_TILE", "_AMD_TILE", "_AMD_MASKED_TILE")


@pytest.mark.parametrize("tile", [getattr(gpu_tiles, name) for name in TILES], ids=TILES)
def test_tiles_as_on_a_gpu(tile, monkeypatch):
    """Several tiles in one group, rows, columns and dimension beyond the last whole one."""
    monkeypatch.setattr(gpu_tiles, "tile_of", lambda *_, **__: tile)
    monkeypatch.setattr(gpu_tiles, "_GROUP", 8)
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", 300)
    inputs = problem(263, 277, 83, torch.bfloat16)
    check(*inputs, symmetric=True, reduction="none", **masks(263, 277)["all together"])
    check(*inputs, symmetric=True)


def test_tiles_keep_no_scores(monkeypatch):
    """What has an entry for each score is W, in half precision."""
    sizes = {}
    new_empty = torch.Tensor.new_empty

    def allocate(*args, **kwargs):
        tensor = new_empty(*args, **kwargs)
        sizes[tensor.dtype] = max(sizes.get(tensor.dtype, 0), tensor.numel())
        return tensor

    monkeypatch.setattr(torch.Tensor, "new_empty", allocate)
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", 32)
    run(*problem(32, 256, 16, torch.bfloat16), "triton", symmetric=True, recompute=True)
    assert sizes[torch.bfloat16] == 32 * 256
    assert sizes[torch.float32] <= 2 * 32 * 256 // 8


@pytest.mark.parametrize("options", [{"symmetric": True}, {"reduction": "none"}], ids=str)
def test_precision_bf16_is_that_of_rounded_embeddings(options):
    queries, passages = problem(13, 135, 17)
    rounded = run(queries.bfloat16(), passages.bfloat16(), "triton", **options)
    ours = run(queries, passages, "triton", precision="bf16", **options)
    for value, expected in zip(ours, rounded, strict=True):
        assert torch.equal(value.to(expected.dtype), expected)


@pytest.mark.parametrize("options", [{}, {"margin": 0.05}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_hard_only(options, dtype):
    check(*problem(13, 135, 16, dtype), negatives="hard_only", **options)


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_a_copy_of_the_positive_is_no_higher_than_the_positive(options, dtype):
    """Its score has the same bits, so a margin of 0 keeps it."""
    queries, passages = problem(13, 13, 17, dtype)
    passages = torch.cat([passages, passages.flip(0)])
    check(queries, passages, margin=0.0, **options)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("temperature", [0.001, 0.01, 10.0])
def test_temperatures(temperature, dtype, symmetric):
    """Logits up to 1e4."""
    queries, passages = problem(13, 135, 16, dtype)
    check(queries * 10, passages, temperature=temperature, symmetric=symmetric)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_without_negatives_loss_and_gradients_are_exactly_zero(symmetric):
    mask = torch.ones(13, 135, dtype=torch.bool)
    loss, *gradients = run(*problem(13, 135, 16), "triton", mask=mask, symmetric=symmetric)
    for value in (loss, *gradients[:3]):
        assert torch.equal(value, torch.zeros_like(value))


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("dtype", FLOORS, ids=str)
def test_a_small_loss_keeps_its_digits(options, dtype):
    """The positives lead by 30 after scaling: 1 + the rest would be 1."""
    vectors = torch.eye(16, dtype=dtype)
    ones = torch.ones(16, dtype=torch.float64)
    options = {"temperature": 1 / 30, "reduction": "sum", "weights": ones, **options}
    loss, of_queries, *_ = run(vectors, vectors, "triton", **options)
    rest = 15 * math.exp(-30)
    torch.testing.assert_close(loss, torch.tensor(16 * rest).to(loss), rtol=1e-4, atol=0)
    if dtype == torch.float16:
        return  # W then has no digits for what is 1e-12 of its largest possible entry
    expected = torch.full((16, 16), math.exp(-30)) - torch.eye(16) * (rest + math.exp(-30))
    torch.testing.assert_close(of_queries.double(), 1.7 * 30 * expected.double(), rtol=1e-2, atol=0)


def test_float16_keeps_the_gradient_of_tiny_coefficients():
    queries, passages = problem(13, 135, 16, torch.float16)
    weights = torch.logspace(-9, -7, 13, dtype=torch.float64)
    one = run(queries, passages, "triton", reduction="sum", weights=weights * 1e6)
    tiny = run(
        queries, passages, "triton", reduction="none", weights=weights, temperature=TEMPERATURE
    )
    assert all(torch.isfinite(value).all() for value in (*one, *tiny))
    check(queries, passages, reduction="mean", weights=weights)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_without_negatives_tiles_have_no_loss_and_no_gradient(symmetric):
    inputs = problem(13, 135, 16, torch.bfloat16)
    mask = torch.ones(13, 135, dtype=torch.bool)
    loss, *gradients = run(*inputs, "triton", mask=mask, symmetric=symmetric, recompute=True)
    for value in (loss, *gradients[:3]):
        assert torch.equal(value, torch.zeros_like(value))


@pytest.mark.parametrize("options", [{"symmetric": True}, {"reduction": "none"}], ids=str)
def test_same_bits_twice_of_tiles(options):
    inputs = problem(23, 141, 16, torch.bfloat16)
    runs = [run(*inputs, "triton", **options) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_same_bits_twice_and_when_recomputed(symmetric):
    inputs = problem(23, 141, 16)
    runs = [run(*inputs, "triton", symmetric=symmetric) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
    later = run(*inputs, "triton", symmetric=symmetric, recompute=True)
    for first, second in zip(runs[0], later, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)
