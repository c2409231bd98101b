"""The processor: what it is, and which of several ways to compute the same is fastest on it."""

from hybrid_fast.cpu.half_precision import emulates, say_if_emulated, slowdown
from hybrid_fast.cpu.machine import processor
from hybrid_fast.cpu.ways import Choice, choices, common_ways, fastest, settle

__all__ = [
    "Choice",
    "choices",
    "common_ways",
    "emulates",
    "fastest",
    "processor",
    "say_if_emulated",
    "settle",
    "slowdown",
]
