"""The options of a batch plan that need no table, and their checks."""

from __future__ import annotations

from numbers import Integral, Real

from hybrid_fast.common.choices import check_choice

KINDS = ("mono", "cross", "mixed", "hybrid")
PAIRS = ("mixed", "single")


def check_plan(kind: str, alpha: float, pairs: str) -> None:
    """Check what is drawn into a batch.

    Args:
        kind: one of KINDS.
        alpha: share of mono batches of a hybrid plan.
        pairs: one of PAIRS.

    Raises:
        ValueError: an unknown name, a share outside [0, 1], or a kind without pairs.
        TypeError: alpha is no number.
    """
    check_choice("kind", kind, KINDS)
    if not isinstance(alpha, Real):
        raise TypeError(f"alpha is {alpha!r}; a number from 0 to 1 is needed")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; a number from 0 to 1 is needed")
    check_choice("pairs", pairs, PAIRS)
    if pairs == "single" and kind == "mixed":
        raise ValueError(
            "pairs is 'single' and kind is 'mixed': batches of one language are kind='mono'"
        )


def check_batch_size(batch_size: int, world_size: int) -> None:
    """Check the number of examples in a global batch.

    Raises:
        ValueError: it is no positive multiple of the number of ranks, or 2^31 or more.
        TypeError: it is no whole number.
    """
    check_integer("batch_size", batch_size)
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(
            f"batch_size is {batch_size}; it must be a positive multiple of the number of ranks "
            f"({world_size})"
        )
    if batch_size >= 2**31:
        raise ValueError(f"batch_size is {batch_size}; fewer than 2^31 are supported")


def check_rank(rank: int, world_size: int) -> None:
    """Check a process's rank.

    Raises:
        ValueError: it is not in [0, world_size).
        TypeError: one of the two is no whole number.
    """
    check_integer("rank", rank)
    check_integer("world_size", world_size)
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(
            f"rank is {rank} of world_size {world_size}; 0 <= rank < world_size is needed"
        )


def check_integer(name: str, value: object) -> None:
    """Raise TypeError unless a value is a whole number, of Python or NumPy."""
    if not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}; a whole number is needed")
