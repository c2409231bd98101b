"""What a step of the loss consists of, each part alone: products in every form, memory, kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from cuda_timing import SQUARE, Device, matmul_rate, median_ms, reported

from gpu import one_pass
from gpu.settings import Case, Settings, Task, embeddings

CASE = Case(2**14, 768, "mean")
CHUNK = 5632  # rows of a chunk in the middle of a step
SCALED_CHUNK = 5


def tasks(settings: Settings) -> Iterator[Task]:
    """Give the products, the memory, and the kernels of each kind of loss."""
    yield Task("products", products)
    yield Task("memory", memory)
    for kind in ("mean", "symmetric", "none"):
        for descriptors in (True, False):
            name = f"{kind}, {'descriptors' if descriptors else 'pointers'}"
            yield Task(name, partial(kernels, kind, descriptors), limit_s=40)


def products(settings: Settings, deadline: float) -> dict[str, Any]:
    """Return milliseconds and FLOP/s of the products that a step needs, in every form."""
    device, case = settings.device, settings.scaled(CASE)
    queries, passages = embeddings(case, device.type)
    weights = torch.rand(case.size, case.size, device=device.type).bfloat16()
    chunk = SCALED_CHUNK if settings.tiny else CHUNK
    total = torch.zeros(case.size, case.dim, device=device.type)
    single = torch.float32
    of_chunk = {
        dtype: torch.empty(chunk, case.size, device=device.type, dtype=dtype)
        for dtype in (torch.bfloat16, single)
    }
    few, few_weights = queries[:chunk], weights[:chunk]
    forms: dict[str, tuple[int, Callable[[], object]]] = {
        "scores, bf16": (case.size, lambda: device.product(queries, passages.T)),
        "scores, float32": (case.size, lambda: device.product(queries, passages.T, single)),
        "scores, bf16, chunk": (
            chunk,
            lambda: device.product(few, passages.T, out=of_chunk[torch.bfloat16]),
        ),
        "scores, float32, chunk": (
            chunk,
            lambda: device.product(few, passages.T, single, out=of_chunk[single]),
        ),
        "W P, bf16": (case.size, lambda: device.product(weights, passages)),
        "W P, float32": (case.size, lambda: device.product(weights, passages, single)),
        "W P, float32, chunk": (chunk, lambda: device.product(few_weights, passages, single)),
        "W^T Q, float32": (case.size, lambda: device.product(weights.T, queries, single)),
        "W^T Q, float32, chunk": (chunk, lambda: device.product(few_weights.T, few, single)),
        "W^T Q added to float32, chunk": (
            chunk,
            lambda: device.add_product(total, few_weights.T, few),
        ),
    }
    found: dict[str, Any] = {}
    for name, (rows, form) in forms.items():
        with reported(device, found, name):
            ms = median_ms(device, form)
            flop = 2 * rows * case.size * case.dim
            found[name] = {"ms": ms, "flop_per_s": flop / (ms * 1e-3)}
    square = settings.scaled(Case(SQUARE, 16, ""), by=64).size
    return {
        "case": str(case),
        "chunk_rows": chunk,
        "square_flop_per_s": matmul_rate(device, square),
        "forms": found,
    }


def kernels(kind: str, descriptors: bool, settings: Settings, deadline: float) -> dict[str, Any]:
    """Return the time of each kernel of a step of the one-pass loss."""
    with one_pass.changed(descriptors=descriptors):
        return one_pass.timed(settings.scaled(replace(CASE, kind=kind)), settings)


def memory(settings: Settings, deadline: float) -> dict[str, Any]:
    """Return bytes/s of reading and writing float32 in place, and of a copy."""
    device = settings.device
    size = settings.scaled(Case(2**28, 16, ""), by=2**14).size
    source, target = (torch.rand(size, device=device.type) for _ in range(2))
    return {
        "in place": rate_of(device, lambda: source.mul_(1.0), 2 * source.nbytes),
        "copy": rate_of(device, lambda: target.copy_(source), 2 * source.nbytes),
    }


def rate_of(device: Device, function: Callable[[], object], num_bytes: int) -> dict[str, float]:
    """Return milliseconds and bytes/s of a call."""
    ms = median_ms(device, function)
    return {"ms": ms, "bytes_per_s": num_bytes / (ms * 1e-3)}
