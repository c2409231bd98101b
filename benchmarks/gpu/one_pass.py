"""The kernel of exponentials of the one-pass loss: run with other tiles, timed inside a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from cuda_timing import median_ms

from gpu.profiles import kernels_of
from gpu.settings import NEW, Case, Settings, embeddings
from gpu.ways import ours_by_hand

MODULE = "hybrid_fast.ops.backends.one_pass_tiles"
KERNELS = "hybrid_fast.ops.backends.one_pass_kernels"
KERNEL = "exp_tiles_kernel"
ROUNDS = 5


def module() -> ModuleType | None:
    """Return the module that launches the kernel, None where the library has none."""
    return import_module(MODULE) if find_spec(MODULE) is not None else None


@contextmanager
def changed(*, descriptors: bool | None = None, **values: Any) -> Iterator[list[Any]]:
    """Let the kernel run with another tile within, or with pointers in place of descriptors.

    Args:
        descriptors: whether tiles are loaded through them; None: as the library decides.
        **values: fields of the tile that are to be others.

    Yields:
        The tiles that were used.
    """
    one_pass = module()
    assert one_pass is not None
    before = one_pass.tile_of, one_pass.has_descriptors
    used = []

    def tile_of(*arguments: Any, **options: Any) -> Any:
        used.append(replace(before[0](*arguments, **options), **values))
        return used[-1]

    one_pass.tile_of = tile_of
    if descriptors is not None:
        one_pass.has_descriptors = lambda *_: descriptors
    try:
        yield used
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
        kernel = getattr(import_module(KERNELS), KERNEL)
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
