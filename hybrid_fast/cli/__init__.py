"""The hybrid-fast command."""

from hybrid_fast.cli.app import main

__all__ = ["main"]
