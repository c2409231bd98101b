"""The Triton kernels that keep scores on the chip, in Triton's interpreter.

Run by test_triton_kernels.py, which sets it up.
"""

import pytest
import torch
from mask_cases import masks
from triton_interpreter import (
    SHAPES,
    check,
    largest_by_dtype,
    on_the_cpu,  # noqa: F401
    small_chunks_and_poison,  # noqa: F401
)
from unit_vectors import problem, run

from hybrid_fast.ops.backends import gpu_products, triton_tiles


@pytest.mark.parametrize("mask", masks(1, 1))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{"symmetric": True}, {"reduction": "none"}], ids=str)
def test_masks_in_half_precision(mask, dtype, options):
    check(*problem(13, 21, 17, dtype), **options, **masks(13, 21)[mask])


@pytest.mark.parametrize("options", [{"reduction": "none"}, {"recompute": True}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_tiles(shape, dtype, options):
    """Of one direction: scores are made twice, none is kept."""
    check(*problem(*SHAPES[shape], dtype=dtype), **options)


TILES = ("_TILE", "_MASKED_TILE", "_HOPPER_TILE", "_AMD_TILE", "_AMD_MASKED_TILE")


@pytest.mark.parametrize("tile", [getattr(triton_tiles, name) for name in TILES], ids=TILES)
def test_tiles_as_on_a_gpu(tile, monkeypatch):
    """Several tiles in one group; rows, columns and dimension one tile and a part of the next."""
    num_rows, num_columns = tile.rows + 3, max(tile.rows, tile.columns) + 5
    monkeypatch.setattr(triton_tiles, "tile_of", lambda *_, **__: tile)
    monkeypatch.setattr(triton_tiles, "_GROUP", 8)
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", num_rows)
    inputs = problem(num_rows, num_columns, tile.depth + 35, torch.bfloat16)
    every = masks(num_rows, num_columns)["all together"]
    check(*inputs, symmetric=True, reduction="none", **every)
    check(*inputs, symmetric=True)


def test_tiles_keep_no_scores(monkeypatch):
    """What has an entry for each score is W, in half precision."""
    sizes = largest_by_dtype(monkeypatch)
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", 16)
    run(*problem(16, 128, 16, torch.bfloat16), "triton", symmetric=True, recompute=True)
    assert sizes[torch.bfloat16] == 16 * 128
    assert sizes[torch.float32] <= 2 * 16 * 128 // 8


@pytest.mark.parametrize("options", [{"symmetric": True}, {"reduction": "none"}], ids=str)
def test_precision_bf16_is_that_of_rounded_embeddings(options):
    queries, passages = problem(13, 21, 17)
    rounded = run(queries.bfloat16(), passages.bfloat16(), "triton", **options)
    ours = run(queries, passages, "triton", precision="bf16", **options)
    for value, expected in zip(ours, rounded, strict=True):
        assert torch.equal(value.to(expected.dtype), expected)


@pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])
def test_without_negatives_tiles_have_no_loss_and_no_gradient(symmetric):
    inputs = problem(13, 21, 16, torch.bfloat16)
    mask = torch.ones(13, 21, dtype=torch.bool)
    loss, *gradients = run(*inputs, "triton", mask=mask, symmetric=symmetric, recompute=True)
    for value in (loss, *gradients[:3]):
        assert torch.equal(value, torch.zeros_like(value))


@pytest.mark.parametrize("options", [{"symmetric": True}, {"reduction": "none"}], ids=str)
def test_same_bits_twice_of_tiles(options):
    inputs = problem(20, 37, 16, torch.bfloat16)
    runs = [run(*inputs, "triton", **options) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
