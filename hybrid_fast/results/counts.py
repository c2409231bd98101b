"""What a run was measured on: numbers of queries and candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from hybrid_fast.results.fields import Field


@dataclass(frozen=True)
class Counts:
    """Queries and candidates by language, as `results.json` holds them under "counts".

    Attributes:
        queries: number of queries by language.
        candidates: number of candidates by language.
        pool: number of candidates of all languages.
        dropped: query language to corpus language to the number of queries that have no relevant
            there and are left out.
        other: what single tasks count besides: "segments"; "without_relevants", by language the
            queries that have no relevant anywhere; "left_out"; "without_prediction".
    """

    queries: dict[str, int]
    candidates: dict[str, int]
    pool: int | None
    dropped: dict[str, dict[str, int]]
    other: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the object in `results.json`."""
        return {
            "queries": dict(self.queries),
            "candidates": dict(self.candidates),
            "pool": self.pool,
            "dropped": {language: dict(row) for language, row in self.dropped.items()},
            **self.other,
        }

    @classmethod
    def read(cls, value: Field) -> Counts:
        """Return what "counts" holds; a number that is null there stays None."""
        content: dict[str, Any] = {
            "queries": value["queries"].numbers(largest=math.inf),
            "candidates": value["candidates"].numbers(largest=math.inf),
            "pool": value["pool"].number(largest=math.inf),
            "dropped": value["dropped"].table(largest=math.inf),
        }
        return cls(**content, other=value.other(content))
