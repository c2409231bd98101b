"""The processor: what it is, and which of several ways to compute the same is fastest on it."""

from hybrid_fast.cpu.ways import Choice, choices, fastest, settle
from hybrid_fast.cpu.machine import processor

__all__ = ["Choice", "choices", "fastest", "processor", "settle"]
