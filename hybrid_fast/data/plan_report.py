"""The report of a batch plan: weights requested and in effect, exclusions, substitutions."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

_MOST_SHOWN = 40  # rows of a printed table


@dataclasses.dataclass(frozen=True)
class ShareOfPlan:
    """The share of one language (mono) or pair (cross, mixed), and source if these have weights.

    Attributes:
        query_language: language of the queries.
        passage_language: language of the passages; the same for mono and mixed.
        source: None if sources have no weights.
        size: number of items (mono) or groups (pairs) it can draw from.
        capacity: largest batch that it can always fill alone without repeating a group, query or
            passage.
        asked: share requested, over all languages or pairs.
        effective: share in effect; 0 if it is left out.
    """

    query_language: str
    passage_language: str
    source: str | None
    size: int
    capacity: int
    asked: float
    effective: float

    @property
    def name(self) -> str:
        """`de` or `de-en`, with the source in brackets where there is one."""
        same = self.query_language == self.passage_language
        name = self.query_language if same else f"{self.query_language}-{self.passage_language}"
        return name if self.source is None else f"{name} ({self.source})"


@dataclasses.dataclass(frozen=True)
class PlanReport:
    """Weights requested and in effect, exclusions and substitutions; prints as tables.

    Attributes:
        batch_size: examples in a global batch.
        rows: number of rows of the table.
        queries: number of different queries.
        passages: number of different passages.
        steps: number of steps over which batches and substitutions were counted.
        batches: number of batches of each kind.
        substituted_entries: examples replaced by another of the same language or pair, because
            their group, query or passage was already in the batch.
        substituted_pairs: examples replaced by one of another pair or source, because their own had
            none left.
        languages: shares of the mono batches.
        pairs: shares of the cross or mixed batches.
    """

    batch_size: int
    rows: int
    queries: int
    passages: int
    steps: int
    batches: dict[str, int]
    substituted_entries: int
    substituted_pairs: int
    languages: list[ShareOfPlan]
    pairs: list[ShareOfPlan]

    @property
    def contents(self) -> str:
        """What the table holds, in words."""
        return (
            f"{self.rows:,} rows: {self.queries:,} different queries, "
            f"{self.passages:,} different passages"
        )

    @property
    def excluded(self) -> list[str]:
        """Languages and pairs that were requested but are left out, each with the reason."""
        return [
            f"{share.name}: {share.capacity} examples without a group, query or passage twice, "
            f"too few for a batch of {self.batch_size}"
            for share in [*self.languages, *self.pairs]
            if share.asked > 0 and share.effective == 0
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**dataclasses.asdict(self), "excluded": self.excluded}

    def __rich__(self) -> RenderableType:
        examples = max(1, self.steps * self.batch_size)
        parts: list[RenderableType] = [
            self.contents,
            f"{self.steps} steps of {self.batch_size}: "
            + ", ".join(f"{count} {kind}" for kind, count in self.batches.items()),
            f"substituted: {self.substituted_entries} examples "
            f"({self.substituted_entries / examples:.2%}), "
            f"{self.substituted_pairs} of another pair",
        ]
        for title, shares in (("mono", self.languages), ("pairs", self.pairs)):
            if shares:
                parts.append(_table(title, shares))
        excluded = self.excluded
        parts += [f"left out: {line}" for line in excluded[:_MOST_SHOWN]]
        if len(excluded) > _MOST_SHOWN:
            parts.append(f"left out: {len(excluded) - _MOST_SHOWN:,} more, see to_dict()")
        return Group(*parts)

    def __str__(self) -> str:
        console = Console(width=100, record=False, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()


def _table(title: str, shares: list[ShareOfPlan]) -> Table:
    """Return a table of shares; of many, those that were lowered most and the largest."""
    left_out = len(shares) - _MOST_SHOWN
    if left_out > 0:
        lowered = sorted(shares, key=lambda share: share.effective - share.asked)[
            : _MOST_SHOWN // 2
        ]
        names = {share.name for share in lowered}
        largest = sorted(
            (share for share in shares if share.name not in names), key=lambda share: -share.size
        )
        shares = lowered + largest[: _MOST_SHOWN - len(lowered)]
    table = Table(title=title, caption=f"and {left_out:,} more" if left_out > 0 else None)
    table.add_column("language" if title == "mono" else "pair")
    for heading in ("size", "asked", "in effect"):
        table.add_column(heading, justify="right")
    for share in shares:
        table.add_row(share.name, f"{share.size:,}", f"{share.asked:.4f}", f"{share.effective:.4f}")
    return table
