"""Freed memory that glibc keeps for the next allocation, where it would give it back at once.

Large blocks, such as the states of a batch, come from the system and go back to it one by one, and
each page of a new one is a fault. A process changes its own allocator alone; libraries must not.
"""

from __future__ import annotations

import ctypes
import os
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
# Bytes; the first that a version of glibc takes.
_KEPT = {
    _M_MMAP_THRESHOLD: (2**31 - 1, 2**25),
    _M_TRIM_THRESHOLD: (2**31 - 1,),
    _M_TOP_PAD: (2**26,),
}
# By which users set the same, and which go before.
VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, until it ends; tell whether it does so now.

    Where the C library is not glibc, or a variable of `VARIABLES` is set, nothing is changed.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in VARIABLES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all([_set(mallopt, parameter, sizes) for parameter, sizes in _KEPT.items()])


def _set(mallopt: ctypes._NamedFuncPointer, parameter: int, sizes: tuple[int, ...]) -> bool:
    return any(mallopt(parameter, size) == 1 for size in sizes)
