"""Texts as concatenated token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hybrid_fast import _core


@dataclass(frozen=True)
class Tokens:
    """Token ids of many texts, concatenated.

    Attributes:
        ids: uint16 or int32, of all texts.
        offsets: int64 (n + 1,); text i is `ids[offsets[i]:offsets[i + 1]]`.
    """

    ids: npt.NDArray[np.uint16] | npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of tokens of each text, (n,)."""
        return np.diff(self.offsets)

    @staticmethod
    def concatenate(parts: Sequence[Tokens]) -> Tokens:
        """Return the texts of all parts in order; their ids are int32 if those of any part are."""
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
        return Tokens(np.concatenate([part.ids for part in parts]), offsets)

    def take(self, rows: npt.NDArray[np.int64]) -> Tokens:
        """Return a copy of the texts in some rows, int64 (k,).

        Raises:
            IndexError: a row is out of range.
        """
        return Tokens(*_core.take_tokens(self.ids, self.offsets, rows))
