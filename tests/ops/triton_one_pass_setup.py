"""What the cases of the one-pass loss share: small blocks, ways to call it, embeddings."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
import triton_interpreter
from triton_interpreter import TILE
from unit_vectors import problem

from hybrid_fast.ops.backends import (
    gpu,
    gpu_products,
    one_pass_products,
    one_pass_tiles,
)

BACKEND = "triton_one_pass"
check = partial(triton_interpreter.check, backend=BACKEND)
WAYS = {
    "mean": {},
    "symmetric": {"symmetric": True},
    "none": {"reduction": "none"},
    "recompute": {"recompute": True},
    "symmetric, recompute": {"symmetric": True, "recompute": True},
}
IN_BETWEEN = {"recompute", "symmetric, recompute"}  # both kinds of passes come in others
ways = pytest.mark.parametrize(
    "way", [pytest.param(w, marks=[pytest.mark.slow] * (w in IN_BETWEEN)) for w in WAYS]
)
chunked = pytest.mark.parametrize("in_one_chunk", [False, True], ids=["chunks", "one chunk"])


@pytest.fixture(autouse=True)
def small_one_pass(monkeypatch):
    monkeypatch.setattr(gpu, "MOST_SCORES_OF_FEW_LAUNCHES", 0)
    monkeypatch.setattr(gpu, "FEWEST_ROWS", 1)
    monkeypatch.setattr(one_pass_tiles, "tile_of", lambda *_, **__: TILE)
    monkeypatch.setattr(one_pass_tiles, "_SUM_BLOCKS", {"BLOCK_T": 2, "BLOCK_R": 8})
    monkeypatch.setattr(one_pass_tiles, "_WEIGH_BLOCKS", {"BLOCK_R": 4, "BLOCK_N": 16})
    monkeypatch.setattr(one_pass_tiles, "_DEPTH_BLOCK", 16)
    monkeypatch.setattr(one_pass_products, "_POSITIVES_BLOCK", 4)
    monkeypatch.setattr(one_pass_products, "_RESCALE_BLOCK", 64)


def bfloat16(*shape, seed=0):
    return problem(*shape, torch.bfloat16, seed)


def apart(num_queries, num_passages):
    """Unit vectors: passages are near one another, queries at right angles to them."""
    generator = torch.Generator().manual_seed(0)
    passages = torch.cat([torch.ones(num_passages, 8), torch.zeros(num_passages, 8)], dim=1)
    passages += 0.5 * torch.randn(passages.shape, generator=generator)
    queries = passages[:num_queries].roll(8, dims=1)
    return [F.normalize(vectors, dim=1).bfloat16() for vectors in (queries, passages)]


def all_rows_in_one_chunk(monkeypatch):
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", 128)
