"""What readers of published data let pass: counted and said in one line a kind, or an error."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

EMPTY_LINES = "empty lines, left out"  # a kind that most formats have


class Tolerance:
    """Counts what is let pass in one file.

    Args:
        origin: the file, for messages.
        strict: raise a ValueError in place of counting.
    """

    def __init__(self, origin: object, strict: bool = False) -> None:
        self.origin, self.strict = origin, strict
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def allow(self, kind: str, where: str, count: int = 1) -> None:
        """Let something pass.

        Args:
            kind: what it is and what becomes of it, in the plural: "empty lines, left out".
            where: its place, such as file and line.
            count: how many of them there are.

        Raises:
            ValueError: if this is strict.
        """
        if not count:
            return
        if self.strict:
            raise ValueError(f"{where}: strict=True does not allow {kind}")
        self._counts[kind] += count
        self._first.setdefault(kind, where)

    def report(self) -> None:
        """Log a warning for each kind, with its number and the place of the first."""
        for kind, count in self._counts.items():
            first = self._first[kind].removeprefix(f"{self.origin}:")
            logger.warning("%s: %d %s (the first at %s)", self.origin, count, kind, first)
        self._counts.clear()


@contextmanager
def reported(origin: object, strict: bool = False) -> Iterator[Tolerance]:
    """Yield a tolerance that is reported at the end, unless an error ends it."""
    tolerance = Tolerance(origin, strict)
    yield tolerance
    tolerance.report()
