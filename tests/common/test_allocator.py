"""Memory that a process keeps: page faults of large blocks, in processes of their own."""

import json
import platform
import subprocess
import sys

import pytest

from hybrid_fast.common.allocator import VARIABLES

FAULTS = """
import ctypes, json, resource, sys
from hybrid_fast.common.allocator import keep_freed_memory
keeps = sys.argv[1] == "keep" and keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
sizes = [2**26, 2**25 + 4096, 2**26]
def use():
    for size in sizes:
        block = libc.malloc(ctypes.c_size_t(size))
        ctypes.memset(block, 1, size)
        libc.free(block)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
use()
print(json.dumps([keeps, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before]))
"""
pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")


def faults(how, monkeypatch, **variables):
    for name in (*VARIABLES, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True)
    keeps, count = json.loads(done.stdout)
    return keeps, count


def test_freed_memory_is_used_again_without_faults(monkeypatch):
    given_back = faults("leave", monkeypatch)
    kept = faults("keep", monkeypatch)
    assert (given_back[0], kept[0]) == (False, True)
    assert given_back[1] > 20_000  # of 40,000 pages
    assert kept[1] < 400


@pytest.mark.parametrize("name", VARIABLES)
def test_what_a_user_has_set_stays(name, monkeypatch):
    keeps, count = faults("keep", monkeypatch, **{name: "131072"})
    assert not keeps
    assert count > 20_000
