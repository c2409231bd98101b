"""What mining found in each language, and which rules left out how much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np


@dataclass
class LanguageReport:
    """What was found for the items of a language.

    Attributes:
        items: rows with a query that were mined.
        without: of these, how many have no negative.
        fewer: how many have some, but fewer than asked for.
        negatives: number of negatives, by their language.
        left_out: number of passages that each rule left out: "answer" while searching, as deep as
            was needed; the rules of scores among the passages of the ranks that were asked for, a
            passage by the first rule that leaves it out.
        kept: rows whose own negatives were kept, and which were not mined.
        num_positives: items with a positive whose score is known.
        sum_of_positives: of the scores that negatives were held against.
        sum_of_negatives: of the scores of negatives.
    """

    items: int = 0
    without: int = 0
    fewer: int = 0
    kept: int = 0
    negatives: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    num_positives: int = 0
    sum_of_positives: float = 0.0
    sum_of_negatives: float = 0.0

    @property
    def num_negatives(self) -> int:
        """Number of negatives."""
        return sum(self.negatives.values())

    @property
    def mean_negative(self) -> float | None:
        """Mean score of the negatives."""
        return self.sum_of_negatives / self.num_negatives if self.num_negatives else None

    @property
    def mean_positive(self) -> float | None:
        """Mean score of the positives that negatives were held against."""
        return self.sum_of_positives / self.num_positives if self.num_positives else None

    def __iadd__(self, other: LanguageReport) -> LanguageReport:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "items": self.items,
            "without": self.without,
            "fewer": self.fewer,
            "kept": self.kept,
            "negatives": dict(sorted(self.negatives.items())),
            "mean_positive": self.mean_positive,
            "mean_negative": self.mean_negative,
            "left_out": dict(sorted(self.left_out.items())),
        }


@dataclass
class MiningReport:
    """What mining found.

    Attributes:
        languages: what was found for the items of each language.
    """

    languages: dict[str, LanguageReport]

    @classmethod
    def of_languages(cls, names: Sequence[str]) -> MiningReport:
        """Begin with nothing."""
        return cls({name: LanguageReport() for name in names})

    def count_kept(self, codes: np.ndarray) -> None:
        """Count items that were not mined, by the numbers of their languages, (n,)."""
        for code, count in Counter(codes.tolist()).items():
            self._report(code).kept += count

    def count_items(self, codes: np.ndarray, positives: np.ndarray, scores: np.ndarray) -> None:
        """Count items that were mined.

        Args:
            codes: numbers of their languages, (n,).
            positives: scores that their negatives were held against, NaN without one, (n,).
            scores: of their negatives, NaN where there are too few, (n, num_negatives).
        """
        counts = (~np.isnan(scores)).sum(axis=1)
        for code in np.unique(codes):
            report, of_code = self._report(code), codes == code
            known = positives[of_code & ~np.isnan(positives)]
            report.items += int(of_code.sum())
            report.without += int((counts[of_code] == 0).sum())
            report.fewer += int(((counts > 0) & (counts < scores.shape[1]))[of_code].sum())
            report.num_positives += len(known)
            report.sum_of_positives += float(known.sum(dtype=np.float64))
            report.sum_of_negatives += float(np.nansum(scores[of_code], dtype=np.float64))

    def count_left_out(self, rule: str, codes: np.ndarray, counts: np.ndarray) -> None:
        """Count passages that a rule left out.

        Args:
            rule: its name.
            codes: numbers of the languages of items, (n,).
            counts: passages left out for each, (n,).
        """
        for code in np.unique(codes[counts > 0]):
            self._report(code).left_out[rule] += int(counts[codes == code].sum())

    def count_negatives(self, codes: np.ndarray, languages: Sequence[str]) -> None:
        """Count negatives by the numbers of the languages of their items, and by their own."""
        for (code, language), count in Counter(zip(codes.tolist(), languages, strict=True)).items():
            self._report(code).negatives[language] += count

    def _report(self, code: int) -> LanguageReport:
        return list(self.languages.values())[code]

    @property
    def total(self) -> LanguageReport:
        """That of all languages together."""
        total = LanguageReport()
        for each in self.languages.values():
            total += each
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        found = {
            name: each.to_dict() for name, each in self.languages.items() if each.items or each.kept
        }
        return {"languages": found, "total": self.total.to_dict()}

    def describe(self) -> str:
        """Say in a sentence or two what was found."""
        total = self.total
        text = f"{total.num_negatives:,} hard negatives for {total.items - total.without:,} of "
        text += f"{total.items:,} items"
        if total.fewer or total.without:
            text += f"; {total.fewer:,} have fewer than asked for, {total.without:,} have none"
        if total.mean_negative is not None and total.mean_positive is not None:
            text += (
                f"; mean score {total.mean_negative:.4f}, of positives {total.mean_positive:.4f}"
            )
        rules = ", ".join(f"{name} {count:,}" for name, count in sorted(total.left_out.items()))
        return text + (f"; passages left out: {rules}" if rules else "")
