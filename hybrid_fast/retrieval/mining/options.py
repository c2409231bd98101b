"""What mining is asked for, checked."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal

from hybrid_fast.common.choices import check_choice
from hybrid_fast.data.languages import normalize_language

logger = logging.getLogger(__name__)

SCOPES = ("own", "other", "pool")
# Of sentence-transformers .05 is what .95 is here; below a half it would leave out nearly all.
_LEAST_RELATIVE = 0.5


@dataclass(frozen=True)
class MiningOptions:
    """Which passages become hard negatives of an item; see `mine_hard_negatives`.

    Attributes:
        languages: "own", "other", "pool" or codes of languages.
        balanced: whether each of several languages gives as many.
        num_negatives: of an item, at most.
        ranks: the first and the last among the passages that are no answers, from 1.
        margin: how far a negative must score below the positive; None: any distance.
        relative_margin: share of the positive's score that a negative may reach; None: any.
        max_score: of a negative.
        min_score: of a negative.
        sampling: "top" or "random".
        seed: of "random".
        positive: "lowest" or "own".
        existing: "replace", "keep" or "extend".
    """

    languages: str | Sequence[str] = "own"
    balanced: bool = False
    num_negatives: int = 4
    ranks: tuple[int, int] = (1, 100)
    margin: float | None = None
    relative_margin: float | None = 0.95
    max_score: float | None = None
    min_score: float | None = None
    sampling: Literal["top", "random"] = "top"
    seed: int = 0
    positive: Literal["lowest", "own"] = "lowest"
    existing: Literal["replace", "keep", "extend"] = "replace"

    def __post_init__(self) -> None:
        """Check all values; codes of languages get their normal form.

        Raises:
            ValueError: a value is none that the option takes, or two contradict each other.
        """
        object.__setattr__(self, "languages", _checked_languages(self.languages))
        for name, choices in (
            ("sampling", ("top", "random")),
            ("positive", ("lowest", "own")),
            ("existing", ("replace", "keep", "extend")),
        ):
            check_choice(name, getattr(self, name), choices)
        _check_whole("num_negatives", self.num_negatives, 1)
        _check_whole("seed", self.seed, 0)
        self._check_ranks()
        self._check_scores()
        if self.balanced and (self.languages == "own" or len(self.languages) == 1):
            raise ValueError("balanced is for negatives of several languages; leave it out")

    @property
    def has_margin(self) -> bool:
        """Whether negatives are held against the score of the positive."""
        return self.margin is not None or self.relative_margin is not None

    def _check_ranks(self) -> None:
        if not isinstance(self.ranks, Sequence) or len(self.ranks) != 2:
            raise ValueError(
                f"ranks is {self.ranks!r}; the first and the last, (1, 100), is needed"
            )
        first, last = self.ranks
        _check_whole("the first of ranks", first, 1)
        _check_whole("the last of ranks", last, first)
        if last - first + 1 < self.num_negatives:
            raise ValueError(
                f"ranks {first} to {last} hold fewer than num_negatives={self.num_negatives}; "
                f"the last must be at least {first + self.num_negatives - 1}"
            )

    def _check_scores(self) -> None:
        for name in ("margin", "relative_margin", "max_score", "min_score"):
            value = getattr(self, name)
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if value is not None and not (is_number and math.isfinite(value)):
                raise ValueError(f"{name} is {value!r}; a number is needed")
        relative = self.relative_margin
        if relative is not None and not 0 < relative <= 1:
            raise ValueError(
                f"relative_margin is {relative}; it is the share of the positive's score that a "
                "negative may reach, above 0 and at most 1, such as 0.95"
            )
        if relative is not None and relative < _LEAST_RELATIVE:
            logger.warning(
                "relative_margin is %s: no negative may score above %.0f %% of its positive. What "
                "sentence-transformers calls a relative margin of 0.05 is 0.95 here",
                relative,
                100 * relative,
            )
        if None not in (self.min_score, self.max_score) and self.min_score > self.max_score:  # type: ignore[operator]
            raise ValueError(f"min_score {self.min_score} is above max_score {self.max_score}")


def _checked_languages(languages: object) -> str | tuple[str, ...]:
    if isinstance(languages, str):
        if languages not in SCOPES and _is_language(languages):
            raise ValueError(f"languages is {languages!r}; give a list of codes, [{languages!r}]")
        return check_choice("languages", languages, SCOPES)
    if not isinstance(languages, Sequence) or not languages:
        raise ValueError(
            f"languages is {languages!r}; give one of {', '.join(map(repr, SCOPES))}, or a list of "
            "codes, ['en', 'de']"
        )
    try:
        return tuple(dict.fromkeys(normalize_language(code) for code in languages))
    except ValueError as error:
        raise ValueError(f"languages: {error}") from error


def _is_language(text: str) -> bool:
    try:
        normalize_language(text)
    except ValueError:
        return False
    return True


def _check_whole(name: str, value: object, least: int) -> None:
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (is_whole and value >= least):  # type: ignore[operator]
        raise ValueError(f"{name} is {value!r}; a whole number of at least {least} is needed")
