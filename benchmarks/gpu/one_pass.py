"""The kernel of exponentials of the one-pass loss: run with other tiles, timed inside a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from cuda_timing import median_ms

from gpu.profiles import STEPS, profile_of, rows_of, shown
from gpu.settings import NEW, Case, Settings, embeddings
from gpu.ways import ours_by_hand
from hybrid_fast.ops.backends import one_pass_kernels, one_pass_tiles

KERNEL = "exp_tiles_kernel"
ROUNDS = 5


@contextmanager
def changed(*, descriptors: bool | None = None, **values: Any) -> Iterator[list[Any]]:
    """Let the kernel run with another tile within, or with pointers in place of descriptors.

    Args:
        descriptors: whether tiles are loaded through them; None: as the library decides.
        **values: fields of the tile that are to be others.

    Yields:
        The tiles that were used.
    """
    before = one_pass_tiles.tile_of, one_pass_tiles.has_descriptors
    used = []

    def tile_of(*arguments: Any, **options: Any) -> Any:
        used.append(replace(before[0](*arguments, **options), **values))
        return used[-1]

    one_pass_tiles.tile_of = tile_of
    if descriptors is not None:
        one_pass_tiles.has_descriptors = lambda *_: descriptors
    try:
        yield used
    finally:
        one_pass_tiles.tile_of, one_pass_tiles.has_descriptors = before


def timed(case: Case, settings: Settings) -> dict[str, Any]:
    """Return milliseconds of a step and of its kernels, and the rate of the exponentials."""
    step = ours_by_hand(case.kind, settings.ours[NEW])
    inputs = embeddings(case, settings.device.type)
    rows = rows_of(settings.device, profile_of(step, inputs, settings.device), STEPS)
    ms = sum(row["ms"] for row in rows if KERNEL in row["kernel"])
    flop = 2 * case.size**2 * case.dim
    return {
        "step_ms": median_ms(settings.device, lambda: step(*inputs), ROUNDS),
        "kernel_ms": ms or None,
        "flop_per_s": flop / (ms * 1e-3) if ms else None,  # of one product, sums and all
        "kernels": shown(rows)["kernels"],
    }


def compiled() -> list[dict[str, int]]:
    """Return registers and spills of each variant that Triton has compiled, the newest last.

    Triton 3.4 to 3.9 keep them in `device_caches`; where a version does not, there are none.
    """
    found = []
    with suppress(AttributeError, LookupError, TypeError):
        kernel = getattr(one_pass_kernels, KERNEL)
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
