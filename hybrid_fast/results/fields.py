"""Values of a results.json, checked as they are read: an error names the run, the key and the need.

null stands for a missing score, and in place of an object for one without scores.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hybrid_fast.results.names import printable

Scores = dict[str, float | None]


@dataclass(frozen=True)
class Field:
    """A value of a results.json and where it stands.

    Attributes:
        run: what errors call the run.
        place: the keys that lead to it, joined by dots; empty for the whole content.
        value: the value there; None for null, and for everything below null.
    """

    run: str
    place: str
    value: Any

    def __getitem__(self, key: str) -> Field:
        """Return the value of a key that must be there; ValueError if it is not."""
        value = self.object()
        if key not in value and self.value is not None:
            raise ValueError(
                f"{self.run} has no {self._below(key)!r}; give the whole content of a "
                "results.json, null where there is no score"
            )
        return self.get(key)

    def get(self, key: str) -> Field:
        """Return the value of a key, null if it is not there."""
        return Field(self.run, self._below(key), self.object().get(key))

    def items(self) -> dict[str, Field]:
        """Return the value of every key."""
        return {key: self.get(key) for key in self.object()}

    def other(self, known: Collection[str]) -> dict[str, Any]:
        """Return the values of all keys that are not in `known`."""
        return {key: value for key, value in self.object().items() if key not in known}

    def object(self) -> Mapping[str, Any]:
        """Return an object, empty for null; ValueError if it is anything else."""
        if not isinstance(self.value, Mapping | None):
            raise self._error("it must be an object or null")
        return self.value or {}

    def text(self) -> str | None:
        """Return a text or None; ValueError if it is anything else."""
        if not isinstance(self.value, str | None):
            raise self._error("it must be text or null")
        return self.value

    def required_text(self) -> str:
        """Return a text; ValueError if it is anything else."""
        if not isinstance(self.value, str):
            raise self._error("it must be text")
        return self.value

    def number(self, smallest: float = 0.0, largest: float = 1.0) -> float | None:
        """Return a number within limits or None; ValueError if it is anything else."""
        value = self.value
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and smallest <= value <= largest and math.isfinite(value)):
            limits = f"from {smallest:g} to {largest:g}"
            limits = "of at least 0" if largest == math.inf else limits
            raise self._error(f"it must be a finite number {limits}, or null")
        return value

    def numbers(self, smallest: float = 0.0, largest: float = 1.0) -> Scores:
        """Return an object of numbers, see `number`."""
        return {key: each.number(smallest, largest) for key, each in self.items().items()}

    def table(self, largest: float = 1.0) -> dict[str, Scores]:
        """Return an object of objects of numbers of at least 0."""
        return {key: each.numbers(largest=largest) for key, each in self.items().items()}

    def _below(self, key: str) -> str:
        return f"{self.place}.{printable(key)}" if self.place else printable(key)

    def _error(self, need: str) -> ValueError:
        return ValueError(f'{self.run}: "{self.place}" is {self.value!r}; {need}')
