"""The GPU backends in Triton's interpreter, and the checks of a case.

Against the definition in float64, losses and all gradients. Two-reference rule: a path may be off
by what plain torch is off by in the same dtype, and a floor. Scratch memory is poisoned with NaN.
Products are plain torch's in float32: those of the GPU with a float32 result are not on the CPU.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from triton_arithmetic import mend
from unit_vectors import TEMPERATURE, poisoned, run

from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends import gpu, gpu_products, registry, triton_rows, triton_tiles

# Relative to the largest term: float32 sums in another order than torch's; bfloat16 and float16
# round W to 8 and 11 bits.
FLOORS = {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 6e-4, torch.bfloat16: 5e-3}
# Small blocks, for the interpreter is slow.
CHUNK_ROWS = 9
TILE = replace(triton_tiles._TILE, rows=8, columns=16, depth=32, parts=2)
SHAPES = {  # queries, passages, dimension
    "one": (1, 1, 1),
    "one query": (1, 7, 5),
    "below a block": (7, 15, 31),
    "a block": (8, 16, 32),
    "beyond a block": (9, 17, 65),
    "square": (17, 17, 33),
    "several": (20, 53, 70),
}


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    in_the_interpreter(monkeypatch)


def in_the_interpreter(monkeypatch):
    """Let the backends of GPUs compute on the CPU for as long as `monkeypatch` lasts."""
    mend(monkeypatch)
    for name, backend in list(registry.BACKENDS.items()):
        if backend.device_types == ("cuda",):
            here = replace(backend, device_types=("cpu",))
            monkeypatch.setitem(registry.BACKENDS, name, here)
    products = {
        "multiply": lambda a, b, dtype: a.to(dtype) @ b.to(dtype),
        "multiply_add": lambda total, a, b: total.add_(a.to(total.dtype) @ b.to(total.dtype)),
    }
    for name, product in products.items():
        monkeypatch.setattr(gpu_products, name, product)


@pytest.fixture(autouse=True)
def small_chunks_and_poison(monkeypatch):
    """Blocks of 16 columns (8 in float64); of 4 rows (2) where columns are summed; small tiles."""
    monkeypatch.setattr(gpu, "MAX_SCRATCH_BYTES", 1)
    monkeypatch.setattr(gpu_products, "_TILE_ROWS", CHUNK_ROWS)
    monkeypatch.setattr(triton_tiles, "tile_of", lambda *_, **__: TILE)
    monkeypatch.setattr(triton_tiles, "_GROUP", 1)
    monkeypatch.setattr(triton_tiles, "MERGE_BLOCKS", {"BLOCK_T": 2, "BLOCK_M": 8})
    monkeypatch.setattr(triton_rows, "_ROW_BLOCKS", {4: 16, 8: 8})
    monkeypatch.setattr(triton_rows, "_COLUMN_BLOCK_BYTES", 16)
    monkeypatch.setattr(triton_rows, "_COLUMN_BLOCK", 16)
    for owner, name in ((torch.Tensor, "new_empty"), (torch, "empty_like")):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))


def largest_by_dtype(monkeypatch):
    """Return the most entries of a tensor that `new_empty` will have made, by dtype."""
    sizes = {}
    new_empty = torch.Tensor.new_empty

    def allocate(*args, **kwargs):
        tensor = new_empty(*args, **kwargs)
        sizes[tensor.dtype] = max(sizes.get(tensor.dtype, 0), tensor.numel())
        return tensor

    monkeypatch.setattr(torch.Tensor, "new_empty", allocate)
    return sizes


def check(queries, passages, *, definition=info_nce, backend="triton", **options):
    defined = {"loss_function": definition} | options
    truth = run(queries, passages, "reference", dtype=torch.float64, **defined)
    plain = run(queries, passages, "reference", **defined)
    ours = run(queries, passages, backend, **options)
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
