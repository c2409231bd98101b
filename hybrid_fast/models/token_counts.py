"""What tokenising may lose without a word: texts that are truncated, tokens that are unknown."""

from __future__ import annotations

import logging
from typing import Protocol

import numpy as np

from hybrid_fast.models.texts import Integers, Side, TokenIds

logger = logging.getLogger(__name__)
_MANY_UNKNOWN = 0.5  # of the tokens of a side, those added to each text aside
_FEWEST_TOKENS = 10  # of which that is said


class _Backbone(Protocol):
    @property
    def max_lengths(self) -> dict[Side, int]: ...
    @property
    def unknown_id(self) -> int | None: ...
    def token_ids(self, texts: list[str], side: Side) -> tuple[TokenIds, Integers, int]: ...


class TokenCounts:
    """Counts by side, each with one warning a side.

    Args:
        backbone: whose tokens are counted.

    Attributes:
        num_truncated: texts that were truncated.
        num_tokens: tokens, those added to each text aside.
        num_unknown: tokens among them that stand for what is not in the vocabulary.
    """

    def __init__(self, backbone: _Backbone) -> None:
        self._backbone = backbone
        self._said_truncated: set[Side] = set()
        self._said_unknown: set[Side] = set()
        self._added: dict[Side, TokenIds] = {}
        self.num_truncated: dict[Side, int] = {"query": 0, "passage": 0}
        self.num_tokens: dict[Side, int] = {"query": 0, "passage": 0}
        self.num_unknown: dict[Side, int] = {"query": 0, "passage": 0}

    def add(
        self,
        side: Side,
        ids: TokenIds,
        lengths: Integers,
        num_truncated: int,
        *,
        warn: bool = True,
    ) -> None:
        """Count tokenised texts.

        Args:
            side: of the texts.
            ids: of all texts.
            lengths: number of tokens of each.
            num_truncated: how many of the texts were truncated.
            warn: whether to say so; False if the caller does.
        """
        if warn and num_truncated and side not in self._said_truncated:
            self._said_truncated.add(side)
            logger.warning(
                "A %s has more than %s tokens and was truncated; num_truncated counts them.",
                side,
                self._backbone.max_lengths.get(side, "the tokenizer's limit of"),
            )
        self.num_truncated[side] += num_truncated
        unknown_id = self._backbone.unknown_id
        if unknown_id is None:
            return
        if side not in self._added:
            self._added[side] = self._backbone.token_ids([""], side)[0]
        added = self._added[side]
        self.num_tokens[side] += len(ids) - len(lengths) * len(added)
        # Some models end each text with the unknown token.
        in_all, in_each = (int(np.count_nonzero(of == unknown_id)) for of in (ids, added))
        self.num_unknown[side] += in_all - len(lengths) * in_each
        self._report_unknown(side, warn)

    def _report_unknown(self, side: Side, warn: bool) -> None:
        """Log that most tokens are unknown, once; these counts are of all texts so far."""
        unknown, total = self.num_unknown[side], self.num_tokens[side]
        is_clear = total >= _FEWEST_TOKENS and unknown > _MANY_UNKNOWN * total
        if side in self._said_unknown or not is_clear:
            return
        self._said_unknown.add(side)
        logger.log(
            logging.WARNING if warn else logging.DEBUG,
            "%d of the %d tokens of %s are unknown to the tokenizer; texts that differ only there "
            "are the same to the encoder, which seems not to know their language or script.",
            unknown,
            total,
            "queries" if side == "query" else "passages",
        )
