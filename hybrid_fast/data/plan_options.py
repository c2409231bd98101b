"""The options of a batch plan that need no table, and their checks."""

from __future__ import annotations

from numbers import Integral, Real

from hybrid_fast.common.choices import check_choice

DEFAULT_ALPHA = 0.5
KINDS = ("mono", "cross", "mixed", "hybrid")
PAIRS = ("mixed", "single")


def check_plan(kind: str, alpha: float | None, pairs: str) -> None:
    """Check what is drawn into a batch.

    Args:
        kind: one of KINDS.
        alpha: share of mono batches of a hybrid plan; None: the default.
        pairs: one of PAIRS.

    Raises:
        ValueError: an unknown name, a share outside [0, 1], or a kind without pairs.
        TypeError: alpha is not a number.
    """
    check_choice("kind", kind, KINDS)
    if alpha is not None and not 0 <= check_number("alpha", alpha, "a number from 0 to 1") <= 1:
        raise ValueError(f"alpha is {alpha}; it must be a number from 0 to 1")
    check_choice("pairs", pairs, PAIRS)
    if pairs == "single" and kind == "mixed":
        raise ValueError(
            "pairs is 'single' and kind is 'mixed'; for batches of one language use kind='mono'"
        )


def check_batch_size(batch_size: int, world_size: int) -> int:
    """Return the number of examples in a global batch.

    Raises:
        ValueError: it is not a positive multiple of the number of ranks, or not below 2^31.
        TypeError: it is not an integer.
    """
    batch_size = check_integer("batch_size", batch_size)
    if batch_size < 1 or batch_size % world_size:
        raise ValueError(
            f"batch_size is {batch_size}; it must be a positive multiple of the number of ranks "
            f"({world_size})"
        )
    if batch_size >= 2**31:
        raise ValueError(f"batch_size is {batch_size}; it must be below 2^31")
    return batch_size


def check_rank(rank: int, world_size: int) -> tuple[int, int]:
    """Return a process's rank and the number of processes.

    Raises:
        ValueError: it is not in [0, world_size).
        TypeError: one of the two is not an integer.
    """
    rank, world_size = check_integer("rank", rank), check_integer("world_size", world_size)
    if world_size < 1 or not 0 <= rank < world_size:
        raise ValueError(
            f"rank is {rank} of world_size {world_size}; it must be from 0 to world_size - 1"
        )
    return rank, world_size


def check_integer(name: str, value: object) -> int:
    """Return an integer of Python or NumPy as one of Python, whose arithmetic cannot overflow.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it must be a whole number")
    return int(value)


def check_number(name: str, value: object, needed: str = "a number") -> float:
    """Return a number of Python or NumPy as a float.

    Args:
        name: of the option, for the message.
        value: what was given for it.
        needed: what it must be, for the message.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} is {value!r}; it must be {needed}")
    return float(value)
