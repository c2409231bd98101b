"""The kernel of exponentials of the one-pass loss: run with other tiles, timed inside a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from cuda_timing import median_ms

from gpu.profiles import kernels_of
from gpu.settings import NEW, Case, Settings, embeddings
from gpu.ways import ours_by_hand

MODULE = "hybrid_fast.ops.backends.triton_one_pass"
KERNEL = "exp_tiles_kernel"
ROUNDS = 5


def module() -> ModuleType | None:
    """Return the module that launches the kernel, None where the library has none."""
    return import_module(MODULE) if find_spec(MODULE) is not None else None


@contextmanager
def changed(**values: Any) -> Iterator[Any]:
    """Let the kernel run with another tile within, or with pointers in place of descriptors.

    Args:
        **values: fields of `Tile`, and `descriptors`.

    Yields:
        The tile.
    """
    one_pass = module()
    assert one_pass is not None
    before = one_pass.tile_of, one_pass.has_descriptors
    descriptors = values.pop("descriptors", None)
    tile = replace(before[0](_architecture(), masked=False), **values)
    one_pass.tile_of = lambda *_, **__: tile
    if descriptors is not None:
        one_pass.has_descriptors = lambda _: descriptors
    try:
        yield tile
    finally:
        one_pass.tile_of, one_pass.has_descriptors = before


def timed(case: Case, settings: Settings) -> dict[str, Any]:
    """Return milliseconds of a step and of its kernels, and the rate of the exponentials."""
    step = ours_by_hand(case.kind, settings.ours[NEW])
    inputs = embeddings(case, settings.device.type)
    found = kernels_of(step, inputs, settings.device)
    ms = sum(row["ms"] for row in found["kernels"] if KERNEL in row["kernel"])
    flop = 2 * case.size**2 * case.dim
    return {
        "step_ms": median_ms(settings.device, lambda: step(*inputs), ROUNDS),
        "kernel_ms": ms or None,
        "flop_per_s": flop / (ms * 1e-3) if ms else None,  # of one product, sums and all
        "kernels": found["kernels"],
    }


def compiled() -> list[dict[str, int]]:
    """Return registers and spills of each variant that Triton has compiled, the newest last.

    Triton 3.4 to 3.9 keep them in `device_caches`; where a version does not, there are none.
    """
    found = []
    with suppress(ImportError, AttributeError, LookupError, TypeError):
        kernel = getattr(import_module("hybrid_fast.ops.backends.one_pass_kernels"), KERNEL)
        for cache, *_ in kernel.device_caches.values():
            found += [
                {
                    "registers": variant.n_regs,
                    "spills": variant.n_spills,
                    "shared_bytes": variant.metadata.shared,
                }
                for variant in cache.values()
            ]
    return found


def _architecture() -> str:
    """Return the architecture of the current GPU, that of an H100 where there is none."""
    if not torch.cuda.is_available():
        return "sm_90"
    from hybrid_fast.ops.backends.triton_tiles import architecture_of

    return architecture_of(torch.device("cuda", torch.cuda.current_device()))
